"""The command line: `tunmesh …`, and the original's two commands.

Commands are thin: they parse options, call one function and print. Each group has a module, which
is imported when one of its commands is used. An `OperatorError` becomes one line on stderr and exit
code 1, never a traceback.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tunmesh import __version__
from tunmesh.cli.base import Front, OneLineErrors
from tunmesh.host import stdio

_KINDS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
_VARIABLE = "_TUNMESH_COMPLETE"  # the variable by which the shell asks click for completions


class _Tunmesh(Front):
    places = {  # noqa: RUF012 (as the base class declares it)
        "address": "tunmesh.cli.node_commands:address",
        "capture": "tunmesh.cli.trace:capture",
        "certificate": "tunmesh.cli.keys:certificate",
        "completion": "tunmesh.cli.main:completion",
        "config": "tunmesh.cli.configs:config_group",
        "doctor": "tunmesh.cli.doctoring:doctor",
        "drain": "tunmesh.cli.node_commands:drain",
        "events": "tunmesh.cli.node_commands:events",
        "explain": "tunmesh.cli.trace:explain",
        "graph": "tunmesh.cli.node_commands:graph",
        "guard": "tunmesh.cli.guarding:guard",
        "healthcheck": "tunmesh.cli.node_commands:healthcheck",
        "init": "tunmesh.cli.init:init",
        "mesh": "tunmesh.cli.meshes:mesh",
        "ping": "tunmesh.cli.trace:ping",
        "resolve": "tunmesh.cli.trace:resolve",
        "routes": "tunmesh.cli.node_commands:routes",
        "multicast": "tunmesh.cli.node_commands:multicast",
        "run": "tunmesh.cli.waiting:run",
        "secret": "tunmesh.cli.keys:secret",
        "simulate": "tunmesh.cli.meshes:simulate",
        "status": "tunmesh.cli.node_commands:status",
        "wait": "tunmesh.cli.waiting:wait",
    }


@click.group(cls=_Tunmesh, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tunmesh")
@click.pass_context
def main(ctx: click.Context) -> None:
    """A layer-3 mesh VPN that runs as a sidecar container.

    Start a node with: twistd --nodaemon --pidfile= tunmesh --config FILE
    """
    if stdio.is_colourless(os.environ):
        ctx.color = False


@click.command(cls=OneLineErrors, short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(tuple(_KINDS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options, for a shell to read.

    \b
    eval "$(tunmesh completion bash)"       in ~/.bashrc
    eval "$(tunmesh completion zsh)"        in ~/.zshrc
    tunmesh completion fish | source        in ~/.config/fish/config.fish
    """
    made = _KINDS[shell](ctx.find_root().command, {}, "tunmesh", _VARIABLE)
    # Not made.source(), which runs the bash of this machine to check its version.
    click.echo(ShellComplete.source(made))
