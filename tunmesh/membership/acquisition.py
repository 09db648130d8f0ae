"""How a node comes by an address that it chooses itself, and when it has to choose another one:
probe, claim, defend (in the spirit of RFC 5227). One machine for each IP version.

    JOINING ── in the mesh ──> CLAIMING ── nobody objected ──> HELD
       │                        │ ^  │ somebody objects: the next candidate  │
       │ no candidate is free   │ │  └──<──                                 │ the mesh is against it
       v                        v └──<─────────────────────────────────────--┘
      FULL ── one is free ──> CLAIMING

**Probing** costs nothing: a node knows the records of all that its peers are linked with, and takes
the first candidate that none of them has. It begins when it knows them, or after JOIN_WAIT. What is
reserved for a node that is away is taken only when nothing else is left, and not for KEPT_WAIT;
then what nodes have that it only heard of, since a member can invent such nodes. An address of a
node with its own name is taken for its own before it was restarted, unless it is linked with that
node itself: then that one lives.

**Claiming** is to say so in a further revision of its record. Who routes the address to another
node refuses it to this one (membership.claims). It is held when CLAIM_WAIT has passed without an
objection, and all known nodes are linked, or LONGEST_CLAIM has. An objection is a linked node that
claims the same and takes precedence, or a refusal that stands for GRACE: of two that claim the same
at once, both are refused it by some, and each learns of the other one a moment later. Objections
are believed, since it costs nothing to choose another candidate. But a source that has objected
PATIENCE times is not enough any more, or one member could keep another node from ever having an
address: then it takes most sources.

**Held**, an address is lost only if the mesh is against it (`Standing.is_lost`), and that has not
changed for LOST_WAIT: a single member cannot take it away, and while a partition heals it is not
known yet which half is larger.

Its own claims are limited as well: CLAIMS_BURST at once, then CLAIMS_RATE a second. That stays
below what peers read of updates (link.penalty).

The machine does no I/O and reads no clock. Time is in seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tunmesh.addresses import Address, Interface
from tunmesh.membership.agreement import Peer, Voters
from tunmesh.membership.candidates import Candidates
from tunmesh.membership.precedence import takes_precedence
from tunmesh.rate_limit import TokenBucket
from tunmesh.wire.records import NodeRecord

JOIN_WAIT = 5.0  # from the first link on, for records that have not come
CLAIM_WAIT = 2.0  # more than a probe of a dead holder takes, and the way there and back
LONGEST_CLAIM = 6.0  # when known nodes cannot be linked
GRACE = 0.3  # that a refusal has to stand while an address is claimed
LOST_WAIT = 2.0  # that the mesh has to be against an address that is held
KEPT_WAIT = 60.0  # that an address stays untouched which is reserved for a node that is away
AVOIDED = 10.0  # for which an address is not tried again that this node had to give up
PATIENCE = 3
MOST_PASSED = 5  # candidates that were not free, for people who ask why it is not another one
CLAIMS_BURST, CLAIMS_RATE = 12, 0.5


class State(StrEnum):
    """Where a machine is."""

    JOINING = "joining"
    CLAIMING = "claiming"
    HELD = "held"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Standing:
    """How the mesh stands to an address that this node has chosen itself."""

    objectors: frozenset[str] = frozenset()  # sources of those that refuse it, or take precedence
    is_certain: bool = False  # a linked node claims the same and takes precedence
    is_lost: bool = False  # most of the others route it to another node
    holder: str = ""  # the name of the node that has it instead, as far as is known


def standing(
    me: NodeRecord,
    address: Address,
    peers: Sequence[Peer],
    unlinked: Iterable[NodeRecord] = (),
    since: float = 0.0,
) -> Standing:
    """How the peers stand to the address. `unlinked`: the other nodes that they are linked with;
    `since`: when this node claimed it.

    Whoever has to yield to this node, having claimed the same a moment ago, will do so; that some
    peers have routed the address to it meanwhile is no objection.

    Nodes that claim the same have no vote, nor have others of their source: one member cannot take
    an address from a node whom the others know. Of two halves the claimant decides that takes
    precedence. A node whose address is assigned to it cannot give way, so if it takes precedence,
    more than a third of the votes are enough for it. One vote would not be: a member with two
    source addresses could renumber a whole mesh.

    Newcomers cannot know who was first, so those who can know have to be against it as well: who
    was linked before this node had the address, or was settled when it came. They do not decide
    alone: after a restart of all others they may be the identities of one member.
    """
    text = str(address)
    rivals = [peer for peer in peers if text in peer.view.claims]
    against = [peer for peer in peers if text in peer.view.held_elsewhere(peer.refuses)]
    if not rivals and not against:
        return Standing()
    first = [peer for peer in rivals if peer.was_first]
    excluded = {peer.source for peer in rivals}
    if {peer.source for peer in peers} <= excluded:
        excluded.clear()  # a source may be a whole cluster node, whose /64 all pods have
    others = [peer for peer in peers if peer not in rivals and peer.source not in excluded]
    informed = [peer for peer in others if peer.record.settled or peer.since <= since]
    heard = [record for record in unlinked if address in record.held]
    is_assigned = any(each.ip == address for peer in first for each in peer.record.static_addresses)

    def is_against(group: Sequence[Peer]) -> bool:
        voters = Voters(group)
        count = voters.votes([peer for peer in group if peer in against])
        if 2 * count == voters.count:
            return bool(first) or (count > 0 and any(_is_senior(record, me) for record in heard))
        return 2 * count > voters.count or (is_assigned and 3 * count > voters.count)

    holder = first[0].record.name if first else (against or rivals)[0].holder
    yielding = {peer.record.name for peer in rivals if not peer.was_first}
    refusing = [peer for peer in against if peer.holder not in yielding]
    objectors = frozenset(peer.source for peer in (*first, *refusing))
    is_lost = is_against(others) and (not informed or is_against(informed))
    return Standing(objectors, bool(first), is_lost, holder)


def _is_senior(one: NodeRecord, other: NodeRecord) -> bool:
    """Of two nodes that are not linked, so that neither has said whether it is settled."""
    return takes_precedence(replace(one, settled=False), replace(other, settled=False))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node knows now that concerns its addresses."""

    now: float
    is_linked: bool  # or it is the first node of its mesh
    knows_all: bool  # it has the record of every node that a peer is linked with
    is_whole: bool  # it is linked with every node that a peer is linked with
    # The addresses of all others, by the name of the node that has it; those of a node with the
    # name of this one that it is not linked with are not among them. To find them takes a look at
    # every node: see is_choosing.
    taken: Mapping[Address, str] = field(default_factory=dict)
    heard: Collection[Address] = ()  # those of them that no linked node has
    # Addresses that are reserved for nodes that are away, of other names: since when.
    kept: Mapping[Address, float] = field(default_factory=dict)


