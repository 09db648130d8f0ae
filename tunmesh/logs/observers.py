"""Who gets the log events: the writer of lines, and the memory of the last ones.

Events of ours carry `event`, a stable word (logs.events), and fields. Each belongs to a part of
the node, and each part may have a level of its own. Events of other software are shown from warning
level on, unless their part, `other`, has a level of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from tunmesh.logs import formatting
from tunmesh.logs.events import OTHER, PARTS
from tunmesh.logs.formatting import level_of, part_of

LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}


@implementer(ILogObserver)
class LogWriter:
    """Writes events of at least a level, as "text" (by `text(event)`) or "json". `levels`: pairs of
    a part and the level for that. `set` changes all this at any time. `write(line)` returns why the
    line is lost, or nothing; as soon as one can be written again, another says how many were."""

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
        """That lines before this event were lost."""
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
class RecentEvents:
    """Keeps the last KEPT events: our own from info level on, those of other software from warning
    level on. They are as in a JSON line, and numbered (`sequence`). `listeners` are called with
    every new one."""

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
        """The kept events with a higher number."""
        return [event for event in self._events if cast(int, event["sequence"]) > sequence]
