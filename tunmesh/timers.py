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

    @property
    def left(self) -> float | None:
        """Seconds until the call; None: none is to come."""
        if self._call is None or not self._call.active():
            return None
        return max(0.0, self._call.getTime() - self._clock.seconds())

    def start(self, delay: float, call: Callable[[], None]) -> None:
        """Call this after so many seconds."""
        self.stop()
        self._call = self._clock.callLater(delay, call)

    def start_within(self, delay: float, call: Callable[[], None]) -> None:
        """Call after this delay, or sooner if the call that is to come is due sooner."""
        left = self.left
        if left is None or left > delay:
            self.start(delay, call)

    def stop(self) -> None:
        """Call nothing."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


class Timers:
    """At most one call of each name is pending. After `stop` nothing is called any more."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timers: dict[str, Timer] = {}
        self._is_stopped = False

    def call_within(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call after this delay, or sooner if a call of this name is due sooner."""
        if not self._is_stopped:
            timer = self._timers.get(name)
            if timer is None:
                timer = self._timers[name] = Timer(self._clock)
            timer.start_within(delay, call)

    def stop(self) -> None:
        """Cancel all calls."""
        self._is_stopped = True
        for timer in self._timers.values():
            timer.stop()
