"""A line or two about the last few seconds, at debug level: gossip and dropped packets, of which
a line for each would be too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tunmesh.logs.journal import Journal


class DebugSummary:
    """Counts from one `log` to the next."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._dropped: Counter[str] = Counter()
        self._dropped_by_peer: Counter[str] = Counter()
        self._reset()

    def _reset(self) -> None:
        self._told = self._heard = self._asked = self._was_asked = 0

    def gossip_sent(self) -> None:
        self._told += 1

    def gossip_received(self) -> None:
        self._heard += 1

    def asked(self, nodes: int) -> None:
        """This node asked another one who so many nodes are."""
        self._asked += nodes

    def was_asked(self, nodes: int) -> None:
        """And the other way round."""
        self._was_asked += nodes

    def log(
        self, dropped: Mapping[str, int], dropped_by_peer: Mapping[str, int], known: int
    ) -> None:
        """Log what there was, if anything. `dropped`: packets by reason, `dropped_by_peer`: those
        on the way to a linked node, both since the start; `known`: how many nodes are known."""
        if self._told or self._heard or self._asked or self._was_asked:
            self._journal.debug(
                "gossip: sent {told} times, received {heard} times; asked about {asked} nodes, was "
                "asked about {was_asked}; knows {known} nodes, linked with {linked}",
                event="gossip",
                told=self._told,
                heard=self._heard,
                asked=self._asked,
                was_asked=self._was_asked,
                known=known,
                linked=len(dropped_by_peer),
            )
        self._reset()
        totals, by_peer = Counter(dropped), Counter(dropped_by_peer)
        reasons = _listed(totals - self._dropped)
        peers = _listed(by_peer - self._dropped_by_peer)
        self._dropped, self._dropped_by_peer = totals, by_peer
        if reasons:
            self._journal.debug(
                "packets dropped: {reasons}" + ("; on the way to {peers}" if peers else ""),
                event="dropped",
                reasons=reasons,
                peers=peers,
            )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
