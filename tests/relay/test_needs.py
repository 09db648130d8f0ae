"""When a node is dialed through others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.needs import (
    FIRST_PAUSE,
    HANDSHAKE,
    HEAD_START,
    LONGEST_PAUSE,
    LOST,
    MAX_HEEDED,
    PATIENCE,
    Needs,
)


class NeedsTests(SynchronousTestCase):
    """One node that is wanted, seen from the node with the smaller id unless said otherwise."""

    def setUp(self) -> None:
        self.needs = Needs(lambda: 1.0)
        self.needs.wanted("b", True, 0.0)

    def test_nothing_has_happened(self) -> None:
        """As long as it is not dialed, it is not dialed through others."""
        self.assertEqual((self.needs.wait(0.0), self.needs.due(1e9)), (None, []))

    def test_no_answer(self) -> None:
        """Its address does not answer; a second address does not put that off."""
        self.needs.trying("b", 5.0)
        self.needs.trying("b", 5.3)
        self.assertEqual(self.needs.wait(5.0), PATIENCE)
        self.assertEqual(self.needs.due(5.0 + PATIENCE), [("b", False)])
        self.assertEqual((self.needs.wait(9.0), self.needs.due(9.0)), (None, []))

    def test_answer_and_no_link(self) -> None:
        """Its address answers, and then there is no link: a mesh that starts has much to do."""
        self.needs.trying("b", 0.0)
        self.needs.answered("b", 0.1)
        self.assertEqual(self.needs.due(PATIENCE), [])
        self.assertEqual(self.needs.wait(0.1), HANDSHAKE)

    def test_failure(self) -> None:
        """A dial that failed is no reason to wait."""
        self.needs.trying("b", 0.0)
        self.needs.failed("b", 0.1)
        self.assertEqual(self.needs.due(0.1), [("b", False)])

    def test_lost(self) -> None:
        """It was linked a moment ago."""
        needs = Needs(lambda: 1.0)
        needs.lost("b")
        needs.wanted("b", True, 3.0)
        needs.wanted("c", True, 3.0)
        self.assertAlmostEqual(needs.wait(3.0) or 0.0, LOST)
        self.assertEqual(needs.due(4.0), [("b", False)])

    def test_larger_id(self) -> None:
        """The node with the larger id lets the other one go first."""
        needs = Needs(lambda: 1.0)
        needs.wanted("b", False, 0.0)
        needs.failed("b", 2.0)
        self.assertEqual(needs.wait(2.0), HEAD_START)

    def test_pauses(self) -> None:
        """After attempts in vain there are pauses, ever longer, whatever direct dials do."""
        now, pauses = 0.0, []
        self.needs.failed("b", now)
        for attempt in range(8):
            self.assertEqual(self.needs.due(now), [("b", attempt > 0)])
            self.needs.tried("b", now)
            self.needs.failed("b", now)
            wait = self.needs.wait(now)
            assert wait is not None
            pauses.append(wait)
            now += wait
        self.assertEqual(pauses[:3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
        self.assertEqual(pauses[-1], LONGEST_PAUSE)

    def test_new_voucher(self) -> None:
        """One more neighbour is linked with it: the pause is over."""
        self.needs.failed("b", 0.0)
        self.needs.due(0.0)
        self.needs.tried("b", 0.0)
        self.needs.vouched("b", "d", 0.1)
        self.needs.vouched("c", "d", 0.1)
        self.assertEqual(self.needs.wait(0.1), 0.0)

    def test_new_voucher_while_dialed(self) -> None:
        """The news comes while an attempt is under way that cannot use it: the next one comes soon,
        however long the pause would have been."""
        self.pause_is(LONGEST_PAUSE, 0.0)
        self.needs.due(LONGEST_PAUSE)
        self.needs.vouched("b", "d", LONGEST_PAUSE)
        self.needs.tried("b", LONGEST_PAUSE)
        self.assertEqual(self.needs.wait(LONGEST_PAUSE), FIRST_PAUSE)

    def test_vouched_again(self) -> None:
        """A neighbour says so again and again: one pause is over, and those that follow are as long
        as they would have been. After the longest one its word counts again."""
        self.pause_is(LONGEST_PAUSE, 0.0)
        tried = []
        for now in map(float, range(1, 50)):
            self.needs.vouched("b", "d", now)
            if self.needs.due(now):
                tried.append(now)
                self.needs.tried("b", now)
        self.assertEqual(tried, [1.0, 2.0, 4.0, 8.0, 16.0, 31.0, 32.0, 34.0, 38.0, 46.0])

    def test_many_vouchers(self) -> None:
        """One member with many identities, each of which says so, ends a few pauses and no more."""
        self.pause_is(LONGEST_PAUSE, 0.0)
        attempts = 0
        for number in range(4 * MAX_HEEDED):
            now = 1.0 + number / 1000
            self.needs.vouched("b", f"{number:02}", now)
            if self.needs.due(now):
                attempts += 1
                self.needs.tried("b", now)
        self.assertEqual(attempts, MAX_HEEDED)

    def test_thousands(self) -> None:
        """Of thousands that are wanted and whose dials fail again and again, nothing but what is
        due is looked at, and nothing piles up."""
        for number in range(4096):
            self.needs.wanted(f"{number:04}", True, 0.0)
            self.needs.trying(f"{number:04}", 0.0)
        compared: list[str] = []

        class Id(str):
            def __lt__(self, other: object) -> bool:
                compared.append(self)
                return str.__lt__(self, str(other))

        self.needs.wanted(Id("x"), True, 0.1)
        self.needs.failed(Id("x"), 0.1)
        self.assertEqual(self.needs.due(0.1), [("x", False)])
        self.assertEqual(compared, [])
        for now in range(1000):
            self.needs.answered("b", float(now))
            self.needs.failed("b", float(now))
        self.assertLess(len(self.needs._turns), 3 * len(self.needs))

    def pause_is(self, pause: float, now: float) -> None:
        """Attempts are in vain until there is such a pause, which begins then."""
        self.needs.satisfied("b")
        self.needs.wanted("b", True, now)
        self.needs.failed("b", now)
        while True:
            self.needs.due(1e9)
            self.needs.tried("b", now)
            if self.needs.wait(now) == pause:
                return

    def test_satisfied(self) -> None:
        """It is linked."""
        self.needs.failed("b", 0.0)
        self.needs.satisfied("b")
        self.needs.tried("b", 0.0)
        self.assertEqual((self.needs.due(9.0), len(self.needs), "b" in self.needs), ([], 0, False))
