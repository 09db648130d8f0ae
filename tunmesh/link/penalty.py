"""Useless frames: packets that are dropped, and messages. They cost as much to read as packets that
are carried.

Of `BURST` and then `RATE` a second nobody takes notice; whoever sends more is not read for as long
as that is too many, which leaves the others what he would have taken. An honest peer is far below:
a packet is dropped only until both ends know of a change of routes, which is a round trip or little
more, and messages are a few a second. Should it happen to him nevertheless, nothing is lost but
time: his transport has to wait, as with a slow peer.
"""

from __future__ import annotations

RATE = 10_000  # frames a second: some 3 % of a processor
BURST = 20_000  # at once: a fifth of a second of 100,000 packets a second
MAX_REST = 0.5  # seconds that a peer is not read at a time: byes and pings come soon enough


class Waste:
    """Of one peer. `now` is in seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._useless = 0.0  # frames, less those that have been forgiven since
        self._since = now  # when that was worked out

    def note(self, now: float, count: int) -> float:
        """So many more. For how many seconds he should not be read."""
        forgiven = (now - self._since) * RATE
        self._useless, self._since = max(0.0, self._useless - forgiven) + count, now
        return min(max(0.0, self._useless - BURST) / RATE, MAX_REST)
