"""Nodes that this one was linked with and is not any more: which of them to dial, and when.

Hearsay forgets a node that nobody is linked with (membership.roster), and a bootstrap group knows
no URLs but its own. Where the nodes that the mesh was bootstrapped from are gone for good, neither
helps two halves of it that lost each other, nor a node that was started again. So every node
remembers those that it was linked with itself, and dials each of them until it is linked again, or
for a DAY.

    linked ── no longer linked ──> remembered ── linked at its URL, whatever its id ──> linked
                                       │
                                       └── a DAY, too many others, another node there ──> forgotten

What is remembered is a URL: a node that was started again has another id. Only a link of one's own
is remembered, and what is remembered is told to nobody and counts as knowledge of nobody: the dead
cannot be kept alive by it.

**Who is found.** Names, addresses and URLs in records are claims. A member that says that it is at
the URL of a lost node, or is a later life of it, could make two nodes forget each other. So a lost
node is found only when it is linked itself, when somebody answers at its URL, or when who says so
comes from the same source as it did (tls.admission). Else it is dialed further, ever more
rarely: that costs a node that moved for good some attempts in a DAY.

**Cost.** There are at most MAX_REMEMBERED. When there are more, one of the source that most of them
came from is forgotten, so that many identities of one member do not displace the others: of those
that said that they leave, or else the one that was lost first. A node that said so is most often
gone for good, or back within a minute: it begins with a longer pause.

The pauses between two attempts at a node double, up to 15 s, as often as a bootstrap group is
dialed; up to two minutes where every group has a link, since the lost node will most likely come by
itself. The more nodes are remembered the longer the pauses are: all together cost about one attempt
a second at most, and never more than BURST at once. A link that does not last does not shorten the
pauses: two nodes that break each other's links would otherwise link and part as fast as they can.

The machine does no I/O and reads no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

from tunmesh.membership.name_conflicts import are_two_lives
from tunmesh.wire.records import NodeRecord

Target = tuple[str, int]  # host, port

MAX_REMEMBERED = 256
DAY = 86400.0  # seconds
# Seconds: the longest pause before the first attempt, by whether the node said that it leaves, and
# what it grows to, by whether every bootstrap group has a link.
FIRST_LOST, FIRST_LEFT = 1.0, 15.0
LONGEST_ALONE, LONGEST_HELPED = 15.0, 120.0
# Seconds that one more node makes the longest pause longer. A pause is drawn from its upper half.
PAUSE_PER_NODE = 1.5
BURST, PACE = 4, 1.0  # so many attempts at once, and the seconds from one burst to the next
SHORT_LIFE = 5.0  # seconds that a link must have lasted for the pauses to begin anew


@dataclass(slots=True)
class Remembered:
    """A node that is not linked. Times are seconds of the node's clock."""

    record: NodeRecord  # what it said last of itself
    source: str  # where it came from
    lost: float  # when it was no longer linked
    left: bool  # it said that it leaves
    draw: float  # 0 to 1, of the pause that goes on
    tried: float  # the beginning of that pause
    tries: int = 0


@dataclass(slots=True)
class _Linked:
    """A node that is linked: since when, and how often it had been tried before."""

    record: NodeRecord
    source: str
    is_there: bool  # it was reached at its URL
    since: float
    tries: int


class Memory:
    """The memory of one node, whose own URL leads to `own`. `draw()`: a random number, 0 to 1."""

    def __init__(self, own: Target, draw: Callable[[], float]) -> None:
        self._own = own
        self._draw = draw
        self._linked: dict[str, _Linked] = {}
        self._lost: dict[Target, Remembered] = {}  # the one that was lost last at the end
        self._paced = 0.0  # no burst before

    def __iter__(self) -> Iterator[tuple[Target, Remembered]]:
        """All that are remembered, the one that was linked last first."""
        return reversed(tuple(self._lost.items()))

    def __len__(self) -> int:
        return len(self._lost)

    def __contains__(self, target: Target) -> bool:
        return target in self._lost

    # --- facts ---

    def linked(
        self, record: NodeRecord, now: float, source: str = "", is_there: bool = False
    ) -> None:
        """A node is linked, from this source. `is_there`: it was reached by its URL. If it was
        remembered, perhaps from an earlier life, it is found."""
        linked = _Linked(record, source, is_there, now, 0)
        found = [
            at for at, each in self._lost.items() if _is_found(each.record, each.source, linked)
        ]
        for target in found:
            linked.tries = self._lost.pop(target).tries
        self._linked[record.id] = linked

    def parted(self, record: NodeRecord, left: bool, now: float) -> None:
        """A node is no longer linked."""
        was, target = self._linked.pop(record.id), record.host_port
        others = self._linked.values()
        if target == self._own or any(_is_found(record, was.source, other) for other in others):
            return  # another life of it is linked
        self._lost.pop(target, None)
        tries = was.tries + 1 if now - was.since < SHORT_LIFE else 0
        self._lost[target] = Remembered(record, was.source, now, left, self._draw(), now, tries)
        if len(self._lost) > MAX_REMEMBERED:
            sources = Counter(each.source for each in self._lost.values())
            most = max(sources, key=sources.__getitem__)
            crowd = [(at, each.left) for at, each in self._lost.items() if each.source == most]
            del self._lost[next((at for at, left in crowd if left), crowd[0][0])]

    def answered(self, target: Target) -> None:
        """Somebody, perhaps oneself, was reached at a remembered URL: the one that was remembered,
        or else it is not there any more."""
        self._lost.pop(target, None)

    def is_elsewhere(self, record: NodeRecord) -> bool:
        """Whether a node that says that it is a life of this remembered one is linked."""
        return any(are_two_lives(record, other.record) for other in self._linked.values())

    # --- what to do ---

    def due(self, now: float, is_helped: bool, busy: Container[Target]) -> list[Target]:
        """Whom to dial now. `is_helped`: every bootstrap group has a link; `busy`: what is dialed
        anyhow, for other reasons."""
        over = [target for target, each in self._lost.items() if now - each.lost > DAY]
        for target in over:
            del self._lost[target]
        if now < self._paced:
            return []
        longest = self._longest(is_helped)
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

    def wait(self, now: float, is_helped: bool) -> float | None:
        """Seconds until `due` is to be asked; None while nobody is remembered."""
        if not self._lost:
            return None
        longest = self._longest(is_helped)
        first = min(_due(each, longest) for each in self._lost.values())
        return max(first, self._paced, now) - now

    def retry_in(self, target: Target, now: float, is_helped: bool) -> float:
        """Seconds until the next attempt at this one, if it is not dialed for other reasons."""
        return max(0.0, _due(self._lost[target], self._longest(is_helped)) - now)

    def _longest(self, is_helped: bool) -> float:
        longest = LONGEST_HELPED if is_helped else LONGEST_ALONE
        return max(longest, PAUSE_PER_NODE * len(self._lost))


def _due(each: Remembered, longest: float) -> float:
    """When to try the next time. It is reckoned anew each time: a pause that began when all was
    well is not to go on when nobody is left."""
    first = FIRST_LEFT if each.left else FIRST_LOST
    pause = min(math.ldexp(first, min(each.tries, 16)), longest)
    return each.tried + pause * (1 + each.draw) / 2


def _is_found(lost: NodeRecord, source: str, linked: _Linked) -> bool:
    """Whether a node that was lost, and came from this source, is found in one that is linked."""
    if lost.id == linked.record.id:
        return True
    is_at_its_url = lost.host_port == linked.record.host_port
    if is_at_its_url and linked.is_there:
        return True
    return source == linked.source and (is_at_its_url or are_two_lives(lost, linked.record))
