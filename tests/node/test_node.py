"""Whole meshes in memory: what a node does when its peers come, go, lie and die."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.auth.handshake import Key
from tunmesh.dataplane.drops import DropReason
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.link.fair_queue import MAX_BYTES
from tunmesh.link.keepalive import Timing
from tunmesh.membership.reservations import KEPT
from tunmesh.membership.roster import Roster
from tunmesh.membership.seniority import SETTLING
from tunmesh.node import interpreter, node
from tunmesh.node.peers import Peers
from tunmesh.observe.samples import History
from tunmesh.observe.status_json import problems
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.network import LATENCY
from tunmesh.testing.tun import frame
from tunmesh.tls.underlay import Outside


def complete(*names: str, seed: int = 0) -> tuple[Mesh, list[Member]]:
    """A mesh of these nodes, all linked."""
    mesh = Mesh(seed)
    members = [mesh.add(name) for name in names]
    mesh.until(mesh.is_complete)
    return mesh, members


class ThroughMeshTests(SynchronousTestCase):
    """A link is never made through the mesh itself."""

    def setUp(self) -> None:
        self.mesh = Mesh(session_max_age=20.0)
        self.a = self.mesh.add("a", start=False)
        self.mesh.network.names["inside"] = [self.a.address]
        self.groups = (GroupSettings("first", ((self.a.host, PORT),)),)

    def test_renewal(self) -> None:
        """A peer's advertised name resolves to its mesh address: the session with it goes on beyond
        its age, without a gap, and why is said in the log and among the problems."""
        self.a.start(url=f"https://inside:{PORT}")
        b = self.mesh.add("b", groups=self.groups)
        self.mesh.until(self.mesh.is_complete)
        dialed = b.status.peers[0].since
        for _ in range(40):  # then the group looks again, and renews it by its own URL
            self.mesh.advance(1.0)
            self.assertTrue(self.mesh.send(b, self.a, b"here"))
        self.assertEqual(b.status.peers[0].since, dialed)
        self.assertEqual(self.mesh.network.dials_by[b.host], 1)
        (problem,) = problems(b.status, History(), 0.0)
        start = f"the session with a is not renewed at inside:{PORT}: {self.a.address} is inside"
        self.assertTrue(problem.startswith(start), problem)
        (event,) = b.logged("unreachable")
        self.assertIn(f"cannot reach inside:{PORT}: {self.a.address} is", str(formatEvent(event)))

    def test_bootstrap(self) -> None:
        """A bootstrap name that resolves to a mesh address is not dialed."""
        self.a.start()
        b = self.mesh.add("b", groups=(GroupSettings("first", (("inside", PORT),)),))
        self.mesh.advance(30)
        self.assertEqual(self.mesh.network.dials_by[b.host], 0)
        self.assertIn(f"{self.a.address} is inside the mesh (", b.status.dials[0].why)
        self.assertFalse(b.status.is_ready)

    def test_leaves_by_the_tun(self) -> None:
        """A connection that has the node's own mesh address at this end becomes no link, whatever
        address it leads to."""
        self.a.start()
        b = self.mesh.add("b", start=False, groups=self.groups)
        b.host = b.address
        b.start()
        self.mesh.advance(30)
        self.assertEqual(self.a.linked_with, [])
        self.assertGreater(b.status.handshake_failures["through_mesh"], 1)
        (event,) = b.logged("handshake_failed")
        self.assertIn(f"its end {b.address} is inside the mesh", str(formatEvent(event)))

    def test_arrives_by_the_tun(self) -> None:
        """Nor does one that comes from a mesh address, whatever its other end thinks of that."""
        self.a.start()
        b = self.mesh.add("b", start=False, groups=self.groups)
        b.host = b.address
        b.start()
        b.node._links.connector._outside = Outside()
        self.mesh.network.names["inside"] = []
        self.mesh.advance(30)
        self.assertEqual(self.a.linked_with, [])
        self.assertGreater(self.a.status.handshake_failures["through_mesh"], 1)
        (event,) = self.a.logged("handshake_failed")
        text = f"no link with a stranger at {b.address}: {b.address} is inside the mesh"
        self.assertTrue(str(formatEvent(event)).startswith(text), formatEvent(event))


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
        """Both ends of a link know the round trip a moment after it came up."""
        mesh, members = complete(*"abc")
        mesh.advance(0.05)
        for member in members:
            for peer in member.status.peers:
                self.assertApproximates(peer.rtt or 0.0, 2 * LATENCY, LATENCY)
                self.assertEqual((peer.pings, peer.pongs), (1, 1))

    def test_bug_while_grooming(self) -> None:
        """What fails each time when a node looks after things is logged and keeps it from nothing
        else: a lost link is replaced, and readiness is noticed."""
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
        """Nodes that nobody can reach are linked with all that they can reach. Two of them are not
        linked with each other, and say so now and then, not once a minute for ever."""
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
        """That one more node vouches for somebody is told late; that there is a new node at once,
        also while such news waits."""
        self.patch(interpreter, "GATHER_VOUCHES_PER_LINK", 1000.0)
        mesh, members = complete(*"abcdef", seed=5)
        smallest = min(members[1:], key=lambda member: member.node.record.id)
        for name, first in (("g", members[0]), ("h", smallest)):  # that one heard of g, then dialed
            mesh.add(name, groups=(GroupSettings("first", ((first.host, PORT),)),))
            mesh.until(mesh.is_complete, within=0.9)

    def test_no_traffic_before_the_link(self) -> None:
        """A packet to a node that is not linked yet goes nowhere and is counted."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b", start=False)
        a.tun.inject(frame(a.address, b.address))
        self.assertEqual(a.status.dropped["no_route"], 1)

    def test_probes_are_cheap(self) -> None:
        """What probes, supervisors and the history ask for is told without the whole status: it is
        asked for by strangers, and every few seconds."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        status = a.status
        for owner, name in ((node.Node, "status"), (Peers, "statuses"), (Roster, "known_nodes")):
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
        """A node that reaches only itself through a load balancer takes that for no failure, but it
        is not ready: it was told to look for others. When one comes they find each other."""
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
        """A node that has somebody to bootstrap from is ready once it is linked, not before."""
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
        """Within startup_grace a lone node counts as ready, afterwards no more."""
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
        """A bootstrap name may lead to anybody, oneself included, and change its mind."""
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

    def test_own_address_among_those_of_a_name(self) -> None:
        """A node whose own address comes first among those of its bootstrap name goes on to the
        next one at once: it is linked as soon as it looks for the first time after the name was
        lost."""
        mesh = Mesh(groups=(GroupSettings("dns", (("mesh.test", PORT),)),))
        a, b = mesh.add("a", groups=()), mesh.add("b")
        mesh.advance(120)
        mesh.network.names["mesh.test"] = [b.host, a.host]
        mesh.until(mesh.is_complete, within=15.1)
        self.assertEqual(b.linked_with, ["a"])

    def test_only_able_to_dial_out(self) -> None:
        """A node that nobody can reach links with everybody who can be reached."""
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


class HealingTests(SynchronousTestCase):
    """How a mesh gets over what happens to it."""

    def test_killed_node_is_noticed_at_once(self) -> None:
        """When a process is killed its kernel closes its connections: its routes go at once."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        self.assertLess(mesh.until(lambda: b.linked_with == ["a"] and a.linked_with == ["b"]), 0.1)
        mesh.advance(30)
        self.assertEqual(a.status.nodes_known, 1)
        dials = mesh.network.dials
        mesh.advance(60)
        self.assertLessEqual(mesh.network.dials, dials + 10)  # each looks for it now and then

    def test_bootstrap_node_is_dead(self) -> None:
        """Nodes that lost each other and that nobody else knows find each other again, though the
        node that they were bootstrapped from is gone for good."""
        mesh, (a, b, c) = complete(*"abc")
        a.crash()
        mesh.network.cut(b.host, c.host)
        mesh.until(lambda: not b.linked_with and not c.linked_with)
        mesh.advance(60)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 15)
        self.assertEqual([b.linked_with, c.linked_with], [["c"], ["b"]])

    def test_restart_while_the_bootstrap_node_is_dead(self) -> None:
        """A node that is started again knows nobody; the one that was linked with it dials it,
        whatever its id is now, after it crashed as after it left."""
        mesh, (a, b, c) = complete(*"abc")
        a.crash()
        for end, limit in ((c.crash, 3), (c.leave, 25)):
            end()
            mesh.advance(2)
            c.crash()
            mesh.advance(1)
            c.start()
            self.assertLess(mesh.until(mesh.is_complete), limit)
            self.assertTrue(mesh.send(b, c) and mesh.send(c, b))
            mesh.advance(10)

    def test_islands_without_a_bootstrap_node(self) -> None:
        """Two halves that have links find each other again, too."""
        mesh, (a, b, c, d, e) = complete(*"abcde")
        a.crash()
        for one in (b, c):
            for other in (d, e):
                mesh.network.cut(one.host, other.host)
        mesh.until(lambda: b.linked_with == ["c"] and d.linked_with == ["e"])
        mesh.advance(600)
        self.assertEqual(sorted(node.name for node in b.status.lost), ["d", "e"])
        self.assertEqual(b.status.nodes_known, 1)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 15)
        self.assertEqual(b.status.lost, ())

    def test_first_node_has_another_address(self) -> None:
        """A first node whose host gets another address while its network is away dials those that
        it was linked with: they have no way to know where it is."""
        mesh, (a, b, c) = complete(*"abc")
        a.readdress(100)
        mesh.until(lambda: not a.linked_with and b.linked_with != ["a", "c"])
        self.assertLess(mesh.until(mesh.is_complete), 10)
        self.assertTrue(mesh.send(a, c) and mesh.send(c, a))

    def test_another_node_at_a_lost_nodes_url(self) -> None:
        """Whoever answers where a lost node was is a member like any other; if that is elsewhere at
        home, the lost one is not looked for there any more."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        mesh.advance(0.1)
        self.assertEqual([node.name for node in a.status.lost], ["c"])
        mesh.network.listeners[c.host, PORT] = mesh.network.listeners[b.host, PORT]
        mesh.until(lambda: not a.status.lost)
        mesh.until(mesh.is_complete)
        dials = mesh.network.dials_by[a.host]
        mesh.advance(300)
        self.assertEqual(mesh.network.dials_by[a.host], dials)

    def test_own_process_at_a_lost_nodes_url(self) -> None:
        """Nor is it when this node itself is who answers there."""
        mesh, (a, _, c) = complete(*"abc")
        c.crash()
        mesh.advance(0.1)
        self.assertEqual([node.name for node in a.status.lost], ["c"])
        mesh.network.listeners[c.host, PORT] = mesh.network.listeners[a.host, PORT]
        mesh.until(lambda: not a.status.lost)
        self.assertEqual(a.linked_with, ["b"])

    def test_nobody_is_remembered_by_hearsay(self) -> None:
        """What a node remembers it tells nobody: who was never linked with the dead does not know
        them."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        mesh.advance(1)
        d = mesh.add("d")
        mesh.until(mesh.is_complete)
        mesh.advance(60)
        self.assertEqual([len(each.status.lost) for each in (a, b, d)], [1, 1, 0])
        self.assertEqual([each.status.nodes_known for each in (a, b, d)], [2, 2, 2])

    def test_dead_while_dialing(self) -> None:
        """A node that ends while it dials is dead: it links with nobody, and dials nobody else."""
        for end in ("crash", "vanish"):
            mesh = Mesh(groups=(GroupSettings("dns", (("mesh.test", PORT),)),))
            a, b = mesh.add("a", groups=()), mesh.add("b", start=False)
            mesh.network.names["mesh.test"] = ["192.0.2.99", a.host]
            b.start()
            mesh.advance(0.0005)
            getattr(b, end)()
            mesh.advance(30)
            self.assertEqual((mesh.network.dials, a.logged("linked")), (1, []))

    def test_vanished_node_is_noticed(self) -> None:
        """A node that disappears without a word is given up after 15 s of silence."""
        mesh, (_a, b, c) = complete(*"abc")
        c.vanish()
        self.assertLessEqual(mesh.until(lambda: b.linked_with == ["a"]), 16)

    def test_restart_with_the_same_address(self) -> None:
        """A node that is killed and started again with its address is back in about a second."""
        mesh, (_a, b, c) = complete(*"abc")
        c.crash()
        c.start()
        self.assertLess(mesh.until(mesh.is_complete), 2.5)
        self.assertTrue(mesh.send(b, c))

    def test_restart_while_the_old_link_is_half_open(self) -> None:
        """A machine that lost power and came back takes its address from its past life at once."""
        mesh, (a, b, c) = complete(*"abc")
        c.vanish()
        c.start()
        took = mesh.until(lambda: a.linked_with == ["b", "c"] and c.linked_with == ["a", "b"])
        self.assertLess(took, 2.5)
        mesh.until(lambda: mesh.send(b, c), within=3)
        mesh.until(mesh.is_complete)

    def test_silent_cut_heals(self) -> None:
        """Two nodes whose connection is cut without a word link again once it is whole."""
        mesh, (a, b, c) = complete(*"abc")
        mesh.network.cut(b.host, c.host)
        mesh.until(lambda: b.linked_with == ["a"] and c.linked_with == ["a"], within=20)
        self.assertEqual(b.status.nodes_known, 2)  # a vouches for c: it is not forgotten
        mesh.advance(60)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 20)
        self.assertTrue(mesh.send(a, c) and mesh.send(b, c))

    def test_one_way_cut_heals(self) -> None:
        """The same when only one direction is cut."""
        mesh, (_a, b, c) = complete(*"abc")
        mesh.network.cut(b.host, c.host, both_ways=False)
        mesh.until(lambda: b.linked_with == ["a"] and c.linked_with == ["a"], within=45)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 20)

    def test_split_mesh_grows_together(self) -> None:
        """Halves that lost each other find each other through the bootstrap node."""
        mesh, members = complete(*"abcd")
        for one in members[:2]:
            for other in members[2:]:
                mesh.network.cut(one.host, other.host)
        mesh.until(lambda: all(len(m.linked_with) == 1 for m in members), within=20)
        mesh.advance(100)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 25)

    def test_everybody_restarts_at_once(self) -> None:
        """A mesh that is restarted as a whole is whole again, without a storm of dials."""
        mesh, members = complete(*"abcdefgh")
        before = mesh.network.dials
        for member in members:
            member.crash()
        for member in members:
            member.start()
        self.assertLess(mesh.until(mesh.is_complete), 5)
        self.assertLess(mesh.network.dials - before, 3 * 28)

    def test_leaving(self) -> None:
        """A node that is told to end says bye: its routes go at once, and nobody dials it."""
        mesh, (a, b, c) = complete(*"abc")
        c.leave()
        self.assertLess(mesh.until(lambda: a.linked_with == ["b"] and b.linked_with == ["a"]), 0.1)
        self.assertEqual(a.logged("unlinked")[0]["reason"], "leaving")
        mesh.advance(5)
        self.assertFalse(c.tun.is_open)
        self.assertEqual(a.status.nodes_known, 1)

    def test_peer_that_breaks_every_link(self) -> None:
        """Two nodes that cannot bear each other do not link and part as fast as they can, be they
        alone or with a third that vouches for them."""
        for names in ("ab", "abc"):
            mesh, members = complete(*names)
            one, rude = members[-2:]
            before = mesh.network.dials
            for _ in range(2000):
                for link in rude.node.links:
                    if link.record is not None and link.record.name == one.name:
                        link._sender.write(b"? is no message")
                mesh.advance(0.01)
            self.assertLess(mesh.network.dials - before, 20)
            mesh.until(mesh.is_complete, within=20)

    def test_leaving_while_somebody_comes(self) -> None:
        """Whoever is at the door when a node leaves, however far he has come, is not let in."""
        for milliseconds in range(1, 15):
            mesh = Mesh()
            a = mesh.add("a")
            b = mesh.add("b")
            mesh.advance(milliseconds / 1000)
            a.leave()
            mesh.advance(6)
            self.assertEqual((dict(a.status.links), b.linked_with), ({}, []), milliseconds)
            self.assertFalse(a.tun.is_open)

    def test_leaving_while_a_peer_is_silent(self) -> None:
        """A peer that does not answer holds nobody up for longer than two seconds."""
        mesh, (_a, b, c) = complete(*"abc")
        c.vanish()
        b.leave()
        mesh.until(lambda: not b.tun.is_open, within=2)

    def test_renewal_loses_nothing(self) -> None:
        """Links are replaced when they are old, without a packet lost or a route withdrawn."""
        mesh = Mesh(session_max_age=20.0)
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        first = a.status.peers[0].since
        sent = 0
        while a.status.peers[0].since == first or sent < 1500:
            for sender, receiver in ((a, b), (b, a)):
                sender.tun.inject(frame(sender.address, receiver.address, sent.to_bytes(4, "big")))
            sent += 1
            mesh.advance(0.02)
        mesh.advance(5)
        self.assertEqual(len(b.tun.written), sent)
        self.assertEqual(len(a.tun.written), sent)
        self.assertEqual(len(a.logged("linked")), 1)
        self.assertTrue(mesh.is_complete())


