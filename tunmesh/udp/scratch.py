"""The buffers that all sessions of a node share, since only one of them is used at a time.

What was delivered out of an arena is valid until the next datagram is opened, whoever's; what was
sealed, until the next send is sealed.

To make a memoryview of a part of a buffer takes as long as a tenth of the encryption of a datagram.
So those that are always the same are made once: bulk traffic has datagrams of one length, and each
long run begins at the beginning of an arena.
"""

from __future__ import annotations

from tunmesh.wire.datagrams import HEAD, MAX_DATAGRAM, MAX_HEADERS, MAX_TOTAL

GAP = MAX_HEADERS + 1  # in front of each run, for its headers
# A run of any size, and behind it the plaintext of a datagram of any size.
ARENA = GAP + MAX_TOTAL + GAP + MAX_DATAGRAM
_SPARE = 8  # arenas that are kept: what one read gives
_LENGTHS = 16  # of datagrams whose places are kept


class Arena:
    """ARENA bytes, to decrypt into."""

    def __init__(self) -> None:
        self.buffer = bytearray(ARENA)
        self.view = memoryview(self.buffer)
        self._key = (0, 0)
        self._places: list[memoryview] = []

    def places(self, size: int, step: int, first: int, count: int) -> list[memoryview]:
        """`size` bytes each, the next one `step` further: so many, without the first ones. The very
        first is at GAP."""
        if self._key != (size, step):
            self._key, self._places = (size, step), []
        places = self._places
        if len(places) < first + count:
            view, start, end = self.view, GAP + len(places) * step, GAP + (first + count) * step
            places += [view[at : at + size] for at in range(start, end, step)]
        return places[first : first + count]


class Scratch:
    """`outgoing` is where datagrams are sealed."""

    def __init__(self) -> None:
        self.outgoing = memoryview(bytearray(MAX_DATAGRAM))
        self._arenas: list[Arena] = []
        self._outgoing_places: dict[int, list[memoryview]] = {}

    def places(self, length: int, count: int) -> list[memoryview]:
        """The ciphertexts of so many datagrams of this length in `outgoing`."""
        places = self._outgoing_places.get(length)
        if places is None or len(places) < count:
            if len(self._outgoing_places) == _LENGTHS:
                self._outgoing_places.clear()
            out = self.outgoing
            places = self._outgoing_places[length] = [
                out[at + HEAD.size : at + length] for at in range(0, count * length, length)
            ]
        return places

    def arena(self) -> Arena:
        """One that is not in use."""
        return self._arenas.pop() if self._arenas else Arena()

    def give_back(self, arenas: list[Arena]) -> None:
        """They are not needed any more."""
        self._arenas += arenas[: max(0, _SPARE - len(self._arenas))]
