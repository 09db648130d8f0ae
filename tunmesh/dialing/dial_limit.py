"""Limits how many dials are under way at once; the others wait in queues, one for each source.

When a whole mesh starts, every node would otherwise dial all others at the same moment: more
handshakes than the machines can complete before they time out, and all of them to be repeated. And
a member that vouches for thousands of nodes that do not exist would cost a socket for each.

**Sources.** A dial has one or more sources: where the nodes connect from that vouch for its target
(addresses.source_of; one member can have many identities, but not many addresses). Sources are
served round-robin, so thousands of nodes invented by one member delay nobody that others vouch for,
and no source has more than `per_source` slots. A dial with several sources waits in all their
queues and is charged to the source that reaches it first (dialing.dial_budget). A source whose
budget is spent is skipped until it has some again.

Within a source, dials that have not failed yet go first, so targets that turned out not to answer
delay nobody. Among equals the choice is random: all nodes hear of the others in the same order, and
would otherwise all dial the same node first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from tunmesh.timers import Timer

MAX_SOURCES = 16  # of one dial


class Budget(Protocol):
    """What sources may spend on dials; implemented by dialing.dial_budget.DialBudget."""

    def wait(self, source: str) -> float:
        """Seconds until this source can pay for a dial."""

    def take(self, source: str) -> None: ...
    def give_back(self, source: str) -> None: ...


class _Unlimited:
    """For dials that nobody else asked for."""

    def wait(self, source: str) -> float:
        return 0.0

    def take(self, source: str) -> None:
        """Costs nothing."""

    def give_back(self, source: str) -> None:
        """Nothing was taken."""


class DialSlot:
    """The permission to make one attempt. Whoever has it must release it."""

    def __init__(
        self,
        released: Callable[[], None],
        paid: Callable[[], None] = lambda: None,
        refunded: Callable[[], None] = lambda: None,
    ) -> None:
        self._released = released
        self._paid, self._refunded = paid, refunded
        self._price = 1  # dials that its source has paid for and not got back
        self.is_released = False

    def release(self) -> None:
        """The slot is free for the next dial. Idempotent."""
        if not self.is_released:
            self.is_released = True
            self._released()

    def pay_again(self) -> None:
        """The attempt connects to one more address: its source pays as for another dial."""
        self._price += 1
        self._paid()

    def refund(self) -> None:
        """The dial led to a member, so it costs its source nothing; also after the release."""
        while self._price:
            self._price -= 1
            self._refunded()


Granted = Callable[[DialSlot], None]


class DialLimit:
    """`slots` in all, and at most `per_source` for one source. `draw()`: a random number from 0 to
    1. `failed(error)` is told of an exception that a `granted` callback raised; its slot is
    released. `reactor` is needed only with a finite budget."""

    def __init__(
        self,
        slots: int,
        draw: Callable[[], float],
        failed: Callable[[Exception], None],
        per_source: int | None = None,
        budget: Budget | None = None,
        reactor: Any = None,
    ) -> None:
        self._free = slots
        self._per_source = slots if per_source is None else per_source
        self._draw = draw
        self._failed = failed
        self._budget = budget or _Unlimited()
        self._reactor = reactor
        self._sources: dict[str, _Source] = {}  # in the order in which they are served
        self._waiting: dict[Granted, _Request] = {}
        self._held: Counter[str] = Counter()  # slots, by source
        self._is_granting = False
        self._wake = Timer(reactor)  # when a source has some budget again

    def request(self, granted: Granted, has_failed: bool, sources: Collection[str] = ("",)) -> None:
        """`granted` is called with a slot when there is one, perhaps at once."""
        self._waiting[granted] = request = _Request(has_failed)
        for source in tuple(sources)[:MAX_SOURCES] or ("",):
            self._enqueue(granted, request, source)
        self._grant()

    def add_source(self, granted: Granted, source: str) -> None:
        """If this request still waits, it waits with this source as well."""
        request = self._waiting.get(granted)
        if request is not None and len(request.sources) < MAX_SOURCES:
            self._enqueue(granted, request, source)
            self._grant()

    def withdraw(self, granted: Granted) -> None:
        """Drop this request if it still waits."""
        request = self._waiting.pop(granted, None)
        for source in request.sources if request is not None else ():
            queues = self._sources[source]
            queues.discard(granted)
            if not len(queues):
                del self._sources[source]

    def stop(self) -> None:
        """Grant no more slots."""
        for granted in tuple(self._waiting):
            self.withdraw(granted)
        self._wake.stop()

    def _enqueue(self, granted: Granted, request: _Request, source: str) -> None:
        if source not in request.sources:
            request.sources.append(source)
            queues = self._sources.setdefault(source, _Source())
            (queues.failed if request.has_failed else queues.fresh).add(granted)

    def _grant(self) -> None:
        """A slot may be released before `granted` returns: then the loop goes on, and does not
        recurse."""
        if self._is_granting:
            return
        self._is_granting = True
        while self._free and (source := self._next()) is not None:
            queues = self._sources[source]
            granted = (queues.fresh if len(queues.fresh) else queues.failed).pick(self._draw())
            self.withdraw(granted)
            if source in self._sources:
                self._sources[source] = self._sources.pop(source)  # served last from now on
            slot = self._take_slot(source)
            try:
                granted(slot)
            except Exception as error:  # must not reach whoever happened to release a slot
                slot.release()
                self._failed(error)
        self._is_granting = False

    def _take_slot(self, source: str) -> DialSlot:
        def released() -> None:
            self._free += 1
            self._held[source] -= 1
            if not self._held[source]:
                del self._held[source]
            self._grant()

        self._free -= 1
        self._held[source] += 1
        self._budget.take(source)
        budget = self._budget
        return DialSlot(released, partial(budget.take, source), partial(budget.give_back, source))

    def _next(self) -> str | None:
        """The source that gets the next slot. If all that wait have spent their budgets, a timer
        is set."""
        soonest = math.inf
        for source in self._sources:
            if self._held[source] >= self._per_source:
                continue
            wait = self._budget.wait(source)
            if not wait:
                return source
            soonest = min(soonest, wait)
        if soonest < math.inf and not self._wake.is_running:
            self._wake.start(soonest, self._grant)
        return None


class _Request:
    """A dial that has no slot yet, and the sources in whose queues it waits."""

    __slots__ = ("has_failed", "sources")

    def __init__(self, has_failed: bool) -> None:
        self.has_failed = has_failed
        self.sources: list[str] = []


class _Source:
    """The requests that wait with one source."""

    __slots__ = ("failed", "fresh")

    def __init__(self) -> None:
        self.fresh, self.failed = _Bag(), _Bag()

    def __len__(self) -> int:
        return len(self.fresh) + len(self.failed)

    def discard(self, granted: Granted) -> None:
        self.fresh.discard(granted)
        self.failed.discard(granted)


class _Bag:
    """A set from which a random item is picked, and any item removed, in constant time."""

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[Granted] = []
        self._at: dict[Granted, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Granted) -> None:
        if item not in self._at:
            self._at[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: Granted) -> None:
        at = self._at.pop(item, None)
        if at is None:
            return
        last = self._items.pop()
        if last is not item and last != item:
            self._items[at] = last
            self._at[last] = at

    def pick(self, draw: float) -> Granted:
        """Indices run from -1 to length - 2, so that a draw of exactly 1.0 is valid, too."""
        return self._items[int(draw * len(self._items)) - 1]
