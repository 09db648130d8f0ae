"""Packets between two ends of a UDP path in memory: queues, sessions, failures, hostile peers."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from functools import partial
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dataplane.drops import DropReason
from tunmesh.link import penalty
from tunmesh.link.fair_queue import MAX_BYTES
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.testing.clock import FakeClock
from tunmesh.testing.datagrams import Datagrams
from tunmesh.testing.network import LATENCY, Network
from tunmesh.testing.tun import frame
from tunmesh.tls.underlay import Outside
from tunmesh.udp.carrier import UdpCarrier
from tunmesh.udp.outbox import TURN
from tunmesh.udp.path import Command, Path
from tunmesh.udp.places import PlacesInUse
from tunmesh.udp.port import Place
from tunmesh.udp.scratch import Scratch
from tunmesh.udp.sessions import EPOCH_COST, LINGER, MOST_SESSIONS
from tunmesh.wire.datagrams import EPOCH_BITS, HEAD, MIN_DATAGRAM, TRAILER, WHOLE
from tunmesh.wire.udp_pings import PING_SIZE, Ping

PORT = 4567


def packet(number: int, size: int = 100, flow: int = 1) -> bytes:
    """A packet with this number in it, of one of several flows."""
    ports = bytes(4)  # flows are told apart by what is there
    return frame("10.9.0.1", f"10.9.1.{flow}", ports + number.to_bytes(4, "big") + bytes(size))


class End:
    """One end: its carrier, and whatever that tells its owner."""

    def __init__(self, case: CarrierCase, host: str, places: PlacesInUse | None = None) -> None:
        self.host = host
        self.came: list[bytes] = []
        self.instead: list[bytes] = []
        self.dropped: Counter[str] = Counter()
        self.complaints = self.changes = 0
        self.drops = False  # everything that comes
        self.memory = MemoryBudget()
        self.port = case.datagrams.port(host, PORT, case.random.randbytes)
        self.port.start()
        clock = case.clock
        path = Path(host.encode(), Outside(), self.port.largest, clock.seconds())
        account = self.memory.account("peer")
        self.carrier = UdpCarrier(
            self, self.port, path, clock, account, Scratch(), places or PlacesInUse()
        )

    # udp.carrier.Owner

    def received(self, frames: list[memoryview]) -> int:
        self.came += map(bytes, frames)
        return len(frames) if self.drops else 0

    def read_ended(self) -> None: ...

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self.dropped[reason] += count

    def send_instead(self, frames: list[bytes]) -> None:
        self.instead += frames

    def path_changed(self) -> None:
        self.changes += 1

    def wasteful(self) -> None:
        self.complaints += 1


class CarrierCase(SynchronousTestCase):
    """Two ends. A link between them is its name here."""

    def setUp(self) -> None:
        self.clock = FakeClock()
        self.random = random.Random(1)
        self.datagrams = Datagrams(Network(self.clock), self.random)
        self.a, self.b = End(self, "192.0.2.1"), End(self, "192.0.2.2")

    def offer(self, link: str, *ends: End) -> None:
        """These ends offer UDP on this link; the first one has dialed it."""
        first, second = self.a, self.b
        for end, other in ((first, second), (second, first)):
            export = partial(self.secret, link)
            index = end.carrier.open(link, export, end is first)
            if end in ends:
                self.clock.callLater(
                    LATENCY, other.carrier.offered, link, index, [(end.host, PORT)]
                )

    @staticmethod
    def secret(link: str, context: bytes) -> bytes:
        return sha256(link.encode() + context).digest()

    def come_up(self) -> None:
        """Both ends have offered UDP, it works, and it is used."""
        self.offer("first", self.a, self.b)
        self.clock.advance(0.1)
        for end in (self.a, self.b):
            self.assertIsNotNone(end.carrier.path.address)
            end.carrier.used(True)
        self.clock.advance(1.0)

    def assert_arrives(self, sender: End, receiver: End, number: int) -> None:
        before = len(receiver.came)
        sender.carrier.send([packet(number)])
        self.clock.advance(0.01)
        self.assertEqual(receiver.came[before:], [packet(number)])


class SessionTests(CarrierCase):
    """Links that come, are renewed, and go."""

    def test_one_offers(self) -> None:
        """As long as only one end has offered UDP, nothing is sent, and packets go elsewhere."""
        self.offer("first", self.a)
        self.clock.advance(5)
        self.a.carrier.send([packet(1)])
        self.assertEqual(self.a.instead, [packet(1)])
        self.assertIsNone(self.a.carrier.path.address)

    def test_ping_before_the_offer(self) -> None:
        """A ping that comes before its sender's offer is answered with the offer."""
        self.offer("first", self.a)
        self.clock.advance(0.005)  # the ping is there
        self.assertEqual(self.a.port.strangers, 0)
        index = self.index(self.b)
        self.a.carrier.offered("first", index, [(self.b.host, PORT)])
        self.clock.advance(0.02)
        self.assertIsNotNone(self.a.carrier.path.address)
        self.assertIsNotNone(self.b.carrier.path.address)

    def index(self, end: End) -> int:
        """The only index that an end has opened."""
        (index,) = end.port._readers._readers
        return int(index)

    def test_renewed(self) -> None:
        """With a new link, packets go on by the old session until both ends have offered the new
        one. The old one is open for a while after its link."""
        self.come_up()
        for number in range(1000):
            if number == 300:
                self.offer("second", self.a, self.b)
            if number == 350:
                self.a.carrier.gone("first")
                self.b.carrier.gone("first")
            self.assert_arrives(self.a, self.b, number)
            self.assert_arrives(self.b, self.a, number)
        self.assertEqual(self.a.instead + self.b.instead, [])
        counts = self.a.carrier.counts()
        self.assertEqual((counts.undecryptable, counts.replayed), (0, 0))
        self.assertGreater(counts.received, 1000)

    def test_one_end_only_has_the_new_link(self) -> None:
        """The other end does not offer UDP on the new link: the old session is used until it is
        closed, and then there is no path."""
        self.come_up()
        self.offer("second", self.a)
        self.clock.advance(0.1)
        self.assert_arrives(self.a, self.b, 1)
        for end in (self.a, self.b):
            end.carrier.gone("first")
        self.clock.advance(LINGER - 0.2)
        self.assert_arrives(self.a, self.b, 2)
        self.clock.advance(0.3)
        self.assertIsNone(self.a.carrier.path.address)
        self.a.carrier.send([packet(3)])
        self.assertEqual(self.a.instead, [packet(3)])

    def test_many_links(self) -> None:
        """However many links there are, a few sessions are open, the newest ones."""
        self.come_up()
        for number in range(50):
            self.offer(f"link {number}", self.a, self.b)
            self.clock.advance(0.01)
        self.assert_arrives(self.a, self.b, 1)
        self.assertEqual(len(self.a.port._readers._readers), MOST_SESSIONS)

    def test_closed(self) -> None:
        """When the peer parts, what waits is dropped and counted, nothing is received, no timer is
        left."""
        self.come_up()
        self.a.port.allow(0)
        self.a.carrier.send([packet(number) for number in range(10)])
        self.a.carrier.send([packet(10)])
        self.a.carrier.close("")
        self.assertEqual(self.a.dropped, {"link_lost": 11})
        self.assertEqual((self.a.carrier.dropped, self.a.memory.held), (11, 0))
        self.b.carrier.send([packet(1)])
        self.clock.advance(0.5)
        self.assertEqual(self.a.came, [])
        self.assertGreater(self.a.port.strangers, 0)
        self.a.port.allow(None)
        self.b.carrier.close("")
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class QueueTests(CarrierCase):
    """The port takes nothing for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_order(self) -> None:
        """What waits arrives when the port takes it, each flow in its order."""
        self.a.port.allow(30_000)
        sent = [packet(number, 1000) for number in range(400)]
        for at in range(0, 400, 50):
            self.a.carrier.send(sent[at : at + 50])
        self.assertGreater(self.a.carrier.queued_bytes, 300_000)
        self.assertGreater(self.a.memory.held, 300_000)
        self.a.port.allow(None)
        self.clock.advance(0.1)
        self.assertEqual(self.b.came, sent)
        self.assertEqual((self.a.carrier.queued_bytes, self.a.memory.held), (0, 0))
        self.assertEqual(self.a.dropped, {})

    def test_fair(self) -> None:
        """A packet of another flow overtakes what a bulk transfer has waiting."""
        self.a.port.allow(0)
        self.a.carrier.send([packet(number, 1000) for number in range(1000)])
        self.a.carrier.send([packet(0, flow=2)])
        for _ in range(4):
            self.a.port.allow(TURN)
        self.clock.advance(0.1)
        self.assertIn(packet(0, flow=2), self.b.came)
        self.assertLess(len(self.b.came), 500)

    def test_bounded(self) -> None:
        """Only so much waits; the rest is dropped and counted."""
        self.a.port.allow(0)
        sent = 4 * MAX_BYTES // 1000
        for number in range(sent):
            self.a.carrier.send([packet(number, 1000)])
        self.assertLessEqual(self.a.carrier.queued_bytes, MAX_BYTES)
        self.a.port.allow(None)
        self.clock.advance(1)
        self.assertEqual(len(self.b.came) + self.a.dropped["queue_full"], sent)
        self.assertEqual(self.a.carrier.dropped, self.a.dropped["queue_full"])

    def test_busy_is_not_dead(self) -> None:
        """A port that is full whenever a ping is due, as that of a slow device, does not make the
        path look dead."""
        self.a.port.allow(0)
        for number in range(300):
            self.a.carrier.send([packet(number, 1000)])
            self.clock.advance(0.01)
            if number % 10 == 9:
                self.a.port.allow(1)
        self.assertIsNotNone(self.a.carrier.path.address)
        self.assertGreater(len(self.b.came), 10)
        self.assertEqual(self.a.instead, [])

    def test_expired(self) -> None:
        """What has waited for too long is dropped."""
        self.a.carrier.expire_after(0.1)
        self.a.port.allow(0)
        self.a.carrier.send([packet(1)])
        self.a.carrier.send([packet(2)])
        self.clock.advance(0.2)
        self.a.port.allow(None)
        self.clock.advance(0.1)
        self.assertEqual(self.b.came, [packet(1)])  # it was sealed
        self.assertEqual(self.a.dropped, {"expired": 1})

    def test_not_used_any_more(self) -> None:
        """When another carrier takes over, it gets what waits, but for what is sealed."""
        self.a.port.allow(0)
        first = [packet(number, 1000) for number in range(100)]
        self.a.carrier.send(first)
        self.a.carrier.send([packet(100)])
        self.a.carrier.used(False)
        lost = self.a.dropped["udp_refused"]
        self.assertLess(lost, 70)
        self.assertEqual(self.a.instead, [*first, packet(100)][lost:])
        self.assertEqual((self.a.carrier.queued_bytes, self.a.memory.held), (0, 0))
        self.a.port.allow(None)
        self.clock.advance(0.1)
        self.assertEqual(self.b.came, [])


class FailureTests(CarrierCase):
    """Datagrams that cannot be sent, or do not arrive."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_too_big(self) -> None:
        """The device takes only smaller ones from now on: the next packets are sent in those."""
        self.datagrams.mtu = 1300
        sent = [packet(number, 1400) for number in range(200)]
        self.a.carrier.send(sent)
        self.clock.advance(0.1)
        lost = self.a.dropped["udp_refused"]
        self.assertLess(lost, 60)
        self.assertEqual(self.b.came, sent[lost:])
        self.assertEqual(self.a.instead, [])

    def test_unreachable(self) -> None:
        """This host cannot send any more: what is not sealed goes to the owner at once."""
        sent = [packet(number, 1400) for number in range(200)]
        self.a.port.stop()
        self.a.carrier.send(sent)
        lost = self.a.dropped["udp_refused"]
        self.assertLess(lost, 60)
        self.assertEqual(self.a.instead, sent[lost:])
        self.assertIsNone(self.a.carrier.path.address)

    def test_dead(self) -> None:
        """Nothing arrives any more: in less than a second the owner is told."""
        before = self.a.changes
        self.datagrams.block()
        for number in range(90):
            self.a.carrier.send([packet(number)])
            self.clock.advance(0.01)
        self.assertGreater(self.a.changes, before)
        self.assertIsNone(self.a.carrier.path.address)

    def test_bug(self) -> None:
        """After an exception of ours packets are still sent, and the path is still looked at."""
        self.a.port.allow(0)
        self.a.carrier.send([packet(1)])
        self.a.carrier.send([packet(2)])
        outbox, path = self.a.carrier._outbox, self.a.carrier.path

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        for broken_object, name in ((outbox, "_write"), (outbox, "_send_bursts"), (path, "tick")):
            patch = self.patch(broken_object, name, broken)
            with contextlib.suppress(ZeroDivisionError):
                self.a.port.allow(None)
            with contextlib.suppress(ZeroDivisionError):
                self.clock.advance(20)
            patch.restore()
        self.clock.advance(2)
        self.assertGreater(path.wake_at, self.clock.seconds())
        self.assert_arrives(self.a, self.b, 3)

    def test_faults(self) -> None:
        """Loss, duplicates and reordering: nothing arrives twice, or broken."""
        self.datagrams.loss, self.datagrams.duplicated, self.datagrams.late = 0.05, 0.05, 0.05
        sent = [packet(number, self.random.randrange(3000)) for number in range(2000)]
        for each in sent:
            self.a.carrier.send([each])
            self.clock.advance(0.001)
        self.clock.advance(0.1)
        self.assertEqual(len(self.b.came), len(set(self.b.came)))
        self.assertLessEqual(set(self.b.came), set(sent))
        self.assertGreater(len(self.b.came), 1700)
        self.assertGreater(self.b.carrier.counts().replayed, 0)


