"""What one node has to send of one stream on one of its links.

A link takes from a lane when its turn comes (link.sender): so what waits for a slow link is here,
and whoever fills the lane sees how much that is. The order is that of the stream; credit overtakes
the bytes of the other direction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tunmesh.relay.flow import PIECE_COST
from tunmesh.wire.streams import BROKEN, CREDIT, END, MAX_PIECE, MOST_NUMBER, PIECE, Message


class Lane:
    """Of the stream with this number on that link. `taken()` is called whenever bytes of the stream
    were taken from it, or its end."""

    def __init__(self, number: int, taken: Callable[[], None] = lambda: None) -> None:
        self.number = number
        self.held = 0  # bytes of the stream that wait
        self.is_over = False  # the end was taken: nothing follows
        self._taken = taken
        self._first: deque[bytes] = deque()
        self._credit: int | None = None
        self._pieces: deque[tuple[int, bytearray]] = deque()
        self._end: int | None = None
        self._links: tuple[object, ...] = ()

    def goes_by(self, link: object) -> None:
        """This link may take from it."""
        if link not in self._links:
            self._links += (link,)

    def leaves(self, link: object) -> bool:
        """This link has ended. Whether it may have taken from it."""
        before = len(self._links)
        self._links = tuple(each for each in self._links if each is not link)
        return len(self._links) < before

    @property
    def cost(self) -> int:
        """How much memory the bytes take that wait."""
        return self.held + PIECE_COST * len(self._pieces)

    def say(self, message: Message) -> None:
        """Send this before all bytes that wait."""
        self._first.append(message.encode())

    def grant(self, offset: int) -> None:
        """Let the other end send so far."""
        self._credit = offset

    def push(self, offset: int, data: bytes) -> None:
        """Bytes of the stream, from this offset on. Small pieces are joined while they wait, or
        each byte could take a hundred of memory. Those that do not follow each other are not:
        `cost` counts them."""
        self.held += len(data)
        if self._pieces:
            start, before = self._pieces[-1]
            if start + len(before) == offset and len(before) + len(data) <= MAX_PIECE:
                before += data
                return
        self._pieces.append((offset, bytearray(data)))

    def end(self, offset: int) -> None:
        """The stream ends there, behind all that was pushed."""
        self._end = offset

    def clear(self) -> None:
        """Drop what waits."""
        self._first.clear()
        self._pieces.clear()
        self.held, self._credit, self._end = 0, None, None

    def break_off(self) -> None:
        """The stream is over, whatever waits."""
        self.clear()
        self.say(Message(BROKEN, self.number))

    def take(self, most: int) -> bytes:
        """The next message, with at most so many bytes of the stream; empty: there is none."""
        if self._first:
            return self._first.popleft()
        if self._credit is not None:
            credit, self._credit = self._credit, None
            return Message(CREDIT, self.number, credit).encode()
        if self._pieces:
            return self._take_piece(most)
        if self._end is not None:
            end, self._end = self._end, None
            self.is_over = True
            self._taken()
            return Message(END, self.number, end).encode()
        return b""

    def _take_piece(self, most: int) -> bytes:
        offset, data = self._pieces.popleft()
        if len(data) > most:
            self._pieces.appendleft((offset + most, data[most:]))
            data = data[:most]
        self.held -= len(data)
        self._taken()
        return Message(PIECE, self.number, offset, bytes(data)).encode()


class Numbers:
    """The numbers of streams on the links of the node with this id. After two billion, which some
    members can use up in weeks, they begin anew. `is_used(peer_id, number)`: whether there is such
    a stream."""

    def __init__(
        self, own_id: str, is_used: Callable[[str, int], bool] = lambda peer_id, number: False
    ) -> None:
        self._own_id = own_id
        self._is_used = is_used
        self._count = 0

    def new(self, peer_id: str) -> int:
        """A number for a stream that this node asks that one for."""
        while True:
            self._count = self._count % (MOST_NUMBER // 2) + 1
            number = 2 * self._count + (self._own_id < peer_id)
            if number <= MOST_NUMBER and not self._is_used(peer_id, number):
                return number

    def is_theirs(self, peer_id: str, number: int) -> bool:
        """Whether that node may choose this number."""
        return number % 2 == (peer_id < self._own_id)
