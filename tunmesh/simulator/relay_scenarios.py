"""The scenarios in which nodes carry links between others."""

from __future__ import annotations

from tunmesh.simulator.scenario import Limits, Scenario
from tunmesh.simulator.steps import (
    Add,
    Block,
    Direct,
    Divide,
    Exchange,
    Heal,
    Hide,
    Restart,
    Start,
    Stop,
    Wait,
    Whole,
)

RELAY = (
    Scenario(
        "relay-pairs",
        "a fifth of all pairs is blocked before the start, then another fifth, then none",
        (
            *(Block(0.2, True), Start(), Whole(300), Exchange(3), Block(0.2), Direct(30)),
            *(Whole(30), Exchange(3), Heal(), Whole(60), Direct(180), Exchange(3)),
        ),
        Limits(60, 400, 2500),
        relay=True,
    ),
    Scenario(
        "relay-nat",
        "two thirds of the nodes are behind NATs, and a third is started again, twice",
        (
            *(Hide(0.66), Start(), Whole(20), Direct(30), Exchange(3)),
            *(Restart(0.3), Whole(40), Restart(0.3, "vanish"), Whole(60), Direct(60), Exchange(3)),
        ),
        Limits(80, 500, 2500),
        relay=True,
    ),
    Scenario(
        "relay-dies",
        "a third of the pairs is blocked; nodes that carry for others are killed, leave and vanish",
        (
            *(Start(), Whole(15), Block(0.3), Direct(30), Whole(30), Stop(0.2, "crash"), Whole(20)),
            *(Exchange(3), Stop(0.2, "leave"), Whole(20), Stop(0.2, "vanish"), Whole(30)),
            Exchange(3),
        ),
        Limits(60, 500, 2500),
        least=6,
        relay=True,
    ),
    Scenario(
        "relay-churn",
        "a quarter of the pairs is blocked, others are blocked and healed, and two halves part and "
        "meet, while nodes come and go",
        (
            *(Block(0.25, True), Start(), Whole(300), Restart(0.3, moved=True), Whole(40)),
            *(Block(0.2, True), Direct(40), Whole(40), Add(0.3), Whole(30), Divide(), Whole(60)),
            *(Wait(20), Heal(), Block(0.3, True), Direct(180), Whole(60), Restart(0.3, "leave")),
            *(Whole(40), Direct(180), Exchange(3)),
        ),
        Limits(120, 900, 2500),
        relay=True,
    ),
)
