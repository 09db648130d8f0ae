"""Why a user may not read a file: the file's own mode, or that of a directory above it.

The kernel reports "permission denied" for both, and the C library reports an unreadable resolv.conf
only as a name that does not resolve. The functions here find the culprit, for error messages.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Can: TypeAlias = Callable[[Path, int], bool]
"""Whether a user has this access to a path: os.R_OK to a file, os.X_OK to a directory."""

# What the C library reads to look a name up: resolv.conf(5), hosts(5), nsswitch.conf(5).
_LOOKUP_FILES = (Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/nsswitch.conf"))


def as_user(uid: int, gid: int) -> Can:
    """The check for another user than this process's: by mode bits only, ACLs are ignored."""

    def can(path: Path, mode: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
        return bool(stat.S_IMODE(found.st_mode) >> shift & mode)

    return can


def obstacle(path: Path, can: Can = os.access) -> Path | None:
    """The first directory above the file that may not be entered, or the file itself if it may not
    be read; None if it may be read or does not exist. `can` defaults to this process's access."""
    with suppress(OSError):
        path = path.resolve()  # a link is followed, as by open(2)
    try:
        for directory in reversed(path.parents):
            if not can(directory, os.X_OK):
                return directory
        return path if path.exists() and not can(path, os.R_OK) else None
    except OSError:
        return None


def locked_lookups(files: Sequence[Path] = _LOOKUP_FILES, can: Can = os.access) -> list[str]:
    """The files needed for name lookups that may not be read."""
    return [str(path) for path in files if obstacle(path, can) is not None]


def names_are_locked() -> str:
    """Why this process may be unable to resolve names, for a message; "" if it is able."""
    locked = locked_lookups()
    return f"uid {os.geteuid()} may not read {', '.join(locked)} (chmod 644)" if locked else ""


def remedy(path: Path, uid: int, gid: int) -> str:
    """The commands that give a user's group read access to a file."""
    found = obstacle(path)
    if found is not None and found.is_dir():
        return f"uid {uid} gid {gid} may not enter {found}: chgrp {gid}, chmod 750"
    return (
        f"uid {uid} gid {gid} may not read {path}: chgrp {gid}, chmod 640 "
        f"(in Kubernetes fsGroup: {gid} and defaultMode: 0440)"
    )
