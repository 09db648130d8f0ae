"""Attacks by members that lie about the URL of a node: they say that they tried it, and what they
like. At worst there is a note, and one line in the log."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import Mallory, mallory
from tunmesh.dialing.reachability import PATIENCE
from tunmesh.dialing.url_checks import FIRST
from tunmesh.testing.mesh import Mesh
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.tried import Outcome, Tried

HOSTS = ("198.51.100.66", "198.51.100.67", "198.51.100.68")


class Reports(SynchronousTestCase):
    """Three members, each with an address of its own, are linked with a, which others reach."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.liars = [self.join(seed, host) for seed, host in enumerate(HOSTS, 1)]

    def join(self, seed: int, host: str) -> Mallory:
        member = mallory(seed, name=f"liar{seed}", url=f"https://{host}:4567").dial(
            self.mesh, self.a, host
        )
        member.answers_pings = True
        member.say(Gossip(1).encode())
        return member

    def say(self, outcome: Outcome, liars: Sequence[Mallory]) -> None:
        for liar in liars:
            liar.say(Tried.of(self.a.url, outcome).encode())
        self.mesh.advance(0.1)

    def notes(self) -> list[str]:
        return [text for text in self.a.status.warnings if "reaches this node's URL" in text]

    def test_only_lies(self) -> None:
        """As long as nobody else has tried, lies are believed: there is a note, which names the
        liars. The node stays ready."""
        self.say(Outcome.NO_ANSWER, self.liars)
        self.mesh.advance(PATIENCE + 6.0)
        (note,) = self.notes()
        self.assertIn("no answer (tried by liar1, liar2, liar3)", note)
        self.assertTrue(self.a.status.is_ready)
        self.assertEqual(len(self.a.logged("url_unreached")), 1)

    def test_one_honest_success(self) -> None:
        """As soon as one honest peer got there, the lies count for nothing, however often they are
        repeated."""
        self.mesh.advance(2 * FIRST + 10.0)
        self.assertEqual(self.a.status.url.reached, 1)
        for _ in range(100):
            self.say(Outcome.REFUSED, self.liars)
        self.mesh.advance(PATIENCE + 6.0)
        self.assertEqual(self.notes(), [])
        self.assertEqual(self.a.logged("url_unreached"), [])

    def test_back_and_forth(self) -> None:
        """Who says now this, now that, for an hour, does not fill the log."""
        lines = len(self.a.events)
        self.mesh.network.cut(self.a.host, self.b.host)
        for _ in range(90):
            self.say(Outcome.REFUSED, self.liars)
            self.mesh.advance(PATIENCE + 5.0)
            self.say(Outcome.REACHED, self.liars)
            self.mesh.advance(PATIENCE + 5.0)
        told = self.a.logged("url_unreached") + self.a.logged("url_reached")
        self.assertLess(len(told), 20)
        self.assertLess(len(self.a.events) - lines, 60)

    def test_unknown_outcome(self) -> None:
        """An outcome that this version does not know is some failure; words come from this node."""
        for liar in self.liars:
            tried = Tried.of(self.a.url, Outcome.REFUSED).encode()
            liar.say(tried[:-1] + b"\xff")
        self.mesh.advance(PATIENCE + 6.0)
        self.assertIn(": it failed (tried by", self.notes()[0])
