"""Attacks on addresses that nodes choose themselves (membership.acquisition): a member wants to
have one that is held, or that others get none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_interface
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import Mallory, mallory
from tunmesh.addresses import Interface
from tunmesh.auth import signing
from tunmesh.membership.acquisition import PATIENCE, standing
from tunmesh.membership.agreement import View
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.testing.tun import frame
from tunmesh.wire.gossip import Gossip, Refusal, decode_inquiry, encode_introduction
from tunmesh.wire.proofs import encode_update
from tunmesh.wire.records import NodeRecord, SignedRecord

SMALL = IPv4Network("10.9.0.0/28")
HOSTILE = "198.51.100.66"


def interfaces(*texts: str) -> tuple[Interface, ...]:
    return tuple(ip_interface(f"{text}/16") for text in texts)


class Claimant(Mallory):
    """One identity of a member: it shows a record with any address, and says that it is settled."""

    introduces: Sequence[Mallory] = ()  # whom it introduces when it is asked

    def dataReceived(self, data: bytes) -> None:
        before = len(self.heard)
        super().dataReceived(data)
        known = {each.record.id: each for each in self.introduces}
        for payload in self.heard[before:]:
            if payload[:1] == b"W":
                asked = [known[each] for each in decode_inquiry(payload) if each in known]
                if asked:
                    self.say(encode_introduction([signed(each) for each in asked]))

    def claim(self, revision: int, *addresses: str) -> None:
        self.record = replace(self.record, revision=revision, addresses=interfaces(*addresses))
        self.say(encode_update(signing.show(replace(self.record, settled=True), self.node_key)))

    def refuse(self, *addresses: str, holder: str = "somebody") -> None:
        self.say(Refusal(addresses, holder).encode())


def claimant(seed: int, *addresses: str, **changes: Any) -> Claimant:
    """Settled since for ever, if it is to be believed."""
    own = mallory(seed, name=f"liar{seed}", started=1, addresses=interfaces(*addresses), **changes)
    record = replace(own.record, settled=True)
    made = Claimant(record, own.node_key)
    made.answers_pings = True
    return made


def signed(member: Mallory) -> SignedRecord:
    return signing.sign(member.record, member.node_key)


class AddressCase(SynchronousTestCase):
    """a, b, c and d choose their IPv4 addresses themselves."""

    names = "abcd"
    prefix = 16
    settings: dict[str, Any] = {}  # noqa: RUF012

    def setUp(self) -> None:
        self.mesh = Mesh(**self.settings)
        self.members = [self.add(name) for name in self.names]
        self.a, self.b, *_ = self.members
        self.mesh.until(self.is_settled, 60.0)
        self.mesh.advance(20.0)

    def add(self, name: str) -> Member:
        member = self.mesh.add(name, start=False)
        member.automatic = (4,)
        if self.prefix != 16:
            member.prefixes, member.addresses = (self.prefix,), ("10.9.0.1",)
        member.start()
        return member

    def is_settled(self) -> bool:
        return self.mesh.is_complete() and all(member.held for member in self.mesh.running())

    def join(self, member: Claimant, host: str = HOSTILE, *nodes: Member) -> Claimant:
        """Link this identity with these nodes, or with all."""
        for node in nodes or self.members:
            one = Claimant(member.record, member.node_key)
            one.answers_pings, one.introduces = True, member.introduces
            one.dial(self.mesh, node, host)
            self.assertTrue(one.is_up)
            one.say(Gossip(1).encode())  # what follows is heard on this link
            self.links.setdefault(member.record.id, []).append(one)
        return member

    @property
    def links(self) -> dict[str, list[Claimant]]:
        found: dict[str, list[Claimant]] = self.__dict__.setdefault("_links", {})
        return found

    def of(self, *members: Claimant) -> Iterator[Claimant]:
        for member in members:
            yield from self.links[member.record.id]

    def assert_kept(self, before: Sequence[str]) -> None:
        """All have the addresses that they had, and reach each other there."""
        self.assertEqual([member.held[0] for member in self.members], before)
        for one in self.members:
            self.assertEqual(one.logged("address_moved"), [])
            self.assertTrue(one.status.is_ready)
            for other in self.members:
                packet = frame(one.held[0], other.held[0], b"x")
                if one is not other:
                    one.tun.inject(packet)
                    self.mesh.advance(0.1)
                    self.assertIn(packet, other.tun.written)


class Held(AddressCase):
    """An address that is held."""

    def test_settled_and_early(self) -> None:
        """It is not lost to a member that claims it in the best case that it can make: an assigned
        address, settled, started long before; with a hundred identities at one address."""
        before = [member.held[0] for member in self.members]
        for seed in range(100, 130):
            self.join(claimant(seed, *before))
        self.mesh.advance(30.0)
        self.assert_kept(before)

    def test_refused_by_all_identities(self) -> None:
        """Nor if these identities also refuse it to its node, in the name of a node that claims it
        with them: they have one vote together."""
        before = [member.held[0] for member in self.members]
        crowd = [self.join(claimant(seed, "10.9.200.1")) for seed in range(100, 120)]
        self.join(claimant(99, *before), "198.51.100.67")
        for each in self.of(*crowd):
            each.refuse(*before, holder="liar99")
        self.mesh.advance(5.0)
        self.assert_kept(before)

    def test_assigned_and_a_third(self) -> None:
        """A node with an assigned address cannot give way, so it needs no majority to keep it when
        a partition heals. A member with enough source addresses can pose as such a node and its
        half of the mesh. That costs its victims the address and no more: they have another one at
        once."""
        before = [member.held[0] for member in self.members]
        self.join(claimant(100, before[1]))
        for number in (1, 2):
            helper = self.join(claimant(100 + number, "10.9.200.1"), f"192.0.2.{240 + number}")
            for link in self.of(helper):
                link.refuse(before[1], holder="liar100")
        self.mesh.until(lambda: bool(self.b.logged("address_moved")), 10.0)
        self.mesh.until(lambda: bool(self.b.held) and self.b.status.is_ready, 10.0)
        self.assertNotEqual(self.b.held[0], before[1])
        for member, address in zip(self.members, before, strict=True):
            if member is not self.b:
                self.assertEqual(member.held[0], address)

    def test_claims_again_and_again(self) -> None:
        """Nor if a member claims it, withdraws, and claims again, by the record that it signs
        anew."""
        before = [member.held[0] for member in self.members]
        chooser = self.join(claimant(100, automatic=(4,)))
        for revision in range(1, 25):
            for link in self.of(chooser):
                link.claim(revision, *([before[revision % 4]] if revision % 2 else []))
            self.mesh.advance(1.0)
        self.assert_kept(before)

    def test_reserved(self) -> None:
        """Nobody is given an address that is reserved, nor the network's own."""
        self.mesh.settings["reserved"] = (ip_address("10.9.255.254"),)
        e = self.add("e")
        self.members.append(e)
        self.mesh.until(self.is_settled, 60.0)
        chooser = self.join(claimant(100, automatic=(4,)))
        for revision, address in enumerate(("10.9.255.254", "10.9.0.0", "10.9.255.255"), 1):
            for link in self.of(chooser):
                link.claim(revision, address)
            self.mesh.advance(1.0)
            self.assertNotIn(ip_address(address).packed, e.node._parts.table.routes)


