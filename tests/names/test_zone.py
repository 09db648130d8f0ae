"""Answers about the mesh's names and addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.names.test_directory import member
from tunmesh.names.answers import Answer, Code, Kind
from tunmesh.names.directory import Directory
from tunmesh.names.zone import Zone

NETWORKS = (ip_network("10.9.0.0/16"), ip_network("fd09::/64"))
DNS = (ip_address("10.9.255.254"), ip_address("fd09::ffff:ffff:ffff:ffff"))
ZONE = Zone("mesh", NETWORKS, DNS)
BOTH = ("10.9.0.1/16", "fd09::1/64")
NODES = [
    member(1, "Web-1", ("web",), addresses=BOTH),
    member(2, "web-2", ("web",)),
    member(3, "db.eu"),
    member(4, "late", addresses=("10.9.0.4/16",)),
    member(5, "web-2"),
]
DIRECTORY = Directory([*NODES[:3], NODES[3].__class__(NODES[3].record, ()), NODES[4]], True)


def ask(
    name: str, kind: int = Kind.A, zone: Zone = ZONE, known: Directory = DIRECTORY
) -> Answer | None:
    return zone.answer(tuple(name.lower().split(".")), kind, known)


class Forward(unittest.SynchronousTestCase):
    """Names below the domain."""

    def answer(self, name: str, kind: int = Kind.A) -> tuple[int, list[str]]:
        answer = ask(name, kind)
        assert answer is not None
        self.assertEqual(answer.zone, "mesh")
        return answer.code, [str(record.value) for record in answer.records]

    def test_node(self) -> None:
        """A and AAAA of a node; ANY is both."""
        self.assertEqual(self.answer("web-1.mesh"), (0, ["10.9.0.1"]))
        self.assertEqual(self.answer("WEB-1.Mesh", Kind.AAAA), (0, ["fd09::1"]))
        self.assertEqual(self.answer("web-1.mesh", Kind.ANY), (0, ["10.9.0.1", "fd09::1"]))
        self.assertEqual(self.answer("db.eu.mesh"), (0, ["10.9.0.3"]))

    def test_groups(self) -> None:
        """A group, all nodes, and the DNS address."""
        self.assertEqual(self.answer("web.mesh"), (0, ["10.9.0.1", "10.9.0.2"]))
        everybody = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.5"]
        self.assertEqual(self.answer("_nodes.mesh"), (0, everybody))
        self.assertEqual(self.answer("_dns.mesh"), (0, ["10.9.255.254"]))

    def test_nodata(self) -> None:
        """A name that exists without such a record: no records, but never NXDOMAIN, at which some
        resolvers give up asking for the other family."""
        for name, kind in (
            ("web-2.mesh", Kind.AAAA),
            ("web-2.mesh", 16),
            ("web-2.mesh", 65),
            ("late.mesh", Kind.A),
            ("late.mesh", Kind.ANY),
            ("eu.mesh", Kind.A),
            ("mesh", Kind.A),
        ):
            self.assertEqual(self.answer(name, kind), (0, []), (name, kind))

    def test_nxdomain(self) -> None:
        """Names that nobody has."""
        for name in ("web-9.mesh", "x.web-1.mesh", "nodes.mesh", "web.web.mesh"):
            self.assertEqual(self.answer(name), (Code.NO_SUCH_NAME, []), name)

    def test_zone_itself(self) -> None:
        """The domain has an SOA and a name server, which is this node."""
        self.assertEqual(self.answer("mesh", Kind.NS), (0, ["_dns.mesh"]))
        self.assertEqual(len(self.answer("mesh", Kind.SOA)[1]), 1)
        self.assertEqual(len(self.answer("mesh", Kind.ANY)[1]), 2)

    def test_elsewhere(self) -> None:
        """Other names are not answered here, whatever they look like."""
        for name in ("example.com", "web-1", "xmesh", "web-1.mesh.example", "", "com"):
            self.assertIsNone(ask(name), name)

    def test_longer_domain(self) -> None:
        """A domain of two labels leaves its parent alone."""
        zone = Zone("mesh.example", NETWORKS, DNS)
        answer = ask("web-1.mesh.example", zone=zone)
        assert answer is not None
        self.assertEqual(len(answer.records), 1)
        self.assertIsNone(ask("example", zone=zone))
        self.assertIsNone(ask("web-1.example", zone=zone))

    def test_not_in_the_mesh(self) -> None:
        """While a node is not in the mesh, it cannot say that a name does not exist."""
        lonely = Directory(NODES[:1], False)
        for name in ("web-2.mesh", "2.0.9.10.in-addr.arpa"):
            self.assertEqual(ask(name, known=lonely), Answer(Code.FAILED))
        known = ask("web-1.mesh", known=lonely)
        assert known is not None
        self.assertEqual(known.code, Code.OK)


class Reverse(unittest.SynchronousTestCase):
    """Names of addresses."""

    def names(self, name: str, kind: int = Kind.PTR) -> tuple[int, list[str], str]:
        answer = ask(name, kind)
        assert answer is not None, name
        return answer.code, [str(record.value) for record in answer.records], answer.zone

    def test_addresses(self) -> None:
        """The node of an address, with its name as it is written."""
        zone = "9.10.in-addr.arpa"
        self.assertEqual(self.names("1.0.9.10.in-addr.arpa"), (0, ["Web-1.mesh"], zone))
        self.assertEqual(self.names("3.0.9.10.in-addr.arpa"), (0, ["db.eu.mesh"], zone))
        self.assertEqual(self.names("254.255.9.10.in-addr.arpa"), (0, ["_dns.mesh"], zone))
        six = ip_address("fd09::1").reverse_pointer
        self.assertEqual(self.names(six)[:2], (0, ["Web-1.mesh"]))
        self.assertEqual(self.names(six)[2], six[32:])
        self.assertEqual(self.names("1.0.9.10.in-addr.arpa", Kind.A), (0, [], zone))

    def test_second_claimant(self) -> None:
        """A node whose name leads to another one has none: the two lookups would contradict each
        other."""
        self.assertEqual(self.names("5.0.9.10.in-addr.arpa")[:2], (0, []))

    def test_nobody(self) -> None:
        """Addresses of the mesh that nobody has, and what is no address, do not exist."""
        for name in (
            "9.0.9.10.in-addr.arpa",
            "x.0.9.10.in-addr.arpa",
            "1.1.0.9.10.in-addr.arpa",
            "01.0.9.10.in-addr.arpa",
            "256.0.9.10.in-addr.arpa",
            "77.9.10.in-addr.arpa",
            "2." + ip_address("fd09::1").reverse_pointer[2:],
            "g." + ip_address("fd09::1").reverse_pointer[2:],
        ):
            self.assertEqual(self.names(name)[:2], (Code.NO_SUCH_NAME, []), name)

    def test_part_of_an_address(self) -> None:
        """A reverse name that addresses end with exists."""
        for name in ("0.9.10.in-addr.arpa", "9.10.in-addr.arpa"):
            self.assertEqual(self.names(name)[:2], (0, []), name)

    def test_elsewhere(self) -> None:
        """Names beyond the mesh's networks are not answered here."""
        for name in (
            "10.in-addr.arpa",
            "in-addr.arpa",
            "ip6.arpa",
            "arpa",
            "1.0.8.10.in-addr.arpa",
            "d.f.ip6.arpa",
            ip_address("fd08::1").reverse_pointer,
        ):
            self.assertIsNone(ask(name, Kind.PTR), name)

    def test_odd_prefix(self) -> None:
        """A network that does not end at a dot: a zone for each part of it that does."""
        zone = Zone("mesh", (ip_network("10.9.16.0/20"),), ())
        inside, outside = "7.17.9.10.in-addr.arpa", "7.32.9.10.in-addr.arpa"
        answer = ask(inside, Kind.PTR, zone)
        assert answer is not None
        self.assertEqual((answer.code, answer.zone), (3, "17.9.10.in-addr.arpa"))
        self.assertIsNone(ask(outside, Kind.PTR, zone))
        self.assertIsNone(ask("9.10.in-addr.arpa", Kind.PTR, zone))

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1), st.integers(1, 30))
    def test_every_address(self, four: int, six: int, prefix: int) -> None:
        """An address is answered here exactly if it is in one of the networks."""
        zone = Zone("mesh", (ip_network(("10.9.7.9", prefix), strict=False), NETWORKS[1]), ())
        for address in (ip_address(four), ip_address(six.to_bytes(16))):
            is_ours = any(
                address in network
                for network in (ip_network(("10.9.7.9", prefix), strict=False), NETWORKS[1])
            )
            answer = ask(address.reverse_pointer, Kind.PTR, zone)
            self.assertEqual(answer is not None, is_ours)
            if answer is not None:
                self.assertTrue(address.reverse_pointer.endswith(f".{answer.zone}"))

    @given(
        st.lists(
            st.sampled_from(("0", "9", "10", "256", "a", "f", "x", "", "007", "²")), max_size=34
        )
    )
    def test_garbage(self, labels: list[str]) -> None:
        """No name raises."""
        for suffix in ("in-addr.arpa", "ip6.arpa", "mesh"):
            for kind in (Kind.PTR, Kind.ANY):
                ask(".".join([*labels, suffix]), kind)
