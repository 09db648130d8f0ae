"""The way of a packet through a node, and the count of those that went no further.

    tun ── a turn's frames ──> Table.outbound ── a batch for each peer ──> Link.send ──> TLS
    tun <── write ── Table.inbound <── a chunk's frames ── Link.dataReceived <── TLS

What arrives is often answered before the kernel has taken it: an echo, an acknowledgement, the next
data that an acknowledgement allows. So the tun is looked at as soon as it was written to, which
saves that answer a turn of the reactor.

This is the only code besides the link that runs for every packet. It moves bytes and integers: no
object is made per packet, nothing is logged, every drop is counted under its reason.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from tunmesh.dataplane.table import Drop, Table
from tunmesh.dataplane.tun import Tun
from tunmesh.link.link import Link
from tunmesh.membership.agreement import View
from tunmesh.packets import flow, udp_segments, virtio
from tunmesh.status import Dropped, Traffic
from tunmesh.wire.records import NodeRecord

KEPT = 100  # dropped packets that are remembered

DROP_REASONS = (
    # leaving this node
    "no_route",
    "outside_network",
    "multicast",
    "broadcast",
    "queue_full",
    "expired",
    "link_lost",
    # arriving at it
    "malformed",
    "spoofed_source",
    "misrouted",
    "icmp_error",
    "fragments",
    "tun_full",
    "tun_refused",
    "tun_down",
)


class Peer:
    """A linked node: what routes point at. Its link may change under it."""

    __slots__ = ("holder", "link", "record", "refuses", "traffic", "view", "was_first")

    def __init__(self, record: NodeRecord, link: Link, view: View, was_first: bool) -> None:
        self.record = record
        self.link = link
        self.traffic = Traffic()
        self.view = view
        self.was_first = was_first  # it was in the mesh before us
        self.refuses: tuple[str, ...] = ()  # addresses of ours that it does not route to us
        self.holder = ""  # the node that it routes the first of them to, if to any


# Looks at what passes: to (True) or from this peer, as frames.
Tap = Callable[[Peer, bool, Sequence[bytes | memoryview]], None]


class DataPath:
    """Between one tun and many peers. `table` says who is who; `taps` see every packet that is
    carried, `recent` are the last KEPT that were not."""

    def __init__(self, tun: Tun, table: Table[Peer], seconds: Callable[[], float]) -> None:
        self.table = table
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self.recent: deque[Dropped] = deque(maxlen=KEPT)
        self.taps: set[Tap] = set()
        self._tun = tun
        self._seconds = seconds

    def sent(self, frames: list[bytes]) -> None:
        """This machine sends packets into the mesh."""
        batches, drops = self.table.outbound(udp_segments.join(frames))
        for peer, batch in batches.items():
            traffic = peer.traffic
            traffic.tx_packets += len(batch)
            traffic.tx_bytes += sum(map(len, batch)) - virtio.HEADER * len(batch)
            for tap in self.taps:
                tap(peer, True, batch)
            peer.link.send(batch)
        if drops:
            self._note(None, drops)

    def received(self, peer: Peer, frames: list[memoryview]) -> int:
        """A peer sends packets to this machine. How many of them it should not have sent."""
        accepted, drops = self.table.inbound(peer, frames)
        for tap in self.taps:
            tap(peer, False, accepted)
        tun, traffic = self._tun, peer.traffic
        packets, size = tun.rx_packets, tun.rx_bytes
        refused = tun.write(accepted)
        # The tun counts what the kernel took: no more than that has been received.
        traffic.rx_packets += tun.rx_packets - packets
        traffic.rx_bytes += tun.rx_bytes - size
        if drops or refused:
            self._note(peer, drops + refused)
        return len(drops)

    def answer(self) -> float:
        """Send what this machine has answered by now. How many seconds of this thread it took."""
        began = time.thread_time()
        self._tun.poll()
        return time.thread_time() - began

    def _note(self, peer: Peer | None, drops: list[Drop]) -> None:
        """Count them, and keep what those that are dropped most lately were about."""
        now = self._seconds()
        for reason, _ in drops:
            self.dropped[reason] += 1
        for reason, frame in drops[-KEPT:]:
            start = bytes(frame[virtio.HEADER : virtio.HEADER + flow.ENOUGH])
            self.recent.append(Dropped(now, reason, peer.record.name if peer else None, start))
