"""Writes files that hold secrets.

A file has its whole content, its owner's group and its mode from the first moment that its name
leads to it: it is made under another name beside it, closed to everybody else, and given its name
last (link(2), which fails if the name is taken, or rename(2), which replaces what is there). The
umask plays no part.
"""

from __future__ import annotations

import grp
import os
import secrets
from pathlib import Path

from tunmesh.errors import OperatorError

SECRET = 0o600
PUBLIC = 0o644


def group_number(group: str) -> int:
    """Of a group by its name or number. Raises OperatorError."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise OperatorError(f"--group {group}: there is no group of that name here") from None


def insist_on_free(*paths: Path) -> None:
    """Raises OperatorError if one of them is there."""
    for path in paths:
        if os.path.lexists(path):
            raise OperatorError(f"{path}: exists already; --force replaces it")


def write(path: Path, content: bytes, mode: int, group: int | None, replace: bool) -> None:
    """Make a file of that mode. With a group, the file is its own and it may read it too. Raises
    OperatorError, and leaves nothing behind then."""
    mode |= 0 if group is None else 0o040
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                if group is not None:
                    os.fchown(fd, -1, group)
                os.fchmod(fd, mode)
                file.write(content)
                file.flush()
                os.fsync(fd)
            (os.replace if replace else os.link)(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise OperatorError(f"{path}: exists already; --force replaces it") from None
    except OSError as error:
        raise OperatorError(f"{path}: cannot be written: {error.strerror}") from None
