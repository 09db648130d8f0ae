"""The connection of a relayed link: two ends, and lanes between them that a test empties."""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.internet import error
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.link.interfaces import RelayedAddress
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.relay.lane import Lane
from tunmesh.relay.transport import HIGH_WATER, LINGER, MAX_WAITING, RelayTransport
from tunmesh.wire.streams import MAX_PIECE, PIECE, WINDOW, Message, decode

ADDRESSES = RelayedAddress("c" * 32, "192.0.2.1", 4567), RelayedAddress("c" * 32, "192.0.2.3", 1)


class End(Protocol):
    """What runs over it; also what produces for it."""

    def __init__(self) -> None:
        self.heard = b""
        self.paused = 0
        self.lost: type[BaseException] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason.type

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.paused -= 1


class TransportTests(SynchronousTestCase):
    """Both ends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = MemoryBudget()
        self.ends: list[Any] = []
        self.over = 0
        for _ in range(2):
            transport = RelayTransport(
                self.clock, 1, ADDRESSES, self.offered, self.ended, self.memory
            )
            transport.connect(End())
            self.ends.append(transport)
        self.one, self.other = self.ends

    def offered(self, lane: Lane) -> None:
        """Lanes are emptied by `flow`."""

    def ended(self) -> None:
        self.over += 1

    def flow(self, *only: RelayTransport) -> None:
        """What waits in the lanes arrives."""
        is_moving = True
        while is_moving:
            is_moving = False
            for here, there in ((self.one, self.other), (self.other, self.one)):
                if only and here not in only:
                    continue
                while payload := here.lane.take(MAX_PIECE):
                    is_moving = True
                    there.received(decode(payload))

    def test_much(self) -> None:
        """Many windows go through, in order."""
        data = bytes(range(256)) * (4 * WINDOW // 256)
        for at in range(0, len(data), 50_000):
            self.one.write(data[at : at + 50_000])
            self.flow()
        self.assertEqual(self.other.protocol.heard, data)
        self.assertEqual(self.one.getPeer(), ADDRESSES[1])

    def test_writer_is_paused(self) -> None:
        """While the link of the carrier takes nothing, and while the other end grants nothing, the
        writer is paused; then it goes on."""
        self.one.registerProducer(self.one.protocol, True)
        self.one.write(bytes(HIGH_WATER + 1))
        self.assertEqual(self.one.protocol.paused, 1)
        self.flow()
        self.assertEqual(self.one.protocol.paused, 0)
        self.other.pauseProducing()
        self.one.write(bytes(2 * WINDOW))
        self.flow()
        self.assertEqual(self.one.protocol.paused, 1)
        self.assertLessEqual(self.memory.held, WINDOW)
        self.other.resumeProducing()
        self.clock.advance(0)
        self.flow()
        self.assertEqual((self.one.protocol.paused, self.memory.held), (0, 0))
        self.assertEqual(len(self.other.protocol.heard), HIGH_WATER + 1 + 2 * WINDOW)

    def test_small_pieces(self) -> None:
        """Pieces of a few bytes that nobody reads yet take no more memory, and no more time, than
        the same bytes in large ones."""
        self.other.pauseProducing()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for at in range(0, 30_000, 3):
            self.other.received(Message(PIECE, 1, at, b"%03d" % (at % 1000)))
        held, _ = tracemalloc.get_traced_memory()
        self.assertLess(held - before, 60_000)
        self.assertEqual(self.memory.held, 30_000)

    def test_bug(self) -> None:
        """What is raised while its bytes are read ends this connection, and is no matter of the
        carrier's link."""
        self.patch(self.other.protocol, "dataReceived", lambda data: 1 / 0)
        other = self.other.protocol
        self.one.write(b"x")
        self.flow()
        self.clock.advance(0)
        self.assertEqual(other.lost, error.ConnectionAborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_end(self) -> None:
        """An end that closes is heard of behind its last byte; both are told, later than the
        call."""
        self.one.write(b"last words")
        self.one.loseConnection()
        self.one.write(b"too late")
        self.flow()
        self.assertEqual(self.other.protocol.heard, b"last words")
        one, other = self.one.protocol, self.other.protocol
        self.assertEqual((one.lost, other.lost), (None, None))
        self.clock.advance(0)
        self.assertEqual((one.lost, other.lost), (error.ConnectionDone, error.ConnectionDone))
        self.assertEqual(self.over, 2)

    def test_end_does_not_get_through(self) -> None:
        """It does not wait for ever for its last bytes to leave."""
        self.one.write(bytes(2 * WINDOW))
        self.one.loseConnection()
        self.clock.advance(LINGER)
        self.clock.advance(0)
        self.assertEqual(self.over, 1)

    def test_abort(self) -> None:
        """An end that aborts drops what waits, and the other one hears of it."""
        other = self.other.protocol
        self.one.write(b"dropped")
        self.one.abortConnection()
        self.flow()
        self.clock.advance(0)
        self.assertEqual((other.heard, other.lost), (b"", error.ConnectionLost))

    def test_wrong(self) -> None:
        """Bytes that were not granted break the stream."""
        protocol = self.one.protocol
        self.one.received(Message(PIECE, 1, WINDOW, b"x"))
        self.clock.advance(0)
        self.assertIsNotNone(protocol.lost)
        self.assertEqual(self.over, 1)

    def test_unread_answers(self) -> None:
        """What has to wait without end, since the other end reads nothing, is a reason to stop."""
        for _ in range(MAX_WAITING // 50_000 + 1):
            self.one.write(bytes(50_000))
        self.clock.advance(0)
        self.assertEqual(self.over, 1)
