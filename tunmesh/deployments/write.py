"""Writes a deployment into a directory: all of it or nothing.

Everything is made in a draft inside the directory, which is on the same file system even if it is a
mount. The config is checked there, as a node would. Then the entries are moved up one by one, and
taken back if one of them cannot be.
"""

from __future__ import annotations

import datetime
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tunmesh.config import loading
from tunmesh.errors import OperatorError
from tunmesh.pki import issue, write

CONFIG = "config.yaml"
# Of the certificate, which proves nothing by itself: nodes know each other by the secret.
_DAYS = 3650
_KEYS = ("secret", "cert.pem", "key.pem")  # in the directory of the config, as it names them

# In place of what the platform puts into the environment of a container (RFC 5737).
_ENVIRONMENT = {"POD_IP": "192.0.2.1", "MESH_GROUP": "group"}
# The user of the hosts, who need not exist where the deployment is written.
_USER, _NUMBER = "uid: tunmesh}", "uid: 1}"
_PRIVATE = 0o700
_PUBLIC = 0o755


def write_deployment(
    directory: Path, files: Mapping[str, str], now: datetime.datetime | None, group: int | None
) -> None:
    """Write the files and, if the time is given, a new secret, certificate and key beside the
    config, which `group` may read. Raises OperatorError, and leaves nothing behind then."""
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _insist_on_free(directory, files)
        draft = directory / f".init-{secrets.token_hex(4)}"
        draft.mkdir(_PRIVATE)
        try:
            _fill(draft, files, now, group)
            _move_up(draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except (OSError, OperatorError) as error:
        if is_new:
            with suppress(OSError):
                directory.rmdir()
        if isinstance(error, OperatorError):
            raise
        where = error.filename or directory
        raise OperatorError(f"{where}: cannot be written: {error.strerror}") from None


def _insist_on_free(directory: Path, files: Mapping[str, str]) -> None:
    for entry in sorted({path.partition("/")[0] for path in files}):
        if os.path.lexists(directory / entry):
            raise OperatorError(
                f"{directory / entry}: exists already, and nothing is overwritten; give another "
                "directory"
            )


def _fill(
    draft: Path, files: Mapping[str, str], now: datetime.datetime | None, group: int | None
) -> None:
    for name, text in files.items():
        path = draft / name
        path.parent.mkdir(_PUBLIC, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(write.PUBLIC)
    for path in draft.rglob("*"):
        if path.is_dir():
            path.chmod(_PUBLIC)
    if now is not None:
        (config,) = draft.rglob(CONFIG)
        _make_keys(config.parent, now, group)
        _check(config, draft)


def _make_keys(directory: Path, now: datetime.datetime, group: int | None) -> None:
    """A secret, and a certificate with its key, in a directory that only the owner and the group
    may enter."""
    made = issue.issue((), _DAYS, now)
    secret = f"{write.new_secret()}\n".encode()
    for name, content in zip(_KEYS, (secret, made.certificate_pem, made.key_pem), strict=True):
        write.write(directory / name, content, write.SECRET, group, replace=False)
    if group is not None:
        os.chown(directory, -1, group)
    directory.chmod(_PRIVATE if group is None else _PRIVATE | 0o050)


def _check(config: Path, draft: Path) -> None:
    """Check that a node can use the config, which the choices may prevent."""
    copy = config.with_name("checked.yaml")
    copy.write_text(config.read_text().replace(_USER, _NUMBER))
    try:
        loading.load(copy, _ENVIRONMENT, lambda low, _high: low)
    except OperatorError as error:
        name = str(config.relative_to(draft))
        (first, *_) = error.lines()
        text = f"{first.replace(str(copy), name)}; nothing is written"
        raise OperatorError(text) from None
    finally:
        copy.unlink()


def _move_up(draft: Path) -> None:
    moved: list[Path] = []
    try:
        for each in sorted(draft.iterdir()):
            target = draft.parent / each.name
            if each.is_dir():
                each.rename(target)  # fails if there is anything but an empty directory
            else:
                os.link(each, target)  # fails if there is anything
            moved.append(target)
    except OSError:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
