"""Gateways to networks outside the mesh, compared with a list of all routes that is searched from
end to end."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial import unittest

from tests.packets.test_virtio import PLAIN, UDP, ip_packet
from tunmesh.dataplane import gateways
from tunmesh.dataplane.gateways import Accepted, Gateways
from tunmesh.dataplane.prefixes import Prefixes
from tunmesh.dataplane.table import Table

# With TUNMESH_EXAMPLES so many new ones; else the same few in every run.
EXAMPLES = int(os.environ.get("TUNMESH_EXAMPLES", "40"))
IS_FIXED = "TUNMESH_EXAMPLES" not in os.environ

Net = IPv4Network | IPv6Network

MESH = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
OWN = (ip_interface("10.77.0.1/24"), ip_interface("fd77::1/64"))
SITE, PART = ip_network("192.168.0.0/16"), ip_network("192.168.5.0/24")
SITE6 = ip_network("fd5e::/48")


class Node:
    """A peer, which equals only itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ALICE, BOB, CAROL = Node("alice"), Node("bob"), Node("carol")
NODES = (ALICE, BOB, CAROL)
ADDRESS = {ALICE: "10.77.0.2", BOB: "10.77.0.3", CAROL: "10.77.0.4"}


def datagram(source: str, destination: str, source_port: int = 5000) -> bytes:
    ports = struct.pack("!HHHH", source_port, 53, 8, 0)
    return PLAIN + ip_packet(source, destination, ports, UDP)


class Case(unittest.SynchronousTestCase):
    def table(self, *accepted: Accepted, own: Iterable[Net] = ()) -> Table[Node]:
        made: Table[Node] = Table(OWN, MESH, accepted=accepted or (Accepted(SITE), Accepted(SITE6)))
        made.gateways.advertise(tuple(own))
        for node, address in ADDRESS.items():
            made.join(node, [ip_interface(f"{address}/24")])
            made.route(ip_address(address).packed, node)
        return made

    def out(self, table: Table[Node], destination: str, source_port: int = 5000) -> Node | str:
        """Where a packet goes, or why it is dropped."""
        source = "10.77.0.1" if "." in destination else "fd77::1"
        batches, drops = table.outbound([datagram(source, destination, source_port)])
        self.assertEqual(len(batches) + len(drops), 1)
        return drops[0][0] if drops else next(iter(batches))

    def comes(self, table: Table[Node], peer: Node, source: str, destination: str) -> str:
        """Why a packet of a peer is dropped; empty if it is not."""
        frame = memoryview(datagram(source, destination))
        accepted, drops = table.inbound(peer, [frame])
        return "" if accepted else drops[0][0]


