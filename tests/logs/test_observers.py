"""Which events are written, and what happens when they cannot be."""

from __future__ import annotations

import json
from io import StringIO

from twisted.logger import LogLevel
from twisted.trial import unittest

from tests.logs.test_formatting import LINKED, TIME, WriterCase, into
from tunmesh.logs.observers import LogWriter


class Levels(WriterCase):
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
        """Of other software's events only warnings and errors are shown, at every level."""
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
        """Level and style may change at any time."""
        stream = StringIO()
        writer = LogWriter(into(stream), "warn", "text")
        event = {"log_time": TIME, "log_level": LogLevel.info, "log_namespace": "tunmesh", **LINKED}
        writer(event)
        self.assertEqual(stream.getvalue(), "")
        writer.set("info", "json", ())
        writer(event)
        self.assertEqual(json.loads(stream.getvalue())["peer"], "beta")

    def test_of_unknown_origin(self) -> None:
        """An event without origin and level is treated as information of other software."""
        stream = StringIO()
        LogWriter(into(stream), "debug", "text")({"log_time": TIME, "log_format": "hello"})
        self.assertEqual(stream.getvalue(), "")


class Lost(unittest.SynchronousTestCase):
    """Lines that cannot be written."""

    def test_said_afterwards(self) -> None:
        """Lines that nobody takes are dropped. Before the next line that is taken, one says how
        many they were, and why."""
        taken: list[str] = []
        why = ""

        def write(line: str) -> str:
            if not why:
                taken.append(json.loads(line)["text"])
            return why

        writer = LogWriter(write, "info", "json")
        for number in range(7):
            why = "nobody reads them" if 1 <= number < 5 else ""
            writer({"log_time": TIME, "log_namespace": "tunmesh", "log_format": f"line {number}"})
        lost = "4 log lines before this one could not be written: nobody reads them"
        self.assertEqual(taken, ["line 0", lost, "line 5", "line 6"])
