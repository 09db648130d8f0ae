"""Log lines as people and machines see them, and how often."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import click
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, formatEvent
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial import unittest

from tunmesh.cli import views
from tunmesh.logs.formatting import coloured_line, fields_of, journal_line, terminal_line, text_line
from tunmesh.logs.journal import (
    BURST,
    DEBUG_PACE,
    MAX_THROTTLED,
    PACE,
    THROTTLE_INTERVAL,
    THROTTLE_LONGEST,
    Journal,
    Output,
    Throttle,
)
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
    """Loses nothing."""

    def write(text: str) -> str:
        stream.write(text)
        return ""

    return write


class Case(unittest.SynchronousTestCase):
    """What the tests ask of an observer."""

    def written(
        self,
        style: str,
        least: str = "info",
        levels: Iterable[tuple[str, str]] = (),
        text: Callable[[LogEvent], str] = text_line,
        **fields: Any,
    ) -> str:
        """What an observer of that level writes for one event of ours at info level."""
        stream = StringIO()
        event = {
            "log_time": TIME,
            "log_level": LogLevel.info,
            "log_namespace": "tunmesh.node",
            **fields,
        }
        Output(into(stream), least, style, levels, text)(event)
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


class Lines(Case):
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
        """With colours it says the same."""
        for level in LogLevel.iterconstants():
            written = [
                self.written("text", "debug", text=text, log_level=level, **LINKED)
                for text in (terminal_line, coloured_line)
            ]
            self.assertIn("\x1b[", written[1])
            self.assertEqual(click.unstyle(written[1]), written[0])

    def test_where(self) -> None:
        """Only a terminal gets the short line, and colours only where nobody has said no."""
        for is_terminal, environ, text in (
            (False, {}, text_line),
            (True, {}, coloured_line),
            (True, {"NO_COLOR": "1"}, terminal_line),
            (True, {"NO_COLOR": ""}, coloured_line),
            (True, {"TERM": "dumb"}, terminal_line),
        ):
            self.assertIs(text_for(is_terminal, environ, os.stat("/")), text)

    def test_journal(self) -> None:
        """systemd's journal has the time, and hears how important a line is; a trace is no less
        so. It is known by its output, not by a variable that somebody inherited."""
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
        """What a peer slipped into a line does not reach the terminal."""
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
        """A time without a fraction has its three digits all the same."""
        midnight = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        self.assertEqual(
            self.written("text", log_time=midnight, log_format="happy new year"),
            "2026-01-01T00:00:00.000Z info  node    happy new year\n",
        )

    def test_one_line(self) -> None:
        """Whatever a text holds, it is one line: of several the first; fields are whole."""
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
        """A number that JSON does not know does not break the line for those who parse it."""
        for number in (float("nan"), float("inf"), float("-inf")):
            parsed = self.parsed(log_format="rtt {rtt}", rtt=number)
            self.assertEqual(parsed["text"], f"rtt {number}")

    def test_not_formattable(self) -> None:
        """An event that cannot be formatted is logged as that, not lost."""
        self.assertIn("nothing_there", self.parsed(log_format="{nothing_there}")["text"])

    def test_failure_in_text(self) -> None:
        """For people a failure is one line that says it all, then its traceback."""
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
        """What the reactor reports through Twisted's older API says what broke, too."""
        publisher, stream = LogPublisher(), StringIO()
        publisher.addObserver(Output(into(stream), "info", "json"))
        older = legacy.LogPublisher(publishPublisher=publisher)
        older.msg(failure=failure(), isError=1, why="Unhandled Error")
        parsed = json.loads(stream.getvalue())
        self.assertIn("ValueError: first line second line", parsed["text"])
        self.assertTrue(parsed["trace"].startswith("Traceback"))