class OneGateway(Case):
    """A network that one node leads to."""

    def test_out(self) -> None:
        """Packets to the network go to the node that advertises it, and again when it is asked for
        the second time."""
        table = self.table()
        self.assertEqual(self.out(table, "192.168.5.9"), "no_route")
        table.lead(ALICE, [SITE], b"alice")
        for _ in range(2):
            self.assertIs(self.out(table, "192.168.5.9"), ALICE)
        self.assertEqual(self.out(table, "192.169.0.1"), "outside_network")
        self.assertEqual(self.out(table, "fd5e::1"), "no_route")
        table.lead(ALICE, [SITE, SITE6], b"alice")
        self.assertIs(self.out(table, "fd5e::1"), ALICE)

    def test_lost(self) -> None:
        """When the gateway parts, or does not advertise the network any more, nobody
        leads there."""
        table = self.table()
        for stop in (lambda: table.part(ALICE), lambda: table.lead(ALICE, [], b"alice")):
            table.lead(ALICE, [SITE], b"alice")
            self.assertIs(self.out(table, "192.168.5.9"), ALICE)
            self.assertEqual(self.comes(table, ALICE, "192.168.5.9", "10.77.0.1"), "")
            stop()
            self.assertEqual(self.out(table, "192.168.5.9"), "no_route")
            why = self.comes(table, ALICE, "192.168.5.9", "10.77.0.1")
            self.assertEqual(why, "spoofed_source")

    def test_in(self) -> None:
        """Its packets may come from there; those of others may not, nor from elsewhere."""
        table = self.table()
        table.lead(ALICE, [SITE], b"alice")
        for _ in range(2):
            self.assertEqual(self.comes(table, ALICE, "192.168.5.9", "10.77.0.1"), "")
            for peer, source in ((BOB, "192.168.5.9"), (ALICE, "192.169.0.1")):
                self.assertEqual(self.comes(table, peer, source, "10.77.0.1"), "spoofed_source")

    def test_longest_prefix(self) -> None:
        """The longest network decides, in both directions."""
        table = self.table()
        table.lead(ALICE, [SITE], b"alice")
        self.assertIs(self.out(table, "192.168.5.9"), ALICE)
        table.lead(BOB, [PART], b"bob")
        self.assertIs(self.out(table, "192.168.5.9"), BOB)
        self.assertIs(self.out(table, "192.168.6.9"), ALICE)
        self.assertEqual(self.comes(table, BOB, "192.168.5.9", "10.77.0.1"), "")
        self.assertEqual(self.comes(table, ALICE, "192.168.5.9", "10.77.0.1"), "spoofed_source")

    def test_revised(self) -> None:
        """A node that says again what it is leads where it led."""
        table = self.table()
        table.lead(ALICE, [SITE], b"alice")
        table.join(ALICE, [ip_interface("10.77.0.2/24")])
        self.assertIs(self.out(table, "192.168.5.9"), ALICE)

    def test_no_address_yet(self) -> None:
        """Without an address of that family nothing is sent or forwarded."""
        table = self.table(own=[ip_network("172.20.0.0/24")])
        table.lead(ALICE, [SITE, SITE6], b"alice")
        self.assertIs(self.out(table, "192.168.5.9"), ALICE)
        table.readdress(OWN[1:])
        self.assertEqual(self.out(table, "192.168.5.9"), "no_address")
        self.assertIs(self.out(table, "fd5e::1"), ALICE)
        self.assertNotEqual(self.comes(table, ALICE, "192.168.5.9", "172.20.0.1"), "")
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.20.0.1"), "misrouted")

    def test_bounded(self) -> None:
        """However many addresses are asked for, few are remembered."""
        self.patch(gateways, "MAX_CACHED", 64)
        from tunmesh.dataplane import table as module

        self.patch(module, "MAX_CACHED", 64)
        table = self.table(own=[ip_network("172.20.0.0/16")])
        table.lead(ALICE, [SITE], b"alice")
        for low in range(256):
            for high in range(2):
                self.assertIs(self.out(table, f"192.168.{high}.{low}"), ALICE)
                self.assertEqual(self.comes(table, BOB, "10.77.0.3", f"172.20.{high}.{low}"), "")
                self.assertEqual(self.out(table, f"10.77.9.{low}"), "no_route")
        self.assertLessEqual(len(table._usable), 64 + len(table.routes))
        self.assertLessEqual(len(table.gateways._found), 64)
        self.assertLessEqual(len(table.gateways._is_own), 64)


