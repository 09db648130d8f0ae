"""Whose a datagram is: the readers of a port, by their indexes.

A reader that raises is given nothing more, as a connection whose reader raises is closed: or a peer
that has found a bug of ours could fill the log with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tunmesh.logs import bugs
from tunmesh.udp.port import Place, Reader
from tunmesh.wire.datagrams import MIN_DATAGRAM
from tunmesh.wire.sizes import INDEX_SIZE

_log_bug = bugs.caught("datagrams were lost")
_index_at = struct.Struct(">I").unpack_from


class Readers:
    """`strangers` counts the datagrams that were nobody's."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self.strangers = 0
        self._random_bytes = random_bytes
        self._readers: dict[int, Reader] = {}

    def open(self, reader: Reader) -> int:
        """An index that is random, not 0, and nobody else's."""
        index = 0
        while index == 0 or index in self._readers:
            index = int.from_bytes(self._random_bytes(INDEX_SIZE), "big")
        self._readers[index] = reader
        return index

    def close(self, index: int) -> None:
        self._readers.pop(index, None)

    def sort(
        self,
        buffer: bytearray | bytes,
        count: int,
        size: int,
        source: Place,
        served: dict[Reader, None],
    ) -> bool:
        """Give datagrams, `count` bytes in all, to whose they are, and note in `served` who that
        was. Nearly always all have one index. Returns whether a reader believes in `source`."""
        if size < MIN_DATAGRAM:
            self.strangers += -(-count // size) if size else 1
            return False
        view, is_believed, start = memoryview(buffer), False, 0
        for end in _ends(buffer, count, size):
            reader = None
            # Only the last of all can be shorter, and is alone then.
            if end - start >= MIN_DATAGRAM:
                reader = self._readers.get(_index_at(view, start)[0])
            if reader is None:
                self.strangers += -((start - end) // size)
            else:
                served[reader] = None
                try:
                    is_believed |= reader.datagrams(view[start:end], size, source)
                except Exception as error:
                    self._failed(reader, error)
            start = end
        return is_believed

    def end_turn(self, served: dict[Reader, None]) -> None:
        """Tell readers that all that could be read for now was read."""
        for reader in served:
            try:
                reader.read_ended()
            except Exception as error:
                self._failed(reader, error)

    def _failed(self, reader: Reader, error: Exception) -> None:
        _log_bug(error)
        self._readers = {at: each for at, each in self._readers.items() if each is not reader}


def _ends(buffer: bytearray | bytes, count: int, size: int) -> list[int]:
    """Where runs of datagrams with one index end: [count], but for mixed ones."""
    if size >= count:
        return [count]
    last = (count - 1) // size * size
    if count - last >= MIN_DATAGRAM:
        number = last // size + 1
        for at in range(INDEX_SIZE):  # a slice costs 0.1 us, a loop over 44 datagrams 5
            if buffer[at:count:size].count(buffer[at]) != number:
                break
        else:
            return [count]
    ends = [
        at
        for at in range(size, last, size)
        if buffer[at - size : at - size + INDEX_SIZE] != buffer[at : at + INDEX_SIZE]
    ]
    return [*ends, last, count]
