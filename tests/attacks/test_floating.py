"""Attacks on floating addresses (membership.floating): a member wants to take one from its holder,
to keep it from everybody, or to cut its holder off."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from tests.attacks.test_addresses import AddressCase, Claimant, claimant
from tunmesh.auth import signing
from tunmesh.membership.floating.doubts import BURST
from tunmesh.membership.floating.holding import PATIENCE
from tunmesh.testing.mesh import Member
from tunmesh.testing.tun import frame
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.proofs import encode_update

VIP = ip_address("10.9.200.1")


class Attacks(AddressCase):
    """a, b, c and d are honest."""

    settings: dict[str, Any] = {"floating": (ip_network("10.9.200.0/24"),)}  # noqa: RUF012

    def claims(self, member: Claimant, *claims: FloatingClaim) -> None:
        """It says so to all nodes that it is linked with."""
        for link in self.of(member):
            revision = link.record.revision + 1
            link.record = replace(link.record, revision=revision, floating=claims)
            link.say(encode_update(signing.show(link.record, link.node_key)))
        self.mesh.advance(0.1)

    def held_by_b(self) -> None:
        self.b.node.floating.claim(VIP)
        self.mesh.advance(1.0)

    def assert_has(self, holder: Member) -> None:
        """It holds the address, and all others lead there."""
        self.assertTrue(holder.node.floating.statuses[0].is_usable)
        for member in self.members:
            packet = frame(member.address, str(VIP), self.mesh.random.randbytes(8))
            if member is not holder:
                member.tun.inject(packet)
                self.mesh.advance(0.1)
                self.assertIn(packet, holder.tun.written)

    def test_says_that_it_holds_it(self) -> None:
        """A holder does not lose it to members that say that they hold it, and claim it with lower
        numbers, as nodes that were there first; with many identities at one address."""
        self.held_by_b()
        for seed in range(100, 120):
            self.claims(self.join(claimant(seed, "10.9.201.1")), FloatingClaim(VIP, 0, True))
        self.mesh.advance(30.0)
        self.assert_has(self.b)
        self.assertEqual(self.b.logged("floating_lost"), [])
        self.assertTrue(all(member.status.is_ready for member in self.members))

    def test_own_address(self) -> None:
        """Nor to one that says that it is its own address."""
        self.held_by_b()
        self.join(claimant(100, str(VIP)))
        self.mesh.advance(30.0)
        self.assert_has(self.b)

    def test_refuses_it(self) -> None:
        """Nor to many identities that refuse it: those at one address have one vote."""
        self.held_by_b()
        crowd = [self.join(claimant(seed, "10.9.201.1")) for seed in range(100, 120)]
        for link in self.of(*crowd):
            link.refuse(str(VIP), holder="a")
        self.mesh.advance(10.0)
        self.assert_has(self.b)

    def test_refuses_a_claim(self) -> None:
        """A member cannot keep a free address from a node: it only delays that."""
        liar = self.join(claimant(100, "10.9.201.1"))
        self.b.node.floating.claim(VIP)
        for link in self.of(liar):
            link.refuse(str(VIP), holder="a")
        self.mesh.advance(0.05)
        for link in self.of(liar):
            link.refuse(str(VIP), holder="a")
        self.mesh.advance(PATIENCE + 1.0)
        self.assert_has(self.b)

    def test_does_not_answer(self) -> None:
        """Nor by silence: it is waited for no longer than a probe takes."""
        liar = self.join(claimant(100, "10.9.201.1"))
        for link in self.of(liar):
            link.answers_pings = False
        self.b.node.floating.claim(VIP)
        self.mesh.advance(1.2)
        self.assert_has(self.b)

    def test_probes(self) -> None:
        """A member that claims it again and again has the holder probed no more than a few times:
        the holder answers, and loses no link."""
        self.held_by_b()
        liar = self.join(claimant(100, "10.9.201.1"))
        self.a.debugs = True
        for _ in range(10):
            self.claims(liar, FloatingClaim(VIP, 2))
            self.claims(liar)
        self.mesh.advance(2.0)
        probes = [each for each in self.a.logged("probed") if each["peer"] == "b"]
        self.assertEqual(len(probes), BURST)
        self.assertFalse(any(each["peer"] == "b" for each in self.a.logged("unlinked")))
        self.assert_has(self.b)

    def test_too_many(self) -> None:
        """What a node may not say of its claims ends its link."""
        liar = self.join(claimant(100, "10.9.201.1"))
        many = [FloatingClaim(VIP + number, 1) for number in range(17)]
        self.claims(liar, *many)
        for link in self.of(liar):
            self.assertTrue(link.has_ended)

    def test_outside(self) -> None:
        """Nothing outside the mesh is routed to it, and nothing that no node may have."""
        liar = self.join(claimant(100, "10.9.201.1"))
        for text in ("192.0.2.7", "10.9.255.255", "10.9.0.0", "255.255.255.255"):
            address = ip_address(text)
            self.claims(liar, FloatingClaim(address, 1, True))
            self.assertNotIn(address.packed, self.a.node._parts.table.routes)
