"""Bytes as a row of decisions, for checks that need a story and not one blob.

Small changes of the bytes must make small changes of the story, or a fuzzer gropes in the dark: so
a decision takes one byte from the front, and where none are left everything is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """What is left of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether anything is left to decide."""
        return self._at < len(self._data)

    def number(self, below: int = 256) -> int:
        """A number from 0, of 256 at most."""
        taken = self.take(1)
        return taken[0] % below if taken else 0

    def pick(self, items: Sequence[T]) -> T:
        return items[self.number(len(items))]

    def some(self, items: Sequence[T]) -> list[T]:
        """A few of them, of up to eight, in their order."""
        mask = self.number()
        return [item for bit, item in enumerate(items[:8]) if mask >> bit & 1]

    def take(self, size: int) -> bytes:
        """The next bytes as they are, as many as there are."""
        start = self._at
        self._at = min(len(self._data), start + size)
        return self._data[start : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data))
