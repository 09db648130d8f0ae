"""The way of a packet through a node, and the count of those that went no further.

    tun ── a turn's frames ──> Table.outbound ── a batch for each peer ──> Link.send ──> TLS
    tun <── write ── Table.inbound <── a chunk's frames ── Link.dataReceived <── TLS

This is the only code besides the link that runs for every packet. It moves bytes and integers: no
object is made per packet, nothing is logged, every drop is counted under its reason.
"""

from __future__ import annotations

from tunmesh import packet, segments
from tunmesh.link import Link
from tunmesh.messages import NodeRecord
from tunmesh.routing import Table
from tunmesh.status import Traffic
from tunmesh.tun import Tun

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
    "tun_full",
    "tun_refused",
    "tun_down",
)


class Peer:
    """A linked node: what routes point at. Its link may change under it."""

    __slots__ = ("link", "record", "refuses", "traffic")

    def __init__(self, record: NodeRecord, link: Link) -> None:
        self.record = record
        self.link = link
        self.traffic = Traffic()
        self.refuses: tuple[str, ...] = ()  # addresses of ours that it does not route to us


class DataPath:
    """Between one tun and many peers. `table` says who is who."""

    def __init__(self, tun: Tun, table: Table[Peer]) -> None:
        self.table = table
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self._tun = tun

    def sent(self, frames: list[bytes]) -> None:
        """This machine sends packets into the mesh."""
        batches, drops = self.table.outbound(segments.join(frames))
        for peer, batch in batches.items():
            traffic = peer.traffic
            traffic.tx_packets += len(batch)
            traffic.tx_bytes += sum(map(len, batch)) - packet.HEADER * len(batch)
            peer.link.send(batch)
        for reason in drops:
            self.dropped[reason] += 1

    def received(self, peer: Peer, frames: list[memoryview]) -> None:
        """A peer sends packets to this machine."""
        accepted, drops = self.table.inbound(peer, frames)
        peer.traffic.rx_packets += len(accepted)
        peer.traffic.rx_bytes += sum(map(len, accepted)) - packet.HEADER * len(accepted)
        drops += self._tun.write(accepted)
        for reason in drops:
            self.dropped[reason] += 1
