"""The command line: `tunmesh …`.

Commands are thin: they parse options, call one function and print. An `OperatorError` from anywhere
is one line on stderr and exit code 1, never a traceback.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import click
import yaml

from tunmesh import __version__, config
from tunmesh.errors import OperatorError


class _OneLineErrors(click.Group):
    """A group whose commands may raise OperatorError."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except config.ConfigError as error:
            for line in error.report():
                click.echo(line, err=True)
        except OperatorError as error:
            click.echo(f"tunmesh: {error}", err=True)
        return ctx.exit(1)


@click.group(cls=_OneLineErrors)
@click.version_option(__version__, prog_name="tunmesh")
def main() -> None:
    """A layer-3 mesh VPN that runs as a sidecar container."""


@main.group("config")
def config_group() -> None:
    """Look at config files.

    FILE is $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml when it is not given.
    """


@config_group.command()
@click.argument("file", required=False)
def check(file: str | None) -> None:
    """Say whether FILE can be used, or everything that is wrong with it."""
    _load(file)
    click.echo(f"{config.path_of(file, os.environ)}: ok")


@config_group.command()
@click.argument("file", required=False)
@click.option("--redact/--no-redact", default=True, help="Hide secrets (the default).")
def show(file: str | None, redact: bool) -> None:
    """Print what FILE amounts to, defaults filled in."""
    tree = config.dump(_load(file), reveal=not redact)
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


@main.command()
@click.option("--nodes", type=click.IntRange(min=2), default=3, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the mesh up until Ctrl-C.")
def mesh(nodes: int, keep: bool) -> None:
    """Run a mesh of real nodes on this machine and show it work."""
    # Importing it takes a reactor and the network libraries, which no other command needs.
    from tunmesh.localmesh import run

    sys.exit(run.main(nodes=nodes, keep=keep))


def _load(file: str | None) -> config.Config:
    path = config.path_of(file, os.environ)
    return config.load(path, os.environ, random.SystemRandom().uniform)
