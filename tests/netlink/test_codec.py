"""The netlink codec: what is kept of a dump, and when a dump is repeated."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_network

from twisted.trial import unittest

from tunmesh.addresses import Network
from tunmesh.netlink.codec import MAX_ATTEMPTS, Snapshot, route_answer
from tunmesh.netlink.kernel import NetlinkError
from tunmesh.netlink.messages import route_request

NETWORKS = (ip_network("10.77.0.0/16"), ip_network("fd77::/48"))
INTERRUPTED = 0x10
DONE, ERROR, LINK, ROUTE = 3, 2, 16, 24


def message(kind: int, sequence: int, body: bytes, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 9) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) & 3)


def route(network: Network, interface: int = 3) -> bytes:
    family = 2 if network.version == 4 else 10
    header = struct.pack("=8BI", family, network.prefixlen, 0, 0, 254, 2, 0, 1, 0)
    table = attribute(15, struct.pack("=I", 254))
    to = attribute(1, network.network_address.packed) if network.prefixlen else b""
    return header + table + to + attribute(4, struct.pack("=I", interface))


def link(index: int, name: str) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, 1, 0) + attribute(3, name.encode() + b"\0")


def done(sequence: int, flags: int = 2, error: int = 0) -> bytes:
    return message(DONE, sequence, struct.pack("=i", -error), flags)


class Snapshots(unittest.SynchronousTestCase):
    """Dumps as the kernel sends them."""

    def sequence(self, snapshot: Snapshot) -> int:
        request = snapshot.request()
        assert request is not None
        return int(struct.unpack_from("=I", request, 8)[0])

    def skip_to_routes(self, snapshot: Snapshot) -> None:
        for _ in ("links", "addresses"):
            self.assertTrue(snapshot.feed(done(self.sequence(snapshot))))

    def test_only_what_overlaps(self) -> None:
        """Of random routes, exactly those are kept that overlap one of the networks."""
        draw = random.Random(7)
        snapshot = Snapshot(NETWORKS)
        self.skip_to_routes(snapshot)
        expected = set()
        for base, width in ((NETWORKS[0], 32), (NETWORKS[1], 128)):
            sequence = self.sequence(snapshot)
            for _ in range(2000):
                length = draw.randint(0, width)
                number = int(base.network_address) ^ draw.getrandbits(draw.randint(0, width))
                number = number >> (width - length) << (width - length)
                size = width // 8
                one = ip_network((number.to_bytes(size, "big"), length))
                snapshot.feed(message(ROUTE, sequence, route(one)))
                if one.overlaps(base):
                    expected.add(one)
            snapshot.feed(done(sequence))
        self.assertGreater(len(expected), 500)
        self.assertEqual({one.network for one in snapshot.state.routes}, expected)

    def test_interrupted(self) -> None:
        """An interrupted dump is repeated, and only the last one counts."""
        snapshot = Snapshot(NETWORKS)
        sequence = self.sequence(snapshot)
        snapshot.feed(message(LINK, sequence, link(2, "old")))
        self.assertTrue(snapshot.feed(done(sequence, INTERRUPTED)))
        again = self.sequence(snapshot)
        snapshot.feed(message(LINK, again, link(3, "eth0")) + done(again))
        self.assertEqual(snapshot.state.links.keys(), {3})

    def test_always_interrupted(self) -> None:
        """If every dump is interrupted, the last one is used."""
        snapshot = Snapshot(NETWORKS)
        for _ in range(MAX_ATTEMPTS):
            sequence = self.sequence(snapshot)
            snapshot.feed(message(LINK, sequence, link(2, "eth0"), INTERRUPTED) + done(sequence))
        self.assertEqual(snapshot.state.links.keys(), {2})
        self.assertEqual(self.sequence(snapshot), MAX_ATTEMPTS + 1)

    def test_link_unknown(self) -> None:
        """An interface that was created after the dump of the links has a name all the same."""
        self.assertEqual(Snapshot(NETWORKS).state.name(7), "interface 7")

    def test_late_answers(self) -> None:
        """Replies to an earlier request are ignored."""
        snapshot = Snapshot(NETWORKS)
        sequence = self.sequence(snapshot)
        self.assertFalse(snapshot.feed(message(LINK, sequence - 1, link(2, "eth0"))))
        self.assertFalse(snapshot.feed(done(sequence - 1)))
        self.assertTrue(snapshot.feed(done(sequence)))
        self.assertEqual(snapshot.state.links, {})

    def test_errors(self) -> None:
        """A kernel that does not support a kind of object has none of it; other errors are
        raised."""
        snapshot = Snapshot(NETWORKS)
        self.assertTrue(snapshot.feed(done(self.sequence(snapshot), error=95)))
        sequence = self.sequence(snapshot)
        refused = message(ERROR, sequence, struct.pack("=i", -1) + bytes(16))
        self.assertEqual(self.assertRaises(NetlinkError, snapshot.feed, refused).errno, 1)

    def test_ways(self) -> None:
        """A request for one destination, and the kernel's reply."""
        destination, source = NETWORKS[0][9], NETWORKS[0][1]
        self.assertIn(destination.packed, route_request(1, destination, source))
        answer = route_answer(message(ROUTE, 1, route(ip_network("10.77.0.9/32"), 5)))
        self.assertEqual((answer.interface, answer.table), (5, 254))
        unreachable = message(ERROR, 1, struct.pack("=i", -113))
        self.assertEqual(self.assertRaises(NetlinkError, route_answer, unreachable).errno, 113)
