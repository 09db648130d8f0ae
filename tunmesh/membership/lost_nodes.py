"""Nodes that this one was linked with and is not any more: which of them to dial, and when.

The roster forgets a node that nobody is linked with, and a bootstrap group knows no URLs but its
own. If the nodes that the mesh was bootstrapped from are gone for good, neither helps two halves of
a mesh that lost each other, nor a node that was restarted. So every node remembers the nodes that
it was linked with itself, and dials each of them until it is linked again, or for a DAY.

    linked ── no longer linked ──> lost ── linked at its URL, whatever its id ──> linked
                                    │
                                    └── a DAY, too many others, another node there ──> forgotten

What is remembered is a URL, since a restarted node has another id. Only links of one's own are
remembered, and nobody is told: what is remembered cannot keep a dead node known to the mesh.

**When a node counts as found.** Names, addresses and URLs in records are claims. A member that
claims the URL of a lost node, or to be a later incarnation of it, could make two nodes forget each
other. So a lost node is found only when it is linked itself, when somebody answers at its URL, or
when the claimant connects from the same source as the lost node did (addresses.source_of).
Otherwise it is still dialed, more and more rarely: for a node that moved for good that costs a few
attempts in a DAY.

**Cost.** At most MAX_LOST nodes are remembered. Beyond that, one is forgotten of the source that
most of them came from, so that many identities of one member do not displace the others: one that
said that it leaves, or else the one that was lost first. A node that left is most often gone for
good, or back within a minute, so its first pause is longer.

The pauses between two attempts at a node double up to 15 s, as often as a bootstrap group is
dialed; up to two minutes while every group has a link, since the lost node will then most likely
come by itself. The more nodes are lost the longer the pauses are: about one attempt a second for
all together, and never more than BURST at once. A link that does not last does not reset the
pauses: two nodes that keep ending each other's links would otherwise do so as fast as they can.

The machine does no I/O and reads no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

from tunmesh.addresses import Target
from tunmesh.membership.precedence import are_incarnations
from tunmesh.units import DAY
from tunmesh.wire.records import NodeRecord

MAX_LOST = 256
# Seconds: the longest pause before the first attempt, for nodes that were lost and that left; and
# the longest later, without and with a link for every bootstrap group.
FIRST_LOST, FIRST_LEFT = 1.0, 15.0
LONGEST_ALONE, LONGEST_BOOTSTRAPPED = 15.0, 120.0
# Seconds by which each lost node lengthens the longest pause. Pauses are drawn from the upper half.
PAUSE_PER_NODE = 1.5
BURST, PACE = 4, 1.0  # so many attempts at once, and the seconds from one burst to the next
SHORT_LIFE = 5.0  # seconds that a link must have lasted for the pauses to be reset


@dataclass(slots=True)
class _Lost:
    """A node that is not linked any more. Times are seconds of this node's clock."""

    record: NodeRecord  # the last that it said of itself
    source: str  # where it connected from
    lost: float  # when it was no longer linked
    left: bool  # it said that it leaves
    draw: float  # 0 to 1, for the length of the current pause
    tried: float  # the beginning of that pause
    tries: int = 0


@dataclass(slots=True)
class _Linked:
    """A node that is linked: since when, and how often it was tried before."""

    record: NodeRecord
    source: str
    is_reached: bool  # it answered at its URL
    since: float
    tries: int


