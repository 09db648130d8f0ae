"""A carrier takes frames to one peer. The data plane knows nothing else of how they get there.

    Forwarder ── send ──> Carrier ═══ TLS over TCP, or UDP ═══ Carrier ── Receive ──> Forwarder

A link is a carrier, direct or relayed; UDP beside a link is another one (udp.carrier).

- **`send` never fails and never blocks.** A carrier that cannot send now queues, within its own
  bounds, or drops, and counts what it drops under a DropReason: only it knows the pace of its path.
  So the forwarder has no queue, and the tun is never paused.
- **A carrier delivers to a `Receive` that its owner gives it**, bound to a peer and not to the
  carrier: frames of one peer may come by both at once. When it has delivered all that one read
  gave, its owner calls `Forwarder.read_ended`, so that answers leave at once.
- **Frames have any size up to that of the tun's.** A carrier with a smaller MTU cuts and joins them
  itself, so neither the tun nor the table has to know the MTU of any path.
- **`close(reason)` is final**: what waits and what is sent afterwards is dropped and counted. A
  carrier that ends by itself does the same.

How a carrier is set up, authenticated, renewed and chosen (udp.choice), and who is told when it
ends, is no part of this interface.
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
