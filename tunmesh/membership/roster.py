"""Who is in the mesh: facts go in, commands come out.

What this node knows of the others has two sources that never mix:

- **links**: nodes that proved on a connection of their own that they hold the secret. Only such a
  link gives its node's addresses a route (membership.claims).
- **hearsay**: linked nodes say which nodes they are linked with, and those are dialed
  (membership.hearsay).

A third source is private: each node remembers the nodes that it was linked with itself, and dials
them (membership.lost_nodes). The roster has no part in that, and nobody is told.

**No record is believed of another node.** What introduces a node is signed by that node
(auth.signing), so a liar can withhold it, and no more than that. And no record keeps a node from
being dialed, unless it was proved where the other one claims to be: a node that is linked with us
because we dialed its URL is the one that listens there. A node that merely claims to be there may
lie, in order to be taken for a later incarnation of somebody else.

**One link for each pair of nodes**: membership.node_links.

**Incarnations.** A newcomer with the name and an address of a linked node is most likely that node,
restarted. If so, its link is new and the other one does not answer: so the other one is probed.
An incarnation that is only heard of ends no link. It is dialed when the linked one does not answer,
and then the same question is asked.

The machine does no I/O and reads no clock; it is told the time regularly. A link is any hashable
object of the caller's, which is only compared here. Commands are to be carried out in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from tunmesh.addresses import Address, Network
from tunmesh.membership import hearsay
from tunmesh.membership.claims import Claims
from tunmesh.membership.commands import (
    Close,
    Command,
    Dial,
    Forget,
    Introduce,
    Join,
    Link,
    Part,
    Present,
    Probe,
    Retire,
    Revise,
    Route,
    Switch,
    Tell,
)
from tunmesh.membership.hearsay import Hearsay
from tunmesh.membership.me import Me
from tunmesh.membership.news import News, Newsroom
from tunmesh.membership.node_links import Change, NodeLinks, Rank
from tunmesh.membership.precedence import are_incarnations, takes_precedence
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.messages import LEAVING, REPLACED, SILENT
from tunmesh.wire.records import NodeRecord

# The most nodes that are linked; more are sent away.
MAX_NODES = hearsay.MAX_NODES


@dataclass(slots=True)
class _Peer(Generic[Link]):
    """A node that we are linked with."""

    record: NodeRecord
    links: NodeLinks[Link]
    is_reached: bool  # it answered when we dialed the URL that it claims
    told: NodeRecord  # what we said of ourselves to it last


class Roster(Generic[Link]):
    """The membership of one node. `me` is what it says of itself; `networks` are the mesh's, of
    which nobody may have the `reserved` addresses."""

    def __init__(
        self, me: Me, networks: Iterable[Network], reserved: Iterable[Address] = ()
    ) -> None:
        self._me = me
        self.hearsay: Hearsay[Link] = Hearsay(me.id)
        self.claims: Claims[Link] = Claims(me, networks, reserved)
        self._peers: dict[str, _Peer[Link]] = {}
        self._links: dict[Link, str] = {}
        self._newsroom = Newsroom()

    # --- questions ---

    def linked(self) -> list[NodeRecord]:
        return [peer.record for peer in self._peers.values()]

    def is_linked(self, node_id: str) -> bool:
        return node_id in self._peers

    def is_current(self, link: Link) -> bool:
        """Whether its node's latest full sync arrived on this link, so that it is heard there."""
        return self.hearsay.is_current(self._links.get(link, ""), link)

    def record_of(self, node_id: str) -> NodeRecord | None:
        """Who that is, if this node knows."""
        peer = self._peers.get(node_id)
        return peer.record if peer is not None else self.hearsay.record_of(node_id)

    @property
    def nodes_known(self) -> int:
        """How many other nodes are linked or vouched for."""
        return len({*self.hearsay, *self._peers})

    @property
    def news(self) -> News:
        """What `gossip` would tell."""
        return self._newsroom.news

    # --- facts ---

    def time_passed(self, now: float) -> None:
        """The time, in seconds. To be called at least every few seconds."""
        self.claims.time_passed(now)

    def authenticated(
        self,
        link: Link,
        record: NodeRecord,
        dialed: bool,
        shown: NodeRecord | None = None,
        is_reached: bool = False,
        is_relayed: bool = False,
    ) -> list[Command[Link]]:
        """A link came up. `dialed`: by us; `shown`: what we said of ourselves on it, if that is
        not what we would say now; `is_reached`: we dialed the very URL that it claims. Both ends
        must come to the same result from the same two records."""
        is_smaller = self._me.id < record.id
        rank = Rank(not is_relayed, dialed == is_smaller)
        peer = self._peers.get(record.id)
        if peer is not None:
            self._links[link] = record.id
            commands = self._apply(peer, peer.links.came_up(link, rank))
            commands += self._revised(peer, link, record)
            is_there = is_reached and record.url == peer.record.url  # it may be an older record
            return [*commands, *(self._reached(peer) if is_there else ())]
        if len(self._peers) >= MAX_NODES:
            return [Close(link, LEAVING)]
        told, me = shown or self._me.record, self._me.record
        incarnations = _incarnations_of(record, self._peers.values())
        is_told = told.revision == me.revision
        links = NodeLinks(link, rank, is_smaller)
        peer = _Peer(record, links, is_reached, told if is_told else me)
        self._links[link], self._peers[record.id] = record.id, peer
        self._newsroom.linked(record.id, is_known=record.id in self.hearsay)
        self.hearsay.linked(record, link)
        commands = [Join(link), *(() if is_told else (Present(link),))]
        commands.append(Tell(link, self._newsroom.full_sync(self._peers)))
        commands += self.claims.linked(record, link, takes_precedence(record, peer.told))
        commands += [each.links.doubt() for each in incarnations] + self._doubts()
        return [*commands, *(self._reached(peer) if is_reached else ())]

    def update_received(self, link: Link, record: NodeRecord) -> list[Command[Link]]:
        """The node at the other end has signed a record of itself, which may be old."""
        peer = self._peer(link)
        return self._revised(peer, link, record) if peer is not None else []

    def me_revised(self) -> list[Command[Link]]:
        """This node has another record of itself."""
        me, peers = self._me.record, self._peers.values()
        for peer in peers:
            peer.told = me
        first = {peer.record.id for peer in peers if takes_precedence(peer.record, me)}
        presented = [Present(peer.links.in_use) for peer in peers]
        return [*presented, *self.claims.me_revised(first), *self._doubts()]

    def link_lost(self, link: Link, reason: str) -> list[Command[Link]]:
        """A link has ended, whoever closed it. Unknown ones (retired, refused) are ignored."""
        node_id = self._links.pop(link, None)
        if node_id is None:
            return []
        peer = self._peers[node_id]
        change = peer.links.ended(link)
        return self._part(peer, reason) if change is None else self._apply(peer, change)

    def bye_received(self, link: Link, reason: str) -> list[Command[Link]]:
        """The other end said that it is about to close this link."""
        peer = self._peer(link)
        if peer is None:
            return []
        if reason == REPLACED:
            return self._apply(peer, peer.links.given_up(link))
        if reason == LEAVING:
            self.hearsay.left(peer.record.id)
        return self.link_lost(link, reason)

    def probed(self, link: Link, alive: bool) -> list[Command[Link]]:
        """The outcome of a Probe."""
        peer = self._peer(link)
        if peer is None or link is not peer.links.in_use:
            return []
        if alive:
            change = peer.links.answered()
            return [*self._apply(peer, change), *self.claims.answered(peer.record.id)]
        if peer.links.stayed_silent():
            return [Close(link, SILENT), *self.link_lost(link, SILENT)]
        # Hearsay ends no link. But if another incarnation is there, only dialing it will tell.
        return [
            Dial(other, patient=self._me.id > other.id)
            for other in _at_the_url_of(peer.record, self.hearsay.unlinked())
        ]

    def gossip_received(self, link: Link, gossip: Gossip) -> list[Command[Link]]:
        """A linked node said which nodes it is linked with."""
        node_id = self._links.get(link)
        return self.hearsay.gossip_received(node_id, link, gossip) if node_id is not None else []

    def inquiry_received(self, link: Link, ids: Iterable[str]) -> list[Command[Link]]:
        """A linked node asks who these are. It is told of those that we vouch for."""
        if link not in self._links:
            return []
        linked = tuple(dict.fromkeys(node_id for node_id in ids if node_id in self._peers))
        return [Introduce(link, linked)] if linked else []

    def introduction_received(
        self, link: Link, records: Iterable[NodeRecord]
    ) -> list[Command[Link]]:
        """A linked node said who these are, in records that are signed by the nodes themselves."""
        introducer = self._links.get(link, "")
        return [
            command
            for record in records
            if self.hearsay.introduced(introducer, record)
            for command in self._dial(record)
        ]

    def gossip(self) -> list[Command[Link]]:
        """Tell all peers what changed since the last call."""
        gossip = self._newsroom.gossip()
        if gossip is None:
            return []
        return [Tell(peer.links.in_use, gossip) for peer in self._peers.values()]

    # --- links ---

    def _peer(self, link: Link) -> _Peer[Link] | None:
        return self._peers.get(self._links.get(link, ""))

    def _apply(self, peer: _Peer[Link], change: Change[Link]) -> list[Command[Link]]:
        """A node's links have changed. Coming to use a new one is as good as an answer to a
        probe."""
        node_id, link = peer.record.id, peer.links.in_use
        commands: list[Command[Link]] = []
        if change.is_switched:
            commands += [Switch(link), *([Present(link)] if self._me.record.revision else ())]
            commands.append(Tell(link, self._newsroom.full_sync(self._peers)))
            commands += self.claims.switched(node_id, link)
            commands += self.hearsay.switched(node_id, link)
        if change.is_probe:
            commands.append(Probe(link))
        for retired in change.retired:
            self._links.pop(retired, None)
            commands.append(Retire(retired))
        return commands

    def _revised(self, peer: _Peer[Link], link: Link, record: NodeRecord) -> list[Command[Link]]:
        """A linked node showed this record on this link. It may be one that we have."""
        before = peer.record
        if record.revision <= before.revision:
            return []
        peer.record = record
        peer.is_reached = peer.is_reached and record.url == before.url
        self.hearsay.revised(record)
        commands = self.claims.revised(record, takes_precedence(record, peer.told))
        doubtful = [
            p
            for p in _incarnations_of(record, self._peers.values())
            if not are_incarnations(p.record, before)
        ]
        doubts = [each.links.doubt() for each in doubtful]
        return [Revise(link), *commands, *doubts, *self._doubts()]

    def _doubts(self) -> list[Command[Link]]:
        """Probe those that hold what another node has begun to claim, if it floats."""
        return [self._peers[node_id].links.doubt() for node_id in self.claims.doubts.taken()]

    def _reached(self, peer: _Peer[Link]) -> list[Command[Link]]:
        """It is the one that listens at its URL, so no other incarnation of it does."""
        peer.is_reached = True
        return [Forget(other.id) for other in _at_the_url_of(peer.record, self.hearsay.unlinked())]

    def _part(self, peer: _Peer[Link], reason: str) -> list[Command[Link]]:
        """A node's last link has ended: its routes go, and what it vouched for."""
        node_id = peer.record.id
        del self._peers[node_id]
        self._newsroom.parted(node_id)
        commands: list[Command[Link]] = [Part(peer.links.in_use, reason)]
        inherited = self.claims.parted(node_id)
        commands += inherited
        heirs = {self._links[each.link]: None for each in inherited if isinstance(each, Route)}
        for heir in map(self._peers.__getitem__, heirs):
            if _incarnations_of(heir.record, self._peers.values()):
                commands.append(heir.links.doubt())
        commands += self.hearsay.parted(node_id)
        known = node_id in self.hearsay
        commands += self._dial(peer.record) if known else [Forget(node_id)]
        for record in _at_the_url_of(peer.record, self.hearsay.unlinked()):
            commands += self._dial(record)
        return commands

    # --- whom to dial ---

    def _dial(self, record: NodeRecord) -> list[Command[Link]]:
        """Dial it, unless it is another incarnation of this node, or of one that is linked and was
        reached at the same URL: only one of them can listen there. The linked one is probed, and if
        it does not answer the other one is dialed. If the linked one merely claims that URL it is
        probed as well, and the URL dialed: that tells who is there. Most often that would be an
        earlier incarnation of the linked one, which everybody is about to forget."""
        if _are_at_the_same_url(record, self._me.record):
            return []
        rivals = [p for p in self._peers.values() if _are_at_the_same_url(record, p.record)]
        commands: list[Command[Link]] = [Probe(peer.links.in_use) for peer in rivals]
        if not any(peer.is_reached for peer in rivals):
            commands.append(Dial(record, patient=bool(rivals) or self._me.id > record.id))
        return commands


def _incarnations_of(record: NodeRecord, peers: Iterable[_Peer[Link]]) -> list[_Peer[Link]]:
    return [peer for peer in peers if are_incarnations(peer.record, record)]


def _at_the_url_of(record: NodeRecord, others: Iterable[NodeRecord]) -> list[NodeRecord]:
    """Other incarnations of it that somebody vouches for, at the same URL."""
    return [other for other in others if _are_at_the_same_url(other, record)]


def _are_at_the_same_url(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are two incarnations of one node, one after the other at the same place."""
    return one.url == other.url and are_incarnations(one, other)
