"""A clock that stands still until it is told to go on, for whole meshes of hundreds of nodes.

It differs from Twisted's `task.Clock` in two ways. Each call happens at its own time, not all of
them at the end of the step: how large the steps are makes no difference to what happens. And calls
wait in a heap: `task.Clock` sorts all of them at every `callLater`, of which a mesh of a hundred
nodes has some ten thousand waiting at any time. Calls that are due at the same time happen in the
order in which they were made.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class FakeClock:
    """Time passes in `advance` only."""

    def __init__(self) -> None:
        self._now = 0.0
        self._made = 0
        self._waiting: list[tuple[float, int, DelayedCall]] = []  # some of them cancelled since

    def seconds(self) -> float:
        return self._now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 (the interface names it so)
        *args: object,
        **kwargs: object,
    ) -> DelayedCall:
        time = self._now + delay
        call = DelayedCall(time, callable, args, kwargs, _leave, self._wait, self.seconds)
        self._wait(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        return [call for _, _, call in self._waiting if call.active()]

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and do what falls due in it."""
        end = self._now + seconds
        while self._waiting and self._waiting[0][0] <= end:
            time, _, call = heappop(self._waiting)
            if call.active() and call.getTime() > time:
                self._wait(call)  # it was put off
            elif call.active():
                self._now = max(self._now, time)
                call.called = 1
                call.func(*call.args, **call.kw)
        self._now = end

    def _wait(self, call: DelayedCall) -> None:
        self._made += 1
        heappush(self._waiting, (call.getTime(), self._made, call))


def _leave(_call: DelayedCall) -> None:
    """What was cancelled stays where it is until it would have been due."""
