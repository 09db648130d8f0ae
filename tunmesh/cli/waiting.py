"""`tunmesh wait` and `tunmesh run`: an application begins when the mesh is ready for it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import OneLineErrors
from tunmesh.cli.client import Client, NoAnswerError, node_option
from tunmesh.errors import OperatorError

if TYPE_CHECKING:
    from tunmesh.host.both import User
    from tunmesh.observe.status_json import Json

CONDITIONS = "tun|address|ready|peers=N|ADDRESS"
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
    if value == "address":
        return _lacks_addresses
    if re.fullmatch(r"peers=[0-9]{1,9}", value):
        return partial(_lacks_peers, int(value[6:]))
    try:
        return partial(_lacks_route, str(ip_address(value)))
    except ValueError:
        form = "tun, address, ready, peers=N or an IP address"
        raise click.BadParameter(f"{value!r} is not {form}") from None


def _lacks_addresses(tree: Json) -> str:
    if not tree["live"]:
        return "the device is not up"
    missing = [own for own in tree["node"]["automatic"] if not own["usable"]]
    states = {"held": "being put on the device"}  # or it would be usable
    return ", ".join(
        f"no IPv{own['version']} address ({states.get(own['state'], own['state'])})"
        for own in missing
    )


def _lacks_peers(wanted: int, tree: Json) -> str:
    count = len(tree["peers"])
    return "" if count >= wanted else f"linked with {count} of {wanted}"


def _lacks_route(address: str, tree: Json) -> str:
    is_routed = any(address in peer["routed"] for peer in tree["peers"])
    reached = [each for one in tree["routes"]["accepted"] for each in one["gateways"]]
    is_behind = any(ip_address(address) in ip_network(each["network"]) for each in reached)
    return "" if is_routed or is_behind else f"no route to {address}"


_for = partial(
    click.option,
    "--for",
    "conditions",
    metavar=CONDITIONS,
    callback=_conditions,
    multiple=True,
)


@click.command(cls=OneLineErrors, short_help="Wait until the node is ready, or linked.")
@node_option
@_for(
    required=True,
    help="tun: the device is there. address: with all its addresses, also automatic ones. "
    "ready: as /readyz. peers=N: linked to so many. "
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
    for tree in looks(node, deadline):
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


def looks(node: Client, deadline: float) -> Iterator[Json | NoAnswerError]:
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


def _user(_ctx: click.Context, _parameter: click.Parameter, value: str) -> User:
    """As in `docker run --user`, but that a number is its own group, not root's."""
    from tunmesh.host.both import User

    name, _, group = value.partition(":")
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        uid, gid, home = entry.pw_uid, entry.pw_gid, entry.pw_dir
    except KeyError:
        if not name.isdecimal():
            raise click.BadParameter(f"there is no user {name!r} here") from None
        uid, gid, home = int(name), int(name), "/"
    if group:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise click.BadParameter(f"there is no group {group!r} here") from None
    if uid == 0 or gid == 0:
        raise click.BadParameter("the application must be another user and group than root's")
    return User(uid, gid, home)


@click.command(
    cls=OneLineErrors,
    short_help="Run a node and an application in one container.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--user",
    metavar="USER[:GROUP]",
    required=True,
    callback=_user,
    help="Whom the application runs as, by name or number, without capabilities: neither root "
    "nor the node's process/uid.",
)
@_for(
    default=["address"],
    show_default=True,
    help="When it begins, as for tunmesh wait.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    help="Seconds that it has to end, from TERM to KILL. The node needs 2 more.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    user: User, conditions: tuple[Condition, ...], grace: float, command: tuple[str, ...]
) -> None:
    """Run a node, and beside it, when the mesh is there, an application: as process 1 of a
    container that needs both, such as a replica in Compose.

    \b
    ENTRYPOINT ["tunmesh", "run", "--user", "1000", "--"]
    CMD ["my-application", "--port", "8080"]

    When one of them ends, so does the other, the application first. The exit code is the
    application's; or the node's, if that ended first. TERM and INT end both; HUP, QUIT, USR1, USR2
    and WINCH go to the application. The node is `twistd tunmesh`, with its config from
    $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml.
    """
    from tunmesh.host import both

    if os.geteuid() != 0:
        raise OperatorError(
            "tunmesh run must be started as root, with CAP_NET_ADMIN, CAP_SETUID and CAP_SETGID, "
            "so that the node and the application can become other users"
        )
    programs = Path(sysconfig.get_path("scripts"))
    waited_for = [word for each in conditions for word in ("--for", each.text)]
    commands = both.Commands(
        node=[str(programs / "twistd"), "--nodaemon", "--pidfile=", "tunmesh"],
        gate=[str(programs / "tunmesh"), "wait", "--timeout", "inf", *waited_for],
        application=command,
    )
    sys.exit(both.supervise(commands, user, grace))