class AddressTests(SynchronousTestCase):
    """Who may have which address."""

    def test_spoofed_source_is_dropped(self) -> None:
        """A peer may only send from the addresses that are routed to it."""
        mesh, (a, b, c) = complete(*"abc")
        b.tun.inject(frame(c.address, a.address, b"I am c"))
        mesh.advance(1)
        self.assertEqual(a.tun.written, [])
        self.assertEqual(a.status.dropped["spoofed_source"], 1)

    def test_packet_for_somebody_else_is_dropped(self) -> None:
        """A packet that a peer sends to the wrong node does not reach its tun."""
        mesh, (a, b) = complete("a", "b")
        (peer,) = b.node._parts.peers
        peer.link.send([frame(b.address, "10.9.77.77")])
        mesh.advance(1)
        self.assertEqual(a.status.dropped["misrouted"], 1)
        self.assertEqual(a.tun.written, [])

    def test_two_nodes_with_one_address(self) -> None:
        """The holder keeps it, both sides say so once, nothing flaps, and an heir gets it."""
        mesh, (a, b, c) = complete(*"abc")
        thief = mesh.add("thief", start=False)
        thief.addresses = c.addresses
        thief.start()
        mesh.until(lambda: thief.linked_with == ["a", "b", "c"], within=10)
        mesh.advance(60)
        self.assertFalse(thief.status.is_ready)
        self.assertIn("not routed to this node by 3", str(thief.status.ready))
        self.assertEqual(len(thief.logged("address_refused")), 1)
        self.assertEqual(len(a.logged("address_conflict")), 1)
        self.assertTrue(c.status.is_ready)
        self.assertTrue(mesh.send(a, c))
        c.leave()
        mesh.advance(1)
        self.assertTrue(thief.status.is_ready)
        self.assertTrue(mesh.send(b, thief))

    def test_one_address_when_just_settled(self) -> None:
        """Who has been here long enough says so from then on: whoever comes right after that with
        the same address and an earlier start does not tell him that it is another one's."""
        mesh, (_a, _b, c) = complete(*"abc")
        mesh.advance(SETTLING + 2.5 - mesh.clock.seconds())
        thief = mesh.add("thief", start=False)
        thief.addresses, thief.skew = c.addresses, -600
        thief.start()
        mesh.advance(1)
        self.assertIn("thief", c.linked_with)
        self.assertTrue(c.status.is_ready)
        self.assertEqual(c.logged("address_refused"), [])

    def test_one_address_and_a_newcomer(self) -> None:
        """Whoever starts while two claim one address gives it to the one that was there first, even
        if it is linked with the other one first, and though that one's clock is behind. When the
        first one goes, all give it to the other one."""
        mesh, (a, _b, c) = complete(*"abc")
        mesh.advance(SETTLING + 5)
        thief = mesh.add("thief", start=False)
        thief.addresses, thief.skew = c.addresses, -600
        thief.start()
        mesh.advance(60)
        for name in "de":
            groups = (GroupSettings("first", ((thief.host, PORT),)),)
            newcomer = mesh.add(name, groups=groups, start=False)
            mesh.network.cut(newcomer.host, c.host)
            newcomer.start()
            mesh.advance(1)
            self.assertIn("thief", newcomer.linked_with)
            self.assertNotIn("c", newcomer.linked_with)
            mesh.network.heal()
            mesh.until(mesh.is_complete, within=10)
            self.assertTrue(mesh.send(newcomer, c))
            self.assertTrue(mesh.send(c, newcomer))
        mesh.advance(60)
        self.assertTrue(c.status.is_ready)
        self.assertEqual(c.logged("address_refused"), [])
        self.assertIn("not routed to this node by 5", str(thief.status.ready))
        c.leave()
        mesh.advance(1)
        self.assertTrue(thief.status.is_ready)
        self.assertTrue(all(mesh.send(member, thief) for member in mesh.members[4:]))
        self.assertTrue(mesh.send(a, thief))

    def test_comes_back_to_a_taken_address(self) -> None:
        """A node that was out of reach for so long that another one has its address gets it back,
        and newcomers give it to that node as well, whomever they are linked with first."""
        mesh, (a, b, c) = complete(*"abc")
        heir = mesh.add("heir", start=False)
        heir.addresses = c.addresses
        mesh.advance(60)
        for other in (a, b, heir):
            mesh.network.cut(c.host, other.host)
        heir.start()
        mesh.until(lambda: mesh.send(a, heir))
        mesh.advance(60)
        mesh.network.heal()
        mesh.until(mesh.is_complete)
        mesh.advance(SETTLING + 5)
        for name, known in (("d", c), ("e", heir)):
            newcomer = mesh.add(name, groups=(GroupSettings("first", ((known.host, PORT),)),))
            mesh.until(mesh.is_complete)
            self.assertTrue(mesh.send(newcomer, c))
        self.assertTrue(mesh.send(a, c) and mesh.send(b, c))
        self.assertFalse(heir.status.is_ready)
        self.assertTrue(c.status.is_ready)

    def test_does_not_come_back_in_time(self) -> None:
        """A node that was away for longer than its address is kept does not get it back, and
        newcomers do not give it to that node either."""
        mesh, (a, b, c) = complete(*"abc")
        heir = mesh.add("heir", start=False)
        heir.addresses = c.addresses
        mesh.advance(60)
        for other in (a, b, heir):
            mesh.network.cut(c.host, other.host)
        heir.start()
        mesh.advance(KEPT + 30)
        mesh.network.heal()
        mesh.until(mesh.is_complete)
        d = mesh.add("d", groups=(GroupSettings("first", ((c.host, PORT),)),))
        mesh.until(mesh.is_complete)
        self.assertTrue(mesh.send(a, heir) and mesh.send(d, heir))
        self.assertTrue(heir.status.is_ready)
        self.assertFalse(c.status.is_ready)

    def test_address_of_a_silent_holder(self) -> None:
        """A newcomer gets the address of a node that is silent once its links are given up."""
        mesh, (a, b, c) = complete(*"abc")
        heir = mesh.add("heir", start=False)
        heir.addresses = c.addresses
        c.vanish()
        heir.start()
        mesh.until(lambda: heir.linked_with == ["a", "b"], within=5)
        mesh.until(lambda: mesh.send(a, heir) and mesh.send(b, heir), within=20)

    def test_two_lives(self) -> None:
        """Of two lives of one node that both go on, the later one has the address; the earlier one
        is linked like everybody, is told why, and nothing flaps. When the later one goes, it has
        the address again."""
        mesh, (a, b, c) = complete(*"abc")
        newer = mesh.add("c", start=False)
        newer.addresses = c.addresses
        newer.start()
        mesh.until(lambda: newer.linked_with == ["a", "b", "c"], within=10)
        mesh.until(lambda: not c.status.is_ready, within=10)
        why = "another c, started later, holds it, and both are alive"
        self.assertEqual({event["why"] for event in c.logged("address_refused")}, {why})
        self.assertTrue(mesh.send(a, newer) and mesh.send(b, newer))
        mesh.advance(20)
        dials, changes = mesh.network.dials, len(a.logged("linked") + a.logged("unlinked"))
        mesh.advance(300)
        self.assertEqual(len(a.logged("linked") + a.logged("unlinked")), changes)
        self.assertLess(mesh.network.dials - dials, 30)
        self.assertEqual((c.status.is_ready, newer.status.is_ready), (False, True))
        self.assertEqual(len(a.logged("address_conflict")), 1)
        newer.crash()
        mesh.until(lambda: c.status.is_ready, within=1)
        self.assertTrue(mesh.send(a, c))

    def test_restart_with_another_clock(self) -> None:
        """A node whose machine lost power is reached at its address again about a second after it
        is linked, however far its clock is ahead or behind, and nobody says that two nodes have
        one address."""
        for skew in (0.0, 5.0, -5.0, 3600.0, -3600.0, -86400.0 * 10):
            mesh, (a, b, c) = complete(*"abc")
            mesh.advance(20)
            c.vanish()
            mesh.advance(1)
            c.skew = skew
            c.start()
            for one, other, within in ((a, c, 1.5), (c, b, 2.5)):
                mesh.until(partial(mesh.send, one, other), within)
            mesh.until(mesh.is_complete, within=5)
            self.assertEqual(c.logged("address_refused"), [])
            self.assertEqual(a.logged("address_conflict") + b.logged("address_conflict"), [])

    def test_restart_that_only_others_can_dial(self) -> None:
        """Nor does it matter who has to dial whom: here b cannot be dialed, and must find c."""
        for skew in (0.0, -3600.0):
            mesh, (_, b, c) = complete(*"abc")
            mesh.network.listeners.pop((b.host, PORT))
            c.vanish()
            mesh.advance(1)
            c.skew = skew
            c.start()
            mesh.until(mesh.is_complete, within=5)
            self.assertTrue(mesh.send(b, c) and mesh.send(c, b))

    def test_address_outside_the_network(self) -> None:
        """An address that is not the mesh's is not routed, and its owner is told."""
        mesh, (a, _b) = complete("a", "b")
        odd = mesh.add("odd", start=False)
        odd.addresses = ("172.16.0.1", odd.addresses[1])
        odd.start()
        mesh.until(lambda: odd.linked_with == ["a", "b"], within=5)
        mesh.advance(1)
        self.assertFalse(mesh.send(a, odd, family=0))
        self.assertTrue(mesh.send(a, odd, family=1))
        self.assertFalse(odd.status.is_ready)


