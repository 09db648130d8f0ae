"""How much is written at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.tls.pacing import MAX_BUDGET, MIN_BUDGET, WRITE_TIME, Budget


class BudgetTests(SynchronousTestCase):
    """A transport that takes what is written sooner or later."""

    def setUp(self) -> None:
        self.budget = Budget()

    def takes(self, seconds: float) -> int:
        """It says pause, and so much later resume; the next budget."""
        self.budget.paused(0.0)
        self.budget.resumed(seconds)
        return self.budget.bytes

    def test_fast(self) -> None:
        """Short pauses change nothing, and what is shorter still cannot make it more."""
        for seconds in (WRITE_TIME, 0.6 * WRITE_TIME, 0.1 * WRITE_TIME, 0.0):
            self.assertEqual(self.takes(seconds), MAX_BUDGET)

    def test_slow(self) -> None:
        """A write that takes four times too long makes the next a quarter; never less than some."""
        self.assertEqual(self.takes(4 * WRITE_TIME), MAX_BUDGET // 4)
        self.assertEqual(self.takes(4 * WRITE_TIME), MAX_BUDGET // 16)
        self.assertEqual(self.takes(3600), MIN_BUDGET)

    def test_recovery(self) -> None:
        """What is taken at once, or soon, doubles the next one, up to where it began."""
        self.takes(3600)
        self.assertEqual(self.takes(0.6 * WRITE_TIME), MIN_BUDGET)
        self.assertEqual(self.takes(0.4 * WRITE_TIME), 2 * MIN_BUDGET)
        for _ in range(20):
            before = self.budget.bytes
            self.assertEqual(self.budget.taken(), before < MAX_BUDGET)
            self.assertEqual(self.budget.bytes, min(2 * before, MAX_BUDGET))
        self.assertEqual(self.budget.bytes, MAX_BUDGET)

    def test_signs_twice(self) -> None:
        """The first of two pauses counts, and resuming what was not paused says nothing."""
        self.budget.resumed(3600.0)
        self.budget.paused(0.0)
        self.budget.paused(3 * WRITE_TIME)
        self.budget.resumed(4 * WRITE_TIME)
        self.assertEqual(self.budget.bytes, MAX_BUDGET // 4)
        self.budget.resumed(3600.0)
        self.assertEqual(self.budget.bytes, MAX_BUDGET // 4)
