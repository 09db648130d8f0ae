"""The delayed calls of a node."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.timers import Timers


class TimersTests(SynchronousTestCase):
    """At most one call of each name is pending."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.calls: list[str] = []

    def call_within(self, name: str, delay: float) -> None:
        self.timers.call_within(name, delay, lambda: self.calls.append(name))

    def test_sooner_or_later(self) -> None:
        """A call can be brought forward, not put off; then it may be asked for again."""
        self.call_within("a", 2.0)
        self.call_within("b", 1.5)
        self.call_within("a", 1.0)
        self.call_within("a", 3.0)
        self.clock.advance(1.0)
        self.assertEqual(self.calls, ["a"])
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.calls, ["a", "b"])
        self.call_within("a", 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.calls, ["a", "b", "a"])

    def test_stopped(self) -> None:
        """After it was stopped nothing is called, and nothing can be asked for."""
        self.call_within("a", 1.0)
        self.timers.stop()
        self.call_within("b", 1.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(2.0)
        self.assertEqual(self.calls, [])
