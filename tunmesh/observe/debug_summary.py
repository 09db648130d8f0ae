"""What happened in the last seconds, in a line or two, for who debugs a node: gossip and dropped
packets, of which each alone would be a line too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tunmesh.logs.journal import Journal


class Digest:
    """Counts between two tellings. The node adds to what was said: gossip that was `told` and
    `heard`, nodes that it `asked` about and `was_asked` about."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._dropped: Counter[str] = Counter()
        self._by_peer: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self.told = self.heard = self.asked = self.was_asked = 0

    def tell(
        self, dropped: Mapping[str, int], dropped_by_peer: Mapping[str, int], known: int
    ) -> None:
        """Log it, unless there was nothing. `dropped` are packets by reason, `dropped_by_peer`
        those on the way to a linked node, both since the start; `known` nodes there are.
        """
        linked = len(dropped_by_peer)
        if self.told or self.heard or self.asked or self.was_asked:
            self._journal.debug(
                "gossip: told {told} times, heard {heard}; asked about {asked} nodes, was asked "
                "about {was_asked}; knows {known} nodes, linked with {linked}",
                event="gossip",
                told=self.told,
                heard=self.heard,
                asked=self.asked,
                was_asked=self.was_asked,
                known=known,
                linked=linked,
            )
        self._begin()
        totals, by_peer = Counter(dropped), Counter(dropped_by_peer)
        reasons, peers = _listed(totals - self._dropped), _listed(by_peer - self._by_peer)
        self._dropped, self._by_peer = totals, by_peer
        if reasons:
            self._journal.debug(
                "packets were not carried: {reasons}"
                + ("; on the way to {peers}" if peers else ""),
                event="dropped",
                reasons=reasons,
                peers=peers,
            )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
