"""The printed report of a simulation: what was done when, the results, and the verdict.

It does not depend on real time: equal seeds give equal reports, byte for byte.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunmesh.simulator.world import World
    from tunmesh.testing.mesh import Member

WIDTH = 80
INDENT = 15


class Story:
    """Lines of at most 80 columns for `say`, with times in simulated seconds."""

    def __init__(self, say: Callable[[str], None], seconds: Callable[[], float]) -> None:
        self._say = say
        self._seconds = seconds

    def begin(self, name: str, about: str, nodes: int, seed: int) -> None:
        self._say(f"{name}: {nodes} nodes, seed {seed}")
        for line in textwrap.wrap(about, WIDTH - 2):
            self._say(f"  {line}")
        self._say("")

    def tell(self, text: str, mark: str = " ") -> None:
        """Something happened just now."""
        head = f"{self._seconds():9.2f} s  {mark} "
        for line in textwrap.wrap(text, WIDTH - INDENT):
            self._say(head + line)
            head = INDENT * " "

    def costs(self, rows: Iterable[tuple[str, float, float, float]]) -> None:
        """A table: word, average, most, limit."""
        self._say("")
        self._say(f"  {'each node':<14}{'on average':>14}{'at most':>14}{'limit':>14}")
        for what, average, most, limit in rows:
            self._say(f"  {what:<14}{average:>14,.0f}{most:>14,.0f}{limit:>14,.0f}")

    def end(self, broken: list[str], again: str) -> None:
        """The verdict, and how to reproduce the run."""
        self._say("")
        for what in broken:
            lines = textwrap.wrap(what, WIDTH - 4)
            self._say("  ✘ " + "\n    ".join(lines))
        if not broken:
            self._say("  ✔ all invariants hold")
        self._say(f"    {again}")


class Part:
    """What is about one matter, in a module of its own: it carries out its own steps. `judge(held,
    text)` reports whether something held; `some(share)` draws nodes."""

    def __init__(
        self,
        world: World,
        story: Story,
        judge: Callable[[bool, str], None],
        some: Callable[[float], list[Member]],
    ) -> None:
        self.world = world
        self.story = story
        self.judge = judge
        self.some = some
