"""The endless traffic of a soak, checked to the last byte.

Every node has a TCP and a UDP server in its namespace, which outlive the node. All data is taken
from one random pattern that both ends know, so a receiver compares every byte as it arrives, even
if the transfer is cut off later. All traffic is paced: a soak should be long, not fast.

A failed conversation is an error unless one of its two ends was harmed meanwhile (`Harm.excuses`);
wrong content is never excused.
"""
# mypy: disallow-untyped-calls=False
# (twisted.web is typed only in part)

from __future__ import annotations

import os
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from bench.realmesh import RealMesh, numbers
from tunmesh.localmesh.pinger import Pinger
from tunmesh.localmesh.transfers import NamespaceEndpoint, TrafficError, fetch

TCP_PORT, UDP_PORT = 9000, 9001
TICK = 0.05  # seconds between two pieces of a transfer
STREAM_RATE = 4_000_000  # bytes per second of one transfer
SIZES = (1_000, 100_000, 1_000_000, 8_000_000, 30_000_000)  # size of a transfer, in bytes
DATAGRAMS = (64, 1200, 4000)  # bytes; the largest are fragmented in the tunnel
DATAGRAM_PAUSE = 0.01
PING_PAUSE = 0.1
PAGE_PAUSE = 0.5
LATE = 3.0  # seconds after which a datagram or an answer counts as lost
STALLED = 60.0  # seconds without progress after which a transfer has failed
_LENGTH = struct.Struct("!Q")
_DATAGRAM = struct.Struct("!QI")  # number, size

PATTERN = os.urandom(1_000_003)
_TWICE = PATTERN * 2


def expected(offset: int, size: int) -> bytes:
    """The pattern at this position in the endless data; at most 1 MB."""
    begin = offset % len(PATTERN)
    return _TWICE[begin : begin + size]


KINDS = ("tcp", "udp", "ping", "http")  # of conversations


class Harm:
    """When each node was harmed, which excuses losses of some kinds of conversations."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, str], float] = {}

    def begin(self, number: int, kinds: Sequence[str] = KINDS) -> None:
        self._set(number, kinds, float("inf"))

    def end(self, number: int, settle: float, kinds: Sequence[str] = KINDS) -> None:
        """The node is whole again, or will be after that many seconds."""
        self._set(number, kinds, time.monotonic() + settle)

    def _set(self, number: int, kinds: Sequence[str], until: float) -> None:
        self._until |= dict.fromkeys(((number, kind) for kind in kinds), until)

    def excuses(self, kind: str, ends: tuple[int, int], since: float) -> bool:
        """Whether either end was harmed at some time since then."""
        return any(self._until.get((end, kind), 0.0) >= since for end in ends)


class Tally:
    """The outcome of all conversations."""

    def __init__(self, harm: Harm) -> None:
        self.harm = harm
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []

    def failed(self, kind: str, ends: tuple[int, int], since: float, why: str) -> None:
        """A conversation failed. An error, unless it is excused."""
        if self.harm.excuses(kind, ends, since):
            self.counts[f"{kind}_excused"] += 1
        else:
            self.counts[f"{kind}_lost"] += 1
            self.note(f"{kind} from node{ends[0]} to node{ends[1]}: {why}")

    def note(self, error: str) -> None:
        """Record up to a hundred; a systematic error repeats."""
        self.counts["errors"] += 1
        if len(self.errors) < 100:
            self.errors.append(f"{time.strftime('%H:%M:%S')} {error}")


@implementer(IHalfCloseableProtocol)
class _Sink(Protocol):
    """Compares what arrives, and reports the number of bytes at the end."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        for begin in range(0, len(data), len(PATTERN)):
            piece = data[begin : begin + len(PATTERN)]
            if piece != expected(self._received, len(piece)):
                self._tally.counts["wrong"] += 1
                self._tally.note("TCP brought other bytes than were sent")
            self._received += len(piece)
        self._tally.counts["tcp_bytes"] += len(data)

    def writeConnectionLost(self) -> None:
        """The connection is only ever closed as a whole."""

    def readConnectionLost(self) -> None:
        transport = cast(ITCPTransport, self.transport)
        transport.write(_LENGTH.pack(self._received))
        transport.loseConnection()


class _Source(Protocol):
    """Sends that many bytes at STREAM_RATE, and waits for the number that arrived. `done` fires
    with the reason for a failure, or None."""

    def __init__(self, size: int, clock: Any) -> None:
        self.done: Deferred[str] = Deferred()
        self._size = size
        self._sent = 0
        self._answer = b""
        self._why = ""
        self._pace = LoopingCall(self._send)
        self._pace.clock = clock

    def connectionMade(self) -> None:
        cast(Any, self.transport).registerProducer(self, True)
        self._pace.start(TICK)

    def pauseProducing(self) -> None:
        if self._pace.running:
            self._pace.stop()

    def resumeProducing(self) -> None:
        if not self._pace.running and self._sent < self._size:
            self._pace.start(TICK, now=False)

    def stopProducing(self) -> None:
        self.pauseProducing()

    def _send(self) -> None:
        transport = cast(Any, self.transport)
        size = min(int(STREAM_RATE * TICK), self._size - self._sent)
        piece = expected(self._sent, size)
        self._sent += size
        if self._sent >= self._size:
            self._pace.stop()
        transport.write(piece)
        if self._sent >= self._size:
            transport.unregisterProducer()
            transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self._answer += data

    def give_up(self, why: str) -> None:
        self._why = why
        cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.stopProducing()
        if self._answer == _LENGTH.pack(self._size):
            self.done.callback("")
        else:
            self.done.callback(self._why or f"{reason.getErrorMessage()} after {self._sent} bytes")


