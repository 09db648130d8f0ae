"""The queue of packets for a slow link: fair between flows, bounded in bytes and in time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_virtio import PLAIN, ip_packet
from tunmesh.link.fair_queue import MAX_BYTES, QUANTUM, PacketQueue
from tunmesh.packets.ip_headers import FRAGMENT

MAX_AGE = 5
ROOM = 5000


def packet(flow: int, number: int = 0, size: int = 100, version: int = 4) -> bytes:
    """A packet of `size` bytes, headers included; its ports identify the flow."""
    ports = flow.to_bytes(4, "big")
    source, destination = ("10.0.0.1", "10.0.0.2") if version == 4 else ("fd00::1", "fd00::2")
    empty = len(PLAIN + ip_packet(source, destination))
    payload = (ports + number.to_bytes(4, "big")).ljust(size - empty, b".")
    return PLAIN + ip_packet(source, destination, payload)


def flow_of(frame: bytes) -> int:
    return int.from_bytes(frame[30:34], "big")


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[34:38], "big")


# (seconds that pass, the flows and sizes pushed then, the budget of the pop that follows)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.lists(st.tuples(st.integers(0, 3), st.integers(50, 1500)), max_size=6),
        st.none() | st.integers(1, 4000),
    ),
    max_size=30,
)


class Order(unittest.SynchronousTestCase):
    """Which packet is sent first."""

    def setUp(self) -> None:
        self.queue = PacketQueue(MAX_AGE, 10 * QUANTUM)

    def test_one_flow(self) -> None:
        """Within a flow, the packet that has waited longest goes first."""
        frames = [packet(1, number) for number in range(5)]
        self.queue.push(0, frames[:2])
        self.queue.push(1, frames[2:])
        self.assertEqual(self.queue.pop(1, 10_000), (frames, 0))
        self.assertEqual(self.queue.pop(1, 10_000), ([], 0))

    def test_a_flow_that_sends_little(self) -> None:
        """A ping overtakes all waiting packets of a bulk transfer, in IPv4 and in IPv6."""
        for version in (4, 6):
            self.queue.push(0, [packet(1, n, 1500, version) for n in range(100)])
            self.queue.pop(0, QUANTUM)
            ping = packet(2, version=version)
            self.queue.push(0, [ping])
            frames, _ = self.queue.pop(0, 10_000)
            self.assertEqual(frames[0], ping)
            self.queue.clear()

    def test_fragments(self) -> None:
        """Fragments stay in their order, whatever is in them: datagrams do not mix."""
        for version, source, destination in (
            (4, "10.0.0.1", "10.0.0.2"),
            (6, "fd00::1", "fd00::2"),
        ):
            frames = []
            for number in range(40):
                start, is_last = number % 4 * 800, number % 4 == 3
                payload = number.to_bytes(4, "big") * 200
                if version == 4:
                    whole = ip_packet(source, destination, payload)
                    field = (start // 8 | (0 if is_last else 0x2000)).to_bytes(2, "big")
                    frames.append(PLAIN + whole[:6] + field + whole[8:])
                else:
                    head = bytes((17, 0)) + (start | (0 if is_last else 1)).to_bytes(2, "big")
                    head += (number // 4).to_bytes(4, "big")
                    frames.append(PLAIN + ip_packet(source, destination, head + payload, FRAGMENT))
            self.queue.push(0, [packet(1, n, 1500, version) for n in range(50)])
            self.queue.push(0, frames)
            popped: list[bytes] = []
            while self.queue:
                popped += self.queue.pop(0, 1)[0]
            self.assertEqual([frame for frame in popped if frame in frames], frames)

    def test_one_packet_at_a_time(self) -> None:
        """A flow that always has one packet waiting does not starve the others."""
        self.queue.push(0, [packet(1, n, 1500) for n in range(100)])
        served: Counter[int] = Counter()
        for number in range(200):
            self.queue.push(0, [packet(2, number, 1500)])
            frames, _ = self.queue.pop(0, 1)
            served.update(map(flow_of, frames))
        self.assertLessEqual(abs(served[1] - served[2]), 2 * QUANTUM // 1500)

    def test_a_scan(self) -> None:
        """Packets that are each a flow of their own, more than can be sent, do not starve another
        flow."""
        self.queue.push(0, [packet(1, n, 1500) for n in range(100)])
        self.queue.pop(0, QUANTUM)  # it is not new any more
        served: Counter[int] = Counter()
        for first in range(1000, 6000, 2):
            self.queue.push(0, [packet(first, size=1500), packet(first + 1, size=1500)])
            frames, _ = self.queue.pop(0, 1)
            served.update(map(flow_of, frames))
        self.assertGreater(served[1], 0)

    def test_equal_shares(self) -> None:
        """Waiting flows get equal shares in bytes, whatever the size of their packets."""
        self.queue.push(0, [packet(1, n, 1500) for n in range(200)])
        self.queue.push(0, [packet(2, n, 300) for n in range(1000)])
        served: Counter[int] = Counter()
        for _ in range(4):
            frames, _ = self.queue.pop(0, QUANTUM)
            for frame in frames:
                served[flow_of(frame)] += len(frame)
        self.assertLessEqual(abs(served[1] - served[2]), QUANTUM)

    def test_budget(self) -> None:
        """At least one packet is sent, and none after the budget is used up."""
        frames = [packet(1, n, 400) for n in range(3)]
        self.queue.push(0, frames)
        self.assertEqual(self.queue.pop(0, 1), (frames[:1], 0))
        self.assertEqual(self.queue.pop(0, 401), (frames[1:], 0))


class Bounds(unittest.SynchronousTestCase):
    """What is dropped, and what is not."""

    def setUp(self) -> None:
        self.queue = PacketQueue(MAX_AGE, ROOM)

    def test_full(self) -> None:
        """The flow with most bytes waiting loses its oldest packets; a small one loses none."""
        bulk = [packet(1, n, 500) for n in range(9)]
        self.queue.push(0, bulk)
        small = packet(2, size=400)
        more = packet(1, 9, 500)
        self.assertEqual(self.queue.push(0, [small, more]), 1)
        frames, _ = self.queue.pop(0, 10_000)
        self.assertCountEqual(frames, [*bulk[1:], small, more])

    def test_many_flows(self) -> None:
        """Of many equal flows, no more packets are dropped than necessary."""
        dropped = self.queue.push(0, [packet(flow, size=100) for flow in range(60)])
        self.assertEqual(dropped, 10)
        self.assertEqual((len(self.queue), self.queue.bytes), (50, ROOM))

    def test_larger_than_the_queue(self) -> None:
        """A packet larger than the limit is dropped, even if the queue is empty."""
        self.assertEqual(self.queue.push(0, [packet(1, size=ROOM + 1)]), 1)
        self.assertEqual((len(self.queue), self.queue.bytes), (0, 0))

    def test_default_room(self) -> None:
        """The default limit is 2 MiB."""
        queue = PacketQueue(MAX_AGE)
        self.assertEqual(queue.push(0, [packet(1, size=1024)] * 2049), 1)
        self.assertEqual((queue.bytes, MAX_BYTES), (2 << 20, 2 << 20))

    def test_expiry(self) -> None:
        """A packet may wait for exactly `max_age`, and no longer; expired packets do not count
        against the budget."""
        self.queue.push(0, [packet(1, 0), packet(1, 1)])
        in_time = packet(1, 2)
        self.queue.push(1, [in_time])
        self.assertEqual(self.queue.pop(6, 1), ([in_time], 2))
        self.assertFalse(self.queue)

    def test_clear(self) -> None:
        """Clearing returns the number of packets dropped; the queue can be used again."""
        self.queue.push(0, [packet(1), packet(2)])
        self.assertEqual(self.queue.clear(), 2)
        self.assertEqual((len(self.queue), self.queue.bytes, self.queue.clear()), (0, 0, 0))
        self.queue.push(0, [packet(1)])
        self.assertEqual(self.queue.pop(0, 1), ([packet(1)], 0))

    @settings(max_examples=300, deadline=None)
    @given(STEPS)
    def test_whatever_happens(
        self, steps: list[tuple[int, list[tuple[int, int]], int | None]]
    ) -> None:
        """No packet is lost uncounted or sent twice, each flow stays in order, the bounds hold, and
        no packet that has not expired waits while there is budget."""
        queue, now, pushed, dropped = PacketQueue(MAX_AGE, ROOM), 0, 0, 0
        sent: dict[int, list[int]] = {}
        for passed, flows, budget in steps:
            now += passed
            frames = [packet(f, pushed + i, size) for i, (f, size) in enumerate(flows)]
            pushed += len(frames)
            dropped += queue.push(now, frames)
            self.assertLessEqual(queue.bytes, ROOM)
            if budget is None:
                continue
            taken, expired = queue.pop(now, budget)
            dropped += expired
            self.assertTrue(not queue or sum(map(len, taken)) >= budget)
            for frame in taken:
                sent.setdefault(flow_of(frame), []).append(number_of(frame))
        for numbers in sent.values():
            self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(pushed, sum(map(len, sent.values())) + dropped + queue.clear())
        self.assertFalse(queue)
