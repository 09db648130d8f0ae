"""Whole meshes in memory: how nodes find each other, and what stays when they go."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.link.keepalive import Timing
from tunmesh.node import interpreter, node, snapshot
from tunmesh.node.peers import Peers
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.testing.network import LATENCY
from tunmesh.testing.tun import frame


class JoiningTests(SynchronousTestCase):
    """How a mesh comes about."""

    def test_everybody_finds_everybody_through_one_member(self) -> None:
        """Nodes that know only the first one end up linked with all others, by one link each."""
        mesh, members = complete(*"abcdef")
        for sender in members:
            for receiver in members:
                if sender is not receiver:
                    self.assertTrue(mesh.send(sender, receiver, b"4", family=0))
                    self.assertTrue(mesh.send(sender, receiver, b"6", family=1))

    def test_round_trips_are_known_at_once(self) -> None:
        """Both ends know the round trip of a link a moment after it came up."""
        mesh, members = complete(*"abc")
        mesh.advance(0.05)
        for member in members:
            for peer in member.status.peers:
                self.assertApproximates(peer.rtt or 0.0, 2 * LATENCY, LATENCY)
                self.assertEqual((peer.pings, peer.pongs), (1, 1))

    def test_bug_while_grooming(self) -> None:
        """A periodic task that always fails is logged and affects no other: a lost link is
        replaced, and readiness is updated."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)

        def fail(*_: object) -> None:
            raise ZeroDivisionError("injected")

        self.patch(b.node._parts.peers, "groom", fail)
        self.patch(b.node._links, "summarize", fail)
        a.crash()
        mesh.advance(60)
        self.assertTrue(b.logged("not_ready"))
        a.start()
        mesh.until(mesh.is_complete)
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 10)

    def test_nobody_can_be_reached(self) -> None:
        """Nodes that cannot be dialed are linked with all that they can dial. Two of them are not
        linked with each other, which is logged more and more rarely."""
        mesh = Mesh()
        a, _, c, d = (mesh.add(name, start=False) for name in "abcd")
        mesh.network.cut(c.host, d.host)
        for member in mesh.members:
            member.start()
        mesh.advance(3600)
        self.assertEqual(c.linked_with, ["a", "b"])
        self.assertEqual(d.linked_with, ["a", "b"])
        self.assertEqual(a.linked_with, ["b", "c", "d"])
        self.assertTrue(c.status.is_ready)
        self.assertEqual(len(c.logged("linked")), 2)
        self.assertLess(len(c.logged("unreachable")), 8)
        self.assertEqual(a.logged("unreachable"), [])
        mesh.network.heal()
        mesh.until(mesh.is_complete, within=30)

    def test_lazy_news(self) -> None:
        """News that one more node vouches for another is sent late; news of a new node at once,
        even while such news waits."""
        self.patch(interpreter, "GATHER_VOUCHES_PER_LINK", 1000.0)
        mesh, members = complete(*"abcdef", seed=5)
        smallest = min(members[1:], key=lambda member: member.node.record.id)
        for name, first in (("g", members[0]), ("h", smallest)):  # that one heard of g, then dialed
            mesh.add(name, groups=(GroupSettings("first", ((first.host, PORT),)),))
            mesh.until(mesh.is_complete, within=0.9)

    def test_no_traffic_before_the_link(self) -> None:
        """A packet to a node that is not linked yet is dropped and counted."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b", start=False)
        a.tun.inject(frame(a.address, b.address))
        self.assertEqual(a.status.dropped["no_route"], 1)

    def test_probes_are_cheap(self) -> None:
        """Health and samples do not take a whole status: strangers ask for health, and samples are
        taken every few seconds."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        status = a.status
        for owner, name in ((node.Node, "status"), (Peers, "statuses"), (snapshot, "known_nodes")):
            self.patch(owner, name, None)
        self.assertEqual(a.node.health(), status.health)
        (peer,) = a.node.sample().peers
        self.assertEqual((peer.id, peer.since), (b.node.record.id, status.peers[0].since))

    def test_first_node_is_ready_alone(self) -> None:
        """A node whose bootstrap list is empty is ready at once."""
        mesh = Mesh()
        self.assertTrue(mesh.add("a").status.is_ready)
        self.assertTrue(mesh.add("b", groups=()).status.is_ready)
        self.assertTrue(mesh.add("c", groups=(GroupSettings("none", ()),)).status.is_ready)
        mesh.advance(60)
        self.assertEqual(mesh.network.dials, 0)

    def test_name_that_leads_to_oneself(self) -> None:
        """A node that reaches only itself through a load balancer does not count that as a failure,
        but is not ready: it is configured to look for others. When another node comes they find
        each other."""
        mesh = Mesh(groups=(GroupSettings("lb", (("mesh.test", PORT),)),))
        a = mesh.add("a")
        mesh.network.names["mesh.test"] = [a.host]
        mesh.advance(300)
        self.assertFalse(a.status.is_ready)
        self.assertEqual(a.linked_with, [])
        self.assertEqual(a.status.handshake_failures, dict.fromkeys(a.status.handshake_failures, 0))
        self.assertLess(mesh.network.dials, 60)
        b = mesh.add("b", start=False)
        mesh.network.names["mesh.test"].append(b.host)
        b.start()
        mesh.until(mesh.is_complete)
        self.assertTrue(a.status.is_ready)

    def test_not_ready_until_linked(self) -> None:
        """A node with bootstrap URLs is ready once it is linked, not before."""
        mesh = Mesh()
        mesh.add("a", start=False)
        b = mesh.add("b")
        mesh.advance(3)
        self.assertFalse(b.status.is_ready)
        self.assertTrue(b.status.is_live)
        mesh.members[0].start()
        mesh.until(lambda: b.status.is_ready)
        self.assertEqual(len(b.logged("ready")), 1)

    def test_startup_grace(self) -> None:
        """Within startup_grace a node without links is ready, afterwards it is not."""
        mesh = Mesh()
        mesh.add("a", start=False)
        b = mesh.add("b", startup_grace=10.0)
        mesh.advance(9)
        self.assertTrue(b.status.is_ready)
        mesh.advance(2)
        self.assertFalse(b.status.is_ready)

    def test_first_node_comes_late(self) -> None:
        """Nodes that start before their bootstrap node link within one retry interval of it."""
        mesh = Mesh()
        a = mesh.add("a", start=False)
        mesh.add("b")
        mesh.add("c")
        mesh.advance(120)
        a.start()
        self.assertLess(mesh.until(mesh.is_complete), 18)

    def test_load_balancer(self) -> None:
        """A bootstrap name may lead to any node, itself included, and to another one later."""
        mesh = Mesh(groups=(GroupSettings("lb", (("mesh.test", PORT),)),))
        a, b, c = (mesh.add(name) for name in "abc")
        mesh.network.names["mesh.test"] = [c.host]
        mesh.until(mesh.is_complete)
        mesh.network.names["mesh.test"] = [a.host]
        b.crash()
        b.start()
        mesh.until(mesh.is_complete)

    def test_every_address_of_a_name_is_tried(self) -> None:
        """A name with a dead address first still leads to the living one."""
        mesh = Mesh(groups=(GroupSettings("dns", (("mesh.test", PORT),)),))
        a, b = mesh.add("a"), mesh.add("b")
        mesh.network.names["mesh.test"] = ["192.0.2.99", a.host]
        mesh.until(mesh.is_complete, within=20)
        self.assertEqual(b.linked_with, ["a"])

    def test_node_that_is_known_to_nobody(self) -> None:
        """A node that dials nobody is found by the next look at a name that has its address, among
        addresses of nodes that are linked already, and others where nobody is."""
        mesh = Mesh(groups=(GroupSettings("dns", (("mesh.test", PORT),)),))
        hosts = mesh.network.names["mesh.test"] = []
        members = [mesh.add(name) for name in "abcdef"]
        hosts += [each.host for each in members]
        mesh.until(mesh.is_complete, 20)
        hosts += ["192.0.2.98", "192.0.2.99", mesh.add("alone", groups=()).host]
        self.assertLess(mesh.until(mesh.is_complete, 91), 91)

    def test_own_address_among_those_of_a_name(self) -> None:
        """A node whose own address is the first of its bootstrap name tries the next one at once:
        it is linked at its first look after the name has changed."""
        mesh = Mesh(groups=(GroupSettings("dns", (("mesh.test", PORT),)),))
        a, b = mesh.add("a", groups=()), mesh.add("b")
        mesh.advance(120)
        mesh.network.names["mesh.test"] = [b.host, a.host]
        mesh.until(mesh.is_complete, within=15.1)
        self.assertEqual(b.linked_with, ["a"])

    def test_only_able_to_dial_out(self) -> None:
        """A node that cannot be dialed links with every node that can."""
        mesh = Mesh()
        for name in "abc":
            mesh.add(name)
        mesh.add("d", url="https://192.0.2.77:9")
        mesh.until(mesh.is_complete, within=30)

    def test_somebody_else_answers(self) -> None:
        """A node whose URL leads to another one for a while is found when it leads there again."""
        mesh = Mesh()
        a = mesh.add("a")
        b = mesh.add("b", url="https://192.0.2.77:9")  # that is, nobody can dial it
        mesh.until(mesh.is_complete)
        mesh.network.names["c.test"] = [a.host]
        c = mesh.add("c", url=f"https://c.test:{PORT}")
        mesh.advance(60)
        self.assertEqual((b.linked_with, c.linked_with), (["a"], ["a"]))
        mesh.network.names["c.test"] = [c.host]
        self.assertLess(mesh.until(mesh.is_complete), 18)

    def test_simultaneous_dialing(self) -> None:
        """Two nodes that dial each other at once keep one link, the same at both ends."""
        for seed in range(20):
            mesh = Mesh(seed)
            a = mesh.add("a")
            mesh.settings["groups"] = (GroupSettings("other", (("192.0.2.2", PORT),)),)
            a.crash()
            a.start()
            b = mesh.add("b", groups=(GroupSettings("other", ((a.host, PORT),)),))
            mesh.until(mesh.is_complete)
            mesh.advance(10)
            self.assertTrue(mesh.is_complete(), mesh.story())
            here, there = a.status.peers[0], b.status.peers[0]
            self.assertNotEqual(here.dialed, there.dialed)
            self.assertTrue(mesh.send(a, b) and mesh.send(b, a))


