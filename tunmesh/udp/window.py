"""Anti-replay: which counters of a session were received already (RFC 4303, section 3.4.3).

Of the newest SIZE counters each has a byte in a ring. What is older counts as received. The ring is
allocated when the first counter is marked, so a session that receives nothing costs nothing.
"""

from __future__ import annotations

SIZE = 8192
_MASK = SIZE - 1
_ONES = b"\1" * SIZE
_ZEROS = bytes(SIZE)


class Window:
    """Counters start from 1; `highest` is 0 as long as none was received."""

    def __init__(self) -> None:
        self.highest = 0
        self._ring = bytearray()

    def is_fresh(self, counter: int) -> bool:
        """Whether this counter was not received yet, as far as is known."""
        behind = self.highest - counter
        return behind < 0 or (behind < SIZE and counter > 0 and not self._ring[counter & _MASK])

    def mark(self, counter: int) -> None:
        """A datagram with this counter, which was fresh, is authentic."""
        if counter > self.highest + 1 or not self._ring:
            self.mark_run(counter, 1)
            return
        self._ring[counter & _MASK] = 1
        if counter > self.highest:
            self.highest = counter

    def mark_run(self, first: int, count: int) -> None:
        """So many consecutive counters above the highest, SIZE at most, are authentic."""
        if not self._ring:
            self._ring = bytearray(SIZE)
        skipped = first - self.highest - 1
        if skipped:
            self._fill(self.highest + 1, min(skipped, SIZE), _ZEROS)
        self._fill(first, count, _ONES)
        self.highest = first + count - 1

    def _fill(self, first: int, count: int, content: bytes) -> None:
        start = first & _MASK
        end = start + count
        if end <= SIZE:
            self._ring[start:end] = content[:count]
        else:
            self._ring[start:] = content[: SIZE - start]
            self._ring[: end - SIZE] = content[: end - SIZE]
