"""`tunmesh wait`: let an application start when the mesh is there for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import click

from tunmesh.cli.asking import node_option
from tunmesh.cli.base import OneLineErrors
from tunmesh.cli.client import Client, NoNodeError
from tunmesh.errors import OperatorError

KNOCK = 0.2  # seconds between two looks whether there is a node at all
LOOK = 1.0  # seconds between two looks at it, if nothing happens meanwhile

Tree = dict[str, Any]
Condition = Callable[[Tree], bool]


def _conditions(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Condition]:
    return {value: _condition(value) for value in values}


def _condition(value: str) -> Condition:
    if value == "tun":
        return lambda tree: bool(tree["live"])
    if value == "ready":
        return lambda tree: bool(tree["ready"])
    if re.fullmatch(r"peers=[0-9]{1,9}", value):
        count = int(value[6:])
        return lambda tree: len(tree["peers"]) >= count
    try:
        address = str(ip_address(value))
    except ValueError:
        form = "tun, ready, peers=N or an IP address"
        raise click.BadParameter(f"{value!r} is not {form}") from None
    return lambda tree: any(address in peer["routed"] for peer in tree["peers"])


@click.command(cls=OneLineErrors)
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
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True)
def wait(node: Client, conditions: dict[str, Condition], timeout: float) -> None:
    """Wait until this node is as an application wants it: exit code 0, or 1 if it is not in time.

    \b
    tunmesh wait --for ready --for 10.77.0.5 && exec my-application
    """
    deadline = time.monotonic() + timeout
    unmet = list(conditions)
    why = ""
    for tree in _looks(node):
        if isinstance(tree, NoNodeError):
            why = str(tree)
        else:
            unmet = [text for text, condition in conditions.items() if not condition(tree)]
            why = "; ".join(tree["problems"])
        if not unmet:
            return
        if time.monotonic() >= deadline:
            break
    what = ", ".join(unmet)
    raise OperatorError(f"waited {timeout:g} s for {what} in vain{': ' * bool(why)}{why}")


def _looks(node: Client) -> Iterator[Tree | NoNodeError]:
    """What the node says: at once, and whenever it may have changed."""
    while True:
        try:
            yield node.get("/v1/status")
            for _ in node.follow(interval=LOOK):
                yield node.get("/v1/status")
        except NoNodeError as error:
            yield error
            time.sleep(KNOCK)  # there is nothing to be told of a socket that is yet to come
