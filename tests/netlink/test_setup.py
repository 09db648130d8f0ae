"""Checking and configuring a machine for the mesh, in real namespaces."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

from tests.support import netns
from tunmesh.addresses import link_local_of
from tunmesh.dataplane.tun import open_tun
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink import query, setup
from tunmesh.netlink.changes import PIECE, SEGMENT, segment
from tunmesh.netlink.overlaps import Overlay
from tunmesh.netlink.setup import check, configure, guarded, put_guard, remark, remove_guard
from tunmesh.wire.datagrams import MAX_DATAGRAM

reactor: Any = trial_reactor


def overlay(address: str, network: str) -> Overlay:
    return Overlay(ip_network(network), (ip_interface(address),))


class NamespaceCase(unittest.TestCase):
    """A pod: eth0 with 10.1.2.3/24 and fd01:2::3/64, default routes over it."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.pod, self.host = Namespace.create(), Namespace.create()
        self.addCleanup(self.pod.close)
        self.addCleanup(self.host.close)
        netns.wire(self.pod, "10.1.2.3/24", self.host, "10.1.2.1/24")
        with self.pod, IPRoute() as ip:
            netns.loopback_up()
            ip.addr("add", index=socket.if_nametoindex("eth0"), address="fd01:2::3/64", flags=2)
            ip.route("add", dst="default", gateway="10.1.2.1")

    def add_route(self, network: str, **options: Any) -> None:
        with self.pod, IPRoute() as ip:
            ip.route("add", dst=network, **options)

    def add_rule(self, **options: Any) -> None:
        with self.pod, IPRoute() as ip:
            ip.rule("add", family=socket.AF_INET, **options)

    def state(self) -> set[object]:
        """Interfaces, addresses and routes of the pod, for comparison. Without the IPv6 addresses
        of eth0, which settle at an unpredictable time."""
        with self.pod, IPRoute() as ip:
            eth0 = socket.if_nametoindex("eth0")
            addresses = {
                (a["index"], a.get_attr("IFA_ADDRESS"), a["prefixlen"], a["family"])
                for a in ip.get_addr()
            }
            routes = {
                (r.get_attr("RTA_OIF"), r.get_attr("RTA_DST"), r["dst_len"], r["family"])
                for r in ip.get_routes()
            }
        kept = {one for one in addresses | routes if (one[0], one[3]) != (eth0, socket.AF_INET6)}
        with self.pod:
            return {*kept, *(name for _, name in socket.if_nameindex())}


