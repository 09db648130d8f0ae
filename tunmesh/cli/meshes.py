"""`tunmesh mesh` and `tunmesh simulate`: whole meshes on this machine, real and in memory."""

from __future__ import annotations

import random
import sys

import click

from tunmesh.cli.base import OneLineErrors
from tunmesh.errors import OperatorError


@click.command(cls=OneLineErrors)
@click.option("--nodes", type=click.IntRange(2, 50), default=3, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the mesh up until Ctrl-C.")
@click.option("--auto", is_flag=True, help="One config for all: they choose their addresses.")
def mesh(nodes: int, keep: bool, auto: bool) -> None:
    """Run a mesh of real nodes on this machine and show it work."""
    # Importing it takes a reactor and the network libraries, which no other command needs.
    from tunmesh.localmesh import run

    sys.exit(run.main(nodes=nodes, keep=keep, auto=auto))


@click.command(cls=OneLineErrors)
@click.argument("scenario", required=False)
@click.option("--list", "listing", is_flag=True, help="Name the scenarios.")
@click.option("--nodes", type=click.IntRange(2, 500), help="[default: the scenario's]")
@click.option("--seed", type=click.IntRange(min=0), help="[default: a random one]")
def simulate(scenario: str | None, listing: bool, nodes: int | None, seed: int | None) -> None:
    """Run a mesh through faults, in memory and in simulated time.

    The same seed gives the same run. The exit code is 0 when all invariants hold.
    """
    # Imports Twisted and TLS, which most commands do not need.
    from tunmesh.simulator import run
    from tunmesh.simulator.scenarios import SCENARIOS

    if listing:
        for each in SCENARIOS.values():
            click.echo(f"{each.name:<18} {each.about}")
        return
    if scenario not in SCENARIOS:
        what = f"{scenario} is not a scenario" if scenario else "which scenario"
        raise OperatorError(f"{what}; there are {', '.join(SCENARIOS)}")
    chosen = SCENARIOS[scenario]
    seed = random.SystemRandom().randrange(100_000) if seed is None else seed
    held = run.simulate(chosen, chosen.nodes if nodes is None else nodes, seed, click.echo)
    sys.exit(0 if held else 1)