class Levels(Case):
    """Which events are written at all."""

    def shown(self, least: str, namespace: str) -> str:
        """The first letters of the levels at which an event of this origin is shown."""
        return "".join(
            severity.name[0]
            for severity in LogLevel.iterconstants()
            if self.written("text", least, log_level=severity, log_namespace=namespace, **LINKED)
        )

    def test_ours(self) -> None:
        """Our events are shown from the configured level on."""
        for level, shown in (
            ("debug", "diwec"),
            ("info", "iwec"),
            ("warn", "wec"),
            ("error", "ec"),
        ):
            self.assertEqual(self.shown(level, "tunmesh.node"), shown)

    def test_of_others(self) -> None:
        """Other software's chatter is hidden at every level, its warnings are not."""
        for level, shown in (("debug", "wec"), ("info", "wec"), ("warn", "wec"), ("error", "ec")):
            self.assertEqual(self.shown(level, "twisted.internet.protocol"), shown)

    def test_of_parts(self) -> None:
        """A part may have a level of its own, higher or lower than that of all; so may others."""
        levels = [("link", "error"), ("config", "debug"), ("other", "info")]
        for fields, shown in (
            (LINKED, "ec"),
            ({"event": "reloaded"}, "diwec"),
            ({"event": "ready"}, "wec"),
            ({"log_namespace": "twisted.web"}, "iwec"),
        ):
            written = "".join(
                severity.name[0]
                for severity in LogLevel.iterconstants()
                if self.written("text", "warn", levels, log_level=severity, **fields)
            )
            self.assertEqual(written, shown)

    def test_set_anew(self) -> None:
        """Level and style may change while events come."""
        stream = StringIO()
        output = Output(into(stream), "warn", "text")
        event = {"log_time": TIME, "log_level": LogLevel.info, "log_namespace": "tunmesh", **LINKED}
        output(event)
        self.assertEqual(stream.getvalue(), "")
        output.set("info", "json", ())
        output(event)
        self.assertEqual(json.loads(stream.getvalue())["peer"], "beta")

    def test_of_unknown_origin(self) -> None:
        """An event that does not say whose it is, or how important, is somebody else's chatter."""
        stream = StringIO()
        Output(into(stream), "debug", "text")({"log_time": TIME, "log_format": "hello"})
        self.assertEqual(stream.getvalue(), "")


class Lost(unittest.SynchronousTestCase):
    """What cannot be written."""

    def test_said_afterwards(self) -> None:
        """Lines that nobody takes are dropped; before the first that is taken again it says how
        many they were, and why."""
        taken: list[str] = []
        why = ""

        def write(line: str) -> str:
            if not why:
                taken.append(json.loads(line)["text"])
            return why

        output = Output(write, "info", "json")
        for number in range(7):
            why = "nobody reads them" if 1 <= number < 5 else ""
            output({"log_time": TIME, "log_namespace": "tunmesh", "log_format": f"line {number}"})
        lost = "4 log lines before this one could not be written: nobody reads them"
        self.assertEqual(taken, ["line 0", lost, "line 5", "line 6"])


