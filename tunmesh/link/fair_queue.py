"""The packets that wait for one link, because its transport or this processor is slower than they
come. While nothing has to wait, packets do not pass here.

**Fair.** Packets of one flow (addresses and ports) wait in a line of their own, and the lines take
turns by bytes: deficit round robin. A flow that had nothing waiting goes first, once. So a ping, a
name lookup or a new connection overtakes the megabyte that a bulk transfer keeps waiting, which
delays nobody but itself. There are `LINES` lines, and a checksum tells a flow its own: a few flows
hardly ever share one, and a scan of ports, each packet a flow, can neither make every other flow
wait for ever nor make the search for the longest line long.

**Bounded** in bytes: when there is no room, the longest line loses its oldest packets; those are
what its sender learns most from, and soonest. Bounded in time: what waited longer than `max_age` is
dropped when its turn comes, because a late packet is worth less than none to the transport
protocols inside the tunnel, which have sent it again by then. So one slow peer costs `max_bytes` of
memory and nobody else any time.

Sources: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", 1995;
RFC 8290 (FQ-CoDel) for the two lists of lines and for whom to take from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from zlib import crc32

LINES = 1024
MAX_BYTES = 2 << 20
# Bytes of one flow's turn: the largest packet there is, so that each turn gives one.
QUANTUM = 65_546
OVERHEAD = 150  # bytes of memory that a packet takes in Python beside its own
_BYTES = attrgetter("bytes")


class _Flow:
    """The packets of one line, each with the time since when it waits."""

    __slots__ = ("bytes", "credit", "key", "packets")

    def __init__(self, key: int) -> None:
        self.key = key
        self.packets: deque[tuple[float, bytes]] = deque()
        self.bytes = 0
        self.credit = QUANTUM  # bytes that it may still send in this turn


class PacketQueue:
    """Fair between flows. `now` and `max_age` are in seconds of any one clock. What is pushed must
    be packets that could be routed: their addresses are read."""

    def __init__(self, max_age: float, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = self._count = 0
        self.max_age = max_age
        self._max_bytes = max_bytes
        self._flows: dict[int, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()

    def __len__(self) -> int:
        return sum(len(flow.packets) for flow in self._flows.values())

    def __bool__(self) -> bool:
        return self.bytes > 0

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return self.bytes + OVERHEAD * self._count

    def push(self, now: float, frames: Iterable[bytes], most: int | None = None) -> int:
        """Take them in; how many packets, of these or older ones, had to go to make room. `most`:
        bytes that may wait now, where that is less than `max_bytes`."""
        limit = self._max_bytes if most is None else min(most, self._max_bytes)
        flows = self._flows
        for frame in frames:
            # Addresses and ports; whatever is there instead, of other protocols, does as well.
            key = crc32(frame[22:34] if frame[10] < 0x50 else frame[18:54]) % LINES
            flow = flows.get(key)
            if flow is None:
                flow = flows[key] = _Flow(key)
                self._new.append(flow)
            flow.packets.append((now, frame))
            flow.bytes += len(frame)
            self.bytes += len(frame)
            self._count += 1
        return self._shed(limit) if self.bytes > limit else 0

    def pop(self, now: float, budget: int) -> tuple[list[bytes], int]:
        """The next packets, at least one and until `budget` bytes are reached; and how many had
        expired before them."""
        frames: list[bytes] = []
        expired = 0
        oldest = now - self.max_age
        while budget > 0 and (line := self._new or self._old):
            flow = line[0]
            if flow.credit <= 0 or not flow.packets:
                self._end_turn(line)
                continue
            since, frame = self._take(flow)
            if since < oldest:
                expired += 1
            else:
                frames.append(frame)
                flow.credit -= len(frame)
                budget -= len(frame)
        return frames, expired

    def clear(self) -> int:
        """Drop everything; how many packets that were."""
        count = len(self)
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self.bytes = self._count = 0
        return count

    def _end_turn(self, line: deque[_Flow]) -> None:
        """A flow goes to the end of the line. It is forgotten when it comes back with nothing, and
        not before: a flow that keeps just one packet waiting would be a new one each time."""
        flow = line.popleft()
        if flow.packets or line is self._new:
            flow.credit = min(flow.credit, 0) + QUANTUM
            self._old.append(flow)
        else:
            del self._flows[flow.key]

    def _shed(self, limit: int) -> int:
        """Make room: the longest lines lose their oldest packets, each up to a half of itself, so
        that to look for the longest does not cost much for each packet."""
        dropped = 0
        while self.bytes > limit:
            flow = max(self._flows.values(), key=_BYTES)
            enough = flow.bytes // 2
            while self.bytes > limit and flow.bytes > enough:
                self._take(flow)
                dropped += 1
        return dropped

    def _take(self, flow: _Flow) -> tuple[float, bytes]:
        since, frame = flow.packets.popleft()
        flow.bytes -= len(frame)
        self.bytes -= len(frame)
        self._count -= 1
        return since, frame