class WhoMayLead(Case):
    """What is not accepted is not heard."""

    def test_not_accepted(self) -> None:
        """The default route, the mesh itself, the underlay, and what is larger than accepted."""
        table = self.table(Accepted(PART))
        greedy = ("0.0.0.0/0", "::/0", "10.77.0.0/16", "10.77.0.3/32", "10.0.0.0/8", "192.0.2.0/24")
        table.lead(CAROL, [*map(ip_network, greedy), SITE], b"carol")
        self.assertEqual(self.out(table, "192.168.5.9"), "no_route")
        self.assertIs(self.out(table, "10.77.0.3"), BOB)
        self.assertEqual(self.out(table, "10.77.0.9"), "no_route")
        self.assertEqual(self.out(table, "192.0.2.1"), "outside_network")
        for source in ("10.77.0.3", "10.77.0.9", "192.0.2.1", "192.168.5.9"):
            self.assertEqual(self.comes(table, CAROL, source, "10.77.0.1"), "spoofed_source")
        self.assertEqual(table.gateways.why_not(CAROL, SITE), "it is larger than what is accepted")
        self.assertEqual(
            table.gateways.why_not(CAROL, ip_network("192.0.2.0/24")), "it is not accepted"
        )

    def test_nothing_accepted(self) -> None:
        """A node that accepts nothing hears of nothing."""
        table: Table[Node] = Table(OWN, MESH)
        table.lead(ALICE, [SITE, ip_network("0.0.0.0/0")], b"alice")
        self.assertEqual(self.out(table, "192.168.5.9"), "outside_network")

    def test_via(self) -> None:
        """Only the node that has the named address may lead there; that follows the address."""
        table = self.table(Accepted(SITE, (ip_address("10.77.0.9"),)))
        for node in (ALICE, BOB):
            table.lead(node, [SITE], node.name.encode())
        self.assertEqual(self.out(table, "192.168.5.9"), "no_route")
        why = "it is accepted from others only (192.168.0.0/16 via 10.77.0.9)"
        self.assertEqual(table.gateways.why_not(ALICE, SITE), why)
        for node, other in ((ALICE, BOB), (BOB, ALICE)):
            table.route(ip_address("10.77.0.9").packed, node)
            self.assertIs(self.out(table, "192.168.5.9"), node)
            self.assertEqual(self.comes(table, node, "192.168.5.9", "10.77.0.1"), "")
            self.assertEqual(self.comes(table, other, "192.168.5.9", "10.77.0.1"), "spoofed_source")
        table.unroute(ip_address("10.77.0.9").packed)
        self.assertEqual(self.out(table, "192.168.5.9"), "no_route")

    def test_via_moves(self) -> None:
        """When an address after `via` changes hands, what all other nodes advertise is not judged
        anew: a member could have hundreds of them, and cause that."""
        held: dict[bytes, str] = {}
        asked: list[bytes] = []

        def holder(address: bytes) -> str | None:
            asked.append(address)
            return held.get(address)

        via = ip_address("10.77.0.2")
        ways: Gateways[str] = Gateways([Accepted(PART, (via,))], (), holder)
        nodes = [f"m{number}" for number in range(100)]
        for name in nodes:
            ways.offer(name, [PART], b"")

        def leading() -> list[str]:
            return [each for each in nodes if ways.leads(each, PART[1].packed)]

        for name in ("m1", "m2"):
            asked.clear()
            held[via.packed] = name
            self.assertTrue(ways.moved(via.packed))
            self.assertEqual(leading(), [name])
            self.assertLess(len(asked), 5)
        del held[via.packed]
        ways.moved(via.packed)
        self.assertEqual(leading(), [])

    def test_via_of_a_part(self) -> None:
        """The longest accepted network that an address is in says who may lead there."""
        table = self.table(Accepted(SITE), Accepted(PART, (ip_address("10.77.0.2"),)))
        table.lead(BOB, [SITE, PART, ip_network("192.168.5.128/25")], b"bob")
        self.assertIs(self.out(table, "192.168.6.9"), BOB)
        self.assertEqual(self.out(table, "192.168.5.9"), "no_route")
        why = self.comes(table, BOB, "192.168.5.9", "10.77.0.1")
        self.assertEqual(why, "spoofed_source")
        table.lead(ALICE, [PART], b"alice")
        for address in ("192.168.5.9", "192.168.5.200"):
            self.assertIs(self.out(table, address), ALICE)
        table.lead(ALICE, [SITE], b"alice")
        for address in ("192.168.5.9", "192.168.5.200"):
            self.assertIs(self.out(table, address), ALICE)


