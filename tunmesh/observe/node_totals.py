"""The traffic with each node, by its name, over all its incarnations and links.

Counters must not go back to zero when a node restarts, and must not stay for ever when it is gone
for good: an entry is kept until its node has not been linked for `ttl` seconds. Operators name
their nodes, so there are few names; they are bounded all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tunmesh.status.traffic import RTT_BUCKETS, Histogram, Traffic

MAX_NAMES = 4096


class NodeTotals:
    """The totals of one node name."""

    __slots__ = ("latency", "parted", "traffic")

    def __init__(self) -> None:
        self.traffic = Traffic()  # with its incarnations that are gone
        self.latency = Histogram(RTT_BUCKETS)  # one way: half a round trip
        self.parted: float | None = None  # when its last link ended; None while there is one


class Totals:
    """The totals by name. `now` is in seconds of any clock that only goes forward."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._by_name: dict[str, NodeTotals] = {}

    def __iter__(self) -> Iterator[tuple[str, NodeTotals]]:
        return iter(self._by_name.items())

    def join(self, name: str) -> None:
        """A node of this name is linked."""
        if name in self._by_name or len(self._by_name) < MAX_NAMES:
            self._by_name.setdefault(name, NodeTotals()).parted = None

    def part(self, now: float, name: str, traffic: Traffic, still_linked: Iterable[str]) -> None:
        """A node of this name is no longer linked; `traffic` was exchanged with it."""
        totals = self._by_name.get(name)
        if totals is not None:
            totals.traffic.add(traffic)
            totals.parted = None if name in still_linked else now

    def round_trip(self, name: str, seconds: float) -> None:
        totals = self._by_name.get(name)
        if totals is not None:
            totals.latency.observe(seconds / 2)

    def groom(self, now: float) -> None:
        """Forget those that have been gone for long enough."""
        for name, totals in list(self._by_name.items()):
            if totals.parted is not None and now - totals.parted >= self._ttl:
                del self._by_name[name]
