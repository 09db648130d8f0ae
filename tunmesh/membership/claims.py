"""Who has which address: one node for each.

The claimants of an address form a queue. The first one holds the address; the others wait and are
told who holds it. When the holder's last link ends, the next one gets it. A claim is no reason to
doubt the holder: otherwise a member that claims an address again and again would get it as soon as
the holder pauses for more than a second. For a while the address stays reserved for a holder that
went (membership.reservations): when it is back, or was restarted, it goes before whoever got the
address meanwhile.

**Incarnations.** A newcomer with the name and an address of a linked node is most likely that node,
restarted (membership.precedence). The roster probes the other one, whatever their clocks say; the
clocks only decide who waits meanwhile. A newcomer that started later is put right before the other
one, so that it has the address at once. One that started earlier, because its clock is behind,
waits right behind it for the outcome of the probe. If both live, both stay linked, and everybody
finds the same one to have the address: of two incarnations the later one always goes first.

**Floating addresses** (membership.floating) have the same queue. Those who hold the address, or to
whom it belongs anyway, stand in front, as above. Behind them are those who wait for it, in an order
that is the same everywhere: by the numbers of their claims. For them nothing is reserved: whoever
comes back has to wait like everybody else. A new claim is reason to doubt a node that holds the
address as a floating one (floating.doubts).

**On probation.** A node that has just come cannot know who was first. So it lets claimants that say
they are settled go before those that did not, whichever it was linked with first
(membership.seniority). An incumbent believes only what it saw itself.

**This node's own addresses** are never routed. Of two nodes that claim the same address and are
linked with each other, the one that takes precedence refuses it to the other one.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Set
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Generic

from tunmesh.addresses import Address, Network, is_host
from tunmesh.membership.commands import Command, Link, Refuse, Route, Unroute
from tunmesh.membership.floating.doubts import Doubts
from tunmesh.membership.me import Me
from tunmesh.membership.precedence import are_incarnations, is_later_incarnation, turn
from tunmesh.membership.reservations import Reservations
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.records import NodeRecord

_ALL_ROUTED = Refusal((), "")


@dataclass(slots=True)
class _Claimant(Generic[Link]):
    """A linked node."""

    record: NodeRecord
    link: Link
    was_first: bool  # it takes precedence over this node
    since: dict[Address, float] = field(default_factory=dict)  # of the addresses that it claims
    refusal: Refusal = _ALL_ROUTED  # the last that it was told


class Claims(Generic[Link]):
    """The claims of this node and of those that it is linked with. `networks` are the mesh's: no
    other address is ever routed, and none that is `reserved`. Time is in seconds, and only goes
    forward."""

    def __init__(
        self, me: Me, networks: Iterable[Network], reserved: Iterable[Address] = ()
    ) -> None:
        self._me = me
        self._networks = tuple(networks)
        self._reserved = frozenset(reserved)
        self._claimants: dict[str, _Claimant[Link]] = {}
        self._queues: dict[Address, list[str]] = {each: [me.id] for each in me.record.own}
        self._reservations: Reservations[Address] = Reservations()
        self.doubts = Doubts()
        self._now = 0.0

    def was_first(self, node_id: str) -> bool:
        """Whether this linked node takes precedence over this node; both ends find the same."""
        return self._claimants[node_id].was_first

    def kept(self, name: str) -> dict[Address, float]:
        """Addresses that are reserved for nodes with other names than this, and since when."""
        return self._reservations.others(name, self._now)

    def is_next(self, address: Address) -> bool:
        """Whether nobody stands before this node in the queue for an address that it claims."""
        return self.queue(address)[:1] == (self._me.id,)

    def queue(self, address: Address) -> tuple[str, ...]:
        """The ids of all that claim an address, who has it first."""
        return tuple(self._queues.get(address, ()))

    # --- facts ---

    def time_passed(self, now: float) -> None:
        self._now = now
        self._reservations.expire(now)

    def linked(self, record: NodeRecord, link: Link, was_first: bool) -> list[Command[Link]]:
        """A node is linked, and claims its addresses."""
        self._claimants[record.id] = _Claimant(record, link, was_first)
        return self._claim(record, self._routable(record))

    def revised(self, record: NodeRecord, was_first: bool) -> list[Command[Link]]:
        """A linked node has another record, perhaps with other addresses."""
        claimant = self._claimants[record.id]
        before = claimant.record
        claimant.record, claimant.was_first = record, was_first
        routable = self._routable(record)
        gone = [address for address in claimant.since if address not in routable]
        commands = self._withdraw(record.id, gone)
        for address in gone:
            del claimant.since[address]
        new = [address for address in routable if address not in claimant.since]
        commands += self._claim(record, new)
        old = [each for each in routable if each not in new]
        moved = [each for each in old if turn(before, each) != turn(record, each)]
        return [*commands, *self._move(record, moved)]

    def me_revised(self, first: Container[str]) -> list[Command[Link]]:
        """This node has another record. `first`: those that take precedence over it now."""
        for node_id, claimant in self._claimants.items():
            claimant.was_first = node_id in first
        me = self._me.record
        own = set(me.own)
        floating = [each.address for each in me.floating if each.address not in own]
        before = [address for address, queue in self._queues.items() if me.id in queue]
        commands = self._withdraw(
            me.id, [each for each in before if each not in own and each not in floating]
        )
        for address in [each for each in own if self.queue(each)[:1] != (me.id,)]:
            queue = self._queues.setdefault(address, [])
            if queue:
                commands.append(Unroute(address))
            queue.insert(0, me.id)
        self._doubt([each for each in floating if each not in before], me)
        commands += self._move(me, floating)
        return [*commands, *self._refuse_waiting(me.id)]

    def switched(self, node_id: str, link: Link) -> list[Command[Link]]:
        """A linked node is sent to on this link from now on: that it lives is proved, and what was
        said on the old link may not have arrived."""
        claimant = self._claimants[node_id]
        claimant.link = link
        return [Refuse(link, claimant.refusal), *self.answered(node_id)]

    def answered(self, node_id: str) -> list[Command[Link]]:
        """A linked node has shown that it lives: those that wait for an address of it are told, and
        the node itself if a later incarnation of it holds one."""
        record = self._claimants[node_id].record
        commands = self._refuse_waiting(node_id)
        others = (other.record for other in self._claimants.values())
        if any(is_later_incarnation(other, record) for other in others):
            commands += self._refusal(node_id)
        return commands

    def parted(self, node_id: str) -> list[Command[Link]]:
        """A node is no longer linked: the next ones inherit its addresses, which stay reserved for
        it."""
        went = self._claimants.pop(node_id)
        self.doubts.parted(node_id)
        return self._withdraw(node_id, went.since, went)

    # --- the queues ---

    def _claim(self, record: NodeRecord, addresses: Iterable[Address]) -> list[Command[Link]]:
        """A linked node claims these, too."""
        claimant = self._claimants[record.id]
        commands: list[Command[Link]] = []
        for address in addresses:
            claimant.since[address] = self._now
            queue = self._queues.setdefault(address, [])
            queue.insert(self._place(address, queue, record), record.id)
            if queue[0] == record.id:
                commands.append(Route(address, claimant.link))
        self._doubt(addresses, record)
        # Its past incarnations are most likely dead: they are told when they have answered.
        past = self._incarnations_of(record)
        commands += self._refusal(record.id, past)
        return [*commands, *self._refuse_waiting(record.id, past)]

    def _withdraw(
        self,
        node_id: str,
        addresses: Collection[Address],
        went: _Claimant[Link] | None = None,
    ) -> list[Command[Link]]:
        """A node does not claim these any more: the next ones inherit them. `went`: because it is
        not linked any more."""
        commands: list[Command[Link]] = []
        heirs: dict[str, None] = {}
        for address in addresses:
            queue = self._queues[address]
            was_holder = queue[0] == node_id
            queue.remove(node_id)
            if not queue:
                del self._queues[address]
            if not was_holder:
                continue
            if went is not None and went.record.owns(address):
                linked_for = self._now - went.since[address]
                self._reservations.holder_went(address, went.record.name, linked_for, self._now)
            if queue:
                self._let_owner_inherit(address, queue)
                heirs[queue[0]] = None
                commands += self._led(address, node_id)
            elif node_id != self._me.id:
                commands.append(Unroute(address))
        for heir in heirs:
            if heir == self._me.id:
                commands += self._refuse_waiting(heir)
                continue
            past = self._incarnations_of(self._claimants[heir].record)
            commands += [*self._refusal(heir), *self._refuse_waiting(heir, past)]
        return commands

    def _move(self, record: NodeRecord, addresses: Collection[Address]) -> list[Command[Link]]:
        """A node claims these in another way: it holds them now, or waits for them."""
        commands: list[Command[Link]] = []
        for address in addresses:
            queue = self._queues.setdefault(address, [])
            before = queue[0] if queue else self._me.id
            if record.id in queue:
                queue.remove(record.id)
            is_ours = record.id == self._me.id and address in record.held
            queue.insert(0 if is_ours else self._place(address, queue, record), record.id)
            commands += self._led(address, before)
        told = dict.fromkeys(each for address in addresses for each in self._queues[address])
        told.pop(self._me.id, None)
        return [*commands, *(command for each in told for command in self._refusal(each))]

    def _led(self, address: Address, before: str) -> list[Command[Link]]:
        """Route an address to the first one in its queue, which was another one before."""
        first = self._queues[address][0]
        if first == before:
            return []
        if first == self._me.id:
            return [Unroute(address)]
        return [Route(address, self._claimants[first].link)]

    def _doubt(self, addresses: Iterable[Address], record: NodeRecord) -> None:
        """A node has begun to claim these: those that float are reason to doubt who has them."""
        floating = {each.address for each in record.floating}
        for address in floating.intersection(addresses):
            holder = next(iter(self._queues.get(address, ())), "")
            is_other = holder not in ("", self._me.id, record.id)
            if is_other and not self._record_of(holder).owns(address):
                self.doubts.cast(holder, self._now)

    def _place(self, address: Address, queue: list[str], record: NodeRecord) -> int:
        """Where a newcomer stands: before its earlier incarnations and right behind its later ones;
        first, if the address is reserved for it; else at the end, or, for a node on probation,
        before those that are not settled if it is. Nobody stands before this node. Behind all of
        these stand those that only wait for the address, in turn."""
        if address not in record.held:
            return sum(turn(self._record_of(e), address) < turn(record, address) for e in queue)
        queue = [each for each in queue if address in self._record_of(each).held]
        is_reserved = record.owns(address) and self._reservations.is_for(
            address, record.name, self._now
        )
        first = behind_later = int(queue[:1] == [self._me.id])
        for place in range(first, len(queue)):
            other = self._record_of(queue[place])
            if is_later_incarnation(record, other):
                return behind_later if is_reserved else place
            if is_later_incarnation(other, record):
                behind_later = place + 1
        if is_reserved or behind_later > first:
            return behind_later
        if self._me.is_new and record.settled:
            for place in range(first, len(queue)):
                if not self._record_of(queue[place]).settled:
                    return place
        return len(queue)

    def _let_owner_inherit(self, address: Address, queue: list[str]) -> None:
        """The holder went: an incarnation of the node that the address is reserved for inherits."""
        for place, node_id in enumerate(queue):
            record = self._record_of(node_id)
            is_its_own = record.owns(address)
            if is_its_own and self._reservations.is_for(address, record.name, self._now):
                queue.insert(0, queue.pop(place))
                return

    def _routable(self, record: NodeRecord) -> list[Address]:
        """Those of its addresses that a single node may have in the mesh's networks, each once."""
        return [
            address
            for address in record.claimed
            if any(is_host(address, network) for network in self._networks)
            and address not in self._reserved
        ]

    def _record_of(self, node_id: str) -> NodeRecord:
        return self._me.record if node_id == self._me.id else self._claimants[node_id].record

    def _name_of(self, node_id: str) -> str:
        return self._record_of(node_id).name if node_id else ""

    def _incarnations_of(self, record: NodeRecord) -> set[str]:
        """The linked ones."""
        return {
            node_id
            for node_id, other in self._claimants.items()
            if are_incarnations(other.record, record)
        }

    # --- who is told what ---

    def _refuse_waiting(self, holder: str, but: Container[str] = ()) -> list[Command[Link]]:
        """Tell those that wait for an address of this node that it holds it."""
        queues = [queue for queue in self._queues.values() if queue[0] == holder]
        waiting = dict.fromkeys(node_id for queue in queues for node_id in queue[1:])
        told = [each for each in waiting if each not in but and each != self._me.id]
        return [command for node_id in told for command in self._refusal(node_id)]

    def _refusal(self, node_id: str, but: Set[str] = frozenset()) -> list[Command[Link]]:
        """Tell a node which of its addresses are not routed to it, if that has changed, except for
        those that other nodes hold than these."""
        claimant = self._claimants[node_id]
        holders = {each: self._queues.get(each, [""])[0] for each in claimant.record.claimed}
        record = claimant.record
        # What that node has, too, this one yields to it: not what it waits for.
        yielding = record.held if claimant.was_first else ()
        refused = {
            address
            for address, holder in holders.items()
            if holder != node_id
            and not (holder in but and record.owns(address))
            and not (holder == self._me.id and address in yielding)
        }
        texts = sorted(map(str, refused))
        holder = self._name_of(holders[ip_address(texts[0])]) if texts else ""
        refusal = Refusal(tuple(texts), holder)
        if refusal == claimant.refusal:
            return []
        claimant.refusal = refusal
        return [Refuse(claimant.link, refusal)]