class LostNodes:
    """Those of one node, whose own URL leads to `own()`. `draw()`: a random number, 0 to 1."""

    def __init__(self, own: Callable[[], Target], draw: Callable[[], float]) -> None:
        self._own = own
        self._draw = draw
        self._linked: dict[str, _Linked] = {}
        self._lost: dict[Target, _Lost] = {}  # in the order in which they were lost
        self._paced = 0.0  # no burst before this time

    def __iter__(self) -> Iterator[tuple[Target, _Lost]]:
        """All of them, the latest first."""
        return reversed(tuple(self._lost.items()))

    def __len__(self) -> int:
        return len(self._lost)

    def __contains__(self, target: Target) -> bool:
        return target in self._lost

    # --- facts ---

    def linked(
        self, record: NodeRecord, now: float, source: str = "", is_reached: bool = False
    ) -> None:
        """A node is linked, from this source. `is_reached`: it answered at its URL. If it was lost,
        perhaps as an earlier incarnation, it is found."""
        linked = _Linked(record, source, is_reached, now, 0)
        found = [
            at for at, each in self._lost.items() if _is_found(each.record, each.source, linked)
        ]
        for target in found:
            linked.tries = self._lost.pop(target).tries
        self._linked[record.id] = linked

    def revised(self, record: NodeRecord, source: str) -> None:
        """A linked node has another record, or another link from this source."""
        linked = self._linked[record.id]
        linked.source = source
        linked.is_reached = linked.is_reached and record.url == linked.record.url
        linked.record = record

    def parted(self, node_id: str, left: bool, now: float) -> None:
        """A node is no longer linked."""
        was = self._linked.pop(node_id)
        record, target = was.record, was.record.host_port
        others = self._linked.values()
        if target == self._own() or any(_is_found(record, was.source, other) for other in others):
            return  # another incarnation of it is linked
        self._lost.pop(target, None)
        tries = was.tries + 1 if now - was.since < SHORT_LIFE else 0
        self._lost[target] = _Lost(record, was.source, now, left, self._draw(), now, tries)
        if len(self._lost) > MAX_LOST:
            sources = Counter(each.source for each in self._lost.values())
            most = max(sources, key=sources.__getitem__)
            crowd = [(at, each.left) for at, each in self._lost.items() if each.source == most]
            del self._lost[next((at for at, left in crowd if left), crowd[0][0])]

    def answered(self, target: Target) -> None:
        """A node answered at the URL of a lost one, perhaps this node itself: either it is the lost
        one, or that is not there any more."""
        self._lost.pop(target, None)

    def is_elsewhere(self, record: NodeRecord) -> bool:
        """Whether a node is linked that says it is an incarnation of this lost one."""
        return any(are_incarnations(record, other.record) for other in self._linked.values())

    # --- what to do ---

    def due(self, now: float, is_bootstrapped: bool, busy: Container[Target]) -> list[Target]:
        """Which targets to dial now. `is_bootstrapped`: every bootstrap group has a link; `busy`:
        targets that are dialed for other reasons."""
        over = [target for target, each in self._lost.items() if now - each.lost > DAY]
        for target in over:
            del self._lost[target]
        if now < self._paced:
            return []
        longest = self._longest(is_bootstrapped)
        waiting = sorted((_due(each, longest), target) for target, each in self._lost.items())
        chosen: list[Target] = []
        for due, target in waiting:
            if due > now or len(chosen) == BURST:
                break
            each = self._lost[target]
            each.tried, each.draw = now, self._draw()
            if target not in busy:
                each.tries += 1
                chosen.append(target)
        if chosen:
            self._paced = now + PACE
        return chosen

    def wait(self, now: float, is_bootstrapped: bool) -> float | None:
        """Seconds until `due` is to be called; None while no node is lost."""
        if not self._lost:
            return None
        longest = self._longest(is_bootstrapped)
        first = min(_due(each, longest) for each in self._lost.values())
        return max(first, self._paced, now) - now

    def retry_in(self, target: Target, now: float, is_bootstrapped: bool) -> float:
        """Seconds until the next attempt at this target, if it is not dialed for other reasons."""
        return max(0.0, _due(self._lost[target], self._longest(is_bootstrapped)) - now)

    def _longest(self, is_bootstrapped: bool) -> float:
        longest = LONGEST_BOOTSTRAPPED if is_bootstrapped else LONGEST_ALONE
        return max(longest, PAUSE_PER_NODE * len(self._lost))


def _due(each: _Lost, longest: float) -> float:
    """When to try next. Computed anew each time: a pause that began while the node was bootstrapped
    must not go on when it has no link left."""
    first = FIRST_LEFT if each.left else FIRST_LOST
    pause = min(math.ldexp(first, min(each.tries, 16)), longest)
    return each.tried + pause * (1 + each.draw) / 2


def _is_found(lost: NodeRecord, source: str, linked: _Linked) -> bool:
    """Whether a lost node that connected from this source is found in a linked one."""
    if lost.id == linked.record.id:
        return True
    is_at_its_url = lost.host_port == linked.record.host_port
    if is_at_its_url and linked.is_reached:
        return True
    return source == linked.source and (is_at_its_url or are_incarnations(lost, linked.record))
