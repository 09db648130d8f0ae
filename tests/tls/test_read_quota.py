"""The quota that the connections of one source share, in each turn of the reactor."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.testing.credentials import credentials
from tunmesh.tls import bulk, transport
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.read_quota import FREE, QUOTA, REST, ReadQuota, ReadQuotas
from tunmesh.tls.transport import TunedTransport, client_factory


class Connection:
    """It always has something to read, which takes so many seconds; `reads` says when it was."""

    def __init__(self, machine: Machine, quota: ReadQuota, cost: float) -> None:
        self.reads: list[int] = []
        self.cost = cost
        self.is_paused = False
        self.quota = quota
        self._machine = machine
        quota.join()

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def ready(self) -> None:
        if self.is_paused or not (self.quota.is_open or self.quota.admits(self)):
            return
        self.reads.append(self._machine.turns)
        began, self._machine.now = self._machine.now, self._machine.now + self.cost
        self.quota.charge(began, self.cost)


class Machine:
    """Reads every connection once in a turn. `now` is the processor time of its thread."""

    def __init__(self) -> None:
        self.quotas = ReadQuotas(self._later)
        self.connections: list[Connection] = []
        self.now, self.turns = 100.0, 0
        self._calls: list[Callable[[], None]] = []

    def _later(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def connect(self, source: str, count: int, cost: float) -> list[Connection]:
        made = [Connection(self, self.quotas.of(source), cost) for _ in range(count)]
        self.connections += made
        return made

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.turns += 1
            calls, self._calls = self._calls, []
            for call in calls:
                call()
            for connection in self.connections:
                connection.ready()

    @property
    def is_idle(self) -> bool:
        return not self._calls


class QuotaTests(SynchronousTestCase):
    """One source with many connections, and others."""

    def setUp(self) -> None:
        self.machine = Machine()

    def test_crowd(self) -> None:
        """However many there are, a turn takes no longer than the quota and one read more. All of
        them are read, as often as each other."""
        crowd = self.machine.connect("a", 400, 0.3 * QUOTA)
        for _ in range(400):
            began = self.machine.now
            self.machine.turn()
            self.assertLessEqual(self.machine.now - began, 1.7 * QUOTA)
        counts = [len(each.reads) for each in crowd]
        self.assertLessEqual(max(counts) - min(counts), 2)
        self.assertGreaterEqual(min(counts), 2)

    def test_bystander(self) -> None:
        """The only connection of another source is read in each turn meanwhile."""
        self.machine.connect("a", 400, 0.3 * QUOTA)
        (bystander,) = self.machine.connect("b", 1, 0.9 * QUOTA)
        self.machine.turn(50)
        self.assertEqual(len(bystander.reads), 50)

    def test_alone(self) -> None:
        """One connection costs nothing: it is read in each turn, and nothing is scheduled."""
        (alone,) = self.machine.connect("a", 1, 0.9 * QUOTA)
        for _ in range(20):
            self.machine.turn()
            self.assertTrue(self.machine.is_idle)
        self.assertEqual(len(alone.reads), 20)

    def test_long(self) -> None:
        """A read that takes longer than the quota is paid for in turns, by the whole source."""
        first, second = self.machine.connect("a", 2, 3 * QUOTA)
        self.machine.turn(1 + 3 * REST)
        self.assertEqual((first.reads, second.reads), ([1], [1 + 3 * REST]))

    def test_light(self) -> None:
        """A source that takes little of what the node does never waits, in however many turns."""
        few = self.machine.connect("a", 10, 0.01 * QUOTA)
        self.machine.connect("b", 1, 0.1 * QUOTA * (1 / FREE - 1))
        for _ in range(100):
            self.machine.turn()
            self.assertTrue(self.machine.is_idle)
        self.assertEqual({len(each.reads) for each in few}, {100})

    def test_end_of_load(self) -> None:
        """When they have less to say, all are read in each turn again."""
        crowd = self.machine.connect("a", 50, 0.3 * QUOTA)
        self.machine.turn(20)
        self.machine.connect("b", 1, 0.9 * QUOTA)
        for each in crowd:
            each.cost = 0.001 * QUOTA
        self.machine.turn(20)
        self.assertEqual({each.reads[-5:][0] for each in crowd}, {self.machine.turns - 4})
        self.assertTrue(self.machine.is_idle)

    def test_lost(self) -> None:
        """One that is lost while it waits keeps nobody waiting, and is not resumed."""
        first, second, third = self.machine.connect("a", 3, 1.1 * QUOTA)
        self.machine.turn()
        self.assertTrue(second.is_paused)
        second.quota.leave(second)
        self.machine.connections.remove(second)
        self.machine.turn(2 * REST + 1)
        self.assertTrue(second.is_paused)
        self.assertTrue(first.reads and third.reads)

    def test_admitted_and_silent(self) -> None:
        """One whose turn it is and that has nothing to read any more does not hold up the rest."""
        crowd = self.machine.connect("a", 3, 1.1 * QUOTA)
        self.machine.turn()
        silent = crowd[1]
        self.machine.connections.remove(silent)
        self.machine.turn(6 * REST)
        self.assertGreaterEqual(min(len(each.reads) for each in (crowd[0], crowd[2])), 2)

    def test_forgotten(self) -> None:
        """A source without connections takes no memory."""
        self.machine.connect("a", 1, 0.0)
        quota = self.machine.quotas.of("a")
        self.assertIs(self.machine.connections[0].quota, quota)
        del quota
        self.machine.connections.clear()
        self.assertEqual(len(self.machine.quotas), 0)


class Reactor:
    """As much of one as a TCP connection needs to be read."""

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        """Nothing is to be written."""

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        for reader in tuple(self.readers):
            if reader in self.readers:
                self.assert_goes_on(reader.doRead())

    def assert_goes_on(self, lost: object) -> None:
        if lost is not None:
            raise AssertionError(f"the connection is lost: {lost}")


class TransportTests(SynchronousTestCase):
    """Connections over sockets, from one address, that always have something to read."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.quotas = ReadQuotas(lambda call: self.reactor.callLater(0, call))
        self.read: list[object] = []
        now = [100.0]

        def take(tuned: object, data: bytes) -> None:
            self.read.append(tuned)
            now[0] += 0.9 * QUOTA

        self.patch(time, "thread_time", lambda: now[0])
        self.patch(bulk.transport_class, "dataReceived", take)
        self.patch(transport, "_tune", lambda below: None)  # not for these sockets

    def connect(self) -> TunedTransport:
        factory = client_factory(Contexts(credentials()), "a", Factory(), Clock())
        tuned = TunedTransport(factory, Protocol())
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.setblocking(False)
        theirs.send(bytes(1 << 17))
        connection: Any = tcp.Connection(ours, tuned, self.reactor)  # type: ignore[arg-type]
        connection.connected = True
        connection.bufferSize = 1
        tuned.makeConnection(connection)
        tuned.share(self.quotas.of("a"))
        connection.startReading()
        return tuned

    def test_turns(self) -> None:
        """Together they are read as much as one alone would be, and all of them."""
        crowd = [self.connect() for _ in range(10)]
        for _ in range(100):
            self.read.clear()
            self.reactor.turn()
            self.assertLessEqual(len(self.read), 2)
        for _ in range(20):
            self.reactor.turn()
        self.assertEqual(set(self.read), set(crowd))
