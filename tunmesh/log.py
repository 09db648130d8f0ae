"""How log events look on standard output: text for people, or JSON lines for machines.

    2026-11-22T22:05:08.123Z info  linked with beta (dialed, 1.2 ms)
    {"time": "2026-11-22T22:05:08.123Z", "level": "info", "event": "linked", "text": …, "peer": …}

Events of ours carry `event`, a stable word, and fields; other software's are shown from warning
level on. Nothing here, or anywhere, logs per packet; `Throttle` keeps what a peer can cause (failed
handshakes, refusals) to a line now and then, with the count of those left out.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import cast

from constantly import NamedConstant
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
THROTTLE_INTERVAL = 60.0  # seconds between two lines of a kind at first
THROTTLE_LONGEST = 3600.0  # and at last
MAX_THROTTLED = 1024
ROOM = (
    1000  # lines that peers can cause at once, whatever they do: a mesh that starts makes hundreds
)
PACE = 10.0  # seconds for one line more


@implementer(ILogObserver)
class Output:
    """Writes our events from a level on, those of others from the higher of it and a warning on,
    in this style ("text" or "json"). Both may be set anew at any time. `write(line)` says why the
    line is lost, or nothing; how many were is said as soon as one can be written again."""

    def __init__(self, write: Callable[[str], str], level: str, style: str) -> None:
        self._write = write
        self._lost = 0
        self._why = ""
        self.set(level, style)

    def set(self, level: str, style: str) -> None:
        self._least = LEVELS[level]
        self._line = _json_line if style == "json" else _text_line

    def __call__(self, event: LogEvent) -> None:
        least = self._least if _is_ours(event) else max(self._least, LogLevel.warn)
        if _level(event) >= least:
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
        if _level(event) < (LogLevel.info if _is_ours(event) else LogLevel.warn):
            return
        self._sequence += 1
        fields = {"sequence": self._sequence, **_fields(event)}
        self._events.append(fields)
        for listener in tuple(self.listeners):
            listener(fields)

    def since(self, sequence: int) -> list[Mapping[str, object]]:
        """Those with a higher number that are still kept."""
        return [event for event in self._events if cast(int, event["sequence"]) > sequence]


def _is_ours(event: LogEvent) -> bool:
    return str(event.get("log_namespace", "")).startswith("tunmesh")


def _level(event: LogEvent) -> NamedConstant:
    level: NamedConstant = event.get("log_level", LogLevel.info)
    return level


def _time(event: LogEvent) -> str:
    time = datetime.fromtimestamp(event["log_time"], UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _failure(event: LogEvent) -> Failure | None:
    """The exception that was logged; events of Twisted's older API keep it under another name."""
    failure: Failure | None = event.get("log_failure") or event.get("failure")
    return failure


def _text(event: LogEvent) -> str:
    """One line, whatever the event holds: of several, the first."""
    text, *_ = formatEvent(event).splitlines() or [""]
    failure = _failure(event)
    if failure is not None:
        text = f"{text}: {type(failure.value).__name__}: {failure.getErrorMessage()}"
    return " ".join(text.split())


def _text_line(event: LogEvent) -> str:
    line = f"{_time(event)} {_level(event).name:<5} {_text(event)}"
    failure = _failure(event)
    return line if failure is None else f"{line}\n{failure.getTraceback().rstrip()}"


def _json_line(event: LogEvent) -> str:
    return json.dumps(_fields(event))


def _fields(event: LogEvent) -> dict[str, object]:
    """An event as JSON has it."""
    fields: dict[str, object] = {
        "time": _time(event),
        "level": _level(event).name,
        "event": event.get("event", "log"),
        "text": _text(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in fields and _is_plain(value):
            fields[name] = value
    failure = _failure(event)
    if failure is not None:
        fields["trace"] = failure.getTraceback()
    return fields


def _is_plain(value: object) -> bool:
    """Whether JSON has it: it has no NaN and no infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int | bool)


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


class Room:
    """For how many lines there is room: that comes back with time."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._since = seconds()
        self._lines = float(ROOM)
        self._left_out = 0

    def take(self) -> int | None:
        """None: there is none. Otherwise how many lines found none since the last that did."""
        now = self._seconds()
        self._lines = min(ROOM, self._lines + (now - self._since) / PACE)
        self._since = now
        if self._lines < 1:
            self._left_out += 1
            return None
        self._lines -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Journal:
    """The log of one node. Warnings are what peers can cause, so they go through a Throttle. Peers
    that come and go under ever new names cannot fill the disk either: but for errors there is only
    so much room."""

    def __init__(self, log: Logger, seconds: Callable[[], float]) -> None:
        self.error = log.error
        self._log = log
        self._room = Room(seconds)
        self._throttle = Throttle(seconds)
        self.over = self._throttle.forget

    def info(self, text: str, **fields: object) -> None:
        if self._has_room():
            self._log.info(text, **fields)

    def warn(self, kind: Hashable, text: str, **fields: object) -> None:
        """Log a warning of this kind, unless there was one lately."""
        left_out = self._throttle.admit(kind)
        if left_out is not None and self._has_room():
            more = " ({left_out} more like it)" if left_out else ""
            self._log.warn(text + more, left_out=left_out, **fields)

    def _has_room(self) -> bool:
        left_out = self._room.take()
        if left_out:
            text = "{lines} lines were left out: too many peers come and go"
            self._log.warn(text, event="left_out", lines=left_out)
        return left_out is not None
