"""UDP throughput: the datagrams delivered per second, at the offered rate that suits best.

An unlimited sender takes CPU time away from the tunnel under test, and one that is too slow only
measures itself. So the offered rate is first raised until fewer datagrams arrive, and each
contender is then measured at its best rate.
"""

from __future__ import annotations

from bench.contender import Contender
from bench.iperf import await_line
from bench.lab import Ground, finish
from bench.tools import compile_program

PORT = "5202"
LADDER = (25e3, 50e3, 100e3, 200e3, 400e3, 0)
"""Offered rates in datagrams per second; 0 is as fast as possible."""
BETWEEN = 2**0.5
"""The best of these rates is also tried multiplied and divided by this."""
RUNG_SECONDS = 0.3
TOO_FAR = 0.7
"""The search ends when fewer than this share of the best result arrive."""


class Blast:
    """Sends datagrams of one size from left to right through one contender."""

    def __init__(self, ground: Ground, contender: Contender, size: int) -> None:
        self._ground, self._to, self._size = ground, contender.right, size
        self._program = compile_program("blast", ground.directory.parent)
        self._best_offer = self._search()

    def delivered(self, seconds: float) -> float:
        """Datagrams delivered per second."""
        return self._offer(self._best_offer, seconds)

    def _search(self) -> float:
        delivered: dict[float, float] = {}
        for offer in LADDER:
            delivered[offer] = self._offer(offer, RUNG_SECONDS)
            if delivered[offer] < TOO_FAR * max(delivered.values()):
                break
        best = max(delivered, key=lambda offer: delivered[offer])
        for offer in {best / BETWEEN, best * BETWEEN} - {0}:
            delivered[offer] = self._offer(offer, RUNG_SECONDS)
        return max(delivered, key=lambda offer: delivered[offer])

    def _offer(self, rate: float, seconds: float) -> float:
        receiver = self._ground.right.start_tool(self._program, "receive", PORT, f"{seconds}")
        await_line(receiver, "ready")
        to = (self._to, PORT, str(self._size), f"{rate:.0f}", f"{seconds + 0.1}")
        self._ground.left.run(self._program, "send", *to)
        return int(finish(receiver)) / seconds
