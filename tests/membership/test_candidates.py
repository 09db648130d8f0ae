"""In which order a node tries the addresses of a network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.membership.candidates import Candidates

WIDE = IPv4Network("10.9.0.0/16")
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=20)


def first(candidates: Candidates, count: int = 1) -> list[str]:
    return [str(interface) for _, interface in islice(candidates, count)]


class CandidateTests(unittest.SynchronousTestCase):
    """The order follows from network and name."""

    def test_stays_the_same(self) -> None:
        """These are fixed for ever: a node that is updated keeps its address."""
        self.assertEqual(
            first(Candidates(WIDE, 16, "web-0"), 3),
            ["10.9.222.180/16", "10.9.121.83/16", "10.9.19.242/16"],
        )
        self.assertEqual(
            first(Candidates(IPv6Network("fd09::/64"), 64, "web-0"), 2),
            ["fd09::c4a2:4300:40fb:1c92/64", "fd09::f38d:33fa:6107:c4f/64"],
        )

    def test_names_differ(self) -> None:
        """Two names rarely begin with the same address, or go on with the same step."""
        firsts = {first(Candidates(WIDE, 16, f"web-{n}"))[0] for n in range(1000)}
        self.assertGreater(len(firsts), 980)  # 992 of 65,536 are to be expected
        seconds = {tuple(first(Candidates(WIDE, 16, f"web-{n}"), 2)) for n in range(1000)}
        self.assertEqual(len(seconds), 1000)

    @settings(max_examples=60, deadline=None)
    @given(NAMES, st.integers(23, 30), st.data())
    def test_every_host_once(self, name: str, length: int, data: st.DataObject) -> None:
        """In a network of up to 2^32 hosts each comes exactly once, except for those that stand
        for a network or are reserved; `hosts` is how many there are."""
        network = ip_network(f"10.9.0.0/{length}")
        prefix = data.draw(st.integers(length, 30))
        reserved = data.draw(
            st.sets(
                st.integers(0, network.num_addresses + 5).map(lambda n: network[0] + n), max_size=5
            )
        )
        candidates = Candidates(network, prefix, name, reserved)
        found = [interface for _, interface in candidates]
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(len(found), candidates.hosts)
        standing = {
            address
            for subnet in network.subnets(new_prefix=prefix)
            for address in (subnet[0], subnet[-1])
        }
        everything = set(map(IPv4Address, range(int(network[0]), int(network[-1]) + 1)))
        self.assertEqual({each.ip for each in found}, everything - standing - reserved)
        self.assertLessEqual({each.network.prefixlen for each in found}, {prefix})

    @settings(max_examples=50, deadline=None)
    @given(NAMES, st.integers(8, 126), st.data())
    def test_ipv6(self, name: str, length: int, data: st.DataObject) -> None:
        """In IPv6 the last address of a network is a host like any other, the first one is none."""
        network = IPv6Network(
            (int(ip_address("fd09::")) >> (128 - length) << (128 - length), length)
        )
        prefix = data.draw(st.integers(length, 126))
        candidates = Candidates(network, prefix, name)
        for _, interface in islice(candidates, 50):
            self.assertIn(interface.ip, network)
            self.assertNotEqual(interface.ip, interface.network[0])
            self.assertEqual(interface.network.prefixlen, prefix)
        self.assertEqual(candidates.hosts, 2 ** (128 - length) - 2 ** (prefix - length))
        if length >= 118:
            self.assertEqual(len(list(candidates)), candidates.hosts)

    def test_large_network(self) -> None:
        """A network with more than 2^64 hosts is used by its lower 64 bits."""
        found = first(Candidates(IPv6Network("fd09::/48"), 48, "web-0"), 3)
        for text in found:
            self.assertIn(ip_address(text.split("/")[0]), IPv6Network("fd09::/64"))
        self.assertEqual(len(set(found)), 3)

    def test_reserved(self) -> None:
        """A reserved address is left out, and so the next one comes."""
        both = first(Candidates(WIDE, 16, "web-0"), 2)
        reserved = ip_address(both[0].split("/")[0])
        self.assertEqual(first(Candidates(WIDE, 16, "web-0", [reserved])), both[1:])
