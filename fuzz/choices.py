"""Turns bytes into a sequence of decisions, for checks that need a scenario and not one blob.

A small change of the bytes must make a small change of the scenario, or coverage cannot guide the
fuzzer. So each decision takes one byte from the front, and is 0 when none are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """The remaining bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether any bytes are left."""
        return self._at < len(self._data)

    def number(self, below: int = 256) -> int:
        """A number from 0, below at most 256."""
        taken = self.take(1)
        return taken[0] % below if taken else 0

    def pick(self, items: Sequence[T]) -> T:
        return items[self.number(len(items))]

    def some(self, items: Sequence[T]) -> list[T]:
        """A subset of up to eight items, in their order."""
        mask = self.number()
        return [item for bit, item in enumerate(items[:8]) if mask >> bit & 1]

    def take(self, size: int) -> bytes:
        """The next bytes unchanged; fewer if there are not as many."""
        start = self._at
        self._at = min(len(self._data), start + size)
        return self._data[start : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data))
