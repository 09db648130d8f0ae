"""`tunmesh ping`, `resolve`, `explain`, `capture`: a closer look at one path through the mesh."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

from tunmesh.addresses import Address, literal_address
from tunmesh.cli import views
from tunmesh.cli.base import OneLineErrors, instead, output_option, say, say_json
from tunmesh.cli.client import Client, node_option
from tunmesh.cli.echo import Echo
from tunmesh.cli.tables import table
from tunmesh.errors import OperatorError
from tunmesh.host import stdio
from tunmesh.units import closest, milliseconds

if TYPE_CHECKING:
    from tunmesh.observe.status_json import Json

TIMEOUT = 1.0  # seconds


@click.command(cls=OneLineErrors, short_help="Ping a node through the link and the tun.")
@node_option
@click.argument("target", metavar="NODE|NAME|ADDRESS")
@click.option("-c", "--count", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("-i", "--interval", type=click.FloatRange(min=0), default=0.5, show_default=True)
def ping(node: Client, target: str, count: int, interval: float) -> None:
    """Ping a node through the link, and an address of it through the tun, side by side.

    The link's is the software alone, over TCP; the tun's is what an application gets, with both
    kernels, over TCP or UDP. Exit code 0 if all were answered, 1 if not.
    """
    peer, address = _find(node, target)
    click.echo(f"{peer['name']} at {address}; packets to it go {views.way(peer)}")
    click.echo(f"{'':>6} {'link':>9} {'tun':>9}")
    links: list[float | None] = []
    tuns: list[float | None] = []
    with closing(Echo(address, TIMEOUT)) as echo:
        for number in range(1, count + 1):
            begin = time.monotonic()
            links.append(node.post(f"/v1/ping?{urlencode({'node': peer['id']})}")["rtt"])
            try:
                tuns.append(echo.round_trip())
            except OSError as error:
                raise OperatorError(f"{address}: {error.strerror or error}") from None
            click.echo(_row(str(number), links[-1], tuns[-1]))
            if number < count:
                time.sleep(max(0.0, begin + interval - time.monotonic()))
        if not echo.is_icmp:
            click.echo("(through the tun with datagrams: ICMP sockets are not allowed here)")
    click.echo(_row("median", _median(links), _median(tuns)))
    lost = [values.count(None) for values in (links, tuns)]
    click.echo(f"{'lost':>6} {lost[0]:>9} {lost[1]:>9}")
    raise click.exceptions.Exit(1 if any(lost) else 0)


def _row(title: str, *values: float | None) -> str:
    cells = ("lost" if value is None else milliseconds(value) for value in values)
    return f"{title:>6} " + " ".join(f"{cell:>9}" for cell in cells)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _find(node: Client, target: str) -> tuple[Json, Address]:
    """The linked node to ping, and its address. Raises OperatorError."""
    tree = node.get("/v1/status")
    refuse_ambiguous(target, tree)
    peers = tree["peers"]
    for peer in peers:
        routed = [*peer["routed"], *peer["link_local"]]
        if target in routed or target in (peer["name"], peer["id"]):
            if not routed:
                raise OperatorError(f"{target}: this node routes none of its addresses to it")
            chosen = target if target in routed else routed[0]
            return peer, ip_address(chosen)
    for each in _resolve(node, target)["found"]:
        peer = next((peer for peer in peers if each["address"] in peer["routed"]), None)
        if peer is not None:
            return peer, ip_address(each["address"])
    names = [peer["name"] for peer in peers]
    raise OperatorError(
        f"{target} is no linked node, nor an address of one; {instead(target, names)}"
    )


def refuse_ambiguous(name: str, tree: Json) -> None:
    """Raises OperatorError when more than one node has this name, of the one whose status this is
    and those that it is linked with."""
    found = [each for each in (tree["node"], *tree["peers"]) if each["name"] == name]
    if len(found) > 1:
        nodes = " and ".join(f"{', '.join(each['addresses'])} (id {each['id']})" for each in found)
        raise OperatorError(f"{name}: {len(found)} nodes have this name, {nodes}; say which one")


@click.command(cls=OneLineErrors, short_help="Show what a name leads to, and why.")
@node_option
@click.argument("name")
@output_option("text", "json")
def resolve(node: Client, name: str, output: str) -> None:
    """Show what a name leads to now, and why: what DNS answers (networking/dns).

    NAME is that of a node or a group, with or without the domain; `_nodes` stands for all nodes.
    With an address: whose it is. Exit code 0 if there is an answer, 2 if not.
    """
    tree = _resolve(node, name)
    if output == "json":
        say_json(tree)
    else:
        say((*_resolved(tree), *(() if tree["found"] else _meant(node, name))))
    raise click.exceptions.Exit(0 if tree["outcome"] == "answered" else 2)


def _resolve(node: Client, name: str) -> Json:
    """What a name leads to, as the control socket says it."""
    return node.get(f"/v1/resolve?{urlencode({'name': name})}")


def _addresses_of(node: Client, text: str) -> list[str]:
    """The addresses of a name; an address is its own. Raises OperatorError if there are none."""
    address = literal_address(text)
    if address is not None:
        return [str(address)]
    tree = _resolve(node, text)
    found = [each["address"] for each in tree["found"]]
    if not found:
        raise OperatorError(f"{tree['name']}: {'; '.join((*tree['why'], *_meant(node, text)))}")
    return found


def _meant(node: Client, text: str) -> Iterator[str]:
    """The name of a node that is close to a text that is none, with or without the domain."""
    tree = node.get("/v1/status")
    names = [each["name"] for each in (tree["node"], *tree["peers"])]
    name = closest(text, names) or closest(text.partition(".")[0], names)
    if name:
        yield f"did you mean {name}?"


def _pair_of(sources: Sequence[str], destinations: Sequence[str]) -> tuple[str, str]:
    """The first address of each, of one family if there are such."""
    for source in sources:
        for destination in destinations:
            if (":" in source) == (":" in destination):
                return source, destination
    return sources[0], destinations[0]


def _resolved(tree: Json) -> Iterator[str]:
    yield f"{tree['name']}  {tree['outcome']}"
    rows = [[each["address"], each["node"]] for each in tree["found"]]
    if rows:
        yield from table(["ADDRESS", "NODE"], rows, range(2))
    yield from tree["why"]


@click.command(cls=OneLineErrors, short_help="Explain what would happen to a packet.")
@node_option
@click.argument("source")
@click.argument("destination")
@click.argument("protocol", required=False)
@click.argument("port", type=click.IntRange(0, 65535), required=False)
@output_option("text", "json")
def explain(
    node: Client,
    source: str,
    destination: str,
    protocol: str | None,
    port: int | None,
    output: str,
) -> None:
    """Explain what would happen to a packet from SOURCE to DESTINATION, step by step.

    Both are addresses, or names of nodes with or without the domain.
    With the last packets between the two that were dropped here; PROTOCOL (tcp, udp, icmp) and PORT
    narrow that down. Exit code 0 if the packet would arrive, 2 if not.
    """
    ends = _pair_of(_addresses_of(node, source), _addresses_of(node, destination))
    query = {"source": ends[0], "destination": ends[1], "protocol": protocol, "port": port}
    given = {name: value for name, value in query.items() if value is not None}
    tree = node.get(f"/v1/explain?{urlencode(given)}")
    if output == "json":
        say_json(tree)
    else:
        say(_explained(tree))
    raise click.exceptions.Exit(0 if tree["carried"] else 2)


def _explained(tree: Json) -> Iterator[str]:
    for number, step in enumerate(tree["steps"], 1):
        mark = click.style("ok", fg="green") if step["ok"] else click.style("NO", fg="red")
        yield f"{number}. {mark}  {step['text']}"
    for drop in tree["drops"]:
        whose = f" from {drop['sender']}" if drop["sender"] else ""
        yield f"dropped {drop['ago']:.1f} s ago{whose} ({drop['reason']}): {drop['packet']}"


@click.command(cls=OneLineErrors, short_help="Write packets as pcapng, until Ctrl-C.")
@node_option
@click.option("-w", "--write", "file", type=click.Path(), help="Where to; default standard output.")
@click.option("--peer", help="Only what goes to, or comes from, the node of this name or id.")
@click.option("--host", help="Only packets with this address at either end.")
@click.option("--protocol", help="Only tcp, udp, icmp, …")
@click.option("--port", type=click.IntRange(0, 65535), help="Only with this port at either end.")
def capture(
    node: Client,
    file: str | None,
    peer: str | None,
    host: str | None,
    protocol: str | None,
    port: int | None,
) -> None:
    """Write the packets that go through the mesh, as pcapng, until Ctrl-C.

    \b
    tunmesh capture --peer db-1 -w db-1.pcapng
    docker exec app-tunmesh tunmesh capture | wireshark -k -i -
    """
    if peer is not None:
        tree = node.get("/v1/status")
        refuse_ambiguous(peer, tree)
        names = [each["name"] for each in tree["peers"]]
        if not any(peer in (each["name"], each["id"]) for each in tree["peers"]):
            meant = instead(peer, names)
            click.echo(f"waiting for {peer}, which is not linked now; {meant}", err=True)
    query = {"peer": peer, "host": host, "protocol": protocol, "port": port}
    given = {name: value for name, value in query.items() if value is not None}
    page = f"/v1/capture?{urlencode(given)}"
    if file is None and sys.stdout.name == os.devnull:
        raise OperatorError("standard output is closed: write the capture to a file (-w) or a pipe")
    if file is None and sys.stdout.isatty():
        raise OperatorError("a capture is not for a terminal: write it to a file (-w) or a pipe")
    try:
        if file is None:
            node.copy(page, sys.stdout.buffer)
        else:
            with Path(file).open("wb") as out:
                node.copy(page, out)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        stdio.discard()  # the reader has closed the pipe
    except OSError as error:
        stdio.discard()
        raise OperatorError(f"{file or 'standard output'}: {error.strerror or error}") from None
