"""Totals by node name survive restarts of the node, but not for ever."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.observe.node_totals import MAX_NAMES, Totals
from tunmesh.status.traffic import Traffic


class TotalsTests(SynchronousTestCase):
    """Totals by node name."""

    def setUp(self) -> None:
        self.totals = Totals(ttl=60.0)

    def names(self) -> list[str]:
        return [name for name, _ in self.totals]

    def test_restart_goes_on_counting(self) -> None:
        """A node that comes back under its name is counted on from where it was."""
        for _ in range(2):
            self.totals.join("bravo")
            self.totals.part(10.0, "bravo", Traffic(1, 2, 3, 4), [])
        self.assertEqual([node.traffic for _, node in self.totals], [Traffic(2, 4, 6, 8)])

    def test_forgotten_after_the_ttl(self) -> None:
        """A node that stays away is forgotten after `ttl` seconds, not before."""
        self.totals.join("bravo")
        self.totals.part(10.0, "bravo", Traffic(), [])
        self.totals.groom(69.9)
        self.assertEqual(self.names(), ["bravo"])
        self.totals.groom(70.0)
        self.assertEqual(self.names(), [])

    def test_linked_nodes_are_kept(self) -> None:
        """A node that is linked, again or in another incarnation, is never forgotten."""
        self.totals.join("bravo")
        self.totals.part(10.0, "bravo", Traffic(), ["bravo"])
        self.totals.groom(1e6)
        self.assertEqual(self.names(), ["bravo"])
        self.totals.part(1e6, "bravo", Traffic(), [])
        self.totals.join("bravo")
        self.totals.groom(2e6)
        self.assertEqual(self.names(), ["bravo"])

    def test_latency_is_half_a_round_trip(self) -> None:
        """A round trip of 3 ms counts as 1.5 ms one way."""
        self.totals.join("bravo")
        self.totals.round_trip("bravo", 0.003)
        ((_, node),) = self.totals
        self.assertEqual(node.latency.sum, 0.0015)

    def test_bound(self) -> None:
        """Names beyond the bound are not counted, and cause no error."""
        for number in range(MAX_NAMES + 1):
            self.totals.join(str(number))
        self.totals.round_trip(str(MAX_NAMES), 1.0)
        self.totals.part(1.0, str(MAX_NAMES), Traffic(), [])
        self.assertEqual(len(self.names()), MAX_NAMES)