class TrustTests(SynchronousTestCase):
    """Who is let in."""

    def test_wrong_secret(self) -> None:
        """A node with another secret gets no link; both sides say so, a few times, and count."""
        mesh = Mesh()
        a = mesh.add("a")
        b = mesh.add("b", keys=(Key.derive(b"a secret of somebody else's mesh"),))
        mesh.advance(120)
        self.assertEqual((a.linked_with, b.linked_with), ([], []))
        self.assertGreater(a.status.handshake_failures["unknown_key"], 3)
        self.assertGreater(b.status.handshake_failures["closed"], 3)
        for member in (a, b):
            self.assertLessEqual(len(member.logged("handshake_failed")), 4)
        self.assertIn("secret", a.logged("handshake_failed")[0]["why"])
        self.assertEqual(a.logged("handshake_failed")[0]["who"], f"a stranger at {b.host}")
        self.assertIn("secret", b.logged("handshake_failed")[0]["why"])

    def test_several_secrets(self) -> None:
        """While a secret is replaced, nodes with the old, both, and the new one are linked as far
        as they have one in common."""
        old, new = Key.derive(b"o" * 32), Key.derive(b"n" * 32)
        mesh = Mesh()
        a = mesh.add("a", keys=(new, old))
        b = mesh.add("b", keys=(old,))
        c = mesh.add("c", keys=(new,))
        mesh.advance(10)
        self.assertEqual((a.linked_with, b.linked_with, c.linked_with), (["b", "c"], ["a"], ["a"]))


