"""The scenarios as data."""

from __future__ import annotations

from tunmesh.simulator.choosing_scenarios import CHOOSING
from tunmesh.simulator.floating.scenarios import FLOATING
from tunmesh.simulator.relay_scenarios import RELAY
from tunmesh.simulator.scenario import Limits, Scenario
from tunmesh.simulator.steps import (
    Add,
    CutOneWay,
    Divide,
    Expose,
    FailDials,
    FindNames,
    Grouped,
    Heal,
    Hide,
    Intrude,
    Lie,
    LoseNames,
    Misconfigure,
    Readdress,
    ReadSlowly,
    Regroup,
    Restart,
    Scatter,
    Start,
    Stop,
    StopSeeds,
    Wait,
    Whole,
)
from tunmesh.simulator.udp_scenarios import UDP

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "join",
            "all nodes start within half a second",
            (Start(), Whole(15)),
            Limits(3, 40, 10),
            nodes=40,
        ),
        Scenario(
            "partition",
            "two halves cannot reach each other for two minutes",
            (Start(), Whole(15), Divide(), Whole(40), Wait(80), Heal(), Whole(30)),
            Limits(10, 80, 20),
        ),
        Scenario(
            "partitioned-start",
            "all nodes start while two halves cannot reach each other",
            (Divide(), Start(), Wait(60), Heal(), Whole(120)),
            Limits(10, 80, 20),
        ),
        Scenario(
            "one-way",
            "on a tenth of all ways, packets get through in one direction only",
            (Start(), Whole(15), CutOneWay(0.1), Whole(40), Wait(60), Heal(), Whole(30)),
            Limits(8, 80, 20),
        ),
        Scenario(
            "restart",
            "a third of the nodes is killed and started again, twice",
            (Start(), Whole(15), Restart(0.3), Whole(15), Restart(0.3, "vanish"), Whole(20)),
            Limits(5, 80, 20),
        ),
        Scenario(
            "move",
            "a third of the nodes comes back with other addresses, after a crash, a goodbye and a "
            "power cut",
            (
                Start(),
                Whole(15),
                Restart(0.3, moved=True),
                Whole(20),
                Restart(0.3, "leave", moved=True),
                Whole(20),
                Restart(0.3, "vanish", moved=True),
                Whole(40),
            ),
            Limits(6, 80, 20),
        ),
        Scenario(
            "restart-all",
            "everybody is killed and started again in the same half second",
            (Start(), Whole(15), Restart(1.0), Whole(20), Restart(1.0, "vanish"), Whole(20)),
            Limits(6, 80, 20),
        ),
        Scenario(
            "failing-dials",
            "three of ten dials fail, and a third of the nodes is started again meanwhile",
            (FailDials(0.3), Start(), Whole(60), Restart(0.3), Whole(60)),
            Limits(6, 80, 20),
        ),
        Scenario(
            "no-names",
            "no name resolves for two minutes, in which a third of the nodes is started again",
            (Start(), Whole(15), LoseNames(), Restart(0.3), Wait(120), FindNames(), Whole(30)),
            Limits(6, 80, 20),
        ),
        Scenario(
            "balancer",
            "the bootstrap URL leads to any node, oneself included; then a third starts again",
            # Nodes that found each other in pairs meet when one of them looks again, by chance:
            # each has looked once after 90 s, and twice after 270 s.
            (Start(), Whole(400), Restart(0.3), Whole(400)),
            Limits(5, 80, 20),
            behind_balancer=True,
        ),
        Scenario(
            "clocks",
            "clocks are up to ten minutes wrong, and wrong in another way at each start",
            (Start(), Whole(15), Restart(0.3), Whole(15), Restart(0.3, "vanish"), Whole(40)),
            Limits(16, 150, 30),
            skew=600,
        ),
        Scenario(
            "power-cut",
            "a machine loses power and comes back with a clock that is an hour behind, or ahead",
            (
                Start(),
                Whole(15),
                Wait(20),
                Restart(0.0, "vanish", behind=3600),
                Whole(8),
                Restart(0.0, "vanish", behind=-3600),
                Whole(8),
                Restart(0.0, "vanish", behind=5),
                Whole(8),
            ),
            Limits(5, 100, 25),
        ),
        Scenario(
            "no-bootstrap",
            "all nodes to bootstrap from are gone for good; others are started again",
            (
                Start(),
                Whole(15),
                StopSeeds("vanish"),
                Whole(40),
                Restart(0.3),
                Whole(20),
                Restart(0.3, "leave"),
                Whole(40),
                Restart(0.3, "vanish"),
                Whole(40),
            ),
            Limits(10, 120, 30, lost=0.5),
            least=5,
        ),
        Scenario(
            "islands",
            "all nodes to bootstrap from are gone, and the others fall into three parts",
            (
                Start(),
                Whole(15),
                StopSeeds("crash"),
                Scatter(3),
                Whole(40),
                Wait(150),
                Restart(0.2),
                Wait(30),
                Heal(),
                Whole(25),
            ),
            Limits(15, 120, 30, lost=1.0),
            least=6,
        ),
        Scenario(
            "lonely",
            "the first node, which all bootstrap from, dies; for 18 s nobody reaches anybody",
            (
                Start(),
                Whole(15),
                StopSeeds("crash"),
                Scatter(500),
                Wait(18),
                Heal(),
                Whole(15),
            ),
            Limits(8, 120, 30, lost=0.5),
            from_first=True,
            least=3,
        ),
        Scenario(
            "readdressed",
            "the first node's host gets another address, and then a third of the others do",
            (
                Start(),
                Whole(15),
                Readdress(first=True),
                Whole(40),
                Readdress(0.3),
                Whole(40),
            ),
            Limits(12, 120, 30, lost=0.5),
            from_first=True,
            least=3,
        ),
        Scenario(
            "slow-readers",
            "a tenth of the nodes reads far less than it is sent, for half a minute",
            (Start(), Whole(15), ReadSlowly(0.1, 30, 20_000, 60_000), Whole(10)),
            Limits(3, 40, 90),
        ),
        Scenario(
            "duplicate",
            "a newcomer claims the address of a node that runs, then others start",
            (Start(), Whole(15), Wait(20), Intrude(), Whole(15), Add(0.5), Whole(15)),
            Limits(3, 60, 15),
        ),
        Scenario(
            "wrong-network",
            "a newcomer has other networks in its config; then others start, and some again",
            (
                *(Start(), Whole(15), Wait(20), Misconfigure(), Whole(15)),
                *(Add(0.5), Whole(15), Wait(20), Restart(0.3), Whole(15)),
            ),
            Limits(6, 100, 25),
        ),
        Scenario(
            "liar",
            "a member lies to all others from the start, while nodes come, go and restart",
            (
                *(Lie(), Start(), Whole(40), Add(0.3), Whole(40), Restart(0.3), Whole(40)),
                *(Restart(0.3, "vanish", moved=True), Whole(60), Expose(), Whole(40)),
            ),
            Limits(60, 600, 1500, lost=2.0),
        ),
        Scenario(
            "liar-nat",
            "the same, among nodes of which some cannot be dialed",
            (
                *(Hide(0.5), Lie(), Start(), Whole(40), Add(0.3), Whole(40)),
                *(Restart(0.3), Whole(40), Restart(0.3, "vanish"), Whole(60), Expose(), Whole(40)),
            ),
            Limits(60, 600, 1500, lost=2.0),
        ),
        Scenario(
            "ghosts",
            "a third of the machines loses power; newcomers are told of the dead",
            (Start(), Whole(15), Stop(0.3, "vanish"), Add(0.3), Whole(40)),
            # In so small a mesh everybody tries the URLs of all others, and those of the dead first
            # when it looks again (dialing.address_order).
            Limits(9, 80, 20),
        ),
        Scenario(
            "groups",
            "programs join and leave multicast groups while nodes come and go, and two halves part "
            "and meet",
            (
                *(Start(), Whole(15), Regroup(0.4), Grouped(3), Regroup(0.4, over=20), Grouped(3)),
                *(Restart(0.3, moved=True), Whole(20), Grouped(5), Restart(0.3, "vanish")),
                *(Regroup(0.5, over=10), Whole(40), Grouped(5), Divide(), Regroup(0.4, over=30)),
                *(Whole(40), Grouped(5), Heal(), Regroup(0.3, over=5), Whole(30), Grouped(5)),
                *(Add(0.3), Stop(0.2, "leave"), Regroup(0.3, over=2), Whole(20), Grouped(5)),
            ),
            Limits(14, 300, 60),
            multicast=True,
        ),
        Scenario(
            "groups-lost",
            "half of what kernels report of multicast groups gets lost, until they are asked again",
            (
                *(Start(), Whole(15), Regroup(0.5, over=5, lost=0.5), Grouped(190)),
                *(Regroup(0.4, over=5, lost=0.9), Restart(0.3), Whole(30), Grouped(190)),
                *(Regroup(0.0, over=5, lost=0.5), Grouped(190)),
            ),
            Limits(8, 200, 40),
            multicast=True,
        ),
        *CHOOSING,
        *UDP,
        *RELAY,
        *FLOATING,
    )
}
