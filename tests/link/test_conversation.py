"""What the other end of a link may say, and how much of it."""

from __future__ import annotations

from tests.support.links import (
    PACKET,
    REFUSAL,
    LinkCase,
)
from tunmesh.link import penalty
from tunmesh.link.interfaces import State
from tunmesh.link.link import RETIRE_TIMEOUT
from tunmesh.wire import sizes
from tunmesh.wire.interests import Interest, Interests
from tunmesh.wire.streams import PIECE, Message


class WrongMessageTests(LinkCase):
    """A member that breaks the rules."""

    def test_wrong_messages(self) -> None:
        """Any message that members do not exchange ends the link."""
        wrong = {
            "unexpected": [b"", b"Z", b"H" + bytes(42), b"C" + bytes(41), b"P" + bytes(99), b"d"],
            "malformed": [
                *(b"i", b"i" + bytes(9), b"o", b"G", b"G{}", b"G[", b"R[]", b"B", b"Bbye"),
                *(b"O", b"O" + bytes(4), b"O" + bytes(5)),
            ],
            "oversized": [b"D" + bytes(sizes.MAX_DATA_FRAME)],
        }
        for reason, payloads in wrong.items():
            for payload in payloads:
                self.setUp()
                self.come_up()
                self.other.say(payload, b"D" + PACKET)
                self.advance(0.01)
                self.assert_ended("lost", reason)
                self.assertEqual(self.owner.packets, [])

    def test_second_offer(self) -> None:
        """UDP may be offered once on each link."""
        self.come_up()
        self.link.conversation.offer(7)
        self.other.say(b"O\0\0\0\5")
        self.advance(0.01)
        self.assertEqual(self.owner.told, [("offer", 5)])
        self.assertEqual(self.other.heard[-1], b"O\0\0\0\7")
        self.other.say(b"O\0\0\0\6")
        self.advance(0.01)
        self.assert_ended("lost", "unexpected")
        self.assertEqual(self.owner.told, [("offer", 5)])

    def test_wrong_frames(self) -> None:
        """So does anything that is not a frame, or a frame that is longer than any message."""
        for reason, data in (
            ("framing", b"hello"),
            ("framing", b"1:ZZ"),
            ("oversized", b"%d:" % (sizes.MAX_FRAME + 1)),
        ):
            self.setUp()
            self.come_up()
            self.other.transport.write(data)
            self.advance(0.01)
            self.assert_ended("lost", reason)


class UselessTests(LinkCase):
    """Useless frames."""

    ROUND = 1_000  # frames that come at a time

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def flood(self, payload: bytes, seconds: float) -> float:
        """The other end sends this 100,000 times a second; how often it was received."""
        rounds = round(seconds * 100_000 / self.ROUND)
        for _ in range(rounds):
            self.other.say(*[payload] * self.ROUND)
            self.clock.advance(seconds / rounds)
        return len(self.owner.packets) + len(self.owner.told)

    def assert_held_back(self, heard: float, seconds: float) -> None:
        self.assertGreater(heard, penalty.BURST)
        self.assertLess(heard, penalty.BURST + (seconds + penalty.MAX_REST) * penalty.RATE)
        self.assertGreater(self.owner.complaints, 0)

    def test_interests(self) -> None:
        """What a peer says of multicast groups costs the more the longer it is."""
        groups = tuple(Interest(bytes((239, 1, n // 256, n % 256))) for n in range(2000))
        message = Interests(1, True, frozenset({4}), groups).encode()
        self.assertGreater(len(message), 12_000)
        told: list[Interests] = []
        self.link.conversation.when_interested(told.append)
        for _ in range(1000):
            self.other.say(message)
        self.advance(1.0)
        most = (penalty.BURST + 2 * penalty.RATE) / penalty.weight(message)
        self.assertGreater(len(told), penalty.BURST / penalty.weight(message) - 1)
        self.assertLess(len(told), most)
        self.assertGreater(self.owner.complaints, 0)

    def assert_all_is_well(self) -> None:
        """No complaint was made, and everything was read."""
        self.advance(0.1)
        self.assertEqual(self.owner.complaints, 0)
        self.assertTrue(self.network.wires)
        self.other.say(b"D" + PACKET)
        self.advance(0.1)
        self.assertEqual(self.owner.packets[-1], PACKET)

    def test_packets(self) -> None:
        """A peer all of whose packets are dropped is read at a limited rate. Nothing is lost, and
        the link stays up."""
        self.owner.drops = True
        self.assert_held_back(self.flood(b"D" + PACKET, 2.0), 2.0)
        self.assertIs(self.link.state, State.UP)
        self.advance(20)
        self.assertEqual(len(self.owner.packets), 200_000)
        self.assertEqual(self.owner.ends, [])

    def test_messages(self) -> None:
        """So is a peer that sends nothing but messages."""
        self.assert_held_back(self.flood(REFUSAL, 2.0), 2.0)

    def test_carried(self) -> None:
        """There is no limit for packets that are carried."""
        self.assertEqual(self.flood(b"D" + PACKET, 2.0), 200_000)
        self.assert_all_is_well()

    def test_route_change(self) -> None:
        """For a fifth of a second all packets may be wrong, at the rate of the fastest peer, and
        again when that has been paid for; and a tenth of them may be wrong for ever."""
        for _ in range(3):
            self.owner.drops = True
            self.flood(b"D" + PACKET, 0.19)
            self.owner.drops = False
            self.flood(b"D" + PACKET, 2.0)
        for _ in range(100):
            self.flood(b"D" + PACKET, 0.09)
            self.owner.drops = True
            self.flood(b"D" + PACKET, 0.01)
            self.owner.drops = False
        self.assert_all_is_well()

    def test_bye(self) -> None:
        """A bye behind all those frames is received as soon as the other end is read again."""
        self.owner.drops = True
        self.flood(b"D" + PACKET, 0.25)
        self.other.say(b"Bleaving")
        self.advance(penalty.MAX_REST)
        self.assertEqual(self.owner.byes, ["leaving"])

    def test_end(self) -> None:
        """A link that ends meanwhile leaves no timers behind."""
        self.owner.drops = True
        self.flood(b"D" + PACKET, 0.3)
        self.link.close("leaving")
        self.advance(RETIRE_TIMEOUT + 0.1)
        self.assertEqual(self.owner.ends, [("lost", "leaving")])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])

    def test_streams(self) -> None:
        """What is said of streams is held back if it is of no use, and not otherwise."""
        message = Message(PIECE, 1, 0, b"x")
        heard = self.flood(message.encode(), seconds=0.5)
        self.assertEqual(heard, 50_000)
        self.assert_all_is_well()
        self.owner.uses_streams = False
        self.owner.told.clear()
        self.owner.packets.clear()
        self.assert_held_back(self.flood(message.encode(), seconds=2), seconds=2)