class PromptnessTests(SynchronousTestCase):
    """What the machine answers at once is sent at once."""

    def test_answer(self) -> None:
        """What the kernel has ready when it is given a packet leaves in the same turn; not what it
        may have ready when a packet is kept from it."""
        mesh, (a, b) = complete("a", "b")
        answer = frame(b.address, a.address, b"pong")
        for request, goes in (
            (frame("10.9.9.9", b.address, b"a spoofed ping"), False),
            (frame(a.address, b.address, b"ping"), True),
        ):
            b.tun.answers = [answer]
            a.tun.inject(request)
            mesh.advance(1.5 * LATENCY)
            self.assertEqual(b.tun.answers == [], goes)
            mesh.advance(LATENCY)
            self.assertEqual(answer in a.tun.written, goes)


class BackpressureTests(SynchronousTestCase):
    """A slow peer is nobody else's problem."""

    def test_stuck_peer(self) -> None:
        """Packets for a peer that takes no more are dropped and counted; others get theirs."""
        mesh, (a, b, c) = complete(*"abc")
        mesh.network.cut(a.host, b.host)
        bulk = [frame(a.address, b.address, bytes(60_000)) for _ in range(50)]
        a.tun.inject(*bulk)
        a.tun.inject(*bulk)
        self.assertLessEqual(sum(peer.queued_bytes for peer in a.status.peers), MAX_BYTES)
        self.assertGreater(a.status.dropped["queue_full"], 0)
        self.assertTrue(mesh.send(a, c))
        mesh.advance(1)
        mesh.network.heal()
        mesh.advance(1)
        self.assertGreater(a.status.dropped["expired"], 0)
        self.assertTrue(mesh.send(a, b))

    def test_tun_that_takes_no_more(self) -> None:
        """What the tun refuses is dropped and counted by its reason; the link lives on."""
        mesh, (a, b) = complete("a", "b")
        b.tun.refuses = DropReason.TUN_FULL
        self.assertFalse(mesh.send(a, b))
        self.assertEqual(b.status.dropped["tun_full"], 1)
        b.tun.refuses = None
        self.assertTrue(mesh.send(a, b))

    def test_conservation(self) -> None:
        """What arrives is either counted as received or as dropped, with a reason, never as both;
        and the totals of the tun, the links, the peers and the names are the same."""
        mesh, (a, b, c) = complete("a", "b", "c")
        reasons = {0: DropReason.TUN_FULL, 1: DropReason.TUN_REFUSED}
        b.tun.refuses = lambda each: reasons.get(each[-1] % 4)
        for number in range(100):
            for sender in (a, c):
                source = sender.address if number % 10 else "10.77.9.9"  # one that b drops
                sender.tun.inject(frame(source, b.address, bytes(number) + bytes((number,))))
        mesh.advance(1)
        now = b.status
        sent = sum(each.traffic.tx_packets for each in (*a.status.peers, *c.status.peers))
        self.assertEqual(sent, 200)
        self.assertEqual(now.link.rx_packets + sum(now.dropped.values()), sent)
        self.assertEqual(now.dropped["spoofed_source"], 20)
        self.assertEqual(now.dropped["tun_full"] + now.dropped["tun_refused"], 90)
        for count in ("rx_packets", "rx_bytes"):
            totals = {
                getattr(now.tun, count),
                getattr(now.link, count),
                sum(getattr(peer.traffic, count) for peer in now.peers),
                sum(getattr(node.traffic, count) for node in now.nodes.values()),
            }
            self.assertEqual(len(totals), 1, totals)
        self.assertEqual(len(b.tun.written), now.tun.rx_packets)
        for member in (a, c):
            self.assertEqual(member.status.tun.tx_packets, member.status.link.tx_packets)
            self.assertEqual(member.status.tun.tx_bytes, member.status.link.tx_bytes)
        self.assertIn("tun_full", [drop.reason for drop in b.node.drops])

    def test_deleted_tun(self) -> None:
        """A node whose tun is deleted is neither live nor ready."""
        _mesh, (_a, b) = complete("a", "b")
        b.tun.delete()
        self.assertFalse(b.status.is_live)
        self.assertFalse(b.status.is_ready)


