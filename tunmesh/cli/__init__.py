"""The command line: `tunmesh …`, and the original's two commands.

Commands are thin: they parse options, call one function and print. Each group of them has a file
here, which imports what it needs when it runs: nobody waits for what he does not use. An
`OperatorError` from anywhere is one line on stderr and exit code 1, never a traceback.
"""

from __future__ import annotations

import click

from tunmesh import __version__
from tunmesh.cli.base import Group
from tunmesh.cli.configs import config_group, generate_example, parse
from tunmesh.cli.harness import mesh

__all__ = ["generate_example", "main", "parse"]


@click.group(cls=Group)
@click.version_option(__version__, prog_name="tunmesh")
def main() -> None:
    """A layer-3 mesh VPN that runs as a sidecar container."""


for command in (config_group, mesh):
    main.add_command(command)
