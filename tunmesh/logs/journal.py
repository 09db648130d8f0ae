"""What a node logs, and how often: peers can cause events without end, but not lines.

Nothing here, or anywhere, logs per packet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

from twisted.logger import Logger

from tunmesh.rate_limit import SharedBucket, TokenBucket

THROTTLE_INTERVAL = 60.0  # seconds between two lines of a kind at first
THROTTLE_LONGEST = 3600.0  # and at last
MAX_THROTTLED = 1024  # kinds; when there are more, all are forgotten
BURST = 1000  # lines that peers can cause at once: a mesh that starts makes hundreds
PACE = 10.0  # seconds for one line more
DEBUG_PACE = 1.0  # the same for lines at debug level, which have a bucket of their own


class Throttle:
    """Says when an event of a kind may be logged: the first at once, the next after
    THROTTLE_INTERVAL, and as long as they go on after twice as long each time, up to
    THROTTLE_LONGEST. What never ends (a peer that only others can reach) makes a few lines a day,
    not one a minute."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._last: dict[Hashable, tuple[float, float, int]] = {}  # when, how long, left out

    def admit(self, kind: Hashable) -> int | None:
        """How many events of this kind were left out before this one; None if this one is."""
        now = self._seconds()
        since, interval, left_out = self._last.get(kind, (-math.inf, 0.0, 0))
        if now - since < interval:
            self._last[kind] = (since, interval, left_out + 1)
            return None
        if len(self._last) >= MAX_THROTTLED:
            self._last.clear()
        longer = min(2 * interval, THROTTLE_LONGEST) if left_out else THROTTLE_INTERVAL
        self._last[kind] = (now, longer, 0)
        return left_out

    def forget(self, kind: Hashable) -> None:
        """It is over: the next event of this kind will be the first one."""
        self._last.pop(kind, None)


class Journal:
    """The log of one node. Peers can cause warnings, so these go through a Throttle. Peers that
    come and go under ever new names cannot fill the disk either: lines other than errors are
    limited to BURST at once and one each PACE seconds, of which each source that causes lines has a
    share (`by`: addresses.source_of; empty for the node itself). While `is_debugging()`, warnings
    that the Throttle suppresses are logged at debug level."""

    def __init__(
        self,
        log: Logger,
        seconds: Callable[[], float],
        is_debugging: Callable[[], bool] = lambda: False,
    ) -> None:
        self.error = log.error
        self._log = log
        self._is_debugging = is_debugging
        self._seconds = seconds
        self._lines = SharedBucket(BURST, 1 / PACE, seconds())
        self._left_out = 0
        self._debug_lines = TokenBucket(BURST, 1 / DEBUG_PACE, seconds())
        self._debug_left_out = 0
        self._throttle = Throttle(seconds)
        self.over = self._throttle.forget

    def info(self, text: str, by: str = "", **fields: object) -> None:
        if self._may_log(by):
            self._log.info(text, **fields)

    def warn(self, kind: Hashable, text: str, by: str = "", **fields: object) -> bool:
        """Log a warning of this kind, unless there was one lately. Returns whether it was."""
        left_out = self._throttle.admit(kind)
        if left_out is None:
            self.debug(text, **fields)
            return False
        if not self._may_log(by):
            return False
        more = " ({left_out} more like it)" if left_out else ""
        self._log.warn(text + more, left_out=left_out, **fields)
        return True

    def debug(self, text: str, **fields: object) -> None:
        """Log this if anybody is debugging."""
        if not self._is_debugging():
            return
        now = self._seconds()
        if self._debug_lines.wait(now):
            self._debug_left_out += 1
            return
        self._debug_lines.take(now)
        left_out, self._debug_left_out = self._debug_left_out, 0
        more = " ({left_out} debug lines before this one were left out)" if left_out else ""
        self._log.debug(text + more, left_out=left_out, **fields)

    def _may_log(self, source: str) -> bool:
        if not self._lines.try_take(self._seconds(), source):
            self._left_out += 1
            return False
        if self._left_out:
            text = "{lines} lines were left out: too many peers come and go"
            self._log.warn(text, event="left_out", lines=self._left_out)
            self._left_out = 0
        return True
