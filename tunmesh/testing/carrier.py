"""A carrier in memory (dataplane.carrier): what is sent arrives when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from tunmesh.dataplane.carrier import Receive
from tunmesh.dataplane.drops import DropReason

MAX_BYTES = 1 << 20


class MemoryCarrier:
    """Carries frames until it is closed. `dropped(reason, count)` is told of those that it does
    not; `round_trip` is what the test says that it is."""

    def __init__(self, dropped: Callable[[DropReason, int], None]) -> None:
        self.dropped = 0
        self.queued_bytes = 0
        self.round_trip: float | None = None
        self._packets_dropped = dropped
        self._is_blocked = False
        self._is_closed = False
        self._queue: list[bytes] = []
        self._under_way: list[bytes] = []

    def send(self, frames: list[bytes]) -> None:
        if self._is_closed:
            self._drop(DropReason.LINK_LOST, len(frames))
        elif not self._is_blocked:
            self._under_way += frames
        else:
            for frame in frames:
                if self.queued_bytes + len(frame) > MAX_BYTES:
                    self._drop(DropReason.QUEUE_FULL, 1)
                else:
                    self._queue.append(frame)
                    self.queued_bytes += len(frame)

    def close(self, reason: str) -> None:
        self._is_closed = True
        self._drop(DropReason.LINK_LOST, len(self._queue))
        self._queue, self.queued_bytes = [], 0

    def block(self) -> None:
        """The path takes nothing from now on."""
        self._is_blocked = True

    def unblock(self) -> None:
        """It takes everything again."""
        self._is_blocked = False
        self._under_way += self._queue
        self._queue, self.queued_bytes = [], 0

    def deliver(self, receive: Receive) -> None:
        """What is under way arrives, in one batch."""
        frames, self._under_way = self._under_way, []
        if frames:
            receive([memoryview(frame) for frame in frames])

    def _drop(self, reason: DropReason, count: int) -> None:
        if count:
            self.dropped += count
            self._packets_dropped(reason, count)
