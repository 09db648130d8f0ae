"""Which neighbours are asked to carry a link, where many of them are one member's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.carriers import MAX_REMEMBERED, MOST, Carriers, Neighbour

HONEST = Neighbour("a", "192.0.2.1", 0.05)
NEAR = [Neighbour(f"m{number:02}", "198.51.100.66", 0.001) for number in range(20)]


class CarriersTests(SynchronousTestCase):
    """Of a node that wants a link with x."""

    def setUp(self) -> None:
        self.carriers = Carriers()

    def choose(self, *neighbours: Neighbour) -> list[str]:
        return self.carriers.choose("x", neighbours)

    def test_nearest(self) -> None:
        """Those with the shortest round trips, and then those of which none is known."""
        others = [Neighbour("b", "192.0.2.2", 0.01), Neighbour("c", "192.0.2.3")]
        self.assertEqual(self.choose(others[1], HONEST, *others[:1]), ["b", "a", "c"])
        self.assertEqual(len(self.choose(*NEAR)), MOST)
        self.assertEqual(self.choose(), [])

    def test_one_of_each_source(self) -> None:
        """However many identities a member has, and however near: others are asked as well."""
        self.assertIn("a", self.choose(*NEAR, HONEST))

    def test_wins_and_leads_nowhere(self) -> None:
        """The first stream that is open wins. So a source whose streams came to nothing is not
        asked beside another one, by whatever identity, until that has failed as often."""
        self.carriers.failed(NEAR[0].source, "x")
        self.assertEqual(self.choose(*NEAR, HONEST), ["a"])
        self.carriers.failed(HONEST.source, "x")
        self.assertIn(NEAR[0].id, self.choose(*NEAR, HONEST))

    def test_bounds(self) -> None:
        """What is remembered is bounded: the oldest is forgotten."""
        self.carriers.failed(HONEST.source, "x")
        for number in range(MAX_REMEMBERED):
            self.carriers.failed(HONEST.source, f"n{number}")
        self.assertEqual(self.choose(*NEAR[:1], HONEST), [NEAR[0].id, "a"])
        self.assertEqual(self.carriers.choose("n0", [*NEAR[:1], HONEST]), [NEAR[0].id])
