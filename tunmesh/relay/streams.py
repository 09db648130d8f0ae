"""The streams of a node: those that end here, and those that it carries.

    messages of links ──┬── of a stream that ends here ──> RelayTransport ──> TLS, a link
                        └── of another one ──> Switchboard ──> lanes of other links

A stream through a node goes by the link that is in use with it, whichever that is at the moment,
and only while that is direct. When a link fails, the streams that went by it are over, since bytes
of theirs may be lost; those that never did go on by the one in use.

A node that carries says who has opened a stream that it leads here. It could say anything, so its
openings count for it; but those of one opener must not take the place of all others behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet import error, interfaces
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import RelayedAddress
from tunmesh.link.link import Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.logs import bugs
from tunmesh.rate_limit import SharedBucket
from tunmesh.relay.lane import Lane, Numbers
from tunmesh.relay.openings import ARRIVALS_BURST, ARRIVALS_RATE
from tunmesh.relay.switchboard import Switchboard
from tunmesh.relay.transport import RelayTransport
from tunmesh.timers import Timer
from tunmesh.wire.streams import BROKEN, INCOMING, OPEN, OPENED, REFUSED, Message, Refused

OPEN_TIMEOUT = 3.0  # seconds for the other end to answer
LOOK = 2.0  # seconds between two looks for streams that are carried and have ended silently
# Streams of one opener at a time by one carrier: a link, one that renews it, and attempts that the
# opener has given up, of which this node does not know yet.
MAX_FROM_OPENER = 4


class NotRelayed(error.ConnectError):
    """A carrier refuses a stream. `reason` says why."""

    def __init__(self, reason: Refused) -> None:
        super().__init__(string=reason.words)
        self.reason = reason


class Streams:
    """Of the node with this id. `direct(id)`: the link in use with a node, if that is direct."""

    def __init__(
        self,
        own_id: str,
        reactor: Any,
        direct: Callable[[str], Link | None],
        memory: MemoryBudget,
        carries: bool,
    ) -> None:
        self._reactor = reactor
        self._direct = direct
        self._memory = memory
        self._own_id = own_id
        self._numbers = Numbers(own_id, self._is_used)
        self.switchboard = Switchboard(self._numbers, self._source, self._offer, memory, carries)
        self._ends: dict[tuple[str, int], RelayTransport] = {}
        self._opening: dict[tuple[str, int], _Opening] = {}
        self._arrivals: dict[str, SharedBucket] = {}  # by carrier, while it is linked
        self._from: Counter[tuple[str, str]] = Counter()  # streams that are here, by their opener
        self._listener: interfaces.IProtocolFactory | None = None
        self._timer = Timer(reactor)

    def accept_with(self, listener: interfaces.IProtocolFactory) -> None:
        """Streams that lead here are for this factory, as connections to the port are."""
        self._listener = listener

    # --- facts ---

    def received(self, link: Link, message: Message) -> bool:
        """The other end of a link said this. Whether it was of use."""
        peer, now = link.node.id, self._reactor.seconds()
        key = (peer, message.stream)
        if link.via or self._direct(peer) is None:
            if message.kind in (OPEN, INCOMING):
                self._answer(link, message, Refused.NOT_DIRECT)
            return False
        match message.kind:
            case kind if kind in (OPEN, INCOMING) and (key in self._ends or key in self._opening):
                raise PeerError(FailureReason.UNEXPECTED, "it opens a stream under a wrong number")
            case kind if kind == OPEN:
                why = self.switchboard.opening(peer, message.stream, message.body.hex(), now)
                if why is not None:
                    self._answer(link, message, why)
                elif not self._timer.is_running:
                    self._timer.start(LOOK, self._look)
                return why is None
            case kind if kind == INCOMING:
                return self._arrived(link, message)
        if key in self._ends:
            return self._ends[key].received(message)
        if key in self._opening:
            return self._answered(key, link, message)
        return self.switchboard.received(peer, message, now)

    def _answered(self, key: tuple[str, int], link: Link, message: Message) -> bool:
        """Something came of a stream that this node has asked for."""
        opening = self._opening[key]
        match message.kind:
            case kind if kind == OPENED:
                try:
                    protocol = opening.factory.buildProtocol(_addresses(link)[1])
                except Exception as why:  # a bug, which must not end the carrier's link
                    opening.fail(why)
                else:
                    del self._opening[key]
                    self._end(link, message.stream).connect(protocol)
                    opening.opened(protocol)
            case kind if kind in (REFUSED, BROKEN):
                del self._opening[key]
                opening.refused(message)
            case _:
                # Bytes before the answer, which may have come by another link of the carrier.
                opening.fail(NotRelayed(Refused.NO_ANSWER))
                return False
        return True

    def link_lost(self, link: Link, is_replaced: bool) -> None:
        """A direct link has ended. What was under way on it has arrived if it was replaced."""
        node_id, why = link.node.id, error.ConnectionLost()
        self.switchboard.link_lost(node_id, link, is_replaced)
        for (peer, _), end in tuple(self._ends.items()):
            if peer == node_id and end.lane.leaves(link) and not is_replaced:
                end.break_off(why)
        for (peer, _), opening in tuple(self._opening.items()):
            if peer == node_id and opening.lane.leaves(link) and not is_replaced:
                opening.fail(why)

    def parted(self, node_id: str) -> None:
        """This node is no longer linked."""
        self.switchboard.parted(node_id)
        for (peer, _), end in tuple(self._ends.items()):
            if peer == node_id:
                end.lose(error.ConnectionLost())
        for (peer, _), opening in tuple(self._opening.items()):
            if peer == node_id:
                opening.fail(error.ConnectionLost())
        self._arrivals.pop(node_id, None)

    def stop(self) -> None:
        """Carry nothing, and accept nothing. The streams that end here end with their links."""
        self._timer.stop()
        self._listener = None
        self.switchboard.carry(False)
        for opening in tuple(self._opening.values()):
            opening.fail(error.ConnectionAborted())

    def _look(self) -> None:
        with bugs.logged("streams that are over are not ended"):
            self.switchboard.expire(self._reactor.seconds())
        if len(self.switchboard):
            self._timer.start(LOOK, self._look)

    # --- streams that end here ---

    def open(self, carrier: str, target: str, factory: Any) -> Deferred[Protocol]:
        """Have this linked node carry a stream to that one, and run a protocol of the factory's
        over it."""
        link = self._direct(carrier)
        if link is None:
            failed: Deferred[Protocol] = Deferred()
            failed.errback(Failure(NotRelayed(Refused.NOT_DIRECT)))
            return failed
        number = self._numbers.new(carrier)
        key = (carrier, number)

        def cancelled() -> None:
            if self._opening.pop(key, None) is not None:
                self._offer(carrier, _one(Message(BROKEN, number)))

        lane = _one(Message(OPEN, number, body=bytes.fromhex(target)))
        opening = self._opening[key] = _Opening(self._reactor, lane, factory, cancelled)
        self._offer(carrier, lane)
        return opening.done

    def _arrived(self, link: Link, message: Message) -> bool:
        """A node carries a stream to this one."""
        peer, number, now = link.node.id, message.stream, self._reactor.seconds()
        opener = message.body.hex()
        if (peer, number) in self.switchboard or not self._numbers.is_theirs(peer, number):
            raise PeerError(FailureReason.UNEXPECTED, "it leads a stream here under a wrong number")
        if opener in (peer, self._own_id):
            why = "it leads a stream here that one of its two ends has opened"
            raise PeerError(FailureReason.UNEXPECTED, why)
        if self._listener is None or not self._has_room(peer, opener, now):
            self._answer(link, message, Refused.BUSY)
            return False
        protocol: Any = None
        with bugs.logged("a relayed connection is refused"):
            protocol = self._listener.buildProtocol(_addresses(link)[1])
        if protocol is None:
            self._answer(link, message, Refused.BUSY)
            return False
        transport = self._end(link, number, opener)
        transport.lane.say(Message(OPENED, number))
        self._offer(peer, transport.lane)
        transport.connect(protocol)
        return True

    def _has_room(self, carrier: str, opener: str, now: float) -> bool:
        """Whether one more stream of this opener may come here by this carrier."""
        if self._from[carrier, opener] >= MAX_FROM_OPENER:
            return False
        if carrier not in self._arrivals:
            self._arrivals[carrier] = SharedBucket(ARRIVALS_BURST, ARRIVALS_RATE, now)
        return self._arrivals[carrier].try_take(now, opener)

    def _forget(self, carrier: str, number: int, opener: str) -> None:
        """A stream that has ended here is over. `opener`: empty if that is this node."""
        del self._ends[carrier, number]
        if opener:
            self._from[carrier, opener] -= 1
            if not self._from[carrier, opener]:
                del self._from[carrier, opener]

    def _end(self, link: Link, number: int, opener: str = "") -> RelayTransport:
        peer = link.node.id
        transport = RelayTransport(
            self._reactor,
            number,
            _addresses(link),
            lambda lane: self._offer(peer, lane),
            lambda: self._forget(peer, number, opener),
            self._memory,
        )
        self._ends[peer, number] = transport
        if opener:
            self._from[peer, opener] += 1
        return transport

    def _is_used(self, peer: str, number: int) -> bool:
        key = (peer, number)
        return key in self._ends or key in self._opening or key in self.switchboard

    # --- links ---

    def _source(self, node_id: str) -> str | None:
        link = self._direct(node_id)
        return link.source if link is not None else None

    def _offer(self, node_id: str, lane: Lane) -> None:
        link = self._direct(node_id)
        if link is not None:
            lane.goes_by(link)
            link.conversation.carry(lane)

    def _answer(self, link: Link, message: Message, why: Refused) -> None:
        link.conversation.answer_stream(Message(REFUSED, message.stream, why))


class _Opening:
    """A stream that the carrier has been asked for. `done` fires with the protocol that runs over
    it, or fails with NotRelayed or an error of Twisted's; to cancel it gives the stream up."""

    def __init__(
        self,
        reactor: Any,
        lane: Lane,
        factory: Any,
        cancelled: Callable[[], None],
    ) -> None:
        self.done: Deferred[Protocol] = Deferred(lambda _: self.fail(error.UserError()))
        self.lane = lane  # that it was asked for in
        self.factory = factory  # of what is to run over it
        self._cancelled = cancelled
        self._timer = Timer(reactor)
        self._timer.start(OPEN_TIMEOUT, lambda: self.fail(NotRelayed(Refused.NO_ANSWER)))

    def opened(self, protocol: Protocol) -> None:
        """The other end has answered, and this runs over the stream."""
        self._timer.stop()
        self.done.callback(protocol)

    def refused(self, message: Message) -> None:
        """The carrier, or the other end, has refused the stream, or has broken it."""
        self._timer.stop()
        reason = Refused(message.value) if message.kind == REFUSED else Refused.NO_ANSWER
        self.done.errback(Failure(NotRelayed(reason)))

    def fail(self, why: Exception) -> None:
        """Give it up."""
        self._timer.stop()
        self._cancelled()
        self.done.errback(Failure(why))


def _addresses(link: Link) -> tuple[RelayedAddress, RelayedAddress]:
    """Of the two ends, this one first, of a stream that goes by this link."""
    peer, here, there = link.node.id, link.transport.getHost(), link.transport.getPeer()
    return RelayedAddress(peer, here.host, here.port), RelayedAddress(peer, there.host, there.port)


def _one(message: Message) -> Lane:
    """A lane with one message, of a stream that has no lane of its own yet, or no more."""
    lane = Lane(message.stream)
    lane.say(message)
    return lane


@implementer(interfaces.IStreamClientEndpoint)
class RelayEndpoint:
    """Connects to the node with the id `target` through the linked node with the id `carrier`."""

    def __init__(self, streams: Streams, carrier: str, target: str) -> None:
        self.carrier = carrier
        self._streams = streams
        self._target = target

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Fails with NotRelayed when the carrier, or the other end, refuses."""
        return self._streams.open(self.carrier, self._target, protocolFactory)
