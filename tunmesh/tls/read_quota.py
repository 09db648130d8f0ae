"""How much CPU time the connections of one source get in one iteration of the reactor.

An iteration reads every connection that is ready. With a few hundred connections of one member, all
others wait until those have been read. So the connections of one source (an IPv4 address or an IPv6
/64, see addresses.py) share a quota: when reading them has taken `QUOTA` seconds, the rest are
queued for the next iteration. A single read that takes longer makes the whole source skip `REST`
iterations for each QUOTA that it took.

Iterations are long when other connections are busy, and close to nothing when none are. So honest
nodes behind one NAT share the quota only while the node is overloaded; otherwise it is renewed as
fast as they use it. A source that takes less than `FREE` of this thread's CPU time never waits.

Each iteration takes as many connections from the queue as will probably use up the quota: pausing
and resuming a connection costs a few microseconds, and doing that for all of them every time would
cost more than the reads.

A source with a single connection pays nothing for this: it is read once per iteration anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

QUOTA = 0.001  # seconds
REST = 2  # iterations of the reactor
FREE = 0.25


class Reader(Protocol):
    """A connection."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


# Calls a function at the beginning of the next iteration of the reactor.
NextIteration = Callable[[Callable[[], None]], object]


class ReadQuota:
    """The quota of one source. Seconds are of processor time of this thread."""

    def __init__(self, next_iteration: NextIteration) -> None:
        self.is_open = True  # every connection may be read
        self._next_iteration = next_iteration
        self._count = 0  # connections
        self._spent = 0.0
        self._reads = 0  # that it was spent on
        self._since = 0.0
        self._waiting: OrderedDict[Reader, None] = OrderedDict()
        self._admitted: set[Reader] = set()  # may be read although the others wait
        self._batch = 1  # how many are admitted per iteration
        self._skipped = 0  # iterations until any are
        self._is_scheduled = False

    def join(self) -> None:
        """The source has one more connection."""
        self._count += 1

    def leave(self, reader: Reader) -> None:
        """A connection of the source is lost."""
        self._count -= 1
        self._admitted.discard(reader)
        self._waiting.pop(reader, None)

    def admits(self, reader: Reader) -> bool:
        """Whether the connection may be read now. If not, it is paused, and resumed when it may.
        Call this only while the quota is not open."""
        is_admitted = reader in self._admitted
        self._admitted.discard(reader)
        if is_admitted and self._spent < QUOTA:
            return True
        self._waiting[reader] = None
        self._waiting.move_to_end(reader, last=not is_admitted)
        reader.pause_reading()
        return False

    def charge(self, began: float, took: float) -> None:
        """Account for a read: when it began, and how long it took."""
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
            self._skipped = max(self._skipped, round(REST * took / QUOTA) if took > QUOTA else 1)
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._next_iteration(self._begin_iteration)

    def _begin_iteration(self) -> None:
        self._is_scheduled = False
        self._skipped -= 1
        if self._skipped > 0:
            self._schedule()
            return
        if self._spent > QUOTA:
            self._batch = max(1, self._batch // 2)
        else:
            self._batch = min(2 * self._batch, max(1, self._count))
        self._skipped, self._spent, self._reads = 0, 0.0, 0
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
    """The quota of each source, for as long as it has connections."""

    def __init__(self, next_iteration: NextIteration) -> None:
        self._next_iteration = next_iteration
        self._quotas: WeakValueDictionary[str, ReadQuota] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._quotas)

    def of(self, source: str) -> ReadQuota:
        quota = self._quotas.get(source)
        if quota is None:
            quota = self._quotas[source] = ReadQuota(self._next_iteration)
        return quota
