"""`tunmesh status`, `address`, `routes`, `multicast`, `graph`, `events`, `healthcheck`, `drain`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_network
from shutil import get_terminal_size
from typing import Any, TypeVar

import click

from tunmesh import healthcheck as health
from tunmesh.cli import views
from tunmesh.cli.base import OneLineErrors
from tunmesh.cli.client import Client
from tunmesh.config.paths import DEFAULT_SOCKET, SOCKET_VARIABLE, socket_path
from tunmesh.errors import OperatorError
from tunmesh.host import stdio

WATCH = 2.0  # seconds
Command = TypeVar("Command", bound=Callable[..., Any])


def _client(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Client | None:
    if ctx.resilient_parsing:
        return None  # shell completion: no node is needed
    return Client(socket_path(value, os.environ) or DEFAULT_SOCKET)


def node_option(command: Command) -> Command:
    """The --socket option; the command gets a Client as `node`."""
    return click.option(
        "--socket",
        "node",
        metavar="PATH",
        callback=_client,
        help=f"The node's control socket; default ${SOCKET_VARIABLE}, else as its config says.",
    )(command)


def _output(*forms: str) -> Callable[[Command], Command]:
    return click.option(
        "-o", "--output", type=click.Choice(forms), default=forms[0], help="What to print."
    )


def _say(lines: Iterable[str]) -> None:
    click.echo("\n".join(lines))


def _say_json(tree: object) -> None:
    click.echo(json.dumps(tree, indent=2))


@click.command(cls=OneLineErrors)
@node_option
@_output("table", "wide", "json")
@click.option("--watch", is_flag=True, help="Go on, until Ctrl-C.")
def status(node: Client, output: str, watch: bool) -> None:
    """Show this node and its peers, and what is wrong.

    LINK says who dialed: out, this node; in, the peer. RX and TX are seen from this node. The exit
    code is 0 if the node is ready, 2 if not.
    """
    tree = node.get("/v1/status")
    _show(tree, output)
    if watch:
        with suppress(KeyboardInterrupt):
            for _ in node.follow(interval=WATCH):
                tree = node.get("/v1/status")
                click.clear()
                _show(tree, output)
    raise click.exceptions.Exit(0 if tree["ready"] else 2)


def _show(tree: dict[str, Any], output: str) -> None:
    if output == "json":
        _say_json(tree)
    else:
        columns = get_terminal_size().columns if sys.stdout.isatty() else None
        _say(views.status(tree, output == "wide", columns))


@click.command(cls=OneLineErrors, short_help="Show this node's own addresses.")
@node_option
@_output("table", "json")
def address(node: Client, output: str) -> None:
    """Show this node's own addresses, static ones and those that it chose itself, and its URL.

    STATE of the latter: joining (it does not know the mesh yet), claiming (the others may object),
    held, or full (no address is free). The exit code is 0 if the node has all its addresses, 2 if
    not.
    """
    tree = node.get("/v1/status")
    own = tree["node"]
    if output == "json":
        names = ("addresses", "automatic", "url", "url_tried", "url_reached")
        _say_json({"version": tree["version"], **{name: own[name] for name in names}})
    else:
        _say(views.addresses(tree))
    raise click.exceptions.Exit(0 if all(each["usable"] for each in own["automatic"]) else 2)


@click.command(cls=OneLineErrors)
@node_option
@_output("table", "json")
def routes(node: Client, output: str) -> None:
    """Show which address leads to which node."""
    tree = node.get("/v1/status")
    if output == "json":
        routed = {address: name for address, name, _ in views.routed(tree)}
        _say_json({"version": tree["version"], "routes": routed})
    else:
        _say(views.routes(tree))


@click.command(cls=OneLineErrors, short_help="Show multicast groups, and who is in them.")
@node_option
@_output("table", "json")
def multicast(node: Client, output: str) -> None:
    """Show which multicast groups programs on this machine, and linked nodes, have joined.

    HERE says whether this machine is in a group. "from" names the only sources whose packets are
    wanted, or those whose packets are not.
    """
    tree = node.get("/v1/status")
    if output == "json":
        _say_json({"version": tree["version"], "multicast": tree["multicast"]})
    else:
        _say(views.multicast(tree))


@click.command(cls=OneLineErrors, short_help="Show which nodes are linked with each other.")
@node_option
@_output("text", "dot", "json")
@click.option("--dot", "output", flag_value="dot", help="The same as -o dot.")
def graph(node: Client, output: str) -> None:
    """Show which nodes are linked with each other, as far as this node knows."""
    tree = node.get("/v1/mesh")
    if output == "json":
        _say_json(tree)
    else:
        _say(views.dot(tree) if output == "dot" else views.graph(tree))


@click.command(cls=OneLineErrors, short_help="Show the node's recent log.")
@node_option
@_output("text", "json")
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C or the node's end.")
@click.option("-n", "--last", type=click.IntRange(min=0), help="No more than so many of the past.")
def events(node: Client, output: str, follow: bool, last: int | None) -> None:
    """Show the node's recent log (level info and above, at most 1,000 lines)."""
    past = node.lines("/v1/events")
    for event in past[len(past) - min(last, len(past)) :] if last is not None else past:
        _say_event(event, output)
    if follow:
        with suppress(KeyboardInterrupt):
            _say_all(node.follow(past[-1]["sequence"] if past else 0), output)


