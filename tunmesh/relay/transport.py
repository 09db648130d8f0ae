"""The connection of a relayed link: one end of a stream, for what runs over it.

A transport as TLS (tls.transport) uses one. What is written goes into a lane for the carrier's
link, as far as the other end has granted; what waits beyond that, or beyond HIGH_WATER, pauses the
writer, so that packets wait in the relayed link's own queue, where they can expire.

The connection is lost as one over TCP would be: in an iteration of the reactor of its own, never
inside a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error, interfaces
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import RELAYED
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import RelayedAddress
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.logs import bugs
from tunmesh.relay.flow import SMALL_PIECE, BrokenStreamError, Incoming, Outgoing
from tunmesh.relay.lane import Lane
from tunmesh.timers import Timer
from tunmesh.wire.streams import BROKEN, CREDIT, END, PIECE, Message

HIGH_WATER, LOW_WATER = 1 << 16, 1 << 14  # bytes that wait when the writer pauses, and resumes
MAX_WAITING = 2 << 20  # bytes: TLS answers some of what arrives, whether or not it is read
LINGER = 5.0  # seconds for the last bytes to leave
_bug = bugs.caught("a relayed connection is ended")


@implementer(interfaces.ITransport, interfaces.IConsumer, interfaces.IPushProducer)
class RelayTransport:
    """One end of the stream with this number. `offer(lane)`: the lane has something for the
    carrier's link; `ended()` is called once, when it is over."""

    bufferSize = 0  # that of a socket: TLS sets it

    def __init__(
        self,
        reactor: Any,
        number: int,
        addresses: tuple[RelayedAddress, RelayedAddress],
        offer: Callable[[Lane], None],
        ended: Callable[[], None],
        memory: MemoryBudget,
    ) -> None:
        self.connected = False
        self.disconnecting = False
        self.lane = Lane(number, self._taken)
        self.protocol: Protocol | None = None
        self._reactor = reactor
        self._here, self._there = addresses
        self._offer = offer
        self._ended = ended
        self._account = memory.account(RELAYED, self.abortConnection)
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._unread = bytearray()  # while the reader is paused; pieces may be very small
        self._reads = True
        self._producer: Any = None
        self._is_paused = False
        self._linger = Timer(reactor)

    # --- what the node tells it ---

    def connect(self, protocol: Protocol) -> None:
        """Both ends are there: this runs over it from now on."""
        self.protocol = protocol
        self.connected = True
        self._guarded(protocol.makeConnection, self)

    def received(self, message: Message) -> bool:
        """The carrier passes this on from the other end. Whether it was of use."""
        is_useful = True
        try:
            match message.kind:
                case kind if kind == PIECE:
                    is_useful = len(message.body) >= SMALL_PIECE
                    self._deliver(self._incoming.receive(message.value, message.body))
                case kind if kind == CREDIT:
                    is_useful = self._outgoing.grant(message.value)
                    self._fill()
                case kind if kind == END:
                    self._incoming.ends(message.value)
                    self._deliver(b"")
                case kind if kind == BROKEN:
                    self.lose(error.ConnectionLost())
                case _:
                    raise BrokenStreamError("an answer to what was answered")
        except BrokenStreamError as why:
            self.break_off(PeerError(FailureReason.UNEXPECTED, f"the relayed stream has {why}"))
        return is_useful

    def lose(self, why: Exception) -> None:
        """It is over, and the carrier knows, or is gone."""
        if not self.connected:
            return
        self.connected = False
        self.disconnecting = True
        self._linger.stop()
        self._unread.clear()
        self._account.hold(0)
        self.lane.clear()
        self._ended()
        self._reactor.callLater(0, self._lost, Failure(why))

    def break_off(self, why: Exception) -> None:
        """End it, and tell the carrier."""
        self.lose(why)
        self.lane.break_off()
        self._offer(self.lane)

    def _lost(self, why: Failure) -> None:
        protocol, self.protocol, self._producer = self.protocol, None, None
        if protocol is not None:
            protocol.connectionLost(why)

    # --- ITransport: what TLS does with it ---

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting:
            return
        self._outgoing.write(data)
        if self._outgoing.waiting + self.lane.held > MAX_WAITING:
            self.abortConnection()
            return
        self._fill()

    @property
    def is_waiting(self) -> bool:
        """Whether bytes that were written have not been taken by the carrier's link yet."""
        return self._outgoing.waiting + self.lane.held > 0

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._linger.start(LINGER, self.abortConnection)
            self._fill()

    def abortConnection(self) -> None:
        if self.connected:
            self.break_off(error.ConnectionAborted())

    def getPeer(self) -> RelayedAddress:
        return self._there

    def getHost(self) -> RelayedAddress:
        return self._here

    # --- IPushProducer: the reader ---

    def pauseProducing(self) -> None:
        self._reads = False

    def resumeProducing(self) -> None:
        if not self._reads:
            self._reads = True
            if self._unread or self._incoming.is_over:
                self._reactor.callLater(0, self._deliver, b"")

    def stopProducing(self) -> None:
        self.loseConnection()

    # --- IConsumer: the writer ---

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self._is_paused = False
        self._press()

    def unregisterProducer(self) -> None:
        self._producer = None

    # --- bytes ---

    def _fill(self) -> None:
        """Put into the lane what may be sent."""
        is_filled = False
        while (piece := self._outgoing.next_piece()) is not None:
            self.lane.push(*piece)
            is_filled = True
        if self.disconnecting and self.connected and not self._outgoing.waiting:
            self.lane.end(self._outgoing.sent)
            is_filled = True
        if is_filled:
            self._offer(self.lane)
        self._press()

    def _taken(self) -> None:
        """The carrier's link took something from the lane."""
        if self.lane.is_over:
            self.lose(error.ConnectionDone())
        has_room = not self._outgoing.waiting and self.lane.held <= LOW_WATER
        if self._is_paused and self._producer is not None and has_room:
            self._is_paused = False
            self._producer.resumeProducing()

    def _press(self) -> None:
        is_full = self._outgoing.waiting > 0 or self.lane.held > HIGH_WATER
        if is_full and self._producer is not None and not self._is_paused:
            self._is_paused = True
            self._producer.pauseProducing()

    def _deliver(self, data: bytes) -> None:
        """Give the protocol what has come, in order."""
        if not self.connected:
            return
        if data:
            self._unread += data
        if self._reads and self._unread:
            unread, self._unread = bytes(self._unread), bytearray()
            if self.protocol is not None:
                self._guarded(self.protocol.dataReceived, unread)
            grant = self._incoming.consume(len(unread))
            if grant is not None and self.connected:
                self.lane.grant(grant)
                self._offer(self.lane)
        held = len(self._unread) + self._incoming.cost
        if self.connected and (held or self._account.held):
            self._account.hold(held, held)
            self._account.settle()
        if self._incoming.is_over and not self._unread:
            self.lose(error.ConnectionDone())

    def _guarded(self, call: Callable[[Any], None], argument: object) -> None:
        """A bug in the protocol must end this connection, as the reactor would do with one over
        TCP, and not that of the carrier, whose bytes are being read."""
        try:
            call(argument)
        except Exception as error:
            _bug(error)
            self.abortConnection()
