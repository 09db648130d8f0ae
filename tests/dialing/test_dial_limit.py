"""Which dials may begin, and when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial import unittest

from tunmesh.dialing.dial_budget import ALL_BURST, ALL_RATE, BURST, MAX_SOURCES, RATE, DialBudget
from tunmesh.dialing.dial_limit import DialLimit, DialSlot, Granted


class DialLimitCase(unittest.TestCase):
    """Two slots. `held` are those that are not released, the oldest first."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[str] = []
        self.held: list[DialSlot] = []
        self.granted: dict[str, Granted] = {}
        self.limit = DialLimit(2, lambda: 0.0, self._raise)

    def _raise(self, error: Exception) -> None:
        raise error

    def begin(self, name: str, slot: DialSlot) -> None:
        self.begun.append(name)
        self.held.append(slot)

    def ask(self, name: str, has_failed: bool = False, sources: str = " ") -> None:
        granted = self.granted.setdefault(name, partial(self.begin, name))
        self.limit.request(granted, has_failed, sources)

    def end(self) -> None:
        """The oldest slot is released."""
        self.held.pop(0).release()


class DialLimitTests(DialLimitCase):
    def test_at_once(self) -> None:
        """While there are free slots nobody waits; then everybody does, until one is released."""
        for name in "abcd":
            self.ask(name)
        self.assertEqual(self.begun, ["a", "b"])
        self.end()
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_over_once(self) -> None:
        """Releasing a slot again changes nothing."""
        for name in "abcd":
            self.ask(name)
        for _ in range(3):
            self.held[0].release()
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_fresh_first(self) -> None:
        """A dial that has failed before waits for all that have not."""
        self.ask("a")
        self.ask("b")
        self.ask("failed", has_failed=True)
        self.ask("fresh")
        self.end()
        self.end()
        self.assertEqual(self.begun, ["a", "b", "fresh", "failed"])

    def test_withdrawn(self) -> None:
        """A request that was withdrawn is not granted, and costs no slot."""
        for name in "abcd":
            self.ask(name)
        self.limit.withdraw(self.granted["d"])
        self.limit.withdraw(self.granted["a"])
        self.end()
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_chance(self) -> None:
        """Among equals the choice is random."""
        for draw, order in ((0.0, "xcba"), (0.4, "xabc"), (1.0, "xcba")):
            self.begun.clear()
            self.held.clear()
            self.limit = DialLimit(1, lambda draw=draw: draw, self._raise)  # type: ignore[misc]
            for name in "xabc":
                self.ask(name)
            for _ in "abc":
                self.end()
            self.assertEqual("".join(self.begun), order)

    def test_over_at_once(self) -> None:
        """Thousands of slots that are released as soon as they are granted do not recurse."""
        limit = DialLimit(1, lambda: 0.5, self._raise)
        limit.request(partial(self.begin, "first"), has_failed=False)
        done: list[int] = []

        def fail(number: int, slot: DialSlot) -> None:
            done.append(number)
            slot.release()

        for number in range(5000):
            limit.request(partial(fail, number), has_failed=False)
        self.end()
        self.assertEqual(sorted(done), list(range(5000)))

    def test_broken(self) -> None:
        """When the callback raises, its slot is released, the others are served, and the exception
        goes to `failed`, not to whoever happened to release a slot."""
        errors: list[Exception] = []
        limit = DialLimit(1, lambda: 0.0, errors.append)

        def fail(slot: DialSlot) -> None:
            raise ValueError("injected")

        limit.request(partial(self.begin, "a"), has_failed=False)
        limit.request(partial(self.begin, "b"), has_failed=True)
        limit.request(fail, has_failed=False)
        self.end()
        self.assertEqual(self.begun, ["a", "b"])
        self.assertIsInstance(errors[0], ValueError)
        limit.request(partial(self.begin, "c"), has_failed=False)
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
        """Whatever happens, no more slots are held than there are, in all and by one source, and
        nobody waits while there is one."""
        under_way: list[DialSlot] = []
        waiting: dict[int, Callable[[DialSlot], None]] = {}
        sources: dict[int, set[str]] = {}
        limit = DialLimit(3, lambda: 0.5, self._raise, per_source=2)

        def begin(number: int, slot: DialSlot) -> None:
            del waiting[number]
            under_way.append(slot)

        for number, (step, names) in enumerate(steps):
            if step.startswith("ask"):
                waiting[number] = partial(begin, number)
                sources[number] = names or {""}
                limit.request(waiting[number], step == "ask again", names)
            elif step == "withdraw" and waiting:
                limit.withdraw(waiting.pop(min(waiting)))
            elif step == "also" and waiting:
                first = min(waiting)
                sources[first] = sources[first] | {"y"}
                limit.add_source(waiting[first], "y")
            elif step == "end" and under_way:
                under_way.pop(0).release()
            held = limit._held
            self.assertEqual(held.total(), len(under_way))
            self.assertLessEqual(len(under_way), 3)
            self.assertLessEqual(max(held.values(), default=0), 2)
            free = {source for each in waiting for source in sources[each] if held[source] < 2}
            self.assertTrue(len(under_way) == 3 or not free)
            self.assertEqual(
                set(limit._sources), {source for each in waiting for source in sources[each]}
            )


