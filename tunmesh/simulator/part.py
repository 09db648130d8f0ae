"""What the parts of a simulation have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tunmesh.simulator.story import Story
from tunmesh.testing.mesh import Member

if TYPE_CHECKING:
    from tunmesh.simulator.world import World


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
        self._world = world
        self._story = story
        self._judge = judge
        self._some = some