@dataclass(frozen=True)
class Linked:
    """A peer, as the standing of an address is judged by it."""

    record: NodeRecord
    source: str
    view: View
    was_first: bool
    refuses: tuple[str, ...] = ()
    holder: str = ""
    since: float = 0.0


class Sources(SynchronousTestCase):
    """Where many nodes have one source, such as the /64 of a machine with many pods."""

    def test_a_claimant_in_each(self) -> None:
        """A claimant in each of the sources that there are does not silence all other nodes."""
        me = mallory(1, addresses=interfaces("10.9.1.1"), automatic=(4,), name="me").record
        me = replace(me, started=100)
        honest = replace(me, name="honest", addresses=interfaces("10.9.1.2"), id="1" * 32)
        rival = replace(me, name="rival", started=1, settled=True, automatic=(), id="2" * 32)
        peers = [
            Linked(record, source, View.of(me, record), record is rival)
            for source in ("fd01:0:0:1", "fd01:0:0:2")
            for record in (honest, rival)
        ]
        found = standing(me, me.addresses[0].ip, peers)
        self.assertFalse(found.is_lost)
        self.assertTrue(found.is_certain)
        alone = [peer for peer in peers if peer.record is rival]
        self.assertTrue(standing(me, me.addresses[0].ip, alone).is_lost)


class Newcomers(AddressCase):
    """A newcomer in a small network."""

    settings: dict[str, Any] = {"networks": (SMALL,)}  # noqa: RUF012
    prefix = 28

    def test_objections_to_everything(self) -> None:
        """A member that refuses a newcomer whatever it claims delays it by a few claims."""
        every = [str(each) for each in SMALL.hosts()][:8]
        rest = [str(each) for each in SMALL.hosts()][8:]
        liar = self.join(claimant(100, "10.9.200.1"))
        e = self.add("e")
        self.mesh.until(lambda: len(e.linked_with) == 4, 10.0)
        link = self.join(liar, HOSTILE, e)
        self.members.append(e)
        for _ in range(40):
            for one in self.of(link):
                one.refuse(*every)
                one.refuse(*rest)
            self.mesh.advance(0.5)
        self.assertTrue(e.held)
        self.assertLessEqual(len(e.logged("address_taken")), PATIENCE + 1)

    def test_all_taken(self) -> None:
        """A member that claims all that is free in a small network, eight addresses with each
        identity, leaves newcomers none: they say so. Who has one keeps it."""
        before = [member.held[0] for member in self.members]
        every = [str(each) for each in SMALL.hosts()]
        for number in (0, 1):
            self.join(claimant(100 + number, *every[8 * number : 8 * number + 8]))
        e = self.add("e")
        for number in (0, 1):
            self.join(claimant(100 + number, *every[8 * number : 8 * number + 8]), HOSTILE, e)
        self.mesh.until(lambda: bool(e.logged("network_full")), 30.0)
        self.assert_kept(before)

    def test_invented_nodes(self) -> None:
        """A member that invents nodes with all addresses of the network keeps nobody from getting
        one: nobody is linked with these nodes."""
        every = [str(each) for each in SMALL.hosts()]
        invented = [
            claimant(200, *every[:8], url="https://203.0.113.1:1"),
            claimant(201, *every[8:], url="https://203.0.113.2:1"),
        ]
        liar = claimant(100, "10.9.200.1")
        liar.introduces = invented
        ids = tuple(each.record.id for each in invented)
        e = self.add("e")
        self.join(liar, HOSTILE, e)
        for link in self.of(liar):
            link.say(Gossip(2, ids).encode())
        self.mesh.advance(1.0)
        known = {each.record.name for each in e.node.known_nodes() if each.record is not None}
        self.assertLessEqual({each.record.name for each in invented}, known)
        self.mesh.until(lambda: bool(e.held), 60.0)
        self.assertNotIn(e.held[0], [member.held[0] for member in self.members])
