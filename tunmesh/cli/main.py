"""The command line: `tunmesh …`, and the original's two commands.

Commands are thin: they parse options, call one function and print. Each group has a module, which
is imported when one of its commands is used. An `OperatorError` becomes one line on stderr and exit
code 1, never a traceback.
"""

from __future__ import annotations

import os

import click

from tunmesh import __version__
from tunmesh.cli.base import Front


class _Tunmesh(Front):
    places = {  # noqa: RUF012 (as the base class declares it)
        "address": "tunmesh.cli.node_commands:address",
        "capture": "tunmesh.cli.trace:capture",
        "certificate": "tunmesh.cli.keys:certificate",
        "completion": "tunmesh.cli.completion:completion",
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
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":  # https://no-color.org
        ctx.color = False
