"""Connections in the making: what accepts them, what dials them, and all that there are.

An attempt to dial is settled when a link of use came of it (`settled`), and has failed when its
connection ends before that, authenticated or not: a node that is told to stay away, or that reached
itself, is to try again more and more rarely like one that nobody answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.internet.interfaces import IHostnameResolver, IProtocolFactory
from twisted.protocols.policies import ProtocolWrapper

from tunmesh.auth.handshake import Dialer, Key, Listener
from tunmesh.auth.node_key import NodeKey
from tunmesh.dialing.dial_limit import Turns
from tunmesh.dialing.reconnect import EVERYWHERE, PeerFactory, Target
from tunmesh.link.link import Link, Owner
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.logs import bugs
from tunmesh.tls import tls
from tunmesh.tls.underlay import Outside, Rule
from tunmesh.wire import sizes


class Connector:
    """Makes the links of one node. `keys` may be set anew, for the handshakes from then on.
    `record()` is what the node says of itself, as bytes; `node_key` proves its id;
    `unreachable(target, why)` is told of attempts that came to no connection, `dialing(dialer,
    address)` of every address that is tried; `transport` runs TLS; links have both ends `outside`
    the mesh, and share `memory`."""

    def __init__(
        self,
        reactor: Any,
        owner: Owner,
        keys: tuple[Key, ...],
        identity: tls.Identity,
        node_key: NodeKey,
        record: Callable[[], bytes],
        random_bytes: Callable[[int], bytes],
        draw: Callable[[], float],
        unreachable: Callable[[Target, str], None],
        transport: type[ProtocolWrapper] = tls.TunedTransport,
        dialing: Callable[[PeerFactory, str], None] = lambda dialer, address: None,
        outside: Outside = EVERYWHERE,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self.keys = keys
        self._identity = identity
        self._node_key = node_key
        self._record = record
        self._random_bytes = random_bytes
        self._draw = draw
        self._unreachable = unreachable
        self._dialing = dialing
        self._outside = outside
        self._memory = memory or MemoryBudget()
        self._transport = transport
        self._links: dict[Link, PeerFactory | None] = {}  # with the attempt that is not settled

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links))

    def __len__(self) -> int:
        return len(self._links)

    def states(self) -> Mapping[str, int]:
        """How many links there are in each state."""
        return Counter(link.state.name.lower() for link in self._links)

    def accept(self, timeout: float, authenticated: Callable[[], None]) -> Link:
        """The protocol for an accepted connection; see tls.Reception."""
        begin = partial(self._machine, Listener)
        channel = tls.Channel(None, self._outside)
        link = Link(
            self._owner,
            self._reactor,
            False,
            begin,
            channel,
            timeout,
            authenticated,
            memory=self._memory,
        )
        self._links[link] = None
        return link

    def dialer(
        self,
        targets: tuple[Target, ...],
        turns: Turns | None = None,
        rounds: int = -1,
        max_delay: float = 15.0,
        begin_round: Callable[[], None] = lambda: None,
        is_quiet: bool = False,
        rule: Rule | None = None,
        sources: Callable[[], Collection[str]] = lambda: ("",),
        names: IHostnameResolver | None = None,
    ) -> PeerFactory:
        """A reconnecting factory for these targets, not started. Without `turns` it never waits
        for others; a quiet one does not tell of attempts that came to no connection. `rule`: which
        addresses are dialed, if not all outside the mesh; `names`: what looks up names, if not the
        resolver of the reactor."""

        def unreachable(dialer: PeerFactory, why: str) -> None:
            if not is_quiet:
                self._unreachable(dialer.target, why)

        return PeerFactory(
            self._reactor,
            targets,
            build=self._dialed,
            secure=self._secure,
            draw=self._draw,
            unreachable=unreachable,
            turns=turns or Turns(1, self._draw, bugs.caught("a dial could not begin")),
            rounds=rounds,
            max_delay=max_delay,
            begin_round=begin_round,
            dialing=self._dialing,
            outside=rule or self._outside,
            sources=sources,
            names=names,
        )

    def attempt(self, link: Link) -> PeerFactory | None:
        """What dialed the link, until that is settled."""
        return self._links.get(link)

    def settled(self, link: Link) -> None:
        """The link is of use, and whoever wanted it has stopped dialing. An attempt that still goes
        on was meant for a node that somebody else answered for."""
        dialer = self._links[link]
        self._links[link] = None
        if dialer is not None and dialer.continueTrying:
            dialer.failed()
        elif dialer is not None:
            dialer.authenticated()

    def closed(self, link: Link) -> None:
        """The link is no more."""
        dialer = self._links.pop(link)
        if dialer is not None:
            dialer.failed()

    def _dialed(self, dialer: PeerFactory, host: str) -> Link:
        begin = partial(self._machine, Dialer)
        verified = host if self._identity.credentials.verify_hostname else None
        channel = tls.Channel(verified, self._outside)
        link = Link(
            self._owner,
            self._reactor,
            True,
            begin,
            channel,
            tls.HANDSHAKE_TIMEOUT,
            memory=self._memory,
        )
        self._links[link] = dialer
        return link

    def _machine(self, role: type[Dialer] | type[Listener], binding: bytes) -> Dialer | Listener:
        nonce = self._random_bytes(sizes.NONCE_SIZE)
        return role(self.keys, self._node_key, self._record(), nonce, binding)

    def _secure(self, host: str, factory: IProtocolFactory) -> IProtocolFactory:
        return tls.client_factory(self._identity, host, factory, self._reactor, self._transport)