def _say_event(event: dict[str, Any], output: str) -> None:
    click.echo(json.dumps(event) if output == "json" else views.event(event))


@click.command(cls=OneLineErrors, short_help="Say in one line whether the node is live.")
@click.option("--socket", "path", metavar="PATH", help="The node's control socket.")
@click.option("--ready", is_flag=True, help="Whether others can count on it, not only its life.")
def healthcheck(path: str | None, ready: bool) -> None:
    """Say in one line whether the node is live (whether a restart would help if not).

    It asks the control socket or, without one, the node's port. Exit code 0 if it is, 1 if not. The
    image's HEALTHCHECK is the same without the command line: python -m tunmesh.healthcheck /livez.
    """
    page = "/readyz" if ready else "/livez"
    said = {SOCKET_VARIABLE: path} if path else {}
    raise click.exceptions.Exit(health.main([page], {**os.environ, **said}))


@click.command(cls=OneLineErrors)
@node_option
@click.option("--keep-guard", is_flag=True, help="Go on to refuse packets to the mesh.")
def drain(node: Client, keep_guard: bool) -> None:
    """Make the node say bye to its peers and exit, and wait for it.

    A guard (networking.guard) is removed, unless it is to be kept: the node is not to come back."""
    networks = node.get("/v1/status")["device"]["networks"]
    following = node.follow()
    next(following, None)  # subscribed before the request, so nothing is missed
    # Before it exits: in a container whose process 1 is the node, this process ends with it. Until
    # then the tun's own routes win.
    if not keep_guard:
        _remove_guard(networks)
    node.post("/v1/drain")
    _say_all(following, "text")


def _remove_guard(networks: Iterable[str]) -> None:
    """The node cannot do this, as it has given up NET_ADMIN; whoever drains it may have it."""
    from tunmesh.netlink import setup

    guarded = setup.guarded([ip_network(network) for network in networks])
    if not guarded:
        return
    try:
        setup.remove_guard(guarded)
    except OperatorError as error:
        names = ", ".join(map(str, guarded))
        click.echo(f"packets to {names} are still refused: {error} (tunmesh guard --remove)")
    else:
        click.echo(f"packets to {', '.join(map(str, guarded))} are refused no more")


def _say_all(events: Iterable[dict[str, Any] | None], output: str) -> None:
    for event in events:
        if event is not None:
            _say_event(event, output)
        elif stdio.is_unread():
            return  # `tunmesh events -f | head`: there may be no next event whose write would fail
