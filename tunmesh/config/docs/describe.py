"""Declarations described for people: a key's type, bounds and default.

Defaults are written as in a file, so that the example can be uncommented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic.fields import FieldInfo

from tunmesh.config.section import Kind

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))
_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def type_of(key: FieldInfo) -> str:
    """Such as `whole number, 1 to 65535`."""
    return ", ".join(filter(None, (_type(key.annotation, key.metadata), _bounds(key))))


def default_of(key: FieldInfo) -> str:
    """The default of an optional key as YAML on one line, empty when it depends on other keys."""
    if key.default_factory_takes_validated_data:
        return ""
    return _yaml(key.get_default(call_default_factory=True), _written(key))


def example_of(key: FieldInfo) -> str:
    """A likely value as YAML on one line, empty when none is declared."""
    return _yaml(key.examples[0], str) if key.examples else ""


def duration(seconds: float) -> str:
    """A duration in its largest unit: 3600 is `1h`, 0.1 is `0.1s`."""
    if seconds > 0:
        for unit, length in _UNITS:
            if seconds % length == 0:
                return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def size(count: int) -> str:
    """A number of bytes in its largest unit: 67108864 is `64MiB`."""
    for unit, length in _SIZES:
        if count and count % length == 0:
            return f"{count // length}{unit}"
    return str(count)


def _written(key: FieldInfo) -> Callable[[Any], str]:
    """How a number is written: durations and sizes have units."""
    kinds = {note.name for note in key.metadata if isinstance(note, Kind)}
    return duration if "duration" in kinds else size if "size" in kinds else str


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    kind = next((note for note in metadata if isinstance(note, Kind)), None)
    if kind is not None:
        return kind.name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is tuple:
        return f"list of: {_type(arguments[0])}"
    if origin is Mapping:
        return f"{_type(arguments[1])} by {_type(arguments[0])}"
    if NoneType in arguments:
        return _type(arguments[0])
    return {bool: "true or false", str: "text"}.get(annotation, "section")


def _bounds(key: FieldInfo) -> str:
    show = _written(key)
    low = next((show(note.ge) for note in key.metadata if isinstance(note, Ge)), None)
    high = next((show(note.le) for note in key.metadata if isinstance(note, Le)), None)
    most = next((note.max_length for note in key.metadata if isinstance(note, MaxLen)), None)
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"{low} or more"
    return f"at most {most} items" if most is not None else ""


def _yaml(value: object, number: Callable[[Any], str]) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{', '.join(map(str, value))}]"
        case Mapping():
            return "{}"
        case int() | float():
            return number(value)
        case _:
            return str(value)
