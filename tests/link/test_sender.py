"""Packets that a link sends, and a transport that does not always take them."""

from __future__ import annotations

from collections import Counter

from tests.support.links import (
    GOSSIP,
    PACKET,
    QUEUE,
    REFUSAL,
    THERE,
    TIMING,
    LinkCase,
    record,
    signed,
)
from tunmesh.testing.network import HIGH_WATER, LATENCY
from tunmesh.testing.tun import frame
from tunmesh.tls.pacing import MAX_BUDGET
from tunmesh.wire import sizes
from tunmesh.wire.gossip import Gossip, Refusal, encode_inquiry, encode_introduction


class DataTests(LinkCase):
    """Packets, and a transport that does not always take them."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_both_ways(self) -> None:
        """Packets of all sizes arrive in order, in both directions."""
        packets = [PACKET, bytes(11), bytes(sizes.MAX_DATA_FRAME - 1)]
        self.link.send(packets)
        self.other.say(*(b"D" + packet for packet in packets))
        self.advance(0.01)
        self.assertEqual(self.other.packets(), packets)
        self.assertEqual(self.owner.packets, packets)

    def test_messages(self) -> None:
        """Gossip, inquiries, introductions and refusals are passed on, in both directions."""
        records = (signed("bob"),)
        ids = (record("bob").id,)
        said = [GOSSIP, encode_inquiry(ids), encode_introduction(records)]
        self.link.conversation.tell(Gossip(1))
        self.link.conversation.ask(ids)
        self.link.conversation.introduce(records)
        self.link.conversation.refuse(Refusal((), ""))
        self.other.say(*said, REFUSAL)
        self.advance(0.01)
        self.assertEqual(self.other.heard, [*said, REFUSAL])
        self.assertEqual(self.owner.told, [Gossip(1), ids, records, Refusal((), "")])

    def test_many_questions(self) -> None:
        """A peer that asks repeatedly and reads nothing is owed each answer once."""
        self.block()
        records = (signed("bob"), signed("carol"))
        for _ in range(100):
            self.link.conversation.introduce(records)
        self.network.heal()
        self.advance(1)
        answers = [payload for payload in self.other.heard if payload[:1] == b"N"]
        self.assertEqual(answers, [encode_introduction(records)])

    def test_short_pause(self) -> None:
        """Packets that waited only briefly are delivered in order, and none is dropped."""
        self.block()
        packets = [
            frame("10.0.0.1", "10.0.0.2", b"flow" + number.to_bytes(2, "big") * 500)
            for number in range(500)
        ]
        for start in range(0, 500, 10):
            self.link.send(packets[start : start + 10])
        self.assertEqual(self.link.queued_bytes, sum(map(len, packets)))
        self.advance(TIMING.packet_expiration / 2)
        self.network.heal()
        self.advance(0.05)
        self.assertEqual(self.other.packets()[-500:], packets)
        self.assertEqual((self.owner.dropped, self.link.queued_bytes), (Counter(), 0))

    def test_long_pause(self) -> None:
        """Packets that have waited too long are dropped and counted; later ones are sent."""
        self.block()
        self.link.send([PACKET] * 7)
        self.advance(TIMING.packet_expiration + 0.01)
        self.link.send([b"fresh" * 4])
        self.network.heal()
        self.advance(0.01)
        self.assertEqual(self.owner.dropped, {"expired": 7})
        self.assertEqual(self.other.packets()[-1], b"fresh" * 4)
        self.assertNotIn(PACKET, self.other.packets())

    def test_full_queue(self) -> None:
        """What does not fit into the queue is dropped and counted."""
        self.block()
        self.link.send([bytes(QUEUE // 4)] * 6)
        self.assertEqual(self.owner.dropped, {"queue_full": 2})
        self.assertEqual(self.link.queued_bytes, QUEUE)

    def test_large_batch(self) -> None:
        """A batch too large for one write is sent in several iterations, and a ping that comes
        meanwhile overtakes the rest of it."""
        bulk = [frame("10.0.0.1", "10.0.0.2", bytes(60_000))] * 10
        ping = frame("10.0.0.1", "10.0.0.2", b"ping")
        self.link.send(bulk)
        self.clock.advance(0)
        self.link.send([ping])
        self.advance(0.05)
        arrived = self.other.packets()[-11:]
        self.assertCountEqual(arrived, [*bulk, ping])
        self.assertLess(arrived.index(ping), 6)

    def test_slow_way(self) -> None:
        """On a path of 1 MB/s, a ping beside bulk waits for little more than what the transport has
        buffered; when the path is fast again, bulk is as fast as before."""

        def arrived(turns: int) -> int:
            """Send more bulk in each iteration than can pass."""
            self.other.heard.clear()
            for _ in range(turns):
                self.link.send([frame("10.0.0.1", "10.0.0.2", bytes(1400))] * 200)
                self.advance(LATENCY)
            return len(self.other.packets())

        before = arrived(50)
        self.network.rates[THERE] = 1e6
        self.assertLess(arrived(500), before)
        ping = frame("10.0.0.1", "10.0.0.2", b"ping")
        self.link.send([ping])
        self.advance(HIGH_WATER / 1e6 + 0.02)
        self.assertTrue(ping in self.other.packets())
        self.assertLess(min(self.channel.limits), MAX_BUDGET // 8)
        del self.network.rates[THERE]
        self.advance(1)
        self.assertGreater(arrived(50), 0.9 * before)
        self.assertEqual(self.channel.limits[-1], MAX_BUDGET)

    def test_lost_while_waiting(self) -> None:
        """Packets that wait when the connection is lost, or come later, are counted as dropped."""
        self.block()
        self.link.send([PACKET] * 3)
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.link.send([PACKET] * 2)
        self.assertEqual(self.owner.dropped, {"link_lost": 5})
        self.assert_ended("lost", "lost")

    def test_pong_is_owed(self) -> None:
        """Of all pings that come while the transport is blocked, only the last is answered."""
        self.block()
        self.other.heard.clear()
        for number in range(100):
            self.other.say(b"i" + number.to_bytes(8, "big"))
        self.advance(0.02)
        self.network.heal()
        self.advance(0.02)
        self.assertEqual(self.other.count(b"o"), 1)
        self.assertEqual(self.other.heard[-1], b"o" + (99).to_bytes(8, "big"))


class _Lane:
    """Something of a stream that waits: so many messages of this size."""

    def __init__(self, count: int, size: int, mark: bytes) -> None:
        self.count = count
        self.size = size
        self.mark = mark

    def take(self, most: int) -> bytes:
        if not self.count:
            return b""
        self.count -= 1
        return (b"S" + self.mark * self.size)[:most]


class LaneTests(LinkCase):
    """Streams that are carried over a link, beside its own packets."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_turns(self) -> None:
        """Lanes take turns."""
        for mark, count in ((b"x", 3), (b"y", 2), (b"z", 1)):
            self.link.conversation.carry(_Lane(count, 1, mark))
        self.advance(0.01)
        heard = [payload for payload in self.other.heard if payload[:1] == b"S"]
        self.assertEqual(heard, [b"Sx", b"Sy", b"Sz", b"Sx", b"Sy", b"Sx"])

    def test_half(self) -> None:
        """While packets wait as well, they get at least half of what is sent, whatever the
        lanes have."""
        self.block()
        lanes = [_Lane(1000, 30_000, b"x") for _ in range(9)]
        for lane in lanes:
            self.link.conversation.carry(lane)
        packets = [
            frame("10.0.0.1", "10.0.0.2", number.to_bytes(2, "big") * 700) for number in range(700)
        ]
        self.link.send(packets)
        self.network.heal()
        while self.link.queued_bytes:
            self.advance(0.001)
        streams = sum(len(payload) for payload in self.other.heard if payload[:1] == b"S")
        self.assertEqual(self.link.dropped, 0)
        self.assertLess(streams, 1.5 * sum(map(len, packets)) + MAX_BUDGET)
        self.assertGreater(streams, 0.5 * sum(map(len, packets)))

    def test_retiring(self) -> None:
        """A link that is replaced sends what waits in lanes before it says bye."""
        self.block()
        lane = _Lane(3, 9, b"x")
        self.link.conversation.carry(lane)
        self.link.retire()
        self.network.heal()
        self.advance(0.1)
        self.assertEqual(lane.count, 0)
        self.assertEqual(self.other.heard[-1], b"Breplaced")

    def test_closed(self) -> None:
        """A link that has ended takes nothing more from lanes."""
        self.link.close("leaving")
        lane = _Lane(3, 9, b"x")
        self.link.conversation.carry(lane)
        self.advance(0.1)
        self.assertEqual(lane.count, 3)
