"""A timer: one delayed call at a time."""

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
