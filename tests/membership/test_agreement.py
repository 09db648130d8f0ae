"""Whether a node and its peers agree on networks and addresses, and which of them is not ready."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.addresses import is_host
from tunmesh.membership.agreement import AGREED, MOST_DIFFERENCES, Agreement, View, judge
from tunmesh.membership.seniority import SETTLING
from tunmesh.testing.mesh import IPV4, IPV6, Member, Mesh
from tunmesh.wire.records import NodeRecord

MESH, OTHER = ip_network("10.9.0.0/16"), ip_network("10.10.0.0/16")
SMALL, SIX = ip_network("10.9.1.0/24"), ip_network("fd09::/64")


def node(number: int, *networks: Any, settled: bool = False) -> NodeRecord:
    """The number-th node to start, with an address in each network."""
    return NodeRecord(
        id=f"{number:032x}",
        name=f"n{number}",
        started=number,
        url=f"https://n{number}:1",
        addresses=tuple(
            ip_interface(f"{network[number]}/{network.prefixlen}") for network in networks
        ),
        version="0",
        settled=settled,
        networks=networks,
    )


@dataclass(frozen=True)
class OnePeer:
    record: NodeRecord
    view: View
    was_first: bool
    refuses: tuple[str, ...] = ()
    holder: str = ""
    source: str = ""
    since: float = 0.0


def seniority(record: NodeRecord) -> tuple[bool, int]:
    return (not record.settled, record.started)


def seen_by(me: NodeRecord, *others: NodeRecord) -> list[OnePeer]:
    """These nodes as peers, who refuse what is outside their networks."""
    return [
        OnePeer(
            other,
            View.of(me, other),
            seniority(other) < seniority(me),
            tuple(
                str(address.ip)
                for address in me.addresses
                if not any(is_host(address.ip, network) for network in other.networks)
            ),
            source=other.id,
        )
        for other in others
    ]


def judged(me: NodeRecord, *others: NodeRecord) -> Agreement:
    return judge(me, seen_by(me, *others))


def is_ready(agreement: Agreement, is_settled: bool = False) -> bool:
    return all(check.ok for check in agreement.checks(is_settled))


def calls_of(act: Callable[[], object]) -> int:
    """How many Python functions are called by it: its cost, the same on every machine."""
    count = 0

    def called(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(called)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


class Crowds(unittest.SynchronousTestCase):
    """Many identities of one member, each of which has eight networks that no other one has."""

    def crowd(self, count: int) -> list[OnePeer]:
        blocks = list(ip_network("20.0.0.0/8").subnets(new_prefix=23))
        return seen_by(
            node(1, MESH), *(node(n + 2, *blocks[8 * n : 8 * n + 8]) for n in range(count))
        )

    def test_cost(self) -> None:
        """Four times as many cost about four times as much."""
        few, many = self.crowd(64), self.crowd(256)
        cost = calls_of(lambda: judge(node(1, MESH), few))
        self.assertLess(calls_of(lambda: judge(node(1, MESH), many)), 6 * cost)

    def test_words(self) -> None:
        """Only as many of them are named as can be read."""
        said = judge(node(1, MESH), self.crowd(64)).differences
        self.assertEqual(len(said), MOST_DIFFERENCES + 1)
        self.assertEqual(
            said[-1], "network_cidr is 10.9.0.0/16 here, others again on 56 more peers"
        )


class Identities(unittest.SynchronousTestCase):
    """Nodes that connect from one source, which has one vote."""

    def against(self, *numbers: int, source: str) -> list[OnePeer]:
        """They say that another node has the address of the first one."""
        me = node(1, MESH)
        return [
            replace(peer, refuses=(str(me.addresses[0].ip),), holder="other", source=source)
            for peer in seen_by(me, *(node(number, MESH) for number in numbers))
        ]

    def is_ready_with(self, opposed: list[OnePeer], *allies: OnePeer) -> bool:
        return is_ready(judge(node(1, MESH), [*opposed, *allies]), is_settled=True)

    def test_outnumbered(self) -> None:
        """A hundred identities of one source are one vote, against that of one honest peer and the
        node itself; those of two sources are two."""
        crowd = self.against(*range(10, 110), source="a")
        (ally,) = seen_by(node(1, MESH), node(2, MESH))
        self.assertTrue(self.is_ready_with(crowd, ally))
        more = self.against(*range(200, 210), source="b")
        other = self.against(300, source="c")
        self.assertFalse(self.is_ready_with([*crowd, *more, *other], ally))

    def test_disunited(self) -> None:
        """The vote of a source is that of the majority of its nodes."""
        honest = [
            replace(peer, source="a")
            for peer in seen_by(node(1, MESH), *(node(number, MESH) for number in (2, 3)))
        ]
        crowd = self.against(10, source="a")
        others = self.against(11, source="b")
        self.assertTrue(self.is_ready_with([*crowd, *others], *honest))
        crowd = self.against(10, 12, 13, source="a")
        self.assertFalse(self.is_ready_with([*crowd, *others], *honest))

    def test_networks(self) -> None:
        """Nor can they put a node out of step."""
        crowd = [
            replace(peer, source="a")
            for peer in seen_by(node(1, MESH), *(node(n, MESH, OTHER) for n in range(10, 20)))
        ]
        allies = seen_by(node(1, MESH), node(2, MESH), node(3, MESH))
        self.assertTrue(is_ready(judge(node(1, MESH), [*crowd, *allies])))

    def test_all_from_one_source(self) -> None:
        """If all peers connect from one source, as behind a load balancer, each has a vote."""
        allies = [replace(p, source="a") for p in seen_by(node(1, MESH), node(2, MESH))]
        self.assertFalse(self.is_ready_with(self.against(10, 11, 12, source="a"), *allies))
        self.assertTrue(self.is_ready_with(self.against(10, source="a"), *allies))


class Networks(unittest.SynchronousTestCase):
    """Nodes that are configured with different networks."""

    def test_the_same(self) -> None:
        """Nodes with the same networks agree."""
        self.assertIs(judged(node(1, MESH, SIX), node(2, MESH, SIX), node(3, MESH, SIX)), AGREED)
        self.assertIs(judged(node(1, MESH, SIX), node(2, SIX, MESH)), AGREED)
        self.assertIs(judged(node(1, MESH)), AGREED)

    def test_untold(self) -> None:
        """A node that does not say which networks it has is not found wrong."""
        silent = replace(node(2, MESH), networks=())
        peer = OnePeer(silent, View.of(node(1, MESH), silent), was_first=True)
        self.assertIs(judge(node(1, MESH), [peer]), AGREED)

    def wrong_one(self, *networks: object) -> Agreement:
        """What the fourth node finds of itself, in a mesh where the others find nothing against
        themselves and name it."""
        right = [node(number, MESH, SIX, settled=number < 3) for number in (1, 2, 3)]
        wrong = node(4, *networks)
        for each in right:
            agreement = judged(each, *(other for other in right if other is not each), wrong)
            self.assertTrue(is_ready(agreement))
            self.assertFalse(agreement.has_objections)
            self.assertIn("n4", "; ".join(agreement.warnings(True)))
        return judged(wrong, *right)

    def test_another_network(self) -> None:
        """A node in another network is cut off, settled or not, and the others are ready."""
        agreement = self.wrong_one(OTHER)
        self.assertFalse(is_ready(agreement))
        self.assertFalse(is_ready(agreement, is_settled=True))
        self.assertEqual(
            agreement.checks(False)[1].reason,
            "out of step: network_cidr is 10.10.0.0/16 here, 10.9.0.0/16 and fd09::/64 on 3 peers: "
            "n1, n2, n3",
        )
        self.assertIn("10.10.0.4 is not routed to this node by 3 of 3 peers", str(agreement))

    def test_part_of_the_network(self) -> None:
        """A node with a part of the network is out of step, though everybody routes its address."""
        agreement = self.wrong_one(SMALL, SIX)
        self.assertEqual([check.ok for check in agreement.checks(False)], [True, False])

    def test_a_family_less(self) -> None:
        """So is one that lacks a family. If it is settled, it is ready."""
        agreement = self.wrong_one(MESH)
        self.assertEqual([check.ok for check in agreement.checks(False)], [True, False])
        self.assertTrue(is_ready(agreement, is_settled=True))
        self.assertEqual(
            agreement.warnings(True),
            ("network_cidr is 10.9.0.0/16 here, 10.9.0.0/16 and fd09::/64 on 3 peers: n1, n2, n3",),
        )

    def test_a_family_more(self) -> None:
        """A node with a family more than all others is ready, with a warning on both sides."""
        old, new = [node(number, MESH, settled=True) for number in (1, 2, 3)], node(4, MESH, SIX)
        agreement = judged(new, *old)
        self.assertTrue(is_ready(agreement))
        self.assertFalse(agreement.has_objections)
        self.assertEqual(len(agreement.warnings(False)), 1)
        self.assertTrue(is_ready(judged(old[0], *old[1:], new)))

    def test_a_larger_network(self) -> None:
        """So is one with a larger network, as long as its address is in the smaller one."""
        old = [node(number, SMALL, settled=True) for number in (1, 2, 3)]
        new = replace(node(4, SMALL), networks=(MESH,))
        self.assertTrue(is_ready(judged(new, *old)))
        self.assertFalse(is_ready(judged(node(4, MESH), *old)))

    def test_two(self) -> None:
        """Of two nodes that disagree, the one that was there first is ready."""
        for networks in ((OTHER,), (SMALL,), (MESH,)):
            one, other = node(1, MESH, SIX), node(2, *networks)
            self.assertTrue(is_ready(judged(one, other)))
            self.assertFalse(is_ready(judged(other, one)), networks)
        settled = node(2, OTHER, settled=True)
        self.assertTrue(is_ready(judged(settled, node(1, MESH)), True))
        self.assertFalse(is_ready(judged(node(1, MESH), settled)))

    @given(
        st.lists(
            st.tuples(st.sampled_from([(MESH,), (OTHER,)]), st.booleans()), min_size=2, max_size=9
        )
    )
    def test_one_side(self, nodes: list[tuple[tuple[object, ...], bool]]) -> None:
        """Whatever the numbers, of two halves that disagree exactly one is ready."""
        records = [node(n, *networks, settled=s) for n, (networks, s) in enumerate(nodes, 1)]
        verdicts = {
            record.networks: {
                is_ready(judged(one, *(other for other in records if other is not one)))
                for one in records
                if one.networks == record.networks
            }
            for record in records
        }
        self.assertTrue(all(len(each) == 1 for each in verdicts.values()))
        self.assertEqual(sum(each == {True} for each in verdicts.values()), 1)


class Addresses(unittest.SynchronousTestCase):
    """Nodes that claim one address."""

    def setUp(self) -> None:
        self.me = node(2, MESH)
        self.twin = replace(node(9, MESH), addresses=self.me.addresses)
        self.others = [node(number, MESH) for number in (3, 4, 5)]

    def test_the_holder(self) -> None:
        """A node whose address most nodes route to it is ready, and says which other one claims
        it."""
        agreement = judged(self.me, self.twin, *self.others)
        self.assertTrue(is_ready(agreement))
        self.assertEqual(
            agreement.warnings(True),
            (
                "two nodes have the address 10.9.0.2: this node and n9 (not routed to this node by "
                "1 of 4 peers)",
            ),
        )

    def test_the_other_one(self) -> None:
        """The other one is not ready, and cannot settle; one refusal is enough for that."""
        peers = seen_by(self.twin, self.me, *self.others)
        told = [replace(peer, refuses=("10.9.0.2",), holder="n2") for peer in peers]
        agreement = judge(self.twin, told)
        self.assertFalse(is_ready(agreement, True))
        self.assertIn("4 of 4 peers", agreement.cut_off[0])
        one = judge(self.twin, [told[0], *peers[1:]])
        self.assertTrue(is_ready(one))
        self.assertTrue(one.has_objections)

    def test_a_holder_that_is_not_linked(self) -> None:
        """A node whose only peer says that another node holds its address is not ready, whichever
        of the two was first."""
        (peer,) = seen_by(self.me, self.others[0])
        self.assertFalse(peer.was_first)
        agreement = judge(self.me, [replace(peer, refuses=("10.9.0.2",), holder="n9")])
        self.assertEqual(
            agreement.cut_off,
            ("10.9.0.2 is not routed to this node by 1 of 1 peers (n3): n9 holds it there",),
        )

    def test_one_liar(self) -> None:
        """One member of four that refuses our address does not make us unready."""
        peers = seen_by(self.me, *self.others)
        liar = replace(peers[0], refuses=("10.9.0.2",), holder="nobody")
        agreement = judge(self.me, [liar, *peers[1:]])
        self.assertTrue(is_ready(agreement))
        self.assertIn("(n3): nobody holds it there", agreement.warnings(True)[0])


class Meshes(unittest.TestCase):
    """Whole nodes."""

    def healthy(self) -> tuple[Mesh, list[Member]]:
        mesh = Mesh()
        members = [mesh.add(name) for name in "abc"]
        mesh.until(mesh.is_complete)
        mesh.advance(SETTLING + 5)
        return mesh, members

    def add(self, mesh: Mesh, networks: object, addresses: tuple[str, ...]) -> Member:
        wrong = mesh.add("wrong", start=False, networks=networks)
        wrong.addresses, wrong.prefixes = addresses, (16, 64)[: len(addresses)]
        wrong.start()
        mesh.until(mesh.is_complete)
        mesh.advance(1)
        return wrong

    def test_one_wrong_node(self) -> None:
        """A node with other networks is the one that is not ready, for as long as it lives; both
        sides say so, once, with both values."""
        for networks, addresses in (
            ((OTHER,), ("10.10.0.9",)),
            ((SMALL, IPV6), ("10.9.1.9", "fd09::9")),
            ((IPV4,), ("10.9.0.9",)),
        ):
            mesh, members = self.healthy()
            wrong = self.add(mesh, networks, addresses)
            for _ in range(40):
                mesh.advance(1)
                self.assertFalse(wrong.status.is_ready)
                self.assertTrue(all(member.status.is_ready for member in members))
            self.assertFalse(wrong.node.record.settled)
            (event,) = wrong.logged("networks_differ")
            self.assertEqual(event["theirs"], "10.9.0.0/16 and fd09::/64")
            for member in members:
                self.assertEqual(member.logged("not_ready"), [])
                (event,) = member.logged("networks_differ")
                self.assertEqual(
                    (event["peer"], event["ours"]), ("wrong", "10.9.0.0/16 and fd09::/64")
                )
                self.assertIn("wrong", "; ".join(member.status.warnings))

    def test_wrong_from_the_start(self) -> None:
        """If all start at once, the right ones settle all the same."""
        mesh = Mesh()
        members = [mesh.add(name) for name in "abc"]
        wrong = self.add(mesh, (OTHER,), ("10.10.0.9",))
        mesh.advance(SETTLING + 5)
        self.assertEqual([member.status.is_ready for member in members], [True] * 3)
        self.assertEqual([member.node.record.settled for member in members], [True] * 3)
        self.assertFalse(wrong.status.is_ready)

    def test_a_family_added(self) -> None:
        """A rolling update that adds IPv6 succeeds: every node is ready before the next one is
        restarted, and none of the others ever becomes unready."""
        mesh = Mesh(networks=(IPV4,))
        members = [mesh.add(name, start=False) for name in "abc"]
        for member in members:
            member.addresses, member.prefixes = member.addresses[:1], (16,)
            member.start()
        mesh.until(mesh.is_complete)
        mesh.advance(SETTLING + 5)
        for number, member in enumerate(members, 1):
            member.leave()
            mesh.advance(2)
            member.crash()
            member.addresses, member.prefixes = (*member.addresses, f"fd09::{number}"), (16, 64)
            member.start(networks=(IPV4, IPV6))
            mesh.until(mesh.is_complete)
            self.assertTrue(member.status.is_ready)
            mesh.advance(SETTLING + 5)
            self.assertTrue(all(each.status.is_ready for each in members))
        self.assertEqual([each.status.warnings for each in members], [()] * 3)
        self.assertEqual([len(each.logged("not_ready")) for each in members], [0] * 3)

    def test_returned_to_a_taken_address(self) -> None:
        """A node that was cut off, and whose address another one took meanwhile, gets it back when
        it returns; the other one becomes unready, and says why."""
        mesh, (a, b, c) = self.healthy()
        for other in (a, b):
            mesh.network.cut(c.host, other.host)
        mesh.advance(20)
        heir = mesh.add("heir", start=False)
        mesh.network.cut(c.host, heir.host)
        heir.addresses = c.addresses
        heir.start()
        mesh.advance(SETTLING + 10)
        self.assertTrue(heir.status.is_ready)
        mesh.network.heal()
        mesh.until(mesh.is_complete)
        mesh.advance(5)
        self.assertEqual([m.status.is_ready for m in (a, b, c, heir)], [True, True, True, False])
        self.assertIn("this node and c", "; ".join(each.reason for each in heir.status.ready))
        self.assertTrue(mesh.send(a, c))