class Change(StrEnum):
    """What has happened to an address, for the log."""

    CLAIMED = "claimed"
    HELD = "held"
    GIVEN_UP = "given up"  # before it was held
    LOST = "lost"  # after it was
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the machine for this IP version: `interface` was concerned, the candidate with
    this number, and `holder` is who has it instead."""

    change: Change
    version: int
    interface: Interface | None = None
    number: int = 0
    holder: str = ""


class Acquisition:
    """That of one node, in the network of these candidates."""

    def __init__(self, candidates: Candidates, now: float) -> None:
        self.candidates = candidates
        self.state = State.JOINING
        self.since = now  # of the state, or of the claim
        self.interface: Interface | None = None  # that it claims or holds
        self.number = 0  # of that candidate
        self.taken = 0  # hosts that others have, when it last looked
        # The candidates before it that were not free, and who had them: the last MOST_PASSED.
        self.passed_over: tuple[tuple[Address, str], ...] = ()
        self._joined: float | None = None  # when it was linked first
        self._opposed: float | None = None  # since when the mesh, or some of it, is against it
        self._avoided: dict[Address, float] = {}  # until when
        self._objections: Counter[str] = Counter()  # by source, since it held an address last
        self._claims = TokenBucket(CLAIMS_BURST, CLAIMS_RATE, now)

    def is_choosing(self, now: float, knows_all: bool) -> bool:
        """Whether the next update, if the node is linked, looks for an address: only then, or if
        somebody objects to the one it has, does it need to know what is taken."""
        if self.state is State.JOINING and not knows_all:
            return self._joined is not None and now - self._joined >= JOIN_WAIT
        return self.state in (State.JOINING, State.FULL)

    def update(self, facts: Facts, standing: Standing) -> list[Step]:
        """What follows from the facts now; `standing` is about `interface`."""
        now = facts.now
        if not facts.is_linked:
            self._joined = None
            if self.state is State.CLAIMING:
                self.since = now  # nobody could object
            return []
        if self._joined is None:
            self._joined = now
        match self.state:
            case State.CLAIMING:
                return self._claiming(facts, standing)
            case State.HELD:
                return self._held(facts, standing)
            case _ if self.is_choosing(now, facts.knows_all):
                return self._choose(facts)
            case _:
                return []

    def wait(self, facts: Facts) -> float | None:
        """In how many seconds time alone may change something; None: it will not."""
        if not facts.is_linked:
            return None
        if self.state is State.CLAIMING:
            opposed = [] if self._opposed is None else [self._opposed + GRACE]
            ends = [self.since + (CLAIM_WAIT if facts.is_whole else LONGEST_CLAIM), *opposed]
        elif self.state is State.HELD:
            if self._opposed is None:
                return None
            ends = [self._opposed + LOST_WAIT]
        else:
            ends = [*self._avoided.values(), *(since + KEPT_WAIT for since in facts.kept.values())]
            if not facts.knows_all and self._joined is not None:
                ends.append(self._joined + JOIN_WAIT)
            ends = [end for end in ends if end > facts.now] or [facts.now + KEPT_WAIT]
            if self._claims.wait(facts.now):
                ends = [facts.now + self._claims.wait(facts.now)]
        return max(0.0, min(ends) - facts.now)

    # --- states ---

    def _claiming(self, facts: Facts, standing: Standing) -> list[Step]:
        objects = any(self._objections[source] < PATIENCE for source in standing.objectors)
        if not (objects or standing.is_lost):
            self._opposed = None
        elif standing.is_certain or self._is_opposed_for(GRACE, facts.now):
            self._objections.update(standing.objectors)
            return self._move(facts, standing, Change.GIVEN_UP)
        if self._opposed is not None:
            return []
        waited = facts.now - self.since
        if waited < (CLAIM_WAIT if facts.is_whole else LONGEST_CLAIM):
            return []
        self._objections.clear()
        self._enter(State.HELD, facts.now)
        return [self._step(Change.HELD)]

    def _held(self, facts: Facts, standing: Standing) -> list[Step]:
        if not standing.is_lost:
            self._opposed = None
        elif self._is_opposed_for(LOST_WAIT, facts.now):
            return self._move(facts, standing, Change.LOST)
        return []

    def _is_opposed_for(self, seconds: float, now: float) -> bool:
        if self._opposed is None:
            self._opposed = now
        return now - self._opposed >= seconds

    def _move(self, facts: Facts, standing: Standing, change: Change) -> list[Step]:
        """Give up what it has, and choose something else."""
        step = self._step(change, standing.holder)
        if self.interface is not None:
            self._avoided[self.interface.ip] = facts.now + AVOIDED
        self.interface = None
        self._enter(State.JOINING, facts.now)
        return [step, *self._choose(facts)]

    def _choose(self, facts: Facts) -> list[Step]:
        """Claim the first candidate that is free, of those that are kept the last resort."""
        now = facts.now
        self._avoided = {each: until for each, until in self._avoided.items() if until > now}
        network = self.candidates.network
        self.taken = sum(address in network for address in facts.taken)
        if self._claims.wait(now):
            return []
        young = [each for each, since in facts.kept.items() if now - since < KEPT_WAIT]
        seen = facts.taken.keys() - facts.heard
        found = (
            self._first(facts.taken, self._avoided, facts.kept)
            or self._first(facts.taken, self._avoided, young)
            or self._first(seen, self._avoided, young)
        )
        if found is None:
            if self.state is State.FULL or self._first(seen, young) is not None:
                return []
            self._enter(State.FULL, now)
            return [self._step(Change.FULL)]
        self._claims.take(now)
        self.number, self.interface = found
        self.passed_over = self._before(found[0], facts.taken)
        self._enter(State.CLAIMING, now)
        return [self._step(Change.CLAIMED)]

    def _first(self, *excluded: Collection[Address]) -> tuple[int, Interface] | None:
        for number, interface in self.candidates:
            if not any(interface.ip in addresses for addresses in excluded):
                return number, interface
        return None

    def _before(self, number: int, taken: Mapping[Address, str]) -> tuple[tuple[Address, str], ...]:
        """The last candidates before this one, and who has each of them."""
        before = deque[tuple[Address, str]](maxlen=MOST_PASSED)
        for each, interface in self.candidates:
            if each == number:
                break
            before.append((interface.ip, taken.get(interface.ip, "")))
        return tuple(before)

    def _step(self, change: Change, holder: str = "") -> Step:
        return Step(change, self.candidates.version, self.interface, self.number, holder)

    def _enter(self, state: State, now: float) -> None:
        self.state, self.since = state, now
        self._opposed = None
