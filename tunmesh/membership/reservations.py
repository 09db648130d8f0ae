"""For whom an address is kept while its holder is away.

A node that held an address gets it back when it returns, or its next life does: whoever took the
address meanwhile has to wait again. Otherwise a member that only waits for a pause, a pulled cable
or a restart would keep the address for as long as it stays.

A reservation is for a name, since a restarted node has a new id. That makes it no stronger than the
rule for nodes that are linked: there, too, the later life of a name has the address
(membership.roster). It is made when a holder that was linked for `TENURE` seconds goes, and lasts
for `KEPT` seconds. Who holds the address meanwhile gets no reservation of its own by going: so a
thief that held it once cannot take it back from the node that it is reserved for.

Time is an argument, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Address = TypeVar("Address", bound=Hashable)

KEPT = 600.0  # longer than a machine takes to boot, or a scheduler to replace a pod
TENURE = 10.0  # so that nobody reserves addresses in passing
MAX_RESERVATIONS = 16384  # the oldest go first


class Reservations(Generic[Address]):
    def __init__(self) -> None:
        self._names: dict[Address, tuple[str, float]] = {}  # and since when, the oldest first

    def __len__(self) -> int:
        return len(self._names)

    def is_for(self, address: Address, name: str, now: float) -> bool:
        """Whether the address is kept for a node of this name."""
        return self._owner(address, now) == name

    def holder_went(self, address: Address, name: str, linked_for: float, now: float) -> None:
        """Its holder is no longer linked."""
        owner = self._owner(address, now)
        if owner == name or (not owner and linked_for >= TENURE):
            self._names.pop(address, None)
            self._names[address] = name, now
            if len(self._names) > MAX_RESERVATIONS:
                del self._names[next(iter(self._names))]

    def expire(self, now: float) -> None:
        """Forget those that are too old."""
        for address in [each for each in self._names if not self._owner(each, now)]:
            del self._names[address]

    def _owner(self, address: Address, now: float) -> str:
        name, since = self._names.get(address, ("", now))
        return name if now - since < KEPT else ""