class DeviceTests(SynchronousTestCase):
    """What others do to the device of a node."""

    def test_damaged_and_mended(self) -> None:
        """A node whose device lacks something is not ready, says so once, and goes on; when it is
        put back it is ready again."""
        mesh, (a, b) = complete("a", "b")
        b.watch.complain("the route is gone", "the address is gone")
        self.assertTrue(b.status.is_live)
        self.assertFalse(b.status.is_ready)
        self.assertEqual(b.status.device.complaints, ("the route is gone", "the address is gone"))
        (problem,) = problems(b.status, History(), 0.0)
        self.assertEqual(problem, "the route is gone; the address is gone")
        (event,) = b.logged("device_changed")
        self.assertIn("not as it was set up: the route is gone; the", str(formatEvent(event)))
        self.assertTrue(mesh.send(a, b, b"goes on"))
        b.watch.complain()
        self.assertTrue(b.status.is_ready)
        self.assertEqual(len(b.logged("device_whole")), 1)

    def test_explained(self) -> None:
        """If the kernel sends a packet of this machine elsewhere, that is where its way ends; those
        that come in are none of it."""
        _mesh, (a, b) = complete("a", "b")
        ends = [ip_address(member.address) for member in (a, b)]
        for interface, carried in ((None, True), (a.tun.name, True), ("eth0", False)):
            a.watch.interface = interface
            steps = a.node.explainer().explain(*ends)
            self.assertEqual(all(step.ok for step in steps), carried)
        text = "the kernel sends it to eth0 (routing table 52); it does not come to tun1"
        self.assertEqual(steps[-1].text, text)
        self.assertTrue(all(step.ok for step in a.node.explainer().explain(*reversed(ends))))


