"""A fake clock for meshes of hundreds of nodes.

It differs from Twisted's `task.Clock` in two ways. Each call runs at its own time, not at the end
of the step, so the size of the steps makes no difference. And calls are kept in a heap:
`task.Clock` sorts all of them at every `callLater`, and a mesh of a hundred nodes has some ten
thousand waiting at any time. Calls that are due at the same time run in the order in which they
were scheduled.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

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
        # Those that are not, until one comes or goes: every node of a mesh may ask for them.
        self._active: list[DelayedCall] | None = None

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
        call = DelayedCall(time, callable, args, kwargs, self._leave, self._wait, self.seconds)
        self._wait(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        if self._active is None:
            self._active = [call for _, _, call in self._waiting if call.active()]
        return self._active

    def until_next_call(self) -> float:
        """How long nothing is due, in seconds; infinite without any call."""
        while self._waiting and not self._waiting[0][2].active():
            heappop(self._waiting)
        return self._waiting[0][0] - self._now if self._waiting else inf

    def advance(self, seconds: float) -> None:
        """Advance by so many seconds, and run the calls that become due."""
        end = self._now + seconds
        while self._waiting and self._waiting[0][0] <= end:
            time, _, call = heappop(self._waiting)
            self._active = None
            if call.active() and call.getTime() > time:
                self._wait(call)  # it was delayed
            elif call.active():
                self._now = max(self._now, time)
                call.called = 1
                call.func(*call.args, **call.kw)
        self._now = end

    def _wait(self, call: DelayedCall) -> None:
        self._made += 1
        self._active = None
        heappush(self._waiting, (call.getTime(), self._made, call))

    def _leave(self, _call: DelayedCall) -> None:
        """A cancelled call stays in the heap until it would have been due."""
        self._active = None
