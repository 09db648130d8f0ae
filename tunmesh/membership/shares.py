"""Who has filled how much of a table that has an end.

Everybody may fill it, as long as there is room. When there is none, who has less than his share
gets a place of the one who has most: so whoever fills it up, by one name or by a hundred, leaves
the others theirs. A share is what all places come to, divided by those who have any.
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """The places of everybody, by id."""

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
        """Who has most."""
        return max(self._places, key=lambda node_id: (self._places[node_id], node_id))
