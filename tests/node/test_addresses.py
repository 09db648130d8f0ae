"""Whole meshes in memory: which node has which address."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.membership.reservations import KEPT
from tunmesh.membership.seniority import SETTLING
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.tun import frame


def with_heir() -> tuple[Mesh, list[Member], Member]:
    """A mesh of three, the last of which has just become unreachable, and a node that starts with
    its address."""
    mesh, members = complete(*"abc")
    lost = members[-1]
    heir = mesh.add("heir", start=False)
    heir.addresses = lost.addresses
    mesh.advance(60)
    for other in (*members[:-1], heir):
        mesh.network.cut(lost.host, other.host)
    heir.start()
    return mesh, members, heir


class AddressTests(SynchronousTestCase):
    """Which node may have which address."""

    def test_spoofed_source_is_dropped(self) -> None:
        """A peer may only send from the addresses that are routed to it."""
        mesh, (a, b, c) = complete(*"abc")
        b.tun.inject(frame(c.address, a.address, b"I am c"))
        mesh.advance(1)
        self.assertEqual(a.tun.written, [])
        self.assertEqual(a.status.dropped["spoofed_source"], 1)

    def test_packet_for_somebody_else_is_dropped(self) -> None:
        """A packet that a peer sends to the wrong node does not reach the tun."""
        mesh, (a, b) = complete("a", "b")
        (peer,) = b.node._parts.peers
        peer.link.send([frame(b.address, "10.9.77.77")])
        mesh.advance(1)
        self.assertEqual(a.status.dropped["misrouted"], 1)
        self.assertEqual(a.tun.written, [])

    def test_two_nodes_with_one_address(self) -> None:
        """The holder keeps it, both sides log the conflict once, nothing flaps, and when the holder
        leaves the other node gets it."""
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
        """A node that has just settled says so at once: a newcomer with the same address and an
        earlier start does not refuse it."""
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
        """A node that starts while two nodes claim one address routes it to the one that was there
        first, even if it is linked with the other one first, and though the clock of that one is
        behind. When the first one leaves, all route it to the other one."""
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
        """A node that was unreachable until another one took its address gets it back. Newcomers
        route it to that node as well, whichever they are linked with first."""
        mesh, (a, b, c), heir = with_heir()
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
        """A node that was away for longer than its address is reserved does not get it back, and
        newcomers do not route it there either."""
        mesh, (a, _, c), heir = with_heir()
        mesh.advance(KEPT + 30)
        mesh.network.heal()
        mesh.until(mesh.is_complete)
        d = mesh.add("d", groups=(GroupSettings("first", ((c.host, PORT),)),))
        mesh.until(mesh.is_complete)
        self.assertTrue(mesh.send(a, heir) and mesh.send(d, heir))
        self.assertTrue(heir.status.is_ready)
        self.assertFalse(c.status.is_ready)

    def test_address_of_a_silent_holder(self) -> None:
        """A newcomer gets the address of a silent node as soon as the links to that one are
        closed."""
        mesh, (a, b, c) = complete(*"abc")
        heir = mesh.add("heir", start=False)
        heir.addresses = c.addresses
        c.vanish()
        heir.start()
        mesh.until(lambda: heir.linked_with == ["a", "b"], within=5)
        mesh.until(lambda: mesh.send(a, heir) and mesh.send(b, heir), within=20)

    def test_two_incarnations(self) -> None:
        """Of two running incarnations of one node the later one has the address. The earlier one is
        linked like any other node and is told why; nothing flaps. When the later one ends, the
        earlier one has the address again."""
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
        self.assertEqual(len(a.logged("address_conflict")), 1)
        dials, changes = mesh.network.dials, len(a.logged("linked") + a.logged("unlinked"))
        mesh.advance(300)
        self.assertEqual(len(a.logged("linked") + a.logged("unlinked")), changes)
        self.assertLess(mesh.network.dials - dials, 30)
        self.assertEqual((c.status.is_ready, newer.status.is_ready), (False, True))
        newer.crash()
        mesh.until(lambda: c.status.is_ready, within=1)
        self.assertTrue(mesh.send(a, c))

    def test_restart_with_another_clock(self) -> None:
        """A node whose machine lost power is reachable at its address about a second after it is
        linked again, however far its clock is ahead or behind, and no address conflict is
        logged."""
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
        """The same if only one side can dial: here b cannot be dialed, and must find c."""
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
        """An address outside the mesh's networks is not routed, and its owner is told."""
        mesh, (a, _b) = complete("a", "b")
        odd = mesh.add("odd", start=False)
        odd.addresses = ("172.16.0.1", odd.addresses[1])
        odd.start()
        mesh.until(lambda: odd.linked_with == ["a", "b"], within=5)
        mesh.advance(1)
        self.assertFalse(mesh.send(a, odd, family=0))
        self.assertTrue(mesh.send(a, odd, family=1))
        self.assertFalse(odd.status.is_ready)
