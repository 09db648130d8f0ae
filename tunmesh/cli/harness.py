"""`tunmesh mesh`."""

from __future__ import annotations

import sys

import click

from tunmesh.cli.base import OneLineErrors
from tunmesh.localmesh.size import FEWEST_NODES, MOST_NODES


@click.command(cls=OneLineErrors)
@click.option(
    "--nodes", type=click.IntRange(FEWEST_NODES, MOST_NODES), default=3, show_default=True
)
@click.option("--keep", is_flag=True, help="Leave the mesh up until Ctrl-C.")
def mesh(nodes: int, keep: bool) -> None:
    """Run a mesh of real nodes on this machine and show it work."""
    # Importing it takes a reactor and the network libraries, which no other command needs.
    from tunmesh.localmesh import run

    sys.exit(run.main(nodes=nodes, keep=keep))
