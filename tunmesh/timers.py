"""Delayed calls: one at a time, or several, each under a name."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """Calls once. To start it again replaces the call that is to come."""

    __slots__ = ("_call", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    @property
    def is_running(self) -> bool:
        return self._call is not None and self._call.active()

    def start(self, delay: float, call: Callable[[], None]) -> None:
        """Call this after so many seconds."""
        self.stop()
        self._call = self._clock.callLater(delay, call)

    def stop(self) -> None:
        """Call nothing."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


class Timers:
    """At most one call of each name is pending. After `stop` nothing is called any more."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: dict[str, IDelayedCall] = {}
        self._is_stopped = False

    def call_within(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call after this delay, or sooner if a call of this name is due sooner."""
        pending = self._calls.get(name)
        if self._is_stopped:
            return
        if pending is None or not pending.active():
            self._calls[name] = self._clock.callLater(delay, call)
        elif pending.getTime() > self._clock.seconds() + delay:
            pending.reset(delay)

    def stop(self) -> None:
        """Cancel all calls."""
        self._is_stopped = True
        for pending in self._calls.values():
            if pending.active():
                pending.cancel()
