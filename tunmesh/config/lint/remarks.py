"""What a check of the lint finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tunmesh.config.file import Loc
from tunmesh.config.section import Section


@dataclass(frozen=True)
class Remark:
    """The result of a check for its section, or for a key in it."""

    key: Loc
    text: str
    is_error: bool = False
    is_logged: bool = False


Checks: TypeAlias = tuple[tuple[Loc, type[Section], Callable[[Any, float], Iterator[Remark]]], ...]
