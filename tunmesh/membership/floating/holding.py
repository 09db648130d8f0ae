"""How a node comes to hold a floating address, and how it loses one: one machine for each claim.

    claim ──> WAITING ── it is next, and nobody objects ──> HELD ── release ──> (gone)
                 ^                                            │
                 └───────────── the mesh is against it ───────┘

A floating address belongs to a service, and not to a node: an address under which the service is
reached wherever it runs. A program that decides where that is (keepalived, Pacemaker, Patroni)
claims the address for its node, and releases it. Several nodes may claim it at once, and one of
them holds it. Which one does not depend on who claims most loudly:

**The first one keeps it.** A node says of each of its claims whether it holds the address or waits
for it, and each claim has a number: one more than the highest that the node knows of. All nodes
route the address to the holder. When that releases it, or its last link ends, they route it to the
waiting node with the lowest number: all to the same one, without asking (membership.claims). A
node that has the address as its own, by its config, is never displaced either.

**Asking.** A node that is next in its own view does not know yet whether all others think so. It
has told them of its claim, and it pings each of them directly after. Links keep order: with the
pong, a refusal would have arrived. So it holds the address after one round trip to all peers, or
when those that have not answered are found to be silent. Nodes that it is not linked with are
linked with one of its peers, or it would not know of them. As long as some peer routes the address
to another node (a refusal) it waits, but for no longer than PATIENCE, unless most peers object: a
single member cannot keep the address from it for ever.

A node that is not in its mesh yet waits until it is, or for JOIN_WAIT. One that has lost all links
goes on: of a pair of which one is dead, the other one has to take over.

**Lost** is an address that is held only if the mesh is against it for LOST_WAIT: when two halves of
the mesh meet again, in each of which a node held it, one of the two gives way, and waits. More
votes (membership.agreement) decide, and of two halves with as many the claimant that takes
precedence. So of two holders whom the same nodes see exactly one gives way. That is why it is
simpler than for an address that a node has chosen itself (membership.acquisition): who comes from
the source of the other claimant has a vote, and nobody is asked in particular who can know which
of the two was first. Two hosts with many nodes each, which were cut off from each other, would both
find themselves right.

The machine does no I/O and reads no clock. Time is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tunmesh.addresses import Address
from tunmesh.membership.acquisition import LOST_WAIT, Standing, standing
from tunmesh.membership.agreement import Peer, Voters
from tunmesh.membership.precedence import takes_precedence
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_NUMBER

JOIN_WAIT = 15.0  # after which a node that finds no mesh takes what it claims
PATIENCE = 3.0  # for an objection of less than half of the mesh


class State(StrEnum):
    """Where a claim is."""

    WAITING = "waiting"
    HELD = "held"


class Change(StrEnum):
    """What has happened to a claim."""

    HELD = "held"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node knows now that concerns one of its claims."""

    now: float
    has_joined: bool  # it was in its mesh at some time
    is_next: bool  # nobody stands before it in its own queue
    is_answered: bool  # every peer has heard of the claim, as far as it lives
    standing: Standing  # how the peers stand to it


class Holding:
    """One claim of this node, made at the time `now`."""

    def __init__(self, address: Address, number: int, now: float) -> None:
        self.address = address
        self.number = number
        self.state = State.WAITING
        self.since = now  # of the state
        self._claimed = now
        self._opposed: float | None = None  # since when peers object

    @property
    def claim(self) -> FloatingClaim:
        """As the node's record states it."""
        return FloatingClaim(self.address, self.number, self.state is State.HELD)

    def update(self, facts: Facts) -> Change | None:
        """What follows from the facts now."""
        if self.state is State.HELD:
            return self._held(facts)
        if not facts.is_next:
            self._opposed = None
            return None
        objects = bool(facts.standing.objectors) or facts.standing.is_lost
        if not objects:
            self._opposed = None
        elif self._opposed is None:
            self._opposed = facts.now
        if self._obstacles(facts):
            return None
        return self._enter(State.HELD, Change.HELD, facts.now)

    def wait(self, facts: Facts) -> float | None:
        """In how many seconds time alone may change something; None: it will not."""
        if self.state is State.HELD:
            ends = [] if self._opposed is None else [self._opposed + LOST_WAIT]
        elif facts.is_next:
            ends = [end for end in self._obstacles(facts) if end > facts.now]
        else:
            ends = []
        return max(0.0, min(ends) - facts.now) if ends else None

    def _held(self, facts: Facts) -> Change | None:
        if not facts.standing.is_lost:
            self._opposed = None
            return None
        if self._opposed is None:
            self._opposed = facts.now
        if facts.now - self._opposed < LOST_WAIT:
            return None
        return self._enter(State.WAITING, Change.LOST, facts.now)

    def _obstacles(self, facts: Facts) -> list[float]:
        """What keeps a node that is next from the address: until when each of them does; the past:
        until the facts change."""
        until: list[float] = []
        if not facts.has_joined:
            until.append(self._claimed + JOIN_WAIT)
        if self._opposed is not None:
            until.append(self._opposed + PATIENCE)
        found = [end for end in until if end > facts.now]
        if facts.standing.is_lost or not facts.is_answered:
            found.append(facts.now)
        return found

    def _enter(self, state: State, change: Change, now: float) -> Change:
        self.state, self.since = state, now
        self._opposed = None
        return change


def standing_of(
    me: NodeRecord, address: Address, peers: Sequence[Peer], unlinked: Iterable[NodeRecord]
) -> Standing:
    """How the peers stand to a floating address that this node claims. `unlinked`: the other nodes
    that they are linked with."""
    text, heard = str(address), tuple(unlinked)
    rivals = [peer for peer in peers if text in peer.view.claims]
    found = standing(me, address, peers, heard)
    others = [peer for peer in peers if peer not in rivals]
    against = [peer for peer in others if text in peer.view.held_elsewhere(peer.refuses)]
    voters = Voters(others)
    votes = voters.votes(against)
    in_favour = voters.votes([peer for peer in others if peer not in against])
    if votes != in_favour:
        return replace(found, is_lost=votes > in_favour)
    is_lost = any(peer.was_first for peer in rivals)
    if votes:
        is_lost |= any(address in each.held and takes_precedence(each, me) for each in heard)
    return replace(found, is_lost=is_lost)


def next_number(address: Address, records: Iterable[NodeRecord]) -> int:
    """The number of a new claim, where these are the records of all nodes that are known."""
    numbers = (
        claim.number for record in records for claim in record.floating if claim.address == address
    )
    return min(max(numbers, default=0) + 1, MAX_NUMBER)
