"""The scenarios with a floating address."""

from __future__ import annotations

from tunmesh.simulator.floating.steps import Claim, Held, Release, StopHolder
from tunmesh.simulator.scenario import Limits, Scenario
from tunmesh.simulator.steps import Divide, Heal, Restart, Start, Wait, Whole

FLOATING = (
    Scenario(
        "floating",
        "an address moves from node to node: released, its holder killed or without power",
        (
            *(Start(), Whole(15), Claim(0.3), Held(1), Release(), Held(1), Claim(0.3), Held(1)),
            *(StopHolder("crash"), Held(1), Claim(0.3), StopHolder("vanish"), Wait(0.3)),
            *(Claim(0.5), Held(3), StopHolder("leave"), Held(1), Restart(0.3), Claim(0.5)),
            *(Whole(40), Held(2)),
        ),
        Limits(10, 200, 60, lost=1.0),
        least=5,
    ),
    Scenario(
        "floating-halves",
        "two halves meet in which nodes hold the same floating address, while some start again",
        (
            *(Start(), Whole(15), Claim(0.5), Held(1), Wait(10), Divide(), Whole(40)),
            *(Claim(0.9), Wait(10), Heal(), Restart(0.2, "vanish"), Whole(60), Held(10)),
            *(Release(), Held(1), StopHolder("crash"), Held(1)),
        ),
        Limits(14, 200, 60, lost=1.0),
        least=4,
    ),
)
