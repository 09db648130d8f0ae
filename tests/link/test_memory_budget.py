"""One budget for all links, shared by where their peers are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.link.memory_budget import Account, MemoryBudget

LIMIT = 1000


class MemoryBudgetTests(unittest.SynchronousTestCase):
    """Who may hold how much."""

    def setUp(self) -> None:
        self.budget = MemoryBudget(LIMIT)

    def hoard(self, *accounts: Account) -> None:
        """Each takes all the room that it is given, again and again."""
        for _ in range(20):
            for account in accounts:
                account.hold(account.held + account.room)

    def test_alone(self) -> None:
        """One source gets half, by however many links."""
        accounts = [self.budget.account("a") for _ in range(10)]
        self.hoard(*accounts)
        self.assertAlmostEqual(self.budget.held, LIMIT / 2, delta=10)

    def test_one_more(self) -> None:
        """Beside many links of one source, that of another gets as much as beside one."""
        self.hoard(*(self.budget.account("a") for _ in range(10)))
        late = self.budget.account("b")
        self.hoard(late)
        self.assertAlmostEqual(late.held, LIMIT / 4, delta=10)

    def test_given_back(self) -> None:
        """What a link held is there for others when it is gone."""
        account = self.budget.account("a")
        self.hoard(account)
        account.hold(0)
        self.assertEqual((self.budget.held, self.budget.held_by("a")), (0, 0))
        self.assertEqual(account.room, LIMIT // 2)

    def test_exceeded(self) -> None:
        """A source that holds more than is left is over it with each of its links, if that cannot
        be dropped; no other is."""
        first, second, other = (self.budget.account(source) for source in "aab")
        first.hold(600, pinned=500)
        other.hold(10)
        self.assertTrue(first.is_exceeded and second.is_exceeded)
        first.hold(600, pinned=300)
        self.assertFalse(first.is_exceeded or second.is_exceeded)
        first.hold(600, pinned=600)
        other.hold(10)
        self.assertTrue(first.is_exceeded and second.is_exceeded)
        self.assertFalse(other.is_exceeded)
        self.assertEqual(first.room, 0)

    def test_ample(self) -> None:
        """While less than half is taken, nobody need ask."""
        account = self.budget.account("a")
        account.hold(LIMIT // 2 - 1)
        self.assertTrue(self.budget.is_ample)
        account.hold(LIMIT // 2)
        self.assertFalse(self.budget.is_ample)

    def test_fallen(self) -> None:
        """It is known when much was given back."""
        account = self.budget.account("a")
        account.hold(500)
        self.assertFalse(self.budget.has_fallen(100))
        account.hold(450)
        self.assertFalse(self.budget.has_fallen(100))
        account.hold(300)
        self.assertTrue(self.budget.has_fallen(100))
        self.assertFalse(self.budget.has_fallen(100))

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, LIMIT)), max_size=50))
    def test_never_more(self, wishes: list[tuple[int, int]]) -> None:
        """Whoever takes no more than its room: all of them hold less than the limit, nobody is
        over it by that, and somebody new has room."""
        budget = MemoryBudget(LIMIT)
        accounts = [budget.account("abc"[number // 2]) for number in range(6)]
        for number, wish in wishes:
            account = accounts[number]
            account.hold(min(wish, account.held + account.room))
            self.assertEqual(budget.held, sum(each.held for each in accounts))
            self.assertLess(budget.held, LIMIT)
        self.assertGreater(budget.account("new").room, 0)
