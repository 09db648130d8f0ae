"""Log lines as people and machines see them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import click
from twisted.logger import LogEvent, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial import unittest

from tunmesh.cli import views
from tunmesh.logs.formatting import coloured_line, fields_of, journal_line, terminal_line, text_line
from tunmesh.logs.observers import LogWriter
from tunmesh.service.options import text_for

TIME = datetime(2026, 11, 22, 22, 5, 8, 123456, tzinfo=UTC).timestamp()
LINKED: dict[str, Any] = {"event": "linked", "log_format": "linked with {peer}", "peer": "beta"}


def failure() -> Failure:
    """A failure whose message has two lines, like those of some libraries."""
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        return Failure()


def into(stream: StringIO) -> Callable[[str], str]:
    """A `write` that loses nothing."""

    def write(text: str) -> str:
        stream.write(text)
        return ""

    return write


class WriterCase(unittest.SynchronousTestCase):
    """Writes single events."""

    def written(
        self,
        style: str,
        least: str = "info",
        levels: Iterable[tuple[str, str]] = (),
        text: Callable[[LogEvent], str] = text_line,
        **fields: Any,
    ) -> str:
        """What a writer of that level writes for one event of ours at info level."""
        stream = StringIO()
        event = {
            "log_time": TIME,
            "log_level": LogLevel.info,
            "log_namespace": "tunmesh.node",
            **fields,
        }
        LogWriter(into(stream), least, style, levels, text)(event)
        return stream.getvalue()

    def parsed(self, **fields: Any) -> dict[str, Any]:
        """The one JSON line that is written for an event. Anything but strict JSON fails."""

        def refuse(constant: str) -> None:
            self.fail(f"{constant} is not JSON")

        line = self.written("json", **fields)
        self.assertEqual((line.count("\n"), line[-1]), (1, "\n"))
        parsed = json.loads(line, parse_constant=refuse)
        assert isinstance(parsed, dict)
        return parsed


class Lines(WriterCase):
    """What is written for an event."""

    def test_text(self) -> None:
        """For people: the time in UTC, the level, the text."""
        for level, word in (("debug", "debug"), ("info", "info "), ("warn", "warn ")):
            self.assertEqual(
                self.written("text", "debug", log_level=LogLevel.lookupByName(level), **LINKED),
                f"2026-11-22T22:05:08.123Z {word} link    linked with beta\n",
            )

    def test_terminal(self) -> None:
        """On a terminal the line is short, and `tunmesh events` prints the same one."""
        event = {
            "log_time": TIME,
            "log_level": LogLevel.warn,
            "log_namespace": "tunmesh",
            **LINKED,
        }
        line = self.written("text", text=terminal_line, **event)
        self.assertEqual(line, "22:05:08 warn  link    linked with beta\n")
        self.assertEqual(click.unstyle(views.event(fields_of(event))) + "\n", line)

    def test_colours(self) -> None:
        """With colours the text is the same."""
        for level in LogLevel.iterconstants():
            written = [
                self.written("text", "debug", text=text, log_level=level, **LINKED)
                for text in (terminal_line, coloured_line)
            ]
            self.assertIn("\x1b[", written[1])
            self.assertEqual(click.unstyle(written[1]), written[0])

    def test_where(self) -> None:
        """Only a terminal gets the short line, and colours unless they are switched off."""
        for is_terminal, environ, text in (
            (False, {}, text_line),
            (True, {}, coloured_line),
            (True, {"NO_COLOR": "1"}, terminal_line),
            (True, {"NO_COLOR": ""}, coloured_line),
            (True, {"TERM": "dumb"}, terminal_line),
        ):
            self.assertIs(text_for(is_terminal, environ, os.stat("/")), text)

    def test_journal(self) -> None:
        """For systemd's journal lines have a priority instead of a time, also those of a trace. The
        journal is recognized by the output, since the variable may be inherited."""
        written = self.written("text", text=journal_line, **LINKED)
        self.assertEqual(written, "<6>info  link    linked with beta\n")
        critical = {"log_level": LogLevel.critical, "log_failure": failure()}
        trace = self.written("text", text=journal_line, **critical)
        self.assertEqual({line[:3] for line in trace.splitlines()}, {"<3>"})
        self.assertGreater(trace.count("\n"), 2)
        here = os.stat("/")
        stream = f"{here.st_dev}:{here.st_ino}"
        self.assertIs(text_for(False, {"JOURNAL_STREAM": stream}, here), journal_line)
        self.assertIs(text_for(False, {"JOURNAL_STREAM": f"{stream}0"}, here), text_line)

    def test_what_a_terminal_obeys(self) -> None:
        """Control characters that a peer put into a line do not reach the terminal."""
        for text in (text_line, terminal_line, coloured_line):
            line = self.written("text", text=text, log_format="{who}", who="a\x1b[2J\u202eb")
            self.assertTrue(line.endswith(" a?[2J?b\n"), line)

    def test_json(self) -> None:
        """For machines: the same, the event's stable name and its fields, on one line."""
        self.assertEqual(
            self.written("json", dialed=True, rtt=0.0012, retries=0, why=None, **LINKED),
            '{"time": "2026-11-22T22:05:08.123Z", "level": "info", "part": "link", '
            '"event": "linked", "text": "linked with beta", "dialed": true, "rtt": 0.0012, '
            '"retries": 0, '
            '"why": null, "peer": "beta"}\n',
        )

    def test_midnight(self) -> None:
        """A time without a fraction has three digits as well."""
        midnight = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        self.assertEqual(
            self.written("text", log_time=midnight, log_format="happy new year"),
            "2026-01-01T00:00:00.000Z info  node    happy new year\n",
        )

    def test_one_line(self) -> None:
        """A text is one line: if there are several, the first; fields are complete."""
        text = self.written("text", log_format="it\tsaid \x1f{what}", what="a\r\nb")
        self.assertEqual(text, "2026-11-22T22:05:08.123Z info  node    it said a\n")
        for end in ("\n", "\r", "\x0b", "\x85", "\u2028"):
            parsed = self.parsed(log_format="it said {what}", what=f"a{end}b")
            self.assertEqual((parsed["text"], parsed["what"]), ("it said a", f"a{end}b"))

    def test_reserved_names(self) -> None:
        """A field cannot take the place of the time, the level or the text."""
        parsed = self.parsed(log_format="hello", time="never", level="silly", text="bye")
        self.assertEqual(
            (parsed["time"], parsed["level"], parsed["text"]),
            ("2026-11-22T22:05:08.123Z", "info", "hello"),
        )

    def test_other_values(self) -> None:
        """Fields that are not plain values are in the text only; internal ones nowhere."""
        parsed = self.parsed(log_format="{peers}", peers=["beta"], log_source=self)
        self.assertEqual(
            parsed,
            {
                "time": "2026-11-22T22:05:08.123Z",
                "level": "info",
                "part": "node",
                "event": "log",
                "text": "['beta']",
            },
        )

    def test_numbers_that_json_lacks(self) -> None:
        """A number that JSON cannot express does not make the line invalid."""
        for number in (float("nan"), float("inf"), float("-inf")):
            parsed = self.parsed(log_format="rtt {rtt}", rtt=number)
            self.assertEqual(parsed["text"], f"rtt {number}")

    def test_not_formattable(self) -> None:
        """An event that cannot be formatted is logged as such, not lost."""
        self.assertIn("nothing_there", self.parsed(log_format="{nothing_there}")["text"])

    def test_failure_in_text(self) -> None:
        """For people a failure is one complete line, followed by its traceback."""
        lines = self.written("text", log_format="it broke", log_failure=failure()).splitlines()
        self.assertEqual(
            lines[:2],
            [
                "2026-11-22T22:05:08.123Z info  node    "
                "it broke: ValueError: first line second line",
                "Traceback (most recent call last):",
            ],
        )
        self.assertTrue(lines[-1])

    def test_failure_in_json(self) -> None:
        """For machines a failure is one event on one line, with the traceback as a field."""
        parsed = self.parsed(log_format="it broke", log_failure=failure(), event="broke")
        self.assertEqual(parsed["text"], "it broke: ValueError: first line second line")
        self.assertEqual(parsed["event"], "broke")
        self.assertTrue(parsed["trace"].startswith("Traceback"))

    def test_failure_of_the_reactor(self) -> None:
        """Failures that the reactor reports through Twisted's older API are complete as well."""
        publisher, stream = LogPublisher(), StringIO()
        publisher.addObserver(LogWriter(into(stream), "info", "json"))
        older = legacy.LogPublisher(publishPublisher=publisher)
        older.msg(failure=failure(), isError=1, why="Unhandled Error")
        parsed = json.loads(stream.getvalue())
        self.assertIn("ValueError: first line second line", parsed["text"])
        self.assertTrue(parsed["trace"].startswith("Traceback"))
