"""What keeps a user from reading a file: the file itself, or a directory on the way to it.

The kernel says "permission denied" of either, and the C library says only that a name does not
resolve when it may not read resolv.conf. Here it is found out which it is, to be told to somebody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Can: TypeAlias = Callable[[Path, int], bool]
"""Whether a user may do this with that: os.R_OK with a file, os.X_OK with a directory."""

# What the C library reads to look a name up: resolv.conf(5), hosts(5), nsswitch.conf(5).
LOOKUP_FILES = (Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/nsswitch.conf"))


def as_user(uid: int, gid: int) -> Can:
    """For another user than that of this process; as the modes say, without regard to ACLs."""

    def can(path: Path, mode: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
        return bool(stat.S_IMODE(found.st_mode) >> shift & mode)

    return can


def obstacle(path: Path, can: Can = os.access) -> Path | None:
    """The first directory on the way that may not be entered, or the file if it may not be read;
    None if it may, or if it is not there. Without `can`, for this process."""
    with suppress(OSError):
        path = path.resolve()  # a link is followed, as by open(2)
    try:
        for directory in reversed(path.parents):
            if not can(directory, os.X_OK):
                return directory
        return path if path.exists() and not can(path, os.R_OK) else None
    except OSError:
        return None


def locked_lookups(files: Sequence[Path] = LOOKUP_FILES, can: Can = os.access) -> list[str]:
    """Which of the files that are needed to look names up may not be read."""
    return [str(path) for path in files if obstacle(path, can) is not None]


def names_are_locked() -> str:
    """Why this process may be unable to look names up, as half a sentence; empty if it is not."""
    locked = locked_lookups()
    return f"uid {os.geteuid()} may not read {', '.join(locked)} (chmod 644)" if locked else ""


def remedy(path: Path, uid: int, gid: int) -> str:
    """What lets a user's group read a file that this process may not."""
    found = obstacle(path)
    if found is not None and found.is_dir():
        return f"uid {uid} gid {gid} may not enter {found}: chgrp {gid}, chmod 750"
    return (
        f"uid {uid} gid {gid} may not read {path}: chgrp {gid}, chmod 640 "
        f"(in Kubernetes fsGroup: {gid} and defaultMode: 0440)"
    )
