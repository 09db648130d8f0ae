"""How a mesh in memory recovers: links that are cut, nodes that crash, leave and come back."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.url_checks import FIRST
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.testing.tun import frame


class HealingTests(SynchronousTestCase):
    """How a mesh recovers from what happens to it."""

    def test_killed_node_is_noticed_at_once(self) -> None:
        """When a process is killed its kernel closes its connections: its routes are withdrawn at
        once."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        self.assertLess(mesh.until(lambda: b.linked_with == ["a"] and a.linked_with == ["b"]), 0.1)
        mesh.advance(30)
        self.assertEqual(a.status.nodes_known, 1)
        dials = mesh.network.dials
        mesh.advance(60)
        self.assertLessEqual(mesh.network.dials, dials + 10)  # each looks for it now and then

    def test_bootstrap_node_is_dead(self) -> None:
        """Nodes that lost each other find each other again though no third node knows them and the
        node that they bootstrapped from is gone for good."""
        mesh, (a, b, c) = complete(*"abc")
        a.crash()
        mesh.network.cut(b.host, c.host)
        mesh.until(lambda: not b.linked_with and not c.linked_with)
        mesh.advance(60)
        mesh.network.heal()
        self.assertLess(mesh.until(mesh.is_complete), 15)
        self.assertEqual([b.linked_with, c.linked_with], [["c"], ["b"]])

    def test_restart_while_the_bootstrap_node_is_dead(self) -> None:
        """A restarted node knows no other node; the one that was linked with it dials it, whatever
        its new id, after a crash as after a goodbye."""
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
        """Two halves of a mesh find each other again though every node has links."""
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
        """A first node whose host gets another address during an outage dials the nodes that it was
        linked with: they cannot know where it is."""
        mesh, (a, b, c) = complete(*"abc")
        a.readdress(100)
        mesh.until(lambda: not a.linked_with and b.linked_with != ["a", "c"])
        self.assertLess(mesh.until(mesh.is_complete), 10)
        self.assertTrue(mesh.send(a, c) and mesh.send(c, a))

    def test_another_node_at_a_lost_nodes_url(self) -> None:
        """Another node that answers at the URL of a lost one becomes a peer. If it advertises a
        different URL, the lost node is no longer sought there."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        mesh.advance(0.1)
        self.assertEqual([node.name for node in a.status.lost], ["c"])
        mesh.network.listeners[c.host, PORT] = mesh.network.listeners[b.host, PORT]
        mesh.until(lambda: not a.status.lost)
        mesh.until(mesh.is_complete)
        mesh.advance(2 * FIRST)  # the URLs of the others have been tried
        dials = mesh.network.dials_by[a.host]
        mesh.advance(300)
        self.assertEqual(mesh.network.dials_by[a.host], dials)

    def test_own_process_at_a_lost_nodes_url(self) -> None:
        """The same if this node itself answers there."""
        mesh, (a, _, c) = complete(*"abc")
        c.crash()
        mesh.advance(0.1)
        self.assertEqual([node.name for node in a.status.lost], ["c"])
        mesh.network.listeners[c.host, PORT] = mesh.network.listeners[a.host, PORT]
        mesh.until(lambda: not a.status.lost)
        self.assertEqual(a.linked_with, ["b"])

    def test_nobody_is_remembered_by_hearsay(self) -> None:
        """A node tells no other node about lost nodes: one that was never linked with them does not
        learn of them."""
        mesh, (a, b, c) = complete(*"abc")
        c.crash()
        mesh.advance(1)
        d = mesh.add("d")
        mesh.until(mesh.is_complete)
        mesh.advance(60)
        self.assertEqual([len(each.status.lost) for each in (a, b, d)], [1, 1, 0])
        self.assertEqual([each.status.nodes_known for each in (a, b, d)], [2, 2, 2])

    def test_dead_while_dialing(self) -> None:
        """A node that ends while it dials makes no link and no further dials."""
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
        """A node that vanishes without a goodbye is given up after 15 s of silence."""
        mesh, (_a, b, c) = complete(*"abc")
        c.vanish()
        self.assertLessEqual(mesh.until(lambda: b.linked_with == ["a"]), 16)

    def test_restart_with_the_same_address(self) -> None:
        """A node that is killed and restarted with its address is back in about a second."""
        mesh, (_a, b, c) = complete(*"abc")
        c.crash()
        c.start()
        self.assertLess(mesh.until(mesh.is_complete), 2.5)
        self.assertTrue(mesh.send(b, c))

    def test_restart_while_the_old_link_is_half_open(self) -> None:
        """A machine that lost power and came back takes its address over from its earlier
        incarnation at once."""
        mesh, (a, b, c) = complete(*"abc")
        c.vanish()
        c.start()
        took = mesh.until(lambda: a.linked_with == ["b", "c"] and c.linked_with == ["a", "b"])
        self.assertLess(took, 2.5)
        mesh.until(lambda: mesh.send(b, c), within=3)
        mesh.until(mesh.is_complete)

    def test_silent_cut_heals(self) -> None:
        """Two nodes whose connection is cut silently link again when the cut is healed."""
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
        """A mesh that is restarted as a whole is complete again soon, with few dials."""
        mesh, members = complete(*"abcdefgh")
        before = mesh.network.dials
        for member in members:
            member.crash()
        for member in members:
            member.start()
        self.assertLess(mesh.until(mesh.is_complete), 5)
        self.assertLess(mesh.network.dials - before, 3 * 28)

    def test_leaving(self) -> None:
        """A node that is told to stop says goodbye: its routes are withdrawn at once, and no node
        dials it."""
        mesh, (a, b, c) = complete(*"abc")
        c.leave()
        self.assertLess(mesh.until(lambda: a.linked_with == ["b"] and b.linked_with == ["a"]), 0.1)
        self.assertEqual(a.logged("unlinked")[0]["reason"], "leaving")
        mesh.advance(5)
        self.assertFalse(c.tun.is_open)
        self.assertEqual(a.status.nodes_known, 1)

    def test_peer_that_breaks_every_link(self) -> None:
        """Two nodes whose links always break do not link and part as fast as they can, alone or
        with a third node that vouches for them."""
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
        """A connection that is being set up while the node leaves does not become a link, however
        far it has come."""
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
        """A peer that does not answer delays leaving by two seconds at most."""
        mesh, (_a, b, c) = complete(*"abc")
        c.vanish()
        b.leave()
        mesh.until(lambda: not b.tun.is_open, within=2)

    def test_renewal_loses_nothing(self) -> None:
        """Old links are replaced without losing a packet or withdrawing a route."""
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
