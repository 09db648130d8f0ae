"""The linked nodes: their links, their routes, what they refuse, and the traffic with them.

The roster decides who joins and parts and who holds an address. Here that is entered into the
table that packets are routed by, and kept for the status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address

from tunmesh.addresses import Address
from tunmesh.auth.handshake import Key
from tunmesh.dataplane.carrier import Carrier
from tunmesh.dataplane.peer import Limits, Peer
from tunmesh.dataplane.table import Table
from tunmesh.link.link import Link, room_of
from tunmesh.link.memory_budget import Account, MemoryBudget
from tunmesh.link.suspicion import Suspicion
from tunmesh.membership.agreement import Agreement, View, judge
from tunmesh.membership.hearsay import MAX_NODES
from tunmesh.membership.me import Me
from tunmesh.membership.namesakes import by_right
from tunmesh.observe.node_totals import Totals
from tunmesh.status.peers import REVOKED, PeerStatus, UdpStatus, key_labels
from tunmesh.status.traffic import RTT_BUCKETS, Histogram, NodeTraffic, Traffic
from tunmesh.wire.records import NodeRecord


class LinkedNode(Peer):
    """A peer, with what the membership needs to know of it. Its carrier is its link,
    or another one beside it."""

    __slots__ = (
        "account",
        "holder",
        "is_early",
        "link",
        "refuses",
        "room",
        "signed",
        "since",
        "source",
        "stuck_since",
        "suspicion",
        "udp",
        "view",
        "was_first",
    )

    def __init__(
        self,
        link: Link,
        view: View,
        was_first: bool,
        is_early: bool,
        since: float,
        account: Account,
    ) -> None:
        super().__init__(link.node, link)
        self.link = link
        self.signed = link.signed  # its record, as others may be told
        self.since = since  # when it joined
        self.source = link.source  # where its link comes from, as far as that has room (Peers)
        self.account = account  # of what it makes this node hold beside its links
        self.room = room_of(link)  # what it takes a place of
        self.view = view
        self.was_first = was_first  # it was in the mesh before this node
        self.is_early = is_early  # it was linked while this node was on probation
        self.refuses: tuple[str, ...] = ()  # addresses of this node that it does not route to it
        self.suspicion = Suspicion()  # whether it is still there
        self.stuck_since: float | None = None  # its link sends the same again and again
        self.udp: Carrier | None = None  # beside the link; None: this node uses no UDP
        self.holder = ""  # the name of the node that it routes the first of them to, if any

    def switch(self, link: Link) -> None:
        """This is its link from now on. Packets go by it, unless they go by another carrier."""
        if self.carrier is self.link:
            self.carrier = link
        self.link = link

    @property
    def dropped(self) -> int:
        """Packets to it that its carriers have dropped."""
        return self.link.dropped + (self.udp.dropped if self.udp is not None else 0)

    def comes_by(self, link: Link) -> None:
        """It counts for the source of this link from now on."""
        self.source, self.room = link.source, room_of(link)
        self.account.move(link.source)

    def carry_by(self, carrier: Carrier) -> None:
        """Packets to this node go by this carrier from now on, whatever its link."""
        self.carrier = carrier

    def revised(self, link: Link) -> None:
        """Its record is the one that came on this link, which need not be the one in use."""
        self.record, self.signed = link.node, link.signed

    def gets_stuck(self, since: float | None) -> None:
        """Its link makes no progress since then; None: it does."""
        self.stuck_since = since

    def stands(self, view: View, was_first: bool) -> None:
        """How this node stands to it from now on."""
        self.view, self.was_first = view, was_first

    def refused(self, addresses: tuple[str, ...], holder: str) -> None:
        """From now on it does not route these addresses of this node to it."""
        self.refuses, self.holder = addresses, holder if addresses else ""

    def limit(self, me: NodeRecord) -> None:
        """Find out what it does not take of this node, which says this of itself."""
        self.limits = None
        has = {str(address): address.packed for address in me.held}
        refused = frozenset(has[each] for each in self.refuses if each in has)
        if self.record.mtu < me.mtu or refused:
            self.limits = Limits(min(self.record.mtu, me.mtu), refused)


class Peers:
    """Every node that is linked with this one, by its id. At most `max_per_source` of them come
    from one source (tls.admission), and as many are carried by nodes of one source; totals of nodes
    that are gone are kept for `ttl` seconds; `memory` bounds what peers make this node hold."""

    def __init__(
        self,
        me: Me,
        table: Table[LinkedNode],
        ttl: float,
        seconds: Callable[[], float],
        memory: MemoryBudget,
        max_per_source: int = MAX_NODES,
    ) -> None:
        self._me = me
        self._table = table
        self._seconds = seconds
        self._memory = memory
        self._by_id: dict[str, LinkedNode] = {}
        self._taken: Counter[str] = Counter()  # places, by room
        self.max_per_source = max_per_source
        self._totals = Totals(ttl)
        self._past = Traffic()  # with nodes that are gone
        self._rtt = Histogram(RTT_BUCKETS)
        self._agreement: Agreement | None = None  # None: to be judged again

    def __iter__(self) -> Iterator[LinkedNode]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def of(self, link: Link) -> LinkedNode:
        """The node at the other end, which is linked."""
        return self._by_id[link.node.id]

    def linked(self, node_id: str) -> LinkedNode:
        """The node with this id. Raises KeyError when it is not linked."""
        return self._by_id[node_id]

    def agreement(self) -> Agreement:
        """How far this node and its peers agree on addresses and networks."""
        if self._agreement is None:
            self._agreement = judge(self._me.record, tuple(self))
        return self._agreement

    def by_right(self) -> list[NodeRecord]:
        """The records of all nodes, this one included: who has the better right to a name first."""
        return by_right(self._me.record, self._by_id.values())

    def has_room(self, link: Link) -> bool:
        """Whether the node at the other end may join: it has joined, or its source has room."""
        is_known = link.node.id in self._by_id
        return is_known or self._taken[room_of(link)] < self.max_per_source

    def is_getting_crowded(self, link: Link) -> bool:
        """Whether the node that has just joined by this link is the one at which to warn."""
        return self._taken[room_of(link)] == max(2, self.max_per_source // 2)

    def count_with(self, link: Link) -> int:
        """How many linked nodes come from where this link does."""
        return self._taken[room_of(link)]

    def sources(self, node_ids: Iterable[str]) -> set[str]:
        """The sources of those of these nodes that are linked."""
        return {self._by_id[each].source for each in node_ids if each in self._by_id}

    # --- what the roster decides ---

    def join(self, link: Link, was_first: bool) -> None:
        """A node is linked by this link. `was_first`: it was in the mesh before this node."""
        view = View.of(self._me.record, link.node)
        account = self._memory.account(link.source)
        peer = LinkedNode(link, view, was_first, self._me.is_new, self._seconds(), account)
        peer.limit(self._me.record)
        self._by_id[link.node.id] = peer
        self._taken[peer.room] += 1
        self._table.join(peer, link.node.addresses)
        self._table.lead(peer, link.node.routes, _seed(link.node))
        self._totals.join(link.node.name)
        self._agreement = None

    def part(self, link: Link) -> None:
        """A node is no longer linked."""
        self._agreement = None
        peer = self._by_id.pop(link.node.id)
        _one_less(self._taken, peer.room)
        self._table.part(peer)
        self._past.add(peer.traffic)
        linked = [other.record.name for other in self]
        self._totals.part(self._seconds(), peer.record.name, peer.traffic, linked)

    def revise(self, link: Link, was_first: bool) -> None:
        """The record of this node is the one that came on this link."""
        self._agreement = None
        peer = self._by_id[link.node.id]
        peer.revised(link)
        peer.stands(View.of(self._me.record, peer.record), was_first)
        peer.limit(self._me.record)
        self._table.join(peer, peer.record.addresses)
        self._table.lead(peer, peer.record.routes, _seed(peer.record))

    def me_revised(self, was_first: Callable[[str], bool]) -> None:
        """This node has another record. `was_first(id)`: whether a node takes precedence over
        it."""
        self._agreement = None
        me = self._me.record
        claimed = set(map(str, me.claimed))
        for peer in self:
            peer.stands(View.of(me, peer.record), was_first(peer.record.id))
            peer.refused(tuple(each for each in peer.refuses if each in claimed), peer.holder)
            peer.limit(me)

    def switch(self, link: Link) -> None:
        """The node at the other end is spoken to by this link from now on. If that comes from
        another source, so does the node: it may have joined by a relayed one."""
        peer = self._by_id[link.node.id]
        peer.switch(link)
        if room_of(link) != peer.room and self._taken[room_of(link)] < self.max_per_source:
            _one_less(self._taken, peer.room)
            peer.comes_by(link)
            self._taken[peer.room] += 1
            self._agreement = None

    def route(self, address: Address, link: Link) -> None:
        """Packets to this address go to the node at the other end, which may send from it."""
        self._table.route(address.packed, self._by_id[link.node.id])

    def unroute(self, address: Address) -> None:
        """No node has this address."""
        self._table.unroute(address.packed)

    # --- what else happens ---

    def note_refusal(self, link: Link, addresses: tuple[str, ...], holder: str) -> bool:
        """The node at the other end does not route these addresses of this node to it, but to
        `holder`, or to no node. Returns whether that is a change."""
        peer = self._by_id.get(link.node.id)
        if peer is None or addresses == peer.refuses:
            return False
        peer.refused(addresses, holder)
        peer.limit(self._me.record)
        self._agreement = None
        return True

    def round_trip(self, link: Link, seconds: float) -> None:
        self._rtt.observe(seconds)
        self._totals.round_trip(link.node.name, seconds)

    def groom(self) -> None:
        """Forget the totals of nodes that have been gone for long enough."""
        self._totals.groom(self._seconds())

    # --- for the status ---

    @property
    def rtt(self) -> Histogram:
        """The round trips of all pings."""
        return self._rtt

    def statuses(
        self,
        keys: Sequence[Key],
        url_tried: Callable[[str], str],
        udp: Callable[[str], UdpStatus | None],
        why_relayed: Callable[[str], str],
    ) -> tuple[PeerStatus, ...]:
        """`keys`: the valid ones; `url_tried(id)`: what a node found when it tried our URL;
        `udp(id)`: what there is with it over UDP; `why_relayed(id)`: why it has no direct link."""
        routes: dict[LinkedNode, list[str]] = {}
        for packed, peer in self._table.routes.items():
            routes.setdefault(peer, []).append(str(ip_address(packed)))
        labels: dict[Key | None, str] = dict(zip(keys, key_labels(len(keys)), strict=True))
        return tuple(
            PeerStatus(
                record=peer.record,
                dialed=peer.link.dialed,
                since=peer.link.since,
                rtt=peer.carrier.round_trip,
                queued_bytes=peer.carrier.queued_bytes,
                key_id=labels.get(peer.link.key, REVOKED),
                traffic=peer.traffic.copy(),
                refuses=peer.refuses,
                routed=tuple(sorted(routes.get(peer, ()))),
                pings=peer.link.keepalive.pings,
                pongs=peer.link.keepalive.pongs,
                dropped=peer.dropped,
                url_tried=url_tried(peer.record.id),
                transport="tcp" if peer.carrier is peer.link else "udp",
                udp=udp(peer.record.id),
                segment=peer.link.authentication.measures().segment,
                relay=peer.link.via,
                why_relayed=why_relayed(peer.record.id) if peer.link.via else "",
            )
            for peer in self
        )

    def by_name(self) -> dict[str, NodeTraffic]:
        """The traffic with all nodes by name, those that are gone included."""
        nodes = {
            name: NodeTraffic(totals.traffic.copy(), totals.latency.copy())
            for name, totals in self._totals
        }
        for peer in self:
            if peer.record.name in nodes:
                nodes[peer.record.name].traffic.add(peer.traffic)
        return nodes

    def traffic(self) -> Traffic:
        """The traffic with all nodes together, those that are gone included."""
        total = self._past.copy()
        for peer in self:
            total.add(peer.traffic)
        return total


def _one_less(counts: Counter[str], source: str) -> None:
    counts[source] -= 1
    if not counts[source]:
        del counts[source]


def _seed(record: NodeRecord) -> bytes:
    """What tells a node from others, also when it was started again."""
    return " ".join([record.name, *map(str, record.static_addresses)]).encode()
