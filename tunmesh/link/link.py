"""A link: one TLS connection between two nodes, from the handshake to the bye.

    HANDSHAKE ── authentic ──> UP ── retire ──> RETIRING ── both said bye ──> CLOSED
        └───── any error, close, silence, connection lost: CLOSED ────────────^

Here are the states, and how a link ends. What it consists of:

    Authentication   who is at the other end
    Conversation     messages, in both directions, and packets that arrive
    Sender           packets that leave: flow control, queue, pacing
    Pinger           whether the other end is alive, and the round trip

A link that is up is a carrier (dataplane.carrier) of its peer's packets.

**Retiring** makes it lossless to replace a link. Each side says bye on the old link behind its last
packet, and goes on receiving until it has the other's bye. A link that ended so has the error
REPLACED.

A link may run through a third node, `via` (tunmesh.relay): then its transport is a stream that this
one carries. All else is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import RELAYED, source_of
from tunmesh.auth.handshake import Key
from tunmesh.dataplane.carrier import Receive
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.authentication import Authentication
from tunmesh.link.conversation import Conversation
from tunmesh.link.interfaces import LinkTransport, Owner, RelayedAddress, State
from tunmesh.link.keepalive import Timing
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.link.pinger import Pinger
from tunmesh.link.sender import Sender
from tunmesh.timers import Timer
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT
from tunmesh.wire import messages
from tunmesh.wire.records import NodeRecord, SignedRecord

RETIRE_TIMEOUT = 2.0  # seconds that the other end may take to say its bye, or to close


@implementer(IHandshakeListener)
class Link(Protocol):
    """One end of a link. `dialed`: this end has dialed the other one."""

    transport: LinkTransport  # type: ignore[assignment]
    record: NodeRecord | None = None  # of the other end, as it last came here, once it is authentic
    signed: SignedRecord  # the same as others may be told, from then on
    # Where the other end comes from (tunmesh.addresses), from then on. The address of one that a
    # third node carries is not known, and a member may have as many of these as there are nodes.
    source = ""
    origin = ""  # where its bytes come from, from then on: of a relayed link, its carrier
    via = ""  # the id of the node that carries this link; empty: it is direct

    def __init__(
        self,
        owner: Owner,
        clock: IReactorTime,
        dialed: bool,
        authentication: Authentication,
        memory: MemoryBudget,
    ) -> None:
        self.state = State.HANDSHAKE
        self.dialed = dialed
        self.since = clock.seconds()  # that it is up, or, until then, that it exists
        self.timing = Timing()
        self._owner = owner
        self._clock = clock
        self.authentication = authentication
        self._sender = Sender(
            clock,
            memory,
            authentication.channel,
            owner.packets_dropped,
            self.fail,
            lambda: self.conversation.send_owed(),
        )
        self.pinger = Pinger(clock, self._sender.write, partial(owner.round_trip, self), self.fail)
        self.keepalive = self.pinger.keepalive
        self.conversation = Conversation(self, owner, clock, memory, self._sender, self.pinger)
        self._timer = Timer(clock)  # until it ends: of the handshake, or of retiring
        self._error: PeerError | None = None  # why it closed, when it was not the connection
        self._has_said_bye = False
        self._has_heard_bye = False

    @property
    def node(self) -> NodeRecord:
        """Who is at the other end of a link that is, or was, authentic."""
        if self.record is None:
            raise ValueError("the link is not authentic")
        return self.record

    @property
    def key(self) -> Key | None:
        """The key that the link was authenticated with."""
        return self.authentication.key

    # --- dataplane.carrier.Carrier ---

    @property
    def dropped(self) -> int:
        return self._sender.dropped

    @property
    def queued_bytes(self) -> int:
        return self._sender.queued_bytes

    @property
    def round_trip(self) -> float | None:
        return self.keepalive.rtt

    def send(self, frames: list[bytes]) -> None:
        if self.state is State.UP:
            self._sender.send(frames)
        else:
            self._sender.drop(DropReason.LINK_LOST, len(frames))

    def close(self, reason: str) -> None:
        """Say bye and close."""
        if self.state is State.CLOSED:
            return
        self._error = PeerError(reason, reason)
        if self.state is not State.HANDSHAKE:
            self._sender.write(messages.encode_bye(reason))
        self._hang_up()

    # --- what the node asks of it, beside `conversation` ---

    def adopt(self, timing: Timing) -> None:
        """Be as patient as this from now on."""
        self.timing = timing
        self._sender.expire_after(timing.packet_expiration)
        self.pinger.adopt(timing)
        if self.state is State.UP:
            self.pinger.start(self.dialed)

    def revised(self, record: NodeRecord, signed: SignedRecord) -> None:
        """The node at the other end has another record."""
        self.record, self.signed = record, signed

    def deliver_to(self, receive: Receive, read_ended: Callable[[], None]) -> None:
        """Deliver packets there. `read_ended()` is called when one read has no more of them."""
        self.conversation.deliver_to(receive)
        self.transport.call_after_reads(read_ended)

    def probe(self, answered: Callable[[bool], None]) -> None:
        """Ping now; `answered` is told whether a pong came within `timing.probe_timeout`."""
        self.pinger.probe(answered)

    def retire(self) -> None:
        """Another link replaces this one: send what is queued, say bye, wait for the other's."""
        if self.state is not State.UP:
            return
        self.state = State.RETIRING
        self.pinger.stop()
        self._timer.start(RETIRE_TIMEOUT, self._abort)
        self._sender.call_when_empty(self._say_replaced)

    # --- IHandshakeListener, Protocol: what the transport tells ---

    def connectionMade(self) -> None:
        self._sender.connect(self.transport)
        there = self.transport.getPeer()
        self.via = there.relay if isinstance(there, RelayedAddress) else ""
        patience = self.authentication.timeout
        # `patience` may be what is left of it.
        text = f"no handshake within {HANDSHAKE_TIMEOUT:.0f} s"
        too_slow = PeerError(FailureReason.TIMEOUT, text)
        self._timer.start(patience, partial(self.fail, too_slow))
        try:
            self.authentication.channel.admit(self.transport)
        except PeerError as error:
            self.fail(error)

    def handshakeCompleted(self) -> None:
        if self.state is State.CLOSED:
            return
        try:
            hello = self.authentication.start(self.transport)
        except PeerError as error:
            self.fail(error)
            return
        if hello is not None:
            self._sender.write(hello)

    def dataReceived(self, data: bytes) -> None:
        if self.state is State.CLOSED:
            return
        self.pinger.heard()
        self.conversation.data_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.state = State.CLOSED
        self._timer.stop()
        self._sender.connection_lost()
        self.conversation.connection_lost()
        if self.record is not None:
            self._owner.link_lost(self, self._error or _why_lost(reason))
        else:
            why = self._error or self.authentication.why_failed(reason)
            self._owner.link_failed(self, why)
        self.pinger.connection_lost()

    # --- what the conversation tells ---

    def handshake_received(self, payload: bytes) -> None:
        """A message before the other end is authentic."""
        step = self.authentication.receive(payload)
        if step.send is not None:
            self._sender.write(step.send)
        if step.peer is not None and step.signed is not None:
            self._come_up(step.peer, step.signed)

    def bye_received(self, reason: str) -> None:
        self._has_heard_bye = True
        self._owner.bye_received(self, reason)
        if reason != messages.REPLACED or self._has_said_bye:
            self._error = self._error or PeerError(reason, f"it said bye: {reason}")
        is_over = reason != messages.REPLACED or self._has_said_bye
        if is_over and self.state is not State.CLOSED:
            self._hang_up()

    def fail(self, error: PeerError) -> None:
        """End the link at once, for this reason."""
        self._error = error
        self._abort()

    # --- changes of state ---

    def _come_up(self, record: NodeRecord, signed: SignedRecord) -> None:
        self.state = State.UP
        self.record, self.signed = record, signed
        self.since = self._clock.seconds()
        self.origin = source_of(self.transport.getPeer().host)
        self.source = RELAYED if self.via else self.origin
        self._timer.stop()
        self.conversation.open(self.source)
        self.authentication.authenticated()
        self._sender.open(self.source)
        self.adopt(self.timing)
        self._owner.link_up(self)
        if self.dialed and self.state is State.UP:
            self.pinger.take_first_turn()

    def _say_replaced(self) -> None:
        self._has_said_bye = True
        self._sender.write(messages.encode_bye(messages.REPLACED))
        if self._has_heard_bye:
            self._error = self._error or PeerError(messages.REPLACED, messages.REPLACED)
            self._hang_up()

    def _hang_up(self) -> None:
        """Let what was written go out, then close; do not wait long for the other end."""
        self._end()
        self._timer.start(RETIRE_TIMEOUT, self._abort)
        self.transport.loseConnection()

    def _abort(self) -> None:
        self._end()
        self.transport.abortConnection()

    def _end(self) -> None:
        self.state = State.CLOSED
        self._timer.stop()
        self.pinger.stop()
        self._sender.end()


def room_of(link: Link) -> str:
    """What nodes share places by: their source, and, of those that third nodes carry, where these
    come from. A member must not take the places of the nodes that come from where its carrier
    does."""
    return f"{link.source} {link.origin}" if link.via else link.source


def _why_lost(reason: Failure) -> PeerError:
    """Why a link that was up has ended, when it did not end it itself."""
    if isinstance(reason.value, PeerError):
        return reason.value
    return PeerError(FailureReason.LOST, "the connection was lost")
