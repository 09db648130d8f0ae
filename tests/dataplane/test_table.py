"""The routing table, compared with a naive list of (address, peer) that is searched linearly."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_virtio import PLAIN, Address, allowed, frames, ip_packet
from tunmesh.dataplane.table import Table

NETWORKS = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
OWN = (ip_interface("10.77.0.1/24"), ip_interface("fd77::1/64"))


class Neighbour:
    """A peer, which equals only itself."""


ALICE, BOB = Neighbour(), Neighbour()
Routes = dict[str, Neighbour]
ROUTES: Routes = {"10.77.0.2": ALICE, "fd77::2": ALICE, "10.77.3.4": BOB, "fd77::3:4": BOB}

ADDRESSES4 = [
    "10.77.0.0",
    "10.77.0.1",
    "10.77.0.2",
    "10.77.0.255",
    "10.77.3.4",
    "10.77.255.254",
    "10.77.255.255",
    "10.76.255.255",
    "10.78.0.0",
    "0.0.0.0",
    "127.0.0.1",
    "223.255.255.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
]
ADDRESSES6 = [
    "fd77::",
    "fd77::1",
    "fd77::2",
    "fd77::3:4",
    "fd77::ffff:ffff:ffff:ffff",
    "fd77:0:0:1::",
    "fd76:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::",
    "::1",
    "fe80::1",
    "feff::1",
    "ff00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]
PEERS = st.sampled_from([ALICE, BOB, Neighbour()])
TABLES = st.dictionaries(st.sampled_from([*ADDRESSES4, *ADDRESSES6]), PEERS)
PAIRS = st.one_of(
    st.tuples(st.sampled_from(ADDRESSES4), st.sampled_from(ADDRESSES4)),
    st.tuples(st.sampled_from(ADDRESSES6), st.sampled_from(ADDRESSES6)),
)
PACKETS = PAIRS.map(lambda pair: PLAIN + ip_packet(*pair, b"payload"))


def table(routes: Routes) -> Table[Neighbour]:
    made: Table[Neighbour] = Table(OWN, NETWORKS)
    for address, peer in routes.items():
        made.route(ip_address(address).packed, peer)
    return made


def ends(frame: bytes) -> tuple[Address, Address]:
    """Source and destination of a whole packet."""
    ip = frame[10:]
    if ip[0] >> 4 == 4:
        return ip_address(ip[12:16]), ip_address(ip[16:20])
    return ip_address(ip[8:24]), ip_address(ip[24:40])


def owner(routes: Routes, address: Address) -> Neighbour | None:
    """The peer that has this address, by comparing it with every route."""
    for candidate, peer in routes.items():
        if ip_address(candidate) == address:
            return peer
    return None


def way_out(routes: Routes, frame: bytes) -> Neighbour | str:
    """The peer that a packet of ours goes to, or why it is dropped."""
    _, destination = ends(frame)
    peer = owner(routes, destination)
    if peer is not None:
        return peer
    if destination.is_multicast:
        return "multicast"
    if str(destination) in ("255.255.255.255", "10.77.0.255"):
        return "broadcast"
    for network in NETWORKS:
        if destination in network:
            is_last = destination == network.broadcast_address
            return "broadcast" if is_last and network.version == 4 else "no_route"
    return "outside_network"


def way_in(routes: Routes, peer: Neighbour, frame: bytes) -> str | None:
    """Why a frame from this peer is dropped."""
    if not allowed(frame):
        return "malformed"
    source, destination = ends(frame)
    if owner(routes, source) is not peer:
        return "spoofed_source"
    return None if destination in [address.ip for address in OWN] else "misrouted"


class Outbound(unittest.SynchronousTestCase):
    """Packets from this node to peers."""

    def goes(self, destination: str) -> Neighbour | str:
        """Where a packet to this address goes, or why it is dropped."""
        own = "10.77.0.1" if "." in destination else "fd77::1"
        batches, drops = table(ROUTES).outbound([PLAIN + ip_packet(own, destination)])
        self.assertEqual(len(batches) + len(drops), 1)
        return drops[0][0] if drops else next(iter(batches))

    def test_routes(self) -> None:
        """A packet goes to the peer that has its destination."""
        for address, peer in ROUTES.items():
            self.assertIs(self.goes(address), peer)

    def test_reasons(self) -> None:
        """A packet that is not carried has a reason."""
        for address, reason in {
            "10.77.9.9": "no_route",
            "10.77.0.255": "broadcast",  # of the local subnet
            "10.77.1.255": "no_route",
            "10.78.0.1": "outside_network",
            "192.0.2.1": "outside_network",
            "240.0.0.1": "outside_network",
            "224.0.0.251": "multicast",
            "239.1.2.3": "multicast",
            "10.77.255.255": "broadcast",
            "255.255.255.255": "broadcast",
            "fd77::9": "no_route",
            "fd77::ffff:ffff:ffff:ffff": "no_route",
            "2001:db8::1": "outside_network",
            "fe80::1": "outside_network",
            "ff02::1": "multicast",
        }.items():
            self.assertEqual(self.goes(address), reason, address)

    def test_a_family_that_the_mesh_does_not_have(self) -> None:
        """In a mesh without IPv6 an IPv6 packet is outside the network."""
        only4: Table[Neighbour] = Table(OWN[:1], NETWORKS[:1])
        drops = only4.outbound([PLAIN + ip_packet("fd77::1", "fd77::2")])[1]
        self.assertEqual([reason for reason, _ in drops], ["outside_network"])

    def test_batches(self) -> None:
        """Each peer gets its packets in the order in which they came, as the same objects."""
        to_alice, to_bob, to_nobody = (
            [PLAIN + ip_packet("10.77.0.1", destination, bytes((n,))) for n in range(3)]
            for destination in ("10.77.0.2", "10.77.3.4", "10.77.9.9")
        )
        mixed = [
            frame for three in zip(to_alice, to_bob, to_nobody, strict=True) for frame in three
        ]
        batches, drops = table(ROUTES).outbound(mixed)
        self.assertEqual(batches, {ALICE: to_alice, BOB: to_bob})
        self.assertIs(batches[BOB][2], to_bob[2])
        self.assertEqual(drops, [("no_route", frame) for frame in to_nobody])

    def test_a_route_that_changes(self) -> None:
        """A replaced or removed route no longer applies to the next packet."""
        routes, frame = table(ROUTES), PLAIN + ip_packet("10.77.0.1", "10.77.0.2")
        routes.route(ip_address("10.77.0.2").packed, BOB)
        self.assertEqual(routes.outbound([frame]), ({BOB: [frame]}, []))
        routes.unroute(ip_address("10.77.0.2").packed)
        self.assertEqual(routes.outbound([frame]), ({}, [("no_route", frame)]))

    def test_short_frames(self) -> None:
        """A frame that ends inside its destination address, or before it, is malformed."""
        for destination, size in (("10.77.0.2", 30), ("fd77::2", 50)):
            own = "10.77.0.1" if size == 30 else "fd77::1"
            frame = PLAIN + ip_packet(own, destination)
            for end in range(size):
                result = table(ROUTES).outbound([frame[:end]])
                self.assertEqual(result, ({}, [("malformed", frame[:end])]), end)
            self.assertEqual(table(ROUTES).outbound([frame[:size]]), ({ALICE: [frame[:size]]}, []))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_garbage(self, garbage: list[bytes]) -> None:
        """Every frame goes to a peer or has a reason, whatever its contents."""
        batches, drops = table(ROUTES).outbound(garbage)
        self.assertEqual(sum(map(len, batches.values())) + len(drops), len(garbage))

    @settings(max_examples=300, deadline=None)
    @given(TABLES, st.lists(PACKETS, max_size=10))
    def test_beside_brute_force(self, routes: Routes, packets: list[bytes]) -> None:
        """The table and the list agree on every packet."""
        expected: dict[Neighbour, list[bytes]] = {}
        reasons: list[tuple[str, bytes]] = []
        for frame in packets:
            way = way_out(routes, frame)
            if isinstance(way, str):
                reasons.append((way, frame))
            else:
                expected.setdefault(way, []).append(frame)
        self.assertEqual(table(routes).outbound(packets), (expected, reasons))


def fate(routes: Routes, peer: Neighbour, frame: bytes) -> str | None:
    """Why this frame of a peer is dropped; None if it is not."""
    accepted, drops = table(routes).inbound(peer, [memoryview(frame)])
    return drops[0][0] if not accepted else None


class Inbound(unittest.SynchronousTestCase):
    """Packets from peers to this node."""

    def comes(self, peer: Neighbour, source: str, destination: str) -> str | None:
        frame = PLAIN + ip_packet(source, destination)
        return fate(ROUTES, peer, frame)

    def test_welcome(self) -> None:
        """A packet from an address of the peer to one of ours is accepted."""
        self.assertIsNone(self.comes(ALICE, "10.77.0.2", "10.77.0.1"))
        self.assertIsNone(self.comes(BOB, "fd77::3:4", "fd77::1"))

    def test_spoofed(self) -> None:
        """A peer may not send from the address of another node, from ours, or from one that nobody
        has."""
        for source in ("10.77.3.4", "10.77.0.1", "10.77.9.9", "0.0.0.0", "224.0.0.1"):
            self.assertEqual(self.comes(ALICE, source, "10.77.0.1"), "spoofed_source")
        self.assertEqual(self.comes(ALICE, "fd77::3:4", "fd77::1"), "spoofed_source")
        self.assertEqual(self.comes(Neighbour(), "10.77.0.2", "10.77.0.1"), "spoofed_source")

    def test_misrouted(self) -> None:
        """A packet that is not for one of our addresses is dropped."""
        for destination in ("10.77.3.4", "10.77.0.2", "192.0.2.1", "224.0.0.1", "10.77.255.255"):
            self.assertEqual(self.comes(ALICE, "10.77.0.2", destination), "misrouted")
        self.assertEqual(self.comes(ALICE, "fd77::2", "fd77::3:4"), "misrouted")

    def test_malformed(self) -> None:
        """A frame that is not one whole packet is dropped, however short it is."""
        frame = PLAIN + ip_packet("10.77.0.2", "10.77.0.1")
        for end in range(len(frame)):
            self.assertEqual(fate(ROUTES, ALICE, frame[:end]), "malformed")

    def test_batch(self) -> None:
        """The good packets of a batch are accepted in order, whatever is between them."""
        good = [PLAIN + ip_packet("10.77.0.2", "10.77.0.1", bytes([n])) for n in range(3)]
        bad = [b"", PLAIN + ip_packet("10.77.0.9", "10.77.0.1"), good[0] + b"more"]
        mixed = [memoryview(f) for pair in zip(good, bad, strict=True) for f in pair]
        accepted, drops = table(ROUTES).inbound(ALICE, mixed)
        self.assertEqual(accepted, good)
        reasons = ["malformed", "spoofed_source", "malformed"]
        self.assertEqual(drops, list(zip(reasons, bad, strict=True)))

    @settings(max_examples=300, deadline=None)
    @given(TABLES, PEERS, PACKETS | frames())
    def test_beside_brute_force(self, routes: Routes, peer: Neighbour, frame: bytes) -> None:
        """The table and the list accept the same packets, and drop others for the same reason."""
        self.assertEqual(fate(routes, peer, frame), way_in(routes, peer, frame))


class Readdress(unittest.SynchronousTestCase):
    """Addresses that come and change while the node runs."""

    def setUp(self) -> None:
        self.table: Table[Neighbour] = Table((), NETWORKS, broadcast=True)
        for address, peer in ROUTES.items():
            self.table.route(ip_address(address).packed, peer)
        self.table.join(ALICE, [ip_interface("10.77.0.2/24")])
        self.table.join(BOB, [ip_interface("10.77.3.4/24")])

    def out(self, destination: str) -> set[object]:
        """The peers that get a packet to this address, or why nobody does."""
        source = "10.77.0.1" if "." in destination else "fd77::1"
        batches, drops = self.table.outbound([PLAIN + ip_packet(source, destination)])
        return {*batches, *(str(why) for why, _ in drops)}

    def comes(self, source: str, destination: str) -> bool:
        frame = memoryview(PLAIN + ip_packet(source, destination))
        return bool(self.table.inbound(ALICE, [frame])[0])

    def test_none_yet(self) -> None:
        """Without an address nothing is sent, not even to nodes that have a route, and nothing is
        accepted, not even a broadcast."""
        self.assertEqual(self.out("10.77.0.2"), {"no_address"})
        self.assertEqual(self.out("fd77::2"), {"no_address"})
        self.assertEqual(self.out("10.77.9.9"), {"no_address"})
        self.assertEqual(self.out("10.77.255.255"), {"broadcast"})
        self.assertEqual(self.out("192.0.2.1"), {"outside_network"})
        for destination in ("10.77.0.1", "10.77.255.255", "255.255.255.255"):
            self.assertFalse(self.comes("10.77.0.2", destination), destination)

    def test_one_family(self) -> None:
        """An address is enough for its own family."""
        self.table.readdress(OWN[1:])
        self.assertEqual(self.out("fd77::2"), {ALICE})
        self.assertEqual(self.out("10.77.0.2"), {"no_address"})
        self.assertTrue(self.comes("fd77::2", "fd77::1"))

    def test_moved(self) -> None:
        """Packets to the old address are not accepted any more, those to the new one are; the
        routes are as they were, and later ones apply."""
        self.table.readdress(OWN)
        self.assertTrue(self.comes("10.77.0.2", "10.77.0.1"))
        self.table.readdress([ip_interface("10.77.3.9/24"), OWN[1]])
        self.assertFalse(self.comes("10.77.0.2", "10.77.0.1"))
        self.assertTrue(self.comes("10.77.0.2", "10.77.3.9"))
        self.assertEqual(self.out("10.77.0.2"), {ALICE})
        self.table.route(ip_address("10.77.0.7").packed, BOB)
        self.assertEqual(self.out("10.77.0.7"), {BOB})
        self.table.unroute(ip_address("10.77.0.7").packed)
        self.assertEqual(self.out("10.77.0.7"), {"no_route"})

    def test_lost(self) -> None:
        """An address that is taken off leaves nothing that packets could be sent by; routes that
        are learned meanwhile apply when there is an address again."""
        self.table.readdress(OWN)
        self.table.readdress(())
        self.table.route(ip_address("10.77.0.7").packed, BOB)
        self.assertEqual(self.out("10.77.0.7"), {"no_address"})
        self.table.unroute(ip_address("10.77.0.2").packed)
        self.table.readdress(OWN)
        self.assertEqual(self.out("10.77.0.7"), {BOB})
        self.assertEqual(self.out("10.77.0.2"), {"no_route"})

    def test_broadcasts(self) -> None:
        """Broadcasts of the local subnet follow the address, and the addresses of others."""
        self.table.readdress(OWN)
        self.assertEqual(self.out("10.77.0.255"), {ALICE})
        self.assertEqual(self.out("255.255.255.255"), {ALICE})
        self.table.readdress([ip_interface("10.77.3.9/24")])
        self.assertEqual(self.out("10.77.0.255"), {"no_route"})
        self.assertEqual(self.out("10.77.3.255"), {BOB})
        self.table.join(ALICE, [ip_interface("10.77.3.2/24")])
        self.assertEqual(self.out("10.77.3.255"), {ALICE, BOB})
        self.assertEqual(self.out("10.77.255.255"), {ALICE, BOB})
        self.table.part(BOB)
        self.table.readdress(OWN)
        self.assertEqual(self.out("10.77.255.255"), {ALICE})
        self.assertFalse(self.table.is_local([ip_interface("10.77.3.2/24")]))

    def test_several_subnets(self) -> None:
        """A node with addresses in several subnets reaches in each those that are there, and all of
        them by 255.255.255.255; a peer need be in one of them only to be near."""
        self.table.readdress([ip_interface(each) for each in ("10.77.0.1/24", "10.77.3.1/24")])
        self.assertEqual(self.out("10.77.0.255"), {ALICE})
        self.assertEqual(self.out("10.77.3.255"), {BOB})
        self.assertEqual(self.out("255.255.255.255"), {ALICE, BOB})
        self.assertEqual(self.out("10.77.255.255"), {ALICE, BOB})
        self.assertTrue(self.table.is_local([ip_interface("10.77.3.2/24")]))
        self.assertTrue(
            self.table.is_local([ip_interface("10.77.9.2/24"), ip_interface("10.77.0.9/24")])
        )
        self.assertFalse(self.table.is_local([ip_interface("10.77.9.2/24")]))
        self.assertFalse(self.table.is_local([]))
        self.table.readdress([ip_interface(each) for each in ("10.77.2.1/24", "10.77.3.1/23")])
        self.assertEqual(self.out("10.77.3.255"), {BOB})

    def test_errors_about_packets(self) -> None:
        """ICMP errors are believed if they are about packets of an address that is ours now."""
        self.table.readdress(OWN)
        quoted = ip_packet("10.77.0.1", "10.77.0.2", b"payload!")
        unreachable = PLAIN + ip_packet("10.77.0.2", "10.77.0.1", b"\3\1" + bytes(6) + quoted, 1)
        (accepted,) = self.table.inbound(ALICE, [memoryview(unreachable)])[:1]
        self.assertEqual(len(accepted), 1)
        self.table.readdress([ip_interface("10.77.0.9/24")])
        moved = PLAIN + ip_packet("10.77.0.2", "10.77.0.9", b"\3\1" + bytes(6) + quoted, 1)
        drops = self.table.inbound(ALICE, [memoryview(moved)])[1]
        self.assertEqual([why for why, _ in drops], ["icmp_error"])