class HousekeepingTests(SynchronousTestCase):
    """Nothing is left behind."""

    def test_nothing_left_after_leaving(self) -> None:
        """When all nodes have left, no timer, connection or listener of theirs remains."""
        mesh, members = complete(*"abcd")
        for member in members:
            member.leave()
        mesh.advance(5)
        self.assertEqual(mesh.network.wires, {})
        self.assertEqual(mesh.network.listeners, {})
        self.assertEqual([str(call) for call in mesh.clock.getDelayedCalls()], [])

    def test_churn_leaves_no_trace(self) -> None:
        """Nodes that come and go again and again leave nothing behind in those that stay."""
        mesh, (a, b, c) = complete(*"abc")
        for _ in range(30):
            c.crash()
            c.start()
            mesh.until(mesh.is_complete)
        mesh.advance(30)
        for member in (a, b):
            self.assertEqual(len(member.status.peers), 2)
            self.assertEqual(len(member.node.links), 2)
            self.assertLessEqual(len(member.node._links.dials.discovered._dialers), 2)
            self.assertEqual(len(member.node._parts.table.routes), 4)


class TimingTests(SynchronousTestCase):
    """Timeouts of links, near and far, and totals over restarts."""

    def test_local_and_mesh(self) -> None:
        """Peers in the local subnet and others are given up after timeouts of their own."""
        mesh = Mesh(local=Timing(1.0, 3.0), mesh=Timing(2.0, 8.0))
        members = [mesh.add(name, start=False) for name in "abc"]
        for member, text in zip(members, ("10.9.1.1", "10.9.1.2", "10.9.2.1"), strict=True):
            member.addresses = (text, member.addresses[1])
            member.prefixes = (24, 64)
            member.start()
        a, b, c = members
        mesh.until(mesh.is_complete)
        b.vanish()
        self.assertLessEqual(mesh.until(lambda: a.linked_with == ["c"]), 4.1)
        self.assertGreater(mesh.until(lambda: c.linked_with == ["a"]), 1)

    def test_totals_outlive_a_restart(self) -> None:
        """The traffic with a node is counted on by its name when it restarts."""
        mesh, (a, b) = complete("a", "b")
        self.assertTrue(mesh.send(a, b, b"12345"))
        b.crash()
        b.start()
        mesh.until(mesh.is_complete)
        self.assertTrue(mesh.send(a, b, b"12345"))
        self.assertEqual(a.status.nodes["b"].traffic.tx_bytes, 50)
