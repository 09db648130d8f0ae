"""Dials the nodes that other nodes vouch for, and those whose session is to be renewed.

Whoever vouches for a node causes it to be dialed, so what one member may cause is bounded:
dialing.dial_limit shares the attempts fairly among those who vouch, dialing.dial_budget limits the
dials that lead to no member, dialing.dialable excludes addresses. And where another node has just
answered, the one that is wanted is not: else a member that vouches for invented nodes at the URLs
of others, and takes them back, had all nodes set up links with each other again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

from tunmesh.addresses import Target
from tunmesh.dialing.attempt import DialPolicy, Progress
from tunmesh.dialing.connections import Connector
from tunmesh.dialing.dial_budget import DialBudget
from tunmesh.dialing.dial_limit import DialLimit
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.logs import bugs
from tunmesh.membership.precedence import are_incarnations
from tunmesh.tls.underlay import Rule
from tunmesh.wire.records import NodeRecord

# Attempts under way at once: for the nodes that one source vouches for, and in all. Few, because in
# a mesh that starts as a whole every node makes as many, and together they must not take longer
# than a handshake may.
MAX_DIALS, MAX_ALL_DIALS = 4, 6
# Seconds: the longest pause between two attempts at a node without a link, and at one with a
# relayed link, which a direct one is to replace.
LONGEST_PAUSE, LONGEST_WHILE_RELAYED = 15.0, 60.0
# And so many for each node with a relayed link: together they must not use up the dial budget of
# the source that vouches for all of them.
_PAUSE_PER_RELAYED = 4.0
_OCCUPIED = 15.0  # seconds for which no other node is looked for where one has answered
_MAX_OCCUPIED = 1024  # targets of which that is known


class DiscoveredNodes:
    """The dialers of one node, by the id of the node that they are for. `sources(id)`: where the
    nodes connect from that vouch for it; `spent(source)` is told when a source has used up its
    budget, `progressed(id, how far)` how far the attempts have come."""

    def __init__(
        self,
        reactor: Any,
        connector: Connector,
        rule: Rule,
        draw: Callable[[], float],
        sources: Callable[[str], Collection[str]],
        spent: Callable[[str], None],
        progressed: Callable[[str, Progress], None] = lambda node_id, progress: None,
    ) -> None:
        self._connector = connector
        self._seconds: Callable[[], float] = reactor.seconds
        self._rule = rule
        self._sources = sources
        self._progressed = progressed
        self._dialers: dict[str, PeerFactory] = {}
        self._answered: dict[Target, tuple[float, NodeRecord]] = {}  # when, and who
        self._relayed: set[str] = set()  # ids of nodes that have relayed links
        self._limit = DialLimit(
            MAX_ALL_DIALS,
            draw,
            bugs.caught("a dial could not begin"),
            MAX_DIALS,
            DialBudget(reactor.seconds, spent),
            reactor,
        )

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._dialers

    def __iter__(self) -> Iterator[tuple[str, PeerFactory]]:
        """The nodes that are being dialed."""
        return ((each, dialer) for each, dialer in self._dialers.items() if dialer.continueTrying)

    def is_for(self, node_id: str, dialer: PeerFactory) -> bool:
        """Whether this dialer is the one for this node."""
        return self._dialers.get(node_id) is dialer

    def wanted(self, dialer: PeerFactory) -> str | None:
        """The id of the node that this dialer is for."""
        return next((each for each, other in self._dialers.items() if other is dialer), None)

    def dial(self, record: NodeRecord, delay: float) -> None:
        """Keep trying to link with this node."""
        dialer = self._dialers.get(record.id)
        if dialer is not None and dialer.targets != (record.host_port,):
            dialer.abandon()  # it has another URL by now
            dialer = None
        if dialer is None:
            policy = DialPolicy(
                self._limit,
                sources=lambda: self._sources(record.id),
                rule=self._rule,
                progressed=partial(self._progressed, record.id),
            )
            dialer = self._connector.dialer((record.host_port,), policy)
            self._dialers[record.id] = dialer
            delay = max(delay, self._occupied(record))
        dialer.pause_at_most(LONGEST_PAUSE)
        dialer.start(delay)

    def answered(self, target: Target, record: NodeRecord) -> None:
        """Whoever dialed this target: this node was there."""
        self._answered.pop(target, None)
        self._answered[target] = self._seconds(), record
        if len(self._answered) > _MAX_OCCUPIED:
            del self._answered[next(iter(self._answered))]

    def _occupied(self, record: NodeRecord) -> float:
        """In how many seconds this node may be where another one was that is no incarnation of
        it."""
        since, other = self._answered.get(record.host_port, (0.0, record))
        if other.id == record.id or are_incarnations(record, other):
            return 0.0
        return max(0.0, since + _OCCUPIED - self._seconds())

    def seek_direct(self, record: NodeRecord, delay: float) -> None:
        """This node has a relayed link: go on trying, with longer pauses."""
        self.dial(record, delay)
        self._relayed.add(record.id)
        longest = max(LONGEST_WHILE_RELAYED, _PAUSE_PER_RELAYED * len(self._relayed))
        self._dialers[record.id].pause_at_most(longest, is_quiet=True)

    def why(self, node_id: str) -> str:
        """Why the last attempt at this node has failed."""
        dialer = self._dialers.get(node_id)
        return dialer.why if dialer is not None else ""

    def once(self, record: NodeRecord, gave_up: Callable[[], None]) -> PeerFactory:
        """A dialer that tries the URL of this linked node once, says nothing, and is paid for by
        the node's source. `gave_up()` is called if that leads nowhere."""
        policy = DialPolicy(
            self._limit,
            sources=lambda: self._sources(record.id),
            rule=self._rule,
            rounds=0,
            gave_up=gave_up,
            is_quiet=True,
        )
        return self._connector.dialer((record.host_port,), policy)

    def vouched(self, node_ids: Iterable[str], source: str) -> None:
        """A node that connects from there vouches for these, too."""
        for node_id in node_ids:
            dialer = self._dialers.get(node_id)
            if dialer is not None:
                dialer.add_source(source)

    def stop(self, node_id: str) -> None:
        """This node is linked, or is to be dialed anew."""
        self._relayed.discard(node_id)
        if node_id in self._dialers:
            self._dialers[node_id].stop()

    def forget(self, node_id: str) -> None:
        """Nobody vouches for this node any more."""
        self._relayed.discard(node_id)
        dialer = self._dialers.pop(node_id, None)
        if dialer is not None:
            dialer.abandon()

    def abandon(self) -> None:
        """Stop dialing."""
        for dialer in self._dialers.values():
            dialer.abandon()
        self._limit.stop()
