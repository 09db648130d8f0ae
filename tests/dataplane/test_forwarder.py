"""Two forwarders with carriers in memory between them: no link, no TLS, no membership."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface, ip_network

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.forwarder import RECENT, Forwarder
from tunmesh.dataplane.peer import Peer
from tunmesh.dataplane.table import Table
from tunmesh.status.traffic import Traffic
from tunmesh.testing.carrier import MemoryCarrier
from tunmesh.testing.tun import MemoryTun, frame
from tunmesh.wire.records import NodeRecord

NETWORKS = (ip_network("10.9.0.0/16"),)


class Host:
    """A tun, a forwarder, and one peer that it routes to, by `carrier`."""

    def __init__(self, number: int, peer: int) -> None:
        self.address = ip_interface(f"10.9.0.{number}/16")
        self.tun = MemoryTun()
        self.blamed = 0  # packets that the peer should not have sent
        table: Table[Peer] = Table((self.address,), NETWORKS)
        self.forwarder = Forwarder(self.tun, table, lambda: 7.0)
        self.carrier = MemoryCarrier(self.forwarder.count_drops)
        there = ip_interface(f"10.9.0.{peer}/16")
        record = NodeRecord(f"{peer:032}", f"node{peer}", 1, "https://a:1", (there,), "test")
        self.peer = Peer(record, self.carrier)
        table.route(there.packed, self.peer)
        self.tun.start(self.forwarder.sent, lambda why: None)

    def received(self, frames: list[memoryview]) -> int:
        """The peer's carrier delivers."""
        useless = self.forwarder.received(self.peer, frames)
        self.blamed += useless
        return useless


class ForwarderTests(SynchronousTestCase):
    """Node 1 sends to node 2, and gets its answers."""

    def setUp(self) -> None:
        self.one, self.two = Host(1, 2), Host(2, 1)

    def packet(self, payload: bytes, source: str = "10.9.0.1", to: str = "10.9.0.2") -> bytes:
        return frame(source, to, payload)

    def carry(self) -> None:
        """What is under way arrives, and the read that it came with ends."""
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            sender.carrier.deliver(receiver.received)
            receiver.forwarder.read_ended()

    def test_both_ways(self) -> None:
        """Packets go from tun to tun, and both ends count the same."""
        there, back = self.packet(b"there"), self.packet(b"back", "10.9.0.2", "10.9.0.1")
        self.one.tun.inject(there)
        self.two.tun.inject(back, back)
        self.carry()
        self.assertEqual(self.two.tun.written, [there])
        self.assertEqual(self.one.tun.written, [back, back])
        sizes = len(there) - 10, 2 * (len(back) - 10)
        self.assertEqual(self.one.peer.traffic, Traffic(2, sizes[1], 1, sizes[0]))
        self.assertEqual(self.two.peer.traffic, Traffic(1, sizes[0], 2, sizes[1]))
        self.assertEqual(set(self.one.forwarder.dropped.values()), {0})

    def test_answer_after_the_read(self) -> None:
        """What the machine answers is sent when the read is over: not from inside it, and not at
        the next opportunity."""
        answer = self.packet(b"pong", "10.9.0.2", "10.9.0.1")
        self.two.tun.answers = [answer]
        self.one.tun.inject(self.packet(b"ping"))
        self.one.carrier.deliver(self.two.received)
        self.assertEqual(self.two.peer.traffic.tx_packets, 0)
        self.two.forwarder.read_ended()
        self.assertEqual(self.two.peer.traffic.tx_packets, 1)
        self.carry()
        self.assertEqual(self.one.tun.written, [answer])

    def test_nothing_written(self) -> None:
        """A read that wrote nothing to the tun has no answer: the tun is not read for it."""
        self.two.tun.answers = [self.packet(b"pong", "10.9.0.2", "10.9.0.1")]
        self.one.carrier.send([self.packet(b"spoofed", source="10.9.9.9")])
        self.carry()
        self.assertEqual(len(self.two.tun.answers), 1)

    def test_drops(self) -> None:
        """Whatever does not arrive is counted under its reason, also by the carrier. The peer's
        fault is told to the carrier's owner."""
        self.one.tun.inject(self.packet(b"", to="10.9.0.3"))
        self.one.carrier.send(
            [self.packet(b"", source="10.9.0.9"), self.packet(b"", to="10.9.0.8")]
        )
        self.one.carrier.deliver(self.two.received)
        self.assertEqual(self.two.blamed, 2)
        self.two.tun.refuses = DropReason.TUN_FULL
        self.one.tun.inject(self.packet(b"refused"))
        self.carry()
        self.one.carrier.close("leaving")
        self.one.tun.inject(self.packet(b"too late"))
        self.assertEqual(self.counted(self.one), {"no_route": 1, "link_lost": 1})
        self.assertEqual(
            self.counted(self.two), {"spoofed_source": 1, "misrouted": 1, "tun_full": 1}
        )
        self.assertEqual(self.two.peer.traffic.rx_packets, 0)

    def counted(self, host: Host) -> dict[str, int]:
        return {reason: count for reason, count in host.forwarder.dropped.items() if count}

    def test_recent(self) -> None:
        """The latest drops are remembered: when, why, who sent it, and how it begins."""
        for number in range(RECENT + 5):
            self.one.tun.inject(self.packet(number.to_bytes(2, "big"), to="10.9.0.3"))
        self.assertEqual(len(self.one.forwarder.recent), RECENT)
        last = self.one.forwarder.recent[-1]
        self.assertEqual((last.seconds, last.reason, last.sender), (7.0, "no_route", None))
        self.one.carrier.send([self.packet(b"", source="10.9.0.9")])
        self.carry()
        self.assertEqual(self.two.forwarder.recent[-1].sender, "node1")

    def test_taps(self) -> None:
        """A tap sees what is carried, in both directions, and nothing that is dropped."""
        seen: list[tuple[Peer, bool, list[bytes]]] = []

        def tap(peer: Peer, outgoing: bool, frames: Sequence[bytes | memoryview]) -> None:
            seen.append((peer, outgoing, list(map(bytes, frames))))

        self.two.forwarder.taps.add(tap)
        there, back = self.packet(b"there"), self.packet(b"back", "10.9.0.2", "10.9.0.1")
        self.one.carrier.send([there, self.packet(b"", source="10.9.0.9")])
        self.carry()
        self.two.tun.inject(back)
        self.assertEqual(seen, [(self.two.peer, False, [there]), (self.two.peer, True, [back])])

    def test_another_carrier(self) -> None:
        """When a peer gets another carrier, packets go by that from then on."""
        other = MemoryCarrier(self.one.forwarder.count_drops)
        self.one.peer.carrier = other
        self.one.tun.inject(self.packet(b"by the other"))
        self.one.carrier.deliver(self.two.received)
        self.assertEqual(self.two.tun.written, [])
        other.deliver(self.two.received)
        self.assertEqual(self.two.tun.written, [self.packet(b"by the other")])
