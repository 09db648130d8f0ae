"""The scenarios of nodes that choose their addresses themselves."""

from __future__ import annotations

from tunmesh.simulator.scenario import Limits, Scenario
from tunmesh.simulator.steps import (
    Add,
    Chosen,
    Contend,
    Expose,
    Fill,
    Heal,
    Lie,
    Part,
    Restart,
    Roll,
    Start,
    Stop,
    Wait,
    Whole,
)

CHOOSING = (
    Scenario(
        "automatic",
        "all nodes choose their addresses; a third is started again, twice, and has the same ones",
        (
            *(Start(), Whole(15), Chosen(20), Wait(10), Restart(0.3, moved=True), Whole(20)),
            *(Chosen(20, same=True), Restart(0.3, "vanish", moved=True), Whole(40)),
            Chosen(20, same=True),
        ),
        Limits(8, 120, 30),
        automatic=1.0,
    ),
    Scenario(
        "replicas",
        "many nodes start at once in a network that has room for few more",
        (Start(), Whole(30), Chosen(40)),
        Limits(5, 80, 40),
        nodes=200,
        automatic=1.0,
        room=1.2,
    ),
    Scenario(
        "rolling",
        "everybody is started again, one after the other, and has the same address as before",
        (Start(), Whole(15), Chosen(20), Wait(10), Roll(), Whole(30), Chosen(20, same=True)),
        Limits(60, 600, 200, lost=1.0),
        nodes=20,
        automatic=1.0,
    ),
    Scenario(
        "churn",
        "a third of the nodes comes and goes, six times, in a network with little room",
        (
            *(Start(), Whole(15), Chosen(30)),
            *(Restart(0.3, moved=True), Wait(7), Restart(0.3, "leave", moved=True), Wait(5)),
            *(Restart(0.3, "vanish", moved=True), Wait(3), Restart(0.3, moved=True), Wait(9)),
            *(Restart(0.3, "leave", moved=True), Wait(2), Restart(0.3, "vanish", moved=True)),
            *(Whole(40), Chosen(90)),
        ),
        Limits(20, 250, 60),
        automatic=1.0,
        room=1.3,
    ),
    Scenario(
        "full",
        "the network has an address for each node, then there is one node more; one leaves",
        (
            *(Start(), Whole(15), Chosen(30), Fill(), Whole(15), Chosen(40)),
            *(Fill(more=1), Whole(15), Wait(15), Chosen(5, left_over=1)),
            *(Stop(0.0, "leave"), Whole(20), Chosen(90)),
        ),
        Limits(12, 200, 50),
        nodes=10,
        automatic=1.0,
        room=1.0,
    ),
    Scenario(
        "namesakes",
        "two islands, in which nodes have the same names and so the same addresses, meet",
        (Part(namesakes=True), Start(), Chosen(40), Wait(30), Heal(), Whole(40), Chosen(20)),
        Limits(12, 150, 40, lost=1.0),
        automatic=1.0,
        least=4,
    ),
    Scenario(
        "reunion",
        "two halves meet in which newcomers have chosen addresses from a network with little room",
        (
            *(Part(), Start(), Chosen(40), Add(0.5), Chosen(40), Restart(0.3)),
            *(Chosen(40), Wait(20), Heal(), Whole(40), Chosen(40)),
        ),
        Limits(20, 250, 60, lost=1.0),
        automatic=1.0,
        room=1.3,
        least=4,
    ),
    Scenario(
        "mixed",
        "half of the nodes choose their addresses; two halves meet in which an address was "
        "assigned to one node and chosen by another one",
        (
            *(Part(), Start(), Chosen(40), Wait(20), Contend(static=True), Chosen(40), Wait(20)),
            *(Heal(), Whole(40), Chosen(20)),
        ),
        Limits(12, 150, 40, lost=1.0),
        automatic=0.5,
        least=6,
    ),
    Scenario(
        "claims",
        "a member claims and refuses what others have chosen, while some are started again",
        (
            *(Start(), Whole(20), Chosen(30), Wait(20), Lie(), Wait(25), Chosen(5, same=True)),
            *(Restart(0.2, moved=True), Whole(40), Wait(25), Expose(), Whole(40), Chosen(60)),
        ),
        Limits(60, 1500, 1500, lost=2.0),
        automatic=1.0,
        least=5,
    ),
)