class HousekeepingTests(SynchronousTestCase):
    """Nothing is left over."""

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
        """Nodes that come and go a hundred times leave nothing behind in those who stay."""
        mesh, (a, b, c) = complete(*"abc")
        for _ in range(100):
            c.crash()
            c.start()
            mesh.until(mesh.is_complete)
        mesh.advance(30)
        for member in (a, b):
            self.assertEqual(len(member.status.peers), 2)
            self.assertEqual(len(member.node.links), 2)
            self.assertLessEqual(len(member.node._links.dials._discovered._dialers), 2)
            self.assertEqual(len(member.node._parts.table.routes), 4)


class BroadcastTests(SynchronousTestCase):
    """One packet for many, where the config allows it."""

    def heard(self, mesh: Mesh, sender: Member, destination: str) -> list[str]:
        """The names of those whose tun gets a packet to this destination."""
        packet = frame(sender.address, destination, b"to whom it may concern")
        sender.tun.inject(packet)
        mesh.advance(0.1)
        return [member.name for member in mesh.members if packet in member.tun.written]

    def subnets(self, enable: bool) -> tuple[Mesh, list[Member]]:
        """a and b in one local subnet of the mesh, c in another one."""
        mesh = Mesh(enable_broadcast=enable)
        members = [mesh.add(name, start=False) for name in "abc"]
        for member, text in zip(members, ("10.9.1.1", "10.9.1.2", "10.9.2.1"), strict=True):
            member.addresses = (text, member.addresses[1])
            member.prefixes = (24, 64)
            member.start()
        mesh.until(mesh.is_complete)
        return mesh, members

    def test_local_subnet(self) -> None:
        """255.255.255.255 and the local subnet's broadcast address reach the local subnet."""
        mesh, (a, _b, c) = self.subnets(enable=True)
        self.assertEqual(self.heard(mesh, a, "255.255.255.255"), ["b"])
        self.assertEqual(self.heard(mesh, a, "10.9.1.255"), ["b"])
        self.assertEqual(self.heard(mesh, c, "255.255.255.255"), [])
        self.assertEqual(self.heard(mesh, c, "10.9.1.255"), [])

    def test_mesh(self) -> None:
        """The mesh's broadcast address reaches every node."""
        mesh, (a, _b, c) = self.subnets(enable=True)
        self.assertEqual(self.heard(mesh, a, "10.9.255.255"), ["b", "c"])
        self.assertEqual(self.heard(mesh, c, "10.9.255.255"), ["a", "b"])

    def test_off_by_default(self) -> None:
        """Without the config's consent broadcasts are dropped and counted, sent or received."""
        mesh, (a, _b, _c) = self.subnets(enable=False)
        for destination in ("255.255.255.255", "10.9.255.255"):
            self.assertEqual(self.heard(mesh, a, destination), [])
        self.assertEqual(a.status.dropped["broadcast"], 2)

    def test_receiver_does_not_allow_it(self) -> None:
        """A node without broadcast does not take those of others either."""
        mesh = Mesh()
        a, b = mesh.add("a", enable_broadcast=True), mesh.add("b")
        mesh.until(mesh.is_complete)
        self.assertEqual(self.heard(mesh, a, "10.9.255.255"), [])
        self.assertEqual(b.status.dropped["misrouted"], 1)

    def test_nobody_owns_a_broadcast_address(self) -> None:
        """A node that claims the mesh's broadcast address does not get it."""
        mesh = Mesh(enable_broadcast=True)
        a, b = mesh.add("a"), mesh.add("b", start=False)
        b.addresses = ("10.9.255.255", b.addresses[1])
        b.start()
        mesh.until(lambda: b.linked_with == ["a"])
        mesh.advance(1)
        self.assertFalse(b.status.is_ready)
        self.assertNotIn(b"\x0a\x09\xff\xff", a.node._parts.table.routes)


