"""What of the log events is written, and how often.

Events of ours carry `event`, a stable word (logs.events), and fields. Each belongs to a part of
the node, and each part may have a level of its own. Other software's are shown from warning level
on, unless their part, `other`, has a level of its own. Nothing here, or anywhere, logs per packet;
`Throttle` keeps what a peer can cause (failed handshakes, refusals) to a line now and then, with
the count of those left out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from zope.interface import implementer

from tunmesh.logs import formatting
from tunmesh.logs.events import OTHER, PARTS
from tunmesh.logs.formatting import level_of, part_of
from tunmesh.rate_limit import SharedBucket, TokenBucket

LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
THROTTLE_INTERVAL = 60.0  # seconds between two lines of a kind at first
THROTTLE_LONGEST = 3600.0  # and at last
MAX_THROTTLED = 1024
BURST = (
    1000  # lines that peers can cause at once, by all they do: a mesh that starts makes hundreds
)
PACE = 10.0  # seconds for one line more
DEBUG_PACE = 1.0  # the same for lines at debug level, which have a bucket of their own


@implementer(ILogObserver)
class Output:
    """Writes events from a level on, in a style ("text", which is what `text(event)` makes of it,
    or "json"). `levels` has other levels for some parts, as pairs. All that may be set anew at any
    time. `write(line)` says why the line is lost, or nothing; how many were is said as soon as one
    can be written again."""

    def __init__(
        self,
        write: Callable[[str], str],
        level: str,
        style: str,
        levels: Iterable[tuple[str, str]] = (),
        text: Callable[[LogEvent], str] = formatting.text_line,
    ) -> None:
        self._write = write
        self._text = text
        self._lost = 0
        self._why = ""
        self.set(level, style, levels)

    def set(self, level: str, style: str, levels: Iterable[tuple[str, str]]) -> None:
        self._least = dict.fromkeys(PARTS, LEVELS[level])
        self._least[OTHER] = max(LEVELS[level], LogLevel.warn)
        self._least.update({part: LEVELS[of_part] for part, of_part in levels})
        self.debugs = any(self._least[part] is LogLevel.debug for part in PARTS)
        self._line = formatting.json_line if style == "json" else self._text

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) >= self._least[part_of(event)]:
            if self._lost and not self._write(self._line(self._loss(event)) + "\n"):
                self._lost = 0
            self._why = self._write(self._line(event) + "\n")
            self._lost += bool(self._why)

    def _loss(self, event: LogEvent) -> LogEvent:
        """What there is to say of the lines before this event."""
        return {
            "log_time": event["log_time"],
            "log_level": LogLevel.warn,
            "log_format": "{lines} log lines before this one could not be written: {why}",
            "event": "log_lost",
            "log_namespace": "tunmesh",
            "lines": self._lost,
            "why": self._why,
        }


@implementer(ILogObserver)
class Recent:
    """The last KEPT events of ours from info on, and the warnings of others: as they are in a JSON
    line, with a number (`sequence`) that grows by one for each. `listeners` are called with every
    new one."""

    KEPT = 1000

    def __init__(self) -> None:
        self._events: deque[Mapping[str, object]] = deque(maxlen=self.KEPT)
        self._sequence = 0
        self.listeners: set[Callable[[Mapping[str, object]], None]] = set()

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) < (LogLevel.warn if part_of(event) == OTHER else LogLevel.info):
            return
        self._sequence += 1
        fields = {"sequence": self._sequence, **formatting.fields_of(event)}
        self._events.append(fields)
        for listener in tuple(self.listeners):
            listener(fields)

    def since(self, sequence: int) -> list[Mapping[str, object]]:
        """Those with a higher number that are still kept."""
        return [event for event in self._events if cast(int, event["sequence"]) > sequence]


class Throttle:
    """Says when an event of a kind may be logged: the first, the next after THROTTLE_INTERVAL, and
    as long as there are more, after twice as long each time, up to THROTTLE_LONGEST. What never
    ends (a peer that only others can reach) makes some lines a day, not one a minute."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._last: dict[Hashable, tuple[float, float, int]] = {}  # when, how long, left out

    def admit(self, kind: Hashable) -> int | None:
        """None: be silent. Otherwise log it; the number is of those left out since the last."""
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
        """It is over: the next event of this kind is the first one."""
        self._last.pop(kind, None)


class Journal:
    """The log of one node. Warnings are what peers can cause, so they go through a Throttle. Peers
    that come and go under ever new names cannot fill the disk either: but for errors there is only
    so much room, of which each source that lines are caused `by` has a share (tls.admission).
    While `is_debugging()`, what the Throttle keeps back is logged at debug level."""

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

    def warn(self, kind: Hashable, text: str, by: str = "", **fields: object) -> None:
        """Log a warning of this kind, unless there was one lately."""
        left_out = self._throttle.admit(kind)
        if left_out is None:
            self.debug(text, **fields)
        elif self._may_log(by):
            more = " ({left_out} more like it)" if left_out else ""
            self._log.warn(text + more, left_out=left_out, **fields)

    def debug(self, text: str, **fields: object) -> None:
        """Log what nobody but who debugs wants to read."""
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
