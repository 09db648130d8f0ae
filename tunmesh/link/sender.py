"""The sending half of a link: what is written at once, what waits, and what is dropped.

**Packets.** While the transport takes bytes, packets are written to it directly, one batch at a
time. When the transport says pause, or when more packets come in one iteration of the reactor than
should be written in one, they wait in a fair and bounded queue (link.fair_queue), from which one
budget (tls.pacing) is written in each iteration. The tun is never paused: it is read faster than we
can encrypt, so that what must wait or be dropped is chosen here and not by the order of its ring.

**Messages** are written at once, past the queue: they are few, and those that a peer could make us
send without end are held back (link.conversation). A peer that does not read them while they keep
coming is disconnected at MAX_UNREAD.

**Streams** that are carried over this link (tunmesh.relay) wait in lanes, which take turns by
pieces. While packets wait as well, lanes get half of each budget; packets that need not wait go
first.

**Memory.** The queue, what the transport had not sent when it said pause, and unread messages count
against the budget that all links share (link.memory_budget). What waits in lanes is counted by
whoever fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.fair_queue import PacketQueue
from tunmesh.link.interfaces import Channel, Lane, LinkTransport
from tunmesh.link.keepalive import Timing
from tunmesh.link.memory_budget import TOO_MUCH, MemoryBudget
from tunmesh.timers import Timer
from tunmesh.tls.pacing import MIN_BUDGET, Budget
from tunmesh.wire.netstring import encode

MAX_UNREAD = 1 << 20  # bytes of messages that the other end leaves unread


@implementer(IPushProducer)
class Sender:
    """Of one link. `dropped(reason, count)` is told of packets, `failed(error)` when the link must
    end, `resumed()` when the transport takes bytes again."""

    def __init__(
        self,
        clock: IReactorTime,
        memory: MemoryBudget,
        channel: Channel,
        dropped: Callable[[DropReason, int], None],
        failed: Callable[[PeerError], None],
        resumed: Callable[[], None],
    ) -> None:
        self.dropped = 0  # packets
        self.written = 0  # bytes of frames
        self.is_paused = False  # the transport takes nothing
        self._clock = clock
        self._memory = memory
        self._channel = channel
        self._packets_dropped = dropped
        self._failed = failed
        self._resumed = resumed
        self._transport: LinkTransport
        self._queue = PacketQueue(Timing().packet_expiration)
        self._lanes: dict[Lane, None] = {}  # in which something waits; the next one is first
        self._budget = Budget()
        self._account = memory.account("")
        self._pump_timer = Timer(clock)
        self._is_open = False  # for packets
        self._has_ended = False
        self._emptied: Callable[[], None] | None = None
        self._unread = 0  # bytes of messages written since the transport said pause
        self._unsent = 0  # bytes of packets in the write at which it said so, at most

    @property
    def queued_bytes(self) -> int:
        return self._queue.bytes

    def connect(self, transport: LinkTransport) -> None:
        """Write messages to this from now on."""
        self._transport = transport

    def open(self, source: str) -> None:
        """The other end, which comes from this source, is authentic: packets may be sent."""
        self._is_open = True
        self._account = self._memory.account(source, self._is_too_much)
        self._transport.registerProducer(self, True)

    def expire_after(self, seconds: float) -> None:
        """Drop packets that have waited for longer."""
        self._queue.max_age = seconds

    # --- what is to be sent ---

    def send(self, frames: list[bytes]) -> None:
        """Send packets now, or queue them, or drop them."""
        if not (self.is_paused or self._queue):
            size = sum(map(len, frames))
            has_room = self._memory.is_ample or size <= self._account.room
            if has_room and size <= self._budget.bytes:
                self._write_frames(frames)
                return
        limit = self._queue.bytes + self._account.room
        dropped = self._queue.push(self._clock.seconds(), frames, limit)
        self.drop(DropReason.QUEUE_FULL, dropped)
        self._note_memory()
        self._pump_soon()

    def write(self, payload: bytes) -> None:
        """Send a message."""
        if self._has_ended or (self.is_paused and not self._may_wait(len(payload))):
            return
        frame = encode(payload)
        self.written += len(frame)
        self._transport.write(frame)

    def carry(self, lane: Lane) -> None:
        """There is something in this lane."""
        if self._is_open:
            self._lanes.setdefault(lane)
            self._pump_soon()

    def drop(self, reason: DropReason, count: int) -> None:
        """So many packets are not sent."""
        if count:
            self.dropped += count
            self._packets_dropped(reason, count)

    def call_when_empty(self, call: Callable[[], None]) -> None:
        """Call this when all packets and lanes that wait now have been written."""
        self._emptied = call
        self._pump()

    def end(self) -> None:
        """Write nothing any more. Packets that wait are dropped."""
        if self._is_open:
            self._transport.unregisterProducer()
        self._stop()

    def connection_lost(self) -> None:
        """The transport is gone, and all that it had buffered."""
        self._stop()
        self._account.hold(0)

    # --- IPushProducer: what the transport says ---

    def pauseProducing(self) -> None:
        self.is_paused = True
        self._budget.paused(self._clock.seconds())

    def resumeProducing(self) -> None:
        self.is_paused = False
        if self._budget.resumed(self._clock.seconds()):
            self._channel.limit_unsent(self._transport, self._budget.bytes)
        self._unread = self._unsent = 0
        self._resumed()
        self._pump()

    def stopProducing(self) -> None:
        """The transport is gone; `connection_lost` follows."""
        self.is_paused = True

    def _stop(self) -> None:
        self._is_open, self._has_ended = False, True
        self._pump_timer.stop()
        self._lanes.clear()
        self.drop(DropReason.LINK_LOST, self._queue.clear())

    # --- the pump ---

    def _pump_soon(self) -> None:
        """In the next iteration of the reactor: until then more packets may come, and overtake."""
        if not (self.is_paused or self._pump_timer.is_running):
            self._pump_timer.start(0, self._pump)

    def _pump(self) -> None:
        """Write one budget of what waits."""
        self._pump_timer.stop()
        if self.is_paused or not self._is_open:
            return
        budget = min(self._budget.bytes, max(self._account.room, MIN_BUDGET))
        share = budget // 2 if self._lanes else budget
        frames, expired = self._queue.pop(self._clock.seconds(), share)
        self.drop(DropReason.EXPIRED, expired)
        messages = self._from_lanes(budget - share if frames else budget) if self._lanes else []
        if frames or messages:
            self._write_frames(frames, messages)
        if (self._queue or self._lanes) and not self.is_paused:
            if self._budget.taken():
                self._channel.limit_unsent(self._transport, self._budget.bytes)
            self._pump_soon()
        elif self._emptied is not None and not self.is_paused:
            emptied, self._emptied = self._emptied, None
            emptied()
        self._note_memory()

    def _write_frames(self, frames: list[bytes], messages: Sequence[bytes] = ()) -> None:
        """Packets, and messages behind them."""
        parts: list[bytes] = []
        for frame in frames:
            parts += (b"%d:D" % (len(frame) + 1), frame, b",")
        parts += map(encode, messages)
        batch = b"".join(parts)
        self.written += len(batch)
        self._transport.write(batch)
        if self.is_paused:
            self._unsent += len(batch)
            self._note_memory()

    def _from_lanes(self, budget: int) -> list[bytes]:
        """So much of what waits in the lanes, which take turns."""
        messages: list[bytes] = []
        while budget > 0 and self._lanes:
            lane = next(iter(self._lanes))
            del self._lanes[lane]
            message = lane.take(max(budget, MIN_BUDGET))
            if message:
                messages.append(message)
                budget -= len(message)
                self._lanes[lane] = None
        return messages

    def _may_wait(self, size: int) -> bool:
        """Count a message that the other end does not read yet. False when that was too much: then
        the link has ended."""
        self._unread += size
        if self._unread > MAX_UNREAD:
            self._failed(PeerError(FailureReason.UNREAD, "it does not read what it is told"))
        else:
            self._note_memory()
        return not self._has_ended

    def _note_memory(self) -> None:
        """Count what is held for the other end. If its source holds too much that cannot be
        dropped, a link from there ends."""
        if self._has_ended:
            return
        self._account.hold(self._unread + self._queue.held + self._unsent, self._unread)
        self._account.settle()

    def _is_too_much(self) -> None:
        self._failed(PeerError(FailureReason.MEMORY, TOO_MUCH))