class TimingTests(SynchronousTestCase):
    """How patient links are, near and far."""

    def test_local_and_mesh(self) -> None:
        """Peers in the local subnet and others are given up after times of their own."""
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
        """What was exchanged with a node is counted on when it restarts, by its name."""
        mesh, (a, b) = complete("a", "b")
        self.assertTrue(mesh.send(a, b, b"12345"))
        b.crash()
        b.start()
        mesh.until(mesh.is_complete)
        self.assertTrue(mesh.send(a, b, b"12345"))
        self.assertEqual(a.status.nodes["b"].traffic.tx_bytes, 50)


class DebuggingTests(SynchronousTestCase):
    """What a node logs at debug level, and only then."""

    def texts(self, member: Member, event: str) -> list[str]:
        return [str(formatEvent(each)) for each in member.logged(event)]

    def mesh(self) -> tuple[Mesh, list[Member]]:
        mesh = Mesh()
        members = [mesh.add(name, start=False) for name in "abc"]
        for member in members[:2]:
            member.debugs = True
        return mesh, members

    def test_dialing(self) -> None:
        """Each attempt, with the address that a name has just now, and how each of them ended; who
        does not debug hears of the first failure alone."""
        mesh, (a, b, c) = self.mesh()
        for member in (b, c):
            member.settings["groups"] = (GroupSettings("first", (("mesh.test", PORT),)),)
        mesh.network.names["mesh.test"] = [a.host]
        b.start()
        c.start()
        mesh.advance(5)
        dialed = self.texts(b, "dialing")
        self.assertEqual(dialed[0], f"dialing mesh.test:{PORT} at {a.host}")
        self.assertEqual(dialed[1], f"dialing mesh.test:{PORT} at {a.host}, attempt 2")
        levels = [event["log_level"].name for event in b.logged("unreachable")]
        self.assertEqual(levels, ["warn"] + ["debug"] * (len(dialed) - 1))
        self.assertEqual((len(c.logged("unreachable")), c.logged("dialing")), (1, []))
        a.start()
        mesh.until(mesh.is_complete)
        self.assertEqual(c.logged("dialing"), [])

    def test_status_of_dials(self) -> None:
        """Whom a node dials the status names, without a look at who is linked with whom: that grows
        with the square of the nodes."""
        mesh, (a, b, c) = self.mesh()
        b.start()
        a.start()
        c.start()
        mesh.until(mesh.is_complete)
        mesh.network.cut(b.host, c.host)
        mesh.until(lambda: "c" not in b.linked_with)
        self.patch(b.node._parts.roster, "known_nodes", None)
        [dial] = b.status.dials
        self.assertEqual((dial.name, dial.target), ("c", f"{c.host}:{PORT}"))

    def test_gossip(self) -> None:
        """What was said about others is one line now and then, and none when nothing was."""
        mesh, members = self.mesh()
        for member in members:
            member.start()
        mesh.advance(60)
        a, _, c = members
        (line,) = self.texts(a, "gossip")
        self.assertIn("knows 2 nodes, linked with 2", line)
        self.assertEqual(c.logged("gossip"), [])

    def test_drops(self) -> None:
        """Packets that were not carried are a line now and then, with their reasons."""
        mesh, members = self.mesh()
        for member in members:
            member.start()
        mesh.until(mesh.is_complete)
        mesh.advance(10)
        a, b, _ = members
        a.tun.inject(*[frame(a.address, "10.9.0.99")] * 3)
        mesh.network.cut(a.host, b.host)
        for _ in range(100):
            a.tun.inject(frame(a.address, b.address, bytes(60_000)))
        mesh.advance(10)
        first, *_ = self.texts(a, "dropped")
        self.assertRegex(first, "no_route 3")
        self.assertRegex(first, r"(expired|queue_full) \d+.*; on the way to b \d+$")
        before = len(a.logged("dropped"))
        mesh.advance(60)
        self.assertLessEqual(len(a.logged("dropped")), before + 1)

    def test_links(self) -> None:
        """When a link is renewed, the old one is said to be retired; when one is closed, why; and
        when somebody is asked whether he is there, what came of it."""
        mesh, (a, b, _) = self.mesh()
        a.start(session_max_age=30.0)
        b.start(session_max_age=30.0)
        mesh.advance(60)
        (retired, *_) = a.logged("retired") + b.logged("retired")
        self.assertGreater(retired["age"], 29)
        b.vanish()
        b.start()
        mesh.advance(30)
        self.assertEqual(self.texts(a, "closed"), ["a link with b is closed: silent"])
        twin = mesh.add("b", start=False)
        twin.addresses = b.addresses
        twin.start()
        mesh.advance(5)
        self.assertEqual(
            set(self.texts(a, "probed")),
            {"b answered a probe", "b did not answer a probe within 1 s"},
        )
