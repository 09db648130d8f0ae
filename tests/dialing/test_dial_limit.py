"""Taking turns: who may begin, and when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial import unittest

from tunmesh.dialing.dial_budget import ALL_BURST, ALL_RATE, BURST, MAX_SOURCES, RATE, DialBudget
from tunmesh.dialing.dial_limit import Begin, Turn, Turns


class TurnsCase(unittest.TestCase):
    """Two turns at a time. `held` are those that are not over, the oldest first."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[str] = []
        self.held: list[Turn] = []
        self.begins: dict[str, Begin] = {}
        self.turns = Turns(2, lambda: 0.0, self._raise)

    def _raise(self, error: Exception) -> None:
        raise error

    def begin(self, name: str, turn: Turn) -> None:
        self.begun.append(name)
        self.held.append(turn)

    def ask(self, name: str, has_failed: bool = False, sources: str = " ") -> None:
        begin = self.begins.setdefault(name, partial(self.begin, name))
        self.turns.ask(begin, has_failed, sources)

    def end(self) -> None:
        """The oldest turn is over."""
        self.held.pop(0).end()


class TurnsTests(TurnsCase):
    def test_at_once(self) -> None:
        """While there are turns left nobody waits; then everybody does, until one is over."""
        for name in "abcd":
            self.ask(name)
        self.assertEqual(self.begun, ["a", "b"])
        self.end()
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_over_once(self) -> None:
        """A turn is over once, however often that is said."""
        for name in "abcd":
            self.ask(name)
        for _ in range(3):
            self.held[0].end()
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_fresh_first(self) -> None:
        """Who has failed before waits for all who have not."""
        self.ask("a")
        self.ask("b")
        self.ask("failed", has_failed=True)
        self.ask("fresh")
        self.end()
        self.end()
        self.assertEqual(self.begun, ["a", "b", "fresh", "failed"])

    def test_withdrawn(self) -> None:
        """Who withdraws is not called any more, and takes nobody's turn."""
        for name in "abcd":
            self.ask(name)
        self.turns.withdraw(self.begins["d"])
        self.turns.withdraw(self.begins["a"])
        self.end()
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_chance(self) -> None:
        """Among equals chance decides."""
        for draw, order in ((0.0, "xcba"), (0.4, "xabc"), (1.0, "xcba")):
            self.begun.clear()
            self.held.clear()
            self.turns = Turns(1, lambda draw=draw: draw, self._raise)  # type: ignore[misc]
            for name in "xabc":
                self.ask(name)
            for _ in "abc":
                self.end()
            self.assertEqual("".join(self.begun), order)

    def test_over_at_once(self) -> None:
        """Thousands of turns that are over before they have begun are no deep recursion."""
        turns = Turns(1, lambda: 0.5, self._raise)
        turns.ask(partial(self.begin, "first"), has_failed=False)
        done: list[int] = []

        def fail(number: int, turn: Turn) -> None:
            done.append(number)
            turn.end()

        for number in range(5000):
            turns.ask(partial(fail, number), has_failed=False)
        self.end()
        self.assertEqual(sorted(done), list(range(5000)))

    def test_broken(self) -> None:
        """A turn whose beginning raises is over: everybody else gets theirs, and the exception goes
        to who was named for it, not to who happened to end a turn."""
        errors: list[Exception] = []
        turns = Turns(1, lambda: 0.0, errors.append)

        def fail(turn: Turn) -> None:
            raise ValueError("injected")

        turns.ask(partial(self.begin, "a"), has_failed=False)
        turns.ask(partial(self.begin, "b"), has_failed=True)
        turns.ask(fail, has_failed=False)
        self.end()
        self.assertEqual(self.begun, ["a", "b"])
        self.assertIsInstance(errors[0], ValueError)
        turns.ask(partial(self.begin, "c"), has_failed=False)
        self.end()
        self.assertEqual(self.begun, ["a", "b", "c"])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["ask", "ask again", "end", "withdraw", "also"]),
                st.sets(st.sampled_from("xyz"), max_size=3),
            ),
            max_size=60,
        )
    )
    def test_never_too_many(self, steps: list[tuple[str, set[str]]]) -> None:
        """Whatever happens, no more than so many are at it, of one source as well, and nobody waits
        without a reason."""
        under_way: list[Turn] = []
        waiting: dict[int, Callable[[Turn], None]] = {}
        sources: dict[int, set[str]] = {}
        turns = Turns(3, lambda: 0.5, self._raise, each=2)

        def begin(number: int, turn: Turn) -> None:
            del waiting[number]
            under_way.append(turn)

        for number, (step, names) in enumerate(steps):
            if step.startswith("ask"):
                waiting[number] = partial(begin, number)
                sources[number] = names or {""}
                turns.ask(waiting[number], step == "ask again", names)
            elif step == "withdraw" and waiting:
                turns.withdraw(waiting.pop(min(waiting)))
            elif step == "also" and waiting:
                first = min(waiting)
                sources[first] = sources[first] | {"y"}
                turns.also(waiting[first], "y")
            elif step == "end" and under_way:
                under_way.pop(0).end()
            held = turns._held
            self.assertEqual(held.total(), len(under_way))
            self.assertLessEqual(len(under_way), 3)
            self.assertLessEqual(max(held.values(), default=0), 2)
            free = {source for each in waiting for source in sources[each] if held[source] < 2}
            self.assertTrue(len(under_way) == 3 or not free)
            self.assertEqual(
                set(turns._sources), {source for each in waiting for source in sources[each]}
            )


