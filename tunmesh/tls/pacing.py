"""How much a link writes at a time, so that what it has written is sent soon.

Until a packet is written it waits in the link's own queue, where a ping overtakes bulk data and
late packets are dropped. Once written it waits behind all that was written before: 256 KB take a
third of a millisecond on a fast link, and a fifth of a second at 10 Mbit/s. So the link finds out
how much its transport sends in `WRITE_TIME`, writes about as much at a time, and has the kernel
keep no more than that unsent. A write that takes longer shrinks the next one in proportion; one
that takes less than half of that time doubles it.

Packets are not split: one that is larger than the budget is written alone.
"""

from __future__ import annotations

WRITE_TIME = 0.01  # seconds that what was written should take to be sent
MAX_BUDGET = 1 << 18  # bytes of packets for one write
MIN_BUDGET = 1 << 12


class Budget:
    """The size of one write: `bytes` of packets. `now` is in seconds of any one clock."""

    def __init__(self) -> None:
        self.bytes = MAX_BUDGET
        self._paused: float | None = None

    def taken(self) -> bool:
        """A whole budget was written in little or no time. Returns whether the budget has
        changed."""
        return self._set(min(2 * self.bytes, MAX_BUDGET))

    def paused(self, now: float) -> None:
        """The transport accepts no more until what was written has been sent."""
        if self._paused is None:
            self._paused = now

    def resumed(self, now: float) -> bool:
        """That has been sent. Returns whether the budget has changed."""
        since, self._paused = self._paused, None
        took = WRITE_TIME if since is None else now - since
        if took > WRITE_TIME:
            return self._set(max(int(self.bytes * WRITE_TIME / took), MIN_BUDGET))
        return took < WRITE_TIME / 2 and self.taken()

    def _set(self, size: int) -> bool:
        before, self.bytes = self.bytes, size
        return size != before
