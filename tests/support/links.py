"""One link without TLS: its owner on this side, and on the other side a peer that sends whatever
the test tells it to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_interface
from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.auth import signing
from tunmesh.auth.handshake import Dialer, Key, Listener
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.authentication import Authentication
from tunmesh.link.fair_queue import MAX_BYTES
from tunmesh.link.interfaces import Export, LinkTransport, State
from tunmesh.link.keepalive import OTHERS_TURN, Timing
from tunmesh.link.link import RETIRE_TIMEOUT, Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.testing.network import HIGH_WATER, LATENCY, Network
from tunmesh.tls.binding import TcpMeasures
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.records import NodeRecord, SignedRecord
from tunmesh.wire.streams import Message
from tunmesh.wire.tried import Tried

HERE, THERE, PORT = "192.0.2.1", "192.0.2.2", 4567
KEY = Key.derive(b"a secret that only tests are told")
TIMEOUT = 5.0
TIMING = Timing()
LATEST = TIMING.ping_interval * OTHERS_TURN  # until we send a ping, if the other end sends none
QUEUE = MAX_BYTES
PACKET = bytes(10) + b"a packet"
GOSSIP = Gossip(1).encode()
REFUSAL = Refusal((), "").encode()
PING, PONG = b"i" + bytes(8), b"o" + bytes(8)


def node_key(name: str) -> NodeKey:
    return NodeKey.of(name.encode().zfill(SEED_SIZE))


def record(name: str) -> NodeRecord:
    addresses = (ip_interface("10.9.0.1/16"),)
    return NodeRecord(node_key(name).id, name, 1, "https://a:1", addresses, "test")


def signed(name: str) -> SignedRecord:
    return signing.sign(record(name), node_key(name))


def machine(role: type[Dialer] | type[Listener], name: str, binding: bytes) -> Dialer | Listener:
    """One end of the handshake, of a node with this name."""
    return role(
        (KEY,), node_key(name), signing.show(record(name), node_key(name)), bytes(32), binding
    )


class Channel:
    """A TLS connection that passes all checks, unless a test says what is wrong with it."""

    def __init__(self) -> None:
        self.flaw: PeerError | None = None
        self.limits: list[int] = []  # of unsent data
        self.bar: PeerError | None = None  # the reason to refuse a link over it

    def admit(self, transport: LinkTransport) -> None:
        if self.bar is not None:
            raise self.bar

    def binding(self, transport: LinkTransport) -> bytes:
        if self.flaw is not None:
            raise self.flaw
        return b"binding"

    def exporter(self, transport: LinkTransport) -> Export:
        return lambda context: context.zfill(32)

    def measures(self, transport: LinkTransport) -> TcpMeasures:
        return TcpMeasures()

    def why_lost(self, reason: Failure) -> PeerError:
        return PeerError(FailureReason.CLOSED, "it closed the connection")

    def limit_unsent(self, transport: LinkTransport, size: int) -> None:
        self.limits.append(size)


class Owner:
    """Records what the link reports. Retires it when the other end does, unless `follows` is False,
    and closes it when it comes up if `wants` is False. What is said of streams is of use if
    `uses_streams`."""

    def __init__(self) -> None:
        self.ups = 0
        self.ends: list[tuple[str, str]] = []  # (failed or lost, reason)
        self.why = ""
        self.packets: list[bytes] = []
        self.told: list[object] = []
        self.byes: list[str] = []
        self.trips: list[float] = []
        self.dropped: Counter[str] = Counter()
        self.follows = self.wants = self.uses_streams = True
        self.drops = False  # all packets from the other end
        self.complaints = 0

    def link_up(self, link: Link) -> None:
        self.ups += 1
        if not self.wants:
            link.close(messages.SELF)
        link.conversation.when_offered(lambda index: self.told.append(("offer", index)))
        link.deliver_to(lambda frames: self.receive(link, frames), lambda: None)

    def link_failed(self, link: Link, error: PeerError) -> None:
        self.ends.append(("failed", error.reason))
        self.why = str(error)

    def link_lost(self, link: Link, error: PeerError) -> None:
        self.ends.append(("lost", error.reason))

    def receive(self, link: Link, frames: list[memoryview]) -> int:
        self.packets += map(bytes, frames)
        return len(frames) if self.drops else 0

    def wasteful(self, link: Link) -> None:
        self.complaints += 1

    def gossip_received(self, link: Link, gossip: Gossip) -> None:
        self.told.append(gossip)

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        self.told.append(ids)

    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        self.told.append(introduced)

    def update_received(self, link: Link, signed: SignedRecord, settled: bool) -> None:
        self.told.append((signed, settled))

    def tried_received(self, link: Link, tried: Tried) -> None:
        self.told.append(tried)

    def refusal_received(self, link: Link, refusal: Refusal) -> None:
        self.told.append(refusal)

    def stream_received(self, link: Link, message: Message) -> bool:
        self.told.append(message)
        return self.uses_streams

    def bye_received(self, link: Link, reason: str) -> None:
        self.byes.append(reason)
        if reason == messages.REPLACED and self.follows:
            link.retire()

    def round_trip(self, link: Link, seconds: float) -> None:
        self.trips.append(seconds)

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self.dropped[reason] += count


class Other(Protocol):
    """The other end. It answers nothing by itself."""

    transport: Any

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.has_ended = False
        self._decoder = Decoder(sizes.MAX_FRAME)

    def say(self, *payloads: bytes) -> None:
        self.transport.write(b"".join(map(encode, payloads)))

    def dataReceived(self, data: bytes) -> None:
        self.heard += map(bytes, self._decoder.feed(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.has_ended = True

    def packets(self) -> list[bytes]:
        return [payload[1:] for payload in self.heard if payload[:1] == b"D"]

    def count(self, tag: bytes) -> int:
        return sum(payload[:1] == tag for payload in self.heard)


class LinkCase(SynchronousTestCase):
    """A link that was accepted from the other end or, if `dialed`, that has connected to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.owner, self.other, self.channel = Owner(), Other(), Channel()
        self.memory = MemoryBudget()
        self.admitted = 0

    def connect(self, dialed: bool = False) -> None:
        """The connection is made; TLS is not yet established."""
        role = Dialer if dialed else Listener
        authentication = Authentication(
            lambda binding: machine(role, "a", binding), self.channel, TIMEOUT, self._admit
        )
        self.link = Link(self.owner, self.clock, dialed, authentication, self.memory)
        self.network.listeners[THERE, PORT] = Factory.forProtocol(lambda: self.other)
        factory = ClientFactory.forProtocol(lambda: self.link)
        self.network.connect(HERE, THERE, PORT, factory, timeout=1)
        self.advance(0.01)

    def _admit(self) -> None:
        self.admitted += 1

    def secure(self, dialed: bool = False) -> None:
        """TLS is established."""
        self.connect(dialed)
        self.link.handshakeCompleted()
        self.advance(0.01)

    def come_up(
        self, dialed: bool = False, pieces: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
    ) -> None:
        """Both ends are authentic. The other end sends its proof in these pieces."""
        self.secure(dialed)
        peer = machine(Listener if dialed else Dialer, "b", b"binding")
        if isinstance(peer, Dialer):
            self.other.say(peer.hello)
            self.advance(0.01)
        while self.link.state is State.HANDSHAKE:
            step = peer.receive(self.other.heard.pop(0))
            for part in pieces(encode(step.send)) if step.send else ():
                self.other.transport.write(part)
                self.advance(0.01)
        if not dialed:
            self.other.heard.pop(0)  # our proof

    def advance(self, seconds: float) -> None:
        self.clock.pump([LATENCY] * round(seconds / LATENCY))

    def block(self) -> None:
        """The other end reads nothing any more, and the link is paused."""
        self.network.cut(HERE, THERE, both_ways=False)
        while not self.link._sender.is_paused:
            self.link.send([bytes(HIGH_WATER // 4)])

    def assert_ended(self, *end: str) -> None:
        """Both ends are closed, and no timer is left at ours."""
        self.assert_closed(*end)
        self.assertTrue(self.other.has_ended)

    def assert_closed(self, *end: str) -> None:
        """The owner was told so, once, and no timer is left."""
        self.assertEqual(self.owner.ends, [end])
        self.assertIs(self.link.state, State.CLOSED)
        self.advance(RETIRE_TIMEOUT)
        self.assertEqual(self.owner.ends, [end])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])