class SeveralGateways(Case):
    """A network that several nodes lead to."""

    def shared(self, *nodes: Node) -> Table[Node]:
        table = self.table()
        for node in nodes:
            table.lead(node, [SITE], node.name.encode())
        return table

    def flows(self, table: Table[Node], count: int = 300) -> dict[int, Node]:
        """The gateway of each flow, by its source port."""
        found = {port: self.out(table, "192.168.5.9", port) for port in range(count)}
        return {port: node for port, node in found.items() if isinstance(node, Node)}

    def test_shared(self) -> None:
        """All get a part of the flows, and a flow stays with one of them."""
        table = self.shared(*NODES)
        flows = self.flows(table)
        self.assertEqual(len(flows), 300)
        self.assertEqual(self.flows(table), flows)
        for count in Counter(flows.values()).values():
            self.assertGreater(count, 60)

    def test_same_after_a_start(self) -> None:
        """A node that is started again chooses as it did, in whatever order the others come."""
        self.assertEqual(self.flows(self.shared(*NODES)), self.flows(self.shared(*NODES[::-1])))

    def test_lost(self) -> None:
        """The flows of a gateway that parts move at once, and no others."""
        table = self.shared(*NODES)
        before = self.flows(table)
        table.part(BOB)
        after = self.flows(table)
        self.assertNotIn(BOB, after.values())
        for port, node in before.items():
            self.assertTrue(node is BOB or after[port] is node)

    def test_back(self) -> None:
        """When a gateway comes back, flows that are known stay where they are; new ones go to
        both, also when there was only one in between."""
        table = self.shared(ALICE, BOB)
        self.flows(table)
        table.part(BOB)
        alone = self.flows(table)
        self.assertEqual({*alone.values()}, {ALICE})
        table.lead(BOB, [SITE], b"bob")
        self.assertEqual(self.flows(table), alone)
        new = {self.out(table, "192.168.5.9", port) for port in range(1000, 1100)}
        self.assertEqual(new, {ALICE, BOB})

    def test_in(self) -> None:
        """Packets from there may come from each of them."""
        table = self.shared(ALICE, BOB)
        for node, why in ((ALICE, ""), (BOB, ""), (CAROL, "spoofed_source")):
            self.assertEqual(self.comes(table, node, "192.168.5.9", "10.77.0.1"), why)

    def test_many_flows(self) -> None:
        """Of very many flows the older ones are forgotten; they go where they went."""
        self.patch(gateways, "MAX_FLOWS", 32)
        table = self.shared(ALICE, BOB)
        flows = self.flows(table)
        self.assertLessEqual(len(table.gateways._flows), 32)
        self.assertEqual(self.flows(table), flows)

    def test_very_many_gateways(self) -> None:
        """A crowd of gateways costs no more than a few; when one of these parts the next takes its
        place."""
        self.patch(gateways, "MAX_SHARING", 2)
        table = self.shared(*NODES)
        self.assertEqual({*self.flows(table).values()}, {ALICE, BOB})
        table.part(ALICE)
        self.assertEqual({*self.flows(table).values()}, {BOB, CAROL})


class Gateway(Case):
    """A node that leads to a network."""

    def test_in(self) -> None:
        """Packets of a peer to the network are taken, and nothing else."""
        table = self.table(own=[ip_network("172.20.0.0/24"), ip_network("fd20::/64")])
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.20.0.9"), "")
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.20.1.9"), "misrouted")
        self.assertEqual(self.comes(table, ALICE, "10.77.0.3", "172.20.0.9"), "spoofed_source")
        self.assertEqual(self.comes(table, ALICE, "172.20.0.3", "172.20.0.9"), "spoofed_source")

    def test_reload(self) -> None:
        """What is not advertised any more is not taken any more."""
        table = self.table(own=[ip_network("172.20.0.0/24")])
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.20.0.9"), "")
        table.gateways.advertise((ip_network("172.21.0.0/24"),))
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.20.0.9"), "misrouted")
        self.assertEqual(self.comes(table, ALICE, "10.77.0.2", "172.21.0.9"), "")

    def test_two_sites(self) -> None:
        """A gateway that accepts the network of another one takes packets from hosts there."""
        table = self.table(own=[ip_network("172.20.0.0/24")])
        table.lead(ALICE, [PART], b"alice")
        self.assertEqual(self.comes(table, ALICE, "192.168.5.9", "172.20.0.9"), "")
        self.assertEqual(self.comes(table, BOB, "192.168.5.9", "172.20.0.9"), "spoofed_source")

    def test_no_way_through(self) -> None:
        """What this node itself sends to a gateway is not taken from peers: they go there
        themselves. It is if it advertises a smaller part of it."""
        table = self.table(own=[ip_network("192.168.0.0/15"), ip_network("192.168.7.0/24")])
        table.lead(ALICE, [SITE], b"alice")
        self.assertEqual(self.comes(table, BOB, "10.77.0.3", "192.168.5.9"), "misrouted")
        self.assertEqual(self.comes(table, BOB, "10.77.0.3", "192.168.7.9"), "")
        self.assertEqual(self.comes(table, BOB, "10.77.0.3", "192.169.5.9"), "")


