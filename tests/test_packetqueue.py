"""The queue of a link whose transport takes no more, beside a list that does the same slowly."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.packetqueue import MAX_BYTES, PacketQueue

MAX_AGE = 5
ROOM = 30

FRAMES = st.lists(st.binary(min_size=1, max_size=12), max_size=5)
# (seconds that pass, what is pushed then, the budget of the pop that follows or None for no pop)
STEPS = st.lists(st.tuples(st.integers(0, 4), FRAMES, st.none() | st.integers(1, 20)), max_size=20)


class Model:
    """The same rules on a list, without running totals."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        return sum(len(frame) for _, frame in self.waiting)

    def push(self, now: int, frames: list[bytes]) -> int:
        dropped = 0
        for frame in frames:
            if self.size + len(frame) <= ROOM:
                self.waiting.append((now, frame))
            else:
                dropped += 1
        return dropped

    def pop(self, now: int, budget: int) -> tuple[list[bytes], int]:
        taken: list[bytes] = []
        expired = 0
        while self.waiting and len(b"".join(taken)) < budget:
            since, frame = self.waiting.pop(0)
            if now - since > MAX_AGE:
                expired += 1
            else:
                taken.append(frame)
        return taken, expired


class Queue(unittest.SynchronousTestCase):
    """Packets that wait."""

    def setUp(self) -> None:
        self.queue = PacketQueue(MAX_AGE, ROOM)

    def test_order(self) -> None:
        """What waited longest goes first."""
        self.queue.push(0, [b"one", b"two"])
        self.queue.push(1, [b"three"])
        self.assertEqual(self.queue.pop(1, 100), ([b"one", b"two", b"three"], 0))
        self.assertEqual(self.queue.pop(1, 100), ([], 0))

    def test_full(self) -> None:
        """A packet that finds no room is dropped; a smaller one may still fit."""
        self.assertEqual(self.queue.push(0, [b"x" * 25, b"x" * 6, b"y" * 5, b"z"]), 2)
        self.assertEqual(self.queue.bytes, ROOM)
        self.assertEqual(self.queue.pop(0, 100), ([b"x" * 25, b"y" * 5], 0))

    def test_larger_than_the_queue(self) -> None:
        """A packet that could never fit is dropped, even by an empty queue."""
        self.assertEqual(self.queue.push(0, [b"x" * (ROOM + 1)]), 1)
        self.assertEqual((len(self.queue), self.queue.bytes), (0, 0))

    def test_default_room(self) -> None:
        """A link holds one MiB, unless it is told otherwise."""
        queue = PacketQueue(MAX_AGE)
        self.assertEqual(queue.push(0, [bytes(1024)] * 1025), 1)
        self.assertEqual((queue.bytes, MAX_BYTES), (1 << 20, 1 << 20))

    def test_expiry(self) -> None:
        """A packet may wait exactly as long as it is allowed to, and no longer."""
        self.queue.push(0, [b"late", b"too late"])
        self.queue.push(1, [b"in time"])
        self.assertEqual(self.queue.pop(6, 100), ([b"in time"], 2))

    def test_expired_packets_make_room(self) -> None:
        """What expired costs nothing of the budget, and is gone."""
        self.queue.push(0, [b"x" * 20])
        self.queue.push(6, [b"y" * 10])
        self.assertEqual(self.queue.pop(6, 1), ([b"y" * 10], 1))
        self.assertEqual((len(self.queue), self.queue.bytes), (0, 0))

    def test_budget(self) -> None:
        """At least one packet is taken, and none after the budget is reached."""
        self.queue.push(0, [b"four", b"four", b"four"])
        self.assertEqual(self.queue.pop(0, 1), ([b"four"], 0))
        self.assertEqual(self.queue.pop(0, 5), ([b"four", b"four"], 0))

    def test_clear(self) -> None:
        """A queue that is cleared tells how many packets were lost, and is as new."""
        self.queue.push(0, [b"one", b"two"])
        self.assertEqual(self.queue.clear(), 2)
        self.assertEqual((len(self.queue), self.queue.bytes, self.queue.clear()), (0, 0, 0))

    @settings(max_examples=300, deadline=None)
    @given(STEPS)
    def test_beside_a_list(self, steps: list[tuple[int, list[bytes], int | None]]) -> None:
        """Whatever happens in whatever order, the queue does what the list does."""
        queue, model, now = PacketQueue(MAX_AGE, ROOM), Model(), 0
        for passed, frames, budget in steps:
            now += passed
            self.assertEqual(queue.push(now, frames), model.push(now, frames))
            if budget is not None:
                self.assertEqual(queue.pop(now, budget), model.pop(now, budget))
            self.assertEqual((queue.bytes, len(queue)), (model.size, len(model.waiting)))
        self.assertEqual(queue.clear(), len(model.waiting))
