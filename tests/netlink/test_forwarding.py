"""Whether a machine forwards: with a real kernel, and with settings that are made up."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

from pyroute2 import IPRoute
from twisted.trial import unittest

from tests.support import netns
from tunmesh.addresses import Network
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink import forwarding

LAN, LAN6 = ip_network("192.168.5.0/24"), ip_network("fd5e::/64")
MESHES = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
SYSCTLS = Path("/proc/sys/net")


class ForwardingCase(unittest.SynchronousTestCase):
    """A machine with a LAN on eth0, and a device in place of a tun."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.machine, self.lan = Namespace.create(), Namespace.create()
        for namespace in (self.machine, self.lan):
            self.addCleanup(namespace.close)
        netns.wire(self.machine, "192.168.5.2/24", self.lan, "192.168.5.9/24")
        with self.machine, IPRoute() as ip:
            netns.loopback_up()
            index = socket.if_nametoindex("eth0")
            ip.addr("add", index=index, address="fd5e::2", prefixlen=64, flags=2)
            self.set(1)

    def set(self, value: int, *names: str) -> None:
        """Set these sysctls of the caller's namespace; by default those that switch all."""
        for name in names or ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            (SYSCTLS / name).write_text(str(value))

    def add_tun(self) -> None:
        """Add what the mesh is routed to."""
        with IPRoute() as ip:
            ip.link("add", ifname="tun1", kind="veth", peer={"ifname": "other"})
            for name in ("tun1", "other"):
                ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")
            tun = ip.link_lookup(ifname="tun1")[0]
            ip.addr("add", index=tun, address="10.77.0.1", prefixlen=16)

    def found(self, *networks: Network) -> list[str]:
        return forwarding.obstacles("tun1", networks or (LAN, LAN6), MESHES)

    def assert_one(self, *parts: str, networks: Iterable[Network] = ()) -> None:
        (found,) = self.found(*networks)
        for part in parts:
            self.assertIn(part, found)


class ForwardingTests(ForwardingCase):
    def test_on(self) -> None:
        """Nothing prevents anything, before the tun is there and after."""
        with self.machine:
            self.assertEqual(self.found(), [])
            self.add_tun()
            self.assertEqual(self.found(), [])

    def test_off(self) -> None:
        """Each family is named, with the command that helps."""
        with self.machine:
            self.set(0)
            to, back = self.found(LAN)
            self.assertIn("off on tun1, so that nothing gets to 192.168.5.0/24: sysctl -w", to)
            self.assertIn("net.ipv4.ip_forward=1", to)
            self.assertIn("off on eth0, so that nothing gets from 192.168.5.0/24", back)
            self.assert_one("net.ipv6.conf.all.forwarding=1", networks=[LAN6])

    def test_off_on_one_interface(self) -> None:
        """The interface of the LAN, or the tun, may be the one that does not forward."""
        with self.machine:
            self.add_tun()
            for name in ("eth0", "tun1"):
                self.set(0, f"ipv4/conf/{name}/forwarding")
                self.assert_one(f"IPv4 forwarding is off on {name}", networks=[LAN])
                self.set(1, f"ipv4/conf/{name}/forwarding")

    def test_no_route(self) -> None:
        """What this machine cannot reach, it should not advertise."""
        with self.machine:
            unknown = ip_network("172.20.0.0/16")
            self.assert_one("no route to 172.20.0.0/16", networks=[unknown])

    def test_to_other_nodes(self) -> None:
        """Nor what it reaches through the mesh itself."""
        with self.machine:
            self.add_tun()
            inside = ip_network("10.77.9.0/24")
            self.assert_one("this machine itself sends", "to other nodes", networks=[inside])

    def test_refused_by_a_rule(self) -> None:
        """The kernel is asked what it does with packets that come in: a rule may refuse them that
        does not concern those of this machine."""
        with self.machine, IPRoute() as ip:
            self.add_tun()
            ip.rule("add", priority=100, iifname="tun1", action="prohibit")
            self.assert_one(
                "this machine does not forward what comes from 10.77.0.2", networks=[LAN]
            )

    def test_strict_filtering(self) -> None:
        """A strict filter of reverse paths prevents nothing: hosts and nodes are reached by the
        interface that their packets come in on."""
        with self.machine:
            self.add_tun()
            self.set(1, "ipv4/conf/all/rp_filter")
            self.assertEqual(self.found(LAN), [])

    def test_all_addresses_are_its_own(self) -> None:
        """A network of nothing but addresses of this machine leads nowhere."""
        with self.machine, IPRoute() as ip:
            netns.loopback_up()
            lo = socket.if_nametoindex("lo")
            ip.addr("add", index=lo, address="172.20.0.1", prefixlen=32)
            own = ip_network("172.20.0.1/32")
            self.assert_one("its first addresses are this machine's own", networks=[own])
