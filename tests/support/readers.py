"""A reactor for what is read without a reactor's loop."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock


class Readers(Clock):
    """A reactor that only remembers what it is to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard
