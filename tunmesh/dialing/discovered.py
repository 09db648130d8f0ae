"""Dials the nodes that other nodes vouch for, and those whose session is to be renewed.

Who vouches has the target dialed, so what one member may cost is bounded: dialing.dial_limit has
the fairness among those who vouch, dialing.dial_budget how many dials that lead to nobody they may
cause, dialing.dialable which addresses are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from tunmesh.dialing.connections import Connector
from tunmesh.dialing.dial_budget import DialBudget
from tunmesh.dialing.dial_limit import Turns
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.logs import bugs
from tunmesh.tls.underlay import Rule
from tunmesh.wire.records import NodeRecord

# Attempts at a time: for those whom one source vouches for, and in all. Few, because in a mesh that
# starts as a whole each node makes so many, and all of them together must not take longer than a
# handshake may.
MAX_DIALS, MAX_ALL_DIALS = 4, 6


class LearnedDials:
    """The dialers of one node, by the id of whom they are for. `sources(id)`: where those come from
    who vouch for it; `spent(source)` is told when a source has used up its budget."""

    def __init__(
        self,
        reactor: Any,
        connector: Connector,
        rule: Rule,
        draw: Callable[[], float],
        sources: Callable[[str], Collection[str]],
        spent: Callable[[str], None],
    ) -> None:
        self._connector = connector
        self._rule = rule
        self._sources = sources
        self._dialers: dict[str, PeerFactory] = {}
        self._turns = Turns(
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
        """Those that are at it."""
        return ((each, dialer) for each, dialer in self._dialers.items() if dialer.continueTrying)

    def is_for(self, node_id: str, dialer: PeerFactory) -> bool:
        """Whether this factory is the one that dials this node."""
        return self._dialers.get(node_id) is dialer

    def wanted(self, dialer: PeerFactory) -> str | None:
        """The id of the node that this factory is to reach."""
        return next((each for each, other in self._dialers.items() if other is dialer), None)

    def dial(self, record: NodeRecord, delay: float) -> None:
        """Try to link with this node until that is stopped."""
        dialer = self._dialers.get(record.id)
        if dialer is None:
            dialer = self._dialers[record.id] = self._connector.dialer(
                (record.host_port,),
                self._turns,
                rule=self._rule,
                sources=lambda: self._sources(record.id),
            )
        dialer.start(delay)

    def vouched(self, node_ids: Iterable[str], source: str) -> None:
        """Somebody who comes from there vouches for these, too."""
        for node_id in node_ids:
            dialer = self._dialers.get(node_id)
            if dialer is not None:
                dialer.vouched(source)

    def stop(self, node_id: str) -> None:
        """It is linked."""
        if node_id in self._dialers:
            self._dialers[node_id].stop()

    def forget(self, node_id: str) -> None:
        """Nobody vouches for it any more."""
        dialer = self._dialers.pop(node_id, None)
        if dialer is not None:
            dialer.abandon()

    def abandon(self) -> None:
        """Dial no more."""
        for dialer in self._dialers.values():
            dialer.abandon()
        self._turns.stop()
