"""The commented example: every key, in the order of the declarations.

Prose begins with "# ". A key that is commented out begins with "#" alone: remove that character and
the key is set, at its place and to its default. Required keys say REQUIRED, in the comment and in
place of the value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tunmesh import __version__
from tunmesh.config.docs.describe import default_of, example_of, type_of
from tunmesh.config.keys.root import ConfigFile, has_effect, section_in
from tunmesh.config.section import Section

WIDTH = 100
PLACEHOLDER = "REQUIRED"

_HEAD = f"""\
# Example configuration of tunmesh {__version__}.
#
# Keys marked {PLACEHOLDER} must be filled in. All others are commented out and show their defaults:
# to set one, remove the # in front of it. Durations are a number of seconds, or 10s, 5m, 1h, 2d, or
# a range such as 10..20s. File paths are relative to this file. ${{NAME}} and ${{NAME:-default}} in
# a value are replaced from the environment. `tunmesh config check FILE` says what is wrong with a
# file.

---
"""


def example() -> str:
    """A config file for a person to fill in."""
    return _HEAD + "\n".join(_section(ConfigFile, "", "")) + "\n"


def _section(section: type[Section], indent: str, off: str) -> Iterator[str]:
    """The lines of a section. `off` is "#" when the section itself is commented out."""
    for position, (name, key) in enumerate(section.model_fields.items()):
        if position:
            yield ""
        asked = key.is_required() or section.one_of[:1] == (name,)
        inner = section_in(key.annotation)
        # A required section contains required keys, which say so themselves.
        mark = _mark(name, section) if asked and (inner is None or section.one_of) else ""
        if inner is None:
            yield from _prose(f"{mark}{key.description} {_form(key)}", indent)
            yield f"{indent}{off if asked else '#'}{name}: {_value(key, asked)}".rstrip()
        else:
            # The head of a section of defaults can always be there: what is under it counts. Not so
            # where a mere head would mean something, or where nothing under it has an effect.
            optional = not asked and (key.default is None or not has_effect(key))
            yield from _prose(f"{mark}{key.description}", indent)
            yield from _inner_section(name, key, inner, indent, "#" if optional else off)


def _inner_section(
    name: str, key: FieldInfo, inner: type[Section], indent: str, off: str
) -> Iterator[str]:
    yield f"{indent}{off}{name}:"
    if get_origin(key.annotation) is Mapping:
        indent += "  "
        yield f"{indent}{off}{example_of(key)}:"
    yield from _section(inner, f"{indent}  ", off)


def _mark(name: str, section: type[Section]) -> str:
    others = [f"or {other}" for other in section.one_of if other != name]
    return ", ".join([PLACEHOLDER, *others]) + ". "


def _form(key: FieldInfo) -> str:
    example = example_of(key)
    return f"({type_of(key)}, such as {example})" if example else f"({type_of(key)})"


def _value(key: FieldInfo, asked: bool) -> str:
    if not asked:
        return default_of(key) or example_of(key)
    return _only_choice(key) or PLACEHOLDER


def _only_choice(key: FieldInfo) -> str:
    """The value of a key that can have only one."""
    choices = get_args(key.annotation) if get_origin(key.annotation) is Literal else ()
    return str(choices[0]) if len(choices) == 1 else ""


def _prose(text: str, indent: str) -> Iterator[str]:
    start = f"{indent}# "
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False
    )
