"""`tunmesh wait`: delays an application until the mesh is ready for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import OneLineErrors
from tunmesh.cli.client import Client, NoAnswerError
from tunmesh.cli.node_commands import node_option
from tunmesh.errors import OperatorError

if TYPE_CHECKING:
    from tunmesh.observe.status_json import Json

KNOCK = 0.2  # seconds between attempts to reach a node
LOOK = 1.0  # seconds between status requests while there are no events


@dataclass(frozen=True)
class Condition:
    """What is waited for, in the words of the command line, and what a node's status lacks of it:
    nothing, once it is met."""

    text: str
    lacks: Callable[[Json], str]


def _conditions(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Condition, ...]:
    return tuple(Condition(value, _lacks(value)) for value in values)


def _lacks(value: str) -> Callable[[Json], str]:
    if value == "tun":
        return lambda tree: "" if tree["live"] else "the device is not up"
    if value == "ready":
        return lambda tree: "" if tree["ready"] else "not ready"
    if re.fullmatch(r"peers=[0-9]{1,9}", value):
        return partial(_lacks_peers, int(value[6:]))
    try:
        return partial(_lacks_route, str(ip_address(value)))
    except ValueError:
        form = "tun, ready, peers=N or an IP address"
        raise click.BadParameter(f"{value!r} is not {form}") from None


def _lacks_peers(wanted: int, tree: Json) -> str:
    count = len(tree["peers"])
    return "" if count >= wanted else f"linked with {count} of {wanted}"


def _lacks_route(address: str, tree: Json) -> str:
    is_routed = any(address in peer["routed"] for peer in tree["peers"])
    return "" if is_routed else f"no route to {address}"


@click.command(cls=OneLineErrors, short_help="Wait until the node is ready, or linked.")
@node_option
@click.option(
    "--for",
    "conditions",
    metavar="tun|ready|peers=N|ADDRESS",
    callback=_conditions,
    multiple=True,
    required=True,
    help="tun: the device is there. ready: as /readyz. peers=N: linked to so many. "
    "ADDRESS: there is a route to it. All of them, if several are given.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="In seconds."
)
def wait(node: Client, conditions: tuple[Condition, ...], timeout: float) -> None:
    """Wait until this node is as an application wants it: exit code 0, or 1 if it is not in time.

    What is still lacking is said on stderr, whenever that changes.

    \b
    tunmesh wait --for ready --for 10.77.0.5 && exec my-application
    """
    deadline = time.monotonic() + timeout
    what = ", ".join(condition.text for condition in conditions)
    said = ""
    for tree in _looks(node, deadline):
        if isinstance(tree, NoAnswerError):
            lacking, problems = "no node yet", [str(tree)]
        else:
            unmet = [condition for condition in conditions if condition.lacks(tree)]
            if not unmet:
                return
            what = ", ".join(condition.text for condition in unmet)
            lacking = ", ".join(condition.lacks(tree) for condition in unmet)
            problems = tree["problems"]
        if time.monotonic() >= deadline:
            why = "; ".join([lacking, *problems])
            raise OperatorError(f"waited {timeout:g} s for {what} in vain: {why}")
        if lacking != said:
            said = lacking
            click.echo(f"waiting for {what}: {lacking}", err=True)


def _looks(node: Client, deadline: float) -> Iterator[Json | NoAnswerError]:
    """The node's status: now, and whenever it may have changed."""
    while True:
        try:
            yield node.get("/v1/status", _patience(node, deadline))
            for _ in node.follow(interval=LOOK, patience=LOOK):
                yield node.get("/v1/status", _patience(node, deadline))
        except NoAnswerError as error:
            yield error
            time.sleep(KNOCK)  # the socket may be created later


def _patience(node: Client, deadline: float) -> float:
    """The timeout of a request in seconds: until the deadline, but enough for a live node."""
    return max(LOOK, min(node.timeout, deadline - time.monotonic()))
