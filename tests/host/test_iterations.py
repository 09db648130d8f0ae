"""The iterations of a reactor that belongs to the test."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.python import context
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tunmesh.host import iterations


@implementer(IReadDescriptor)
class Pipe:
    """Reads what is written to it, a byte at a time."""

    def __init__(self, read: Callable[[bytes], object]) -> None:
        self._read = read
        self._fd, self._writing_end = os.pipe()
        self.lost: list[Failure] = []

    def write(self, data: bytes) -> None:
        os.write(self._writing_end, data)

    def doRead(self) -> None:
        self._read(os.read(self._fd, 1))

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "a pipe"

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._writing_end)


class IterationsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        iterations.quicken(self.reactor)
        self.happened: list[object] = []
        self.overdue = self.reactor.callLater(100, self.give_up)

    def give_up(self) -> None:
        self.happened.append("gave up")
        self.reactor.stop()

    def pipe(self, read: Callable[[bytes], object]) -> Pipe:
        pipe = Pipe(read)
        self.addCleanup(pipe.close)
        self.reactor.addReader(pipe)
        return pipe

    def run_until(self, *happened: object) -> None:
        """The reactor ends by itself; this has happened by then."""
        self.reactor.run(installSignalHandlers=False)
        for reader in self.reactor.removeAll():
            if not isinstance(reader, Pipe):
                reader.connectionLost(Failure(ConnectionError()))
        self.reactor._poller.close()
        self.assertEqual(self.happened, [*happened])

    def test_reads_go_on_without_the_rest_of_an_iteration(self) -> None:
        current = self.reactor.runUntilCurrent

        def counted() -> None:
            self.happened.append("timers")
            current()

        def read(data: bytes) -> None:
            self.happened.append(data)
            if data == b"3":
                self.reactor.stop()

        self.reactor.runUntilCurrent = counted
        self.pipe(read).write(b"123")
        self.run_until("timers", b"1", b"2", b"3", "timers")

    def test_timer_that_a_reader_starts(self) -> None:
        def fire() -> None:
            self.happened.append("fired")
            self.reactor.stop()

        self.pipe(lambda _: self.reactor.callLater(0.001, fire)).write(b"1")
        self.run_until("fired")

    def test_timer_that_a_reader_hurries(self) -> None:
        self.pipe(lambda _: self.overdue.reset(0)).write(b"1")
        self.run_until("gave up")

    def test_timers_beside_a_reader_that_always_has_more(self) -> None:
        pipe = self.pipe(lambda data: pipe.write(data))
        pipe.write(b"1")
        self.reactor.callLater(0.02, self.reactor.stop)
        self.run_until()

    def test_call_from_another_thread(self) -> None:
        def call() -> None:
            self.reactor.callFromThread(self.reactor.stop)

        pipe = self.pipe(lambda data: pipe.write(data))
        pipe.write(b"1")
        self.reactor.callWhenRunning(lambda: threading.Thread(target=call).start())
        self.run_until()

    def test_reader_that_raises_is_lost_and_others_are_served(self) -> None:
        def fail(_: bytes) -> None:
            raise ZeroDivisionError

        pipe = self.pipe(fail)
        pipe.write(b"1")
        other = self.pipe(lambda _: self.reactor.stop())
        self.reactor.callLater(0.001, other.write, b"1")
        self.run_until()
        self.assertEqual(len(pipe.lost), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reader_that_also_raises_when_it_is_lost(self) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        pipe = self.pipe(fail)
        self.patch(pipe, "connectionLost", fail)
        pipe.write(b"1")
        other = self.pipe(lambda _: self.reactor.stop())
        self.reactor.callLater(0.001, other.write, b"1")
        self.run_until()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_reader_that_is_removed_before_its_turn(self) -> None:
        def read(data: bytes) -> None:
            self.happened.append(data)
            self.reactor.removeReader(one)
            self.reactor.removeReader(other)
            self.reactor.stop()

        one, other = self.pipe(read), self.pipe(read)
        one.write(b"1")
        other.write(b"1")
        self.run_until(b"1")

    def test_no_log_context(self) -> None:
        def read(_: bytes) -> None:
            self.happened.append(context.get("system"))
            self.reactor.stop()

        self.pipe(read).write(b"1")
        self.run_until(None)

    def test_another_reactor_is_left_alone(self) -> None:
        renamed: Any = EPollReactor()
        del renamed._justStopped
        for other in Clock(), renamed:
            iterations.quicken(other)
            self.assertNotIn("doIteration", vars(other))
        renamed.removeAll()
        self.reactor.callWhenRunning(self.reactor.stop)
        self.run_until()
