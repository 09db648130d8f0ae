"""The network of a simulation: paths of different latency, and network faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tunmesh.testing.clock import FakeClock
from tunmesh.testing.network import Dialing, Network

SHORTEST, LONGEST = 0.0005, 0.05  # seconds, one way
BALANCER = "198.51.100.1"  # what connects here is led to any host, the one that dials included
CLOSED, SILENT = "198.51.100.2", "198.51.100.3"  # where dials go that fail


class FaultyNetwork(Network):
    """All randomness is drawn from `source`. `hosts()` returns the existing hosts."""

    def __init__(
        self, clock: FakeClock, source: random.Random, hosts: Callable[[], list[str]]
    ) -> None:
        super().__init__(clock)
        self.failing = 0.0  # the share of dials that fail
        self.has_names = True
        self.gone.add(SILENT)
        self._random = source
        self._hosts = hosts
        self._latencies: dict[frozenset[str], float] = {}

    def latency_between(self, one: str, other: str) -> float:
        way = frozenset((one, other))
        if way not in self._latencies:
            self._latencies[way] = self._random.uniform(SHORTEST, LONGEST)
        return self._latencies[way]

    def lookup(self, name: str) -> list[str]:
        """In another order each time, as dialing.resolver gives them."""
        found = super().lookup(name)
        if name[0].isdigit():
            return found
        return self._random.sample(found, len(found)) if self.has_names else []

    def connect(self, here: str, there: str, port: int, factory: Any, timeout: float) -> Dialing:
        if there == BALANCER:
            there = self._random.choice(self._hosts())
        if self._random.random() < self.failing:
            there = self._random.choice((CLOSED, SILENT))
        return super().connect(here, there, port, factory, timeout)