NETWORKS4 = [
    "192.168.0.0/16",
    "192.168.0.0/17",
    "192.168.4.0/22",
    "192.168.5.0/24",
    "192.168.5.9/32",
    "192.168.0.0/15",
    "172.20.0.0/16",
    "172.20.5.0/24",
    "0.0.0.0/0",
    "10.77.0.0/16",
]
NETWORKS6 = ["fd5e::/48", "fd5e:0:0:1::/64", "fd5e::1/128", "::/0", "fd77::/64"]
ADDRESSES4 = [
    "192.168.0.1",
    "192.168.4.1",
    "192.168.5.9",
    "192.168.5.10",
    "192.168.200.1",
    "192.169.0.1",
    "172.20.5.1",
    "172.20.6.1",
    "8.8.8.8",
    *ADDRESS.values(),
]
ADDRESSES6 = ["fd5e::1", "fd5e::2", "fd5e:0:0:1::1", "fd5e:1::1", "2001:db8::1"]
NETS = st.sampled_from([*map(ip_network, NETWORKS4), *map(ip_network, NETWORKS6)])
VIAS = st.sampled_from([(), *((ip_address(address),) for address in ADDRESS.values())])


class PrefixesBesideAList(unittest.SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(NETS, st.integers(0, 9) | st.none()), max_size=20))
    def test_find(self, changes: list[tuple[Net, int | None]]) -> None:
        """The prefixes and the list agree on every address, and on every network."""
        prefixes: Prefixes[int] = Prefixes()
        expected: dict[Net, int] = {}
        for network, value in changes:
            if value is None:
                prefixes.remove(network)
                expected.pop(network, None)
            else:
                prefixes.put(network, value)
                expected[network] = value
        self.assertEqual(dict(prefixes), expected)
        for text in (*ADDRESSES4, *ADDRESSES6):
            address = ip_address(text)
            around = [each for each in expected if address in each]
            longest = max(around, key=lambda each: each.prefixlen, default=None)
            found = None if longest is None else (longest, expected[longest])
            self.assertEqual(prefixes.find(address.packed), found)
        for text in (*NETWORKS4, *NETWORKS6):
            network = ip_network(text)
            self.assertEqual(prefixes.get(network), expected.get(network))
            wider = [
                each
                for each in expected
                if each.version == network.version and network.subnet_of(each)  # type: ignore[arg-type]
            ]
            longest = max(wider, key=lambda each: each.prefixlen, default=None)
            found = None if longest is None else (longest, expected[longest])
            self.assertEqual(prefixes.around(network), found)