class HostileTests(CarrierCase):
    """A peer that abuses UDP."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def test_useless_packets(self) -> None:
        """A peer whose packets are dropped is not listened to for a while, and that is told; then
        it is heard again."""
        self.b.drops = True
        for number in range(30):
            self.a.carrier.send([packet(number)] * 1000)
            self.clock.advance(0.01)
        self.assertGreater(self.b.complaints, 0)
        self.assertLess(len(self.b.came), penalty.BURST + 2 * penalty.RATE)
        self.b.drops = False
        self.clock.advance(penalty.MAX_REST)
        self.assertFalse(self.b.carrier.is_deaf)
        self.assert_arrives(self.a, self.b, 1)

    def test_pings(self) -> None:
        """Pings without end get a bounded number of answers."""
        session = self.a.carrier._sessions.for_sending
        assert session is not None
        self.datagrams.counts.clear()
        for _ in range(1000):
            ping = session.seal_control(Ping(bytes(8)).encode(), PING_SIZE)
            self.a.port.send(ping, len(ping), (self.b.host, PORT))
        self.clock.advance(0.1)
        answers = self.datagrams.counts["sent"] - 1000
        self.assertGreater(answers, 10)
        self.assertLess(answers, 100)

    def say(self, plaintext: bytes) -> None:
        """`a` sends `b` an authentic datagram with any content."""
        session = self.a.carrier._sessions.for_sending
        assert session is not None
        datagram = bytearray(MIN_DATAGRAM + len(plaintext))
        HEAD.pack_into(datagram, 0, session.send_index, session._count(1))
        view = memoryview(datagram)
        session._seal(bytes(view[: HEAD.size]), plaintext, None, view[HEAD.size :])
        self.a.port.send(view, len(view), (self.b.host, PORT))

    def test_nonsense(self) -> None:
        """Authentic datagrams that mean nothing are as useless as packets that are dropped."""
        for _ in range(penalty.BURST // 100):
            for _ in range(100):
                self.say(b"\xff")
            self.clock.advance(0.0001)
        self.assertEqual(self.b.complaints, 0)
        for _ in range(1000):
            self.say(b"\xff")
        self.clock.advance(0.01)
        self.assertGreater(self.b.complaints, 0)

    def test_epochs(self) -> None:
        """Each epoch that a peer begins costs a key, so a peer that begins one with each datagram
        is not listened to for a while; one that begins them as they are due is not noticed."""
        session = self.a.carrier._sessions.for_sending
        assert session is not None
        for epoch in range(1, 2 * penalty.BURST // EPOCH_COST):
            session._counter = (epoch << EPOCH_BITS) - 1
            self.a.carrier.send([packet(1)])
            self.a.carrier.send([packet(2)])
            self.clock.advance(0.0001)
            if self.b.complaints:
                break
        self.clock.advance(0.01)
        self.assertGreaterEqual(session._counter >> EPOCH_BITS, 0.8 * penalty.BURST // EPOCH_COST)
        self.assertEqual(self.b.complaints, 1)

    def test_forged_source(self) -> None:
        """Only the peer whose path leads to a place has a say about how it is answered."""
        places = self.b.carrier._places
        other = End(self, "192.0.2.3", places)
        self.assertFalse(other.carrier.has_say_about((self.a.host, PORT)))
        self.assertTrue(self.b.carrier.has_say_about((self.a.host, PORT)))
        self.b.carrier.close("")
        self.assertTrue(other.carrier.has_say_about((self.a.host, PORT)))

    def test_incomplete(self) -> None:
        """What is held of frames that are never complete counts as the peer's, as long as its
        session is open, and there is room for it."""

        def begin(size: int) -> int:
            self.say(bytes(size) + TRAILER.pack(0, 0, 65_535, 0, WHOLE))
            self.clock.advance(LATENCY)
            return self.b.memory.held

        self.assertEqual(begin(1200), 1200)
        self.assertEqual(begin(1300), 1300)  # a newer one
        self.b.memory.limit = 2700
        self.assertEqual(begin(1400), 0)
        self.assertEqual(begin(1200), 1200)
        self.offer("second", self.a, self.b)
        self.clock.advance(0.1)
        self.assertEqual(begin(100), 1300)  # of each session one
        for end in (self.a, self.b):
            end.carrier.gone("first")
        self.clock.advance(LINGER)
        self.assertEqual(self.b.memory.held, 100)
        self.b.carrier.close("")
        self.assertEqual(self.b.memory.held, 0)

    def test_loss_that_cannot_be(self) -> None:
        """A peer may say that anything was lost, but not more than was sent."""
        answer = Path.ping_came

        def lies(path: Path, now: float, ping: Ping, source: Place, *_: int) -> list[Command]:
            highest = 1 << 62 if self.random.random() < 0.5 else 1 << 63
            return answer(path, now, ping, source, 0, highest)

        self.patch(Path, "ping_came", lies)
        for number in range(100):
            self.a.carrier.send([packet(number)])
            self.clock.advance(0.1)
        counts = self.a.carrier.counts()
        self.assertGreater(counts.lost, 0)
        self.assertLessEqual(counts.lost, counts.sent)

    def test_replays(self) -> None:
        """A datagram that comes again is counted, and delivers nothing."""
        self.datagrams.duplicated = 1.0
        for number in range(100):
            self.assert_arrives(self.a, self.b, number)
        self.assertGreaterEqual(self.b.carrier.counts().replayed, 100)
