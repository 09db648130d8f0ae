"""The way of a packet through a node, and the count of those that went no further.

    tun ── a turn's frames ──> Table.outbound ── a batch for each peer ──> Carrier.send
     ^                              └── what has no route ──> names, answers ──┐
     └─────────────────────────── replies to the sender ───────────────────────┘
    tun <── write ── Table.inbound <── a batch of one peer's frames ── Carrier

What arrives is often answered before the write to the tun returns: an echo, an acknowledgement, the
data that an acknowledgement allows. So the tun is read as soon as the read that the packets came
with is over (`read_ended`), which saves the answer an iteration of the reactor. Not before: the
answer would be sent from inside the reading of a connection, often of the one that it goes to, and
the time that it takes would be charged to the peer that was read.

This is the only code besides the carrier that runs for every packet. It moves bytes and integers:
no object is made per packet, nothing is logged, every drop is counted under its reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.peer import Limits, Peer
from tunmesh.dataplane.table import Table
from tunmesh.dataplane.tun import Tun
from tunmesh.packets import flow, udp_segments, virtio
from tunmesh.status.traffic import Dropped

RECENT = 100  # dropped packets that are remembered

P = TypeVar("P", bound=Peer)

# Is called with every batch that is carried: to (True) or from this peer, the frames.
Tap = Callable[[Peer, bool, Sequence[bytes | memoryview]], None]
# Takes packets that this machine sends and that lead to no peer, each with the reason; returns
# those that are dropped. names.endpoint and dataplane.answers answer some of them.
Unrouted = Callable[[list[Drop]], list[Drop]]
# Sorts a batch for a peer with limits: what it takes, and the rest, each with the reason.
Screen = Callable[[Limits, list[bytes]], tuple[list[bytes], list[Drop]]]


class Forwarder(Generic[P]):
    """Between one tun and many peers. `table` says who is who; `taps` see every packet that is
    carried; `recent` are the last RECENT that were dropped here. `seconds` reads the clock."""

    def __init__(self, tun: Tun, table: Table[P], seconds: Callable[[], float]) -> None:
        self.taps: set[Tap] = set()
        self.recent: deque[Dropped] = deque(maxlen=RECENT)
        self._tun = tun
        self._table = table
        self._seconds = seconds
        self._dropped: dict[str, int] = dict.fromkeys(DropReason, 0)
        self._has_written = False  # to the tun, since it was read
        self._unrouted: list[Unrouted] = []
        self._screen: Screen = lambda _, batch: (batch, [])

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many packets were dropped for each reason."""
        return self._dropped

    def sent(self, frames: list[bytes]) -> None:
        """This machine sends packets into the mesh."""
        if len(frames) > 1:
            frames = udp_segments.join(frames)
        batches, drops = self._table.outbound(frames)
        not_taken: list[Drop] = []
        for peer, batch in batches.items():
            if peer.limits is not None:
                batch, rest = self._screen(peer.limits, batch)
                not_taken += rest
            traffic = peer.traffic
            traffic.tx_packets += len(batch)
            traffic.tx_bytes += sum(map(len, batch)) - virtio.HEADER * len(batch)
            for tap in self.taps:
                tap(peer, True, batch)
            peer.carrier.send(batch)
        for unrouted in self._unrouted:
            if drops:
                drops = unrouted(drops)
        if drops or not_taken:
            self._note(None, drops + not_taken)

    def answer_unrouted(self, unrouted: Unrouted) -> None:
        """What has no route is given to `unrouted` from now on, after those that were named
        before."""
        self._unrouted.append(unrouted)

    def screen_by(self, screen: Screen) -> None:
        """Packets to peers with limits are sorted by `screen` from now on."""
        self._screen = screen

    def answer(self, frames: list[bytes]) -> None:
        """This node itself answers packets that this machine has sent."""
        refused = self._tun.write(frames)
        if refused:
            self._note(None, refused)

    def received(self, peer: P, frames: list[memoryview]) -> int:
        """A peer sends packets to this machine. How many of them it should not have sent."""
        accepted, drops = self._table.inbound(peer, frames)
        for tap in self.taps:
            tap(peer, False, accepted)
        tun, traffic = self._tun, peer.traffic
        packets, size = tun.rx_packets, tun.rx_bytes
        refused = tun.write(accepted)
        # The tun counts what the kernel took: no more than that has been received.
        traffic.rx_packets += tun.rx_packets - packets
        traffic.rx_bytes += tun.rx_bytes - size
        if accepted:
            self._has_written = True
        if drops or refused:
            self._note(peer, drops + refused)
        return len(drops)

    def read_ended(self) -> None:
        """All that a carrier had to deliver at once has been received: send what this machine has
        answered by now."""
        if self._has_written:
            self._has_written = False
            self._tun.poll()

    def count_drops(self, reason: DropReason, count: int) -> None:
        """A carrier has dropped so many packets."""
        self._dropped[reason] += count

    def _note(self, peer: P | None, drops: list[Drop]) -> None:
        """Count them, and remember the beginnings of the latest."""
        now = self._seconds()
        for reason, _ in drops:
            self._dropped[reason] += 1
        for reason, frame in drops[-RECENT:]:
            start = bytes(frame[virtio.HEADER : virtio.HEADER + flow.ENOUGH])
            self.recent.append(Dropped(now, reason, peer.record.name if peer else None, start))
