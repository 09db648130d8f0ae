"""One end of a stream: which bytes may be sent, and which have arrived.

An end may send WINDOW bytes beyond what the other one has granted by what it consumed. So nobody on
the way holds more than that of one direction, however slow the receiver is.

Pieces may arrive in another order than they were sent in, when the carrier's link was replaced
meanwhile (wire.streams). Those that came early wait for the others.
"""

from __future__ import annotations

from collections import deque

from tunmesh.wire.streams import MAX_PIECE, WINDOW

MIN_GRANT = WINDOW // 8  # less than that is not worth a message
MAX_EARLY = 4096  # pieces
# Pieces with fewer bytes count as useless messages (link.penalty). A record of TLS with a packet in
# it is longer, so honest ends hardly ever send them: where the window or the turn of a lane ends.
SMALL_PIECE = 32
PIECE_COST = 160  # bytes of memory that a piece takes which waits alone, besides its own


class BrokenStreamError(Exception):
    """The other end, or the carrier, breaks the rules of the stream."""


class Outgoing:
    """The bytes that this end sends."""

    def __init__(self) -> None:
        self.waiting = 0  # bytes that were written and may not be sent yet
        self.sent = 0  # bytes, all together
        self._granted = WINDOW
        self._data: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        self._data.append(data)
        self.waiting += len(data)

    def grant(self, offset: int) -> bool:
        """The other end takes so much. Whether it was worth saying."""
        is_worth = offset >= self._granted + MIN_GRANT
        self._granted = max(self._granted, offset)
        return is_worth

    def next_piece(self) -> tuple[int, bytes] | None:
        """The next bytes that may be sent, and their offset."""
        room = min(self._granted - self.sent, MAX_PIECE)
        if room <= 0 or not self._data:
            return None
        data = self._data.popleft()
        if len(data) > room:
            self._data.appendleft(data[room:])
            data = data[:room]
        offset = self.sent
        self.sent += len(data)
        self.waiting -= len(data)
        return offset, data


class Incoming:
    """The bytes that arrive."""

    def __init__(self) -> None:
        self.held = 0  # bytes that have arrived early
        self._received = 0
        self._consumed = 0
        self._granted = WINDOW
        self._early: dict[int, bytes] = {}
        self._end: int | None = None

    @property
    def cost(self) -> int:
        """How much memory the bytes take that have arrived early."""
        return self.held + PIECE_COST * len(self._early)

    @property
    def is_over(self) -> bool:
        """Whether all bytes up to the end have arrived."""
        return self._end == self._received

    def receive(self, offset: int, data: bytes) -> bytes:
        """A piece has arrived. The bytes that are next in order, if any are."""
        end = self._granted if self._end is None else min(self._granted, self._end)
        if offset < self._received or offset in self._early or offset + len(data) > end:
            raise BrokenStreamError("bytes that were not granted, or that came twice")
        if offset > self._received:
            self._early[offset] = data
            self.held += len(data)
            if self.held > WINDOW or len(self._early) > MAX_EARLY:
                raise BrokenStreamError("bytes that overlap, or that are in very small pieces")
            return b""
        self._received += len(data)
        if not self._early:
            return data
        parts = [data]
        while (more := self._early.pop(self._received, None)) is not None:
            parts.append(more)
            self._received += len(more)
            self.held -= len(more)
        return b"".join(parts)

    def ends(self, offset: int) -> None:
        """The stream ends there."""
        if self._end is not None or offset < self._received:
            raise BrokenStreamError("an end before what has arrived")
        self._end = offset

    def consume(self, size: int) -> int | None:
        """So many bytes more were consumed. How far to let the other end send, if that is worth
        saying."""
        self._consumed += size
        if self._consumed + WINDOW - self._granted < MIN_GRANT or self._end is not None:
            return None
        self._granted = self._consumed + WINDOW
        return self._granted
