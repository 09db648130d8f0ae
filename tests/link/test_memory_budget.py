"""The memory budget of all links, shared by source address."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.link.memory_budget import Account, MemoryBudget

LIMIT = 1000


class MemoryBudgetTests(unittest.SynchronousTestCase):
    """How much each source may hold."""

    def setUp(self) -> None:
        self.budget = MemoryBudget(LIMIT)

    def hoard(self, *accounts: Account) -> None:
        """Each takes all the room that it has, repeatedly."""
        for _ in range(20):
            for account in accounts:
                account.hold(account.held + account.room)

    def test_alone(self) -> None:
        """One source gets half, however many links it has."""
        accounts = [self.budget.account("a") for _ in range(10)]
        self.hoard(*accounts)
        self.assertAlmostEqual(self.budget.held, LIMIT / 2, delta=10)

    def test_one_more(self) -> None:
        """A second source gets the same share whether the first one has one link or many."""
        self.hoard(*(self.budget.account("a") for _ in range(10)))
        late = self.budget.account("b")
        self.hoard(late)
        self.assertAlmostEqual(late.held, LIMIT / 4, delta=10)

    def test_given_back(self) -> None:
        """What a link held is available to others when it is gone."""
        account = self.budget.account("a")
        self.hoard(account)
        account.hold(0)
        self.assertEqual((self.budget.held, self.budget.held_by("a")), (0, 0))
        self.assertEqual(account.room, LIMIT // 2)

    def test_moved(self) -> None:
        """A peer comes from elsewhere: all that it makes this node hold counts there, then and
        later."""
        one = self.budget.account("a")
        other, stranger = one.another(), self.budget.account("a")
        for account in (one, other, stranger):
            account.hold(100, pinned=10)
        other.move("b")
        one.hold(50)
        self.assertEqual([self.budget.held_by(each) for each in "ab"], [100, 150])
        self.assertEqual([self.budget.pinned_by(each) for each in "ab"], [10, 10])
        self.assertEqual(self.budget.held, 250)

    def test_exceeded(self) -> None:
        """Of a source that has more pinned than is left, those links end that have most of it,
        whichever notices; other sources are not affected."""
        ended: list[str] = []
        small, most, more, other = (
            self.budget.account(source, partial(ended.append, name))
            for source, name in ("a1", "a2", "a3", "b4")
        )
        small.hold(20, pinned=20)
        other.hold(10, pinned=10)
        most.hold(300, pinned=300)
        most.settle()
        self.assertEqual(ended, [])
        more.hold(290, pinned=290)
        other.settle()
        self.assertEqual(ended, [])
        small.settle()
        self.assertEqual((ended, self.budget.pinned_by("a")), (["2"], 310))
        self.assertEqual(small.room, (LIMIT - 320 - 310) // 2)
        most.hold(0)
        more.hold(980, pinned=0)
        small.settle()
        self.assertEqual((ended, self.budget.held), (["2", "1"], 990))

    def test_ample(self) -> None:
        """While less than half is in use, the budget is ample."""
        account = self.budget.account("a")
        account.hold(LIMIT // 2 - 1)
        self.assertTrue(self.budget.is_ample)
        account.hold(LIMIT // 2)
        self.assertFalse(self.budget.is_ample)

    def test_fallen(self) -> None:
        """It is noticed when much memory has been released."""
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
        """If no account takes more than its room, less than the limit is held in total, and a new
        source has room."""
        budget = MemoryBudget(LIMIT)
        accounts = [budget.account("abc"[number // 2]) for number in range(6)]
        for number, wish in wishes:
            account = accounts[number]
            account.hold(min(wish, account.held + account.room))
            self.assertEqual(budget.held, sum(each.held for each in accounts))
            self.assertLess(budget.held, LIMIT)
        self.assertGreater(budget.account("new").room, 0)
