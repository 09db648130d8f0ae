"""Overlaps with the mesh, in hand-written snapshots; for the kernel's own, see test_setup and
test_real_device."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from twisted.trial import unittest

from tunmesh.addresses import link_local_of
from tunmesh.netlink import kernel
from tunmesh.netlink.device_state import compare
from tunmesh.netlink.kernel import InterfaceAddress, Link, Route, Rule, State
from tunmesh.netlink.overlaps import Overlay, clash, taken

MESH = Overlay(ip_network("10.77.0.0/16"), (ip_interface("10.77.1.1/24"),))
LOCAL = Rule(4, 0, kernel.TO_TABLE, kernel.TABLE_LOCAL)
MAIN = Rule(4, 32766, kernel.TO_TABLE, kernel.TABLE_MAIN)


def route(network: str, interface: int, table: int = kernel.TABLE_MAIN, metric: int = 0) -> Route:
    return Route(ip_network(network), table, kernel.UNICAST, 4, metric, interface)


HEALTHY = State(
    {2: Link(2, "eth0", True), 5: Link(5, "tun1", True)},
    (
        InterfaceAddress(2, ip_address("192.0.2.7"), ip_network("192.0.2.0/24")),
        InterfaceAddress(5, ip_address("10.77.1.1"), ip_network("10.77.1.0/24")),
    ),
    (route("0.0.0.0/0", 2), route("10.77.1.0/24", 5), route("10.77.0.0/16", 5)),
    (LOCAL, MAIN),
)


class OverlapTests(unittest.SynchronousTestCase):
    """A correctly configured device, with variations."""

    def complaints_of(self, *routes: Route, rules: tuple[Rule, ...] = ()) -> tuple[str, ...]:
        state = replace(HEALTHY, routes=HEALTHY.routes + routes, rules=(*rules, *HEALTHY.rules))
        return compare("tun1", [MESH], 0, state).all

    def test_healthy(self) -> None:
        """A correct state gives no complaint, even if the kernel reports no rules."""
        self.assertEqual(self.complaints_of(), ())
        self.assertEqual(compare("tun1", [MESH], 0, replace(HEALTHY, rules=())).all, ())
        self.assertIsNone(clash("tun1", MESH, HEALTHY))

    def test_link_local(self) -> None:
        """A link-local address is missed if multicast is carried, and only then."""
        mesh = Overlay(ip_network("fd77::/64"), (ip_interface("fd77::1/64"),))
        own = InterfaceAddress(5, ip_address("fd77::1"), ip_network("fd77::/64"))
        routes = (route("fd77::/64", 5),)
        state = State({5: Link(5, "tun1", True)}, (own,), routes, (LOCAL, MAIN))
        self.assertEqual(compare("tun1", [mesh], 0, state).all, ())
        local = link_local_of(ip_interface("fd77::1/64"))
        (text,) = compare("tun1", [replace(mesh, multicast=True)], 0, state).all
        self.assertIn(f"the address {local} is gone from tun1", text)

    def test_commands(self) -> None:
        """The commands in the complaints can be run in sequence: none restores a route that an
        earlier one has already restored."""
        mesh = Overlay(ip_network("10.77.0.0/16"), (ip_interface("10.77.1.1/16"),))
        mesh6 = Overlay(ip_network("fd77::/64"), (ip_interface("fd77::1/64"),))
        own = InterfaceAddress(5, ip_address("10.77.1.1"), ip_network("10.77.0.0/16"))
        down = State({5: Link(5, "tun1", False)}, (own,), ())
        self.assertEqual(
            compare("tun1", [mesh, mesh6], 0, down).all,
            (
                "tun1 is down (to mend it: ip link set tun1 up)",
                "the address fd77::1/64 is gone from tun1 (to mend it: ip -6 address add "
                "fd77::1/64 dev tun1 nodad)",
            ),
        )
        up = replace(down, links={5: Link(5, "tun1", True)})
        (text,) = compare("tun1", [mesh], 0, up).all
        self.assertIn("ip route add 10.77.0.0/16 dev tun1 src 10.77.1.1", text)
        (_, text) = compare("tun1", [MESH], 0, down).all  # its route is not that of an address
        self.assertIn("ip route add 10.77.0.0/16 dev tun1 src 10.77.1.1", text)

    def test_address_elsewhere(self) -> None:
        """An address inside the mesh's network gives one complaint together with its subnet."""
        (text,) = self.complaints_of(
            route("10.77.3.9/32", 2, kernel.TABLE_LOCAL),
            route("10.77.3.0/28", 2),
            rules=(LOCAL,),
        )
        self.assertEqual(text, "10.77.3.0/28 is sent to eth0, not to tun1")
        texts = self.complaints_of(route("10.77.3.9/32", 2), route("10.77.4.0/28", 2))
        self.assertEqual(len(texts), 2)

    def test_rules(self) -> None:
        """A rule before the main table counts if it may match packets from this machine to the
        mesh: without a mark, and from its mesh address or without an address."""
        elsewhere = route("0.0.0.0/0", 2, table=52)
        rule = Rule(4, 100, kernel.TO_TABLE, 52)
        network, other = MESH.network, ip_network("192.0.2.0/24")
        concerned = (
            rule,
            replace(rule, source=ip_network("10.77.1.0/24"), destination=network),
            replace(rule, mark=0x51820, mask=0xFFFFFFFF, is_inverted=True),  # wg-quick
            replace(rule, incoming="lo"),
        )
        others = (
            replace(rule, source=other),
            replace(rule, destination=other),
            replace(rule, mark=1, mask=1),
            replace(rule, incoming="eth0"),
            replace(rule, is_partial=True),
            replace(rule, version=6),
            replace(rule, priority=40000),
        )
        for each in concerned:
            self.assertEqual(len(self.complaints_of(elsewhere, rules=(each,))), 1, each)
        for each in others:
            self.assertEqual(self.complaints_of(elsewhere, rules=(each,)), (), each)

    def test_refusing_rule(self) -> None:
        """A rule that rejects packets is named by its selector; one for an overlap that the config
        allows is ignored."""
        part = ip_network("10.77.200.0/24")
        rule = Rule(4, 100, kernel.REFUSING_ACTIONS[0], 0)
        (text,) = self.complaints_of(rules=(rule,))
        self.assertIn("10.77.0.0/16 is sent nowhere", text)
        rule = replace(rule, destination=part)
        (text,) = self.complaints_of(rules=(rule,))
        self.assertIn("10.77.200.0/24 is sent nowhere", text)
        state = replace(HEALTHY, rules=(rule, *HEALTHY.rules))
        self.assertEqual(taken("tun1", replace(MESH, allowed=(part,)), state), [])

    def test_renamed(self) -> None:
        """If the device does not exist under its name, there is one complaint, not many."""
        (text,) = compare("tun1", [MESH], 0, State({5: Link(5, "tun2", True)})).all
        self.assertIn("there is no interface tun1", text)

    def test_equal_route(self) -> None:
        """Among routes of equal length the metric decides while the device exists; before that,
        such a route is always a conflict."""
        self.assertEqual(self.complaints_of(route("10.77.0.0/16", 2, metric=100)), ())
        worse = replace(HEALTHY, routes=(route("10.77.0.0/16", 2, metric=100),))
        self.assertIsNotNone(clash("tun1", MESH, worse))

    def test_own_metric(self) -> None:
        """It is compared with the metric of the mesh's own route, which the kernel chose."""
        mesh = Overlay(ip_network("fd77::/64"), (ip_interface("fd77::1/64"),))
        links = {2: Link(2, "eth0", True), 5: Link(5, "tun1", True)}
        for metric, count in ((100, 1), (512, 0)):
            routes = (route("fd77::/64", 5, metric=256), route("fd77::/64", 2, metric=metric))
            self.assertEqual(len(taken("tun1", mesh, State(links, (), routes))), count)

    def test_goto(self) -> None:
        """A goto rule skips the rules in between."""
        other = Rule(4, 200, kernel.TO_TABLE, 52)
        jump = Rule(4, 100, kernel.GOTO, 0, target=300)
        there = route("10.77.3.0/24", 2, table=52)
        self.assertEqual(len(self.complaints_of(there, rules=(other,))), 1)
        self.assertEqual(self.complaints_of(there, rules=(jump, other)), ())

    def test_throw(self) -> None:
        """A throw route makes the kernel continue with the next table."""
        rule = Rule(4, 200, kernel.TO_TABLE, 52)
        there = replace(route("10.77.0.0/16", 0, table=52), kind=kernel.THROW)
        self.assertEqual(self.complaints_of(there, rules=(rule,)), ())

    def test_after_the_main_table(self) -> None:
        """Rules after the main table are never reached for the mesh."""
        rule = Rule(4, 32767, kernel.TO_TABLE, 253)
        self.assertEqual(self.complaints_of(route("10.77.3.0/24", 2, 253), rules=(rule,)), ())

    def test_partial_rule(self) -> None:
        """Rules for some users or ports are left to `explain`."""
        rule = Rule(4, 200, kernel.TO_TABLE, 52, is_partial=True)
        self.assertEqual(self.complaints_of(route("10.77.3.0/24", 2, 52), rules=(rule,)), ())

    def test_allowed(self) -> None:
        """Allowed overlaps are no complaint while the node runs, either."""
        state = replace(HEALTHY, routes=(*HEALTHY.routes, route("10.77.3.0/24", 2)))
        self.assertEqual(len(taken("tun1", MESH, state)), 1)
        allowing = replace(MESH, allowed=(ip_network("10.77.3.0/24"),))
        self.assertEqual(taken("tun1", allowing, state), [])

    def test_behind_gateways(self) -> None:
        """A network that is reached through gateways is only routed to the device: its route may be
        missing, or others may take its packets, but it has no address there. What clashes with it
        is said of its own key."""
        behind = Overlay(ip_network("172.20.0.0/16"), MESH.addresses, is_behind=True)
        whole = replace(HEALTHY, routes=(*HEALTHY.routes, route("172.20.0.0/16", 5)))
        self.assertEqual(compare("tun1", [MESH, behind], 0, whole).all, ())
        (missing,) = compare("tun1", [MESH, behind], 0, HEALTHY).all
        self.assertIn("the route to 172.20.0.0/16 is gone from tun1", missing)
        self.assertIn("ip route add 172.20.0.0/16 dev tun1 src 10.77.1.1", missing)
        other = replace(whole, routes=(*whole.routes, route("172.20.5.0/24", 2)))
        (claim,) = compare("tun1", [MESH, behind], 0, other).all
        self.assertIn("172.20.5.0/24 is sent to eth0", claim)
        found = clash("tun1", behind, other)
        assert found is not None
        self.assertEqual(behind.key, "networking/accept_routes")
        self.assertIn("accept a smaller network", found.refusal("tun1", behind))
