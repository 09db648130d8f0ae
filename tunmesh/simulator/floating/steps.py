"""The steps of a scenario that are about the floating address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Claim:
    """Programs on some nodes claim the floating address, or go on to do so."""

    share: float


@dataclass(frozen=True, slots=True)
class Release:
    """The program on the node that has it releases it."""


@dataclass(frozen=True, slots=True)
class StopHolder:
    """End the node that has it, for good."""

    how: Literal["crash", "vanish", "leave"]


@dataclass(frozen=True, slots=True)
class Held:
    """Within so many seconds exactly one of the nodes that claim the floating address has to have
    it, if any does, and every other one to lead there."""

    within: float