class Throttled(unittest.SynchronousTestCase):
    """A peer that fails a thousand times does not make a thousand lines."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds)

    def test_first(self) -> None:
        """The first event of a kind is logged at once, also right after the machine started."""
        self.assertEqual(self.throttle.admit("refused"), 0)

    def test_repeated(self) -> None:
        """Then one after a minute, which says how many were left out."""
        self.throttle.admit("refused")
        for _ in range(1000):
            self.clock.advance(0.01)
            self.assertIsNone(self.throttle.admit("refused"))
        self.clock.advance(THROTTLE_INTERVAL)
        self.assertEqual(self.throttle.admit("refused"), 1000)
        self.assertIsNone(self.throttle.admit("refused"))

    def test_without_end(self) -> None:
        """What goes on for ever is logged ever more rarely, in the end once an hour; after a while
        without it, or when it is over, as if it were new."""

        def lines(hours: int) -> int:
            admitted = [self.throttle.admit("refused")]
            for _ in range(hours * 360 - 1):
                self.clock.advance(10)
                admitted.append(self.throttle.admit("refused"))
            return len(admitted) - admitted.count(None)

        self.assertLess(lines(2), 10)
        self.assertEqual(lines(24), 24)
        self.throttle.forget("refused")
        self.assertEqual(self.throttle.admit("refused"), 0)
        self.assertIsNone(self.throttle.admit("refused"))
        for _ in range(3):
            self.clock.advance(THROTTLE_LONGEST)
            self.assertIsNotNone(self.throttle.admit("refused"))
        self.clock.advance(THROTTLE_INTERVAL)
        self.assertEqual(self.throttle.admit("refused"), 0)

    def test_just_before(self) -> None:
        """Not a moment sooner, and events that were left out do not put it off."""
        self.throttle.admit("refused")
        self.clock.advance(THROTTLE_INTERVAL - 0.001)
        self.assertIsNone(self.throttle.admit("refused"))
        self.clock.advance(0.001)
        self.assertEqual(self.throttle.admit("refused"), 1)

    def test_kinds(self) -> None:
        """Every kind of event counts for itself."""
        self.throttle.admit(("handshake", "alpha"))
        self.assertEqual(self.throttle.admit(("handshake", "beta")), 0)
        self.assertIsNone(self.throttle.admit(("handshake", "alpha")))

    def test_bounded(self) -> None:
        """However many kinds there are, the memory for them is bounded."""
        for kind in range(3 * MAX_THROTTLED):
            self.assertEqual(self.throttle.admit(kind), 0)
            self.assertLessEqual(len(self.throttle._last), MAX_THROTTLED)


class Journals(unittest.SynchronousTestCase):
    """The log of one node."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        keep: Any = self.events.append
        log = Logger(namespace="tunmesh.node", observer=keep)
        self.is_debugging = False
        self.journal = Journal(log, self.clock.seconds, lambda: self.is_debugging)

    def texts(self) -> list[tuple[str, str]]:
        return [(event["log_level"].name, formatEvent(event)) for event in self.events]

    def test_warnings(self) -> None:
        """A warning that repeats is logged now and then, with the count of those left out."""
        for _ in range(4):
            self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.clock.advance(THROTTLE_INTERVAL)
        self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.assertEqual(
            self.texts(), [("warn", "beta refuses"), ("warn", "beta refuses (3 more like it)")]
        )
        self.assertEqual([event["left_out"] for event in self.events], [0, 3])
        self.assertEqual({event["event"] for event in self.events}, {"refused"})

    def test_others(self) -> None:
        """What the node does itself is logged every time."""
        for _ in range(2):
            self.journal.info("linked with {peer}", peer="beta")
            self.journal.error("no tun")
        self.assertEqual(self.texts(), [("info", "linked with beta"), ("error", "no tun")] * 2)

    def test_room(self) -> None:
        """Peers that come and go under ever new names make no more lines than there is room for;
        how many were left out is said when there is room again. Errors are always logged."""
        for number in range(2 * BURST):
            self.journal.info("linked with {peer}", peer=f"m{number}")
            self.journal.warn(number, "refused by {peer}", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST)
        self.journal.error("no tun")
        self.assertEqual(self.texts()[-1], ("error", "no tun"))
        self.clock.advance(PACE)
        self.journal.info("ready")
        left_out = f"{3 * BURST} lines were left out: too many peers come and go"
        self.assertEqual(self.texts()[-2:], [("warn", left_out), ("info", "ready")])
        self.journal.info("linked")
        self.assertEqual(self.texts()[-1], ("info", "ready"))

    def test_shares(self) -> None:
        """Who causes lines without end leaves room for those that others cause, and for the node's
        own, however long he goes on."""
        for number in range(2 * BURST):
            self.journal.info("linked with {peer}", by="1.2.3.4", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST // 2)
        self.journal.info("linked with {peer}", by="1.2.3.5", peer="beta")
        self.journal.info("ready")
        self.assertEqual(self.texts()[-2:], [("info", "linked with beta"), ("info", "ready")])
        for _ in range(100):
            self.clock.advance(PACE)
            for number in range(3):
                self.journal.info("again {peer}", by="1.2.3.4", peer=f"m{number}")
            self.journal.info("linked with {peer}", by="1.2.3.5", peer="beta")
        texts = [text for _, text in self.texts()]
        self.assertLess(len([text for text in texts if text.startswith("again")]), 100)
        self.assertEqual(texts.count("linked with beta"), 101)

    def test_debugging(self) -> None:
        """Who debugs sees every warning, those that were logged lately at debug level, and what
        nobody else would want to know."""
        self.journal.debug("dialing {peer}", peer="beta")
        self.journal.warn("refused", "{peer} refuses", peer="beta")
        self.is_debugging = True
        self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.journal.debug("dialing {peer}", peer="beta")
        self.assertEqual(
            self.texts(),
            [("warn", "beta refuses"), ("debug", "beta refuses"), ("debug", "dialing beta")],
        )
        self.assertEqual(self.events[1]["event"], "refused")

    def test_debugging_has_room_of_its_own(self) -> None:
        """However much there is to debug, there are so many lines of it and no more, and none of
        the others is missing for that."""
        self.is_debugging = True
        for number in range(2 * BURST):
            self.journal.debug("dialing {peer}", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST)
        self.journal.info("ready")
        self.clock.advance(DEBUG_PACE)
        self.journal.debug("dialing beta")
        last = f"dialing beta ({BURST} debug lines before this one were left out)"
        self.assertEqual(self.texts()[-2:], [("info", "ready"), ("debug", last)])