class SourcesTests(TurnsCase):
    def test_one_after_the_other(self) -> None:
        """Whoever wants thousands of turns keeps nobody else waiting for more than one of them."""
        self.turns = Turns(1, lambda: 0.0, self._raise)
        for number in range(5000):
            self.ask(f"m{number}", sources="m")
        for name in "abc":
            self.ask(name, has_failed=True, sources=name)
        for _ in range(4):
            self.end()
        self.assertEqual(self.begun[1:4], ["m4999", "a", "b"])
        self.assertEqual(self.begun[4:], ["c"])

    def test_at_most(self) -> None:
        """Turns that take long are never all of one source."""
        self.turns = Turns(3, lambda: 0.0, self._raise, each=2)
        for number in range(10):
            self.ask(f"m{number}", sources="m")
        self.ask("a", sources="a")
        self.assertEqual(self.begun, ["m0", "m1", "a"])

    def test_either(self) -> None:
        """Who has several sources goes with the first of them, once."""
        self.turns = Turns(1, lambda: 0.0, self._raise)
        for number in range(3):
            self.ask(f"m{number}", sources="m")
        self.ask("both", sources="ma")
        self.end()
        self.end()
        self.assertEqual(sorted(self.begun[1:]), ["both", "m2"])
        self.end()
        self.end()
        self.assertEqual(self.begun[-1], "m1")

    def test_later(self) -> None:
        """Who waits with one source, and is vouched for from elsewhere then, goes with that."""
        for number in range(100):
            self.ask(f"m{number}", sources="m")
        self.turns.also(self.begins["m7"], "a")
        self.turns.also(self.begins["m0"], "a")  # it has its turn
        self.end()
        self.end()
        self.assertIn("m7", self.begun)


class BudgetTests(TurnsCase):
    """Turns that cost something."""

    def setUp(self) -> None:
        super().setUp()
        self.spent: list[str] = []
        budget = DialBudget(self.clock.seconds, self.spent.append)
        self.turns = Turns(4, lambda: 0.0, self._raise, 4, budget, self.clock)

    def dial(self, source: str, count: int, proved: bool = False) -> None:
        """So many dials, each of which is over at once."""

        def begin(turn: Turn) -> None:
            self.begun.append(source)
            if proved:
                turn.proved()
            turn.end()

        for _ in range(count):
            self.turns.ask(partial(begin), False, (source,))

    def test_rate(self) -> None:
        """A source has so many dials at once, then so many a second; another one is not kept
        waiting by it."""
        self.dial("m", 4000)
        self.assertEqual(len(self.begun), BURST)
        self.assertEqual(self.spent, ["m"])
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertApproximates(len(self.begun), BURST + 60 * RATE, 1)
        self.dial("a", 20)
        self.assertEqual(self.begun[-20:], ["a"] * 20)

    def test_given_back(self) -> None:
        """What leads to members costs nothing, however much it is."""
        self.dial("a", 4000, proved=True)
        self.assertEqual(len(self.begun), 4000)
        self.assertEqual(self.spent, [])

    def test_all(self) -> None:
        """There is a bound for all sources together."""
        for number in range(10):
            self.dial(f"m{number}", 400)
        self.assertEqual(len(self.begun), ALL_BURST)
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertApproximates(len(self.begun), ALL_BURST + 60 * ALL_RATE, 2)

    def test_stop(self) -> None:
        """Nobody is called any more, and no timer is left."""
        self.dial("m", 4000)
        self.turns.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sources_are_forgotten(self) -> None:
        """Only so many sources are remembered, and those that have spent most."""
        budget = DialBudget(self.clock.seconds, self.spent.append)
        for _ in range(BURST):
            budget.take("m")
        self.clock.advance(ALL_BURST / ALL_RATE)
        for number in range(MAX_SOURCES + 10):
            budget.take(str(number))
            budget.give_back(str(number))
        self.assertLessEqual(len(budget._sources), MAX_SOURCES)
        self.assertIn("m", budget._sources)
