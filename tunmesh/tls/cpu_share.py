"""The share of the processor for clients that have not authenticated.

A burst of work is done at once. Then nothing is done for any client, and none is accepted, until
the burst has been paid for with time. So clients get `SHARE` of the time in the long run, and links
the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime

from tunmesh.rate_limit import TokenBucket

SHARE = 1 / 3  # of the time, when links want it too
BURST = 0.005  # seconds of work before any of it is paid for


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """The seconds so far that this thread ran, and that it was ready to run and had to wait for a
    processor."""

    worked: Callable[[], float]
    waited: Callable[[], float]


UNMEASURED = CpuTimes(lambda: 0.0, lambda: 0.0)


class CpuShare:
    """Charges work to a budget, and pauses ports when that is spent. `resuming()` is called when
    there is budget again, just before the ports accept connections again."""

    def __init__(
        self, clock: IReactorTime, cpu: CpuTimes, resuming: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._resuming = resuming
        self._budget = TokenBucket(BURST, SHARE, self._now())
        self.is_spent = False  # nothing may be done for clients now
        self._ports: list[Any] = []

    def pause_also(self, *ports: Any) -> None:
        """Pause these ports, too, when the budget is spent."""
        self._ports += ports

    def run(self, task: Callable[[], None]) -> None:
        """Do something for a client, and charge the time that it takes, also when it fails."""
        began = self._cpu.worked()
        try:
            task()
        finally:
            self.charge(self._cpu.worked() - began)

    def charge(self, seconds: float) -> None:
        """So much work was done for clients."""
        now = self._now()
        self._budget.take(now, seconds)
        pause = self._budget.pause(now)
        if pause and not self.is_spent:
            self.is_spent = True
            for port in self._ports:
                port.pauseProducing()
            self._clock.callLater(pause, self._go_on)

    def _now(self) -> float:
        """The time without that in which this thread had to wait for a processor: the node could
        not have worked then, so it pays for nothing."""
        return self._clock.seconds() - self._cpu.waited()

    def _go_on(self) -> None:
        self.is_spent = False
        self.charge(0.0)  # more may have been charged since, or the thread had to wait
        if not self.is_spent:
            self._resuming()
            for port in self._ports:
                port.resumeProducing()
