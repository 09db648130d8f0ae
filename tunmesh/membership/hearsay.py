"""What linked nodes say about which nodes they are linked with: vouching.

Every linked node says which nodes *it* is linked with, all of them at first and then the changes:
it vouches for them. A node that somebody vouches for is dialed; one that nobody vouches for and
that is not linked is forgotten. So hearsay cannot keep a dead node known: the last node to lose its
link to it withdraws the last vouch. No timestamps, no versions, no flooding.

**Ids first.** When a mesh of n nodes starts as a whole, a node is told n³ times that one node is
linked with another, but only n² times is that new. So gossip consists of ids, and a node that does
not know one asks the first node that vouches for it who it is, and another voucher when that one
withdraws. If there is no answer in time, all vouchers are asked.

**Order.** By a new link everything is said again, since what was sent on the old one may never have
arrived, or arrive late. These full syncs are numbered (`Gossip.generation`), and a node is heard on
the link that brought its highest number: links come up in any order at the two ends, and so does
what they carry. One counter serves all peers, since it has to go on where we forgot a node that has
not forgotten us.

**Bounds.** At most MAX_NODES nodes are known, in places that those who vouch for them share fairly.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from tunmesh.membership.commands import Ask, Command, Forget, Link
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_INTRODUCED

# The most nodes that hearsay makes known; more are ignored. A full mesh of so many would be far
# beyond what one link for each pair is good for.
MAX_NODES = 4096

_EVERYBODY, _NOBODY = "everybody", "nobody"  # `asked`, instead of one node


class _Places:
    """Places in a table of limited size, shared fairly among the nodes that fill it.

    Any node may fill it while there is room. When it is full, a node that has less than its share
    gets a place of the one that has most: so a node that fills it up, under one name or a hundred,
    leaves the others theirs. A share is the number of places in use divided by the number of nodes
    that use any. Nothing here looks at all places: a member has it done for each id that it sends.
    """

    def __init__(self) -> None:
        # What is in the places of each node; what others vouch for, too, comes first.
        self._used: dict[str, OrderedDict[str, None]] = {}
        self._using: dict[int, dict[str, None]] = {}  # the nodes that use so many places
        self._total = 0

    def take(self, node_id: str, item: str, is_alone: bool) -> None:
        """`is_alone`: nobody else vouches for this item."""
        used = self._used.setdefault(node_id, OrderedDict())
        used[item] = None
        self.rank(node_id, item, is_alone)
        self._count(node_id, 1)

    def give_back(self, node_id: str, item: str) -> None:
        del self._used[node_id][item]
        self._count(node_id, -1)

    def rank(self, node_id: str, item: str, is_alone: bool) -> None:
        """Whether somebody else vouches for this item, if it has a place, may have changed."""
        used = self._used.get(node_id, OrderedDict())
        if item in used:
            used.move_to_end(item, last=is_alone)

    def has_less(self, node_id: str) -> bool:
        """Whether this node has less than its share."""
        sharers = len(self._used) + (node_id not in self._used)
        return (len(self._used.get(node_id, ())) + 1) * sharers <= self._total

    def last(self) -> str:
        """What is displaced next: the latest item that only the node with the most places vouches
        for; if there is none, another one of its items."""
        return next(reversed(self._used[next(reversed(self._using[max(self._using)]))]))

    def _count(self, node_id: str, change: int) -> None:
        now = len(self._used[node_id])
        before = now - change
        self._total += change
        self._using.get(before, {}).pop(node_id, None)
        if not self._using.get(before, True):
            del self._using[before]
        if now:
            self._using.setdefault(now, {})[node_id] = None
        else:
            del self._used[node_id]


@dataclass(slots=True)
class _Voucher(Generic[Link]):
    """A linked node."""

    record: NodeRecord
    link: Link
    generation: int = 0  # of its latest full sync
    heard_on: Link | None = None  # the link that brought it
    vouches: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Known:
    """A node that somebody vouches for."""

    # There are up to n² vouches, of 81 bytes each if every id were kept as it was decoded. So the
    # sets of vouches contain this one object.
    id: str
    record: NodeRecord | None  # once we know
    asked: str  # the id of the node that was asked last who this is, or one of the above
    charged: str  # one of its vouchers, whose place it takes
    vouchers: int = 0
    is_overdue: bool = False  # whoever was asked has had some time to answer


class Hearsay(Generic[Link]):
    """What the peers of the node with this id vouch for."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._known: dict[str, _Known] = {}
        self._vouchers: dict[str, _Voucher[Link]] = {}
        self._places = _Places()  # of those in `_known` that are not linked

    # --- questions ---

    def __contains__(self, node_id: str) -> bool:
        """Whether somebody vouches for this node."""
        return node_id in self._known

    def __iter__(self) -> Iterator[str]:
        """The nodes that somebody vouches for."""
        return iter(self._known)

    def record_of(self, node_id: str) -> NodeRecord | None:
        known = self._known.get(node_id)
        return known.record if known is not None else None

    def unlinked(self) -> list[NodeRecord]:
        """The nodes that are not linked, as far as we know who they are."""
        return [
            known.record
            for known in self._known.values()
            if known.record is not None and known.id not in self._vouchers
        ]

    @property
    def is_complete(self) -> bool:
        """Whether every linked node has said whom it is linked with, and all these are known."""
        has_heard = all(voucher.generation for voucher in self._vouchers.values())
        return has_heard and all(
            known.record is not None or known.asked == _NOBODY for known in self._known.values()
        )

    def vouchers(self, node_id: str) -> list[str]:
        """The linked nodes that vouch for this one."""
        return [each for each, voucher in self._vouchers.items() if node_id in voucher.vouches]

    @property
    def vouches(self) -> int:
        """How many there are in all."""
        return sum(len(voucher.vouches) for voucher in self._vouchers.values())

    def vouches_of(self, node_id: str) -> Iterable[str]:
        """The nodes that this linked one vouches for."""
        return iter(self._vouchers[node_id].vouches)

    def is_current(self, node_id: str, link: Link) -> bool:
        """Whether the latest full sync of this node arrived on this link."""
        voucher = self._vouchers.get(node_id)
        return voucher is not None and voucher.heard_on is link

    def awaits(self, voucher_id: str, node_id: str) -> bool:
        """Whether that node vouches for this one, and we do not know who this is."""
        voucher = self._vouchers.get(voucher_id)
        return voucher is not None and node_id in voucher.vouches and self._is_unknown(node_id)

    # --- facts ---

    def linked(self, record: NodeRecord, link: Link) -> None:
        """A node is linked."""
        self._vouchers[record.id] = _Voucher(record, link)
        known = self._known.get(record.id)
        if known is not None:
            known.record = record
            self._places.give_back(known.charged, known.id)

    def revised(self, record: NodeRecord) -> None:
        """A linked node has another record."""
        self._vouchers[record.id].record = record
        if record.id in self._known:
            self._known[record.id].record = record

    def switched(self, node_id: str, link: Link) -> list[Command[Link]]:
        """A linked node is sent to on this link from now on. What it was asked on the old one may
        never have arrived, so what it has not answered is asked again."""
        voucher = self._vouchers[node_id]
        voucher.link = link
        return _ask(voucher, sorted(each for each in voucher.vouches if self._owes(voucher, each)))

    def parted(self, node_id: str) -> list[Command[Link]]:
        """A node is no longer linked, and what it said is void."""
        voucher = self._vouchers.pop(node_id)
        known = self._known.get(node_id)
        if known is not None:
            self._places.take(known.charged, known.id, known.vouchers == 1)
        commands: list[Command[Link]] = []
        for each in sorted(voucher.vouches):
            commands += self._withdraw(voucher, each)
        return commands

    def left(self, node_id: str) -> None:
        """A node said itself that it leaves: those that still vouch for it are only late."""
        if self._known.pop(node_id, None) is not None:
            for voucher in self._vouchers.values():
                voucher.vouches.discard(node_id)

    def gossip_received(self, node_id: str, link: Link, gossip: Gossip) -> list[Command[Link]]:
        """A linked node said on this link which nodes it is linked with."""
        voucher = self._vouchers[node_id]
        if gossip.generation > voucher.generation:
            voucher.generation, voucher.heard_on = gossip.generation, link
        elif gossip.full or voucher.heard_on is not link:
            return []  # what it said on another link is later
        now = set(gossip.linked) - {self._own_id, node_id}
        gone = voucher.vouches - now if gossip.full else voucher.vouches & set(gossip.lost)
        displaced: list[str] = []
        unknown = [each for each in gossip.linked if self._vouched(voucher, each, displaced)]
        commands: list[Command[Link]] = [Forget(each) for each in displaced]
        commands += _ask(voucher, unknown)
        for each in sorted(gone):  # sets of strings are ordered differently in each process
            commands += self._withdraw(voucher, each)
        if gossip.full and gone:
            voucher.vouches = set(voucher.vouches)  # a set does not shrink by itself
        return commands

    def introduced(self, voucher_id: str, record: NodeRecord) -> bool:
        """A linked node answered who this is. Whether that was open."""
        if not self.awaits(voucher_id, record.id):
            return False
        self._known[record.id].record = record
        return True

    def malformed(self, node_id: str) -> None:
        """What this node has signed of itself is no record: nobody need be asked for it again."""
        if self._is_unknown(node_id):
            self._known[node_id].asked = _NOBODY

    def answers_overdue(self) -> list[Command[Link]]:
        """To be called regularly: whoever was asked before the last call and has not answered is
        not waited for any longer. All others that vouch for that node are asked."""
        overdue: set[str] = set()
        for node_id, known in self._known.items():
            if known.record is None and known.asked not in (_EVERYBODY, _NOBODY):
                if known.is_overdue:
                    overdue.add(node_id)
                known.is_overdue = True
        commands: list[Command[Link]] = []
        for voucher_id, voucher in self._vouchers.items() if overdue else ():
            ids = overdue & voucher.vouches
            commands += _ask(voucher, sorted(i for i in ids if self._known[i].asked != voucher_id))
        for node_id in overdue:
            self._known[node_id].asked = _EVERYBODY
        return commands

    # --- vouches ---

    def _vouched(self, voucher: _Voucher[Link], node_id: str, displaced: list[str]) -> bool:
        """A node vouches for another one, which may displace a third one. Returns whether to ask
        who that is: when it is the first voucher, or was asked already and repeats everything, so
        that the answer may have been lost with a link."""
        voucher_id = voucher.record.id
        if node_id in (self._own_id, voucher_id):
            return False
        known = self._known.get(node_id)
        if known is None:
            linked = self._vouchers.get(node_id)
            if len(self._known) >= MAX_NODES and not self._make_room(voucher_id, displaced):
                return False
            record = linked.record if linked is not None else None
            known_id = record.id if record is not None else node_id
            known = self._known[known_id] = _Known(known_id, record, voucher_id, voucher_id)
            if linked is None:
                self._places.take(voucher_id, known_id, True)
        if node_id not in voucher.vouches:
            voucher.vouches.add(known.id)
            known.vouchers += 1
            self._places.rank(known.charged, known.id, known.vouchers == 1)
        return self._owes(voucher, node_id)

    def _make_room(self, voucher_id: str, displaced: list[str]) -> bool:
        """If this voucher has less than its share, forget what takes a place of the one that has
        most. Returns whether it has."""
        if not self._places.has_less(voucher_id):
            return False
        known = self._known.pop(self._places.last())
        self._places.give_back(known.charged, known.id)
        is_shared = known.vouchers > 1
        for each in self._vouchers.values() if is_shared else (self._vouchers[known.charged],):
            each.vouches.discard(known.id)
        displaced.append(known.id)
        return True

    def _withdraw(self, voucher: _Voucher[Link], node_id: str) -> list[Command[Link]]:
        """A node no longer vouches for another one."""
        voucher.vouches.discard(node_id)
        known = self._known.get(node_id)
        if known is None:
            return []
        known.vouchers -= 1
        if not known.vouchers:
            del self._known[node_id]
            if node_id in self._vouchers:
                return []
            self._places.give_back(known.charged, known.id)
            return [Forget(node_id)]
        self._places.rank(known.charged, known.id, known.vouchers == 1)
        if voucher.record.id not in (known.charged, known.asked):
            return []
        other = next(each for each in self._vouchers.values() if node_id in each.vouches)
        if known.charged == voucher.record.id:
            if node_id not in self._vouchers:
                self._places.give_back(known.charged, known.id)
                self._places.take(other.record.id, known.id, known.vouchers == 1)
            known.charged = other.record.id
        if known.record is not None or known.asked != voucher.record.id:
            return []
        known.asked, known.is_overdue = other.record.id, False
        return _ask(other, [node_id])

    def _is_unknown(self, node_id: str) -> bool:
        """Whether somebody vouches for it, and nobody has said who it is."""
        known = self._known.get(node_id)
        return known is not None and known.record is None

    def _owes(self, voucher: _Voucher[Link], node_id: str) -> bool:
        """Whether this voucher was asked who that is, and has not answered."""
        known = self._known[node_id]
        return known.record is None and known.asked in (voucher.record.id, _EVERYBODY)


def _ask(voucher: _Voucher[Link], ids: list[str]) -> list[Command[Link]]:
    starts = range(0, len(ids), MAX_INTRODUCED)
    return [Ask(voucher.link, tuple(ids[at : at + MAX_INTRODUCED])) for at in starts]
