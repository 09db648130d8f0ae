"""How large the TCP segments of a connection may be, on paths that lose larger ones without a word.

A path that silently drops what is larger than 1,280 or 1,000 bytes lets a connection come up, whose
first segments are small, and then stops it for good. The one that dials can help both directions:
what it says in its SYN limits what the other end sends as well (tcp(7), TCP_MAXSEG). So after a
connection that got stuck, the next one to the same target has smaller segments, and when that has
come up, the limit is remembered.

    no limit ── stuck ──> 1,200 on trial ── stuck ──> 536 on trial
       ^                    │      └── it came up ──> kept for KEPT seconds
       └── TRIAL seconds ───┘

A listener that says nothing at all may have lost its only segment that way, or may be busy. Then a
limit is tried as well, but what comes up with it proves nothing, and the limit is not kept.

1,200 bytes and headers fit into the 1,280 that IPv6 guarantees, 536 into the 576 that every IPv4
host must take (RFC 8200, section 5; RFC 9293, section 3.7.1).

No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.addresses import Target

LIMITS = (1200, 536)  # bytes of a segment, tried in this order
TRIAL = 60.0  # seconds for which a limit is tried
KEPT = 86_400.0  # seconds for which it is remembered once it has helped
MOST = 256  # targets that are remembered


@dataclass(slots=True)
class _Limit:
    size: int
    until: float
    is_certain: bool  # that the path loses large segments, if this helps
    has_helped: bool = False


class SegmentLimits:
    """Of all targets."""

    def __init__(self) -> None:
        self._limits: dict[Target, _Limit] = {}

    def of(self, target: Target, now: float) -> int | None:
        """Bytes that a segment of the next connection to it may have; None: as many as the devices
        at both ends take."""
        limit = self._limits.get(target)
        if limit is not None and now >= limit.until:
            del self._limits[target]
            limit = None
        return limit.size if limit is not None else None

    def stuck(self, target: Target, now: float, segment: int, is_certain: bool = True) -> None:
        """A connection that sends segments of so many bytes is stuck: try smaller ones. The limit
        counts TCP's options, and what is sent does not, so a limit is above what it leads to.
        `is_certain`: it is no listener that is busy."""
        limit = self.of(target, now)
        if limit is not None:
            before = self._limits[target]
            is_certain = before.is_certain = is_certain or before.is_certain
            if limit < segment:
                return  # it was made before the limit that is being tried
        smaller = next((each for each in LIMITS if each < segment), LIMITS[-1])
        self._limits.pop(target, None)
        if len(self._limits) >= MOST:
            del self._limits[next(iter(self._limits))]  # the oldest
        self._limits[target] = _Limit(smaller, now + TRIAL, is_certain)

    def came_up(self, target: Target, now: float, segment: int) -> int | None:
        """A connection came up that sends segments of so many bytes. The limit that has helped, if
        that is news."""
        limit = self._limits.get(target)
        if limit is None or segment > limit.size or not limit.is_certain:
            return None
        is_news, limit.has_helped, limit.until = not limit.has_helped, True, now + KEPT
        return limit.size if is_news else None

    def forget(self, target: Target) -> None:
        """The connection to it was not stuck but cut, so nothing is known about sizes."""
        limit = self._limits.get(target)
        if limit is not None and not limit.has_helped:
            del self._limits[target]

    def forget_all(self) -> None:
        """This host has other addresses, so its paths may be other ones."""
        self._limits.clear()
