"""Which neighbours are asked to carry a link to a node.

    neighbours that say they are linked with it ──> choose ──> up to MOST, asked at once
                                                      ^            │
                   what came of asking, by source ────┴────────────┘

A member can have many identities, all of them near, and say of each that it is linked with
everybody. So what came of asking for a node is remembered of the source that the neighbour comes
from (tunmesh.addresses), not only of the neighbour:

- it has failed when it was refused or not answered, and when a stream was open and no link came of
  it that lasted. Only those sources are asked that have failed least often, since the first stream
  that is open wins;
- of one source a second neighbour is asked after the first ones of all others.

A neighbour that has just refused is not asked for a while (relay.refusals).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import inf
from typing import NamedTuple

MOST = 3  # neighbours that are asked at once
MAX_REMEMBERED = 4096  # pairs of sources and nodes: the newest


class Neighbour(NamedTuple):
    """A linked node that says that it is linked with the one that is wanted."""

    id: str
    source: str
    round_trip: float | None = None  # seconds; None: not known yet


class Carriers:
    """Of one node."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], int] = {}  # by source and node

    def choose(self, node_id: str, neighbours: Collection[Neighbour]) -> list[str]:
        """The ids of those to ask for a stream to this node, the best ones first."""
        fewest = min((self._failed(each.source, node_id) for each in neighbours), default=0)
        turns: Counter[str] = Counter()
        ranked: list[tuple[int, int, str]] = []
        for place, each in enumerate(sorted(neighbours, key=_nearest)):
            if self._failed(each.source, node_id) == fewest:
                ranked.append((turns[each.source], place, each.id))
                turns[each.source] += 1
        return [neighbour for *_, neighbour in sorted(ranked)[:MOST]]

    def failed(self, source: str, node_id: str) -> None:
        """No link with that node, or none that lasted, came of asking a neighbour from this
        source."""
        count = self._failed(source, node_id) + 1
        self._failures.pop((source, node_id), None)
        self._failures[source, node_id] = count  # as the newest
        if len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]

    def _failed(self, source: str, node_id: str) -> int:
        return self._failures.get((source, node_id), 0)


def _nearest(neighbour: Neighbour) -> tuple[float, str]:
    return (inf if neighbour.round_trip is None else neighbour.round_trip), neighbour.id
