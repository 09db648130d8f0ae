"""Every event that the code logs is described in docs/logs.md: its part, level and fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from twisted.trial import unittest

from tunmesh.config.keys.serving import LogPart
from tunmesh.logs.events import OTHER, PART_OF, PARTS

PACKAGE = Path(__file__).parent.parent.parent / "tunmesh"
PAGE = PACKAGE.parent / "docs" / "logs.md"
# Journal.warn and debug add a field, and Logger.failure has a level.
LEVELS = {"failure": "critical"}
ROW = re.compile(r"\| `(\w+)` \| (\w+) \| (\w+) \|([^|]*)\|[^|]+\|")


@dataclass(frozen=True)
class Event:
    """An event as the page describes it."""

    word: str
    part: str
    level: str
    fields: frozenset[str]


def logged(tree: ast.AST) -> Iterator[Event]:
    """Every event that this code logs: by a call, or as a mapping."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg or "": keyword.value for keyword in node.keywords}
            level = node.func.attr
            if "journal" in ast.unparse(node.func):
                given.pop("by", None)  # whose share of the room it takes: no field
            if level in ("warn", "debug") and "journal" in ast.unparse(node.func):
                given["left_out"] = ast.Constant(0)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
            given = {str(key): value for key, value in zip(keys, node.values, strict=True)}
            level = ast.unparse(given.get("log_level", ast.Constant(""))).removeprefix("LogLevel.")
        else:
            continue
        word = given.pop("event", None)
        if isinstance(word, ast.Constant) and isinstance(word.value, str):
            fields = frozenset(name for name in given if not name.startswith("log_"))
            part = PART_OF.get(word.value, "")
            yield Event(word.value, part, LEVELS.get(level, level), fields)


def in_code() -> set[Event]:
    return {
        event for path in PACKAGE.rglob("*.py") for event in logged(ast.parse(path.read_text()))
    }


def in_docs() -> set[Event]:
    return {
        Event(word, part, level, frozenset(re.findall(r"`(\w+)`", fields)))
        for word, part, level, fields in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }


class Events(unittest.SynchronousTestCase):
    """The words for what a node logs."""

    def test_documented(self) -> None:
        """The page has every event with its part, level and fields, and no other."""
        self.assertEqual(in_docs(), in_code())

    def test_words(self) -> None:
        """Every event belongs to a part, and there is no word that is not used."""
        self.assertEqual({event.word for event in in_code()}, set(PART_OF))

    def test_parts(self) -> None:
        """The config knows the parts, and the page explains them."""
        self.assertEqual(set(get_args(LogPart)), {*PARTS, OTHER})
        text = PAGE.read_text(encoding="utf-8")
        for part in (*PARTS, OTHER):
            self.assertIn(f"| `{part}` |", text)
