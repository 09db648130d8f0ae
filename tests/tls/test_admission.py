"""Who may stay at the door, and how much is done for those who stand there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.addresses import THIS_HOST, source_of
from tunmesh.tls.admission import BURST, MAX_SOURCES, MAX_STRANGERS, SHARE, Places
from tunmesh.tls.listener import ACCEPTS, Reception


class PlacesTests(SynchronousTestCase):
    """The places, and sources that want them all."""

    def setUp(self) -> None:
        self.places: Places[int] = Places()

    def fill(self, *hosts: str) -> None:
        """These hosts take all places, in turns."""
        for number in range(MAX_STRANGERS):
            self.places.add(number, hosts[number % len(hosts)])

    def test_room(self) -> None:
        """As long as there are places, anybody gets one."""
        self.assertEqual(self.places.room("192.0.2.1"), (True, None))
        self.fill("192.0.2.1")
        self.places.discard(7)
        self.assertEqual(self.places.room("192.0.2.1"), (True, None))

    def test_one_source(self) -> None:
        """Who holds all places gets no more; anybody else gets that of his longest waiting."""
        self.fill("192.0.2.1")
        self.assertEqual(self.places.room("192.0.2.1"), (False, None))
        self.assertEqual(self.places.room("192.0.2.2"), (True, 0))

    def test_two_sources(self) -> None:
        """Sources that have as many as each other take nothing from each other."""
        self.fill("192.0.2.1", "192.0.2.2")
        for host in ("192.0.2.1", "192.0.2.2"):
            self.assertEqual(self.places.room(host), (False, None))

    def test_everybody_has_one(self) -> None:
        """When everybody has one place there is nobody to take it from."""
        self.fill(*(f"192.0.2.{number}" for number in range(MAX_STRANGERS)))
        self.assertEqual(self.places.room("198.51.100.1"), (False, None))

    def test_this_host(self) -> None:
        """Whoever asks from this host gets a place even when everybody has but one; he does not
        get more of them than others have."""
        self.fill(*(f"192.0.2.{number}" for number in range(MAX_STRANGERS)))
        self.assertEqual(self.places.room("::1"), (True, 0))
        self.places.discard(0)
        self.places.add(-1, "127.0.0.1")
        self.assertEqual(self.places.room("::ffff:127.0.0.1"), (False, None))

    def test_turns(self) -> None:
        """Sources take turns; this host is first among equals."""
        for guest, host in enumerate(("192.0.2.1", "192.0.2.1", "192.0.2.2", "::1", "::1")):
            self.places.add(guest, host)
        waiting = [0, 1, 2, 3, 4]
        served = []
        while waiting:
            served.append(self.places.serve(waiting))
            waiting.remove(served[-1])
        self.assertEqual(served, [3, 0, 2, 4, 1])

    def test_ever_new_sources(self) -> None:
        """A flood from ever new sources, during which somebody always waits, neither fills memory
        nor keeps back for as long as it goes on who had a turn before."""
        self.places.add(-1, "192.0.2.1")
        self.places.serve([-1])
        turns = 0
        for guest in range(2 * MAX_SOURCES):
            self.places.add(guest, f"2001:db8:0:{guest:x}::1")
            turns += self.places.serve([-1, guest]) == -1
            self.places.discard(guest)
        self.assertGreater(turns, 0)
        self.assertLessEqual(len(self.places._turns), MAX_SOURCES)

    def test_who_left(self) -> None:
        """Places that were left count no more, and may be left twice."""
        self.fill("192.0.2.1")
        for guest in (*range(MAX_STRANGERS - 1), 0):
            self.places.discard(guest)
        self.assertEqual(len(self.places), 1)
        for guest in range(1000, 1000 + MAX_STRANGERS - 1):
            self.places.add(guest, "192.0.2.2")
        self.assertEqual(self.places.room("192.0.2.3"), (True, 1000))

    def test_sources(self) -> None:
        """An IPv4 address is one source, however it is written, as is a whole IPv6 /64."""
        self.assertEqual(source_of("::ffff:192.0.2.1"), source_of("192.0.2.1"))
        self.assertNotEqual(source_of("::ffff:192.0.2.1"), source_of("::ffff:192.0.2.2"))
        self.assertEqual(source_of("2001:db8::1"), source_of("2001:db8::ffff:1:2:3"))
        self.assertNotEqual(source_of("2001:db8::1"), source_of("2001:db8:0:1::1"))
        self.assertEqual(source_of("fe80::1%eth0"), source_of("fe80::2"))
        for host in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"):
            self.assertEqual(source_of(host), THIS_HOST)
        self.assertEqual(source_of(""), "")


class Transport:
    """A stranger, and what the reception does with his transport."""

    def __init__(self, case: ReceptionTests, name: str) -> None:
        self.case, self.name = case, name
        self.is_read = True
        self.transport = self.wrappedProtocol = self

    def take(self, data: bytes) -> None:
        self.case.taken.append((self.name, data))
        self.case.seconds += 0.001

    def pauseProducing(self) -> None:
        self.is_read = False

    def resumeProducing(self) -> None:
        self.is_read = True


class Port:
    """A listening port."""

    numberAccepts = 1000
    is_open = True

    def __init__(self) -> None:
        self.opened: Callable[[], None] = lambda: None

    def pauseProducing(self) -> None:
        self.is_open = False

    def resumeProducing(self) -> None:
        self.is_open = True
        self.opened()


class ReceptionTests(SynchronousTestCase):
    """Strangers whose every word is a millisecond's work."""

    def setUp(self) -> None:
        self.clock, self.seconds = Clock(), 0.0
        self.taken: list[tuple[str, bytes]] = []
        unused: Any = None
        self.waited = 0.0
        self.reception = Reception(
            self.clock, unused, unused, unused, lambda: self.seconds, lambda: self.waited
        )
        self.port = self.reception.port = Port()

    def say(self, name: str, *words: bytes) -> Transport:
        transport = Transport(self, name)
        arrived: Any = transport
        for word in words:
            self.reception.received(arrived, word)
        return transport

    def test_at_once(self) -> None:
        """A few words are looked at as they come."""
        self.say("a", b"1", b"2")
        self.assertEqual(self.taken, [("a", b"1"), ("a", b"2")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_turn(self) -> None:
        """When too much comes nobody is read and nobody let in until that is paid for; then they
        are looked at in the order in which they came."""
        crowd = [self.say(str(number), b"x", b"y") for number in range(10)]
        before = list(self.taken)
        self.assertLess(len(before), 7)
        self.assertFalse(self.port.is_open)
        self.assertFalse(crowd[-1].is_read)
        self.clock.pump([0.001] * 100)
        self.assertEqual("".join(data.decode() for _, data in self.taken).count("x"), 10)
        self.assertEqual([name for name, _ in self.taken], sorted(name for name, _ in self.taken))
        self.assertTrue(all(transport.is_read for transport in crowd))
        self.assertTrue(self.port.is_open)
        self.assertEqual(self.port.numberAccepts, ACCEPTS)

    def test_share(self) -> None:
        """A crowd that never ends gets its share of the time and no more."""
        for number in range(1000):
            self.say(str(number), b"x")
        self.clock.pump([0.001] * 600)
        self.assertApproximates(self.seconds, 0.6 * SHARE, 2 * BURST)

    def test_busy_machine(self) -> None:
        """Where the node gets half of a processor, strangers get their share of that half."""
        for number in range(1000):
            self.say(str(number), b"x")
        for _ in range(600):
            self.waited += 0.0005
            self.clock.advance(0.001)
        self.assertApproximates(self.seconds, 0.3 * SHARE, 2 * BURST)

    def test_turned_away(self) -> None:
        """Thousands a second are turned away while others are looked at: whoever has taken all
        places and knocks on does not make others wait in the kernel's queue."""
        turned_away: list[str] = []
        self.reception.tls_failed = lambda host, error: turned_away.append(host)
        for number in range(MAX_STRANGERS):
            stranger: Any = self.say(str(number))
            self.reception.strangers.add(stranger, "192.0.2.1")
            self.reception.received(stranger, b"x")

        def knock() -> None:
            for _ in range(self.port.numberAccepts):
                self.reception.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))

        self.port.opened = knock
        self.clock.pump([0.001] * 1000)
        self.assertGreater(len(turned_away), 3000)
        self.assertGreater(len(self.taken), 50)

    def test_sources_take_turns(self) -> None:
        """Who comes from elsewhere does not wait until all of a crowd were looked at."""
        for number in range(100):
            stranger: Any = self.say(str(number))
            self.reception.strangers.add(stranger, "192.0.2.1")
            self.reception.received(stranger, b"x")
        passer_by: Any = self.say("passer-by")
        self.reception.strangers.add(passer_by, "192.0.2.2")
        self.reception.received(passer_by, b"x")
        self.clock.pump([0.001] * 40)
        self.assertIn(("passer-by", b"x"), self.taken)
        self.assertLess(len(self.taken), 20)

    def test_bug(self) -> None:
        """An exception over what one of those who wait has said ends his connection; it is logged,
        and the others have their turns."""
        crowd = [self.say(str(number), b"x") for number in range(10)]
        broken: Any = crowd[8]
        closed: list[bool] = []
        broken.abortConnection = lambda: closed.append(True)
        broken.take = lambda data: 1 // 0
        self.clock.pump([0.001] * 100)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(closed, [True])
        self.assertIn(("9", b"x"), self.taken)

    def test_gone_while_waiting(self) -> None:
        """Who goes while he waits is not waited for."""
        crowd = [self.say(str(number), b"x") for number in range(10)]
        gone: Any = crowd[-1]
        self.reception.left(gone)
        self.clock.pump([0.001] * 100)
        self.assertNotIn(("9", b"x"), self.taken)
        self.assertIn(("8", b"x"), self.taken)
