"""A contender: a program that joins two hosts, so that each reaches the other at a second
address.

    left, 10.77.0.1 ===== the contender ===== 10.77.0.2, right
    left, 10.99.0.1 ------- the cable ------- 10.99.0.2, right

Each has a file in `bench.contenders`: what it needs, its config files, how it is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.lab import Ground

INNER_LEFT, INNER_RIGHT = "10.77.0.1", "10.77.0.2"


@dataclass(frozen=True)
class Contender:
    """A program under test. `start` starts its processes on both hosts at once, and does not
    wait."""

    name: str
    about: str
    """A description with the relevant settings, for the report."""
    start: Callable[[Ground], None]
    needs: Mapping[str, str] = field(default_factory=dict)
    """Programs and their Debian packages."""
    prepare: Callable[[Ground], None] = lambda ground: None
    """Writes its keys and files; not part of the time to the first packet."""
    version: tuple[str, ...] = ()
    """The command that prints its version, if there is one."""
    released: Mapping[str, int] | None = None
    """For other programs: year of release by version, unless the version is a date."""
    right: str = INNER_RIGHT
    """The address at which the left host reaches the right one through it."""
    is_mesh: bool = False
    """Whether it can join any number of hosts, with host K at 10.77.0.K."""
