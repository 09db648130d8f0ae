"""The states of a link: how it comes up, is replaced, and ends."""

from __future__ import annotations

from tests.support.links import (
    GOSSIP,
    HERE,
    KEY,
    PACKET,
    PING,
    PONG,
    QUEUE,
    REFUSAL,
    THERE,
    TIMEOUT,
    LinkCase,
    record,
)
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import State
from tunmesh.link.link import RETIRE_TIMEOUT, Link
from tunmesh.testing.network import HIGH_WATER, LATENCY
from tunmesh.wire import messages
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.netstring import encode
from tunmesh.wire.proofs import Hello


class BeforeAuthenticationTests(LinkCase):
    """A link whose other end is not authentic yet."""

    def test_accepted(self) -> None:
        """The accepting end sends nothing at first, and is up when the other end has proved that it
        holds the key."""
        self.secure()
        self.assertEqual(self.other.heard, [])
        self.assertEqual((self.owner.ups, self.admitted), (0, 0))
        self.setUp()
        self.come_up()
        self.assertIs(self.link.state, State.UP)
        self.assertEqual((self.owner.ups, self.admitted), (1, 1))
        self.assertEqual(self.link.record, record("b"))
        self.assertEqual(self.link.key, KEY)

    def test_dialed(self) -> None:
        """A link that was dialed says hello, and is up when the other end has proved itself."""
        self.secure(dialed=True)
        self.assertEqual([payload[:1] for payload in self.other.heard], [b"H"])
        self.setUp()
        self.come_up(dialed=True)
        self.assertIs(self.link.state, State.UP)
        self.assertEqual(self.link.record, record("b"))

    def test_in_pieces(self) -> None:
        """A partial frame of the handshake is held in memory only until it is complete."""
        self.come_up(pieces=lambda data: [data[:20], data[20:]])
        self.assertIs(self.link.state, State.UP)
        self.assertEqual(self.memory.held, 0)

    def test_nothing_but_the_handshake(self) -> None:
        """Anything else before the proof ends the connection: it is not processed, and nothing is
        sent."""
        for payload in (b"D" + PACKET, PING, PONG, GOSSIP, REFUSAL, b"Bleaving", b"P" * 99, b""):
            self.setUp()
            self.secure()
            self.other.say(payload, payload)
            self.advance(0.01)
            self.assert_ended("failed", "unexpected")
            self.assertEqual(self.other.heard, [])
            self.assertEqual((self.owner.packets, self.owner.told, self.owner.byes), ([], [], []))

    def test_before_tls(self) -> None:
        """A message before TLS is up ends the connection."""
        self.connect()
        self.other.say(Hello((1,), (KEY.id_for(bytes(32)),), bytes(32)).encode())
        self.advance(0.01)
        self.assert_ended("failed", "unexpected")

    def test_long_frame(self) -> None:
        """An unauthenticated peer cannot make us buffer more than a small frame."""
        self.secure()
        self.other.transport.write(b"6145:")
        self.advance(0.01)
        self.assert_ended("failed", "oversized")

    def test_too_slow(self) -> None:
        """A peer that does not authenticate in time is disconnected."""
        self.secure()
        self.advance(TIMEOUT - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.1)
        self.assert_ended("failed", "timeout")

    def test_other_end_goes(self) -> None:
        """If the other end closes during the handshake, the reason comes from the connection."""
        self.secure()
        self.other.transport.loseConnection()
        self.advance(0.01)
        self.assert_ended("failed", "closed")

    def test_listener_hangs_up(self) -> None:
        """A listener that closes after our hello does not say why: the message suggests to check
        the secret."""
        self.secure(dialed=True)
        self.other.transport.loseConnection()
        self.advance(0.01)
        self.assert_ended("failed", "closed")
        self.assertIn("has it the same secret?", self.owner.why)

    def test_flawed_connection(self) -> None:
        """A connection that fails the checks is not used."""
        self.channel.flaw = PeerError(
            FailureReason.CERTIFICATE, "its certificate is for somebody else"
        )
        self.secure(dialed=True)
        self.assert_ended("failed", "certificate")
        self.assertEqual(self.other.heard, [])

    def test_closed_by_us(self) -> None:
        """An unauthenticated peer is not told why we close."""
        self.secure()
        self.link.close(messages.LEAVING)
        self.advance(0.01)
        self.assert_ended("failed", messages.LEAVING)
        self.assertEqual(self.other.heard, [])


