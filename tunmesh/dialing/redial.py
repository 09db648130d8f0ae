"""Dials lost nodes, as membership.lost_nodes says: one timer, and one dialer for each of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

from tunmesh.addresses import Target, shown_target
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.membership.lost_nodes import LostNodes
from tunmesh.status.peers import LostNode
from tunmesh.timers import Timer
from tunmesh.wire.messages import LEAVING
from tunmesh.wire.records import NodeRecord


class Redialer:
    """Reaches lost nodes again.

    - `make_dialer(target)`: a dialer that makes one attempt each time it is started;
    - `is_bootstrapped()`: whether every bootstrap group has a link;
    - `busy()`: the targets that are dialed for other reasons.
    """

    def __init__(
        self,
        reactor: Any,
        nodes: LostNodes,
        make_dialer: Callable[[Target], PeerFactory],
        is_bootstrapped: Callable[[], bool],
        busy: Callable[[], Container[Target]],
    ) -> None:
        self._reactor = reactor
        self._nodes = nodes
        self._make_dialer = make_dialer
        self._is_bootstrapped = is_bootstrapped
        self._busy = busy
        self._dialers: dict[Target, PeerFactory] = {}
        self._timer = Timer(reactor)
        self._is_abandoned = False

    def linked(self, record: NodeRecord, source: str, is_reached: bool) -> None:
        """A node is linked, from this source; `is_reached`: it answered at its URL."""
        self._nodes.linked(record, self._reactor.seconds(), source, is_reached)
        self._drop_dialers()

    def revised(self, record: NodeRecord, source: str) -> None:
        """A linked node has another record, or another link from this source."""
        self._nodes.revised(record, source)

    def parted(self, node_id: str, reason: str) -> None:
        """A node is no longer linked."""
        self._nodes.parted(node_id, reason == LEAVING, self._reactor.seconds())
        self.dial_due()

    def answered(self, dialer: PeerFactory | None) -> None:
        """This dialer reached a node, perhaps this one."""
        if dialer is not None and dialer is self._dialers.get(dialer.target):
            self._nodes.answered(dialer.target)
            self._drop_dialers()

    def dial_due(self) -> None:
        """Dial the nodes that are due, and set the timer for the next ones. To be called as well
        when `is_bootstrapped` has changed."""
        if self._is_abandoned:
            return
        now, is_bootstrapped = self._reactor.seconds(), self._is_bootstrapped()
        for target in self._nodes.due(now, is_bootstrapped, self._busy()):
            if target not in self._dialers:
                self._dialers[target] = self._make_dialer(target)
            self._dialers[target].start()
        self._drop_dialers()
        wait = self._nodes.wait(now, is_bootstrapped)
        if wait is not None:
            self._timer.start_within(wait, self.dial_due)

    def statuses(self) -> Iterator[LostNode]:
        """Every lost node of which no other incarnation is linked, and that is not dialed for other
        reasons, the latest first."""
        now, is_bootstrapped, busy = self._reactor.seconds(), self._is_bootstrapped(), self._busy()
        for target, each in self._nodes:
            if target in busy or self._nodes.is_elsewhere(each.record):
                continue
            dialer = self._dialers.get(target)
            yield LostNode(
                name=each.record.name,
                target=shown_target(target),
                ago=now - each.lost,
                left=each.left,
                attempts=each.tries,
                why=dialer.why if dialer is not None else "",
                retry_in=self._nodes.retry_in(target, now, is_bootstrapped),
            )

    def abandon(self) -> None:
        """Stop dialing."""
        self._is_abandoned = True
        self._timer.stop()
        for dialer in self._dialers.values():
            dialer.abandon()

    def _drop_dialers(self) -> None:
        """Those of nodes that are not lost any more. An attempt that is under way may go on."""
        for target in [target for target in self._dialers if target not in self._nodes]:
            self._dialers.pop(target).stop()
