"""One link, without TLS: its owner on this side, and on the other one somebody who says whatever
the test tells him to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_interface
from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.auth import signing
from tunmesh.auth.handshake import Dialer, Key, Listener
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import PeerError
from tunmesh.link import penalty
from tunmesh.link.authentication import Authentication
from tunmesh.link.fair_queue import MAX_BYTES
from tunmesh.link.interfaces import LinkTransport, State
from tunmesh.link.keepalive import OTHERS_TURN, Timing
from tunmesh.link.link import RETIRE_TIMEOUT, Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.testing.network import HIGH_WATER, LATENCY, Network
from tunmesh.testing.tun import frame
from tunmesh.tls.pacing import MAX_BUDGET
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import Gossip, Refusal, encode_inquiry, encode_introduction
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.proofs import Hello
from tunmesh.wire.records import NodeRecord, SignedRecord

HERE, THERE, PORT = "192.0.2.1", "192.0.2.2", 4567
KEY = Key.derive(b"a secret that only tests are told")
TIMEOUT = 5.0
TIMING = Timing()
LATEST = TIMING.ping_interval * OTHERS_TURN  # until a ping of ours, when the other end sends none
QUEUE = MAX_BYTES
PACKET = bytes(10) + b"a packet"
GOSSIP = Gossip(1).encode()
REFUSAL = Refusal((), "").encode()
PING, PONG = b"i" + bytes(8), b"o" + bytes(8)


def node_key(name: str) -> NodeKey:
    return NodeKey.of(name.encode().zfill(SEED_SIZE))


def record(name: str) -> NodeRecord:
    addresses = (ip_interface("10.9.0.1/16"),)
    return NodeRecord(node_key(name).id, name, 1, "https://a:1", addresses, "test")


def signed(name: str) -> SignedRecord:
    return signing.sign(record(name), node_key(name))


def machine(role: type[Dialer] | type[Listener], name: str, binding: bytes) -> Dialer | Listener:
    """The end of a handshake that a node with this name has."""
    return role(
        (KEY,), node_key(name), signing.show(record(name), node_key(name)), bytes(32), binding
    )


class Channel:
    """TLS that is always as it should be, unless a test says what is wrong with it."""

    def __init__(self) -> None:
        self.flaw: PeerError | None = None
        self.limits: list[int] = []  # of what may wait unsent
        self.bar: PeerError | None = None  # why no link may be made over it

    def admit(self, transport: LinkTransport) -> None:
        if self.bar is not None:
            raise self.bar

    def binding(self, transport: LinkTransport) -> bytes:
        if self.flaw is not None:
            raise self.flaw
        return b"binding"

    def why_lost(self, reason: Failure) -> PeerError:
        return PeerError("closed", "it closed the connection")

    def limit_unsent(self, transport: LinkTransport, size: int) -> None:
        self.limits.append(size)


class Owner:
    """Notes what the link tells, and retires it when the other end does, unless it is told not to;
    nor does it close one that came up."""

    def __init__(self) -> None:
        self.ups = 0
        self.ends: list[tuple[str, str]] = []  # failed or lost, and why
        self.why = ""
        self.packets: list[bytes] = []
        self.told: list[object] = []
        self.byes: list[str] = []
        self.trips: list[float] = []
        self.dropped: Counter[str] = Counter()
        self.follows = self.wants = True
        self.drops = False  # all packets of the other end
        self.complaints = 0

    def link_up(self, link: Link) -> None:
        self.ups += 1
        if not self.wants:
            link.close(messages.SELF)
        link.deliver_to(lambda frames: self.receive(link, frames), lambda: None)

    def link_failed(self, link: Link, error: PeerError) -> None:
        self.ends.append(("failed", error.reason))
        self.why = str(error)

    def link_lost(self, link: Link, error: PeerError) -> None:
        self.ends.append(("lost", error.reason))

    def receive(self, link: Link, frames: list[memoryview]) -> int:
        self.packets += map(bytes, frames)
        return len(frames) if self.drops else 0

    def wasteful(self, link: Link) -> None:
        self.complaints += 1

    def gossip_received(self, link: Link, gossip: Gossip) -> None:
        self.told.append(gossip)

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        self.told.append(ids)

    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        self.told.append(introduced)

    def refusal_received(self, link: Link, refusal: Refusal) -> None:
        self.told.append(refusal)

    def bye_received(self, link: Link, reason: str) -> None:
        self.byes.append(reason)
        if reason == messages.REPLACED and self.follows:
            link.retire()

    def round_trip(self, link: Link, seconds: float) -> None:
        self.trips.append(seconds)

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self.dropped[reason] += count


class Other(Protocol):
    """The other end. Answers nothing by itself."""

    transport: Any

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.has_ended = False
        self._decoder = Decoder(sizes.MAX_FRAME)

    def say(self, *payloads: bytes) -> None:
        self.transport.write(b"".join(map(encode, payloads)))

    def dataReceived(self, data: bytes) -> None:
        self.heard += map(bytes, self._decoder.feed(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.has_ended = True

    def packets(self) -> list[bytes]:
        return [payload[1:] for payload in self.heard if payload[:1] == b"D"]

    def count(self, tag: bytes) -> int:
        return sum(payload[:1] == tag for payload in self.heard)


class LinkCase(SynchronousTestCase):
    """A link that the other end has connected to, or, if `dialed`, that has connected to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.owner, self.other, self.channel = Owner(), Other(), Channel()
        self.memory = MemoryBudget()
        self.admitted = 0

    def connect(self, dialed: bool = False) -> None:
        """There is a connection; there is no TLS on it yet."""
        role = Dialer if dialed else Listener
        authentication = Authentication(
            lambda binding: machine(role, "a", binding), self.channel, TIMEOUT, self._admit
        )
        self.link = Link(self.owner, self.clock, dialed, authentication, self.memory)
        self.network.listeners[THERE, PORT] = Factory.forProtocol(lambda: self.other)
        factory = ClientFactory.forProtocol(lambda: self.link)
        self.network.connect(HERE, THERE, PORT, factory, timeout=1)
        self.advance(0.01)

    def _admit(self) -> None:
        self.admitted += 1

    def secure(self, dialed: bool = False) -> None:
        """There is TLS."""
        self.connect(dialed)
        self.link.handshakeCompleted()
        self.advance(0.01)

    def come_up(
        self, dialed: bool = False, pieces: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
    ) -> None:
        """Both ends are authentic. The other one sends its proof in these pieces."""
        self.secure(dialed)
        peer = machine(Listener if dialed else Dialer, "b", b"binding")
        if isinstance(peer, Dialer):
            self.other.say(peer.hello)
            self.advance(0.01)
        while self.link.state is State.HANDSHAKE:
            step = peer.receive(self.other.heard.pop(0))
            for part in pieces(encode(step.send)) if step.send else ():
                self.other.transport.write(part)
                self.advance(0.01)
        if not dialed:
            self.other.heard.pop(0)  # what made the other end sure

    def advance(self, seconds: float) -> None:
        self.clock.pump([LATENCY] * round(seconds / LATENCY))

    def block(self) -> None:
        """The other end takes nothing any more, and the link notices."""
        self.network.cut(HERE, THERE, both_ways=False)
        while not self.link._sender.is_paused:
            self.link.send([bytes(HIGH_WATER // 4)])

    def assert_ended(self, *end: str) -> None:
        """Both ends are closed, and nothing is left to happen at ours."""
        self.assert_closed(*end)
        self.assertTrue(self.other.has_ended)

    def assert_closed(self, *end: str) -> None:
        """The owner was told so, once, and nothing is left to happen."""
        self.assertEqual(self.owner.ends, [end])
        self.assertIs(self.link.state, State.CLOSED)
        self.advance(RETIRE_TIMEOUT)
        self.assertEqual(self.owner.ends, [end])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])


class BeforeAuthenticationTests(LinkCase):
    """A link whose other end may be anybody."""

    def test_accepted(self) -> None:
        """A link that was accepted says nothing first, and is up when the other end has proved
        that it holds the key."""
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
        """What came of a frame of the handshake takes memory no longer than until it is whole."""
        self.come_up(pieces=lambda data: [data[:20], data[20:]])
        self.assertIs(self.link.state, State.UP)
        self.assertEqual(self.memory.held, 0)

    def test_nothing_but_the_handshake(self) -> None:
        """Whoever sends anything else before he has proved himself is hung up on; nothing of it
        is looked at, and nothing is said to him."""
        for payload in (b"D" + PACKET, PING, PONG, GOSSIP, REFUSAL, b"Bleaving", b"P" * 99, b""):
            self.setUp()
            self.secure()
            self.other.say(payload, payload)
            self.advance(0.01)
            self.assert_ended("failed", "unexpected")
            self.assertEqual(self.other.heard, [])
            self.assertEqual((self.owner.packets, self.owner.told, self.owner.byes), ([], [], []))

    def test_before_tls(self) -> None:
        """Nothing can be said before TLS is up."""
        self.connect()
        self.other.say(Hello((1,), (KEY.id_for(bytes(32)),), bytes(32)).encode())
        self.advance(0.01)
        self.assert_ended("failed", "unexpected")

    def test_long_frame(self) -> None:
        """A stranger cannot make us keep more than a small frame."""
        self.secure()
        self.other.transport.write(b"2049:")
        self.advance(0.01)
        self.assert_ended("failed", "oversized")

    def test_too_slow(self) -> None:
        """Whoever does not prove himself in time is hung up on."""
        self.secure()
        self.advance(TIMEOUT - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.1)
        self.assert_ended("failed", "timeout")

    def test_other_end_goes(self) -> None:
        """When the other end hangs up during the handshake, the connection says why."""
        self.secure()
        self.other.transport.loseConnection()
        self.advance(0.01)
        self.assert_ended("failed", "closed")

    def test_listener_hangs_up(self) -> None:
        """Who hangs up on a hello does not say why: it is the secret that one should look at."""
        self.secure(dialed=True)
        self.other.transport.loseConnection()
        self.advance(0.01)
        self.assert_ended("failed", "closed")
        self.assertIn("has it the same secret?", self.owner.why)

    def test_flawed_connection(self) -> None:
        """A connection that is not good enough is not used."""
        self.channel.flaw = PeerError("certificate", "its certificate is for somebody else")
        self.secure(dialed=True)
        self.assert_ended("failed", "certificate")
        self.assertEqual(self.other.heard, [])

    def test_closed_by_us(self) -> None:
        """A stranger is not told why we close."""
        self.secure()
        self.link.close(messages.LEAVING)
        self.advance(0.01)
        self.assert_ended("failed", messages.LEAVING)
        self.assertEqual(self.other.heard, [])


class WrongMessageTests(LinkCase):
    """A member that breaks the rules."""

    def test_wrong_messages(self) -> None:
        """Any message that is not one of those that members exchange ends the link."""
        wrong = {
            "unexpected": [b"", b"Z", b"H" + bytes(42), b"C" + bytes(41), b"P" + bytes(99), b"d"],
            "malformed": [b"i", b"i" + bytes(9), b"o", b"G", b"G{}", b"G[", b"R[]", b"B", b"Bbye"],
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

    def test_wrong_frames(self) -> None:
        """So does what is no frame, or one that is longer than any message."""
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


class DataTests(LinkCase):
    """Packets, and a transport that does not always take them."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_both_ways(self) -> None:
        """Packets of all sizes arrive, in order, both ways."""
        packets = [PACKET, bytes(11), bytes(sizes.MAX_DATA_FRAME - 1)]
        self.link.send(packets)
        self.other.say(*(b"D" + packet for packet in packets))
        self.advance(0.01)
        self.assertEqual(self.other.packets(), packets)
        self.assertEqual(self.owner.packets, packets)

    def test_messages(self) -> None:
        """Gossip, questions, answers and refusals are passed on both ways."""
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
        """Who asks again and again and reads nothing is owed each answer once."""
        self.block()
        records = (signed("bob"), signed("carol"))
        for _ in range(100):
            self.link.conversation.introduce(records)
        self.network.heal()
        self.advance(1)
        answers = [payload for payload in self.other.heard if payload[:1] == b"N"]
        self.assertEqual(answers, [encode_introduction(records)])

    def test_short_pause(self) -> None:
        """What waited only for a moment is delivered, in the order of its flow, and nothing was
        dropped."""
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
        """What has waited too long is dropped and counted; what comes afterwards passes."""
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
        """What finds the queue full is dropped and counted."""
        self.block()
        self.link.send([bytes(QUEUE // 4)] * 6)
        self.assertEqual(self.owner.dropped, {"queue_full": 2})
        self.assertEqual(self.link.queued_bytes, QUEUE)

    def test_large_batch(self) -> None:
        """A batch too large for one write goes in several turns, and a ping that comes meanwhile
        overtakes what is left of it."""
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
        """Where a megabyte takes a second, a ping beside bulk waits for little more than what the
        transport itself keeps; where it takes no time again, bulk is as fast as it was."""

        def arrived(turns: int) -> int:
            """Of bulk, so much in each turn that not all of it can pass."""
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
        """What waits when the connection is lost is counted, as is what comes after."""
        self.block()
        self.link.send([PACKET] * 3)
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.link.send([PACKET] * 2)
        self.assertEqual(self.owner.dropped, {"link_lost": 5})
        self.assert_ended("lost", "lost")

    def test_pong_is_owed(self) -> None:
        """However many pings come while the transport takes nothing, one pong waits: the last."""
        self.block()
        self.other.heard.clear()
        for number in range(100):
            self.other.say(b"i" + number.to_bytes(8, "big"))
        self.advance(0.02)
        self.network.heal()
        self.advance(0.02)
        self.assertEqual(self.other.count(b"o"), 1)
        self.assertEqual(self.other.heard[-1], b"o" + (99).to_bytes(8, "big"))


class KeepAliveTests(LinkCase):
    """How a link knows that the other end is there."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def answer(self) -> None:
        """The other end answers the last ping."""
        pings = [payload for payload in self.other.heard if payload[:1] == b"i"]
        self.other.say(b"o" + pings[-1][1:])
        self.advance(0.01)

    def test_ping(self) -> None:
        """A ping goes out every few seconds; its answer tells the round trip."""
        self.advance(LATEST + 0.1)
        self.assertEqual(self.other.count(b"i"), 1)
        self.answer()
        self.assertEqual(self.owner.trips, [self.link.keepalive.rtt])
        self.assertApproximates(self.owner.trips[0], 0.1, 0.03)
        self.advance(LATEST)
        self.assertEqual(self.other.count(b"i"), 2)

    def test_turns(self) -> None:
        """A ping of the other end puts off ours to an interval later, but only one does; so the
        ends take turns, and each of them knows the round trip."""
        self.other.say(PING)
        self.advance(0.01)
        for sent in range(1, 4):
            self.other.say(PING)
            self.advance(TIMING.ping_interval - 0.1)
            self.other.say(PING)
            self.assertEqual(self.other.count(b"i"), sent)
            self.advance(0.2)
            self.assertEqual(self.other.count(b"i"), sent + 1)

    def test_dialer_begins(self) -> None:
        """The first ping is that of the end that dialed, as soon as the link is up. The other end
        does not wait for its turn this once, so both know the round trip. Then the dialer is next.
        """
        for dialed, sent in ((True, 1), (False, 0)):
            self.setUp()
            self.come_up(dialed)
            self.advance(0.01)
            self.assertEqual(self.other.count(b"i"), sent)
            self.other.say(PING)
            self.advance(0.01)
            self.assertEqual(self.other.count(b"i"), 1)
            self.answer()
            self.assertEqual(self.owner.trips, [self.link.keepalive.rtt])
            self.advance(TIMING.ping_interval)
            self.assertEqual(self.other.count(b"i"), 1 + sent)

    def test_unwanted(self) -> None:
        """The owner may close a link that just came up: then there is nothing to measure."""
        self.setUp()
        self.owner.wants = False
        self.come_up(dialed=True)
        self.advance(1)
        self.assertEqual(self.other.heard, [b"Bself"])

    def test_pong(self) -> None:
        """A ping is answered at once with what it said."""
        self.other.say(b"iabcdefgh")
        self.advance(0.01)
        self.other.say(b"iijklmnop")
        self.advance(0.01)
        pongs = [payload for payload in self.other.heard if payload[:1] == b"o"]
        self.assertEqual(pongs, [b"oabcdefgh", b"oijklmnop"])

    def test_wrong_pongs(self) -> None:
        """A pong that nobody asked for, that comes again, or too late, tells nothing."""
        self.other.say(PONG)
        self.advance(LATEST + 0.1)
        self.answer()
        self.advance(1)
        self.answer()
        self.assertEqual(len(self.owner.trips), 1)
        late = self.other.heard[-1]
        self.advance(LATEST)
        self.assertEqual(self.other.count(b"i"), 2)
        self.other.say(b"o" + late[1:])
        self.advance(0.01)
        self.assertEqual(len(self.owner.trips), 1)

    def test_silence(self) -> None:
        """When nothing was heard for too long, the other end is dead."""
        self.advance(TIMING.silence - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.2)
        self.assert_ended("lost", messages.SILENT)

    def test_silence_between_pings(self) -> None:
        """It is dead when the time is over, not when the next ping would be due."""
        self.advance(TIMING.ping_interval / 2)
        self.other.say(PONG)
        self.advance(TIMING.silence - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.2)
        self.assert_ended("lost", messages.SILENT)

    def test_anything_is_a_sign_of_life(self) -> None:
        """Whoever says anything at all is alive."""
        for payload in (b"D" + PACKET, PING, GOSSIP, PONG):
            self.other.say(payload)
            self.advance(TIMING.silence - 1)
        self.assertEqual(self.owner.ends, [])

    def test_impatient(self) -> None:
        """A link may be told to be less patient."""
        self.link.adopt(Timing(ping_interval=1.0, silence=2.0))
        self.advance(1.6)
        self.assertEqual(self.other.count(b"i"), 1)
        self.advance(0.5)
        self.assert_ended("lost", messages.SILENT)

    def test_probe_answered(self) -> None:
        """Whoever asks whether the other end is alive is told so by the next pong; several who
        ask share a ping."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.link.probe(answers.append)
        self.advance(0.05)
        self.assertEqual((answers, self.other.count(b"i")), ([], 1))
        self.answer()
        self.assertEqual(answers, [True, True])
        self.advance(TIMING.probe_timeout)
        self.assertEqual(answers, [True, True])

    def test_probe_not_answered(self) -> None:
        """If there is no pong in time, the answer is no; the next probe is a new one."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.advance(TIMING.probe_timeout - 0.05)
        self.assertEqual(answers, [])
        self.advance(0.06)
        self.assertEqual(answers, [False])
        self.link.probe(answers.append)
        self.advance(0.01)
        self.answer()
        self.assertEqual(answers, [False, True])

    def test_probe_lost(self) -> None:
        """If the connection is lost meanwhile, the answer is no, at once and once."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.assertEqual(answers, [False])
        self.assert_ended("lost", "lost")
        self.assertEqual(answers, [False])


class RetireTests(LinkCase):
    """A link that another one has replaced."""

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
        self.assert_ended("lost", "lost")

    def test_they_first(self) -> None:
        """When it hears bye first it answers with its own, and is closed."""
        self.other.say(b"Breplaced")
        self.advance(0.01)
        self.assertEqual(self.owner.byes, [messages.REPLACED])
        self.assertEqual(self.other.heard, [b"Breplaced"])
        self.assert_ended("lost", "lost")

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
        self.assert_ended("lost", "lost")

    def test_while_packets_wait(self) -> None:
        """What waits goes out before the bye."""
        self.block()
        self.link.send([PACKET])
        self.link.retire()
        self.other.say(b"Breplaced")
        self.advance(0.02)
        self.network.heal()
        self.advance(0.01)
        self.assertEqual(self.other.heard[-2:], [b"D" + PACKET, b"Breplaced"])
        self.assertEqual(self.owner.dropped, {})
        self.assert_ended("lost", "lost")

    def test_no_answer(self) -> None:
        """Whoever does not say bye is not waited for."""
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


class UselessTests(LinkCase):
    """What the other end sends without any use."""

    ROUND = 1_000  # frames that come at a time

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def flood(self, payload: bytes, seconds: float) -> float:
        """The other end says this 100,000 times a second; how often it was heard."""
        rounds = round(seconds * 100_000 / self.ROUND)
        for _ in range(rounds):
            self.other.say(*[payload] * self.ROUND)
            self.clock.advance(seconds / rounds)
        return len(self.owner.packets) + len(self.owner.told)

    def assert_held_back(self, heard: float, seconds: float) -> None:
        self.assertGreater(heard, penalty.BURST)
        self.assertLess(heard, penalty.BURST + (seconds + penalty.MAX_REST) * penalty.RATE)
        self.assertGreater(self.owner.complaints, 0)

    def assert_all_is_well(self) -> None:
        """Nobody complained, and all was read."""
        self.advance(0.1)
        self.assertEqual(self.owner.complaints, 0)
        self.assertTrue(self.network.wires)
        self.other.say(b"D" + PACKET)
        self.advance(0.1)
        self.assertEqual(self.owner.packets[-1], PACKET)

    def test_packets(self) -> None:
        """Whoever sends nothing but what is dropped is read only so fast. Nothing of it is lost,
        and the link stays up."""
        self.owner.drops = True
        self.assert_held_back(self.flood(b"D" + PACKET, 2.0), 2.0)
        self.assertIs(self.link.state, State.UP)
        self.advance(20)
        self.assertEqual(len(self.owner.packets), 200_000)
        self.assertEqual(self.owner.ends, [])

    def test_messages(self) -> None:
        """So is who sends nothing but messages."""
        self.assert_held_back(self.flood(REFUSAL, 2.0), 2.0)

    def test_carried(self) -> None:
        """Packets that are carried may be as many as they like."""
        self.assertEqual(self.flood(b"D" + PACKET, 2.0), 200_000)
        self.assert_all_is_well()

    def test_route_change(self) -> None:
        """For a tenth of a second all packets may be wrong, at the pace of the fastest, and again
        when that was forgiven; and some may be wrong for ever."""
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
        """A bye behind all that is heard as soon as the other end is read again."""
        self.owner.drops = True
        self.flood(b"D" + PACKET, 0.25)
        self.other.say(b"Bleaving")
        self.advance(penalty.MAX_REST)
        self.assertEqual(self.owner.byes, ["leaving"])

    def test_end(self) -> None:
        """A link that ends meanwhile leaves nothing behind."""
        self.owner.drops = True
        self.flood(b"D" + PACKET, 0.3)
        self.link.close("leaving")
        self.advance(RETIRE_TIMEOUT + 0.1)
        self.assertEqual(self.owner.ends, [("lost", "leaving")])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])


class EndTests(LinkCase):
    """How a link ends, and that it does."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_we_say_bye(self) -> None:
        """The other end hears the reason; what comes from it afterwards is not looked at."""
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
        """A link whose packets took all the memory that there was for it does not end when others
        take some as well: its packets are dropped. It ends by what it leaves unread."""
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
        """What waited for the other end takes no memory when the link is gone, whatever it is told
        afterwards."""
        self.block()
        self.link.conversation.tell(Gossip(1))
        self.assertGreater(self.memory.held, 0)
        self.link.connectionLost()
        self.link.conversation.tell(Gossip(2))
        self.assertEqual(self.memory.held, 0)

    def test_memory_taken_by_others(self) -> None:
        """While others take much of the memory, what there is room for is still written at once:
        in the queue it might wait for so long that it expires."""
        hoard = self.memory.account("somebody else")
        hoard.hold(self.memory.limit * 2 // 3)
        self.assertFalse(self.memory.is_ample)
        self.link.send([PACKET])
        self.assertEqual(self.memory.held, hoard.held)
        self.advance(LATENCY)
        self.assertEqual(self.other.packets(), [PACKET])

    def test_bye_while_they_send(self) -> None:
        """Packets that are under way when we say bye do not take the bye back: what is left of
        them, read on its own, would look like a broken rule."""
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
        """When the tun turns out to be gone while packets are written to it, what was said behind
        them is not looked at, and does not take back the bye."""

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
        """The owner hears the reason, and nothing that was said behind it."""
        for reason in messages.BYE_REASONS - {messages.REPLACED}:
            self.setUp()
            self.other.say(b"B" + reason.encode(), b"D" + PACKET, GOSSIP)
            self.advance(0.01)
            self.assertEqual(self.owner.byes, [reason])
            self.assertEqual((self.owner.packets, self.owner.told), ([], []))
            self.assert_ended("lost", reason)

    def test_bye_to_nobody(self) -> None:
        """When the other end is not there to close its side, ours is closed soon all the same."""
        self.network.cut(HERE, THERE)
        self.link.close(messages.LEAVING)
        self.advance(RETIRE_TIMEOUT - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.11)
        self.assert_closed("lost", messages.LEAVING)

    def test_bye_while_packets_wait(self) -> None:
        """Closing does not wait for a transport that takes nothing: what waits is counted."""
        self.block()
        self.link.send([PACKET] * 4)
        self.link.close(messages.LEAVING)
        self.advance(RETIRE_TIMEOUT + 0.01)
        self.assertEqual(self.owner.dropped, {"link_lost": 4})
        self.assert_closed("lost", messages.LEAVING)

    def test_lost(self) -> None:
        """A connection that is lost is the end of the link; what is asked of it then is in vain."""
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.link.send([PACKET])
        self.link.conversation.tell(Gossip(1))
        self.link.close(messages.LEAVING)
        self.assert_ended("lost", "lost")
        self.assertEqual(self.other.heard, [])
