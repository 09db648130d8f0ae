"""How much memory is used for what waits for peers, or has been received from them only in part.

Each link has bounds of its own, but a member may have thousands of links. So all links share one
budget: queued packets, messages and packets that a socket did not take, incomplete frames.

The rule (dynamic threshold, Choudhury and Hahne 1998): one source may not hold more than what is
left for everybody. One source that hoards gets half of the budget, two get a third each, and as
much is always left for one more. A source is an IPv4 address or an IPv6 /64 (tunmesh.addresses),
since one member can have any number of identities but not of addresses.

Packets are kept below the bound by dropping them. What cannot be dropped is `pinned`: messages that
a peer does not read, frames that it does not finish. When pinned bytes alone exceed the bound, the
link of that source ends that has most of them, and no other one: nodes behind the same NAT as a
member that hoards, and those that come by third nodes as it does, do not pay for it. A link whose
packets were within the bound before others came does not end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

DEFAULT = 64 << 20  # bytes
LEAST = 4 << 20  # less is not enough for a few busy links
TOO_MUCH = "its address holds more than its share of process/memory_budget"


class MemoryBudget:
    """`limit` bytes for all links of one node, of which `held` are in use. `is_ample`: less than
    half of them are, so the room that is left need not be checked before each write."""

    def __init__(self, limit: int = DEFAULT) -> None:
        self.limit = limit
        self.held = self._peak = 0
        self.is_ample = True
        self._sources: Counter[str] = Counter()
        self._pinned: Counter[str] = Counter()
        self._pinning: dict[Account, None] = {}  # who has some

    def account(self, source: str, end: Callable[[], None] = lambda: None) -> Account:
        """What one link from this source holds. Call `hold(0)` when the link is gone. `end()` ends
        it: it has more pinned than any other one, of a source that has too much."""
        return Account(self, _Holder(source), end)

    def held_by(self, source: str) -> int:
        """Bytes that the links of one source hold."""
        return self._sources[source]

    def pinned_by(self, source: str) -> int:
        """Bytes of them that cannot be dropped."""
        return self._pinned[source]

    def has_fallen(self, size: int) -> bool:
        """Whether the bytes held have fallen by that many from their peak since the last call."""
        peak, self._peak = self._peak, self.held
        return peak - self.held >= size

    def change(self, source: str, size: int, pinned: int) -> None:
        """Add so many bytes to what this source holds, and to what it has pinned."""
        self.held += size
        self._peak = max(self._peak, self.held)
        self.is_ample = 2 * self.held < self.limit
        for counts, more in ((self._sources, size), (self._pinned, pinned)):
            counts[source] += more
            if not counts[source]:
                del counts[source]

    def note_pinned(self, account: Account, has_some: bool) -> None:
        """An account has something pinned, or nothing any more."""
        if has_some:
            self._pinning[account] = None
        else:
            del self._pinning[account]

    def settle(self, source: str) -> None:
        """If a source has more pinned than is left for everybody, end who has most of it."""
        while self._pinned[source] > max(0, self.limit - self.held):
            those = (account for account in self._pinning if account.source == source)
            max(those, key=lambda account: account.pinned).give_up()


class _Holder:
    """Whoever makes this node hold something: all that is in its accounts, and where it comes from
    now."""

    __slots__ = ("held", "pinned", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.held = self.pinned = 0

    def change(self, size: int, pinned: int) -> None:
        self.held += size
        self.pinned += pinned


class Account:
    """What one link holds, or one direction of it, or what a peer makes this node hold."""

    __slots__ = ("_budget", "_end", "_holder", "held", "pinned")

    def __init__(
        self, budget: MemoryBudget, holder: _Holder, end: Callable[[], None] = lambda: None
    ) -> None:
        self._budget = budget
        self._holder = holder
        self._end = end
        self.pinned = 0
        self.held = 0

    def another(self) -> Account:
        """For something else that the same peer makes this node hold. It moves with this one."""
        return Account(self._budget, self._holder)

    def move(self, source: str) -> None:
        """What is in this account, and in all others of the same peer, counts for this source from
        now on."""
        holder, budget = self._holder, self._budget
        budget.change(holder.source, -holder.held, -holder.pinned)
        holder.source = source
        budget.change(source, holder.held, holder.pinned)

    @property
    def room(self) -> int:
        """How many bytes more it may hold."""
        budget = self._budget
        return max(0, (budget.limit - budget.held - budget.held_by(self._holder.source)) // 2)

    @property
    def source(self) -> str:
        return self._holder.source

    def settle(self) -> None:
        """If its source has more pinned than is left for everybody, a link of it ends, perhaps this
        one."""
        self._budget.settle(self.source)

    def give_up(self) -> None:
        """End the link. What it holds is released when that is gone, soon."""
        self.hold(0)
        self._end()

    def hold(self, size: int, pinned: int = 0) -> None:
        """It holds this many bytes now, and has this many of them pinned."""
        if (size, pinned) != (self.held, self.pinned):
            more, more_pinned = size - self.held, pinned - self.pinned
            self._holder.change(more, more_pinned)
            self._budget.change(self.source, more, more_pinned)
            if bool(pinned) != bool(self.pinned):
                self._budget.note_pinned(self, bool(pinned))
            self.held, self.pinned = size, pinned
