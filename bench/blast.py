"""UDP: how many datagrams a second arrive, at the offered rate at which most arrive.

A sender without limits takes the processor from the tunnel that is to carry its packets, and one
that is too slow measures itself. So each contender is first offered more and more until less comes
through, and is then measured at the rate that suited it best.
"""

from __future__ import annotations

from bench.contender import Contender
from bench.iperf import await_line
from bench.lab import Pair, finish
from bench.tools import compile_program

PORT = "5202"
LADDER = (25e3, 35e3, 50e3, 70e3, 100e3, 140e3, 200e3, 280e3, 400e3, 560e3, 0)
"""Offered rates in datagrams a second; 0 is as fast as the sender can."""
RUNG_SECONDS = 0.4
TOO_FAR = 0.7
"""The search ends where this share of the best so far is not reached."""


class Blast:
    """Datagrams of one size from left to right through one contender."""

    def __init__(self, pair: Pair, contender: Contender, size: int) -> None:
        self._pair, self._to, self._size = pair, contender.right, size
        self._program = compile_program("blast", pair.directory.parent)
        self._best_offer = self._search()

    def delivered(self, seconds: float) -> float:
        """Datagrams that arrive in a second."""
        return self._offer(self._best_offer, seconds)

    def _search(self) -> float:
        best_offer = best = 0.0
        for offer in LADDER:
            delivered = self._offer(offer, RUNG_SECONDS)
            if delivered > best:
                best_offer, best = offer, delivered
            elif delivered < TOO_FAR * best:
                break
        return best_offer

    def _offer(self, rate: float, seconds: float) -> float:
        left, right = self._pair.hosts
        receiver = right.start_tool(self._program, "receive", PORT, f"{seconds}")
        await_line(receiver, "ready")
        to = (self._to, PORT, str(self._size), f"{rate:.0f}", f"{seconds + 0.1}")
        left.run(self._program, "send", *to)
        return int(finish(receiver)) / seconds