class RetireTests(LinkCase):
    """A link that is replaced by another one."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_we_first(self) -> None:
        """It says bye behind its last packet and goes on receiving until it hears bye."""
        self.link.send([PACKET])
        self.link.retire()
        self.assertIs(self.link.state, State.RETIRING)
        self.link.send([PACKET])
        self.other.say(b"D" + PACKET)
        self.advance(0.5)
        self.assertEqual(self.other.heard, [b"D" + PACKET, b"Breplaced"])
        self.assertEqual(self.owner.packets, [PACKET])
        self.assertEqual(self.owner.dropped, {"link_lost": 1})
        self.other.say(b"D" + PACKET, b"Breplaced")
        self.advance(0.01)
        self.assertEqual(self.owner.packets, [PACKET] * 2)
        self.assert_ended("lost", messages.REPLACED)

    def test_they_first(self) -> None:
        """If it receives bye first, it answers with its own and is closed."""
        self.other.say(b"Breplaced")
        self.advance(0.01)
        self.assertEqual(self.owner.byes, [messages.REPLACED])
        self.assertEqual(self.other.heard, [b"Breplaced"])
        self.assert_ended("lost", messages.REPLACED)

    def test_they_first_and_we_much_later(self) -> None:
        """As long as there is no other link to take its place, it stays in use."""
        self.owner.follows = False
        self.other.say(b"Breplaced")
        self.advance(1)
        self.link.send([PACKET])
        self.advance(0.01)
        self.assertEqual(self.other.packets(), [PACKET])
        self.link.retire()
        self.advance(0.01)
        self.assert_ended("lost", messages.REPLACED)

    def test_while_packets_wait(self) -> None:
        """Queued packets are sent before the bye."""
        self.block()
        self.link.send([PACKET])
        self.link.retire()
        self.other.say(b"Breplaced")
        self.advance(0.02)
        self.network.heal()
        self.advance(0.01)
        self.assertEqual(self.other.heard[-2:], [b"D" + PACKET, b"Breplaced"])
        self.assertEqual(self.owner.dropped, {})
        self.assert_ended("lost", messages.REPLACED)

    def test_no_answer(self) -> None:
        """It does not wait for ever for the other end's bye."""
        self.link.retire()
        self.advance(RETIRE_TIMEOUT + 0.01)
        self.assert_ended("lost", "lost")

    def test_only_once(self) -> None:
        """To retire a link again, or one that is closed, changes nothing."""
        self.link.retire()
        self.advance(RETIRE_TIMEOUT / 2)
        self.link.retire()
        self.advance(RETIRE_TIMEOUT / 2 + 0.01)
        self.assertEqual(self.other.heard, [b"Breplaced"])
        self.assert_ended("lost", "lost")
        self.link.retire()
        self.assert_ended("lost", "lost")


