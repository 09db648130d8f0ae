"""A member who lies about other nodes: mallory is linked with a before the others are, and a knows
of b only what it is told. What he says may cost a few seconds, and never the link of a and b.

a is behind a NAT: at the URL that it says it has nobody can dial it. So a has to dial b.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import HOST, Mallory, mallory
from tunmesh.auth import signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.membership.hearsay import MAX_NODES
from tunmesh.node.dials import MAX_PATIENCE
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.wire.gossip import (
    Gossip,
    decode_inquiry,
    decode_introduction,
    encode_inquiry,
    encode_introduction,
)
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

NOWHERE = "https://192.0.2.250:4567"
ASKED_AGAIN = 2 * 5.0  # seconds: twice groom_interval


class Liar:
    """mallory, who answers each question as he likes. `links`: by the name of the other end."""

    def __init__(self, mesh: Mesh, *members: Member, **changes: Any) -> None:
        self.mesh = mesh
        self.generations = count(1)
        self.links: dict[str, Mallory] = {}
        for member in members:
            link = self.links[member.name] = mallory(**changes)
            link.answers_pings = True
            link.dial(mesh, member)

    def vouch(self, member: Member, *ids: str) -> None:
        """Claim to be linked with these."""
        gossip = Gossip(next(self.generations), ids)
        self.links[member.name].say(gossip.encode())
        self.mesh.advance(0.01)

    def was_asked(self, member: Member) -> list[str]:
        asked = [each for each in self.links[member.name].heard if each[:1] == b"W"]
        return [node_id for each in asked for node_id in decode_inquiry(each)]

    def introduce(self, member: Member, *introduced: SignedRecord) -> None:
        self.links[member.name].say(encode_introduction(introduced))
        self.mesh.advance(0.1)

    def leave(self) -> None:
        for link in self.links.values():
            link.transport.abortConnection()


def signed_by(member: Member) -> SignedRecord:
    """What a node says of itself."""
    return member.node._links._presented.signed


class LiarCase(SynchronousTestCase):
    """a and c are linked. b is new: mallory is the only one that it is linked with."""

    def setUp(self) -> None:
        self.begin(0)

    def begin(self, seed: int) -> None:
        self.mesh = Mesh(seed)
        self.c = self.mesh.add("c")
        self.a = self.mesh.add("a", url=NOWHERE)
        self.mesh.until(self.mesh.is_complete)
        self.b = self.mesh.add("b", groups=())
        self.liar = Liar(self.mesh, self.a, self.b)
        self.lines = len(self.a.events)

    @property
    def b_id(self) -> str:
        return self.b.node.record.id

    def meet(self) -> None:
        """b finds the others by way of c, as usual."""
        target = (self.c.host, PORT)
        self.b.reload(groups=(GroupSettings("c", (target,)),))

    def until_linked(self, within: float) -> None:
        self.mesh.until(lambda: "b" in self.a.linked_with, within)
        self.mesh.until(lambda: "a" in self.b.linked_with, 1)
        self.assertTrue(self.mesh.send(self.a, self.b, b"there"))
        self.assertTrue(self.mesh.send(self.b, self.a, b"and back"))
        self.assertLess(len(self.a.events) - self.lines, 12)

    def false(self, record: NodeRecord) -> SignedRecord:
        """A record for the id of b that b has not signed."""
        genuine = signed_by(self.b)
        return replace(genuine, record=replace(record, id=self.b_id).encode())


class FalseRecordTests(LiarCase):
    """He introduces a node by a record that is not its own."""

    def test_a_past_life(self) -> None:
        """He makes b an earlier incarnation of a linked node, which need not be dialed: his link
        ends, the log says why, and the next node that vouches for b is asked."""
        self.liar.vouch(self.a, self.b_id)
        self.assertEqual(self.liar.was_asked(self.a), [self.b_id])
        self.liar.introduce(self.a, self.false(replace(self.c.node.record, started=1)))
        self.assertTrue(self.liar.links["a"].has_ended)
        [event] = self.a.logged("false_introduction")
        self.assertEqual((event["peer"], event["node"]), ("mallory", self.b_id))
        self.assertIn("not signed by the key", event["why"])
        self.assertIn("introduced a node falsely", self.a.logged("unlinked")[-1]["reason"])
        self.assertEqual(self.a.status.false_introductions, 1)
        self.assertEqual(self.a.status.nodes_known, 1)
        self.meet()
        self.until_linked(within=3)

    def test_elsewhere(self) -> None:
        """Or he leads the nodes that would dial b to himself."""
        self.liar.vouch(self.a, self.b_id)
        url = f"https://{HOST}:1"
        self.liar.introduce(self.a, self.false(replace(self.b.node.record, url=url)))
        self.assertTrue(self.liar.links["a"].has_ended)
        self.meet()
        self.until_linked(within=3)

    def test_vouched_for_by_others(self) -> None:
        """If others vouch for b already, they are asked at once."""
        self.liar.vouch(self.a, self.b_id)
        self.meet()
        self.mesh.advance(3)
        self.assertEqual(self.a.linked_with, ["c", "mallory"])
        self.liar.introduce(self.a, self.false(self.c.node.record))
        self.until_linked(within=1)

    def test_with_his_own_key(self) -> None:
        """What he signs himself is a record of himself: it answers no question about another
        node."""
        own = self.liar.links["a"]
        record = replace(self.c.node.record, id=self.b_id)
        self.liar.vouch(self.a, self.b_id)
        self.liar.introduce(self.a, signing.sign(record, own.node_key))
        self.assertFalse(own.has_ended)
        self.assertIsNone(self.a.node._parts.roster.record_of(self.b_id))
        self.meet()
        self.until_linked(within=ASKED_AGAIN + 2)

    def test_an_id_that_is_not_of_the_key(self) -> None:
        """A valid signature does not make another node's id one's own."""
        node_key = NodeKey.of(bytes(SEED_SIZE))
        self.liar.vouch(self.a, node_key.id)
        self.liar.introduce(self.a, signing.sign(self.b.node.record, node_key))
        self.assertTrue(self.liar.links["a"].has_ended)
        self.assertIn("its id is not of its key", self.a.logged("false_introduction")[0]["why"])

    def test_again_and_again(self) -> None:
        """He comes back and does it again: that is a line from time to time, and b is found."""
        self.meet()
        for _ in range(20):
            if not self.liar.links["a"].has_ended:
                self.liar.vouch(self.a, self.b_id)
                self.liar.introduce(self.a, self.false(self.c.node.record))
            self.liar = Liar(self.mesh, self.a)
        self.mesh.until(lambda: "b" in self.a.linked_with, 3)
        self.assertEqual(len(self.a.logged("false_introduction")), 1)

    def test_truth(self) -> None:
        """The record that b signed is believed, also from him."""
        self.liar.vouch(self.a, self.b_id)
        self.liar.introduce(self.a, signed_by(self.b))
        self.until_linked(within=3)
        self.assertEqual(self.a.logged("false_introduction") + self.a.logged("contradiction"), [])


class SilenceTests(LiarCase):
    """He does not answer."""

    def test_silence(self) -> None:
        """When his time to answer is over, every other node that vouches for b is asked."""
        self.liar.vouch(self.a, self.b_id)
        self.meet()
        self.until_linked(within=ASKED_AGAIN + 2)

    def test_the_only_one(self) -> None:
        """The same if the others vouch for b only later; he is not asked again."""
        self.liar.vouch(self.a, self.b_id)
        self.mesh.advance(ASKED_AGAIN + 1)
        self.assertEqual(self.liar.was_asked(self.a), [self.b_id])
        self.meet()
        self.until_linked(within=3)

    def test_a_crowd(self) -> None:
        """Thirty of them are all asked at once, not one after the other."""
        crowd = [
            Liar(self.mesh, self.a, seed=100 + number, name=f"m{number}") for number in range(30)
        ]
        for liar in crowd:
            liar.vouch(self.a, self.b_id)
        self.meet()
        self.mesh.until(lambda: "b" in self.a.linked_with, ASKED_AGAIN + 2)

    def test_he_leaves(self) -> None:
        """When he goes, the next one is asked at once."""
        self.liar.vouch(self.a, self.b_id)
        self.meet()
        self.mesh.advance(3)
        self.liar.leave()
        self.until_linked(within=1)


class CrowdTests(LiarCase):
    """He vouches for as many nodes as a node can know, none of which exists."""

    def crowd(self, liar: Liar) -> list[str]:
        return [f"{liar.mesh.random.getrandbits(128):032x}" for _ in range(MAX_NODES)]

    def test_room(self) -> None:
        """He has taken all places, and a newcomer that others vouch for gets one of them; when he
        withdraws, only linked nodes are known."""
        ids = self.crowd(self.liar)
        self.liar.vouch(self.a, *ids)
        self.assertGreaterEqual(self.a.status.nodes_known, MAX_NODES)
        self.meet()
        self.until_linked(within=2 * MAX_PATIENCE + 2)
        self.assertLessEqual(self.a.status.nodes_known, MAX_NODES + 3)
        self.liar.vouch(self.a)
        self.assertEqual(self.a.status.nodes_known, 3)

    def test_many_crowds(self) -> None:
        """The same if several of them share the places."""
        for number in range(10):
            liar = Liar(self.mesh, self.a, seed=100 + number, name=f"m{number}")
            liar.vouch(self.a, *self.crowd(liar))
        self.meet()
        self.mesh.until(lambda: "b" in self.a.linked_with, 2 * MAX_PATIENCE + 2)

    def test_patience(self) -> None:
        """A node that lets the other one dial first does not wait for as long as that many would
        take."""
        seeds = count(1)
        while self.a.node.record.id < self.b_id:
            self.begin(next(seeds))
        self.liar.vouch(self.a, *self.crowd(self.liar))
        self.meet()
        self.until_linked(within=2 * MAX_PATIENCE + 2)


class ImpostorTests(LiarCase):
    """He has more nodes, which prove ids of their own and copy everything else from b."""

    def impostor(self, member: Member, of: Member, seed: int) -> Liar:
        record = of.node.record
        fields = {"name": record.name, "url": record.url, "addresses": record.addresses}
        return Liar(self.mesh, member, seed=seed, started=record.started + 1000, **fields)

    def test_a_later_life(self) -> None:
        """One that claims to be where b is is probed, and answers. b is dialed all the same: its
        URL leads to the node that is there, not to one that claims to be."""
        self.impostor(self.a, of=self.b, seed=70)
        self.assertEqual(self.a.linked_with, ["b", "c", "mallory"])
        self.meet()
        self.mesh.until(lambda: self.b_id in self.linked_ids(self.a), 6)

    def test_at_both_ends(self) -> None:
        """The same, with another one at b that claims to be where a is."""
        self.impostor(self.a, of=self.b, seed=70)
        self.impostor(self.b, of=self.a, seed=71)
        self.meet()
        self.mesh.until(lambda: self.b_id in self.linked_ids(self.a), 6)
        self.assertIn(self.a.node.record.id, self.linked_ids(self.b))

    def linked_ids(self, member: Member) -> list[str]:
        return [peer.record.id for peer in member.status.peers]


class OwnRecordTests(LiarCase):
    """Records that he signs of himself."""

    def test_two_records(self) -> None:
        """He says one thing of himself to c, and another to a, which was told about him by c: a
        believes his link, and logs the contradiction."""
        Liar(self.mesh, self.c, seed=80, name="here")
        self.mesh.until(lambda: "here" in [dial.name for dial in self.a.status.dials], 3)
        Liar(self.mesh, self.a, seed=80, name="there")
        [event] = self.a.logged("contradiction")
        self.assertEqual(event["peer"], "there")
        self.assertTrue(event["now"].startswith("there (10.9.0.66)"), event["now"])
        self.assertTrue(event["before"].startswith("here (10.9.0.66)"), event["before"])

    def test_settled(self) -> None:
        """Becoming settled between two links is no contradiction."""
        for settled in (False, True):
            Liar(self.mesh, self.a, seed=80, name="here", settled=settled)
        self.assertEqual(self.a.logged("contradiction"), [])

    def test_no_record(self) -> None:
        """A malformed record that its own node has signed is not the fault of the node that passes
        it on."""
        node_key = NodeKey.of(bytes(SEED_SIZE))
        record = b'{"id":"of nobody"}'
        signature = node_key.sign(b"tunmesh/1 record" + record)
        self.liar.vouch(self.a, node_key.id)
        self.liar.introduce(self.a, SignedRecord(node_key.public, signature, record))
        self.assertFalse(self.liar.links["a"].has_ended)
        self.assertEqual(self.a.status.false_introductions, 1)
        self.mesh.advance(3 * ASKED_AGAIN)
        self.assertEqual(self.liar.was_asked(self.a), [node_key.id])

    def test_passed_on_as_it_is(self) -> None:
        """A node passes on records byte by byte, with fields that it does not know itself."""
        newer = mallory(seed=81, name="newer")
        record = newer.record.encode()[:-1] + b',"colour": "red"}'
        signature = newer.node_key.sign(b"tunmesh/1 record" + record)
        signed = SignedRecord(newer.node_key.public, signature, record)
        newer.shown = encode_shown(signed, False)
        newer.dial(self.mesh, self.c)
        link = Liar(self.mesh, self.c, seed=82, name="curious").links["c"]
        link.say(encode_inquiry([newer.record.id]))
        self.mesh.advance(0.1)
        [answer] = [each for each in link.heard if each[:1] == b"N"]
        self.assertEqual(decode_introduction(answer), (signed,))
