"""Whose advertised URL this node tries, and when, in order to tell its owner what came of it.

A node that dialed us may be behind NAT, or advertise a wrong URL, and never notice. So a few of its
peers try it: those CHECKERS sources that are first in the order of a hash of both ids. All peers
find roughly the same ones, and nobody has to ask. To try is to dial, as for a new link: that alone
proves that the URL leads to this very node, which counts it as one more link and neither as a
stranger nor as a failure. If the URL was dialed for another reason lately, that is enough.

    linked ── FIRST ──> turn ──┬── not among the checkers: LATER
                               ├── led there within FRESH: told at once
                               └── dial ──┬── it leads there: again after FRESH
                                          └── it does not: again after RETRY, then ever later

A member may cause a dial to any address by what it advertises, as with gossip. So each dial waits
for a slot and a budget of the node's source (dialing.dial_limit, dialing.dial_budget), addresses
that are not dialed at the word of others are not dialed here either (dialing.dialable); besides
there is one dial at a time, one in PACE seconds, and one in SOURCE_PACE seconds for each source,
however often its nodes come, go, or change their URLs.

No clock: `now` is in seconds. `draw()`: a random number from 0 to 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

CHECKERS = 3  # sources of peers that try the URL of a node
FIRST = 60.0  # seconds from the link to the first turn: a mesh that starts has better to do
RETRY, LONGEST_RETRY = 600.0, 4 * 3600.0
FRESH = 4 * 3600.0
LATER = 900.0
PACE, SOURCE_PACE = 2.0, 10.0
MAX_SOURCES = 1024  # whose last dial is remembered
# Nodes whose checkers are ranked in one call: that takes as long as a node has links.
MAX_LOOKED_AT = 16


@dataclass(slots=True)
class _Linked:
    url: str
    source: str
    turn: float  # when it is due
    reached: float = -math.inf  # when its URL led to it last
    failures: int = 0  # in a row


@dataclass(frozen=True, slots=True)
class Turn:
    """It is the turn of this node. `is_known`: its URL led there lately, so it need not be
    tried."""

    node_id: str
    is_known: bool


class UrlChecks:
    """Of the node with the id `me`."""

    def __init__(self, me: str, draw: Callable[[], float]) -> None:
        self._me = me
        self._draw = draw
        self._linked: dict[str, _Linked] = {}
        self._sources: dict[str, float] = {}  # when each may cause a dial again; the latest last
        self._paced = -math.inf  # when the next dial may be
        self._trying: str | None = None

    def linked(self, node_id: str, url: str, source: str, now: float) -> None:
        """This node is linked, from this source, and advertises this URL; also when one of both
        has changed."""
        known = self._linked.get(node_id)
        if known is None or known.url != url:
            self._linked[node_id] = _Linked(url, source, now + self._vary(FIRST))
        else:
            known.source = source

    def parted(self, node_id: str) -> None:
        """It is not linked any more."""
        self._linked.pop(node_id, None)

    def reached(self, node_id: str, url: str, now: float) -> None:
        """A link that was dialed at this URL leads to this node."""
        each = self._linked.get(node_id)
        if each is not None and each.url == url:
            each.reached, each.failures = now, 0

    def due(self, now: float, peers_of: Callable[[str], Iterable[tuple[str, str]]]) -> Turn | None:
        """Whose turn it is, if anybody's. A node whose URL is to be tried stays it until `ended`.
        `peers_of(id)`: the other nodes, and their sources, that are linked with it and with us."""
        if self._trying is not None:
            return None
        looked_at = 0
        for node_id, each in sorted(self._linked.items(), key=lambda item: item[1].turn):
            if each.turn > now or looked_at == MAX_LOOKED_AT:
                break
            is_known = now - each.reached < FRESH
            rests_until = max(self._paced, self._sources.get(each.source, -math.inf))
            if not is_known and now < rests_until:
                continue
            looked_at += 1
            if not is_chosen(self._me, node_id, peers_of(node_id)):
                each.turn = now + self._vary(LATER)
            elif is_known:
                each.turn = now + self._vary(FRESH)
                return Turn(node_id, is_known=True)
            else:
                self._trying = node_id
                self._paced = now + PACE
                self._rest(each.source, now)
                return Turn(node_id, is_known=False)
        return None

    def ended(self, node_id: str, url: str, has_reached: bool, now: float) -> bool:
        """The URL of the node whose turn it was has been tried. Returns whether the node is still
        linked, and advertises it."""
        self._trying = None
        each = self._linked.get(node_id)
        if each is None or each.url != url:
            return False
        if has_reached:
            each.reached, each.failures, pause = now, 0, FRESH
        else:
            pause = min(math.ldexp(RETRY, min(each.failures, 16)), LONGEST_RETRY)
            each.failures += 1
        each.turn = now + self._vary(pause)
        return True

    def _vary(self, pause: float) -> float:
        return pause * (0.5 + self._draw())

    def _rest(self, source: str, now: float) -> None:
        self._sources.pop(source, None)
        self._sources[source] = now + SOURCE_PACE
        if len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]


def is_chosen(me: str, about: str, peers: Iterable[tuple[str, str]]) -> bool:
    """Whether this node is one of those that try the URL of another one. `peers`: ids and sources
    of the other nodes that could."""
    mine = _rank(me, about)
    before = {source for peer, source in peers if peer != about and _rank(peer, about) < mine}
    return len(before) < CHECKERS


def _rank(peer: str, about: str) -> bytes:
    return hashlib.sha256(f"{about} {peer}".encode("ascii")).digest()[:8]
