"""Who may stay at the door, and how much may be done for those who stand there.

Anybody can connect to the port, and what is done for a stranger costs the node more than it costs
him: a recorded first flight of TLS makes the node sign. So strangers get no more than

- `MAX_STRANGERS` places. When all are taken, a newcomer gets that of the longest waiting of the
  source that has most of them, unless that is his own. So one address cannot keep out the others;
- a share of the processor. When a burst of work has been done for them it is paid back, by
  doing nothing for them, before there is more. Links do not notice; and sources take turns, so
  that one that keeps the node busy does not make the others wait.

All of that comes after the kernel's queue of new connections, where everybody waits in one line.
So to be let in, and even more to be turned away, must cost next to nothing: TLS begins with a
stranger's first turn, not with his connection.

A source is an IPv4 address or an IPv6 /64, which is what one customer of a provider has. This host
is one as well, and goes first among equals: from here come probes whose failure ends the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

from tunmesh.addresses import THIS_HOST, source_of

MAX_STRANGERS = 256  # connections that have not authenticated, HTTPS included
MAX_VISIT = 60.0  # seconds that an HTTPS connection may take a place, however it is used
SHARE = 1 / 3  # of the time, when links want it too
BURST = 0.005  # seconds of work for strangers before any of it is paid back
MAX_SOURCES = 1024  # whose turns are counted; when there are more, the count begins anew

Guest = TypeVar("Guest")


class Places(Generic[Guest]):
    """Who is there, by where he comes from; the longest waiting first."""

    def __init__(self) -> None:
        self._sources: dict[Guest, str] = {}
        self._counts: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._sources

    def add(self, guest: Guest, host: str) -> None:
        source = self._sources[guest] = source_of(host)
        self._counts[source] += 1

    def discard(self, guest: Guest) -> None:
        source = self._sources.pop(guest, None)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]

    def serve(self, waiting: Iterable[Guest]) -> Guest:
        """Whose turn it is of those who wait: the first of the source that had the fewest turns
        lately. Whoever sends a hundred waits a hundred times as long as he who sends one."""

        def rank(guest: Guest) -> tuple[int, bool]:
            source = self._sources.get(guest, "")
            return self._turns[source], source != THIS_HOST

        if len(self._turns) >= MAX_SOURCES:
            self._turns.clear()  # there may be somebody who waits for as long as a flood goes on
        next_one = min(waiting, key=rank)
        self._turns[self._sources.get(next_one, "")] += 1
        return next_one

    def forget_turns(self) -> None:
        """Nobody waits any more."""
        self._turns.clear()

    def room(self, host: str) -> tuple[bool, Guest | None]:
        """Whether somebody from this host may come in, and who has to go for that."""
        if len(self._sources) < MAX_STRANGERS:
            return True, None
        own = source_of(host)
        worst = max(self._counts, key=self._counts.__getitem__)
        surplus = self._counts[worst] - self._counts[own]
        if surplus < (1 if own == THIS_HOST else 2):
            return False, None
        return True, next(guest for guest, source in self._sources.items() if source == worst)
