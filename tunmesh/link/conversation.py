"""The messages of one link: what may be said in which state, who is told of it, what is answered.

    state         what may come                             what else comes
    HANDSHAKE     the messages of the handshake             ends the link
    UP, RETIRING  data, ping, pong, gossip, inquiry,        ends the link
                  introduction (no more than asked for),
                  update, tried, refusal, one offer,
                  interests, bye, messages about streams
    CLOSED        nothing is looked at: what comes behind the end would take back our bye

Packets are delivered in batches: all up to the next message, or to the end of the chunk.

What a peer could make us send without end is owed instead of sent: of all pings of one chunk the
last is answered, each record that was asked for is introduced once, and neither while the transport
is paused. Useless frames, messages included, are limited (link.penalty): a peer that sends too many
is not read for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from tunmesh.dataplane.carrier import Receive
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link import penalty
from tunmesh.link.interfaces import Lane, Owner, State
from tunmesh.link.memory_budget import TOO_MUCH, MemoryBudget
from tunmesh.link.pinger import Pinger
from tunmesh.link.sender import Sender
from tunmesh.rate_limit import TokenBucket
from tunmesh.timers import Timer
from tunmesh.wire import messages, sizes, streams
from tunmesh.wire.gossip import (
    Gossip,
    Refusal,
    decode_inquiry,
    decode_introduction,
    encode_inquiry,
    encode_introduction,
)
from tunmesh.wire.interests import Interests
from tunmesh.wire.netstring import Decoder
from tunmesh.wire.proofs import decode_update, encode_update
from tunmesh.wire.records import SignedRecord
from tunmesh.wire.tried import Tried

if TYPE_CHECKING:
    from tunmesh.link.link import Link


class Conversation:
    """Of one link, which tells what it hears to its owner."""

    def __init__(
        self,
        link: Link,
        owner: Owner,
        clock: IReactorTime,
        memory: MemoryBudget,
        sender: Sender,
        pinger: Pinger,
    ) -> None:
        self._link = link
        self._owner = owner
        self._clock = clock
        self._memory = memory
        self._sender = sender
        self._pinger = pinger
        self.received = 0  # bytes of frames
        self._deliver: Receive = len  # until somebody takes packets, each is one too many
        self._offered: Callable[[int], None] = lambda index: None
        self._interested: Callable[[Interests], None] = lambda interests: None
        self._decoder = Decoder(sizes.MAX_HANDSHAKE_FRAME)
        self._account = memory.account("")
        self._is_reading = False  # more may follow of what is to be answered
        self._pong_owed: bytes | None = None
        self._introductions: dict[SignedRecord, None] = {}  # owed
        self._is_offered = False  # UDP, by the other end
        self._asked = 0  # how many nodes the other end may still introduce
        self._useless = TokenBucket(penalty.BURST, penalty.RATE, clock.seconds())
        self._updates = TokenBucket(penalty.UPDATES_BURST, penalty.UPDATES_RATE, clock.seconds())
        self._rest = Timer(clock)  # until the other end is read again

    @property
    def carried(self) -> int:
        """Bytes, of the direction that had more of them. Each has a key of its own."""
        return max(self._sender.written, self.received)

    def open(self, source: str) -> None:
        """The other end, which comes from this source, is authentic."""

        def end() -> None:
            if self._link.state.is_open:
                self._link.fail(PeerError(FailureReason.MEMORY, TOO_MUCH))

        self._decoder.limit = sizes.MAX_FRAME
        self._account.hold(0)
        self._account = self._memory.account(source, end)

    def deliver_to(self, receive: Receive) -> None:
        """Packets go there from now on."""
        self._deliver = receive

    def when_offered(self, call: Callable[[int], None]) -> None:
        """Call this with the index under which the other end takes packets over UDP, if it says
        one: at most once."""
        self._offered = call

    def when_interested(self, call: Callable[[Interests], None]) -> None:
        """Call this with what the other end says of multicast groups."""
        self._interested = call

    def connection_lost(self) -> None:
        """Nothing more comes. The link itself may stay until the next garbage collection."""
        self._rest.stop()
        self._decoder.clear()
        self._account.hold(0)

    # --- what this end says ---

    def tell(self, news: Gossip | Interests) -> None:
        self._sender.write(news.encode())

    def ask(self, ids: Sequence[str]) -> None:
        """Ask who these nodes are."""
        self._asked += len(ids)
        self._sender.write(encode_inquiry(ids))

    def introduce(self, records: Iterable[SignedRecord]) -> None:
        """Send these records when all that was read is dealt with and the other end has read what
        it was sent before: it may ask as often as it likes and is owed each record once."""
        self._introductions.update(dict.fromkeys(records))
        if not self._is_reading:
            self.send_owed()

    def present(self, shown: bytes) -> None:
        """Say what this node's record is from now on (wire.proofs)."""
        self._sender.write(encode_update(shown))

    def tell_tried(self, tried: Tried) -> None:
        """Say what came of trying the other end's URL."""
        self._sender.write(tried.encode())

    def refuse(self, refusal: Refusal) -> None:
        self._sender.write(refusal.encode())

    def offer(self, index: int) -> None:
        """Say that this end takes packets over UDP as well, under this index."""
        self._sender.write(messages.encode_offer(index))

    def answer_stream(self, message: streams.Message) -> None:
        """Say this at once, about a stream that is not opened."""
        self._sender.write(message.encode())

    def carry(self, lane: Lane) -> None:
        """There is something in this lane: send it when its turn comes."""
        self._sender.carry(lane)

    def send_owed(self) -> None:
        """Send what is owed, if the transport takes it."""
        if self._sender.is_paused or self._link.state is State.CLOSED:
            return
        if self._pong_owed is not None:
            token, self._pong_owed = self._pong_owed, None
            self._sender.write(b"o" + token)
        records, self._introductions = list(self._introductions), {}
        for at in range(0, len(records), sizes.MAX_INTRODUCED):
            self._sender.write(encode_introduction(records[at : at + sizes.MAX_INTRODUCED]))

    # --- what the other end says ---

    def data_received(self, data: bytes) -> None:
        """A chunk of the stream."""
        self.received += len(data)
        self._is_reading = True
        self._read(data)
        self._is_reading = False
        if self._decoder.held or self._account.held:
            self._note_memory()
        self.send_owed()

    def _read(self, data: bytes) -> None:
        """The one place where bytes from the network may turn out to be wrong."""
        link = self._link
        useless = 0
        frames: list[memoryview] = []  # of data: a batch, up to a message of another kind
        is_open = link.state.is_open
        data_tag, longest = messages.DATA, sizes.MAX_DATA_FRAME
        try:
            for payload in self._decoder.feed(data):
                size = len(payload)
                if is_open and 0 < size <= longest and payload[0] == data_tag:
                    frames.append(payload[1:])
                    continue
                if frames:
                    useless += self._deliver(frames)
                    frames = []
                    if link.state is State.CLOSED:
                        return  # the tun is gone
                if is_open and size and payload[0] == messages.STREAM:
                    useless += not self._owner.stream_received(link, streams.decode(payload))
                else:
                    useless += penalty.weight(payload)
                    self._message_received(bytes(payload))
                is_open = link.state.is_open
                if link.state is State.CLOSED:
                    return
        except PeerError as error:
            link.fail(error)
        if frames:
            useless += self._deliver(frames)
        if useless and link.state.is_open:
            self._note_useless(useless)

    def _message_received(self, payload: bytes) -> None:
        link, owner = self._link, self._owner
        if link.state is State.HANDSHAKE:
            link.handshake_received(payload)
            return
        match payload[0] if payload else None:
            case messages.PING:
                self._pong_owed = messages.decode_token(payload)
                self._pinger.ping_received()
            case messages.PONG:
                self._pinger.pong_received(messages.decode_token(payload))
            case messages.GOSSIP:
                owner.gossip_received(link, Gossip.decode(payload))
            case messages.INQUIRY:
                owner.inquiry_received(link, decode_inquiry(payload))
            case messages.INTRODUCTION:
                self._introduction_received(decode_introduction(payload))
            case messages.UPDATE:
                self._update_received(*decode_update(payload))
            case messages.TRIED:
                owner.tried_received(link, Tried.decode(payload))
            case messages.REFUSAL:
                owner.refusal_received(link, Refusal.decode(payload))
            case messages.OFFER:
                self._offer_received(messages.decode_offer(payload))
            case messages.INTERESTS:
                self._interested(Interests.decode(payload))
            case messages.BYE:
                link.bye_received(messages.decode_bye(payload))
            case messages.DATA:
                raise PeerError(FailureReason.OVERSIZED, f"a data frame of {len(payload)} bytes")
            case _:
                raise PeerError(FailureReason.UNEXPECTED, "a message with an unknown tag")

    def _introduction_received(self, introduced: Sequence[SignedRecord]) -> None:
        """To verify a record costs much, so nobody may send more of them than it was asked for."""
        self._asked -= len(introduced)
        if self._asked < 0:
            raise PeerError(
                FailureReason.UNEXPECTED, "it introduces nodes that it was not asked for"
            )
        self._owner.introduction_received(self._link, introduced)

    def _update_received(self, signed: SignedRecord, settled: bool) -> None:
        now = self._clock.seconds()
        if not self._updates.wait(now):
            self._updates.take(now)
            self._owner.update_received(self._link, signed, settled)

    def _offer_received(self, index: int) -> None:
        if self._is_offered:
            raise PeerError(FailureReason.UNEXPECTED, "it offers UDP twice on one link")
        self._is_offered = True
        self._offered(index)

    # --- bounds ---

    def _note_useless(self, count: int) -> None:
        """Do not read the other end until it has paid for what was too much."""
        now = self._clock.seconds()
        self._useless.take(now, count)
        rest = min(self._useless.wait(now, 0), penalty.MAX_REST, self._link.timing.silence / 4)
        if rest > 0 and not self._rest.is_running:
            self._rest.start(rest, self._link.transport.resumeProducing)
            self._link.transport.pauseProducing()
            self._owner.wasteful(self._link)

    def _note_memory(self) -> None:
        """Count what has come of a frame that is not whole. If the source of the other end holds
        too much that cannot be dropped, a link from there ends."""
        self._account.hold(self._decoder.held, self._decoder.held)
        self._account.settle()
