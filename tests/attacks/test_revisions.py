"""Attacks by a member that signs its record anew while it is linked: URLs of others, revisions in
any order, as many as it likes. It changes nothing but what is known of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import HOST, Mallory, mallory
from tunmesh.auth import signing
from tunmesh.dialing import url_checks
from tunmesh.link import penalty
from tunmesh.membership.lost_nodes import LostNodes
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.wire.proofs import encode_update
from tunmesh.wire.records import NodeRecord

OWN = f"https://{HOST}:{PORT}"


def update(member: Mallory, **changes: Any) -> bytes:
    """Its record with these changes."""
    record = replace(member.record, **changes)
    return encode_update(signing.show(record, member.node_key))


class Revisions(SynchronousTestCase):
    """Mallory is linked with a; b is linked with a as well."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)

    def join(self, **changes: Any) -> Mallory:
        member = mallory(**changes).dial(self.mesh, self.a)
        self.assertTrue(member.is_up)
        member.answers_pings = True
        return member

    def known(self) -> NodeRecord:
        return next(p.record for p in self.a.status.peers if p.record.name == "mallory")

    def say(self, member: Mallory, *payloads: bytes) -> None:
        member.say(*payloads)
        self.mesh.advance(0.1)

    def test_back(self) -> None:
        """A revision that is older than the known one, or the same number with other contents,
        changes nothing."""
        member = self.join()
        self.say(member, update(member, revision=5, groups=("five",)))
        for revision in (0, 4, 5):
            self.say(member, update(member, revision=revision, groups=("other",)))
        self.assertEqual((self.known().revision, self.known().groups), (5, ("five",)))
        self.assertFalse(member.has_ended)

    def test_flood(self) -> None:
        """Of thousands of revisions a few are read; the mesh carries on, and the log stays
        short."""
        member, lines = self.join(), len(self.a.events)
        for revision in range(1, 2001):
            member.say(update(member, revision=revision, groups=(f"g{revision}",)))
        self.mesh.advance(10.0)
        most = penalty.UPDATES_BURST + 10 * penalty.UPDATES_RATE + 1
        self.assertLessEqual(self.known().revision, most)
        self.assertLess(len(self.a.events) - lines, 10)
        self.assertTrue(self.mesh.send(self.a, self.b) and self.mesh.send(self.b, self.a))

    def test_two_links(self) -> None:
        """On a second link an old record of the same node is no way back."""
        member = self.join()
        self.say(member, update(member, revision=3, groups=("three",)))
        again = self.join()
        self.assertEqual(self.known().groups, ("three",))
        self.say(again, update(again, revision=2, groups=("two",)))
        self.assertEqual(self.known().groups, ("three",))

    def test_url_of_another_node(self) -> None:
        """Who takes the URL of another node is a URL conflict, and no more: that node stays linked,
        and when it is away it is looked for as before."""
        member = self.join()
        self.say(member, update(member, revision=1, url=self.b.url))
        self.assertEqual(self.known().url, self.b.url)
        self.assertTrue(self.a.logged("url_conflict"))
        self.assertEqual(self.a.linked_with, ["b", "mallory"])
        self.b.crash()
        self.mesh.until(lambda: self.a.linked_with == ["mallory"])
        self.b.start()
        self.mesh.until(lambda: self.a.linked_with == ["b", "mallory"], within=60.0)

    def test_victims_all_over(self) -> None:
        """A URL that changes all the time makes a node that it is linked with dial few of them:
        revisions are limited, and each starts the wait anew. (What nodes do that only hear of it is
        in test_dials.)"""
        member = self.join(url="https://203.0.113.1:1")
        dialed: list[str] = []
        connect = self.mesh.network.connect

        def connecting(here: str, there: str, *arguments: Any) -> Any:
            dialed.extend([there] * (here == self.a.host))
            return connect(here, there, *arguments)

        self.patch(self.mesh.network, "connect", connecting)
        for revision in range(1, 301):
            member.say(update(member, revision=revision, url=f"https://203.0.113.1:{revision}"))
            self.mesh.advance(1.0)
        count = sum(there.startswith("203.") for there in dialed)
        self.assertLessEqual(count, 300.0 / url_checks.SOURCE_PACE)
        self.mesh.advance(600.0)
        self.assertFalse(member.has_ended)

    def test_was_reached_elsewhere(self) -> None:
        """That a node answered at its own URL says nothing about the one that it takes afterwards:
        a lost node at that one is still looked for."""
        nodes = LostNodes(lambda: ("own", 1), lambda: 1.0)
        victim = replace(mallory(1).record, url="https://192.0.2.9:4567", name="victim")
        nodes.linked(victim, 0.0, "192.0.2.9", True)
        liar = mallory(2).record
        nodes.linked(liar, 0.0, HOST, True)
        nodes.revised(replace(liar, revision=1, url=victim.url), HOST)
        nodes.parted(victim.id, False, 100.0)
        self.assertIn(victim.host_port, nodes)

    def test_what_stays(self) -> None:
        """What its operator has to restart a node for cannot change in a revision: the link
        ends."""
        changes: tuple[dict[str, Any], ...] = (
            {"name": "other"},
            {"started": 5},
            {"automatic": (4,)},
        )
        for change in changes:
            member = self.join()
            self.say(member, update(member, revision=1, **change))
            self.assertTrue(member.has_ended, change)
            self.assertEqual(self.a.linked_with, ["b"])
