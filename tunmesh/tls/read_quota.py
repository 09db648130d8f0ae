"""How much of the processor the connections of one source get in one turn of the reactor.

A turn of the reactor reads each connection that is ready. With a few hundred of them, all of one
member, everybody else waits until all were read. So the connections of one source (an IPv4 address
or an IPv6 /64, tunmesh.addresses) share one quota: when reads of them took `QUOTA` seconds, those
that are still to be read wait for the next turn, in a queue. A single read that took longer makes
the whole source wait `REST` turns for each QUOTA that it took.

Turns are long when others want the processor and next to nothing when nobody does. So many honest
nodes behind one NAT share the quota only while the node is overloaded; as long as it is not, the
quota is renewed as fast as they use it. A source that takes less than `FREE` of what this thread
works is never made to wait.

From the queue so many connections are read in each turn as are likely to use up the quota: to pause
and resume one costs a few microseconds, and all of them each time would cost more than the reads.

A source with one connection pays nothing for this: it is read once in a turn anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

QUOTA = 0.001  # seconds
REST = 2  # turns of the reactor
FREE = 0.25


class Reader(Protocol):
    """A connection."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


# Calls a function at the beginning of the next turn of the reactor.
NextTurn = Callable[[Callable[[], None]], object]


class ReadQuota:
    """The quota of one source. Seconds are of processor time of this thread."""

    def __init__(self, next_turn: NextTurn) -> None:
        self.is_open = True  # every connection may be read
        self._next_turn = next_turn
        self._count = 0  # connections
        self._spent = 0.0
        self._reads = 0  # that it was spent on
        self._since = 0.0
        self._waiting: OrderedDict[Reader, None] = OrderedDict()
        self._admitted: set[Reader] = set()  # may be read although the others wait
        self._batch = 1  # how many are admitted in one turn
        self._turns = 0  # until any are
        self._is_scheduled = False

    def join(self) -> None:
        """One more connection comes from there."""
        self._count += 1

    def leave(self, reader: Reader) -> None:
        """It is lost."""
        self._count -= 1
        self._admitted.discard(reader)
        self._waiting.pop(reader, None)

    def admits(self, reader: Reader) -> bool:
        """Whether it may be read now. Otherwise it is paused, and resumed when it may. To be asked
        only while the quota is not open."""
        is_admitted = reader in self._admitted
        self._admitted.discard(reader)
        if is_admitted and self._spent < QUOTA:
            return True
        self._waiting[reader] = None
        self._waiting.move_to_end(reader, last=not is_admitted)
        reader.pause_reading()
        return False

    def charge(self, began: float, took: float) -> None:
        """A read began at that time and took so long."""
        if took <= QUOTA and self._count <= 1:
            return
        spent = self._spent - (began - self._since) * FREE if self.is_open else self._spent
        if spent <= 0:
            spent, self._reads = 0.0, 0
        self._spent, self._since = spent + took, began
        self._reads += 1
        if self._spent > QUOTA:
            if self.is_open:
                self.is_open = False
                self._batch = self._reads
            self._turns = max(self._turns, round(REST * took / QUOTA) if took > QUOTA else 1)
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._next_turn(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_scheduled = False
        self._turns -= 1
        if self._turns > 0:
            self._schedule()
            return
        if self._spent > QUOTA:
            self._batch = max(1, self._batch // 2)
        else:
            self._batch = min(2 * self._batch, max(1, self._count))
        self._turns, self._spent, self._reads = 0, 0.0, 0
        self._admitted.clear()
        while self._waiting and len(self._admitted) < self._batch:
            reader, _ = self._waiting.popitem(last=False)
            self._admitted.add(reader)
            reader.resume_reading()
        if self._waiting:
            self._schedule()
        else:
            self.is_open = True


class ReadQuotas:
    """The quota of each source, as long as something comes from there."""

    def __init__(self, next_turn: NextTurn) -> None:
        self._next_turn = next_turn
        self._quotas: WeakValueDictionary[str, ReadQuota] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._quotas)

    def of(self, source: str) -> ReadQuota:
        quota = self._quotas.get(source)
        if quota is None:
            quota = self._quotas[source] = ReadQuota(self._next_turn)
        return quota
