"""How much a link writes at a time, so that what it has written is sent soon.

Until a packet is written it waits in the link's own queue, where a ping overtakes bulk and what is
late is dropped. Once it is written it waits in line, behind all that was written before it: 256 KB
are a third of a millisecond of a fast link, and a fifth of a second of one with 10 Mbit/s. So the
link finds out what its transport sends in `WRITE_TIME`, writes about as much at a time, and has the
kernel keep no more than that unsent. A write that takes longer cuts the next one in proportion, one
that takes less than half of it doubles it.

A packet is not cut: what is larger than the budget is written alone.
"""

from __future__ import annotations

WRITE_TIME = 0.01  # seconds that what was written should take to be sent
MAX_BUDGET = 1 << 18  # bytes of packets for one write
MIN_BUDGET = 1 << 12


class Budget:
    """`bytes` of packets are for one write. `now` is in seconds of any one clock."""

    def __init__(self) -> None:
        self.bytes = MAX_BUDGET
        self._paused: float | None = None

    def taken(self) -> bool:
        """A whole budget was written, and took no time or little. Whether it is another one now."""
        return self._set(min(2 * self.bytes, MAX_BUDGET))

    def paused(self, now: float) -> None:
        """The transport takes no more: what was written has to be sent first."""
        if self._paused is None:
            self._paused = now

    def resumed(self, now: float) -> bool:
        """Now it was. Whether the budget is another one now."""
        since, self._paused = self._paused, None
        took = WRITE_TIME if since is None else now - since
        if took > WRITE_TIME:
            return self._set(max(int(self.bytes * WRITE_TIME / took), MIN_BUDGET))
        return took < WRITE_TIME / 2 and self.taken()

    def _set(self, size: int) -> bool:
        before, self.bytes = self.bytes, size
        return size != before
