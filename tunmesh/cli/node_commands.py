"""`tunmesh status`, `address`, `routes`, `multicast`, `graph`, `events`, `healthcheck`, `drain`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from shutil import get_terminal_size
from typing import Any

import click

from tunmesh import healthcheck as health
from tunmesh.cli import views
from tunmesh.cli.base import Group, OneLineErrors, output_option, say, say_json
from tunmesh.cli.client import Client, NoAnswerError, node_option
from tunmesh.cli.waiting import looks
from tunmesh.config.paths import SOCKET_VARIABLE
from tunmesh.errors import OperatorError
from tunmesh.host import stdio

WATCH = 2.0  # seconds
WAITS = 2  # the exit code of a claim if another node has the address


@click.command(cls=OneLineErrors)
@node_option
@output_option("table", "wide", "json")
@click.option("--watch", is_flag=True, help=f"Again every {WATCH:g} s, until Ctrl-C.")
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
                if stdio.is_dumb(os.environ):
                    click.echo()
                else:
                    click.clear()
                _show(tree, output)
    raise click.exceptions.Exit(0 if tree["ready"] else 2)


def _show(tree: dict[str, Any], output: str) -> None:
    if output == "json":
        say_json(tree)
    else:
        columns = get_terminal_size().columns if sys.stdout.isatty() else None
        say(views.status(tree, output == "wide", columns))


@click.group(
    cls=Group,
    short_help="Show this node's own addresses; claim floating ones.",
    invoke_without_command=True,
)
@node_option
@output_option("table", "json")
@click.pass_context
def address(ctx: click.Context, node: Client, output: str) -> None:
    """Show this node's own addresses, and its URL: static ones, those that it chose itself, and
    floating ones that it claims.

    STATE of one that it chose: joining (it does not know the mesh yet), claiming (the others may
    object), held, or full (no address is free). Of a floating one: held, or waiting. The exit code
    is 0 if the node has all its own addresses, 2 if not.
    """
    ctx.obj = node
    if ctx.invoked_subcommand is not None:
        return
    tree = node.get("/v1/status")
    own = tree["node"]
    if output == "json":
        names = ("addresses", "automatic", "floating", "url", "url_tried", "url_reached")
        say_json({"version": tree["version"], **{name: own[name] for name in names}})
    else:
        say(views.addresses(tree))
    raise click.exceptions.Exit(0 if all(each["usable"] for each in own["automatic"]) else 2)


def _one_address(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """keepalived and others hand over an address with its prefix."""
    try:
        return str(ip_address(value.partition("/")[0]))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an IP address") from None


_address_argument = click.argument("wanted", metavar="ADDRESS", callback=_one_address)


@address.command(cls=OneLineErrors, short_help="Have a floating address on this node.")
@node_option
@_address_argument
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long until it is this node's; default: not at all.",
)
def claim(node: Client, wanted: str, patience: float) -> None:
    """Have a floating address on this node as soon as no other node has it.

    The address must be in networking/floating. While another node has it the claim waits; it stays
    until it is released, or the node ends. To claim it again changes nothing.

    \b
    Exit code 0: it is claimed, and with --wait it is this node's.
              1: it cannot be claimed, or the node does not answer.
              2: with --wait, another node has it still; the claim stays.
    """
    deadline = time.monotonic() + patience
    found = node.post(f"/v1/claim?address={wanted}")
    if patience:
        found = _awaited(node, wanted, deadline)
    click.echo(_said(found))
    raise click.exceptions.Exit(WAITS if patience and not found["usable"] else 0)


def _awaited(node: Client, wanted: str, deadline: float) -> dict[str, Any]:
    """The claim once it is this node's, or when the time is over."""
    for tree in looks(node, deadline):
        is_over = time.monotonic() >= deadline
        if isinstance(tree, NoAnswerError):
            raise tree
        found = [each for each in tree["node"]["floating"] if each["address"] == wanted]
        if not found:
            return {"address": wanted, "usable": False, "holder": "", "state": "released"}
        own: dict[str, Any] = found[0]
        if own["usable"] or is_over:
            return own
    raise AssertionError("looks never end")


def _said(found: dict[str, Any]) -> str:
    if found["usable"]:
        return f"{found['address']} is this node's"
    if found["state"] == "released":
        return f"{found['address']} was released, or the device could not be given it"
    if found["holder"]:
        return f"{found['address']} is claimed: {found['holder']} has it"
    return f"{found['address']} is claimed"


@address.command(cls=OneLineErrors, short_help="Give up a floating address, or the claim to it.")
@node_option
@_address_argument
def release(node: Client, wanted: str) -> None:
    """Give up a floating address, or the claim to it: the next node that waits has it at once.

    Exit code 0, also if it was not claimed; 1 if the node does not answer.
    """
    released = node.post(f"/v1/release?address={wanted}")["was_claimed"]
    click.echo(f"{wanted} is released" if released else f"{wanted} was not claimed")


@click.command(cls=OneLineErrors)
@node_option
@output_option("table", "json")
def routes(node: Client, output: str) -> None:
    """Show which address or network leads to which node."""
    tree = node.get("/v1/status")
    if output == "json":
        routed = {address: name for address, name, _ in views.routed(tree)}
        say_json({"version": tree["version"], "routes": routed, "networks": tree["routes"]})
    else:
        say(views.routes(tree))


@click.command(cls=OneLineErrors, short_help="Show multicast groups, and who is in them.")
@node_option
@output_option("table", "json")
def multicast(node: Client, output: str) -> None:
    """Show which multicast groups programs on this machine, and linked nodes, have joined.

    HERE says whether this machine is in a group. "from" names the only sources whose packets are
    wanted, or those whose packets are not.
    """
    tree = node.get("/v1/status")
    if output == "json":
        say_json({"version": tree["version"], "multicast": tree["multicast"]})
    else:
        say(views.multicast(tree))


@click.command(cls=OneLineErrors, short_help="Show which nodes are linked with each other.")
@node_option
@output_option("text", "dot", "json")
@click.option("--dot", "output", flag_value="dot", help="The same as -o dot.")
def graph(node: Client, output: str) -> None:
    """Show which nodes are linked with each other, as far as this node knows."""
    tree = node.get("/v1/mesh")
    if output == "json":
        say_json(tree)
    else:
        say(views.dot(tree) if output == "dot" else views.graph(tree))


@click.command(cls=OneLineErrors, short_help="Show the node's recent log.")
@node_option
@output_option("text", "json")
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C or the node's end.")
@click.option("-n", "--last", type=click.IntRange(min=0), help="Only so many of the past.")
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
