"""Which of several nodes with one name has it: the incumbent.

Like an address (membership.claims), a name stays with the node that had it. Nobody is asked: each
node decides by what it has seen itself.

- A node that was linked before another one came has the better right, whatever the newcomer says of
  itself. So no member can take the name of a node away from it where that node is known.
- A node on probation cannot know who was first. Among those that it is linked with by then, the
  settled ones go first, then those that started earlier by their own clocks
  (membership.precedence). If it has a namesake itself, it goes by what the two found when they were
  linked (`was_first`), and both found the same.
- A later incarnation of a node has its name at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tunmesh.membership.precedence import is_later_incarnation, seniority
from tunmesh.wire.records import NodeRecord


class Linked(Protocol):
    """A linked node."""

    @property
    def record(self) -> NodeRecord: ...
    @property
    def was_first(self) -> bool:
        """Whether it takes precedence over this node."""

    @property
    def is_early(self) -> bool:
        """Whether it was linked while this node was on probation."""


def by_right(me: NodeRecord, peers: Iterable[Linked]) -> list[NodeRecord]:
    """The records of all, who has the better right to a name first. `peers` are in the order in
    which they were linked."""
    known = list(peers)
    early = sorted((p for p in known if p.is_early), key=lambda p: seniority(p.record))
    return [
        *(peer.record for peer in early if peer.was_first),
        me,
        *(peer.record for peer in early if not peer.was_first),
        *(peer.record for peer in known if not peer.is_early),
    ]


def incumbent(records: Sequence[NodeRecord]) -> NodeRecord:
    """Which of these namesakes, in the order of `by_right`, has the name."""
    found = records[0]
    for record in records:
        if is_later_incarnation(record, found):
            found = record
    return found
