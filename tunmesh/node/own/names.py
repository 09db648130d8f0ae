"""The names of the mesh as this node knows them, and its answers to DNS queries.

    Peers, Me ── who is linked, what is routed ──> Directory ──> Responder <── Endpoint <── tun
                                                                                  │
                                                                               Upstream

The directory is made anew when it is asked for and is older than REFRESH, and PER_NODE for each
node in it: so the work does not grow with the number of queries, nor with that of nodes that come
and go, and it is never older than answers may be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tunmesh.logs.journal import Journal
from tunmesh.names.directory import Directory, Member
from tunmesh.names.resolution import Resolution, Resolver
from tunmesh.names.settings import NamesSettings
from tunmesh.names.zone import Zone
from tunmesh.node.own.addresses import OwnAddresses
from tunmesh.node.parts import Parts
from tunmesh.status.node import NamesStatus
from tunmesh.status.peers import KnownNode

if TYPE_CHECKING:
    from tunmesh.names.endpoint import Endpoint
    from tunmesh.names.upstream import Upstream

REFRESH = 0.1  # seconds
PER_NODE = 0.001  # seconds: a hundred times as long as it takes
_NOWHERE = "invalid"  # the domain of a node without networking/dns, where nobody asks (RFC 6761)


class NamesStory:
    """What is logged about names (names.endpoint.Troubles)."""

    def __init__(self, journal: Journal, settings: NamesSettings) -> None:
        self._journal = journal
        self._domain = settings.domain
        self._addresses = ", ".join(map(str, settings.addresses))
        self._servers = ", ".join(settings.servers)

    def answered(self) -> None:
        others = "forwarded to {servers}" if self._servers else "refused"
        self._journal.info(
            f"names below {{domain}} are answered at {{addresses}}, others are {others}",
            event="names",
            domain=self._domain,
            addresses=self._addresses,
            servers=self._servers,
        )

    def looped(self) -> None:
        self._journal.warn(
            "names looped",
            "a query that was forwarded to {servers} came back to {addresses}: one of these name "
            "servers asks this node. Such queries are refused",
            event="names_looped",
            servers=self._servers,
            addresses=self._addresses,
        )

    def unanswered(self) -> None:
        self._journal.warn(
            "names unanswered",
            "none of the name servers for other names answers: {servers}",
            event="names_unanswered",
            servers=self._servers,
        )


class Names:
    """`is_in_mesh()`: whether this node is in its mesh, so that a node that it does not know does
    not exist."""

    def __init__(
        self, parts: Parts, addresses: OwnAddresses, is_in_mesh: Callable[[], bool]
    ) -> None:
        self._parts = parts
        self._addresses = addresses
        self._is_in_mesh = is_in_mesh
        self._settings = settings = parts.settings.names
        self._made = -math.inf
        self._directory = Directory((), False)
        self._upstream: Upstream | None = None
        self._endpoint: Endpoint | None = None
        networks = parts.settings.networks
        if settings is None:
            self._zone = Zone(_NOWHERE, (), ())
            return
        self._zone = Zone(settings.domain, networks, settings.addresses)
        # Nodes without names have no need of these, nor of twisted.names.
        from tunmesh.names.endpoint import Endpoint
        from tunmesh.names.responder import Responder
        from tunmesh.names.upstream import Upstream

        host = parts.host
        if settings.servers:
            self._upstream = Upstream(host.reactor, settings.servers, host.random_bytes)
        responder = Responder(self._zone, self.directory, self._shuffle, self._upstream is not None)
        self._endpoint = Endpoint(
            settings.addresses,
            responder,
            self._upstream,
            parts.forwarder.answer,
            host.reactor.seconds,
            NamesStory(parts.journal, settings),
        )
        parts.forwarder.answer_unrouted(self._endpoint.take)

    def start(self) -> None:
        if self._settings is not None:
            NamesStory(self._parts.journal, self._settings).answered()

    def stop(self) -> None:
        if self._upstream is not None:
            self._upstream.stop()

    def directory(self) -> Directory:
        """Who there is now."""
        now = self._parts.now
        if now - self._made > REFRESH + PER_NODE * len(self._directory.members):
            self._made = now
            self._directory = Directory(tuple(self._members()), self._is_in_mesh())
        return self._directory

    def _members(self) -> Iterator[Member]:
        parts = self._parts
        routes = parts.table.routes
        claimed = {own.address for own in self._addresses.statuses if not own.is_usable}
        peers = {peer.record.id: peer for peer in parts.peers}
        for record in parts.peers.by_right():
            peer = peers.get(record.id)
            if peer is None:
                addresses = (each.ip for each in record.addresses if str(each) not in claimed)
            else:
                addresses = (each for each in record.own if routes.get(each.packed) is peer)
            yield Member(record, tuple(addresses))

    def _shuffle(self, records: list[Any]) -> None:
        draw = self._parts.host.draw
        records.sort(key=lambda _: draw())

    # --- questions ---

    def resolve(self, text: str, known_nodes: tuple[KnownNode, ...]) -> Resolution:
        """What a name, or an address, leads to now, and why."""
        self._made = -math.inf
        resolver = Resolver(
            self._settings, self._zone, self.directory(), self._parts.me.record, known_nodes
        )
        return resolver.resolve(text)

    def status(self) -> NamesStatus | None:
        """None: names are not configured."""
        settings, endpoint = self._settings, self._endpoint
        if settings is None or endpoint is None:
            return None
        return NamesStatus(
            domain=settings.domain,
            addresses=tuple(map(str, settings.addresses)),
            servers=settings.servers,
            queries=dict(endpoint.outcomes),
            in_flight=self._upstream.in_flight if self._upstream is not None else 0,
        )
