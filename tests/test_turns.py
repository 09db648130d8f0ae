"""Taking turns: who may begin, and when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.turns import Turns


class TurnsTests(unittest.TestCase):
    def setUp(self) -> None:
        self.begun: list[str] = []
        self.turns = Turns(2, lambda: 0.0, self._raise)
        self.begins: dict[str, Callable[[], None]] = {}

    def _raise(self, error: Exception) -> None:
        raise error

    def ask(self, name: str, has_failed: bool = False) -> None:
        begin = self.begins.setdefault(name, partial(self.begun.append, name))
        self.turns.ask(begin, has_failed)

    def test_at_once(self) -> None:
        """While there are turns left nobody waits; then everybody does, until one is over."""
        for name in "abcd":
            self.ask(name)
        self.assertEqual(self.begun, ["a", "b"])
        self.turns.end()
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_fresh_first(self) -> None:
        """Who has failed before waits for all who have not."""
        self.ask("a")
        self.ask("b")
        self.ask("failed", has_failed=True)
        self.ask("fresh")
        self.turns.end()
        self.turns.end()
        self.assertEqual(self.begun, ["a", "b", "fresh", "failed"])

    def test_withdrawn(self) -> None:
        """Who withdraws is not called any more, and takes nobody's turn."""
        for name in "abcd":
            self.ask(name)
        self.turns.withdraw(self.begins["d"])
        self.turns.withdraw(self.begins["a"])
        self.turns.end()
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_chance(self) -> None:
        """Among equals chance decides."""
        for draw, order in ((0.0, "cba"), (0.4, "acb"), (1.0, "cba")):
            self.begun.clear()
            self.turns = Turns(0, lambda draw=draw: draw, self._raise)  # type: ignore[misc]
            for name in "abc":
                self.ask(name)
            for _ in "abc":
                self.turns.end()
            self.assertEqual("".join(self.begun), order)

    def test_over_at_once(self) -> None:
        """Thousands of turns that are over before they have begun are no deep recursion."""
        turns = Turns(0, lambda: 0.5, self._raise)
        done: list[int] = []

        def fail(number: int) -> None:
            done.append(number)
            turns.end()

        for number in range(5000):
            turns.ask(partial(fail, number), has_failed=False)
        turns.end()
        self.assertEqual(sorted(done), list(range(5000)))

    def test_broken(self) -> None:
        """A turn whose beginning raises is over: everybody else gets theirs, and the exception goes
        to who was named for it, not to who happened to end a turn."""
        errors: list[Exception] = []
        turns = Turns(1, lambda: 0.0, errors.append)
        turns.ask(partial(self.begun.append, "a"), has_failed=False)
        turns.ask(partial(self.begun.append, "b"), has_failed=True)
        turns.ask(partial(self._raise, ValueError("injected")), has_failed=False)
        turns.end()
        self.assertEqual(self.begun, ["a", "b"])
        self.assertIsInstance(errors[0], ValueError)
        turns.ask(partial(self.begun.append, "c"), has_failed=False)
        turns.end()
        self.assertEqual(self.begun, ["a", "b", "c"])

    @given(st.lists(st.sampled_from(["ask", "ask again", "end", "withdraw"]), max_size=60))
    def test_never_too_many(self, steps: list[str]) -> None:
        """Whatever happens, no more than so many are at it, and nobody waits without a reason."""
        under_way: list[int] = []
        waiting: dict[int, Callable[[], None]] = {}
        turns = Turns(3, lambda: 0.5, self._raise)

        def begin(number: int) -> None:
            del waiting[number]
            under_way.append(number)

        for number, step in enumerate(steps):
            if step.startswith("ask"):
                waiting[number] = partial(begin, number)
                turns.ask(waiting[number], step == "ask again")
            elif step == "withdraw" and waiting:
                turns.withdraw(waiting.pop(min(waiting)))
            elif step == "end" and under_way:
                under_way.pop()
                turns.end()
            self.assertLessEqual(len(under_way), 3)
            self.assertTrue(len(under_way) == 3 or not waiting)
