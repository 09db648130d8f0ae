"""The buffers that all sessions of a node share, since only one of them is used at a time.

What was delivered out of an arena is valid until the next datagram is opened, whoever's; what was
sealed, until the next send is sealed.
"""

from __future__ import annotations

from tunmesh.wire.datagrams import MAX_DATAGRAM, MAX_HEADERS, MAX_TOTAL

GAP = MAX_HEADERS + 1  # in front of each run, for its headers
# A run of any size, and behind it the plaintext of a datagram of any size.
ARENA = GAP + MAX_TOTAL + GAP + MAX_DATAGRAM
_SPARE = 4  # arenas that are kept: what one read gives


class Scratch:
    """`outgoing` is where datagrams are sealed."""

    def __init__(self) -> None:
        self.outgoing = memoryview(bytearray(MAX_DATAGRAM))
        self._arenas: list[memoryview] = []

    def arena(self) -> memoryview:
        """ARENA bytes, to decrypt into."""
        return self._arenas.pop() if self._arenas else memoryview(bytearray(ARENA))

    def give_back(self, arenas: list[memoryview]) -> None:
        """They are not needed any more."""
        self._arenas += arenas[: max(0, _SPARE - len(self._arenas))]
