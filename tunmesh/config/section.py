"""The base of all sections, and the kinds and error messages that all values share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    model_validator,
)

from tunmesh.config.file import Loc, printable

REDACTED = "(redacted)"


class Section(BaseModel):
    """A mapping of declared keys. Frozen; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    one_of: ClassVar[tuple[str, ...]] = ()
    """Keys with a default of which one must be given all the same; the first is the usual one."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_under_it(cls, value: Any) -> Any:
        return {} if value is None else value


@dataclass(frozen=True, eq=False)
class Kind:
    """A value type's name for people and its JSON schema. An annotation for the documentation; it
    validates nothing."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Loading:
    """The validation context: the directory of relative paths, and draw(low, high), a random
    number between its arguments."""

    directory: Path
    draw: Callable[[float, float], float]


@dataclass(frozen=True)
class SecretFile:
    """A file that holds one secret; `text` is the secret, stripped."""

    path: Path
    text: str = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)


class KeyRuleError(ValueError):
    """A rule within a section is broken by one of its keys: `place` leads from the section to it,
    so that it is said of the key, with its line."""

    def __init__(self, place: Loc, text: str) -> None:
        super().__init__(text)
        self.place = place


def wrong(expected: str, value: object) -> str:
    """The message for a wrong value."""
    return f"must be {expected}, not {shown(value)}"


def shown(value: object) -> str:
    """A value as an error message names it: text is quoted and cut, containers are not spelled
    out."""
    match value:
        case None:
            return "empty"
        case str():
            return f'"{printable(value)}"'
        case dict():
            return "a mapping of keys"
        case list() | tuple():
            return "a list"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def loading_of(info: ValidationInfo) -> Loading:
    return cast(Loading, info.context)
