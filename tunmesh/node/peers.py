"""The linked nodes of one node: their links, their routes, and what was exchanged with them.

The roster decides who joins and parts and whose an address is; here that is put into the table that
packets are routed by, and kept for the status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from tunmesh.addresses import source_of
from tunmesh.auth.handshake import Key
from tunmesh.dataplane.peer import Peer
from tunmesh.dataplane.table import Table
from tunmesh.link.link import Link
from tunmesh.membership.agreement import View
from tunmesh.membership.hearsay import MAX_NODES
from tunmesh.observe.node_totals import Totals
from tunmesh.status import REVOKED, NodeTraffic, PeerSample, PeerStatus, Traffic, key_labels


class LinkedNode(Peer):
    """A peer, and what the membership has to know of it. Its carrier is its link."""

    __slots__ = ("holder", "link", "refuses", "source", "view", "was_first")

    def __init__(self, link: Link, view: View, was_first: bool) -> None:
        super().__init__(link.node, link)
        self.link = link
        self.source = link.source  # where it came from when it joined
        self.view = view
        self.was_first = was_first  # it was in the mesh before us
        self.refuses: tuple[str, ...] = ()  # addresses of ours that it does not route to us
        self.holder = ""  # the node that it routes the first of them to, if to any

    def switch(self, link: Link) -> None:
        """What goes to this node goes by this link from now on."""
        self.carrier = self.link = link


class Peers:
    """Every node that is linked, by its id; from one source (tls.admission) at most
    `max_per_source` of them."""

    def __init__(
        self,
        table: Table[LinkedNode],
        ttl: float,
        seconds: Callable[[], float],
        max_per_source: int = MAX_NODES,
    ) -> None:
        self._table = table
        self._seconds = seconds
        self._by_id: dict[str, LinkedNode] = {}
        self._sources: dict[str, str] = {}  # where each of them came from when it joined, by id
        self._per_source: Counter[str] = Counter()
        self._max_per_source = max_per_source
        self._totals = Totals(ttl)
        self._past = Traffic()  # with nodes that are gone

    def __iter__(self) -> Iterator[LinkedNode]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, link: Link) -> LinkedNode | None:
        """The linked node at the other end, if it is one still."""
        return self._by_id.get(link.node.id)

    def of(self, link: Link) -> LinkedNode:
        """The same for one that is."""
        return self._by_id[link.node.id]

    def link(self, node_id: str) -> Link:
        """The link to this node. Raises KeyError when there is none."""
        return self._by_id[node_id].link

    def has_room(self, link: Link) -> bool:
        """Whether the node at the other end may join: it has, or few others from there have."""
        is_known = link.node.id in self._by_id
        return is_known or self._per_source[_source_of(link)] < self._max_per_source

    def is_getting_crowded(self, link: Link) -> bool:
        """Whether the node that has just joined by this link is one too many to say nothing."""
        return self._per_source[_source_of(link)] == max(2, self._max_per_source // 2)

    def crowd(self, link: Link) -> tuple[str, int]:
        """The source of this link, and how many nodes have joined from there."""
        source = _source_of(link)
        return source, self._per_source[source]

    def sources(self, node_ids: Iterable[str]) -> set[str]:
        """Where those of these nodes come from that are linked."""
        return {self._sources[each] for each in node_ids if each in self._sources}

    # --- what the roster decides ---

    def join(self, link: Link, view: View, was_first: bool) -> None:
        """A node is linked by this link. `was_first`: it was in the mesh before this node."""
        peer = self._by_id[link.node.id] = LinkedNode(link, view, was_first)
        source = self._sources[link.node.id] = _source_of(link)
        self._per_source[source] += 1
        self._table.join(peer, link.node.addresses)
        self._totals.join(link.node.name)

    def part(self, link: Link) -> None:
        """A node is linked no more."""
        peer = self._by_id.pop(link.node.id)
        self._leave_source(self._sources.pop(link.node.id))
        self._table.part(peer)
        self._past.add(peer.traffic)
        linked = [other.record.name for other in self]
        self._totals.part(self._seconds(), peer.record.name, peer.traffic, linked)

    def switch(self, link: Link) -> None:
        """What goes to this node goes by this link from now on."""
        self._by_id[link.node.id].switch(link)

    def route(self, address: IPv4Address | IPv6Address, link: Link) -> None:
        """An address belongs to the node at the other end."""
        self._table.routes[address.packed] = self._by_id[link.node.id]

    def unroute(self, address: IPv4Address | IPv6Address) -> None:
        """An address belongs to nobody."""
        self._table.routes.pop(address.packed, None)

    def _leave_source(self, source: str) -> None:
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]

    # --- what else happens ---

    def round_trip(self, link: Link, seconds: float) -> None:
        self._totals.round_trip(link.node.name, seconds)

    def groom(self) -> None:
        """Forget what nobody needs to know any more."""
        self._totals.groom(self._seconds())

    # --- what is asked ---

    def statuses(self, keys: Sequence[Key]) -> tuple[PeerStatus, ...]:
        """`keys`: those that are valid now."""
        routes: dict[LinkedNode, list[str]] = {}
        for packed, peer in self._table.routes.items():
            routes.setdefault(peer, []).append(str(ip_address(packed)))
        labels = dict(zip(keys, key_labels(len(keys)), strict=True))
        return tuple(
            _status(
                peer,
                tuple(sorted(routes.get(peer, ()))),
                labels.get(peer.link.key, REVOKED) if peer.link.key is not None else REVOKED,
            )
            for peer in self
        )

    def samples(self) -> tuple[PeerSample, ...]:
        return tuple(
            PeerSample(
                id=peer.record.id,
                since=peer.link.since,
                rtt=peer.carrier.round_trip,
                rx_bytes=peer.traffic.rx_bytes,
                tx_bytes=peer.traffic.tx_bytes,
            )
            for peer in self
        )

    def by_name(self) -> dict[str, NodeTraffic]:
        """What was exchanged with each node, by its name, before and now."""
        nodes = {
            name: NodeTraffic(totals.traffic.copy(), totals.latency)
            for name, totals in self._totals
        }
        for peer in self:
            if peer.record.name in nodes:
                nodes[peer.record.name].traffic.add(peer.traffic)
        return nodes

    def traffic(self) -> Traffic:
        """What was exchanged with all of them, before and now."""
        total = self._past.copy()
        for peer in self:
            total.add(peer.traffic)
        return total


def _source_of(link: Link) -> str:
    return source_of(link.transport.getPeer().host)


def _status(peer: LinkedNode, routed: tuple[str, ...], key_id: str) -> PeerStatus:
    return PeerStatus(
        record=peer.record,
        dialed=peer.link.dialed,
        since=peer.link.since,
        rtt=peer.carrier.round_trip,
        queued_bytes=peer.carrier.queued_bytes,
        key_id=key_id,
        traffic=peer.traffic.copy(),
        refuses=peer.refuses,
        routed=routed,
        pings=peer.link.keepalive.pings,
        pongs=peer.link.keepalive.pongs,
        dropped=peer.carrier.dropped,
    )
