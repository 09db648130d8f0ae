"""TCP in memory: hosts, the connections between them, and faults."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from twisted.internet import address, error, interfaces
from twisted.python.failure import Failure
from zope.interface import implementer

LATENCY = 0.001  # seconds, one way
HIGH_WATER = 1 << 16  # bytes under way in one direction at which a writer is told to pause


@implementer(interfaces.ITransport, interfaces.IConsumer)
class Wire:
    """One end of a connection. What is written arrives at `peer` a latency later, in order."""

    def __init__(self, network: Network, here: str, there: str, port: int) -> None:
        self.network = network
        self.here = here
        self.there = there
        self.port = port
        self.peer: Wire
        self.protocol: interfaces.IProtocol | None = None
        self.disconnecting = False
        self.connected = True
        self._latency = network.latency_between(here, there)
        # Under way to the peer, with the time when it is due.
        self._sent: deque[tuple[float, bytes | Failure]] = deque()
        self._under_way = 0
        self._last_due = 0.0
        self._producer: Any = None
        self._paused = False
        self._reads = True
        self._after_reads: Callable[[], None] = lambda: None

    # ITCPTransport

    def write(self, data: bytes) -> None:
        if self.connected and not self.disconnecting:
            self.network.writes_by[self.here] += 1
            self.network.bytes_by[self.here] += len(data)
            self._send(bytes(data), len(data))
            self._press()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting and self._producer is None:
            self.disconnecting = True
            self._send(Failure(error.ConnectionDone()), 0)

    def abortConnection(self) -> None:
        if self.connected:
            self.disconnecting = True
            self._sent.clear()
            self._send(Failure(error.ConnectionLost()), 0)
            self.network.clock.callLater(0, self._lost, Failure(error.ConnectionAborted()))

    def pauseProducing(self) -> None:
        self._reads = False

    def resumeProducing(self) -> None:
        self._reads = True
        self.network.clock.callLater(0, self.peer.deliver)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self._press()

    def unregisterProducer(self) -> None:
        self._producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is ever held back."""

    def getPeer(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self.there, self.port)

    def getHost(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self.here, self.port)

    # link.interfaces.LinkTransport, for links without TLS

    def call_after_reads(self, call: Callable[[], None]) -> None:
        self._after_reads = call

    # the cable

    def _send(self, what: bytes | Failure, size: int) -> None:
        clock = self.network.clock
        pace = self.network.rates.get(self.there, math.inf)
        due = max(clock.seconds() + self._latency, self._last_due) + size / pace
        self._last_due = due
        self._sent.append((due, what))
        self._under_way += size
        clock.callLater(due - clock.seconds(), self.deliver)

    def deliver(self) -> None:
        """Deliver everything that is due, unless the path is cut."""
        if self.network.is_cut(self.here, self.there):
            return
        clock, soon = self.network.clock, self.network.clock.seconds() + 1e-9
        while self._sent and self.peer.connected and self.peer.protocol and self.peer._reads:
            due, what = self._sent[0]
            if due > soon:
                break
            self._sent.popleft()
            if isinstance(what, bytes):
                self._under_way -= len(what)
                self.peer.protocol.dataReceived(what)
                self.peer._after_reads()
            else:
                self.peer._lost(what)
                clock.callLater(self._latency, self._lost, what)
        self._relax()

    def _press(self) -> None:
        if self._producer is not None and not self._paused and self._under_way > HIGH_WATER:
            self._paused = True
            self._producer.pauseProducing()

    def _relax(self) -> None:
        if self._producer is not None and self._paused and not self._under_way:
            self._paused = False
            self._producer.resumeProducing()

    def _lost(self, reason: Failure) -> None:
        if self.connected:
            self.connected = False
            self.network.wires.pop(self, None)
            if self.protocol is not None:
                self.protocol.connectionLost(reason)

    def crash(self, silently: bool) -> None:
        """The process at this end is gone."""
        self.connected = False
        self.protocol = None
        self.network.wires.pop(self, None)
        self._sent.clear()
        if not silently:
            self._send(Failure(error.ConnectionLost()), 0)


