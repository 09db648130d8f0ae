"""Makes the links of one node, accepted and dialed, and keeps track of those that are open.

A dialed link is settled when it turned out to be of use (`settled`). If it ends before that, its
attempt has failed, authenticated or not: a node that is sent away, or that reached itself, must
retry with growing pauses like one that gets no answer.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import ClientFactory
from twisted.protocols.policies import ProtocolWrapper

from tunmesh.addresses import Target
from tunmesh.auth.handshake import Dialer, Key, Listener
from tunmesh.auth.node_key import NodeKey
from tunmesh.dialing.attempt import DialPolicy
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.dialing.segments import SegmentLimits
from tunmesh.dialing.stuck import HandshakeWatch
from tunmesh.link.authentication import Authentication
from tunmesh.link.interfaces import Owner
from tunmesh.link.link import Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.tls.binding import Channel, TcpMeasures
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT
from tunmesh.tls.read_quota import ReadQuotas
from tunmesh.tls.transport import TunedTransport, client_factory
from tunmesh.tls.underlay import Outside
from tunmesh.wire import sizes


@dataclass(frozen=True, slots=True)
class Proof:
    """What a node proves its membership with in handshakes, to be carried out over this TLS.

    `keys`: all are accepted, the first is preferred; `record(local)`: what the node says of itself
    on a connection that it dials from this address of its host, or accepts (""); `random_bytes(n)`:
    for nonces; `transport` runs TLS on each connection.
    """

    keys: tuple[Key, ...]
    node_key: NodeKey
    record: Callable[[str], bytes]
    random_bytes: Callable[[int], bytes]
    contexts: Contexts
    transport: type[ProtocolWrapper] = TunedTransport

    def begin(
        self, role: type[Dialer] | type[Listener], binding: bytes, local: str = ""
    ) -> Dialer | Listener:
        """The handshake on a new connection, bound to its TLS. `local`: as for `record`."""
        nonce = self.random_bytes(sizes.NONCE_SIZE)
        return role(self.keys, self.node_key, self.record(local), nonce, binding)


class DialObserver(typing.Protocol):
    """Is told of dials, for the log."""

    def dialing(self, dialer: PeerFactory, address: str) -> None:
        """An address of the dialer's target is tried."""

    def unreachable(self, target: Target, why: str) -> None:
        """An attempt came to no connection."""


class Unobserved:
    def dialing(self, dialer: PeerFactory, address: str) -> None: ...
    def unreachable(self, target: Target, why: str) -> None: ...


