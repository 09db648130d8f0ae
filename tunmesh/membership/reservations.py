"""Keeps an address for its holder while that is away.

A node that held an address gets it back when it returns, or its next incarnation does: a node that
took the address meanwhile has to wait again. Otherwise a member that waits for a pause, a pulled
cable or a restart could take the address for as long as it stays.

A reservation is for a name, since a restarted node has a new id. That makes it no stronger than the
rule for linked nodes, where the later incarnation of a name has the address, too
(membership.claims). It is made when a holder goes that was linked for `TENURE` seconds, and lasts
for `KEPT` seconds. A node that holds the address meanwhile gets no reservation of its own by
leaving: a thief cannot take the address back from the node that it is reserved for.

If there are too many, those of the shortest tenure are dropped: the time that the holder was
linked. So identities that come and go by the hundred displace each other, and not the reservation
of a node that was there for longer.

Time is an argument, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, NamedTuple, TypeVar

Place = TypeVar("Place", bound=Hashable)

KEPT = 600.0  # longer than a machine takes to boot, or a scheduler to replace a pod
TENURE = 10.0  # so that a brief visit reserves nothing
MAX_RESERVATIONS = 16384  # beyond that the shortest tenure is dropped


class _Reservation(NamedTuple):
    """Ordered by which one is dropped first."""

    tenure: float  # seconds
    number: int  # of two with the same tenure the earlier one is dropped
    since: float
    name: str


class Reservations(Generic[Place]):
    """Those of one node, at most `most`."""

    def __init__(self, most: int = MAX_RESERVATIONS) -> None:
        self._most = most
        self._by_address: dict[Place, _Reservation] = {}
        # May have entries that are not in `_by_address` any more, which are skipped.
        self._shortest: list[tuple[_Reservation, Place]] = []
        self._count = 0  # all that were ever made

    def __len__(self) -> int:
        return len(self._by_address)

    def is_for(self, address: Place, name: str, now: float) -> bool:
        """Whether the address is reserved for this name."""
        return self._owner(address, now) == name

    def others(self, name: str, now: float) -> dict[Place, float]:
        """The addresses that are reserved for other names, and since when."""
        return {
            address: made.since
            for address, made in self._by_address.items()
            if made.name != name and now - made.since < KEPT
        }

    def holder_went(self, address: Place, name: str, linked_for: float, now: float) -> None:
        """The holder of the address is no longer linked."""
        owner = self._owner(address, now)
        if owner == name:
            linked_for += self._by_address[address].tenure
        elif owner or linked_for < TENURE:
            return
        self._count += 1
        made = self._by_address[address] = _Reservation(linked_for, self._count, now, name)
        heappush(self._shortest, (made, address))
        if len(self._by_address) > self._most:
            self._drop_shortest()

    def expire(self, now: float) -> None:
        """Drop those that are too old."""
        old = [each for each in self._by_address if not self._owner(each, now)]
        for address in old:
            del self._by_address[address]
        if len(self._shortest) > 2 * len(self._by_address):
            self._shortest = [(made, address) for address, made in self._by_address.items()]
            heapify(self._shortest)

    def _drop_shortest(self) -> None:
        while True:
            made, address = heappop(self._shortest)
            if self._by_address.get(address) is made:
                del self._by_address[address]
                return

    def _owner(self, address: Place, now: float) -> str:
        made = self._by_address.get(address)
        return made.name if made is not None and now - made.since < KEPT else ""
