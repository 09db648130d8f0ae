"""The fuzz targets. Each module has one function `check(data: bytes) -> None`, which raises if the
bytes violate an invariant."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

TARGETS = (
    "netstring",
    "messages",
    "handshake",
    "packet",
    "segments",
    "datagrams",
    "gossip",
    "config",
    "dns",
    "assigner",
    "icmp",
    "news",
    "replays",
    "reports",
    "streams",
)

Check = Callable[[bytes], None]


def check_of(target: str) -> Check:
    """Imported on demand: modules imported under atheris are instrumented."""
    check: Check = import_module(f"fuzz.targets.{target}").check
    return check
