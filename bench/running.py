"""A running contender, and what scenarios use of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bench.blast import Blast
from bench.contender import Contender
from bench.iperf import Iperf
from bench.lab import Ground, Lab
from bench.probe import await_first_packet

Figures = dict[str, float]


@dataclass
class Running:
    """A running contender on its ground."""

    contender: Contender
    ground: Ground
    lab: Lab
    blasts: dict[int, Blast] = field(default_factory=dict)
    """By datagram size: remembers the best offered rate for this contender."""
    mesh: Running | None = None
    """The same contender on four hosts, once a scenario has needed it."""

    def iperf(self, seconds: int, *how: str) -> Iperf:
        """A test from the left to the right host."""
        ground = self.ground
        return Iperf(ground.left, ground.right, self.contender.right, seconds, *how)

    def cpu_seconds(self) -> float:
        """CPU time of all ends."""
        return sum(host.cpu_seconds() for host in self.ground.hosts)


def bring_up(contender: Contender, ground: Ground) -> float:
    """Start a contender on a fresh ground; returns the seconds until the first packet came
    through."""
    contender.prepare(ground)
    began = time.monotonic()
    contender.start(ground)
    await_first_packet(ground, contender.right)
    return time.monotonic() - began
