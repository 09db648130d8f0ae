"""Whole meshes in memory: records that change while their nodes live."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import ADDRESS, Mallory, mallory
from tests.support.meshes import complete
from tunmesh.auth import signing
from tunmesh.link import penalty
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.wire.proofs import encode_shown, encode_update
from tunmesh.wire.records import NodeRecord


def known_of(member: Member, name: str) -> NodeRecord:
    """What a node says now that it knows of another one."""
    [record] = [peer.record for peer in member.status.peers if peer.record.name == name]
    return record


def last_refusal(member: Mallory) -> bytes:
    return [payload for payload in member.heard if payload[:1] == b"R"][-1]


class RevisionTests(SynchronousTestCase):
    """What a node changes of its record is known to every other one."""

    def test_everybody_is_told(self) -> None:
        """Peers are told at once; a node that joins later learns the latest, also from others."""
        mesh, (a, b, c) = complete("a", "b", "c")
        me = b.node._parts.me
        me.use_groups(("web",))
        me.use_groups(("web", "blue"))
        mesh.advance(0.2)
        for other in (a, c):
            self.assertEqual(known_of(other, "b").groups, ("web", "blue"))
            self.assertEqual(known_of(other, "b").revision, 2)
        d = mesh.add("d", start=False)
        mesh.network.cut(d.host, b.host)
        d.start()
        mesh.until(lambda: d.linked_with == ["a", "c"])
        mesh.advance(1.0)
        told = d.node._parts.roster.record_of(b.node.record.id)
        assert told is not None
        self.assertEqual(told.groups, ("web", "blue"))
        mesh.network.heal()
        mesh.until(mesh.is_complete)
        self.assertEqual(known_of(d, "b").groups, ("web", "blue"))
        self.assertFalse(d.logged("contradiction"))

    def test_during_the_handshake(self) -> None:
        """A node that changes its record while a link comes up tells it by that link."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        while not a.linked_with:  # b has shown its record, and does not know yet that a took it
            self.assertFalse(b.linked_with)
            mesh.advance(0.0005)
        b.node._parts.me.use_groups(("late",))
        mesh.until(mesh.is_complete)
        mesh.advance(0.2)
        self.assertEqual(known_of(a, "b").groups, ("late",))

    def test_nothing_changed(self) -> None:
        """A change to what it was is no revision."""
        mesh, (a, b) = complete("a", "b")
        b.node._parts.me.use_groups(())
        mesh.advance(0.2)
        self.assertEqual(known_of(a, "b").revision, 0)

    def test_after_a_link_took_over(self) -> None:
        """What was said on a link that breaks is said again on the one that replaces it."""
        mesh, (a, b) = complete("a", "b")
        mesh.network.cut(a.host, b.host)
        b.node._parts.me.use_url(f"https://elsewhere.example:{PORT}")
        mesh.advance(0.5)
        mesh.network.heal()
        mesh.until(lambda: known_of(a, "b").url.startswith("https://elsewhere"))


