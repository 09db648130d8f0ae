"""A link: one TLS connection between two nodes, from the handshake to the bye.

    HANDSHAKE ── authentic ──> UP ── retire ──> RETIRING ── both said bye ──> CLOSED
        └───── any error, close, silence, connection lost: CLOSED ────────────^

**Flow control.** While the transport takes bytes, packets go straight to it, a batch at a time.
When it says pause, or when more come in one turn of the reactor than should go in one, they wait in
a fair and bounded queue (link.fair_queue), from which one budget (tls.pacing) goes in each
turn. What waits here and in the transport, and what has come of a frame, counts against one budget
for all links (link.memory_budget). The tun is never paused: it is read faster than we can
encrypt, so that what must wait or be dropped is chosen here and not by the order of its ring.
Everything that is not data goes to the transport at once, past the queue: it is little, and what a
peer could make us send without end is held back. Of all pings of one read the last is answered, a
record is introduced once, and neither while the transport says pause; a peer that makes us say more
and more and does not read is hung up on at `MAX_UNREAD`.

**Silence** is the end of a link (link.keepalive). Whoever sends too much that leads nowhere is
not read for a while (link.penalty). A single ping with a short deadline (`probe`) answers the
roster's doubts.

**Retiring** makes replacing a link lossless. Each side says bye on the old link behind its last
packet, and goes on receiving until it has the other's bye.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import source_of
from tunmesh.auth.handshake import Dialer, Key, Listener, Step
from tunmesh.dataplane.carrier import Receive
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import PeerError
from tunmesh.link import penalty
from tunmesh.link.fair_queue import PacketQueue
from tunmesh.link.keepalive import PING_INTERVAL, SILENCE, KeepAlive
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.rate_limit import TokenBucket
from tunmesh.tls.pacing import MIN_BUDGET, Budget
from tunmesh.tls.read_quota import ReadQuota
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import (
    Gossip,
    Refusal,
    decode_inquiry,
    decode_introduction,
    encode_inquiry,
    encode_introduction,
)
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.proofs import decode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

RETIRE_TIMEOUT = 2.0  # how long the other end may take to say its bye, or to close
MAX_UNREAD = 1 << 20  # bytes of messages that the other end leaves unread


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a link is, in seconds."""

    ping_interval: float = PING_INTERVAL
    silence: float = SILENCE
    probe_timeout: float = 1.0  # for the answer to a ping that somebody waits for
    packet_expiration: float = 0.1  # how long a packet may wait


class State(Enum):
    HANDSHAKE = auto()
    UP = auto()
    RETIRING = auto()
    CLOSED = auto()


class Owner(Interface):
    """What a link tells the node that it belongs to."""

    def link_up(self, link: Link) -> None: ...
    def link_failed(self, link: Link, error: PeerError) -> None: ...
    def link_lost(self, link: Link, error: PeerError) -> None: ...
    def wasteful(self, link: Link) -> None:
        """So much of what the other end sends leads nowhere that it is not read for a while."""
        ...

    def gossip_received(self, link: Link, gossip: Gossip) -> None: ...
    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None: ...
    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        """Raises PeerError when no honest node could introduce these."""
        ...

    def refusal_received(self, link: Link, refusal: Refusal) -> None: ...
    def bye_received(self, link: Link, reason: str) -> None: ...
    def round_trip(self, link: Link, seconds: float) -> None: ...
    def packets_dropped(self, reason: DropReason, count: int) -> None: ...


class LinkTransport(Interface):
    """What a link needs of its transport: a part of ITCPTransport."""

    def write(self, data: bytes) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def getPeer(self) -> Any: ...

    def call_after_reads(self, call: Callable[[], None]) -> None:
        """Call this whenever all that one read gave has been delivered."""
        ...

    def share(self, quota: ReadQuota) -> None:
        """Be read as one of those that this quota is for."""
        ...


class Channel(Interface):
    """What a link must know of the TLS connection that it runs on."""

    def admit(self, transport: LinkTransport) -> None:
        """Raises PeerError when no link may be made over it, whoever is at the other end."""
        ...

    def binding(self, transport: LinkTransport) -> bytes:
        """Its channel binding. Raises PeerError when the connection is not good enough."""
        ...

    def why_lost(self, reason: Failure) -> PeerError:
        """Why it ended before the handshake did."""
        ...

    def limit_unsent(self, transport: LinkTransport, size: int) -> None:
        """Have no more bytes than that wait below it."""
        ...


