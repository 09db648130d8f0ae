"""What a link is given, and what it is: the states, the owner, and the connection below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import PeerError
from tunmesh.tls.binding import TcpMeasures
from tunmesh.tls.read_quota import ReadQuota
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.records import SignedRecord
from tunmesh.wire.streams import Message
from tunmesh.wire.tried import Tried

if TYPE_CHECKING:
    from tunmesh.link.link import Link


# 32 secret bytes that only the two ends of a connection know, others for each context.
Export = Callable[[bytes], bytes]


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class RelayedAddress:
    """An end of a connection that the node with the id `relay` carries. Host and port are those of
    the link with that node: until it is authentic it is counted under the relay's source."""

    relay: str
    host: str
    port: int


class State(Enum):
    """See link.link."""

    HANDSHAKE = auto()
    UP = auto()
    RETIRING = auto()
    CLOSED = auto()

    @property
    def is_open(self) -> bool:
        """Whether data may arrive."""
        return self is State.UP or self is State.RETIRING


class Owner(Protocol):
    """What a link tells the node that it belongs to."""

    def link_up(self, link: Link) -> None: ...
    def link_failed(self, link: Link, error: PeerError) -> None:
        """It has ended without having been up."""
        ...

    def link_lost(self, link: Link, error: PeerError) -> None:
        """It was up, and has ended."""
        ...

    def wasteful(self, link: Link) -> None:
        """The other end sends so many useless frames that it is not read for a while."""
        ...

    def gossip_received(self, link: Link, gossip: Gossip) -> None: ...
    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None: ...
    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        """Raises PeerError when no honest node could introduce these."""
        ...

    def update_received(self, link: Link, signed: SignedRecord, settled: bool) -> None:
        """Raises PeerError when it is not the next record of that node."""
        ...

    def tried_received(self, link: Link, tried: Tried) -> None: ...
    def refusal_received(self, link: Link, refusal: Refusal) -> None: ...
    def stream_received(self, link: Link, message: Message) -> bool:
        """About a stream that one of both carries. Whether it was of use. Raises PeerError when no
        honest node could say that."""
        ...

    def bye_received(self, link: Link, reason: str) -> None: ...
    def round_trip(self, link: Link, seconds: float) -> None: ...
    def packets_dropped(self, reason: DropReason, count: int) -> None: ...


class Lane(Protocol):
    """Messages about a stream that wait for their turn on a link (relay.lane)."""

    def take(self, most: int) -> bytes:
        """The next message, with at most so many bytes of the stream; empty: there is none."""


class LinkTransport(Protocol):
    """What a link needs of its transport: a part of ITCPTransport, and one call more."""

    def write(self, data: bytes) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def getPeer(self) -> Any: ...
    def getHost(self) -> Any: ...

    def call_after_reads(self, call: Callable[[], None]) -> None:
        """Call this whenever all that one read gave has been delivered."""
        ...

    def share(self, quota: ReadQuota) -> None:
        """Be read as one of those that this quota is for."""
        ...


class Channel(Protocol):
    """What a link must know of the TLS connection that it runs on."""

    def admit(self, transport: LinkTransport) -> None:
        """Raises PeerError when no link may be made over it, whoever is at the other end."""
        ...

    def binding(self, transport: LinkTransport) -> bytes:
        """Its channel binding. Raises PeerError when the connection is not good enough."""
        ...

    def exporter(self, transport: LinkTransport) -> Export:
        """For as long as it is held, also when the connection is closed."""
        ...

    def measures(self, transport: LinkTransport) -> TcpMeasures:
        """What the kernel has measured of the TCP connection."""
        ...

    def why_lost(self, reason: Failure) -> PeerError:
        """Why it ended before the handshake did."""
        ...

    def limit_unsent(self, transport: LinkTransport, size: int) -> None:
        """Have the kernel keep no more bytes than that unsent."""
        ...
