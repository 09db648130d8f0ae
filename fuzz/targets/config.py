"""Any bytes in a config file yield a config, or error lines for a person.

The bytes are the file. An accepted config is dumped and loaded again, which must give the same
config.
"""

from __future__ import annotations

import random
import tempfile
from functools import cache
from pathlib import Path

import yaml

from tunmesh.config.loading import Config, ConfigError, dump, load

ENVIRON = {"X": "x", "PORT": "4567"}


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """The directory of the file, and of those that it names. It is removed with the process."""
    directory = tempfile.TemporaryDirectory(prefix="tunmesh-fuzz-")
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (Path(directory.name) / name).write_text("PEM")
    return directory


def check(data: bytes) -> None:
    path = Path(_directory().name) / "config.yaml"
    config = _read(path, data)
    if config is not None:
        written = yaml.safe_dump(dump(config, reveal=True), allow_unicode=True)
        assert _read(path, written.encode()) == config


def _read(path: Path, data: bytes) -> Config | None:
    path.write_bytes(data)
    try:
        config = load(path, ENVIRON, random.Random(0).uniform)  # noqa: S311
    except ConfigError as error:
        assert error.report()
        for line in error.report():
            assert line.isprintable(), line
            assert line.startswith(f"{path}:"), line
        return None
    assert isinstance(config, Config)
    return config