class EndTests(LinkCase):
    """How a link ends."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_we_say_bye(self) -> None:
        """The other end is told the reason; what it sends afterwards is ignored."""
        for reason in messages.BYE_REASONS - {messages.REPLACED}:
            self.setUp()
            self.link.close(reason)
            self.link.close(messages.SILENT)
            self.link.send([PACKET])
            self.other.say(b"D" + PACKET, GOSSIP, PING)
            self.advance(0.01)
            self.assertEqual(self.other.heard, [b"B" + reason.encode()])
            self.assertEqual((self.owner.packets, self.owner.told), ([], []))
            self.assert_ended("lost", reason)

    def test_packets_are_no_offence(self) -> None:
        """A link whose packets use all the memory that it may have does not end when other links
        use some as well: its packets are dropped. It ends if too many messages are unread."""
        self.memory.limit = QUEUE
        self.block()
        for _ in range(QUEUE // HIGH_WATER):
            self.link.send([bytes(HIGH_WATER)])
        self.memory.account("elsewhere").hold(QUEUE // 4)
        dropped = self.owner.dropped["queue_full"]
        self.link.send([PACKET])
        self.link.conversation.tell(Gossip(1))
        self.assertIs(self.link.state, State.UP)
        self.assertGreater(self.owner.dropped["queue_full"], dropped)
        large = Gossip(1, tuple(f"{number:032x}" for number in range(400)))
        while self.link.state is State.UP:
            self.link.conversation.tell(large)
        self.assertIs(self.link.state, State.CLOSED)

    def test_nothing_is_kept(self) -> None:
        """A link that is gone holds no memory, even if it is told to send something."""
        self.block()
        self.link.conversation.tell(Gossip(1))
        self.assertGreater(self.memory.held, 0)
        self.link.connectionLost()
        self.link.conversation.tell(Gossip(2))
        self.assertEqual(self.memory.held, 0)

    def test_memory_taken_by_others(self) -> None:
        """While others use much of the memory, packets that fit are still written at once: queued,
        they might expire."""
        hoard = self.memory.account("somebody else")
        hoard.hold(self.memory.limit * 2 // 3)
        self.assertFalse(self.memory.is_ample)
        self.link.send([PACKET])
        self.assertEqual(self.memory.held, hoard.held)
        self.advance(LATENCY)
        self.assertEqual(self.other.packets(), [PACKET])

    def test_bye_while_they_send(self) -> None:
        """Packets in flight when we say bye do not change the reason: the rest of a partial frame,
        read on its own, would look like a protocol error."""
        stream = encode(b"D" + bytes(1000)) * 3
        for begin, end in ((0, 100), (100, 1500), (1500, len(stream))):
            self.other.transport.write(stream[begin:end])
            if begin == 0:
                self.advance(0.01)
        self.link.close(messages.LEAVING)
        self.advance(0.01)
        self.assertEqual(self.other.heard, [b"Bleaving"])
        self.assert_ended("lost", messages.LEAVING)

    def test_bye_because_of_packets(self) -> None:
        """If the tun turns out to be gone while packets are written to it, messages behind them are
        ignored, and do not change the reason."""

        def leave(link: Link, frames: list[memoryview]) -> int:
            link.close(messages.LEAVING)
            return 0

        for behind in (GOSSIP, b"?"):
            self.setUp()
            self.owner.receive = leave  # type: ignore[method-assign]
            self.other.say(b"D" + PACKET, behind)
            self.advance(0.01)
            self.assertEqual(self.owner.told, [])
            self.assertEqual(self.other.heard, [b"Bleaving"])
            self.assert_ended("lost", messages.LEAVING)

    def test_they_say_bye(self) -> None:
        """The owner is told the reason, and nothing that comes after it."""
        for reason in messages.BYE_REASONS - {messages.REPLACED}:
            self.setUp()
            self.other.say(b"B" + reason.encode(), b"D" + PACKET, GOSSIP)
            self.advance(0.01)
            self.assertEqual(self.owner.byes, [reason])
            self.assertEqual((self.owner.packets, self.owner.told), ([], []))
            self.assert_ended("lost", reason)

    def test_bye_to_nobody(self) -> None:
        """If the other end does not close its side, ours is closed after a short time."""
        self.network.cut(HERE, THERE)
        self.link.close(messages.LEAVING)
        self.advance(RETIRE_TIMEOUT - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.11)
        self.assert_closed("lost", messages.LEAVING)

    def test_bye_while_packets_wait(self) -> None:
        """Closing does not wait for a blocked transport: packets that wait are counted as
        dropped."""
        self.block()
        self.link.send([PACKET] * 4)
        self.link.close(messages.LEAVING)
        self.advance(RETIRE_TIMEOUT + 0.01)
        self.assertEqual(self.owner.dropped, {"link_lost": 4})
        self.assert_closed("lost", messages.LEAVING)

    def test_lost(self) -> None:
        """A lost connection ends the link; calls after that have no effect."""
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.link.send([PACKET])
        self.link.conversation.tell(Gossip(1))
        self.link.close(messages.LEAVING)
        self.assert_ended("lost", "lost")
        self.assertEqual(self.other.heard, [])
