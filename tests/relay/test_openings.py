"""How many streams may be opened through a node, whatever identities a member has."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.openings import ARRIVALS_BURST, BURST, SOURCE_BURST, Openings

EVIL, HONEST = "198.51.100.1", "192.0.2.1"


class OpeningsTests(SynchronousTestCase):
    """All at the same moment."""

    def setUp(self) -> None:
        self.openings = Openings()

    def open(self, opener: str, source: str, target: str, many: int) -> int:
        """How many of so many that are asked for may be opened."""
        return sum(self.openings.try_take(opener, source, target, 0.0) for _ in range(many))

    def test_many_identities(self) -> None:
        """One source opens no more than it may, with however many identities, and however often it
        is linked anew; others are not refused for that."""
        opened = 0
        for number in range(2 * SOURCE_BURST // BURST):
            for target in range(BURST):
                opened += self.open(f"m{number}", EVIL, f"t{target}", 1)
            self.openings.parted(f"m{number}")
        self.assertEqual(opened, SOURCE_BURST)
        self.assertEqual(self.open("a", HONEST, "t1", 1), 1)

    def test_one_target(self) -> None:
        """All that one source opens to one node leaves something for others."""
        opened = sum(self.open(f"m{number}", EVIL, "t", 1) for number in range(2 * ARRIVALS_BURST))
        self.assertEqual(opened, ARRIVALS_BURST // 2)
        self.assertEqual(self.open("a", HONEST, "t", 1), 1)