@implementer(IHandshakeListener, IPushProducer)
class Link(Protocol):
    """One end of a link; a carrier (dataplane.carrier) as soon as it is up.

    `begin(channel binding)` makes the handshake machine of this end. `timeout` is how long the
    handshake may take, in seconds.
    """

    transport: LinkTransport  # type: ignore[assignment]
    record: NodeRecord | None = None  # who is at the other end, once it is authentic
    signed: SignedRecord  # the same as others may be told, from then on
    source = ""  # where the other end comes from (tls.admission), from then on
    dropped = 0

    def __init__(
        self,
        owner: Owner,
        clock: IReactorTime,
        dialed: bool,
        begin: Callable[[bytes], Dialer | Listener],
        channel: Channel,
        timeout: float,
        authenticated: Callable[[], None] = lambda: None,
        memory: MemoryBudget | None = None,
    ) -> None:
        self.state = State.HANDSHAKE
        self.dialed = dialed
        self.since = clock.seconds()
        self.keepalive = KeepAlive(self.since)
        self.timing = Timing()
        self.queue = PacketQueue(self.timing.packet_expiration)
        self._owner = owner
        self._deliver: Receive = len  # until the owner has somebody who takes them
        self._clock = clock
        self._begin = begin
        self._channel = channel
        self._timeout = timeout
        self._authenticated = authenticated
        self._machine: Dialer | Listener | None = None
        self._decoder = Decoder(sizes.MAX_HANDSHAKE_FRAME)
        self._timer: IDelayedCall | None = None
        self._budget = Budget()
        self._memory = memory or MemoryBudget()
        self._account = self._memory.account("")
        self._paused = False
        self._unread = 0  # bytes of messages written since the transport said pause
        self._unsent = 0  # bytes of packets of the write at which it said so, at most
        self._is_reading = False  # more may follow of what is to be answered
        self._pump_call: IDelayedCall | None = None
        self._error: PeerError | None = None  # why it closed, when it was not the connection
        self._pong_owed: bytes | None = None
        self._introductions: dict[SignedRecord, None] = {}  # owed
        self._asked = 0  # how many nodes the other end may still introduce
        self._probes: list[Callable[[bool], None]] = []
        self._probe_timer: IDelayedCall | None = None
        self._bye_said = False
        self._bye_heard = False
        self._useless = TokenBucket(penalty.BURST, penalty.RATE, self.since)
        self._rest: IDelayedCall | None = None  # until the other end is read again

    @property
    def node(self) -> NodeRecord:
        """Who is at the other end of a link that is, or was, authentic."""
        if self.record is None:
            raise ValueError("the link is not authentic")
        return self.record

    @property
    def shown(self) -> NodeRecord:
        """Who this end has said that it is, on a link that is, or was, authentic."""
        if self._machine is None:
            raise ValueError("the link is not authentic")
        signed, is_settled = decode_shown(self._machine.shown)
        return replace(NodeRecord.decode(signed.record), settled=is_settled)

    @property
    def key(self) -> Key | None:
        """The key that the link was authenticated with."""
        return self._machine.key if self._machine is not None else None

    # --- what the node asks of it ---

    def adopt(self, timing: Timing) -> None:
        """Be as patient as this from now on."""
        self.timing = timing
        self.queue.max_age = timing.packet_expiration
        self.keepalive.ping_interval = timing.ping_interval
        self.keepalive.silence = timing.silence
        if self.state is State.UP:
            self._look_in(self.keepalive.begin(self._clock.seconds(), self.dialed))

    def deliver_to(self, receive: Receive, read_ended: Callable[[], None]) -> None:
        """What takes the packets of the other end, and is told when a read has no more of them."""
        self._deliver = receive
        self.transport.call_after_reads(read_ended)

    @property
    def queued_bytes(self) -> int:
        return self.queue.bytes

    @property
    def round_trip(self) -> float | None:
        return self.keepalive.rtt

    def send(self, frames: list[bytes]) -> None:
        """Send packets (each virtio header and IP packet) now, or queue them, or drop them."""
        if self.state is not State.UP:
            self._drop(DropReason.LINK_LOST, len(frames))
            return
        if not (self._paused or self.queue):
            size = sum(map(len, frames))
            has_room = self._memory.is_ample or size <= self._account.room
            if has_room and size <= self._budget.bytes:
                self._write_frames(frames)
                return
        most = self.queue.bytes + self._account.room
        dropped = self.queue.push(self._clock.seconds(), frames, most)
        self._drop(DropReason.QUEUE_FULL, dropped)
        self._note_memory()
        self._pump_soon()

    def tell(self, gossip: Gossip) -> None:
        self._write(gossip.encode())

    def ask(self, ids: Sequence[str]) -> None:
        self._asked += len(ids)
        self._write(encode_inquiry(ids))

    def introduce(self, records: Iterable[SignedRecord]) -> None:
        """Send these records when all that was read is looked at and the other end has read what it
        was sent before: it may ask as often as it likes and is owed each record once."""
        self._introductions.update(dict.fromkeys(records))
        if not self._is_reading:
            self._answer()

    def _answer(self) -> None:
        """Send what is owed."""
        if self._paused or self.state is State.CLOSED:
            return
        if self._pong_owed is not None:
            token, self._pong_owed = self._pong_owed, None
            self._write(b"o" + token)
        records, self._introductions = list(self._introductions), {}
        for at in range(0, len(records), sizes.MAX_INTRODUCED):
            self._write(encode_introduction(records[at : at + sizes.MAX_INTRODUCED]))

    def refuse(self, refusal: Refusal) -> None:
        self._write(refusal.encode())

    def probe(self, answered: Callable[[bool], None]) -> None:
        """Ping now; `answered` is told whether a pong came within `probe_timeout`."""
        self._probes.append(answered)
        if len(self._probes) == 1:
            self._probe_timer = self._clock.callLater(
                self.timing.probe_timeout, self._probed, False
            )
            self._ping()

    def retire(self) -> None:
        """Another link replaces this one: send what is queued, say bye, wait for the other's."""
        if self.state is not State.UP:
            return
        self.state = State.RETIRING
        self._restart_timer(RETIRE_TIMEOUT, self._abort)
        self._pump()

    def close(self, reason: str) -> None:
        """Say bye and close."""
        if self.state is State.CLOSED:
            return
        self._error = PeerError(reason, reason)
        if self.state is not State.HANDSHAKE:
            self._write(messages.encode_bye(reason))
        self._hang_up()

    # --- IHandshakeListener, Protocol: what the transport tells ---

    def connectionMade(self) -> None:
        self._restart_timer(self._timeout, self._too_slow)
        try:
            self._channel.admit(self.transport)
        except PeerError as error:
            self._fail(error)

    def handshakeCompleted(self) -> None:
        if self.state is State.CLOSED:
            return
        try:
            self._machine = self._begin(self._channel.binding(self.transport))
        except PeerError as error:
            self._fail(error)
            return
        if isinstance(self._machine, Dialer):
            self._write(self._machine.hello)

    def dataReceived(self, data: bytes) -> None:
        """The one place where bytes from the network may turn out to be wrong."""
        if self.state is State.CLOSED:
            return  # an error in what comes behind the end would take back our bye
        self.keepalive.heard(self._clock.seconds())
        self._is_reading = True
        self._read(data)
        self._is_reading = False
        if self._decoder.held or self._account.held:
            self._note_memory()
        self._answer()

    def _read(self, data: bytes) -> None:
        useless = 0
        frames: list[memoryview] = []  # of data: a batch, up to a message of another kind
        is_open = self._is_open()
        data_tag, most = messages.DATA, sizes.MAX_DATA_FRAME
        try:
            for payload in self._decoder.feed(data):
                size = len(payload)
                if is_open and 0 < size <= most and payload[0] == data_tag:
                    frames.append(payload[1:])
                    continue
                if frames:
                    useless += self._deliver(frames)
                    frames = []
                    if self.state is State.CLOSED:
                        return  # the tun is gone
                useless += 1
                self._receive(bytes(payload))
                is_open = self._is_open()
                if not is_open and self.state is not State.HANDSHAKE:
                    return  # it closed
        except PeerError as error:
            self._fail(error)
        if frames:
            useless += self._deliver(frames)
        if useless and self._is_open():
            self._note_useless(useless)

    def _note_useless(self, count: int) -> None:
        """Read the other end again when what is too much has been forgiven."""
        now = self._clock.seconds()
        self._useless.take(now, count)
        rest = self._useless.wait(now, 0)
        if rest and self._rest is None:
            rest = min(rest, penalty.MAX_REST, self.timing.silence / 4)
            self._rest = self._clock.callLater(rest, self._read_on)
            self.transport.pauseProducing()
            self._owner.wasteful(self)

    def _read_on(self) -> None:
        self._rest = None
        self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.state = State.CLOSED
        self._stop_timer()
        self._stop_pump()
        _cancel(self._rest)
        dropped = self.queue.clear()
        self._drop(DropReason.LINK_LOST, dropped)
        self._decoder.clear()  # the link itself may stay until a collection of garbage
        self._account.hold(0)
        if self.record is not None:
            self._owner.link_lost(self, self._error or _why_lost(reason))
        else:
            self._owner.link_failed(self, self._error or self._why_unknown(reason))
        self._probed(False)

    # --- IPushProducer: flow control ---

    def pauseProducing(self) -> None:
        self._paused = True
        self._budget.paused(self._clock.seconds())

    def resumeProducing(self) -> None:
        self._paused = False
        if self._budget.resumed(self._clock.seconds()):
            self._channel.limit_unsent(self.transport, self._budget.bytes)
        self._unread = self._unsent = 0
        self._answer()
        self._pump()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""
        self._paused = True

    # --- sending ---

    def _pump_soon(self) -> None:
        """In the next turn of the reactor; until then more packets may come, and overtake."""
        if self._pump_call is None and not self._paused:
            self._pump_call = self._clock.callLater(0, self._pump)

    def _pump(self) -> None:
        """Send one budget of what waits."""
        self._stop_pump()
        if self._paused or not self._is_open():
            return
        budget = min(self._budget.bytes, max(self._account.room, MIN_BUDGET))
        frames, expired = self.queue.pop(self._clock.seconds(), budget)
        self._drop(DropReason.EXPIRED, expired)
        if frames:
            self._write_frames(frames)
        if self.queue and not self._paused:
            if self._budget.taken():
                self._channel.limit_unsent(self.transport, self._budget.bytes)
            self._pump_soon()
        elif self.state is State.RETIRING and not self._bye_said and not self._paused:
            self._say_bye(messages.REPLACED)
        self._note_memory()

    def _note_memory(self) -> None:
        """Count what is held for this link. End it if its source holds too much that cannot be
        dropped."""
        pinned = self._decoder.held + self._unread
        self._account.hold(pinned + self.queue.held + self._unsent, pinned)
        if self._account.is_exceeded and self._is_open():
            self._fail(
                PeerError(
                    "memory", "its address holds more than its share of process/memory_budget"
                )
            )

    def _stop_pump(self) -> None:
        _cancel(self._pump_call)
        self._pump_call = None

    def _drop(self, reason: DropReason, count: int) -> None:
        if count:
            self.dropped += count
            self._owner.packets_dropped(reason, count)

    def _write_frames(self, frames: list[bytes]) -> None:
        parts: list[bytes] = []
        for frame in frames:
            parts += (b"%d:D" % (len(frame) + 1), frame, b",")
        batch = b"".join(parts)
        self.transport.write(batch)
        if self._paused:
            self._unsent += len(batch)
            self._note_memory()

    def _write(self, payload: bytes) -> None:
        if self.state is State.CLOSED or (self._paused and not self._may_wait(len(payload))):
            return
        self.transport.write(encode(payload))

    def _may_wait(self, size: int) -> bool:
        """Count a message that the other end does not read yet. False when that was too much: then
        the link has ended."""
        self._unread += size
        if self._unread > MAX_UNREAD:
            self._fail(PeerError("unread", "it does not read what it is told"))
        else:
            self._note_memory()
        return self.state is not State.CLOSED

    def _why_unknown(self, reason: Failure) -> PeerError:
        """Why the other end did not become a peer. A listener that shares no secret with us says
        nothing and hangs up on our hello (see auth.handshake). One that shares it hangs up on
        our proof when it refuses that, or the record that comes with it."""
        error = self._channel.why_lost(reason)
        if error.reason != "closed" or not isinstance(self._machine, Dialer):
            return error
        if self._machine.has_proved:
            what = "it has the same secret, but refuses this node's record or proof"
            return PeerError("closed", f"it hung up on our proof: {what}; its log says why")
        return PeerError("closed", "it hung up on our hello: has it the same secret?")

    # --- receiving ---

    def _shake_hands(self, payload: bytes) -> None:
        if self._machine is None:
            raise PeerError("unexpected", "it spoke before the handshake")
        step: Step = self._machine.receive(payload)
        if step.send is not None:
            self._write(step.send)
        if step.peer is not None and step.signed is not None:
            self._come_up(step.peer, step.signed)

    def _come_up(self, record: NodeRecord, signed: SignedRecord) -> None:
        self.state = State.UP
        self.record, self.signed = record, signed
        self.since = self._clock.seconds()
        self._decoder.limit = sizes.MAX_FRAME
        self._account.hold(0)
        self.source = source_of(self.transport.getPeer().host)
        self._account = self._memory.account(self.source)
        self._authenticated()
        self.transport.registerProducer(self, True)
        self.adopt(self.timing)
        self._owner.link_up(self)
        if self.dialed and self.state is State.UP and not self.keepalive.pings:
            self._take_turn()

    def _is_open(self) -> bool:
        """Whether data may come."""
        return self.state is State.UP or self.state is State.RETIRING

    def _receive(self, payload: bytes) -> None:
        tag = payload[0] if payload else None
        if self.state is State.HANDSHAKE:
            self._shake_hands(payload)
        elif tag == messages.PING:
            self._pong_owed = messages.decode_token(payload)
            self._pinged()
        elif tag == messages.PONG:
            self._ponged(messages.decode_token(payload))
        elif tag == messages.GOSSIP:
            self._owner.gossip_received(self, Gossip.decode(payload))
        elif tag == messages.INQUIRY:
            self._owner.inquiry_received(self, decode_inquiry(payload))
        elif tag == messages.INTRODUCTION:
            self._introduced(payload)
        elif tag == messages.REFUSAL:
            self._owner.refusal_received(self, Refusal.decode(payload))
        elif tag == messages.BYE:
            self._bye(messages.decode_bye(payload))
        elif tag == messages.DATA:
            raise PeerError("oversized", f"a data frame of {len(payload)} bytes")
        else:
            raise PeerError("unexpected", "a message with an unknown tag")

    def _introduced(self, payload: bytes) -> None:
        """A record is much to verify, so nobody may send more of them than he was asked for."""
        introduced = decode_introduction(payload)
        self._asked -= len(introduced)
        if self._asked < 0:
            raise PeerError("unexpected", "it introduces nodes that it was not asked for")
        self._owner.introduction_received(self, introduced)

    def _bye(self, reason: str) -> None:
        self._bye_heard = True
        self._owner.bye_received(self, reason)
        if reason != messages.REPLACED:
            self._error = self._error or PeerError(reason, f"it said bye: {reason}")
        if (reason != messages.REPLACED or self._bye_said) and self.state is not State.CLOSED:
            self._hang_up()

    # --- keeping alive ---

    def _keep_alive(self) -> None:
        if self.keepalive.is_dead(self._clock.seconds()):
            self._error = PeerError(messages.SILENT, f"silent for {self.timing.silence:g} s")
            self._abort()
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        self._look_in(self.keepalive.take_turn(self._clock.seconds()))
        if not self._probes:
            self._ping()

    def _pinged(self) -> None:
        """The other end had its turn. Our first one is now."""
        if self.state is not State.UP:
            return
        if not self.keepalive.pings:
            self._take_turn()
            return
        delay = self.keepalive.pinged(self._clock.seconds())
        if delay is not None:
            self._look_in(delay)

    def _look_in(self, delay: float) -> None:
        self._restart_timer(delay, self._keep_alive)

    def _ping(self) -> None:
        self._write(b"i" + self.keepalive.ping(self._clock.seconds()))

    def _ponged(self, token: bytes) -> None:
        round_trip = self.keepalive.ponged(self._clock.seconds(), token)
        if round_trip is not None:
            self._owner.round_trip(self, round_trip)
            self._probed(True)

    def _probed(self, alive: bool) -> None:
        _cancel(self._probe_timer)
        self._probe_timer = None
        probes, self._probes = self._probes, []
        for answered in probes:
            answered(alive)

    # --- ending ---

    def _say_bye(self, reason: str) -> None:
        self._bye_said = True
        self._write(messages.encode_bye(reason))
        if self._bye_heard:
            self._hang_up()

    def _fail(self, error: PeerError) -> None:
        self._error = error
        self._abort()

    def _too_slow(self) -> None:
        self._fail(PeerError("timeout", f"no handshake within {self._timeout:.0f} s"))

    def _hang_up(self) -> None:
        """Let what was written go out, then close; do not wait long for the other end."""
        self.state = State.CLOSED
        self._restart_timer(RETIRE_TIMEOUT, self._abort)
        if self.record is not None:
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _abort(self) -> None:
        self.state = State.CLOSED
        self._stop_timer()
        self.transport.abortConnection()

    def _restart_timer(self, delay: float, call: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(delay, call)

    def _stop_timer(self) -> None:
        _cancel(self._timer)
        self._timer = None


def _why_lost(reason: Failure) -> PeerError:
    """Why a link that was up is no more, when it did not end it itself."""
    if isinstance(reason.value, PeerError):
        return reason.value
    return PeerError("lost", "the connection was lost")


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
