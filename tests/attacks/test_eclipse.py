"""Attacks by a member that would have others never look for each other: mallory says that what they
look for is him."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import Mallory, mallory
from tunmesh.dialing.attempt import CONNECT_TIMEOUT
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.wire.records import split_url


class BootstrapTests(SynchronousTestCase):
    """b bootstraps from a. Mallory is linked with b, and claims the URL of a."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a", start=False), self.mesh.add("b")

    def claim(self) -> Mallory:
        thief = mallory(url=self.a.url).dial(self.mesh, self.b)
        thief.answers_pings = True
        self.assertTrue(thief.is_up)
        return thief

    def restart(self, member: Member) -> float:
        """Restart it; returns how long it takes until all others are linked with it."""
        member.start()
        return self.mesh.until(lambda: "b" in self.a.linked_with, within=25.0)

    def test_before_the_bootstrap_node(self) -> None:
        """A bootstrap node that starts after he has come is found within a retry interval, and he
        stays linked all the time."""
        thief = self.claim()
        self.mesh.advance(60)
        self.assertLess(self.restart(self.a), 16)
        self.assertFalse(thief.has_ended)
        self.assertEqual(self.b.linked_with, ["a", "mallory"])

    def test_bootstrap_node_restarts(self) -> None:
        """So is one that restarts while he stays."""
        self.restart(self.a)
        self.claim()
        self.a.vanish()
        self.mesh.until(lambda: "a" not in self.b.linked_with)
        self.mesh.advance(300)
        self.assertLess(self.restart(self.a), 16 + CONNECT_TIMEOUT)  # one may be under way

    def test_unreachable_bootstrap_node(self) -> None:
        """If the URL of the bootstrap node cannot be reached from here, but it has dialed us, that
        URL is dialed for ever, rarely: the node is ready, the link lasts, and the log gets a few
        lines a day."""
        url = f"https://192.0.2.250:{PORT}"  # nobody is there
        self.a.settings |= {"url": url, "groups": (_group(self.b.url),)}
        self.b.leave()
        self.mesh.advance(5)
        self.b.start(groups=(_group(url),))
        self.restart(self.a)
        dials = self.mesh.network.dials_by[self.b.host]
        self.mesh.advance(3600)
        self.assertTrue(200 < self.mesh.network.dials_by[self.b.host] - dials < 600)
        self.assertTrue(self.b.status.is_ready)
        self.assertEqual(len(self.b.logged("linked")), 1)
        self.assertLess(len(self.b.logged("unreachable")), 9)

    def test_dialed_by_it(self) -> None:
        """If the bootstrap node dialed us first, that costs one dial, once."""
        self.restart(self.a)
        dials = self.mesh.network.dials_by[self.b.host]
        self.mesh.advance(1000)
        self.assertLessEqual(self.mesh.network.dials_by[self.b.host], dials + 1)


def _group(url: str) -> GroupSettings:
    return GroupSettings("first", (split_url(url),))
