"""Shares a table of limited size fairly among those who fill it.

Anybody may fill it while there is room. When it is full, a node that has less than its share gets a
place of the one that has most: so a node that fills it up, under one name or a hundred, leaves the
others theirs. A share is the number of places in use divided by the number of nodes that use
any.
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """The number of places in use, by node id."""

    def __init__(self) -> None:
        self._places: Counter[str] = Counter()
        self._total = 0

    def take(self, node_id: str) -> None:
        self._places[node_id] += 1
        self._total += 1

    def give_back(self, node_id: str) -> None:
        self._places[node_id] -= 1
        self._total -= 1
        if not self._places[node_id]:
            del self._places[node_id]

    def has_less(self, node_id: str) -> bool:
        """Whether it has less than its share."""
        sharers = len(self._places) + (node_id not in self._places)
        return (self._places[node_id] + 1) * sharers <= self._total

    def most(self) -> str:
        """The node that has most."""
        return max(self._places, key=lambda node_id: (self._places[node_id], node_id))