class CheckTests(NamespaceCase):
    """Overlays that overlap with existing networks are refused before anything is created."""

    def refusal(self, *overlays: Overlay) -> str:
        with self.pod:
            error = self.assertRaises(OperatorError, check, "tun1", overlays)
        self.assertNotIn("\n", str(error))
        return str(error)

    def accept(self, *overlays: Overlay) -> None:
        with self.pod:
            check("tun1", overlays)

    def test_no_overlap(self) -> None:
        """A mesh that overlaps with nothing is accepted; the default route is no obstacle."""
        self.accept(overlay("10.77.0.1/24", "10.77.0.0/16"), overlay("fd77::1/64", "fd77::/48"))

    def test_around_an_interface(self) -> None:
        """A mesh that contains the subnet of eth0 is refused, naming key, networks and device."""
        text = self.refusal(overlay("10.77.0.1/24", "10.0.0.0/8"))
        self.assertIn("networking/ipv4/network_cidr: 10.0.0.0/8 overlaps 10.1.2.0/24", text)
        self.assertIn("eth0", text)
        self.assertIn("choose another network", text)

    def test_inside_an_interface(self) -> None:
        """A mesh inside the subnet of eth0 is refused too."""
        self.assertIn("10.1.2.0/24", self.refusal(overlay("10.1.2.130/26", "10.1.2.128/25")))

    def test_ipv6_interface(self) -> None:
        """IPv6 has the same rule, with its own key."""
        text = self.refusal(overlay("fd01:2::77/64", "fd01::/16"))
        self.assertIn("networking/ipv6/network_cidr: fd01::/16 overlaps fd01:2::/64", text)

    def test_loopback(self) -> None:
        """A mesh in 127.0.0.0/8 is refused."""
        self.assertIn("lo", self.refusal(overlay("127.7.0.1/16", "127.7.0.0/16")))

    def test_far_end(self) -> None:
        """Both ends of a point-to-point interface count as in use."""
        with self.pod, IPRoute() as ip:
            index = socket.if_nametoindex("eth0")
            ip.addr("add", index=index, local="172.30.0.1", address="172.31.0.1", prefixlen=32)
        self.assertIn("172.30.0.1/32", self.refusal(overlay("172.30.0.9/16", "172.30.0.0/16")))
        self.assertIn("172.31.0.1/32", self.refusal(overlay("172.31.0.9/16", "172.31.0.0/16")))

    def test_route(self) -> None:
        """A network that is routed elsewhere, wholly or in part, is refused, naming the
        interface."""
        self.add_route("10.77.0.0/16", gateway="10.1.2.1", priority=5)
        text = self.refusal(overlay("10.77.0.1/16", "10.77.0.0/16"))
        self.assertIn("10.77.0.0/16, which eth0 uses", text)
        self.add_route("10.78.3.0/24", gateway="10.1.2.1")
        text = self.refusal(overlay("10.78.0.1/16", "10.78.0.0/16"))
        self.assertIn("10.78.3.0/24, which eth0 uses", text)

    def test_route_of_many_hops(self) -> None:
        """A multipath route counts like any other."""
        self.add_route("10.77.9.0/24", multipath=[{"gateway": "10.1.2.1"}, {"gateway": "10.1.2.9"}])
        text = self.refusal(overlay("10.77.0.1/16", "10.77.0.0/16"))
        self.assertIn("10.77.9.0/24, which eth0 uses", text)

    def test_parts_of_a_default_route(self) -> None:
        """Default routes split into parts, as by other VPNs, are default routes."""
        for part in ("0.0.0.0/1", "128.0.0.0/1"):
            self.add_route(part, gateway="10.1.2.1")
        for part in ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2", "8.0.0.0/5"):
            self.add_route(part, gateway="10.1.2.1")
        for part in ("::/1", "8000::/1", "2000::/3", "fc00::/6"):
            self.add_route(part, gateway="fd01:2::1")
        overlays = overlay("10.77.0.1/16", "10.77.0.0/16"), overlay("fd77::1/64", "fd77::/48")
        self.accept(*overlays)
        with self.pod:
            self.assertEqual([remark("tun1", one) for one in overlays], [None, None])

    def test_wider_route(self) -> None:
        """A wider route does not conflict with the mesh, as a default route does not; there is a
        remark if it is a network that an operator may have assigned."""
        self.add_route("10.0.0.0/8", gateway="10.1.2.1")
        self.add_route("10.64.0.0/10", gateway="10.1.2.1")
        mesh = overlay("10.77.0.1/16", "10.77.0.0/16")
        self.accept(mesh)
        with self.pod:
            text = remark("tun1", mesh)
        self.assertIn("10.77.0.0/16 is a part of 10.64.0.0/10, which eth0 uses", text or "")

    def test_rule_first(self) -> None:
        """A table that is looked up before the main table takes over what it routes of the mesh,
        even all of it: as Tailscale's 52 does."""
        self.add_route("10.77.3.0/24", gateway="10.1.2.1", table=52)
        self.add_rule(priority=5270, table=52)
        text = self.refusal(overlay("10.77.0.1/16", "10.77.0.0/16"))
        self.assertIn(
            "the rule '5270: from all lookup 52' comes before the main table and sends "
            "10.77.3.0/24 to eth0",
            text,
        )
        self.accept(overlay("10.78.0.1/16", "10.78.0.0/16"))
        self.add_route("default", gateway="10.1.2.1", table=52)
        self.assertIn("0.0.0.0/0 to eth0", self.refusal(overlay("10.78.0.1/16", "10.78.0.0/16")))

    def test_rule_later(self) -> None:
        """A table that is used only where the main table has nothing but a default route, as by
        wg-quick, takes nothing of the mesh."""
        self.add_route("default", gateway="10.1.2.1", table=51820)
        self.add_rule(priority=32765, table=51820, fwmark=0xCA6C, flags=2)  # inverted match
        mesh = overlay("10.77.0.1/16", "10.77.0.0/16")
        self.assertIn("not from all fwmark 0xca6c/0xffffffff lookup 51820", self.refusal(mesh))
        self.add_rule(priority=32764, table=254, suppress_prefixlength=0)
        self.accept(mesh)

    def test_rule_for_others(self) -> None:
        """Rules for other sources, marks and interfaces do not concern the mesh's packets; a rule
        that rejects them does."""
        self.add_route("default", gateway="10.1.2.1", table=52)
        self.add_rule(priority=100, table=52, src="192.0.2.0", src_len=24)
        self.add_rule(priority=101, table=52, fwmark=7)
        self.add_rule(priority=102, table=52, iifname="eth0")
        self.add_rule(priority=103, table=52, dst="192.0.2.0", dst_len=24)
        mesh = overlay("10.77.0.1/16", "10.77.0.0/16")
        self.accept(mesh)
        self.add_rule(priority=104, dst="10.77.4.0", dst_len=24, action="prohibit")
        self.assertIn("to 10.77.4.0/24 prohibit' comes before the main table", self.refusal(mesh))

    def test_allowed(self) -> None:
        """An overlap that the operator allows is no obstacle; one next to it is."""
        mesh = overlay("10.1.0.1/16", "10.1.0.0/16")
        self.assertIn("allow_overlap: [10.1.2.0/24]", self.refusal(mesh))
        allowing = replace(mesh, allowed=(ip_network("10.1.2.0/23"),))
        self.accept(allowing)
        self.add_route("10.1.9.0/24", gateway="10.1.2.1")
        self.assertIn("10.1.9.0/24, which eth0 uses", self.refusal(allowing))

    def test_existing_guard(self) -> None:
        """A guard, installed once or twice, does not keep the node from starting; it is reported,
        and removed on request."""
        networks = [ip_network("10.77.0.0/16"), ip_network("fd77::/48")]
        with self.pod:
            self.assertEqual(put_guard(networks), ["10.77.0.0/16", "fd77::/48"])
            self.assertEqual(put_guard(networks), [])
            self.assertEqual(guarded(networks), networks)
            self.assertEqual(guarded([ip_network("10.0.0.0/8")]), [])
        self.accept(overlay("10.77.0.1/16", "10.77.0.0/16"), overlay("fd77::1/64", "fd77::/48"))
        with self.pod:
            self.assertEqual(remove_guard(networks), ["10.77.0.0/16", "fd77::/48"])
            self.assertEqual(remove_guard(networks), [])

    def test_guard_by_another_node(self) -> None:
        """It does not matter that another node sets or removes the same guard after a look. A route
        of somebody else's in the guard's place does."""
        network, look = ip_network("10.77.0.0/16"), setup.guarded
        answers: list[list[Any]] = []
        self.patch(setup, "guarded", lambda asked: answers.pop() if answers else look(asked))
        with self.pod:
            put_guard([network])
            answers.append([])
            self.assertEqual(put_guard([network]), ["10.77.0.0/16"])
            self.assertEqual(remove_guard([network]), ["10.77.0.0/16"])
            answers.append([network])
            self.assertEqual(remove_guard([network]), ["10.77.0.0/16"])
            self.add_route("10.77.0.0/16", type="unreachable", priority=0xFFFFFFFF)
            error = self.assertRaises(OperatorError, put_guard, [network])
        self.assertIn("cannot guard 10.77.0.0/16", str(error))

    def test_large_table(self) -> None:
        """Unrelated routes cost little, since no objects are created for them."""
        with self.pod, IPRoute() as ip:
            for number in range(3000):
                ip.route(
                    "add", dst=f"198.18.{number >> 4}.{number % 16 << 4}/28", gateway="10.1.2.1"
                )
            gc.collect()
            before = len(gc.get_objects())
            state = query.look([ip_network("10.77.0.0/16")])
            self.assertLess(len(gc.get_objects()) - before, 200)
        self.assertEqual([str(route.network) for route in state.routes], ["0.0.0.0/0"])

    def test_other_table(self) -> None:
        """Routes in other tables are a matter of policy, not a conflict."""
        self.add_route("10.77.0.0/16", gateway="10.1.2.1", table=100)
        self.accept(overlay("10.77.0.1/16", "10.77.0.0/16"))

    def test_wide_blackhole(self) -> None:
        """A blackhole route wider than the mesh is less specific than the mesh's routes, so it
        stays."""
        self.add_route("10.0.0.0/8", type="blackhole")
        self.accept(overlay("10.77.0.1/16", "10.77.0.0/16"))

    def test_blackhole_inside(self) -> None:
        """A blackhole inside the mesh would swallow its packets, so it is refused."""
        self.add_route("10.77.9.0/24", type="unreachable")
        text = self.refusal(overlay("10.77.0.1/16", "10.77.0.0/16"))
        self.assertIn("route to 10.77.9.0/24 that leads nowhere", text)
        self.add_route("10.78.0.0/16", type="blackhole")
        text = self.refusal(overlay("10.78.0.1/16", "10.78.0.0/16"))
        self.assertIn("route to 10.78.0.0/16 that leads nowhere", text)

    def test_ipv6_disabled(self) -> None:
        """An IPv6 mesh on a host with IPv6 disabled is refused, with the sysctl to set; IPv4 is
        not."""
        with self.pod:
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        text = self.refusal(overlay("fd77::1/64", "fd77::/48"))
        self.assertIn("net.ipv6.conf.all.disable_ipv6=0", text)
        self.accept(overlay("10.77.0.1/24", "10.77.0.0/16"))

    def test_nothing_is_changed(self) -> None:
        """The check changes nothing."""
        before = self.state()
        self.accept(overlay("10.77.0.1/24", "10.77.0.0/16"))
        self.refusal(overlay("10.77.0.1/24", "10.0.0.0/8"))
        self.assertEqual(self.state(), before)


