"""Who is in the mesh: facts go in, commands come out.

What this node knows of the others has two sources that never mix:

- **links**: nodes that proved on a connection of their own that they hold the secret. Only such a
  link gives its node's addresses a route.
- **hearsay**: every linked node says which nodes *it* is linked to (it vouches for them),
  everything at first and then the changes. A node that somebody vouches for is dialed; one that
  nobody vouches for and that has no link is no longer known. So a dead node cannot be kept alive by
  hearsay: the last one to lose its link to it takes back the last vouch. No timestamps, no
  versions, no flooding.

A third source is private: each node remembers where those were that it was linked with itself, and
dials them (membership.lost_nodes). The roster has no part in that, and nobody is told.

**Ids first.** In a mesh of n nodes that starts as a whole, n³ times a node hears that another one
is linked with a third, but only n² times is that news. So hearsay consists of ids, and who does not
know one asks the node he first heard it from (and the next, should that one take it back) who it
is. If that one does not answer, everybody who vouches for it is asked.

**No record is believed of another node.** What introduces a node is signed by that node
(auth.signing), so a liar can say nothing, and no more than that. And no record keeps a node from
being dialed, but one that was proved where the other one is said to be: a node that is linked with
us because we dialed its URL is who listens there. Who only says that it is there may lie, in
order to be taken for the later life of somebody else.

**One link per pair.** When a second link to a node comes up, both ends must keep the same one
without asking. The one dialed by the node with the smaller id is better. A better newcomer takes
over at once. A worse one says that the other end may have lost the better link, so the holder is
probed: if it answers, the newcomer is retired; if not, the newcomer takes over.

Of links dialed by the same node, the newest is best, but only the dialer knows which that is: those
that come up together may do so in another order at the other end. So the listener uses the newcomer
and keeps the old ones until the dialer has retired all but one.

A new link begins with a full sync: what was sent by the old one may never have arrived, or may
arrive late. Full syncs are numbered by their sender (the generation), and a node is heard by the
link that brought its highest generation: links come up in any order, and so does what they carry,
so neither says which sync is the latest. One count serves all nodes, for it has to go on where we
forgot a node that did not forget us.

**One node per address.** Whoever claims an address that is held waits in line and is told whose it
is; when the holder's link ends, the next in line gets it. A claim is no reason to doubt the holder:
otherwise a member that claims its address again and again would get it by the first pause of more
than a second. For a while the address is kept for the holder that went (membership.reservations):
when it is back, or restarted, it is before whoever got the address meanwhile.

A newcomer with the name and an address of a linked node is most likely that node, restarted. What
tells is that its link is new, and that the other one does not answer: so the other one is probed,
whatever their clocks say. Clocks decide nothing but who waits meanwhile. A newcomer that says it
started later is put before the other one, so that it has the address at once. One that says it
started earlier, because its clock is behind, waits right behind it for the outcome of the probe. If
both live, both stay linked, and everybody finds the same one of them to have the address: of two
lives of a node the later one always stands before the earlier one.

Another life that is only heard of ends no link. It is dialed when the one that is linked does not
answer, and then the same question is asked as above.

A node that has only just come cannot know who was first. So it lets one who says that it is settled
stand before those who did not say so when they came, whoever of them it was linked with first
(membership.seniority). A node that has been here for a while believes nobody but itself.

Of two nodes that claim the same address and are linked with each other, the one that was first
tells the other one: the settled one, or else, of two that came up together, the one that started
earlier; of two lives of one node the later one.

The machine does no I/O and reads no clock; it is told the time now and then. A link is any hashable
object of the caller's; this file only compares them. Commands are to be carried out in order.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from math import inf
from typing import Generic

from tunmesh.addresses import Network, is_host
from tunmesh.membership.commands import (
    Address,
    Ask,
    Close,
    Command,
    Dial,
    Forget,
    Introduce,
    Join,
    Link,
    Part,
    Probe,
    Refuse,
    Retire,
    Route,
    Switch,
    Tell,
    Unroute,
)
from tunmesh.membership.name_conflicts import are_incarnations
from tunmesh.membership.reservations import Reservations
from tunmesh.membership.shares import Shares
from tunmesh.status import KnownNode
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.messages import LEAVING, REPLACED, SILENT
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_INTRODUCED

# The most nodes that are linked, and that hearsay can make known; more are sent away, or ignored. A
# full mesh of so many would be far beyond what one link per pair is good for.
MAX_NODES = 4096

# The most links, each as said by one of its ends, that are told to those who ask for all: it is as
# long as that takes that the node does nothing else. A mesh of 362 nodes has so many.
MOST_TOLD = 1 << 17

# Links to one node beside the one in use. More than a few come up at once only by ill will.
MAX_SPARES = 3

_ALL_ROUTED = Refusal((), "")
_EVERYBODY, _NOBODY = "everybody", "nobody"  # `asked`, instead of one node


@dataclass(slots=True)
class _Peer(Generic[Link]):
    """A node that we are linked to."""

    record: NodeRecord
    link: Link
    by_smaller: bool  # the link was dialed by the one of us with the smaller id
    was_first: bool  # before us, should we claim the same address
    is_reached: bool  # it answered when we dialed the URL at which it says that it is
    since: float  # when it came
    yields: bool = False  # the other end has retired the link: any newcomer is better
    doubted: bool = False  # it is gone if it does not answer the probe that is under way
    # Further links, the oldest first, and whether the smaller id dialed them: worse ones, waiting
    # for the outcome of a probe, and older ones of a dialer that has yet to retire all but one.
    spares: dict[Link, bool] = field(default_factory=dict)
    generation: int = 0  # the number of its latest full gossip
    hears: Link | None = None  # the link that brought it
    refusal: Refusal = _ALL_ROUTED  # what we told it of its addresses
    vouches: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Hearsay:
    """A node that somebody vouches for."""

    # Its id. Everybody vouches for everybody: n² ids, each of 81 bytes if it were kept as it was
    # decoded. So what is kept is always this one object.
    id: str
    record: NodeRecord | None  # who it is, once we know
    # The id of the node that we asked last, or one of the following.
    asked: str
    charged: str  # one of those who vouch for it: it takes a place of his
    vouchers: int = 0
    is_late: bool = False  # whoever was asked has had some time for the answer


class Roster(Generic[Link]):
    """The membership of one node. `networks` are the mesh's: no other address is ever routed."""

    def __init__(self, me: NodeRecord, networks: Iterable[Network]) -> None:
        self._me = me
        self._is_new = True
        self._networks = tuple(networks)
        self._peers: dict[str, _Peer[Link]] = {}
        self._links: dict[Link, str] = {}
        self._known: dict[str, _Hearsay] = {}
        self._shares = Shares()  # in those of `_known` that are not linked
        # Address → the ids that claim it. The first holds it, the others wait in line.
        self._claims: dict[Address, list[str]] = {a.ip: [me.id] for a in me.addresses}
        self._reservations: Reservations[Address] = Reservations()
        self._now = 0.0
        self._news: dict[str, bool] = {}  # links made, or else lost, that nobody was told of
        self._is_urgent = False
        self._generations = 0

    # --- questions ---

    def linked(self) -> list[NodeRecord]:
        return [peer.record for peer in self._peers.values()]

    def is_linked(self, node_id: str) -> bool:
        return node_id in self._peers

    def was_first(self, node_id: str) -> bool:
        """Whether a linked node was in the mesh before this one; both ends find the same."""
        return self._peers[node_id].was_first

    def hears(self, link: Link) -> bool:
        """Whether what its node says by this link is the latest that it says."""
        peer = self._peers.get(self._links.get(link, ""))
        return peer is not None and peer.hears is link

    def known_nodes(self, crowd: float = inf) -> tuple[KnownNode, ...]:
        """Every other node, and who is linked with it. If there are more than `crowd` others, or
        than MOST_TOLD links, only this one is told: links grow with the square, and members can say
        that there are any number."""
        is_whole = (
            self.nodes_known <= crowd
            and sum(len(peer.vouches) for peer in self._peers.values()) <= MOST_TOLD
        )
        vouchers: dict[str, list[str]] = {node_id: [] for node_id in self._known | self._peers}
        for node_id, peer in self._peers.items():
            vouchers[node_id].append(self._me.id)
            for other in peer.vouches if is_whole else ():
                vouchers[other].append(node_id)
        return tuple(
            KnownNode(node_id, self.record_of(node_id), tuple(sorted(ids)), is_whole)
            for node_id, ids in vouchers.items()
        )

    def record_of(self, node_id: str) -> NodeRecord | None:
        """Who that is, if this node knows."""
        known = self._peers.get(node_id) or self._known.get(node_id)
        return known.record if known is not None else None

    def vouchers(self, node_id: str) -> list[str]:
        """The ids of the linked nodes that vouch for it."""
        return [each for each, peer in self._peers.items() if node_id in peer.vouches]

    @property
    def nodes_known(self) -> int:
        """How many other nodes are linked or vouched for."""
        return len(self._known.keys() | self._peers.keys())

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    @property
    def is_urgent(self) -> bool:
        """Whether somebody may be waiting for the news: it is not just one more node that vouches
        for what others vouch for."""
        return self._is_urgent

    # --- facts ---

    def stands(self, is_new: bool, is_settled: bool) -> None:
        """How this node stands in the mesh has changed."""
        self._is_new = is_new
        self._me = replace(self._me, settled=is_settled)

    def time_passed(self, now: float) -> None:
        """It is that late, in seconds. To be called at least every few seconds."""
        self._now = now
        self._reservations.expire(now)

    def authenticated(
        self,
        link: Link,
        record: NodeRecord,
        dialed: bool,
        shown: NodeRecord | None = None,
        is_reached: bool = False,
    ) -> list[Command[Link]]:
        """A link came up. `dialed`: by us; `shown`: what we said of ourselves on it, if that is
        not what we would say now; `is_reached`: we dialed the very URL that it says it is at. Both
        ends must find the same of the same two records."""
        by_smaller = dialed == (self._me.id < record.id)
        peer = self._peers.get(record.id)
        if peer is not None:
            self._links[link] = record.id
            commands = self._second_link(peer, link, by_smaller, dialed)
            return [*commands, *(self._reached(peer) if is_reached else ())]
        if len(self._peers) >= MAX_NODES:
            return [Close(link, LEAVING)]
        self._links[link] = record.id
        self._peers[record.id] = _Peer(
            record,
            link,
            by_smaller,
            _earlier(record, shown or self._me),
            is_reached,
            self._now,
        )
        self._news[record.id] = True
        self._is_urgent |= record.id not in self._known
        if record.id in self._known:
            self._known[record.id].record = record
            self._shares.give_back(self._known[record.id].charged)
        commands = [Join(link)]
        lives = [peer for peer in self._peers.values() if are_incarnations(peer.record, record)]
        claims = self._claim(record, link)
        probes = [self._doubt(peer) for peer in lives]
        # Past lives of it are most likely dead: they are told when they have answered.
        past = {peer.record.id for peer in lives}
        refusals = [*self._refuse_newcomer(record), *self._refuse_waiting(record.id, past)]
        commands += [Tell(link, self._everything()), *claims, *probes, *refusals]
        return [*commands, *(self._reached(self._peers[record.id]) if is_reached else ())]

    def link_lost(self, link: Link, reason: str) -> list[Command[Link]]:
        """A link is gone, whoever closed it. Unknown (retired, refused) links are no news."""
        node_id = self._links.pop(link, None)
        if node_id is None:
            return []
        peer = self._peers[node_id]
        if link in peer.spares:
            del peer.spares[link]
            return []
        return self._fall_back(peer) if peer.spares else self._part(node_id, reason)

    def bye(self, link: Link, reason: str) -> list[Command[Link]]:
        """The other end said that it is about to close this link."""
        peer = self._peers.get(self._links.get(link, ""))
        if peer is None:
            return []
        if reason == REPLACED:
            if link in peer.spares:
                return [self._retire(peer, link)]
            if peer.spares:
                return [*self._fall_back(peer), self._retire(peer, link)]
            peer.yields = True
            return []
        if reason == LEAVING:
            self._unvouch(peer.record.id)
        return self.link_lost(link, reason)

    def probed(self, link: Link, alive: bool) -> list[Command[Link]]:
        """The outcome of a Probe."""
        peer = self._peers.get(self._links.get(link, ""))
        if peer is None or link is not peer.link:
            return []
        doubted, peer.doubted = peer.doubted, False
        if alive:
            return [*self._retire_worse(peer), *self._refuse_rivals(peer)]
        if doubted:
            return [Close(link, SILENT), *self.link_lost(link, SILENT)]
        # Hearsay ends no link. But if another life of it is there, only dialing it will tell.
        return [
            Dial(other, patient=self._me.id > other.id)
            for other in self._heard_of_at_the_url_of(peer.record)
        ]

    def told(self, link: Link, gossip: Gossip) -> list[Command[Link]]:
        """A linked node said which nodes it is linked to."""
        peer = self._peers.get(self._links.get(link, ""))
        if peer is None:
            return []
        if gossip.generation > peer.generation:
            peer.generation, peer.hears = gossip.generation, link
        elif gossip.full or peer.hears is not link:
            return []  # what was told by another link is later
        now = set(gossip.linked) - {self._me.id, peer.record.id}
        gone = peer.vouches - now if gossip.full else peer.vouches & set(gossip.lost)
        displaced: list[str] = []
        unknown = [node_id for node_id in gossip.linked if self._vouched(peer, node_id, displaced)]
        commands: list[Command[Link]] = [Forget(node_id) for node_id in displaced]
        commands += self._ask(peer, unknown)
        for node_id in sorted(gone):  # a set of texts has another order in each process
            commands += self._doubted(peer, node_id)
        if gossip.full and gone:
            peer.vouches = set(peer.vouches)  # one that was large once costs as much for ever
        return commands

    def asked(self, link: Link, ids: Iterable[str]) -> list[Command[Link]]:
        """A linked node wants to know who these are. We say it of those that we vouch for."""
        if link not in self._links:
            return []
        linked = tuple(dict.fromkeys(node_id for node_id in ids if node_id in self._peers))
        return [Introduce(link, linked)] if linked else []

    def wants(self, link: Link, node_id: str) -> bool:
        """Whether it is news who that is, from the node at the other end: it vouches for it."""
        peer = self._peers.get(self._links.get(link, ""))
        return peer is not None and node_id in peer.vouches and self._is_unknown(node_id)

    def introduced(self, link: Link, records: Iterable[NodeRecord]) -> list[Command[Link]]:
        """A linked node said who these are, in records that are signed by the nodes themselves."""
        commands: list[Command[Link]] = []
        for record in records:
            if self.wants(link, record.id):
                self._known[record.id].record = record
                commands += self._dial(record)
        return commands

    def unreadable(self, node_id: str) -> None:
        """What that node has signed is no record: nobody needs to be asked for it again."""
        if self._is_unknown(node_id):
            self._known[node_id].asked = _NOBODY

    def ask_again(self) -> list[Command[Link]]:
        """To be called now and then: who was asked before the last call, and has not answered yet,
        is not waited for any longer. Everybody else who vouches for that node is asked."""
        late: set[str] = set()
        for node_id, known in self._known.items():
            if known.record is None and known.asked not in (_EVERYBODY, _NOBODY):
                if known.is_late:
                    late.add(node_id)
                known.is_late = True
        commands: list[Command[Link]] = []
        for peer in self._peers.values() if late else ():
            ids = late & peer.vouches
            commands += self._ask(
                peer, sorted(each for each in ids if self._known[each].asked != peer.record.id)
            )
        for node_id in late:
            self._known[node_id].asked = _EVERYBODY
        return commands

    def gossip(self) -> list[Command[Link]]:
        """What changed since the last call, for everybody who is linked."""
        news, self._news = self._news, {}
        self._is_urgent = False
        linked = tuple(node_id for node_id, is_linked in news.items() if is_linked)
        lost = tuple(node_id for node_id, is_linked in news.items() if not is_linked)
        gossip = Gossip(0, linked, lost)
        return [Tell(peer.link, gossip) for peer in self._peers.values()] if news else []

    # --- links ---

    def _second_link(
        self, peer: _Peer[Link], link: Link, by_smaller: bool, dialed: bool
    ) -> list[Command[Link]]:
        old = peer.link
        worse = by_smaller < peer.by_smaller and not peer.yields
        dialer_chooses = by_smaller == peer.by_smaller and not peer.yields and not dialed
        if worse:
            peer.spares[link] = by_smaller
            commands: list[Command[Link]] = [self._doubt(peer)]
        elif dialer_chooses:
            commands = self._promote(peer, link, by_smaller)
            peer.spares[old] = by_smaller
            commands += self._retire_worse(peer)
        else:
            commands = [*self._promote(peer, link, by_smaller), self._retire(peer, old)]
            commands += [self._retire(peer, spare) for spare in tuple(peer.spares)]
        if len(peer.spares) > MAX_SPARES:
            commands.append(self._retire(peer, min(peer.spares, key=peer.spares.__getitem__)))
        return commands

    def _fall_back(self, peer: _Peer[Link]) -> list[Command[Link]]:
        """The link in use is no more: use the best of the others, of those the newest. If there are
        worse ones the question is again whether it lives; among our own we choose."""
        link = max(reversed(peer.spares), key=peer.spares.__getitem__)
        by_smaller = peer.spares.pop(link)
        commands = self._promote(peer, link, by_smaller)
        if by_smaller == (self._me.id < peer.record.id):
            ours = [spare for spare, by in peer.spares.items() if by == by_smaller]
            commands += [self._retire(peer, spare) for spare in ours]
        if any(by < by_smaller for by in peer.spares.values()):
            commands.append(self._doubt(peer))
        return commands

    def _doubt(self, peer: _Peer[Link]) -> Command[Link]:
        """Ask whether it is there. If it does not answer, its link ends."""
        peer.doubted = True
        return Probe(peer.link)

    def _retire_worse(self, peer: _Peer[Link]) -> list[Command[Link]]:
        """The link in use lives, so those that are worse are not needed."""
        worse = [spare for spare, by in peer.spares.items() if by < peer.by_smaller]
        return [self._retire(peer, spare) for spare in worse]

    def _promote(self, peer: _Peer[Link], link: Link, by_smaller: bool) -> list[Command[Link]]:
        """Make this the link to its node, which is as good as an answer to a probe. What it was
        asked and has not answered it may never have been asked: so it is asked again."""
        peer.link = link
        peer.by_smaller = by_smaller
        peer.yields = peer.doubted = False
        return [
            Switch(link),
            Tell(link, self._everything()),
            Refuse(link, peer.refusal),
            *self._ask(peer, sorted(each for each in peer.vouches if self._owes(peer, each))),
            *self._refuse_rivals(peer),
        ]

    def _reached(self, peer: _Peer[Link]) -> list[Command[Link]]:
        """It is who listens at its URL, so no other life of it does."""
        peer.is_reached = True
        return [Forget(other.id) for other in self._heard_of_at_the_url_of(peer.record)]

    def _retire(self, peer: _Peer[Link], link: Link) -> Command[Link]:
        self._links.pop(link, None)
        peer.spares.pop(link, None)
        return Retire(link)

    def _part(self, node_id: str, reason: str) -> list[Command[Link]]:
        """A node's last link is gone: so are its routes and what it vouched for."""
        peer = self._peers.pop(node_id)
        commands: list[Command[Link]] = [Part(peer.link, reason)]
        for link in (peer.link, *peer.spares):
            self._links.pop(link, None)
        commands += [Close(spare, reason) for spare in peer.spares]
        self._news[node_id] = False
        self._is_urgent = True
        if node_id in self._known:
            self._shares.take(self._known[node_id].charged)
        commands += self._give_up_claims(peer)
        for vouched in sorted(peer.vouches):
            commands += self._doubted(peer, vouched)
        commands += self._dial(peer.record) if node_id in self._known else [Forget(node_id)]
        for other in self._heard_of_at_the_url_of(peer.record):
            commands += self._dial(other)
        return commands

    # --- addresses ---

    def _claim(self, record: NodeRecord, link: Link) -> list[Command[Link]]:
        """Stand in line for its addresses."""
        commands: list[Command[Link]] = []
        for address in self._routable(record):
            line = self._claims.setdefault(address, [])
            line.insert(self._place(address, line, record), record.id)
            if line[0] == record.id:
                commands.append(Route(address, link))
        return commands

    def _place(self, address: Address, line: list[str], record: NodeRecord) -> int:
        """Where a newcomer stands: before its earlier lives and right behind its later ones; first,
        if the address is kept for it; else at the end, or before those who are less settled than it
        is."""
        is_kept = self._reservations.is_for(address, record.name, self._now)
        behind_lives = 0
        for place, node_id in enumerate(line):
            other = self._me if node_id == self._me.id else self._peers[node_id].record
            if other is not self._me and _is_later_incarnation(record, other):
                return behind_lives if is_kept else place
            if _is_later_incarnation(other, record):
                behind_lives = place + 1
        if is_kept or behind_lives:
            return behind_lives
        if self._is_new and record.settled:
            for place, node_id in enumerate(line):
                if node_id != self._me.id and not self._peers[node_id].record.settled:
                    return place
        return len(line)

    def _give_up_claims(self, peer: _Peer[Link]) -> list[Command[Link]]:
        record = peer.record
        commands: list[Command[Link]] = []
        heirs: dict[str, None] = {}
        for address in self._routable(record):
            line = self._claims[address]
            held = line[0] == record.id
            line.remove(record.id)
            if not line:
                del self._claims[address]
            if not held:
                continue
            linked_for = self._now - peer.since
            self._reservations.holder_went(address, record.name, linked_for, self._now)
            if not line:
                commands.append(Unroute(address))
                continue
            self._let_inherit(address, line)
            heir = self._peers[line[0]]
            heirs[line[0]] = None
            commands.append(Route(address, heir.link))
            if any(are_incarnations(heir.record, self._peers[each].record) for each in line[1:]):
                commands.append(self._doubt(heir))
        for node_id in heirs:
            lives = {
                each.id
                for each in self.linked()
                if are_incarnations(each, self._peers[node_id].record)
            }
            commands += [*self._refusal(node_id), *self._refuse_waiting(node_id, lives)]
        return commands

    def _let_inherit(self, address: Address, line: list[str]) -> None:
        """The holder went: another life of who the address is kept for comes first."""
        for place, node_id in enumerate(line):
            name = self._peers[node_id].record.name
            if self._reservations.is_for(address, name, self._now):
                line.insert(0, line.pop(place))
                return

    def _routable(self, record: NodeRecord) -> list[Address]:
        """Its addresses that a node can have in the mesh's networks, each once."""
        return list(
            dict.fromkeys(
                address.ip
                for address in record.addresses
                if any(is_host(address.ip, network) for network in self._networks)
            )
        )

    def _refuse_newcomer(self, record: NodeRecord) -> list[Command[Link]]:
        """Tell it of addresses that it does not get: those that are held, but for those that are
        held by another life of it, which may be dead, and those outside."""
        routable = self._routable(record)
        holders = {self._claims[address][0] for address in routable} - {record.id}
        is_refused = any(
            holder == self._me.id or not are_incarnations(self._peers[holder].record, record)
            for holder in holders
        )
        return (
            self._refusal(record.id) if is_refused or len(routable) < len(record.addresses) else []
        )

    def _refuse_waiting(self, holder: str, but: Container[str] = ()) -> list[Command[Link]]:
        """Tell those who wait for an address of this node that it is there."""
        lines = [line for line in self._claims.values() if line[0] == holder]
        waiting = dict.fromkeys(node_id for line in lines for node_id in line[1:])
        told = [node_id for node_id in waiting if node_id not in but]
        return [command for node_id in told for command in self._refusal(node_id)]

    def _refuse_rivals(self, peer: _Peer[Link]) -> list[Command[Link]]:
        """A node has shown that it lives: tell those who wait for an address of it, and itself if a
        later life of it has one."""
        commands = self._refuse_waiting(peer.record.id)
        if any(_is_later_incarnation(other, peer.record) for other in self.linked()):
            commands += self._refusal(peer.record.id)
        return commands

    def _refusal(self, node_id: str) -> list[Command[Link]]:
        """Tell a node which of its addresses are not routed to it, if that has changed."""
        peer = self._peers[node_id]
        holders = {
            address.ip: self._claims.get(address.ip, [""])[0] for address in peer.record.addresses
        }
        yielded = {node_id, self._me.id} if peer.was_first else {node_id}
        refused = frozenset(a for a, holder in holders.items() if holder not in yielded)
        texts = sorted(map(str, refused))
        holder = self._name(holders[ip_address(texts[0])]) if texts else ""
        refusal = Refusal(tuple(texts), holder)
        if refusal == peer.refusal:
            return []
        peer.refusal = refusal
        return [Refuse(peer.link, refusal)]

    def _name(self, node_id: str) -> str:
        if node_id == self._me.id:
            return self._me.name
        return self._peers[node_id].record.name if node_id in self._peers else ""

    # --- hearsay ---

    def _vouched(self, peer: _Peer[Link], node_id: str, displaced: list[str]) -> bool:
        """A node vouches for another one, which may displace a third one. Whether it is to be asked
        who that is: that is so when it is the first, or says everything anew, the answer having
        perhaps been lost with a link."""
        if node_id in (self._me.id, peer.record.id):
            return False
        known = self._known.get(node_id)
        if known is None:
            linked = self._peers.get(node_id)
            if len(self._known) >= MAX_NODES and not self._make_room(peer, displaced):
                return False
            record = linked.record if linked is not None else None
            known_id = record.id if record is not None else node_id
            known = _Hearsay(known_id, record, peer.record.id, peer.record.id)
            self._known[known_id] = known
            if linked is None:
                self._shares.take(known.charged)
        if node_id not in peer.vouches:
            peer.vouches.add(known.id)
            known.vouchers += 1
        return self._owes(peer, node_id)

    def _make_room(self, peer: _Peer[Link], displaced: list[str]) -> bool:
        """Forget a node that only the one vouches for who has filled more places than all others,
        the latest of them, if this one has filled few. Whether there was one."""
        if not self._shares.has_less(peer.record.id):
            return False
        most = self._shares.most()
        for node_id, known in reversed(self._known.items()):
            if known.charged == most and known.vouchers == 1 and node_id not in self._peers:
                del self._known[node_id]
                self._peers[most].vouches.discard(node_id)
                self._shares.give_back(most)
                displaced.append(node_id)
                return True
        return False

    def _is_unknown(self, node_id: str) -> bool:
        """Whether somebody vouches for it, and nobody has said who it is."""
        known = self._known.get(node_id)
        return known is not None and known.record is None

    def _owes(self, peer: _Peer[Link], node_id: str) -> bool:
        """Whether it was asked who that is, and has not answered."""
        known = self._known[node_id]
        return known.record is None and known.asked in (peer.record.id, _EVERYBODY)

    def _ask(self, peer: _Peer[Link], ids: list[str]) -> list[Command[Link]]:
        starts = range(0, len(ids), MAX_INTRODUCED)
        return [Ask(peer.link, tuple(ids[at : at + MAX_INTRODUCED])) for at in starts]

    def _doubted(self, peer: _Peer[Link], node_id: str) -> list[Command[Link]]:
        """A node no longer vouches for another one."""
        peer.vouches.discard(node_id)
        known = self._known.get(node_id)
        if known is None:
            return []
        known.vouchers -= 1
        if not known.vouchers:
            del self._known[node_id]
            if node_id in self._peers:
                return []
            self._shares.give_back(known.charged)
            return [Forget(node_id)]
        if peer.record.id not in (known.charged, known.asked):
            return []
        voucher = next(other for other in self._peers.values() if node_id in other.vouches)
        if known.charged == peer.record.id:
            self._charge(known, voucher)
        if known.record is not None or known.asked != peer.record.id:
            return []
        known.asked, known.is_late = voucher.record.id, False
        return self._ask(voucher, [node_id])

    def _charge(self, known: _Hearsay, voucher: _Peer[Link]) -> None:
        if known.id not in self._peers:
            self._shares.give_back(known.charged)
            self._shares.take(voucher.record.id)
        known.charged = voucher.record.id

    def _unvouch(self, node_id: str) -> None:
        """A node said itself that it goes: whoever vouches for it is only late."""
        if self._known.pop(node_id, None) is not None:
            for peer in self._peers.values():
                peer.vouches.discard(node_id)

    def _dial(self, record: NodeRecord) -> list[Command[Link]]:
        """Dial it, unless it is another life of this node, or of one that is linked and was reached
        at the same URL: only one of them can listen there. Which one, an answer of the linked one
        tells; if it does not answer, the other one is dialed. One that only says that it is at that
        URL is probed as well, and that URL dialed: that tells who is there, and most often it is an
        earlier life of the linked one that would be dialed, about to be forgotten by all."""
        if _is_at_the_same_url(record, self._me):
            return []
        lives = [p for p in self._peers.values() if _is_at_the_same_url(record, p.record)]
        commands: list[Command[Link]] = [Probe(peer.link) for peer in lives]
        if not any(peer.is_reached for peer in lives):
            commands.append(Dial(record, patient=bool(lives) or self._me.id > record.id))
        return commands

    def _heard_of_at_the_url_of(self, record: NodeRecord) -> list[NodeRecord]:
        """Other lives of it that somebody vouches for, at the same URL."""
        return [
            known.record
            for known in self._known.values()
            if known.record is not None
            and known.id not in self._peers
            and _is_at_the_same_url(known.record, record)
        ]

    def _everything(self) -> Gossip:
        self._generations += 1
        return Gossip(self._generations, tuple(self._peers))


def _is_later_incarnation(one: NodeRecord, other: NodeRecord) -> bool:
    return are_incarnations(one, other) and _later(one, other)


def _is_at_the_same_url(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are two lives of one node, one after the other at the same place."""
    return one.url == other.url and are_incarnations(one, other)


def _earlier(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether it has the better right to an address that both claim: of two lives of one node the
    later one, else the one that had it first. Both must find the same."""
    if are_incarnations(one, other):
        return _later(one, other)
    return one.settled if one.settled != other.settled else _later(other, one)


def _later(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether it started later, by the clocks of the two; everybody must find the same."""
    return (one.started, one.id) > (other.started, other.id)
