"""What is fuzzed. Each module has one function `check(data: bytes) -> None`, which raises if the
bytes make anything hold no longer that should."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

TARGETS = ("netstring", "messages", "handshake", "packet", "segments", "gossip", "config")

Check = Callable[[bytes], None]


def check_of(target: str) -> Check:
    """Imported when it is asked for: what is imported under atheris is instrumented."""
    check: Check = import_module(f"fuzz.targets.{target}").check
    return check
