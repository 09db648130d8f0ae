"""How a log event looks as a line: on a terminal, in a file or a pipe, in systemd's journal, and
for machines.

    22:05:08 info  link    linked with beta (10.77.0.2), dialed at https://192.0.2.2:4567
    2026-11-22T22:05:08.123Z info  link    linked with beta (10.77.0.2), dialed at …
    <6>info  link    linked with beta (10.77.0.2), dialed at …
    {"time": "2026-11-22T22:05:08.123Z", "level": "info", "part": "link", "event": "linked", …}

At a terminal the date is known and space is short; a file is read later, beside those of other
nodes. The journal adds the time itself, and takes the priority from the beginning of a line, see
sd-daemon(3). All times are UTC. The part is the word that `logging.levels` takes.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from constantly import NamedConstant
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from tunmesh.logs.events import OTHER, PART_OF

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_COLOURS = {"debug": _DIM, "info": "", "warn": "\x1b[33m", "error": "\x1b[31m"}
_PRIORITIES = {"debug": "<7>", "info": "<6>", "warn": "<4>", "error": "<3>"}  # those of syslog(3)


def text_line(event: LogEvent) -> str:
    """For a file or a pipe."""
    return _with_trace(
        f"{_time(event)} {_word(event):<5} {part_of(event):<7} {_text(event)}", event
    )


def terminal_line(event: LogEvent) -> str:
    """For a terminal without colours."""
    return _line(_time(event)[11:19], event)


def coloured_line(event: LogEvent) -> str:
    """For a terminal with colours: time and part are dim, warnings and errors stand out."""
    word = _word(event)
    line = (
        f"{_DIM}{_time(event)[11:19]}{_PLAIN} {_COLOURS[word]}{word:<5}{_PLAIN} "
        f"{_DIM}{part_of(event):<7}{_PLAIN} {_text(event)}"
    )
    return _with_trace(line, event)


def journal_line(event: LogEvent) -> str:
    """For systemd's journal. Each line of a trace has the priority."""
    line = _with_trace(f"{_word(event):<5} {part_of(event):<7} {_text(event)}", event)
    return "\n".join(_PRIORITIES[_word(event)] + each for each in line.splitlines())


def json_line(event: LogEvent) -> str:
    """For machines."""
    return json.dumps(fields_of(event))


def fields_of(event: LogEvent) -> dict[str, object]:
    """An event as a JSON object."""
    fields: dict[str, object] = {
        "time": _time(event),
        "level": level_of(event).name,
        "part": part_of(event),
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


def part_of(event: LogEvent) -> str:
    """The part of the node whose event this is."""
    if not str(event.get("log_namespace", "")).startswith("tunmesh"):
        return OTHER
    return PART_OF.get(str(event.get("event")), "node")


def level_of(event: LogEvent) -> NamedConstant:
    level: NamedConstant = event.get("log_level", LogLevel.info)
    return level


def _word(event: LogEvent) -> str:
    """The level as the config names it."""
    name: str = level_of(event).name
    return "error" if name == "critical" else name


def _time(event: LogEvent) -> str:
    time = datetime.fromtimestamp(event["log_time"], UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _failure(event: LogEvent) -> Failure | None:
    """The exception that was logged; Twisted's older API has another name for it."""
    failure: Failure | None = event.get("log_failure") or event.get("failure")
    return failure


def _text(event: LogEvent) -> str:
    """The first line of the event's text. A peer may have chosen part of it, so control characters
    are replaced."""
    text, *_ = formatEvent(event).splitlines() or [""]
    failure = _failure(event)
    if failure is not None:
        text = f"{text}: {type(failure.value).__name__}: {failure.getErrorMessage()}"
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _line(time: str, event: LogEvent) -> str:
    return _with_trace(f"{time} {_word(event):<5} {part_of(event):<7} {_text(event)}", event)


def _with_trace(line: str, event: LogEvent) -> str:
    failure = _failure(event)
    return line if failure is None else f"{line}\n{failure.getTraceback().rstrip()}"


def _is_plain(value: object) -> bool:
    """Whether JSON can express it: it has no NaN and no infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int | bool)
