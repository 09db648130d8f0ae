"""`tunmesh doctor`: why a node does not work."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import OneLineErrors
from tunmesh.cli.client import Client, NoNodeError, node_of, node_option
from tunmesh.errors import OperatorError
from tunmesh.units import counted, some

if TYPE_CHECKING:
    from tunmesh.observe.status_json import Json

_COLOURS = {"ok": "green", "?": "yellow", "NO": "red"}


@click.command(cls=OneLineErrors, short_help="Find what keeps a node from working.")
@node_option
@click.argument("file", required=False)
@click.pass_context
def doctor(ctx: click.Context, node: Client, file: str | None) -> None:
    """Find what keeps a node from working: config, device, privileges, the path to its peers.

    FILE is $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml when it is not given. Run it where the
    node runs, or is to run. Exit code 0 if nothing is wrong, 2 if something is.
    """
    # Importing it takes OpenSSL and netlink, which few commands need.
    from tunmesh.config import loading
    from tunmesh.doctor import diagnosis

    node = node_of(ctx, node, file)
    status = _status(node)
    running = None
    if not isinstance(status, OperatorError):
        running = diagnosis.Running(
            status["device"]["name"], status["node"]["port"], len(status["peers"])
        )
    bad = 0
    path = loading.path_of(file, os.environ)
    part = ""
    for found in diagnosis.examine(
        path, os.environ, random.SystemRandom().uniform, time.time(), running
    ):
        if found.part != part:
            part = found.part
            click.echo(part)
        bad += found.verdict == diagnosis.BAD
        _say(found.verdict, found.text)
    click.echo("node")
    if isinstance(status, NoNodeError):
        _say("?", f"none answers at {node.path}")
    elif isinstance(status, OperatorError):
        _say("NO", str(status))
        bad += 1
    else:
        # A ready node may have dropped a packet, or refused a client: no defect.
        verdict = "?" if status["ready"] else "NO"
        for problem in status["problems"]:
            _say(verdict, problem)
        bad += not status["ready"]
        peers = counted(len(status["peers"]), "node")
        _say("ok", f"{status['node']['name']} runs, linked with {peers}")
        for verdict, text in _transports(status):
            _say(verdict, text)
        if status["node"]["url_reached"]:
            _say("ok", f"others reach its URL {status['node']['url']}")
    raise click.exceptions.Exit(2 if bad else 0)


def _transports(status: Json) -> Iterator[tuple[str, str]]:
    """Whether UDP gets through to the peers, and what carries packets to them."""
    node, peers = status["node"], status["peers"]
    if node["transport"] == "tcp" or not peers:
        return
    offering = [peer for peer in peers if peer["udp"] is not None and peer["udp"]["offered"]]
    blocked = [
        f"{peer['name']} ({peer['udp']['why']})" for peer in offering if not peer["udp"]["address"]
    ]
    if blocked:
        yield "?", f"no UDP with {some(blocked)}: TCP is used"
        yield "?", f"where UDP is wanted, let it through to port {node['port']} of both nodes"
    if len(blocked) < len(offering):
        free = f"UDP gets through to {len(offering) - len(blocked)} of {len(offering)} nodes"
        used = sum(peer["transport"] == "udp" for peer in peers)
        yield "ok", f"{free} that offer it, and is used with {used}"


def _say(verdict: str, text: str) -> None:
    click.echo(f"  {click.style(f'{verdict:<2}', fg=_COLOURS[verdict])}  {text}")


def _status(node: Client) -> Json | OperatorError:
    try:
        return node.get("/v1/status")
    except OperatorError as error:
        return error
