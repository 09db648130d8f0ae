"""How much memory is for what waits for peers, or has come from them only in part.

Each link has bounds of its own, but a member may have thousands of links. So all of them share one
budget: queues of packets, messages and packets that a socket did not take, frames that are not
whole yet.

The rule (dynamic threshold, Choudhury and Hahne 1998): what one source holds may not be more than
what is left for everybody. One source that hoards gets half of the budget, two get a third each,
and there is always as much left for one more. A source is an IPv4 address or an IPv6 /64
(tunmesh.strangers), since one member can have any number of identities but not of addresses.

What waits is kept below that by shedding packets. A link of a source that is above it all the same,
by messages that it does not read or frames that it does not finish, ends.
"""

from __future__ import annotations

from collections import Counter

DEFAULT = 64 << 20  # bytes
LEAST = 4 << 20  # less would not do for a few busy links


class MemoryBudget:
    """`limit` bytes for all links of one node; `held` of them are taken now. `is_ample`: less than
    half of them are, so nobody need look at the room that is left before each write."""

    def __init__(self, limit: int = DEFAULT) -> None:
        self.limit = limit
        self.held = 0
        self.is_ample = True
        self._sources: Counter[str] = Counter()

    def account(self, source: str) -> Account:
        """What one link from this source holds. It is to be emptied when the link is gone."""
        return Account(self, source)

    def held_by(self, source: str) -> int:
        """Bytes that the links of one source hold."""
        return self._sources[source]

    def change(self, source: str, size: int) -> None:
        """A link from this source holds so many bytes more."""
        self.held += size
        self.is_ample = 2 * self.held < self.limit
        self._sources[source] += size
        if not self._sources[source]:
            del self._sources[source]


class Account:
    """What is held for one link."""

    __slots__ = ("_budget", "_source", "held")

    def __init__(self, budget: MemoryBudget, source: str) -> None:
        self._budget = budget
        self._source = source
        self.held = 0

    @property
    def room(self) -> int:
        """How many bytes more it may hold."""
        budget = self._budget
        return max(0, (budget.limit - budget.held - budget.held_by(self._source)) // 2)

    @property
    def is_exceeded(self) -> bool:
        """Whether its source holds more than is left for everybody."""
        budget = self._budget
        return budget.held_by(self._source) > budget.limit - budget.held

    def hold(self, size: int) -> None:
        """It holds so many bytes now."""
        if size != self.held:
            self._budget.change(self._source, size - self.held)
            self.held = size
