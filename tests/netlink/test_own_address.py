"""The address at which others may reach this machine, guessed."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import IPRoute
from twisted.trial import unittest

from tests.support import netns
from tunmesh.addresses import Network, literal_address
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink.own_address import LAST_RESORT, guess, source_address

MESH: list[Network] = [ip_network("10.9.0.0/16"), ip_network("fd09::/64")]
V4, V6 = "192.0.2.1", "2001:db8::1"  # the default routes


def guessed(
    sources: Mapping[str, str], interfaces: Iterable[str] = (), targets: Iterable[str] = ()
) -> str:
    """The guess of a machine with these sources by destination, and these interfaces."""
    dialed = [(host, 4567) for host in targets]
    return guess(MESH, dialed, sources.get, lambda: interfaces)


class Choice(unittest.SynchronousTestCase):
    """Which of the addresses it is."""

    def test_default_route(self) -> None:
        """The source on the default route, IPv4 before IPv6; with IPv6 only, that."""
        self.assertEqual(guessed({V4: "10.1.2.3", V6: "fd01::3"}), "10.1.2.3")
        self.assertEqual(guessed({V6: "fd01::3"}), "fd01::3")

    def test_way_to_the_bootstrap_node(self) -> None:
        """On a machine in several networks: the one that the bootstrap node is in. A name is not
        looked up."""
        sources = {V4: "10.1.2.3", "192.168.7.1": "192.168.7.2", "fd01::1": "fd01::3"}
        self.assertEqual(guessed(sources, targets=["192.168.7.1"]), "192.168.7.2")
        self.assertEqual(guessed(sources, targets=["fd01::1"]), "fd01::3")
        self.assertEqual(guessed(sources, targets=["first.example"]), "10.1.2.3")

    def test_no_route(self) -> None:
        """Without a default route: an address of some interface."""
        self.assertEqual(guessed({}, ["127.0.0.1", "fe80::1", "10.1.2.3", "::1"]), "10.1.2.3")

    def test_never_in_the_mesh(self) -> None:
        """An address inside the mesh is not taken, though nothing else is there."""
        self.assertEqual(guessed({V4: "10.9.0.1", V6: "fd09::1"}, ["10.9.0.1"]), LAST_RESORT)

    def test_local_addresses(self) -> None:
        """Loopback and IPv4 link-local addresses are taken if nothing else is there; IPv6
        link-local ones never, since a URL cannot name the interface that they need."""
        self.assertEqual(guessed({}, ["127.0.0.1", "169.254.7.7", "fe80::1"]), "169.254.7.7")
        self.assertEqual(guessed({}, ["::1", "fe80::1"]), "::1")
        self.assertEqual(guessed({"127.0.0.1": "127.0.0.1", V4: "10.1.2.3"}), "10.1.2.3")
        self.assertEqual(guessed({}), LAST_RESORT)

    def test_mapped(self) -> None:
        """An IPv4 address that a dual-stack socket shows is an IPv4 address."""
        self.assertEqual(guessed({V6: "::ffff:10.1.2.3"}), "10.1.2.3")

    @given(st.lists(st.ip_addresses().map(str)))
    def test_any(self, interfaces: list[str]) -> None:
        """Whatever addresses there are, a URL can be made of the guess, and it is none of the
        mesh's."""
        address = literal_address(guessed({}, interfaces))
        assert address is not None
        self.assertFalse(any(address in network for network in MESH))
        self.assertFalse(address.is_unspecified or address.is_multicast)


class RealMachine(unittest.SynchronousTestCase):
    """What the kernel says."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.here, there = Namespace.create(), Namespace.create()
        self.addCleanup(self.here.close)
        self.addCleanup(there.close)
        netns.wire(self.here, "10.1.2.3/24", there, "10.1.2.1/24")
        with self.here:
            netns.loopback_up()

    def test_machine(self) -> None:
        """A cable without a default route, with one, and a second address on the way to a bootstrap
        node; IPv6 alone; nothing at all."""
        here = self.here
        with here, IPRoute() as ip:
            cable = socket.if_nametoindex("eth0")
            self.assertIsNone(source_address(V4))
            self.assertEqual(guess(MESH), "10.1.2.3")
            ip.route("add", dst="default", gateway="10.1.2.1")
            self.assertEqual(guess(MESH), "10.1.2.3")
            ip.addr("add", index=cable, address="172.20.0.5/16")
            self.assertEqual(guess(MESH, [("172.20.0.1", 4567)]), "172.20.0.5")
            self.assertEqual(guess([ip_network("10.1.2.0/24")]), "172.20.0.5")
            ip.addr("add", index=cable, address="fd01::3/64", flags=2)
            ip.flush_addr(index=cable, family=socket.AF_INET)
            self.assertEqual(guess(MESH), "fd01::3")
            ip.flush_addr(index=cable)
            self.assertIn(guess(MESH), ("127.0.0.1", "::1"))
            ip.link("set", index=socket.if_nametoindex("lo"), state="down")
            self.assertEqual(guess(MESH), LAST_RESORT)
