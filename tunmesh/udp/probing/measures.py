"""What pings over UDP measure: the round trip of a path, and how much of what is sent is lost.

No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

_RECENT = 30.0  # seconds of one of the two periods that a minimum is taken from

# Datagrams that a measurement of loss is made from, and seconds after which fewer are enough.
WINDOW, FEWER = 500, 100
WINDOW_TIME = 30.0
_LEAST = 1e-5  # share; less is what is left of measurements before
_PREVIOUS = 0.5  # the weight of the measurements before


class RoundTrip:
    """Round trips of one path: the smoothed one (RFC 6298), and the shortest of the last minute."""

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._latest = 0.0
        self._variation = 0.0
        self._periods: list[tuple[int, float]] = []  # number of the period, its minimum

    def measured(self, now: float, rtt: float) -> None:
        self._latest = rtt
        if self.smoothed is None:
            self.smoothed, self._variation = rtt, rtt / 2
        else:
            self._variation += (abs(self.smoothed - rtt) - self._variation) / 4
            self.smoothed += (rtt - self.smoothed) / 8
        period = int(now // _RECENT)
        if self._periods and self._periods[-1][0] == period:
            self._periods[-1] = period, min(self._periods[-1][1], rtt)
        else:
            self._periods = [*self._periods[-1:], (period, rtt)]

    @property
    def shortest(self) -> float | None:
        """Of the last minute in which there were measurements."""
        return min((rtt for _, rtt in self._periods), default=None)

    @property
    def expected(self) -> float:
        """What the next one will take at most, as far as can be told; 0 if nothing is known."""
        if self.smoothed is None:
            return 0.0
        return max(self._latest, self.smoothed + 4 * self._variation)


class Loss:
    """How much of what this node sends on a path is lost, by what its pongs count. A datagram that
    is overtaken is counted as lost at first, and given back when it has come."""

    def __init__(self) -> None:
        self.lost = 0  # datagrams, ever
        self._total = 0  # the same, but it may become less
        self._share: float | None = None  # it may be negative
        self._start: tuple[float, int, int] | None = None  # time, received, highest

    @property
    def share(self) -> float | None:
        """0 to 1; None: too little was sent."""
        if self._share is None:
            return None
        return min(1.0, self._share) if self._share >= _LEAST else 0.0

    def restart(self) -> None:
        """Count anew: another session, or pings were lost that say nothing about the path."""
        self._start = None

    def counted(self, now: float, received: int, highest: int) -> None:
        """The other end has received so many, and this is the highest counter among them."""
        if self._start is None or highest < self._start[2] or received < self._start[1]:
            self._start = now, received, highest
            return
        since, before, lowest = self._start
        sent, arrived = highest - lowest, received - before
        is_old = now - since >= WINDOW_TIME
        if sent < (FEWER if is_old else WINDOW):
            if is_old:
                self._start = now, received, highest
            return
        lost = max(sent - arrived, -sent)
        share = lost / sent
        before_it = share if self._share is None else self._share
        self._share = _PREVIOUS * before_it + (1 - _PREVIOUS) * share
        self._total += lost
        self.lost = max(self.lost, self._total)
        self._start = now, received, highest
