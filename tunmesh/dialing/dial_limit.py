"""Who may dial now: so many at a time, the others wait for their turn.

A mesh that starts as a whole would otherwise have every node dial all others in the same moment:
more handshakes than the machines can do before they time out, and so to be done again. And a member
that vouches for thousands of nodes that do not exist would cost a socket for each.

**Sources.** Each dial has sources: where those come from who vouch for the node that is dialed
(tls.admission: one member can have many identities, but not many addresses). Sources are served one
after the other, so thousands of nodes that one member made up keep nobody waiting whom others vouch
for, and no source has more than `each` turns. A node that several sources vouch for waits with all
of them, and goes with the first. Each dial is charged to the budget of the source that it went with
(dialing.dial_budget); a source that has spent its budget is passed over until it has some.

Of one source, whoever has not failed yet goes first, so that nodes that do not answer, once tried,
are in nobody's way. Among equals chance decides: everybody hears of the others in the same order,
and would call on them in that order, all on the same one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Protocol

MAX_SOURCES = 16  # that one dial waits with


class Budget(Protocol):
    """What sources may spend. dialing.dial_budget.DialBudget is one."""

    def wait(self, source: str) -> float:
        """Seconds until this source can pay for a dial."""

    def take(self, source: str) -> None: ...
    def give_back(self, source: str) -> None: ...


class Unlimited:
    """The budget of who dials for its own reasons."""

    def wait(self, source: str) -> float:
        return 0.0

    def take(self, source: str) -> None:
        """It costs nothing."""

    def give_back(self, source: str) -> None:
        """Nothing was taken."""


class Turn:
    """A turn, to be ended once by whoever has it; `ended` and `paid` do what that takes."""

    def __init__(self, ended: Callable[[], None], paid: Callable[[], None]) -> None:
        self._ended = ended
        self._paid = paid
        self.is_over = self._is_proved = False

    def end(self) -> None:
        """Others may have their turn. To say it again does no harm."""
        if not self.is_over:
            self.is_over = True
            self._ended()

    def proved(self) -> None:
        """The dial led to a member, so it costs its source nothing; also after the end."""
        if not self._is_proved:
            self._is_proved = True
            self._paid()


Begin = Callable[[Turn], None]


class Turns:
    """At most `most` turns at a time, and of one source at most `each`. `draw()`: a random number
    from 0 to 1. `broke(error)` is told of an exception that a `begin` raised: that turn is over,
    and the others get theirs. `reactor` is needed where the budget has an end."""

    def __init__(
        self,
        most: int,
        draw: Callable[[], float],
        broke: Callable[[Exception], None],
        each: int | None = None,
        budget: Budget | None = None,
        reactor: Any = None,
    ) -> None:
        self._free = most
        self._each = most if each is None else each
        self._draw = draw
        self._broke = broke
        self._budget = budget or Unlimited()
        self._reactor = reactor
        self._sources: dict[str, _Source] = {}  # the one that was served last at the end
        self._waiting: dict[Begin, _Waiting] = {}
        self._held: Counter[str] = Counter()  # turns, by source
        self._is_giving = False
        self._wake: Any = None  # when the budget of a source comes back

    def ask(self, begin: Begin, has_failed: bool, sources: Collection[str] = ("",)) -> None:
        """`begin` is called with a turn when that has come, perhaps at once."""
        self._waiting[begin] = waiting = _Waiting(has_failed)
        for source in tuple(sources)[:MAX_SOURCES] or ("",):
            self._enqueue(begin, waiting, source)
        self._give()

    def also(self, begin: Begin, source: str) -> None:
        """If it waits still, it may go with this source, too."""
        waiting = self._waiting.get(begin)
        if waiting is not None and len(waiting.sources) < MAX_SOURCES:
            self._enqueue(begin, waiting, source)
            self._give()

    def withdraw(self, begin: Begin) -> None:
        """Do not call it, in case it still waits."""
        waiting = self._waiting.pop(begin, None)
        for source in waiting.sources if waiting is not None else ():
            queues = self._sources[source]
            queues.discard(begin)
            if not len(queues):
                del self._sources[source]

    def stop(self) -> None:
        """Nobody gets a turn any more."""
        for begin in tuple(self._waiting):
            self.withdraw(begin)
        if self._wake is not None and self._wake.active():
            self._wake.cancel()

    def _enqueue(self, begin: Begin, waiting: _Waiting, source: str) -> None:
        if source not in waiting.sources:
            waiting.sources.append(source)
            queues = self._sources.setdefault(source, _Source())
            (queues.failed if waiting.has_failed else queues.fresh).add(begin)

    def _give(self) -> None:
        """A turn may be over before `begin` returns: then the loop goes on, and not deeper."""
        if self._is_giving:
            return
        self._is_giving = True
        while self._free and (source := self._next()) is not None:
            queues = self._sources[source]
            begin = (queues.fresh if len(queues.fresh) else queues.failed).pick(self._draw())
            self.withdraw(begin)
            if source in self._sources:
                self._sources[source] = self._sources.pop(source)  # now it is the last
            turn = self._begun(source)
            try:
                begin(turn)
            except Exception as error:  # in the call stack of somebody else who is not to suffer
                turn.end()
                self._broke(error)
        self._is_giving = False

    def _begun(self, source: str) -> Turn:
        def ended() -> None:
            self._free += 1
            self._held[source] -= 1
            if not self._held[source]:
                del self._held[source]
            self._give()

        self._free -= 1
        self._held[source] += 1
        self._budget.take(source)
        return Turn(ended, lambda: self._budget.give_back(source))

    def _next(self) -> str | None:
        """Whose turn it is. If all who wait have spent their budgets, look again later."""
        soonest = math.inf
        for source in self._sources:
            if self._held[source] >= self._each:
                continue
            wait = self._budget.wait(source)
            if not wait:
                return source
            soonest = min(soonest, wait)
        if soonest < math.inf and (self._wake is None or not self._wake.active()):
            self._wake = self._reactor.callLater(soonest, self._give)
        return None


class _Waiting:
    """Somebody who has no turn yet, and the sources whose turn it may be."""

    __slots__ = ("has_failed", "sources")

    def __init__(self, has_failed: bool) -> None:
        self.has_failed = has_failed
        self.sources: list[str] = []


class _Source:
    """Who waits with one source."""

    __slots__ = ("failed", "fresh")

    def __init__(self) -> None:
        self.fresh, self.failed = _Bag(), _Bag()

    def __len__(self) -> int:
        return len(self.fresh) + len(self.failed)

    def discard(self, begin: Begin) -> None:
        self.fresh.discard(begin)
        self.failed.discard(begin)


class _Bag:
    """A set of which any one can be picked by its number, and removed at no cost."""

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[Begin] = []
        self._at: dict[Begin, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Begin) -> None:
        if item not in self._at:
            self._at[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: Begin) -> None:
        at = self._at.pop(item, None)
        if at is None:
            return
        last = self._items.pop()
        if last is not item and last != item:
            self._items[at] = last
            self._at[last] = at

    def pick(self, draw: float) -> Begin:
        """From -1, the last, to the one before it: a draw of exactly 1 is in the list as well."""
        return self._items[int(draw * len(self._items)) - 1]
