"""The config file as a tree of text, with the line of every key.

Every scalar is kept as the text it was written as; only an unquoted null is not text. What a value
means is decided by the declaration of its key, not by what it looks like to YAML: `config_version:
1.10` is not 1.1, a secret of 40 digits keeps its leading zeros, and a value that came from
`${NAME}` means what the same text typed into the file means.

`${NAME:-default}` is the default where the variable is not set or empty, as in a POSIX shell and in
Compose. The other expansions of a shell are refused: taken literally, they would end up in a
secret or an address.

The YAML that is read is the part people write by hand: mappings, lists and scalars in one document.
Anchors, aliases and tags are refused. No file of the original has them (its reader refused them
too), and without them a small file cannot stand for a huge tree and a tag cannot name a class.

Everything found wrong is collected as a `Problem`; a syntax error ends the reading, being alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from tunmesh.config.values import DEFAULT_PATH, PATH_VARIABLE
from tunmesh.errors import OperatorError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32  # the deepest key that exists is at 7; bounds the recursion of yaml's composer

Loc: TypeAlias = tuple[str | int, ...]
Yaml: TypeAlias = "str | list[Yaml] | dict[str, Yaml] | None"

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
"""What is replaced from the environment: the name, and the default if there is one."""

# What looks like a reference: the name, and what a shell would do with it.
_EXPANSION = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?[-=?+]|[:#%/^,])")

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)

# What yaml says, and what helps; the first that fits. {line}: where the value around it begins.
_ADVICE = (
    ("character '\\t'", "there is a tab; indent with spaces"),
    ("tag handle", "a value that begins with ! must be quoted"),
    ("cannot start any token", "a value that begins with @, % or ` must be quoted"),
    ("found ':'", "a value that begins with : must be quoted"),
    ("got '{'", 'a value with { in it must be quoted here, as in "${NAME}"'),
    (
        "mapping values are not allowed",
        "there is a colon where none can be: check the indentation, put a space after the colon of "
        "a key, and quote a value that has a colon in it",
    ),
    ("got '<stream end>'", "what [ or { opens in line {line} is never closed"),
    ("found '<stream end>'", "a [ or { is never closed"),
    ("end of stream", "the quote that opens in line {line} is never closed"),
    (
        "expected ',' or",
        "after a value in what [ or { opens in line {line}, there must be a comma or its end",
    ),
    ("found '}'", "there is a } too many"),
    ("found ']'", "there is a ] too many"),
    ("<block end>", "it is not indented like what it belongs with, which begins in line {line}"),
)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a config file.

    `line` counts from 1; 0 stands for the file as a whole. `key` is the full key path with `/`
    between the names, empty when no key is to blame. `text` says what would be right.
    """

    line: int
    key: str
    text: str

    def at(self, path: Path) -> str:
        """`FILE:LINE: KEY: TEXT`, without the parts that are not known."""
        where = f"{path}:{self.line}" if self.line else f"{path}"
        return ": ".join(part for part in (where, self.key, self.text) if part)


class ConfigError(OperatorError):
    """A config file cannot be used. The text is its first problem; `problems` has all of them,
    and `lines` a line for each, in the order of the file."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        super().__init__(self.problems[0].at(path))

    def lines(self) -> list[str]:
        return [problem.at(self.path) for problem in self.problems]

    def report(self) -> list[str]:
        return self.lines()


@dataclass
class Document:
    """What a file says: the tree, the line of each place in it, and what is wrong so far."""

    tree: Yaml = None
    lines: dict[Loc, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, loc: Loc) -> int:
        """The line of a place, or of the nearest thing around it that the file does have."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)

    def problem(self, loc: Loc, text: str, line: int | None = None) -> Problem:
        """A problem with the key at `loc`, on its own line unless another is given."""
        return Problem(self.line_of(loc) if line is None else line, key_path(loc), text)

    def blame(self, loc: Loc, text: str, line: int | None = None) -> None:
        """Note a problem with the key at `loc`."""
        self.problems.append(self.problem(loc, text, line))

    def part(self, loc: Loc) -> Yaml:
        """What the file has at `loc`; None where it has nothing."""
        tree = self.tree
        for name in loc:
            tree = tree.get(str(name)) if isinstance(tree, dict) else None
        return tree


