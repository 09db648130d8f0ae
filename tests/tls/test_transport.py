"""The transport of TLS: how much of a connection is read at a time."""

from __future__ import annotations

import time

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.testing.credentials import credentials
from tunmesh.tls import bulk
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.read_quota import QUOTA
from tunmesh.tls.transport import (
    READ_SIZE,
    TunedTransport,
    client_factory,
)


class Read:
    """A connection, and whether it is read."""

    def __init__(self) -> None:
        self.is_read = True
        self.bufferSize = READ_SIZE

    def pauseProducing(self) -> None:
        self.is_read = False

    def resumeProducing(self) -> None:
        self.is_read = True


class ReadingTests(SynchronousTestCase):
    """How much of a connection is read, and when."""

    def setUp(self) -> None:
        factory = client_factory(Contexts(credentials()), "a", Factory(), Clock())
        self.tuned = TunedTransport(factory, Protocol())
        self.plain = self.tuned.transport = Read()

    def test_after_reads(self) -> None:
        """A read that takes long makes the next ones small. What is done after it is not charged
        to the other end."""
        now, takes = [100.0], [0.1 * QUOTA, 3 * QUOTA]
        done: list[str] = []

        def spend(seconds: float, what: str) -> None:
            now[0] += seconds
            done.append(what)

        def take(transport: TunedTransport, data: bytes) -> None:
            spend(takes.pop(0), "read")

        self.patch(time, "thread_time", lambda: now[0])
        self.patch(bulk.transport_class, "dataReceived", take)
        self.tuned.call_after_reads(lambda: spend(3 * QUOTA, "answered"))
        self.tuned.dataReceived(bytes(READ_SIZE))
        self.assertEqual(self.plain.bufferSize, READ_SIZE)
        self.tuned.dataReceived(bytes(READ_SIZE))
        self.assertAlmostEqual(self.plain.bufferSize, READ_SIZE // 3, delta=1)
        self.assertEqual(done, ["read", "answered"] * 2)

    def test_paused_meanwhile(self) -> None:
        """Who pauses it meanwhile is the one who resumes it, and not before it is its turn."""
        self.tuned.pause_reading()
        self.tuned.pauseProducing()
        self.tuned.resume_reading()
        self.assertFalse(self.plain.is_read)
        self.tuned.pause_reading()
        self.tuned.resumeProducing()
        self.assertFalse(self.plain.is_read)
        self.tuned.resume_reading()
        self.assertTrue(self.plain.is_read)
