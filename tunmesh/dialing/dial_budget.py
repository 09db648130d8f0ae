"""Bounds the dials that a member may cause and that lead to no member.

A node dials the nodes that others vouch for, and a member can vouch for anything: without a bound
it could have all others connect to any address and port, to scan it or to flood it. A further
address of a name counts as one more dial. A dial that ends in a link is refunded, so a mesh that
starts as a whole never pays. Of the others each source of introductions has `BURST` at once and
then `RATE` a second, and all sources together `ALL_BURST` and `ALL_RATE`: many honest nodes may
vouch for the member, and each of them pays for dialing its targets.

A source is where the vouching node connects from (addresses.source_of), so all identities of one
member at one address share one budget. A dial is charged to one source only: a target that several
sources vouch for is dialed as long as one of them can pay.

Bootstrap URLs are not charged, as the operator chose them. Nor are lost nodes, whose pace is
limited separately (membership.lost_nodes).

The machine does no I/O and reads no clock but `seconds`.
"""

from __future__ import annotations

from collections.abc import Callable

from tunmesh.rate_limit import TokenBucket

BURST, RATE = 100, 1.0  # of one source: dials at once, dials a second
ALL_BURST, ALL_RATE = 256, 8.0  # of all sources together
MAX_SOURCES = 1024  # remembered; those that have spent least are forgotten


class DialBudget:
    """The budgets of one node. `spent(source)` is told when a source has nothing left."""

    def __init__(self, seconds: Callable[[], float], spent: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._spent = spent
        self._all = TokenBucket(ALL_BURST, ALL_RATE, seconds())
        self._sources: dict[str, TokenBucket] = {}

    def wait(self, source: str) -> float:
        """Seconds until this source can pay for a dial."""
        now = self._seconds()
        bucket = self._sources.get(source)
        return max(self._all.wait(now), bucket.wait(now) if bucket is not None else 0.0)

    def take(self, source: str) -> None:
        """This source pays for a dial."""
        now = self._seconds()
        bucket = self._sources.get(source)
        if bucket is None:
            self._make_room(now)
            bucket = self._sources[source] = TokenBucket(BURST, RATE, now)
        self._all.take(now)
        bucket.take(now)
        if bucket.wait(now):
            self._spent(source)

    def give_back(self, source: str) -> None:
        """A dial that this source paid for led to a member."""
        now = self._seconds()
        self._all.give_back(now)
        bucket = self._sources.get(source)
        if bucket is not None:
            bucket.give_back(now)

    def _make_room(self, now: float) -> None:
        if len(self._sources) < MAX_SOURCES:
            return
        by_level = sorted(self._sources, key=lambda each: self._sources[each].level(now))
        for source in by_level[MAX_SOURCES // 2 :]:
            del self._sources[source]
