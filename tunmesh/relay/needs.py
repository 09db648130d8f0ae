"""Which nodes are to be dialed through relays, and when.

    wanted ──┬── lost its direct link: soon ────────────────────────┐
             ├── its address does not answer: after PATIENCE ───────┤
             ├── it answers, and is no link for a while: later ─────┼──> due ──> tried
             └── a dial has failed: at once ────────────────────────┘      ^       │
                                                                           └───────┘
                                                              in vain: a pause, longer each time

So the direct dial always comes first. Of the two nodes the one with the smaller id dials; the other
one waits for HEAD_START longer, in case it cannot.

The machine does no I/O and reads no clock: `now` is in seconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 0.5  # seconds for an address to answer
HANDSHAKE = 2.0  # seconds that a node which has answered may take for the handshake
LOST = 0.2  # seconds after a lost link: news that the node itself is gone may come
HEAD_START = 1.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts
FEW = 64  # turns that are over, which may be left behind whatever
# Neighbours that can end the pause before the next attempt to dial one node, each of them once in
# LONGEST_PAUSE: a member may say over and over that it is linked with it.
MAX_HEEDED = 16


@dataclass(slots=True)
class _Need:
    """A node that is wanted and not linked."""

    behind: float  # HEAD_START if the other node is to go first
    due: float = math.inf
    pause: float = FIRST_PAUSE
    is_under_way: bool = False
    not_before: float = -math.inf  # after an attempt in vain
    heeded: dict[str, float] | None = None  # the neighbours that have ended a pause, and when

    def heeds(self, neighbour: str, now: float) -> bool:
        """Whether a word of this neighbour ends the pause. To be called once for each."""
        recent = {each: at for each, at in (self.heeded or {}).items() if at > now - LONGEST_PAUSE}
        is_heeded = neighbour not in recent and len(recent) < MAX_HEEDED
        if is_heeded:
            recent[neighbour] = now
        self.heeded = recent
        return is_heeded


class Needs:
    """Of one node. `draw()`: a random number from 0 to 1."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._needs: dict[str, _Need] = {}
        self._lost: set[str] = set()  # ids of nodes that were linked a moment ago
        # When nodes are due, the first one first. A member may have thousands wanted, so those
        # that are not due any more, or due at another time, are left there until it is their turn.
        self._turns: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._needs)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._needs

    # --- facts ---

    def lost(self, node_id: str) -> None:
        """This node is no longer linked. If it is wanted all the same, that follows at once."""
        self._lost = {node_id}

    def wanted(self, node_id: str, is_smaller: bool, now: float) -> None:
        """This node is dialed directly from now on. `is_smaller`: its id is larger than ours."""
        need = self._needs.setdefault(node_id, _Need(0.0 if is_smaller else HEAD_START))
        if node_id in self._lost:
            self._lost.discard(node_id)
            self._advance(node_id, need, now + LOST + need.behind)

    def trying(self, node_id: str, now: float) -> None:
        """A connection to its address begins."""
        self._bring_forward(node_id, now, PATIENCE)

    def answered(self, node_id: str, now: float) -> None:
        """Its address has answered."""
        need = self._needs.get(node_id)
        if need is not None and not need.is_under_way:
            need.due = math.inf
            self._advance(node_id, need, max(now + HANDSHAKE, need.not_before))

    def failed(self, node_id: str, now: float) -> None:
        """A dial has failed."""
        self._bring_forward(node_id, now, 0.0)

    def vouched(self, node_id: str, neighbour: str, now: float) -> None:
        """This linked node says that it is linked with that one, so a pause is over."""
        need = self._needs.get(node_id)
        if need is None or (need.not_before <= now and not need.is_under_way):
            return
        if need.heeds(neighbour, now):
            need.not_before, need.pause = now, FIRST_PAUSE
            self._advance(node_id, need, now + need.behind)

    def satisfied(self, node_id: str) -> None:
        """It is linked, or not wanted any more."""
        self._needs.pop(node_id, None)
        self._lost.discard(node_id)

    def tried(self, node_id: str, now: float) -> None:
        """An attempt was in vain."""
        need = self._needs.get(node_id)
        if need is None:
            return
        need.is_under_way, need.due = False, math.inf
        need.not_before = now + need.pause * (1 + self._draw()) / 2
        self._advance(node_id, need, need.not_before)
        need.pause = min(2 * need.pause, LONGEST_PAUSE)

    # --- what to do ---

    def due(self, now: float) -> list[tuple[str, bool]]:
        """The nodes to dial now, and whether that was in vain before. Of each, `tried` or
        `satisfied` is to follow."""
        chosen: list[tuple[str, bool]] = []
        while self._soonest() <= now:
            _, node_id = heapq.heappop(self._turns)
            need = self._needs[node_id]
            need.is_under_way, need.due = True, math.inf
            chosen.append((node_id, need.pause > FIRST_PAUSE))
        return chosen

    def wait(self, now: float) -> float | None:
        """Seconds until a node may be due; None: none will be before something changes."""
        soonest = self._soonest()
        if soonest == math.inf:
            return None
        return max(0.0, soonest - now)

    def _soonest(self) -> float:
        """When the first one is due, which is the first turn then."""
        turns = self._turns
        while turns:
            due, node_id = turns[0]
            need = self._needs.get(node_id)
            if need is not None and need.due == due:
                return due
            heapq.heappop(turns)
        return math.inf

    def _bring_forward(self, node_id: str, now: float, patience: float) -> None:
        need = self._needs.get(node_id)
        if need is not None and not need.is_under_way:
            self._advance(node_id, need, max(now + patience + need.behind, need.not_before))

    def _advance(self, node_id: str, need: _Need, due: float) -> None:
        if need.is_under_way or due >= need.due:
            return
        need.due = due
        if len(self._turns) > 2 * len(self._needs) + FEW:
            self._turns = [
                (each.due, other) for other, each in self._needs.items() if each.due < math.inf
            ]
            heapq.heapify(self._turns)
        else:
            heapq.heappush(self._turns, (due, node_id))
