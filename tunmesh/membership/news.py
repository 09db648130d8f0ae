"""What a node has to tell its peers of its own links: changes, and from time to time all of them.

Changes are gathered until they are asked for. The full syncs that a node sends are numbered, with
one counter for all peers (membership.hearsay says why).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from tunmesh.wire.gossip import Gossip


class News(Enum):
    """What the node has to tell its peers."""

    NONE = 0
    ROUTINE = 1  # links to nodes that others vouch for as well
    URGENT = 2  # some node may be waiting for it: a new node, or one that was lost


class Newsroom:
    """Gathers the news of one node."""

    def __init__(self) -> None:
        self._untold: dict[str, bool] = {}  # links made, or else lost, since the last gossip
        self._is_urgent = False
        self._generation = 0  # of the latest full sync

    @property
    def news(self) -> News:
        """What `gossip` would tell."""
        if not self._untold:
            return News.NONE
        return News.URGENT if self._is_urgent else News.ROUTINE

    def linked(self, node_id: str, is_known: bool) -> None:
        """A node is linked. `is_known`: others vouch for it."""
        self._untold[node_id] = True
        self._is_urgent |= not is_known

    def parted(self, node_id: str) -> None:
        """A node is no longer linked."""
        self._untold[node_id], self._is_urgent = False, True

    def gossip(self) -> Gossip | None:
        """What changed since the last call, if anything did."""
        untold, self._untold, self._is_urgent = self._untold, {}, False
        linked = tuple(node_id for node_id, is_linked in untold.items() if is_linked)
        lost = tuple(node_id for node_id, is_linked in untold.items() if not is_linked)
        return Gossip(0, linked, lost) if untold else None

    def full_sync(self, linked: Iterable[str]) -> Gossip:
        """All nodes that are linked."""
        self._generation += 1
        return Gossip(self._generation, tuple(linked))