class ConfigureTests(NamespaceCase):
    """A new tun in the pod."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.state()
        with self.pod:
            self.fd = open_tun("tun1")
        self.addCleanup(self.close)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def configure(self, *overlays: Overlay, mtu: int = 1400) -> None:
        with self.pod:
            configure("tun1", overlays, mtu)

    def route_to(self, address: str) -> tuple[str, str | None]:
        """The interface and source address that the kernel chooses for a destination."""
        with self.pod, IPRoute() as ip:
            (route,) = ip.route("get", dst=address)
            name = socket.if_indextoname(route.get_attr("RTA_OIF"))
            return name, route.get_attr("RTA_PREFSRC")

    def addresses(self) -> Sequence[str]:
        with self.pod, IPRoute() as ip:
            messages = ip.get_addr(index=socket.if_nametoindex("tun1"))
            return sorted(f"{m.get_attr('IFA_ADDRESS')}/{m['prefixlen']}" for m in messages)

    def test_both_families(self) -> None:
        """The addresses are configured, without link-local ones, and the whole mesh is routed to
        the device with our own address as the source."""
        self.configure(
            overlay("10.77.3.1/24", "10.77.0.0/16"), overlay("fd77:0:0:3::1/64", "fd77::/48")
        )
        self.assertEqual(self.addresses(), ["10.77.3.1/24", "fd77:0:0:3::1/64"])
        for near, far, source in (
            ("10.77.3.9", "10.77.200.9", "10.77.3.1"),
            ("fd77:0:0:3::9", "fd77:0:0:99::9", "fd77:0:0:3::1"),
        ):
            self.assertEqual(self.route_to(near), ("tun1", source))
            self.assertEqual(self.route_to(far), ("tun1", source))
        self.assertEqual(self.route_to("10.78.0.1"), ("eth0", "10.1.2.3"))

    def test_multicast(self) -> None:
        """With IPv6 multicast the device has a link-local address, which is derived from the
        other one; with IPv4 multicast nothing more."""
        self.configure(
            replace(overlay("10.77.3.1/24", "10.77.0.0/16"), multicast=True),
            replace(overlay("fd77::1/64", "fd77::/64"), multicast=True),
        )
        local = str(link_local_of(ip_interface("fd77::1/64")))
        self.assertEqual(self.addresses(), ["10.77.3.1/24", "fd77::1/64", local])

    def test_segments(self) -> None:
        """Whatever TCP connection runs through the mesh, near or far, its segments fit into one
        datagram each."""
        self.configure(
            overlay("10.77.3.1/24", "10.77.0.0/16"), overlay("fd77:0:0:3::1/64", "fd77::/48")
        )
        with self.pod:
            found = netns.segments("tun1")
        ipv4, ipv6 = segment(4, 1400), segment(6, 1400)
        self.assertEqual(
            found,
            {
                ("10.77.3.0/24", ipv4),
                ("10.77.0.0/16", ipv4),
                ("fd77:0:0:3::/64", ipv6),
                ("fd77::/48", ipv6),
            },
        )

    def test_pieces(self) -> None:
        """TCP is handed over in pieces of which one send of datagrams holds all segments."""
        self.configure(overlay("10.77.0.1/16", "10.77.0.0/16"))
        with self.pod, IPRoute() as ip:
            (link,) = ip.get_links(ifname="tun1")
        self.assertEqual(link.get_attr("IFLA_GSO_MAX_SIZE"), PIECE)
        self.assertEqual((PIECE - 321) // (SEGMENT[4] - 12), 44)
        self.assertLessEqual(44 * 1472, MAX_DATAGRAM)

    def test_link(self) -> None:
        """The device is up and has the requested MTU."""
        self.configure(overlay("10.77.0.1/16", "10.77.0.0/16"), mtu=1337)
        with self.pod, IPRoute() as ip:
            (link,) = ip.get_links(socket.if_nametoindex("tun1"))
        self.assertEqual(link.get_attr("IFLA_MTU"), 1337)
        self.assertTrue(link["flags"] & 1)

    def test_queue(self) -> None:
        """The device has the requested txqueuelen, or the kernel's."""
        lengths = []
        for queue in (0, 2000):
            with self.pod, IPRoute() as ip:
                configure("tun1", [overlay("10.77.0.1/16", "10.77.0.0/16")], 1400, queue)
                (link,) = ip.get_links(socket.if_nametoindex("tun1"))
                lengths.append(link.get_attr("IFLA_TXQLEN"))
                self.close()
                self.fd = open_tun("tun1")
        self.assertEqual(lengths, [500, 2000])

    def test_several_addresses(self) -> None:
        """Packets to a subnet leave from the first address in it, and others from the first of
        all."""
        own = ("10.77.3.1/24", "10.77.3.2/24", "10.77.4.1/24", "10.77.5.5/32")
        self.configure(Overlay(ip_network("10.77.0.0/16"), tuple(map(ip_interface, own))))
        self.assertEqual(self.addresses(), list(own))
        for destination, source in (
            ("10.77.3.9", "10.77.3.1"),
            ("10.77.4.9", "10.77.4.1"),
            ("10.77.9.9", "10.77.3.1"),
        ):
            self.assertEqual(self.route_to(destination), ("tun1", source))

    def test_broadcast_address(self) -> None:
        """With broadcast, programs that ask for the broadcast address get that of the local subnet
        (SIOCGIFBRDADDR, getifaddrs); without, or in a subnet that has none, they get none."""
        for address, broadcast, answer in (
            ("10.77.3.1/24", True, "10.77.3.255"),
            ("10.77.3.1/16", True, "10.77.255.255"),
            ("10.77.3.1/32", True, "0.0.0.0"),
            ("10.77.3.1/24", False, "0.0.0.0"),
        ):
            own = Overlay(ip_network("10.77.0.0/16"), (ip_interface(address),), broadcast)
            self.configure(own)
            with self.pod, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                request = struct.pack("16sH22x", b"tun1", socket.AF_INET)
                found = fcntl.ioctl(asked, 0x8919, request)  # SIOCGIFBRDADDR
            self.assertEqual(socket.inet_ntoa(found[20:24]), answer)
            self.close()
            with self.pod:
                self.fd = open_tun("tun1")

    def test_small_mtu(self) -> None:
        """TCP is not asked for segments that the device does not take."""
        self.configure(overlay("10.77.0.1/24", "10.77.0.0/16"), mtu=576)
        with self.pod:
            found = netns.segments("tun1")
        self.assertEqual(found, {("10.77.0.0/24", 536), ("10.77.0.0/16", 536)})

    def test_no_address_yet(self) -> None:
        """A network in which this node has no address yet is routed to the device all the same:
        nothing that is sent there leaves by the default route."""
        self.assertEqual(self.route_to("10.77.9.9")[0], "eth0")
        self.configure(
            Overlay(ip_network("10.77.0.0/16"), (), broadcast=True),
            Overlay(ip_network("fd77::/48")),
        )
        self.assertEqual(self.addresses(), [])
        self.assertEqual(self.route_to("10.77.9.9")[0], "tun1")
        self.assertEqual(self.route_to("fd77::9")[0], "tun1")

    def test_single_address(self) -> None:
        """A local prefix of a single address is enough; the rest of the mesh is routed."""
        self.configure(overlay("10.77.0.1/32", "10.77.0.0/16"))
        self.assertEqual(self.route_to("10.77.0.2"), ("tun1", "10.77.0.1"))

    def test_ipv6_at_once(self) -> None:
        """An IPv6 address is always usable as soon as `configure` returns."""
        for _ in range(20):
            self.configure(overlay("fd77::1/64", "fd77::/64"))
            self.assertEqual(self.route_to("fd77::1")[0], "lo")
            self.close()
            with self.pod:
                self.fd = open_tun("tun1")

    def test_without_ipv6(self) -> None:
        """With IPv6 disabled, an IPv4 mesh is configured all the same."""
        with self.pod:
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        self.configure(overlay("10.77.0.1/16", "10.77.0.0/16"))
        self.assertEqual(self.addresses(), ["10.77.0.1/16"])

    def test_failure_leaves_nothing(self) -> None:
        """When a step fails, one line says which; closing the device undoes the earlier steps."""
        self.add_route("fd77::/48", oif=self.eth0())
        before = self.state() - {"tun1"}
        text = self.failure(
            overlay("10.77.0.1/24", "10.77.0.0/16"), overlay("fd77::1/64", "fd77::/48")
        )
        self.assertIn("cannot route fd77::/48 to tun1", text)
        self.assertIn("10.77.0.1/24", self.addresses())
        self.close()
        self.assertEqual(self.state(), before)

    def test_success_leaves_nothing(self) -> None:
        """Closing a configured device leaves the machine as it was."""
        self.configure(overlay("10.77.0.1/24", "10.77.0.0/16"), overlay("fd77::1/64", "fd77::/48"))
        self.close()
        self.assertEqual(self.state(), self.before)

    def test_impossible_mtu(self) -> None:
        """An MTU that the kernel refuses is named."""
        overlays = [overlay("10.77.0.1/24", "10.77.0.0/16")]
        with self.pod:
            error = self.assertRaises(OperatorError, configure, "tun1", overlays, 70000)
        self.assertIn("cannot set the MTU of tun1 to 70000", str(error))

    def test_no_such_device(self) -> None:
        """A device that does not exist is named."""
        with self.pod:
            error = self.assertRaises(OperatorError, configure, "tun9", [], 1400)
        self.assertIn("cannot find tun9", str(error))

    async def test_without_privilege(self) -> None:
        """Without NET_ADMIN the line names the capability, and there is no traceback."""
        if os.geteuid() != 0:
            raise unittest.SkipTest("giving up root takes root")
        with self.pod:
            out, err, code = await netns.run_python(reactor, AS_NOBODY)
        self.assertEqual((err, code), (b"", 0))
        self.assertIn(b"cannot set the MTU of tun1 to 1400: CAP_NET_ADMIN is missing", out)

    def test_guarded(self) -> None:
        """A guard has no effect while the device exists; without it, packets to the mesh are
        rejected at once and do not take the default route."""
        networks = [ip_network("10.77.0.0/16"), ip_network("fd77::/48")]
        with self.pod:
            put_guard(networks)
        self.configure(overlay("10.77.3.1/24", "10.77.0.0/16"), overlay("fd77::1/48", "fd77::/48"))
        self.assertEqual(self.route_to("10.77.200.9")[0], "tun1")
        self.assertEqual(self.route_to("fd77:0:0:99::9")[0], "tun1")
        self.close()
        for family, address in ((socket.AF_INET, "10.77.200.9"), (socket.AF_INET6, "fd77::9")):
            with self.pod, socket.socket(family, socket.SOCK_DGRAM) as sock:
                error = self.assertRaises(OSError, sock.connect, (address, 9))
            self.assertEqual(error.errno, errno.EHOSTUNREACH)

    def test_endless_notifications(self) -> None:
        """If an address does not become usable, the start fails in time, however many route
        notifications arrive meanwhile."""
        self.patch(setup, "_ADDRESS_DEADLINE", 0.3)
        self.patch(setup, "_is_local", self.change_a_route)
        text = self.failure(overlay("fd77::1/64", "fd77::/64"))
        self.assertIn("address fd77::1/64 of tun1 does not become usable", text)

    def change_a_route(self, *_: object) -> bool:
        self.add_route("fd99::/64", oif=self.eth0(), flags=0)
        with self.pod, IPRoute() as ip:
            ip.route("del", dst="fd99::/64")
        return False

    def failure(self, *overlays: Overlay) -> str:
        with self.pod:
            error = self.assertRaises(OperatorError, configure, "tun1", overlays, 1400)
        return str(error)

    def eth0(self) -> int:
        with self.pod:
            return socket.if_nametoindex("eth0")


AS_NOBODY = """
import os
from tunmesh.errors import OperatorError
from tunmesh.netlink.setup import configure
os.setgid(65534)
os.setuid(65534)
try:
    configure("tun1", [], 1400)
except OperatorError as error:
    print(error)
"""
