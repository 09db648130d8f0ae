"""A carrier takes frames to one peer. The data plane knows nothing else of how they get there.

    Forwarder ── send ──> Carrier ═══ TLS, UDP, another node ═══ Carrier ── Receive ──> Forwarder

A link (TLS over TCP) is a carrier. UDP beside a link and a relay through a third node will be: the
interface is what those three have in common, and what is needed to choose between them.

- **`send` never fails and never blocks.** A carrier that cannot send now queues, within its own
  bounds, or drops; it counts what it drops under a DropReason. What to queue and what to drop is
  the carrier's decision because only it knows the pace of its path: a link has a fair queue in
  front of TCP, UDP will pace itself, and a relay leaves it to the carrier of the next hop. So the
  forwarder has no queue, and the tun is never paused.
- **A carrier delivers to a `Receive` that its owner gives it**, bound to a peer and not to the
  carrier. Frames of one peer may come over UDP, over TLS and through a relay at once, and a relay
  delivers frames of many peers: which sources are allowed depends on who sent a frame, and whoever
  authenticated it knows that. When a carrier has delivered all that one read gave, its owner calls
  `Forwarder.read_ended`, so that answers leave at once.
- **`round_trip` is the cost** of the path, comparable between carriers: TLS and UDP measure it by
  pings, a relay adds up its two hops. None means that it is not known yet, or that the path does
  not answer. **`queued_bytes`** says whether the path is congested: more than none wait. These two
  are enough to choose a carrier for a peer, with whatever hysteresis, without knowing its kind.
- **Frames have any size up to that of the tun's.** A carrier with a smaller MTU cuts and joins them
  itself, so neither the tun nor the table has to know the MTU of any path.
- **`close(reason)` is final**: what waits and what is sent afterwards is dropped and counted. A
  carrier that ends by itself does the same. Who is told of that is no part of this interface: a
  link tells the membership, since with it goes the peer; UDP and relays will tell who chose them,
  since the peer stays.

How a carrier is set up, authenticated and renewed is no part of it either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

# What a carrier does with frames that came from its peer; the number of those that the peer should
# not have sent.
Receive = Callable[[list[memoryview]], int]


class Carrier(Protocol):
    """A way to one peer. A frame is `virtio_net_hdr || IP packet`, as read from a tun."""

    @property
    def dropped(self) -> int:
        """Frames that it was given and has dropped."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait because the path takes no more at the moment."""

    @property
    def round_trip(self) -> float | None:
        """Seconds; None: not known."""

    def send(self, frames: list[bytes]) -> None:
        """Send these frames now, or queue them, or drop them."""

    def close(self, reason: str) -> None:
        """Carry nothing any more."""
