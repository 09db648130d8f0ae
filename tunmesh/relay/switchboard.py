"""The streams that a node carries between two of its neighbours: which ones, and what is passed on.

                 ┌──────────── Carried ────────────┐
    opener ═════ │ Side ──────────────────> Side   │ ═════ target
           lane <│                                 │> lane
                 └─────────────────────────────────┘

**One hop.** A stream is carried only between two nodes whose links with this one are direct: no
byte of a stream ever goes into another stream, so there are no loops and no chains.

**Bounds.** An end may send WINDOW bytes beyond what the other end has consumed, so that is what
waits here at most in each direction; who sends more, or grants more, has the stream broken. What
waits counts for the opener's source in the memory budget (link.memory_budget), small pieces with
what they take: if that is used up, a stream is broken, and no link. So many streams for one peer,
to one target and in all, of which no source may have more than are left, and so many openings a
second (relay.openings); who wants more is told that this node is busy. A stream that the target
does not answer, or on which nothing moves, ends.

**Fairness** is the links': a link takes from its lanes in turn, and no more than half of what it
sends while packets of this node wait (link.sender).

No clock: `now` is in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.memory_budget import Account, MemoryBudget
from tunmesh.relay.flow import MIN_GRANT, SMALL_PIECE
from tunmesh.relay.lane import Lane, Numbers
from tunmesh.relay.openings import Openings
from tunmesh.status.traffic import CarriedStreams
from tunmesh.wire.streams import (
    CREDIT,
    END,
    INCOMING,
    OPENED,
    PIECE,
    REFUSED,
    WINDOW,
    Message,
    Refused,
)

MAX_PER_PEER = 512  # streams that one node has opened
MAX_PER_TARGET = 512
MAX_STREAMS = 8192
HALF_OPEN = 4.0  # seconds for the target to answer
IDLE = 60.0  # seconds without a byte: links ping every few seconds


class _Side:
    """What comes from one of the two ends, and the lane to it."""

    __slots__ = ("end", "granted", "lane", "node_id", "received")

    def __init__(self, node_id: str, lane: Lane) -> None:
        self.node_id = node_id
        self.lane = lane
        self.received = 0  # bytes that came from it
        self.granted = WINDOW  # that the other end lets it send
        self.end: int | None = None  # the offset at which it ended the stream


class Carried:
    """One stream."""

    def __init__(
        self, opener: _Side, target: _Side, source: str, account: Account, now: float
    ) -> None:
        self.opener = opener
        self.target = target
        self.source = source
        self.is_open = False
        self.active = now
        self._account = account

    def note_held(self) -> None:
        """Count what waits."""
        held = self.opener.lane.cost + self.target.lane.cost
        self._account.hold(held, held)

    def settle(self) -> None:
        """If its source has too much waiting, a stream of it is broken, perhaps this one."""
        self._account.settle()

    def let_go(self) -> None:
        """It is over."""
        self._account.hold(0)

    def sides(self, node_id: str) -> tuple[_Side, _Side]:
        """That of this node, and the other one."""
        if node_id == self.opener.node_id:
            return self.opener, self.target
        return self.target, self.opener


class Switchboard:
    """Of the node with these numbers. `source(id)`: where a node's direct link comes from; None if
    it has none. `offer(id, lane)`: the lane has something for that node's link. `carries`: whether
    this node carries streams at all."""

    def __init__(
        self,
        numbers: Numbers,
        source: Callable[[str], str | None],
        offer: Callable[[str, Lane], None],
        memory: MemoryBudget,
        carries: bool = True,
    ) -> None:
        self._carries = carries
        self._numbers = numbers
        self._source = source
        self._offer = offer
        self._memory = memory
        self._streams: dict[tuple[str, int], Carried] = {}  # each under both of its numbers
        self._carried: dict[Carried, None] = {}
        self._per_peer: Counter[str] = Counter()
        self._per_source: Counter[str] = Counter()
        self._per_target: Counter[str] = Counter()
        self._per_way: Counter[tuple[str, str]] = Counter()  # from one source to one target
        self._openings = Openings()
        self._opened = self._refused = self._bytes = 0

    def __len__(self) -> int:
        return len(self._carried)

    def __contains__(self, key: tuple[str, int]) -> bool:
        """Whether this stream of a node is one of them."""
        return key in self._streams

    @property
    def counts(self) -> CarriedStreams:
        pairs = ((each.opener.node_id, each.target.node_id) for each in self._carried)
        return CarriedStreams(len(self), self._opened, self._refused, self._bytes, tuple(pairs))

    # --- facts ---

    def opening(self, opener: str, number: int, target: str, now: float) -> Refused | None:
        """A node asks for a stream to that one. Why it is refused, if it is."""
        if (opener, number) in self._streams or not self._numbers.is_theirs(opener, number):
            raise PeerError(FailureReason.UNEXPECTED, "it opens a stream under a wrong number")
        why = self._why_not(opener, target, now)
        if why is not None:
            self._refused += 1
            return why
        source = self._source(opener) or ""
        there = self._numbers.new(target)
        stream = Carried(
            _Side(opener, Lane(number, lambda: self._moved(stream))),
            _Side(target, Lane(there, lambda: self._moved(stream))),
            source,
            self._memory.account(source, lambda: self._break(stream)),
            now,
        )
        self._carried[stream] = None
        self._streams[opener, number] = self._streams[target, there] = stream
        for counts, key in self._counts(stream):
            counts[key] += 1
        self._say(stream.target, Message(INCOMING, there, body=bytes.fromhex(opener)))
        return None

    def received(self, node_id: str, message: Message, now: float) -> bool:
        """A node said this of one of the streams. Whether it was of use."""
        stream = self._streams.get((node_id, message.stream))
        if stream is None:
            return False
        side, other = stream.sides(node_id)
        stream.active = now
        match message.kind:
            case _ if not stream.is_open:
                return self._answered(stream, side, message)
            case kind if kind == PIECE:
                return self._piece(stream, side, other, message)
            case kind if kind == CREDIT:
                return self._credit(stream, other, message.value)
            case kind if kind == END and side.end is None and message.value >= side.received:
                side.end = message.value
                self._end_if_whole(side, other)
                return True
        self._break(stream)
        return True

    def link_lost(self, node_id: str, link: object, is_replaced: bool) -> None:
        """A direct link with this node has ended. If it was not replaced, what was under way on it
        is lost, and with it the streams that went by it."""
        for stream in list(self._carried):
            for side in (stream.opener, stream.target):
                if side.node_id == node_id and side.lane.leaves(link) and not is_replaced:
                    self._break(stream)

    def parted(self, node_id: str) -> None:
        """This node has no direct link any more."""
        for stream in list(self._carried):
            if node_id in (stream.opener.node_id, stream.target.node_id):
                self._break(stream)
        self._openings.parted(node_id)

    def carry(self, carries: bool) -> None:
        """Whether to carry streams from now on. If not, those that are carried end."""
        self._carries = carries
        for stream in list(self._carried) if not carries else ():
            self._break(stream)

    def expire(self, now: float) -> None:
        """End the streams on which nothing has moved for too long. To be called now and then."""
        for stream in self._overdue(now):
            if stream.is_open:
                self._break(stream)
            else:
                self._refuse(stream, Refused.NO_ANSWER)
                stream.target.lane.break_off()
                self._offer(stream.target.node_id, stream.target.lane)

    def _overdue(self, now: float) -> Iterator[Carried]:
        for stream in list(self._carried):
            if now - stream.active > (IDLE if stream.is_open else HALF_OPEN):
                yield stream

    # --- what may be opened ---

    def _why_not(self, opener: str, target: str, now: float) -> Refused | None:
        if not self._carries:
            return Refused.DECLINED
        source = self._source(opener)
        if source is None:
            return Refused.NOT_DIRECT
        if opener == target or self._source(target) is None:
            return Refused.NOT_LINKED
        left, left_there = MAX_STREAMS - len(self), MAX_PER_TARGET - self._per_target[target]
        is_full = (
            self._per_peer[opener] >= MAX_PER_PEER
            or self._per_source[source] >= left
            or self._per_way[source, target] >= left_there
        )
        if is_full or not self._openings.try_take(opener, source, target, now):
            return Refused.BUSY
        return None

    def _answered(self, stream: Carried, side: _Side, message: Message) -> bool:
        """The first message of the target, which has to be an answer."""
        if side is stream.target and message.kind == OPENED:
            stream.is_open = True
            self._opened += 1
            self._say(stream.opener, Message(OPENED, stream.opener.lane.number))
        elif side is stream.target and message.kind == REFUSED:
            self._refuse(stream, Refused(message.value))
        else:
            self._break(stream)  # the opener has changed its mind
        return True

    def _refuse(self, stream: Carried, why: Refused) -> None:
        self._refused += 1
        number = stream.opener.lane.number
        self._say(stream.opener, Message(REFUSED, number, why))
        self._forget(stream)

    # --- what is passed on ---

    def _say(self, side: _Side, message: Message) -> None:
        side.lane.say(message)
        self._offer(side.node_id, side.lane)

    def _piece(self, stream: Carried, side: _Side, other: _Side, message: Message) -> bool:
        size = len(message.body)
        side.received += size
        is_past_end = side.end is not None and side.received > side.end
        if is_past_end or max(message.value + size, side.received) > side.granted:
            self._break(stream)
            return True
        if other.end is not None:
            return size >= SMALL_PIECE  # nobody reads it any more
        self._bytes += size
        other.lane.push(message.value, message.body)
        stream.note_held()
        stream.settle()
        if stream in self._carried:
            self._end_if_whole(side, other)
            self._offer(other.node_id, other.lane)
        return size >= SMALL_PIECE

    def _credit(self, stream: Carried, other: _Side, offset: int) -> bool:
        """One end lets the other one send so far."""
        side = stream.sides(other.node_id)[1]
        passed_on = other.received - side.lane.held
        if offset > passed_on + WINDOW:
            self._break(stream)
            return True
        if offset < other.granted + MIN_GRANT:
            return False
        other.granted = offset
        other.lane.grant(offset)
        self._offer(other.node_id, other.lane)
        return True

    def _end_if_whole(self, side: _Side, other: _Side) -> None:
        """All that one end has sent is here: the other one hears of the end."""
        if side.received == side.end:
            other.lane.end(side.end)
            self._offer(other.node_id, other.lane)

    def _moved(self, stream: Carried) -> None:
        """A link has taken from a lane."""
        if stream not in self._carried:
            return
        stream.note_held()
        if stream.opener.lane.is_over or stream.target.lane.is_over:
            self._forget(stream)

    def _break(self, stream: Carried) -> None:
        for side in (stream.opener, stream.target):
            side.lane.break_off()
            self._offer(side.node_id, side.lane)
        self._forget(stream)

    def _forget(self, stream: Carried) -> None:
        if self._carried.pop(stream, self) is self:
            return
        for side in (stream.opener, stream.target):
            self._streams.pop((side.node_id, side.lane.number), None)
        for counts, key in self._counts(stream):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]
        stream.let_go()

    def _counts(self, stream: Carried) -> Iterator[tuple[Counter[Any], Any]]:
        """Where it counts, and as what."""
        yield self._per_peer, stream.opener.node_id
        yield self._per_source, stream.source
        yield self._per_target, stream.target.node_id
        yield self._per_way, (stream.source, stream.target.node_id)
