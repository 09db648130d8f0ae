"""Makes secrets, and writes files that hold some.

A file appears under its name only with its whole content, group and mode: it is created under a
temporary name beside it, closed to others, and renamed last (link(2), which fails if the name is
taken, or rename(2), which replaces). The umask has no influence.
"""

from __future__ import annotations

import grp
import os
import secrets
from pathlib import Path

from tunmesh.errors import OperatorError

SECRET = 0o600
PUBLIC = 0o644
_SECRET_BYTES = 32


def new_secret() -> str:
    """A secret for a mesh: 256 random bits, as 64 hexadecimal digits."""
    return secrets.token_hex(_SECRET_BYTES)


def group_number(group: str) -> int:
    """The gid of a group given by name or number. Raises OperatorError."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise OperatorError(f"--group {group}: there is no group of that name here") from None


def insist_on_free(*paths: Path) -> None:
    """Raises OperatorError if one of the files exists already."""
    for path in paths:
        if os.path.lexists(path):
            raise OperatorError(f"{path}: exists already; --force replaces it")


def write(path: Path, content: bytes, mode: int, group: int | None, replace: bool) -> None:
    """Create a file with this mode. With a group, the file belongs to it and it may read it. On
    OperatorError nothing is left behind."""
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