class SourcesTests(DialLimitCase):
    def test_one_after_the_other(self) -> None:
        """A source that wants thousands of slots delays the others by one of them."""
        self.limit = DialLimit(1, lambda: 0.0, self._raise)
        for number in range(5000):
            self.ask(f"m{number}", sources="m")
        for name in "abc":
            self.ask(name, has_failed=True, sources=name)
        for _ in range(4):
            self.end()
        self.assertEqual(self.begun[1:4], ["m4999", "a", "b"])
        self.assertEqual(self.begun[4:], ["c"])

    def test_at_most(self) -> None:
        """One source never holds all slots."""
        self.limit = DialLimit(3, lambda: 0.0, self._raise, per_source=2)
        for number in range(10):
            self.ask(f"m{number}", sources="m")
        self.ask("a", sources="a")
        self.assertEqual(self.begun, ["m0", "m1", "a"])

    def test_either(self) -> None:
        """A dial with several sources is served with the first of them, once."""
        self.limit = DialLimit(1, lambda: 0.0, self._raise)
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
        """A dial that waits with one source can be given another one, and be served with that."""
        for number in range(100):
            self.ask(f"m{number}", sources="m")
        self.limit.add_source(self.granted["m7"], "a")
        self.limit.add_source(self.granted["m0"], "a")  # it has a slot already
        self.end()
        self.end()
        self.assertIn("m7", self.begun)


class BudgetTests(DialLimitCase):
    """Slots that cost something."""

    def setUp(self) -> None:
        super().setUp()
        self.spent: list[str] = []
        budget = DialBudget(self.clock.seconds, self.spent.append)
        self.limit = DialLimit(4, lambda: 0.0, self._raise, 4, budget, self.clock)

    def dial(self, source: str, count: int, proved: bool = False) -> None:
        """So many dials, each of which ends at once."""

        def begin(slot: DialSlot) -> None:
            self.begun.append(source)
            if proved:
                slot.refund()
            slot.release()

        for _ in range(count):
            self.limit.request(partial(begin), False, (source,))

    def test_rate(self) -> None:
        """A source may make so many dials at once, then so many a second, and does not delay other
        sources."""
        self.dial("m", 4000)
        self.assertEqual(len(self.begun), BURST)
        self.assertEqual(self.spent, ["m"])
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertApproximates(len(self.begun), BURST + 60 * RATE, 1)
        self.dial("a", 20)
        self.assertEqual(self.begun[-20:], ["a"] * 20)

    def test_given_back(self) -> None:
        """Dials that lead to members cost nothing, however many there are."""
        self.dial("a", 4000, proved=True)
        self.assertEqual(len(self.begun), 4000)
        self.assertEqual(self.spent, [])

    def test_all(self) -> None:
        """All sources together are bounded, too."""
        for number in range(10):
            self.dial(f"m{number}", 400)
        self.assertEqual(len(self.begun), ALL_BURST)
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertApproximates(len(self.begun), ALL_BURST + 60 * ALL_RATE, 2)

    def test_stop(self) -> None:
        """Once stopped, nothing is granted, and no timer is left."""
        self.dial("m", 4000)
        self.limit.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sources_are_forgotten(self) -> None:
        """A bounded number of sources is remembered: those that have spent most."""
        budget = DialBudget(self.clock.seconds, self.spent.append)
        for _ in range(BURST):
            budget.take("m")
        self.clock.advance(ALL_BURST / ALL_RATE)
        for number in range(MAX_SOURCES + 10):
            budget.take(str(number))
            budget.give_back(str(number))
        self.assertLessEqual(len(budget._sources), MAX_SOURCES)
        self.assertIn("m", budget._sources)
