"""Whether a node and its peers agree on the mesh's networks and on who has which address.

Every node says in its record which networks it is configured with, and tells each peer which of the
peer's addresses it does not route to it. A mistake in the config of one node is seen as a
disagreement by all of them, but it is the problem of the node that is wrong: a mesh must not lose
its healthy nodes to it. So each node judges itself by the majority of the nodes that it sees, its
peers and itself. All peers from one source (tunmesh.addresses) have one vote, cast by most of them:
a member can have many identities, but not many addresses. Only if all peers come from one source
does each of them have a vote.

- **Cut off**: most of them do not route an address of this node to it, because another node holds
  the address or because it is outside their networks. Then the node is not ready, however long it
  has been there.
- **Out of step**: most of them have a network that no network of this node covers. Then the node is
  not ready, unless it is settled (membership.seniority): a node that was there before is not at
  fault when others change. So a rolling update that adds a family, or enlarges a network, never
  takes the old nodes out; nor the new ones, since a node that has more than the others is in step.
- Anything else is a warning, at both ends.

Whether a node that chooses its address itself has to choose another one is a different question
(membership.acquisition).

If the halves are equal, the half with the most senior node is right. Of two nodes that is one of
them, and both find the same (membership.precedence).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunmesh.addresses import Network
from tunmesh.membership.precedence import seniority
from tunmesh.status.health import Check
from tunmesh.units import some
from tunmesh.wire.records import NodeRecord

MOST_NAMES = 3  # in one sentence
MOST_DIFFERENCES = 8  # sets of networks that are told apart


@dataclass(frozen=True, slots=True)
class View:
    """What follows from the record of a peer for this node. Addresses are text."""

    # Addresses of this node, and floating ones that it claims, that the peer says it has.
    claims: frozenset[str]
    outside: frozenset[str]  # those outside the networks that it has of that family
    apart: frozenset[str]  # those of a family that it has no network of
    differs: bool  # it has other networks than this node
    networks: frozenset[Network]
    lacking: frozenset[Network]  # those of its networks that no network of this node covers

    @classmethod
    def of(cls, me: NodeRecord, record: NodeRecord) -> View:
        theirs = record.held
        claims = {str(ip) for ip in me.claimed if ip in theirs}
        outside, apart = set(), set()
        for ip in me.own:
            family = [network for network in record.networks if network.version == ip.version]
            if record.networks and not family:
                apart.add(str(ip))
            elif family and not any(ip in network for network in family):
                outside.add(str(ip))
        networks = frozenset(record.networks)
        differs = have_other_networks(me, record)
        lacking = frozenset(
            network
            for network in networks
            if differs and not any(_covers(ours, network) for ours in me.networks)
        )
        return cls(
            frozenset(claims), frozenset(outside), frozenset(apart), differs, networks, lacking
        )

    def held_elsewhere(self, refuses: Iterable[str]) -> frozenset[str]:
        """Of the addresses that the peer refuses to route to this node, those that it routes to
        another one."""
        return frozenset(refuses) - self.outside - self.apart

    @property
    def is_odd(self) -> bool:
        return self.differs or bool(self.claims)


def have_other_networks(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether both say which networks they are configured with, and these differ."""
    ours, theirs = one.networks, other.networks
    return bool(ours and theirs) and ours != theirs and set(ours) != set(theirs)


class Peer(Protocol):
    """A linked node."""

    @property
    def record(self) -> NodeRecord: ...
    @property
    def source(self) -> str:
        """Where it comes from (tunmesh.addresses)."""
        ...

    @property
    def since(self) -> float:
        """When it was linked."""
        ...

    @property
    def view(self) -> View: ...
    @property
    def was_first(self) -> bool:
        """Whether it was in the mesh before this node."""
        ...

    @property
    def refuses(self) -> tuple[str, ...]:
        """Addresses that this node claims and that the peer does not route to it."""
        ...

    @property
    def holder(self) -> str:
        """The name of the node that the peer routes them to, or ""."""
        ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """Where this node and its peers disagree, in sentences."""

    cut_off: tuple[str, ...] = ()
    contested: tuple[str, ...] = ()  # addresses that a minority does not route here
    differences: tuple[str, ...] = ()  # one for each set of networks that peers have
    is_out_of_step: bool = False
    is_claimed: bool = False  # some peer routes an address of this node to another one

    @property
    def has_objections(self) -> bool:
        """Whether a node that is not settled must not become so."""
        return bool(self.cut_off) or self.is_out_of_step or self.is_claimed

    @property
    def is_outvoted(self) -> bool:
        """Whether most of the mesh disagrees with the node."""
        return bool(self.cut_off) or self.is_out_of_step

    @property
    def is_replaced(self) -> bool:
        """Whether most of the mesh routes an address of this node to another one."""
        return self.is_claimed and bool(self.cut_off)

    def checks(self, is_settled: bool) -> tuple[Check, ...]:
        """The conditions for being ready. Their reasons include the warnings."""
        addresses = "; ".join((*self.cut_off, *self.contested)) or "every peer routes them here"
        networks = "; ".join(self.differences) or "every peer has the same"
        in_step = is_settled or not self.is_out_of_step
        return (
            Check("addresses", not self.cut_off, addresses),
            Check("networks", in_step, networks if in_step else f"out of step: {networks}"),
        )

    def warnings(self, is_settled: bool) -> tuple[str, ...]:
        """What does not make the node unready; what does is in the checks."""
        addresses = () if self.cut_off else self.contested
        networks = self.differences if is_settled or not self.is_out_of_step else ()
        return (*addresses, *networks)