class Network:
    """Hosts, the names they go by, and the wires between them."""

    def __init__(self, clock: interfaces.IReactorTime, latency: float = LATENCY) -> None:
        self.clock = clock
        self.latency = latency
        self.names: dict[str, list[str]] = {}
        self.listeners: dict[tuple[str, int], interfaces.IProtocolFactory] = {}
        # Of ports that take no connections at the moment.
        self.backlogs: dict[tuple[str, int], list[Dialing]] = {}
        self.wires: dict[Wire, None] = {}  # in the order of their making
        self.dialings: dict[Dialing, None] = {}  # that are neither connected nor failed yet
        # What each host did.
        self.dials_by: Counter[str] = Counter()
        self.writes_by: Counter[str] = Counter()
        self.bytes_by: Counter[str] = Counter()
        self.connections = 0  # that there ever were
        self.gone: set[str] = set()  # hosts that answer nothing
        self.rates: dict[str, float] = {}  # bytes a second that slow hosts read, on each connection
        self._cuts: set[tuple[str, str]] = set()
        self._abandoned: set[str] = set()

    @property
    def dials(self) -> int:
        return self.dials_by.total()

    def cut(self, one: str, other: str, both_ways: bool = True) -> None:
        """Silently drop everything between two hosts from now on."""
        self._cuts.add((one, other))
        if both_ways:
            self._cuts.add((other, one))

    def heal(self) -> None:
        """End all cuts; what was under way arrives."""
        self._cuts.clear()
        for wire in list(self.wires):
            wire.deliver()

    def is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self._cuts or one in self._abandoned or other in self._abandoned

    def abandon(self, host: str) -> None:
        """Remove this address for good: nothing gets to it or from it."""
        self._abandoned.add(host)

    def latency_between(self, one: str, other: str) -> float:
        return self.latency

    def lookup(self, name: str) -> list[str]:
        """The addresses of a name."""
        return self.names.get(name, [name] if name[0].isdigit() else [])

    def connect(self, here: str, there: str, port: int, factory: Any, timeout: float) -> Dialing:
        """Implements connectTCP."""
        self.dials_by[here] += 1
        dialing = Dialing(self, here, there, port, factory)
        self.dialings[dialing] = None
        factory.doStart()
        factory.startedConnecting(dialing)
        dialing.deadline = self.clock.callLater(timeout, dialing.fail, error.TimeoutError())
        self.clock.callLater(self.latency_between(here, there), dialing.arrive)
        return dialing


@implementer(interfaces.IConnector)
class Dialing:
    """An attempt to connect."""

    deadline: interfaces.IDelayedCall

    def __init__(self, network: Network, here: str, there: str, port: int, factory: Any) -> None:
        self.here = here
        self._network = network
        self._there = there
        self._port = port
        self._factory = factory
        self._pending = True

    def arrive(self) -> None:
        """The SYN arrives at the other host."""
        cut = self._network.is_cut
        if not self._pending or cut(self.here, self._there) or cut(self._there, self.here):
            return
        if self._there in self._network.gone:
            return
        place = (self._there, self._port)
        if place in self._network.backlogs:
            self._network.backlogs[place].append(self)
            return
        listener = self._network.listeners.get(place)
        if listener is None:
            self.fail(error.ConnectionRefusedError())
            return
        self._end()
        near = Wire(self._network, self.here, self._there, self._port)
        far = Wire(self._network, self._there, self.here, self._port)
        near.peer, far.peer = far, near
        self._network.connections += 1
        for wire, factory in ((near, self._factory), (far, listener)):
            wire.protocol = factory.buildProtocol(wire.getPeer())
            self._network.wires[wire] = None
        for wire in (far, near):
            if wire.protocol is not None:
                wire.protocol.makeConnection(wire)
            else:
                wire.abortConnection()

    def fail(self, why: Exception) -> None:
        if self._pending:
            self._end()
            self._factory.clientConnectionFailed(self, Failure(why))

    def crash(self) -> None:
        """The dialing process is gone."""
        self._end()

    def _end(self) -> None:
        self._pending = False
        self._network.dialings.pop(self, None)
        if self.deadline.active():
            self.deadline.cancel()

    def stopConnecting(self) -> None:
        self.fail(error.UserError())

    disconnect = stopConnecting

    def connect(self) -> None:
        raise NotImplementedError("a new attempt is a new Dialing")

    def getDestination(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self._there, self._port)