def read(path: Path, environ: Mapping[str, str]) -> Document:
    """Read one config file, replacing `${NAME}` in values from `environ`.

    Raises ConfigError when there is no tree to speak of: the file cannot be read, is larger than
    `MAX_BYTES`, is not UTF-8 or not YAML. All other problems are left in the document.
    """
    try:
        root = _compose(_text_of(path))
    except _UnreadableError as error:
        raise ConfigError(path, [Problem(error.line, "", error.text)]) from None
    document = Document()
    if root is not None:
        document.tree = _Walk(document, environ).value(root, ())
    return document


def key_path(loc: Loc) -> str:
    """A place as people write it: `tun_mesh/networking/ipv4/network_cidr`."""
    return "/".join(printable(str(name)) for name in loc)


def printable(text: str, limit: int = 60) -> str:
    """`text` on one line, without characters a terminal would obey, cut at `limit`."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


class _UnreadableError(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        right = "must be a readable file"
        if isinstance(error, FileNotFoundError) and path == Path(DEFAULT_PATH):
            right = f"name the config file, or set ${PATH_VARIABLE}"
        raise _UnreadableError(0, f"cannot be read: {reason}; {right}") from None
    if len(data) > MAX_BYTES:
        raise _UnreadableError(0, "is larger than 1 MiB; a config file is a few KiB of YAML")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _UnreadableError(line, "is not UTF-8 text; save the file as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """Composes nodes only: nothing is ever constructed from them."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise _UnreadableError(line, "has a YAML anchor or alias; write the value out instead")
        if self.depth == MAX_DEPTH:
            raise _UnreadableError(line, "is nested too deeply; no key is this deep")
        self.depth += 1
        node = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _UnreadableError(line, "has a control character; remove it") from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        text = f"is not valid YAML: {_in_plain_words(error)}"
        raise _UnreadableError(mark.line + 1, text) from None
    except (ValueError, OverflowError):
        # yaml hands escapes such as "\UFFFFFFFF" straight to chr().
        line = loader.get_mark().line + 1
        raise _UnreadableError(line, "is not valid YAML: no such character") from None
    finally:
        loader.dispose()


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    """What to do about the usual mistakes; else what yaml says. Of the file it repeats single
    characters, and a tag's handle, which may be a secret."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    advice = next((advice for mark, advice in _ADVICE if mark in said), said)
    context = error.context_mark
    return advice.replace("{line}", str(1 if context is None else context.line + 1))


class _Walk:
    """Turns nodes into a tree, noting lines and problems in a document."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ

    def value(self, node: yaml.Node, loc: Loc) -> Yaml:
        self._document.lines.setdefault(loc, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS:
            self._document.blame(loc, "has a YAML tag; remove it, the key decides the type")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return None if node.tag.endswith(":null") else self._scalar(node.value, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Yaml]:
        tree: dict[str, Yaml] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._document.blame(loc, "has a key that is not text; keys are names", line)
                continue
            place = (*loc, key.value)
            if key.value in tree:
                first = self._document.lines[place]
                self._document.blame(place, f"is given twice (line {first}); keep one", line)
                continue
            self._document.lines[place] = line
            tree[key.value] = self.value(value, place)
        return tree

    def _scalar(self, text: str, loc: Loc) -> str:
        for found in _EXPANSION.finditer(text):
            if not REFERENCE.match(text, found.start()):
                name, operator = found.groups()
                self._document.blame(
                    loc,
                    f"uses ${{{name}{operator}…}}, which is not understood; what is: ${{{name}}}, "
                    f"and ${{{name}:-default}} with a default without braces",
                )
        unset = [
            found[1]
            for found in REFERENCE.finditer(text)
            if found[2] is None and found[1] not in self._environ
        ]
        for name in dict.fromkeys(unset):
            self._document.blame(
                loc,
                f"uses ${{{name}}}, which is not set; set it in the environment, or write "
                f"${{{name}:-default}}",
            )
        if not unset:
            text = REFERENCE.sub(self._content, text)
        if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n" for char in text):
            self._document.blame(loc, "has a control character; remove it")
        return text

    def _content(self, reference: re.Match[str]) -> str:
        """What a reference stands for. One without a default is set."""
        content = self._environ.get(reference[1], "").rstrip("\r\n")
        return content or reference[2] or ""