class Connector:
    """Makes links for `owner`. Both ends of a link are `outside` the mesh; what all links buffer is
    bounded by `memory`. `draw()`: a random number from 0 to 1."""

    def __init__(
        self,
        reactor: Any,
        owner: Owner,
        proof: Proof,
        draw: Callable[[], float],
        observer: DialObserver | None = None,
        outside: Outside | None = None,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self._proof = proof
        self._draw = draw
        self._observer = observer or Unobserved()
        self._outside = outside or Outside()
        self._memory = memory or MemoryBudget()
        self._quotas = ReadQuotas(partial(reactor.callLater, 0))
        self.segments = SegmentLimits()
        self._handshakes = HandshakeWatch(reactor, self._stuck)
        self._targets: dict[Link, Target] = {}  # of those that were dialed
        self._links: dict[Link, PeerFactory | None] = {}  # and the dialer, until it is settled

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links))

    def __len__(self) -> int:
        return len(self._links)

    @property
    def keys(self) -> tuple[Key, ...]:
        return self._proof.keys

    def use_keys(self, keys: tuple[Key, ...]) -> None:
        """Prove these keys in the handshakes from now on."""
        self._proof = replace(self._proof, keys=keys)

    def states(self) -> Mapping[str, int]:
        """How many links there are in each state."""
        return Counter(link.state.name.lower() for link in self._links)

    def accept(self, timeout: float, authenticated: Callable[[], None]) -> Link:
        """The protocol for an accepted connection; see tls.listener.MeshPort."""
        channel = Channel(None, self._outside)
        authentication = Authentication(
            lambda binding: self._proof.begin(Listener, binding), channel, timeout, authenticated
        )
        link = Link(self._owner, self._reactor, False, authentication, self._memory)
        self._links[link] = None
        return link

    def dialer(self, targets: tuple[Target, ...], policy: DialPolicy | None = None) -> PeerFactory:
        """A reconnecting factory for these targets, not started."""
        policy = policy or DialPolicy()
        if policy.rule is None:
            policy = replace(policy, rule=self._outside)
        return PeerFactory(self._reactor, self, targets, self._draw, policy)

    def through_relay(self, host: str) -> RelayedDial:
        """What makes a link of a relayed connection to the node at this host."""
        return RelayedDial(self, host)

    def attempt(self, link: Link) -> PeerFactory | None:
        """The dialer of the link, until it is settled."""
        return self._links.get(link)

    def settled(self, link: Link) -> None:
        """The link is of use, and whoever wanted it has stopped dialing. A dialer that was not
        stopped was meant for another node than the one that answered."""
        self._handshakes.end(link)
        if not link.via:  # else its bytes are charged where the link of its carrier is read
            link.transport.share(self._quotas.of(link.source))
        dialer = self._links[link]
        self._links[link] = None
        if dialer is not None and dialer.continueTrying:
            dialer.failed()
        elif dialer is not None:
            dialer.authenticated()

    def closed(self, link: Link) -> None:
        """The link has ended."""
        self._handshakes.end(link)
        self._targets.pop(link, None)
        dialer = self._links.pop(link)
        if dialer is not None:
            dialer.failed()

    def stuck(self, link: Link, measures: TcpMeasures) -> None:
        """This link is stuck: the next one that is dialed to where it was has smaller segments. An
        accepted one says nothing of any place: a member may name that of another node as its own.
        """
        if link in self._targets:
            self._stuck(self._targets[link], measures, True)

    def goes_well(self, link: Link) -> None:
        """This link is not stuck, or is cut altogether: segments were not too large for it."""
        if link in self._targets:
            self.segments.forget(self._targets[link])

    def helped(self, link: Link) -> int | None:
        """This link has come up in place of one that is stuck. The limit of its segments, if it has
        one, and that is news."""
        target, segment = self._targets.get(link), link.authentication.measures().segment
        if target is None or not segment:
            return None  # accepted, or relayed
        return self.segments.came_up(target, self._reactor.seconds(), segment)

    def _stuck(self, target: Target, measures: TcpMeasures, is_certain: bool) -> None:
        if measures.segment:
            now = self._reactor.seconds()
            self.segments.stuck(target, now, measures.segment, is_certain)

    # --- what dialers need (dialing.reconnect.Owner) ---

    def build_link(self, dialer: PeerFactory | None, host: str) -> Link:
        verified = host if self._proof.contexts.credentials.verify_hostname else None
        channel = Channel(verified, self._outside)

        def begin(binding: bytes) -> Dialer | Listener:
            local = str(link.transport.getHost().host)
            return self._proof.begin(Dialer, binding, local)  # by the keys of now

        authentication = Authentication(begin, channel, HANDSHAKE_TIMEOUT)
        link = Link(self._owner, self._reactor, True, authentication, self._memory)
        self._links[link] = dialer
        if dialer is not None:
            self._targets[link] = dialer.target
            self._handshakes.begin(link, dialer.target)
        return link

    def secure(self, host: str, factory: IProtocolFactory) -> IProtocolFactory:
        proof = self._proof
        return client_factory(proof.contexts, host, factory, self._reactor, proof.transport)

    def dialing(self, dialer: PeerFactory, address: str) -> int | None:
        self._observer.dialing(dialer, address)
        return self.segments.of(dialer.target, self._reactor.seconds())

    def unreachable(self, dialer: PeerFactory, why: str) -> None:
        self._observer.unreachable(dialer.target, why)


class RelayedDial(ClientFactory):
    """Makes one link, `link`, of one connection that another node carries (tunmesh.relay). There is
    TLS on it, and the certificate is checked, as on a connection to this host itself."""

    noisy = False
    link: Link

    def __init__(self, connector: Connector, host: str) -> None:
        self._connector = connector
        self._host = host

    def secured(self) -> IProtocolFactory:
        """What to connect with."""
        return self._connector.secure(self._host, self)

    def buildProtocol(self, addr: object) -> Link:
        self.link = self._connector.build_link(None, self._host)
        return self.link
