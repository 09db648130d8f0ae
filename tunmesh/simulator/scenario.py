"""What a scenario consists of: steps, and limits for what they may cost.

The share of a step is a fraction of the running nodes, at least one, chosen at random. Durations
are simulated seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.simulator.steps import Step
from tunmesh.udp.choice import Transport

FLOOD = 0.02  # seconds between two packets to a slow reader, and between two among the others


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may cost each node, by the number of other nodes, beside what goes on for ever:
    keepalives, packets, and the dials of a bootstrap group that finds nobody. Kilobytes are for the
    scenario's own number of nodes, and grow with it: of so many nodes the members tell each other.
    """

    dials: float
    writes: float
    kilobytes: float
    datagrams: float = 400.0  # with UDP, beside the packets of exchanges
    lost: float = 0.0  # dials a second, at nodes that were linked and are not there any more


@dataclass(frozen=True, slots=True)
class Scenario:
    """After the last step all have to be linked and quiet, and every packet to arrive."""

    name: str
    about: str
    steps: tuple[Step, ...]
    limits: Limits
    nodes: int = 30
    skew: float = 0.0  # seconds that a clock may be ahead, or behind
    behind_balancer: bool = False  # the bootstrap URL leads to any node, oneself included
    # The first node bootstraps from nobody, the others from it; else all do from the first three.
    from_first: bool = False
    least: int = 1  # nodes that it takes
    automatic: float = 0.0  # the share of nodes that choose their addresses themselves
    # The IPv4 network has addresses for no more than so many times the nodes; 0: plenty.
    room: float = 0.0
    transport: Transport = "tcp"  # networking.transport of all nodes
    relay: bool = False  # whether nodes carry links between others
    multicast: bool = False  # whether nodes carry IPv4 multicast