class HostileTests(SynchronousTestCase):
    """A member may change its own record, within the rules; and nothing else."""

    def setUp(self) -> None:
        self.mesh, (self.a, self.b) = complete("a", "b")

    def link(self, **changes: Any) -> Mallory:
        member = mallory(**changes).dial(self.mesh, self.a)
        self.assertTrue(member.is_up)
        return member

    def update(self, member: Mallory, signer: Mallory | None = None, **changes: Any) -> bytes:
        record = replace(member.record, **changes)
        return encode_update(encode_shown(signing.sign(record, (signer or member).node_key), False))

    def test_accepted(self) -> None:
        """Its own next record: packets are routed to the address that it has chosen now."""
        member = self.link(addresses=(), automatic=(4,))
        address = ip_interface(f"{ADDRESS}/16")
        member.say(self.update(member, revision=1, addresses=(address,)))
        self.mesh.advance(0.1)
        [peer] = [p for p in self.a.status.peers if p.record.id == member.record.id]
        self.assertEqual(peer.routed, (ADDRESS,))
        other = ip_interface("10.9.0.67/16")
        member.say(self.update(member, revision=5, addresses=(other,)))
        member.say(self.update(member, revision=4, addresses=(address,)))  # too late
        self.mesh.advance(0.1)
        [peer] = [p for p in self.a.status.peers if p.record.id == member.record.id]
        self.assertEqual(peer.routed, ("10.9.0.67",))
        member.say(self.update(member, revision=6, addresses=()))
        self.mesh.advance(0.1)
        [peer] = [p for p in self.a.status.peers if p.record.id == member.record.id]
        self.assertEqual((peer.routed, peer.record.addresses), ((), ()))
        self.assertFalse(member.has_ended)

    def test_static_addresses(self) -> None:
        """A member may have other static addresses from now on. That takes none away from a node
        that has it."""
        member = self.link()
        taken, free = ip_interface(f"{self.b.address}/16"), ip_interface("10.9.0.67/16")
        member.say(self.update(member, revision=1, addresses=(taken, free)))
        self.mesh.advance(0.1)
        routed = {peer.record.name: peer.routed for peer in self.a.status.peers}
        self.assertEqual(routed[member.record.name], ("10.9.0.67",))
        self.assertIn(self.b.address, routed["b"])
        self.assertFalse(member.has_ended)
        self.assertEqual(self.a.logged("contradiction"), [])

    def test_refused(self) -> None:
        """A record of somebody else, or one that its own may not become, ends the link; nobody
        knows it then."""
        wrong: tuple[dict[str, Any], ...] = (
            {"name": "other"},
            {"started": 5},
            {"addresses": (), "automatic": (4,)},
            {"id": self.b.node.record.id},
        )
        for number, changes in enumerate(wrong):
            member = self.link(seed=100 + number)
            member.say(self.update(member, revision=1, **changes))
            self.mesh.advance(0.1)
            self.assertTrue(member.has_ended, changes)
            self.assertEqual(self.a.linked_with, ["b"])
        member, other = self.link(seed=200), mallory(seed=201)
        member.say(self.update(member, other, revision=1, groups=("web",)))
        self.mesh.advance(0.1)
        self.assertTrue(member.has_ended)
        member, other = self.link(seed=202), mallory(seed=203, name="third")
        member.say(self.update(other, revision=1))
        self.mesh.advance(0.1)
        self.assertTrue(member.has_ended)

    def test_too_many(self) -> None:
        """More than a burst of updates are not even verified, and the link stays; later ones
        count again."""
        member = self.link()
        burst = penalty.UPDATES_BURST
        for revision in range(1, burst + 50):
            member.say(self.update(member, revision=revision, groups=(f"g{revision}",)))
        self.mesh.advance(0.1)
        self.assertEqual(known_of(self.a, member.record.name).revision, burst)
        self.assertFalse(member.has_ended)
        member.answers_pings = True
        self.mesh.advance(2.0)
        member.say(self.update(member, revision=1000))
        self.mesh.advance(0.1)
        self.assertEqual(known_of(self.a, member.record.name).revision, 1000)

    def test_refusal_of_what_it_had(self) -> None:
        """A node that gives up an address that another one holds is not refused anything more, and
        whoever waited for its address has it."""
        mine = self.b.node.record.addresses[0]
        member = self.link(addresses=(mine,), automatic=(4,))
        self.assertEqual(member.count(b"R"), 1)
        member.say(self.update(member, revision=1, addresses=(ip_interface(f"{ADDRESS}/16"),)))
        self.mesh.advance(0.1)
        self.assertEqual(last_refusal(member), b'R{"addresses":[],"holder":""}')
        waiting = mallory(seed=9, name="waits", addresses=(ip_interface(f"{ADDRESS}/16"),))
        waiting.dial(self.mesh, self.a, host="198.51.100.67")
        self.assertEqual(waiting.count(b"R"), 1)
        member.say(self.update(member, revision=2, addresses=()))
        self.mesh.advance(0.1)
        self.assertEqual(last_refusal(waiting), b'R{"addresses":[],"holder":""}')
        [told] = [formatEvent(each) for each in self.a.logged("address_conflict")][-1:]
        self.assertIn(ADDRESS, told)
