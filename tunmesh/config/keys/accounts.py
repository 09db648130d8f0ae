"""Users and groups in a config: by number, or by the name that they have on this machine.

A name is looked up when the file is read; from then on there are numbers only.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator

from tunmesh.config.section import Kind, wrong
from tunmesh.config.types import INTEGER, or_text

# useradd(8), with the capitals and dots that directories of users have. Root is never meant.
_NAME = r"(?!root$)[A-Za-z_][A-Za-z0-9_.-]{0,31}"
_FORM = re.compile(rf"{_NAME}|root")


def group_of(user: object) -> int | None:
    """The number of the own group of a user who is given by name; None for a number, and for a
    user who does not exist or is root."""
    if not _is_name(user):
        return None
    try:
        return pwd.getpwnam(str(user)).pw_gid or None
    except KeyError:
        return None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def _number(what: str, find: Callable[[str], int], make: str) -> BeforeValidator:
    def parse(value: object) -> int:
        if _is_name(value):
            try:
                return find(str(value))
            except KeyError:
                raise ValueError(
                    f"must be a {what} of this machine, or a number; there is no {what} {value} "
                    f"({make} {value})"
                ) from None
        if not isinstance(value, str) or not INTEGER.fullmatch(value):
            raise ValueError(wrong(f"a whole number or the name of a {what}", value))
        return int(value, 0)

    return BeforeValidator(parse)


_SCHEMA = or_text("integer", f"{INTEGER.pattern}|{_NAME}")

User = Annotated[
    int,
    _number("user", lambda name: pwd.getpwnam(name).pw_uid, "useradd --system"),
    Kind("user name or whole number", _SCHEMA),
]
Group = Annotated[
    int,
    _number("group", lambda name: grp.getgrnam(name).gr_gid, "groupadd --system"),
    Kind("group name or whole number", _SCHEMA),
]