class GatewayMachine(RuleBasedStateMachine):
    """A table with gateways that come, go and change, beside a list of who advertises what, which
    is searched for every packet."""

    @initialize(accepted=st.dictionaries(NETS, VIAS, max_size=5), own=st.lists(NETS, max_size=3))
    def start(self, accepted: dict[Net, tuple[object, ...]], own: list[Net]) -> None:
        mesh = [ip_network("10.77.0.0/16"), ip_network("fd77::/64")]
        self.accepted = {
            network: via
            for network, via in accepted.items()
            if not any(network.version == each.version and network.overlaps(each) for each in mesh)
        }
        self.own = [each for each in own if each not in self.accepted]
        self.table: Table[Node] = Table(
            OWN,
            MESH,
            accepted=[Accepted(network, via) for network, via in self.accepted.items()],  # type: ignore[arg-type]
        )
        self.table.gateways.advertise(tuple(self.own))
        self.offers: dict[Node, list[Net]] = {}
        self.holders: dict[str, Node] = {}
        self.flows: dict[tuple[str, int], Node] = {}

    @rule(node=st.sampled_from(NODES), networks=st.lists(NETS, max_size=4))
    def advertises(self, node: Node, networks: list[Net]) -> None:
        self.offers[node] = networks
        self.table.lead(node, networks, node.name.encode())

    @rule(node=st.sampled_from(NODES))
    def parts(self, node: Node) -> None:
        self.offers.pop(node, None)
        self.table.part(node)

    @rule(node=st.sampled_from([*NODES, None]), address=st.sampled_from([*ADDRESS.values()]))
    def routes(self, node: Node | None, address: str) -> None:
        if node is None:
            self.holders.pop(address, None)
            self.table.unroute(ip_address(address).packed)
        else:
            self.holders[address] = node
            self.table.route(ip_address(address).packed, node)

    def leads(self, text: str) -> set[Node]:
        """The gateways to an address, by comparing it with everything."""
        address, found = ip_address(text), []
        for node, networks in self.offers.items():
            for network in networks:
                around = [
                    each
                    for each in self.accepted
                    if each.version == network.version and network.subnet_of(each)  # type: ignore[arg-type]
                ]
                if address not in network or not around:
                    continue
                via = self.accepted[max(around, key=lambda each: each.prefixlen)]
                if not via or any(self.holders.get(str(each)) is node for each in via):
                    found.append((network.prefixlen, node))
        longest = max((length for length, _ in found), default=0)
        nodes = {node for length, node in found if length == longest}
        own = [each for each in self.accepted if address in each]
        nearest = max(own, key=lambda each: each.prefixlen, default=None)
        via = self.accepted[nearest] if nearest is not None else ()
        if nearest is not None and via and nearest.prefixlen > longest:
            nodes &= {self.holders[str(each)] for each in via if str(each) in self.holders}
        return nodes

    def expected(self, text: str) -> set[Node]:
        """The peers that a packet may go to or come from."""
        return {self.holders[text]} if text in self.holders else self.leads(text)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "table"):
            return
        used = self.table.gateways.used
        for each in self.table.gateways.accepted:
            assert self.table.gateways.is_reached(each.network) == bool(used.get(each.network))
        for text in (*ADDRESSES4, *ADDRESSES6):
            own = str(OWN[0].ip if "." in text else OWN[1].ip)
            expected = self.expected(text)
            for port in (1, 2, 3):
                batches, drops = self.table.outbound([datagram(own, text, port)])
                assert set(batches) <= expected, (text, batches, expected)
                assert bool(batches) == bool(expected), (text, drops, expected)
                self.stays(text, port, next(iter(batches), None), expected)
            for node in NODES:
                accepted, _ = self.table.inbound(node, [memoryview(datagram(text, own))])
                assert bool(accepted) == (node in expected), (text, node, expected)
            self.forwarded(text)

    def stays(self, text: str, port: int, node: Node | None, expected: set[Node]) -> None:
        """A flow that has been told apart stays with its gateway while that leads there."""
        ways = self.table.gateways.ways(ip_address(text).packed)
        if text in self.holders or ways is None or not ways.is_shared or node is None:
            self.flows.pop((text, port), None)
            return
        before = self.flows.get((text, port))
        assert before is None or before not in expected or before is node
        self.flows[text, port] = node

    def forwarded(self, text: str) -> None:
        """A packet of a peer to this address is taken if this node leads there."""
        address = ip_address(text)
        own = [each.prefixlen for each in self.own if address in each]
        others = [each.prefixlen for each in self.accepted if address in each]
        leads = bool(own) and max(own) > max(others, default=-1)
        source = "10.77.0.200" if "." in text else "fd77::200"
        self.table.route(ip_address(source).packed, ALICE)
        accepted, _ = self.table.inbound(ALICE, [memoryview(datagram(source, text))])
        assert bool(accepted) == leads, (text, own, others)


class GatewaysBesideAList(unittest.SynchronousTestCase):
    def test_machine(self) -> None:
        """The table and the list agree on every packet, whatever happened before."""
        run_state_machine_as_test(
            GatewayMachine,
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=15, deadline=None, derandomize=IS_FIXED
            ),
        )