class _Mailbox(DatagramProtocol):
    def __init__(self, arrived: Callable[[bytes], None]) -> None:
        self._arrived = arrived

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self._arrived(datagram)


class Conversations:
    """The conversations of a mesh. Call `serve`, then start any number of the endless ones."""

    def __init__(self, mesh: RealMesh, tally: Tally, draw: random.Random) -> None:
        self._mesh = mesh
        self._tally = tally
        self._draw = draw
        self._reactor = mesh.reactor
        self._numbers = list(numbers(mesh))
        # pending datagrams, by number
        self._under_way: dict[int, tuple[float, tuple[int, int]]] = {}
        self._datagrams = 0
        self._senders: dict[int, Any] = {}

    async def serve(self) -> None:
        for number in self._numbers:
            sinks = Factory.forProtocol(lambda: _Sink(self._tally))
            sinks.noisy = False
            with self._mesh.namespace(number):
                listening = TCP4ServerEndpoint(self._reactor, TCP_PORT).listen(sinks)
                mailbox = _Mailbox(self._arrived)
                self._senders[number] = self._reactor.listenUDP(
                    UDP_PORT, mailbox, maxPacketSize=65536
                )
            await listening

    async def streams(self) -> None:
        """One transfer after another, between random nodes, of random size."""
        while True:
            ends, began = self._any_two(), time.monotonic()
            size = self._draw.choice(SIZES)
            why = await self._stream(ends, size)
            if why:
                self._tally.failed("tcp", ends, began, why)
            else:
                self._tally.counts["tcp"] += 1
            await self._mesh.rest(self._draw.uniform(0, 1))

    async def _stream(self, ends: tuple[int, int], size: int) -> str:
        source = _Source(size, self._reactor)
        target = self._mesh.place(ends[1])
        way = NamespaceEndpoint(
            self._reactor, self._mesh.namespace(ends[0]), target.address, TCP_PORT
        )
        try:
            await way.connect(Factory.forProtocol(lambda: source))
        except Exception as error:
            return str(error) or type(error).__name__
        patience = size / STREAM_RATE + STALLED
        watch = self._reactor.callLater(patience, source.give_up, f"not done in {patience:.0f} s")
        why = await source.done
        if watch.active():
            watch.cancel()
        return why

    async def datagrams(self) -> None:
        """A datagram every DATAGRAM_PAUSE, between random nodes."""
        while True:
            ends, size = self._any_two(), self._draw.choice(DATAGRAMS)
            self._datagrams += 1
            head = _DATAGRAM.pack(self._datagrams, size)
            datagram = head + expected(self._datagrams, size - len(head))
            self._under_way[self._datagrams] = (time.monotonic(), ends)
            address = (self._mesh.place(ends[1]).address, UDP_PORT)
            with suppress(OSError):  # there is no route while its node is down
                self._senders[ends[0]].write(datagram, address)
            self._count_lost()
            await self._mesh.rest(DATAGRAM_PAUSE)

    def _arrived(self, datagram: bytes) -> None:
        number, size = _DATAGRAM.unpack_from(datagram)
        if datagram[_DATAGRAM.size :] != expected(number, size - _DATAGRAM.size):
            self._tally.counts["wrong"] += 1
            self._tally.note("UDP brought other bytes than were sent")
        elif self._under_way.pop(number, None):
            self._tally.counts["udp"] += 1
            self._tally.counts["udp_bytes"] += size

    def _count_lost(self) -> None:
        """Count overdue datagrams as lost."""
        now = time.monotonic()
        while self._under_way:
            number, (sent, ends) = next(iter(self._under_way.items()))
            if now - sent < LATE:
                break
            del self._under_way[number]
            self._tally.failed("udp", ends, sent, "a datagram was lost")

    async def pings(self) -> None:
        """One ping after another, between random nodes, in either family."""
        pingers = {
            (number, version): Pinger(self._reactor, self._mesh.namespace(number), version)
            for number in self._numbers
            for version in (4, 6)
        }
        while True:
            ends, version = self._any_two(), self._draw.choice((4, 6))
            plan, began = self._mesh.plans[ends[1] - 1], time.monotonic()
            address = plan.ipv4 if version == 4 else plan.ipv6
            if await pingers[ends[0], version].ping_once(address, LATE) is None:
                self._tally.failed("ping", ends, began, f"no answer within {LATE:.0f} s")
            else:
                self._tally.counts["ping"] += 1
            await self._mesh.rest(PING_PAUSE)

    async def pages(self) -> None:
        """One HTTP page after another, between random nodes."""
        while True:
            ends, began = self._any_two(), time.monotonic()
            source, target = map(self._mesh.place, ends)
            try:
                page = await fetch(self._reactor, source, target, STALLED)
            except TrafficError as error:
                self._tally.failed("http", ends, began, str(error))
            else:
                right = f"hello {source.address}, this is {target.address}"
                if (page.status, page.text) != (200, right):
                    self._tally.counts["wrong"] += 1
                    self._tally.note(f"HTTP brought {page.status} {page.text!r}, not {right!r}")
                self._tally.counts["http"] += 1
            await self._mesh.rest(PAGE_PAUSE)

    def _any_two(self) -> tuple[int, int]:
        source, target = self._draw.sample(self._numbers, 2)
        return source, target
