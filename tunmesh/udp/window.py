"""Anti-replay: which counters of a session were received already (RFC 4303, section 3.4.3).

Of the newest counters each has a bit in a ring (RFC 6479). What is older than SIZE of them counts
as received. The ring is allocated when the first counter is marked, so a session that receives
nothing costs nothing.

The bits above the highest counter's in its byte are zero, so that what is marked next finds them
so: the counters that they stood for before are beyond SIZE, which is a byte less than the ring has.
"""

from __future__ import annotations

_BYTES = 1024
_MASK = _BYTES - 1
SIZE = 8 * (_BYTES - 1)


class Window:
    """Counters start from 1; `highest` is 0 as long as none was received."""

    def __init__(self) -> None:
        self.highest = 0
        self._ring = bytearray()

    def is_fresh(self, counter: int) -> bool:
        """Whether this counter was not received yet, as far as is known."""
        behind = self.highest - counter
        if behind < 0:
            return True
        is_known = behind >= SIZE or counter <= 0
        return not (is_known or self._ring[counter >> 3 & _MASK] >> (counter & 7) & 1)

    def mark(self, counter: int) -> None:
        """A datagram with this counter, which was fresh, is authentic."""
        is_next = counter == self.highest + 1 and counter & 7 and self._ring
        if counter > self.highest and not is_next:
            self.mark_run(counter, 1)
            return
        self._ring[counter >> 3 & _MASK] |= 1 << (counter & 7)
        if is_next:
            self.highest = counter

    def mark_run(self, first: int, count: int) -> None:
        """So many consecutive counters above the highest, SIZE at most, are authentic."""
        lead = first & 7
        bits, size = (1 << count) - 1 << lead, lead + count + 7 >> 3
        start, ring = first >> 3 & _MASK, self._ring
        end = start + size
        if first != self.highest + 1 or end > _BYTES or not ring:
            self._leap(first, bits, size)
        else:
            if lead:
                bits |= ring[start]
            ring[start:end] = bits.to_bytes(size, "little")
        self.highest = first + count - 1

    def _leap(self, first: int, bits: int, size: int) -> None:
        """Mark what is not simply next, or lies across the end of the ring."""
        if not self._ring:
            self._ring = bytearray(_BYTES)
        start, newest = first >> 3, self.highest >> 3
        if start == newest:
            bits |= self._ring[start & _MASK]
        else:
            self._put(newest + 1, bytes(min(start - newest - 1, _BYTES)))
        self._put(start, bits.to_bytes(size, "little"))

    def _put(self, at: int, content: bytes) -> None:
        start = at & _MASK
        end = start + len(content)
        if end <= _BYTES:
            self._ring[start:end] = content
        else:
            self._ring[start:] = content[: _BYTES - start]
            self._ring[: end - _BYTES] = content[_BYTES - start :]
