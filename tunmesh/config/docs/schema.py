"""The JSON schema of a config file, for editors: completion, hover texts, red underlines.

A schema sees the file as YAML understands it, not as text: numbers are numbers already. So a key
that takes a number takes "number or text", with bounds for the one and a pattern for the other,
since any value may be written as `${NAME}`; a keyword of JSON schema only ever speaks of values of
its own type. What an editor cannot know (that files exist, that an address is in its network) is
left to the lint. Where YAML sees a number or a flag in what is meant as text (`node_name: 5`), the
editor asks for quotes that the node does without.

Not made by pydantic's generator, which describes the values after parsing, and differently from
release to release.

Source: JSON Schema draft 2020-12 (core and validation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tunmesh.config.file import REFERENCE
from tunmesh.config.keys.root import ConfigFile, has_effect, section_in
from tunmesh.config.section import Kind, Section
from tunmesh.config.values import Endpoint

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE = {"type": "string", "pattern": REFERENCE.pattern}
_BOOLEAN = {
    "type": ["boolean", "string"],
    "pattern": f"^(?:[Tt]rue|[Ff]alse)$|{REFERENCE.pattern}",
}
_SCALAR = {"type": ["string", "number", "boolean"]}


def schema() -> dict[str, Any]:
    """The schema of the whole file, all in one piece, ready for `json.dumps`."""
    return {"$schema": DRAFT, "title": "tunmesh configuration", **_section(ConfigFile)}


def _section(section: type[Section]) -> dict[str, Any]:
    required = [name for name, key in section.model_fields.items() if key.is_required()]
    result: dict[str, Any] = {
        # A section with everything under it commented out is null to YAML.
        "type": "object" if required or section.one_of else ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _key(name, key) for name, key in section.model_fields.items()},
    }
    if required:
        result["required"] = required
    if section.one_of:
        result["anyOf"] = [{"required": [name]} for name in section.one_of]
    return result


def _key(name: str, key: FieldInfo) -> dict[str, Any]:
    result: dict[str, Any] = {
        "title": name,
        "description": key.description,
        **_value(key.annotation, key.metadata),
    }
    if key.default is not PydanticUndefined:
        result["default"] = _as_json(key.default)
    if key.examples and section_in(key.annotation) is None:
        result["examples"] = key.examples
    if not has_effect(key):
        result["deprecated"] = True
    return result


def _value(annotation: Any, metadata: Sequence[Any] = ()) -> dict[str, Any]:
    """The schema of a type, with what is noted beside it: its kind and its bounds."""
    kind = next((note for note in metadata if isinstance(note, Kind)), None)
    return {**(kind.schema if kind else _plain(annotation)), **_bounds(metadata)}


def _plain(annotation: Any) -> dict[str, Any]:
    """The schema of a type that has no kind of its own."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if NoneType in arguments:
        return _or_null(_value(arguments[0]))
    if origin is Annotated:
        return _value(arguments[0], arguments[1:])
    if origin is Mapping:
        names, values = map(_value, arguments)
        return {"type": "object", "propertyNames": names, "additionalProperties": values}
    if origin is tuple:
        return {"type": ["array", "null"], "items": _value(arguments[0])}
    if origin is Literal:
        return {"anyOf": [{"enum": list(arguments)}, _REFERENCE]}
    if annotation is bool:
        return _BOOLEAN
    return _SCALAR if annotation is str else _section(annotation)


def _or_null(inner: dict[str, Any]) -> dict[str, Any]:
    types = inner["type"] if isinstance(inner["type"], list) else [inner["type"]]
    return {**inner, "type": [*types, *(["null"] if "null" not in types else [])]}


def _bounds(metadata: Sequence[Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for note in metadata:
        match note:
            case Ge():
                result["minimum"] = note.ge
            case Le():
                result["maximum"] = note.le
            case MaxLen():
                result["maxItems"] = note.max_length
    return result


def _as_json(default: object) -> object:
    """A default as JSON has it."""
    if isinstance(default, tuple):
        return list(default)
    return str(default) if isinstance(default, Path | Endpoint) else default
