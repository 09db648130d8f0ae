"""Admission control: who gets a slot, whose turn it is, and how much is done for clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.addresses import THIS_HOST, source_of
from tunmesh.tls.admission import MAX_CLIENTS, MAX_SOURCES, Slots
from tunmesh.tls.cpu_share import BURST, SHARE, CpuTimes
from tunmesh.tls.listener import ACCEPTS, MeshPort


class SlotsTests(SynchronousTestCase):
    """The slots, and sources that want all of them."""

    def setUp(self) -> None:
        self.slots: Slots[int] = Slots()

    def fill(self, *hosts: str) -> None:
        """These hosts take all slots, in turns."""
        for number in range(MAX_CLIENTS):
            self.slots.add(number, hosts[number % len(hosts)])

    def test_free_slots(self) -> None:
        """As long as slots are free, any client gets one."""
        self.assertEqual(self.slots.may_admit("192.0.2.1"), (True, None))
        self.fill("192.0.2.1")
        self.slots.discard(7)
        self.assertEqual(self.slots.may_admit("192.0.2.1"), (True, None))

    def test_one_source(self) -> None:
        """A source that holds all slots gets no more; any other gets that of its client that has
        waited longest."""
        self.fill("192.0.2.1")
        self.assertEqual(self.slots.may_admit("192.0.2.1"), (False, None))
        self.assertEqual(self.slots.may_admit("192.0.2.2"), (True, 0))

    def test_two_sources(self) -> None:
        """Sources with equally many slots take none from each other."""
        self.fill("192.0.2.1", "192.0.2.2")
        for host in ("192.0.2.1", "192.0.2.2"):
            self.assertEqual(self.slots.may_admit(host), (False, None))

    def test_one_slot_each(self) -> None:
        """When every source has one slot, none can be taken from any of them."""
        self.fill(*(f"192.0.2.{number}" for number in range(MAX_CLIENTS)))
        self.assertEqual(self.slots.may_admit("198.51.100.1"), (False, None))

    def test_this_host(self) -> None:
        """A client on this host gets a slot even then, but no more of them than others have."""
        self.fill(*(f"192.0.2.{number}" for number in range(MAX_CLIENTS)))
        self.assertEqual(self.slots.may_admit("::1"), (True, 0))
        self.slots.discard(0)
        self.slots.add(-1, "127.0.0.1")
        self.assertEqual(self.slots.may_admit("::ffff:127.0.0.1"), (False, None))

    def test_turns(self) -> None:
        """Sources take turns; this host is first among equals."""
        for client, host in enumerate(("192.0.2.1", "192.0.2.1", "192.0.2.2", "::1", "::1")):
            self.slots.add(client, host)
        waiting = [0, 1, 2, 3, 4]
        served = []
        while waiting:
            served.append(self.slots.take_turn(waiting))
            waiting.remove(served[-1])
        self.assertEqual(served, [3, 0, 2, 4, 1])

    def test_ever_new_sources(self) -> None:
        """A flood from ever new sources does not fill memory, and a client that has had a turn
        before gets another one while the flood goes on."""
        self.slots.add(-1, "192.0.2.1")
        self.slots.take_turn([-1])
        turns = 0
        for client in range(2 * MAX_SOURCES):
            self.slots.add(client, f"2001:db8:0:{client:x}::1")
            turns += self.slots.take_turn([-1, client]) == -1
            self.slots.discard(client)
        self.assertGreater(turns, 0)
        self.assertLessEqual(len(self.slots._turns), MAX_SOURCES)

    def test_discard(self) -> None:
        """Slots that were given up count no more, and may be given up twice."""
        self.fill("192.0.2.1")
        for client in (*range(MAX_CLIENTS - 1), 0):
            self.slots.discard(client)
        self.assertEqual(len(self.slots), 1)
        for client in range(1000, 1000 + MAX_CLIENTS - 1):
            self.slots.add(client, "192.0.2.2")
        self.assertEqual(self.slots.may_admit("192.0.2.3"), (True, 1000))

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
    """That of a client: what the port does with it."""

    def __init__(self, case: MeshPortTests, name: str) -> None:
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


class MeshPortTests(SynchronousTestCase):
    """Clients each of whose messages takes a millisecond to deal with."""

    def setUp(self) -> None:
        self.clock, self.seconds, self.waited = Clock(), 0.0, 0.0
        self.taken: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        unused: Any = None
        self.mesh_port = MeshPort(
            self.clock,
            unused,
            unused,
            lambda host, error: self.refused.append(host),
            CpuTimes(lambda: self.seconds, lambda: self.waited),
        )
        self.port = Port()
        self.mesh_port.opened(self.port)

    def send(self, name: str, *messages: bytes, host: str = "") -> Transport:
        """A client, with a slot if a host is given, sends these messages."""
        transport = Transport(self, name)
        arrived: Any = transport
        if host:
            self.mesh_port.slots.add(arrived, host)
        for message in messages:
            self.mesh_port.received(arrived, message)
        return transport

    def test_at_once(self) -> None:
        """A few messages are looked at as they come."""
        self.send("a", b"1", b"2")
        self.assertEqual(self.taken, [("a", b"1"), ("a", b"2")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_turn(self) -> None:
        """When too much comes no client is read and none accepted until that is paid for; then
        they are looked at in the order in which they came."""
        crowd = [self.send(str(number), b"x", b"y") for number in range(10)]
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
            self.send(str(number), b"x")
        self.clock.pump([0.001] * 600)
        self.assertApproximates(self.seconds, 0.6 * SHARE, 2 * BURST)

    def test_busy_machine(self) -> None:
        """Where the node gets half of a processor, clients get their share of that half."""
        for number in range(1000):
            self.send(str(number), b"x")
        for _ in range(600):
            self.waited += 0.0005
            self.clock.advance(0.001)
        self.assertApproximates(self.seconds, 0.3 * SHARE, 2 * BURST)

    def test_refused(self) -> None:
        """Thousands a second are refused while others are looked at: a source that has taken all
        slots and goes on connecting does not make others wait in the kernel's queue."""
        for number in range(MAX_CLIENTS):
            self.send(str(number), b"x", host="192.0.2.1")

        def connect() -> None:
            for _ in range(self.port.numberAccepts):
                self.mesh_port.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))

        self.port.opened = connect
        self.clock.pump([0.001] * 1000)
        self.assertGreater(len(self.refused), 3000)
        self.assertGreater(len(self.taken), 50)

    def test_sources_take_turns(self) -> None:
        """A client from elsewhere does not wait until all of a crowd have been looked at."""
        for number in range(100):
            self.send(str(number), b"x", host="192.0.2.1")
        self.send("other", b"x", host="192.0.2.2")
        self.clock.pump([0.001] * 40)
        self.assertIn(("other", b"x"), self.taken)
        self.assertLess(len(self.taken), 20)

    def test_bug(self) -> None:
        """An exception over what a waiting client has sent closes its connection; it is logged,
        and the others have their turns."""
        crowd = [self.send(str(number), b"x") for number in range(10)]
        broken: Any = crowd[8]
        closed: list[bool] = []
        broken.abortConnection = lambda: closed.append(True)
        broken.take = lambda data: 1 // 0
        self.clock.pump([0.001] * 100)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(closed, [True])
        self.assertIn(("9", b"x"), self.taken)

    def test_gone_while_waiting(self) -> None:
        """A client that goes while it waits is forgotten."""
        crowd = [self.send(str(number), b"x") for number in range(10)]
        gone: Any = crowd[-1]
        self.mesh_port.left(gone)
        self.clock.pump([0.001] * 100)
        self.assertNotIn(("9", b"x"), self.taken)
        self.assertIn(("8", b"x"), self.taken)
