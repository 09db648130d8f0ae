"""Admission control: how many clients may be connected before they authenticate; whose turn it is.

Anybody can connect to the port, and a client costs the node more than it costs the client: a
recorded first flight of TLS makes the node sign. So clients that have not authenticated share

- `MAX_CLIENTS` slots. When all are taken, a new client gets the slot of the one that has waited
  longest, of the source that holds most of them, unless that is its own source. So no address can
  keep out the others;
- a share of the processor (tls.cpu_share). Links do not notice what is done for them, and sources
  take turns, so that one that keeps the node busy does not make the others wait.

All of that comes after the kernel's queue of new connections, where everybody waits in one line.
So accepting a client, and even more refusing one, must cost next to nothing: TLS begins when a
client has sent something and its turn has come, not when it connects.

A source is an IPv4 address or an IPv6 /64, which is what one customer of a provider has. This host
is a source as well, and goes first among equals: a container's health checks come from here, and
end the node when they fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

from tunmesh.addresses import THIS_HOST, source_of

MAX_CLIENTS = 256  # connections that have not authenticated, HTTPS included
MAX_VISIT = 60.0  # seconds that an HTTPS connection may keep a slot, however it is used
MAX_SOURCES = 1024  # whose turns are counted; when there are more, the count begins anew

Client = TypeVar("Client")


class Slots(Generic[Client]):
    """The clients that have a slot, with their sources; the longest waiting first."""

    def __init__(self) -> None:
        self._sources: dict[Client, str] = {}
        self._counts: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, client: Client) -> bool:
        return client in self._sources

    def may_admit(self, host: str) -> tuple[bool, Client | None]:
        """Whether a client from this host may have a slot, and which client must give up its own
        for that, if any."""
        if len(self._sources) < MAX_CLIENTS:
            return True, None
        own = source_of(host)
        worst = max(self._counts, key=self._counts.__getitem__)
        surplus = self._counts[worst] - self._counts[own]
        if surplus < (1 if own == THIS_HOST else 2):
            return False, None
        return True, next(client for client, source in self._sources.items() if source == worst)

    def add(self, client: Client, host: str) -> None:
        """The client takes a slot."""
        source = self._sources[client] = source_of(host)
        self._counts[source] += 1

    def discard(self, client: Client) -> None:
        """The client's slot is free again, if it had one."""
        source = self._sources.pop(client, None)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]

    def take_turn(self, waiting: Iterable[Client]) -> Client:
        """Choose the next of the clients that wait, and count its turn: the first client of the
        source that has had the fewest turns. A source with a hundred clients waits for each of
        them as long as a source with one."""

        def rank(client: Client) -> tuple[int, bool]:
            source = self._sources.get(client, "")
            return self._turns[source], source != THIS_HOST

        if len(self._turns) >= MAX_SOURCES:
            self._turns.clear()  # a flood may go on for ever, and somebody wait all the time
        client = min(waiting, key=rank)
        self._turns[self._sources.get(client, "")] += 1
        return client

    def forget_turns(self) -> None:
        """No client waits any more."""
        self._turns.clear()