AGREED = Agreement()


def judge(me: NodeRecord, peers: Sequence[Peer]) -> Agreement:
    """How this node stands with its peers."""
    odd = [peer for peer in peers if peer.refuses or peer.view.is_odd]
    if not odd:
        return AGREED
    cut_off: list[str] = []
    contested: list[str] = []
    own = [str(each) for each in me.own]  # who has what floats is nobody's problem
    for address in own:
        opposed = [peer for peer in odd if _is_opposed(peer, address)]
        if opposed:
            is_cut_off = _is_lost(address, opposed, peers)
            (cut_off if is_cut_off else contested).append(_not_routed(address, opposed, peers))
    return Agreement(
        tuple(cut_off),
        tuple(contested),
        tuple(_differences(me, odd)),
        _is_out_of_step(odd, peers),
        any(peer.view.held_elsewhere(peer.refuses).intersection(own) for peer in odd),
    )


def _is_opposed(peer: Peer, address: str) -> bool:
    view = peer.view
    refuses = address in peer.refuses and address not in view.apart
    return refuses or address in view.claims or address in view.outside


def _is_lost(address: str, opposed: Sequence[Peer], peers: Sequence[Peer]) -> bool:
    """Whether the mesh as a whole does not route the address to this node."""
    voters = Voters([peer for peer in peers if address not in peer.view.apart])
    view = opposed[0].view
    if voters.count == 1 and address not in view.claims | view.outside:
        return True  # our only peer routes it to a third node
    return voters.decide_for(opposed)


def _is_out_of_step(odd: Sequence[Peer], peers: Sequence[Peer]) -> bool:
    """Every peer may have networks of its own, so each peer is looked at only once."""
    having: dict[Network, list[Peer]] = {}
    for peer in odd:
        for network in peer.view.lacking:
            having.setdefault(network, []).append(peer)
    voters = Voters(peers)
    return any(map(voters.decide_for, having.values()))


class Voters:
    """Those whose majority counts, beside this node itself."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers
        self._by_source = Counter(peer.source for peer in peers)

    @property
    def count(self) -> int:
        """How many votes they have."""
        sources = len(self._by_source)
        return sources if sources > 1 else len(self._peers)

    def decide_for(self, opposed: Sequence[Peer]) -> bool:
        """Whether those of them that are against this node have the majority, or half of the votes
        and the node that was there first."""
        against = self.votes(opposed)
        in_favour = self.count + 1 - against
        if against != in_favour:
            return against > in_favour
        first = min(opposed, key=lambda peer: seniority(peer.record))
        ids = {peer.record.id for peer in opposed}
        allies = [peer.record for peer in self._peers if peer.record.id not in ids]
        return first.was_first and all(seniority(first.record) < seniority(ally) for ally in allies)

    def votes(self, opposed: Sequence[Peer]) -> int:
        """How many of the votes those have."""
        if len(self._by_source) == 1:
            return len(opposed)
        found = Counter(peer.source for peer in opposed)
        return sum(2 * count > self._by_source[source] for source, count in found.items())


def _covers(network: Network, other: Network) -> bool:
    return (
        network.version == other.version
        and other.network_address in network
        and other.broadcast_address in network
    )


# --- in words ---


def _not_routed(address: str, opposed: Sequence[Peer], peers: Sequence[Peer]) -> str:
    claimants = [peer for peer in opposed if address in peer.view.claims]
    count = f"not routed to this node by {len(opposed)} of {len(peers)} peers"
    if claimants:
        both = f"this node and {names(claimants)}"
        return f"two nodes have the address {address}: {both} ({count})"
    why = "outside the network there"
    held = [peer for peer in opposed if address not in peer.view.outside]
    if held:
        why = f"{held[0].holder or 'another node'} holds it there"
    return f"{address} is {count} ({names(opposed)}): {why}"


def _differences(me: NodeRecord, odd: Sequence[Peer]) -> Iterator[str]:
    by_networks: dict[frozenset[Network], list[Peer]] = {}
    for peer in odd:
        if peer.view.differs:
            by_networks.setdefault(peer.view.networks, []).append(peer)
    groups = sorted(by_networks.values(), key=len, reverse=True)
    ours = network_texts(me)
    for group in groups[:MOST_DIFFERENCES]:
        theirs = network_texts(group[0].record)
        count = f"{len(group)} peers: " if len(group) > 1 else ""
        yield f"network_cidr is {ours} here, {theirs} on {count}{names(group)}"
    more = sum(map(len, groups[MOST_DIFFERENCES:]))
    if more:
        yield f"network_cidr is {ours} here, others again on {more} more peers"


def network_texts(record: NodeRecord) -> str:
    """The networks of a node, IPv4 first."""
    found = sorted(record.networks, key=lambda network: (network.version, str(network)))
    return " and ".join(map(str, found))


def names(peers: Iterable[Peer]) -> str:
    """The peers, a few of them by name."""
    return some(sorted(peer.record.name for peer in peers), MOST_NAMES)
