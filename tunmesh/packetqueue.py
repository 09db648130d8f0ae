"""The packets that wait for one link while its transport takes no more.

Bounded twice. In bytes: a packet that finds the queue full is dropped, the older ones have waited
longer and go first. In time: what waited longer than `max_age` is dropped when its turn comes,
because a late packet is worth less than none to the transport protocols inside the tunnel, which
have sent it again by then. So one slow peer costs `max_bytes` of memory and nobody else any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

MAX_BYTES = 1 << 20


class PacketQueue:
    """First in, first out. `now` and `max_age` are in seconds of any one clock."""

    def __init__(self, max_age: float, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self.max_age = max_age
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[float, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, now: float, frames: Iterable[bytes]) -> int:
        """Take them in; the number that found no room."""
        dropped = 0
        for frame in frames:
            if self.bytes + len(frame) > self._max_bytes:
                dropped += 1
            else:
                self.bytes += len(frame)
                self._waiting.append((now, frame))
        return dropped

    def pop(self, now: float, budget: int) -> tuple[list[bytes], int]:
        """The next packets, at least one and until `budget` bytes are reached; and how many had
        expired before them."""
        frames: list[bytes] = []
        expired = 0
        oldest = now - self.max_age
        while self._waiting and budget > 0:
            since, frame = self._waiting.popleft()
            self.bytes -= len(frame)
            if since < oldest:
                expired += 1
            else:
                frames.append(frame)
                budget -= len(frame)
        return frames, expired

    def clear(self) -> int:
        """Drop everything; how many packets that were."""
        count = len(self._waiting)
        self._waiting.clear()
        self.bytes = 0
        return count
