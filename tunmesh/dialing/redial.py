"""Dials the nodes that are remembered (membership.lost_nodes): one timer, a factory for each."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

from tunmesh.dialing.reconnect import PeerFactory, Target, shown_target
from tunmesh.membership.lost_nodes import Memory
from tunmesh.status import LostNode
from tunmesh.wire.messages import LEAVING
from tunmesh.wire.records import NodeRecord


class Redialer:
    """What reaches lost nodes again.

    - `make_dialer(target)`: a factory that makes one attempt each time it is started;
    - `is_helped()`: whether every bootstrap group has a link;
    - `busy()`: what is dialed for other reasons.
    """

    def __init__(
        self,
        reactor: Any,
        memory: Memory,
        make_dialer: Callable[[Target], PeerFactory],
        is_helped: Callable[[], bool],
        busy: Callable[[], Container[Target]],
    ) -> None:
        self._reactor = reactor
        self._memory = memory
        self._make_dialer = make_dialer
        self._is_helped = is_helped
        self._busy = busy
        self._dialers: dict[Target, PeerFactory] = {}
        self._timer: Any = None
        self._is_over = False

    def linked(self, record: NodeRecord, source: str, is_there: bool) -> None:
        """A node is linked, from this source; `is_there`: it was reached by its URL."""
        self._memory.linked(record, self._reactor.seconds(), source, is_there)
        self._drop_dialers()

    def parted(self, record: NodeRecord, reason: str) -> None:
        """A node is no longer linked."""
        self._memory.parted(record, reason == LEAVING, self._reactor.seconds())
        self.tend()

    def answered(self, dialer: PeerFactory | None) -> None:
        """A node, perhaps oneself, was reached by what this factory dialed."""
        if dialer is not None and dialer is self._dialers.get(dialer.target):
            self._memory.answered(dialer.target)
            self._drop_dialers()

    def tend(self) -> None:
        """Dial whoever is due, and come back for the next. To be called, too, when it has changed
        whether the node is helped."""
        if self._is_over:
            return
        now, is_helped = self._reactor.seconds(), self._is_helped()
        for target in self._memory.due(now, is_helped, self._busy()):
            if target not in self._dialers:
                self._dialers[target] = self._make_dialer(target)
            self._dialers[target].start()
        self._drop_dialers()
        wait = self._memory.wait(now, is_helped)
        if wait is not None:
            self._wake_in(wait)

    def lost(self) -> Iterator[LostNode]:
        """Every node that is remembered, of which no other life is linked, and that nothing else
        dials, the one that was linked last first."""
        now, is_helped, busy = self._reactor.seconds(), self._is_helped(), self._busy()
        for target, each in self._memory:
            if target in busy or self._memory.is_elsewhere(each.record):
                continue
            dialer = self._dialers.get(target)
            yield LostNode(
                name=each.record.name,
                target=shown_target(target),
                ago=now - each.lost,
                left=each.left,
                attempts=each.tries,
                why=dialer.why if dialer is not None else "",
                retry_in=self._memory.retry_in(target, now, is_helped),
            )

    def abandon(self) -> None:
        """Dial no more."""
        self._is_over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for dialer in self._dialers.values():
            dialer.abandon()

    def _drop_dialers(self) -> None:
        """Those of nodes that are not remembered any more. An attempt that is under way ends as it
        likes."""
        for target in [target for target in self._dialers if target not in self._memory]:
            self._dialers.pop(target).stop()

    def _wake_in(self, delay: float) -> None:
        if self._timer is None or not self._timer.active():
            self._timer = self._reactor.callLater(delay, self.tend)
        elif self._timer.getTime() > self._reactor.seconds() + delay:
            self._timer.reset(delay)
