"""A node's status as text for people, aligned. On a terminal names are cut as far as its width
demands, but for `-o wide`.

Each function takes the JSON tree of the control socket (docs/control.md) and returns lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from tunmesh.cli.tables import fit, table
from tunmesh.units import counted, duration, milliseconds, percent, size, small_segments, some

if TYPE_CHECKING:
    from tunmesh.observe.status_json import Json

_COLUMNS = ("PEER", "ADDRESS", "LINK", "VIA", "SINCE", "RTT", "LOSS", "RX/s", "TX/s", "DROPS")
_WIDE = ("RX", "TX", "QUEUE", "KEY", "VERSION", "URL", "GROUPS", "WHY THIS WAY")
_TEXTS = {"PEER", "ADDRESS", "LINK", "VIA", "KEY", "VERSION", "URL", "GROUPS", "WHY THIS WAY"}
MAX_LOST = 5  # lost nodes that are shown without -o wide
# Characters that are left of it where the terminal is narrow. An address is never cut; the URL of a
# node that is not linked may be.
_SHORTEST = {"PEER": 16, "VIA": 16, "ADDRESS": 39}
# Then these are left out. Packets that were dropped are among the problems as well.
_FIRST_TO_GO = ("DROPS", "LOSS", "TX/s", "RX/s")
_LEVELS = {"error": "red", "critical": "red", "warn": "yellow"}


def status(tree: Json, wide: bool = False, columns: int | None = None) -> Iterator[str]:
    """The node in one line, its problems, and a line for each peer. Sentences are wrapped at
    `columns`, the width of the terminal."""
    node = tree["node"]
    good = tree["ready"]
    state = click.style("ready" if good else "not ready", fg="green" if good else "red")
    floating = [own["address"] for own in node["floating"] if own["usable"]]
    addresses = ", ".join([*node["addresses"], *floating]) or "no address yet"
    expected = tree["expected_nodes"]
    linked = "" if expected is None else f", linked {len(tree['peers'])} of {expected - 1} expected"
    yield f"{node['name']}  {addresses}  {state}, up {duration(node['uptime'])}{linked}"
    names = tree["names"]
    if names is not None:
        yield _broken(_answered(names, node["groups"]), columns)
    if wide:
        yield _device(tree["device"])
    for sentence in _led(tree["routes"]):
        yield _broken(sentence, columns)
    for problem in tree["problems"]:
        yield click.style("! ", fg="yellow") + _broken(problem, columns)
    if len(tree["links_by_key"]) > 1:
        yield _keys(tree)
    yield ""
    rows = [_peer(peer, wide) for peer in tree["peers"]]
    rows += [_unlinked(dial) for dial in tree["dials"] if dial["kind"] == "node"]
    rows += [_lost(node) for node in tree["lost"][: None if wide else MAX_LOST]]
    if rows:
        head = [*_COLUMNS, *(_WIDE if wide else ())]
        if columns is not None and not wide:
            fit(head, rows, columns, _SHORTEST, _FIRST_TO_GO)
        left = [place for place, title in enumerate(head) if title in _TEXTS]
        yield from table(head, rows, left)
    else:
        yield "no peers"
    more = 0 if wide else len(tree["lost"]) - MAX_LOST
    if more > 0:
        yield f"and {more} more that were linked (-o wide shows them)"


def addresses(tree: Json) -> Iterator[str]:
    """A line for each address of the node, and why it is not another one; and its URL."""
    node = tree["node"]
    chosen = {own["address"] for own in node["automatic"]}
    rows = [[each, "static", "", "", ""] for each in node["addresses"] if each not in chosen]
    for own in node["automatic"]:
        state = click.style(own["state"], fg="green" if own["usable"] else "yellow")
        place = f"choice {own['number'] + 1} in {own['network']}" if own["address"] else ""
        which = own["address"] or f"none (IPv{own['version']})"
        rows.append([which, "auto", state, duration(own["for"]), place])
    for own in node["floating"]:
        state = click.style(own["state"], fg="green" if own["usable"] else "yellow")
        other = f"{own['holder']} has it" if own["holder"] and not own["usable"] else ""
        rows.append([own["address"], "floating", state, duration(own["for"]), other])
    yield from table(["ADDRESS", "KIND", "STATE", "FOR", "CHOSEN AS"], rows, range(5))
    for own in node["automatic"]:
        for passed in own["passed_over"]:
            holder = passed["node"] or "another node"
            yield f"{passed['address']} was passed over: {holder} has it"
    tried, reached = node["url_tried"], node["url_reached"]
    found = f" ({reached} of {tried} that tried it reached this node)" if tried else ""
    yield f"others dial {node['url']}{found}"
    for check in tree["checks"]:
        if check["name"] == "address" and not check["ok"]:
            yield click.style("! ", fg="yellow") + check["reason"]


def _answered(names: Json, groups: Sequence[str]) -> str:
    """Which names the node answers, and how many queries ended in each way."""
    counts = [f"{count} {outcome}" for outcome, count in names["queries"].items() if count]
    return (
        f"names below {names['domain']} at {', '.join(names['addresses'])}"
        + (f"; groups: {', '.join(groups)}" if groups else "")
        + (f"; queries: {', '.join(counts)}" if counts else "")
    )


def _device(device: Json) -> str:
    queue = f", txqueuelen {device['txqueuelen']}" if device["txqueuelen"] else ""
    times = f" ({counted(device['restored'], 'time')} so far)" if device["restored"] else ""
    helper = f"; a helper process puts back what others change{times}" if device["helper"] else ""
    return f"{device['name']}: MTU {device['mtu']}{queue}{helper}"


def _broken(text: str, columns: int | None) -> str:
    """A sentence after a two-character mark, wrapped at `columns`. Commands in it are not
    hyphenated."""
    if columns is None:
        return text
    return "\n  ".join(
        textwrap.wrap(text, columns - 2, break_long_words=False, break_on_hyphens=False)
    )


def _keys(tree: Json) -> str:
    """During a secret rotation: which peers use which key."""
    offered = tree["key_ids"][0]
    counts = (
        f"{key_id}{' (offered)' * (key_id == offered)} by {counted(count, 'peer')}"
        for key_id, count in tree["links_by_key"].items()
    )
    return f"secrets in use, by place: {', '.join(counts)}"


def _peer(peer: Json, wide: bool) -> list[str]:
    rx, tx = peer["rx"], peer["tx"]
    first = next(iter(peer["addresses"]), "")
    row = [
        peer["name"],
        ", ".join([*peer["addresses"], *peer["floating"]]) if wide else first,
        "out" if peer["direction"] == "dialed" else "in",
        _via(peer),
        duration(peer["linked_for"]),
        "-" if peer["rtt"] is None else milliseconds(peer["rtt"]),
        "-" if peer["loss"] is None else percent(peer["loss"]),
        size(rx["bytes_per_second"]),
        size(tx["bytes_per_second"]),
        str(peer["dropped_packets"]),
    ]
    if wide:
        row += [size(rx["bytes"]), size(tx["bytes"]), size(peer["queued_bytes"])]
        row += [peer["key_id"], peer["version"], peer["url"], ",".join(peer["groups"])]
        row += [_why_this_way(peer)]
    return row


def _via(peer: Json) -> str:
    relay = peer["relay"]
    return str(peer["transport"] if relay is None else f"relay {relay['name']}")


def _why_this_way(peer: Json) -> str:
    relay = peer["relay"]
    if relay is not None:
        return f"no direct link{': ' * bool(relay['why'])}{relay['why']}"
    why = "" if peer["udp"] is None else str(peer["udp"]["why"])
    return ", ".join(filter(None, (why, small_segments(peer["tcp_segment"]).strip())))


def way(peer: Json) -> str:
    """What carries packets to a peer, and why."""
    if peer["relay"] is not None:
        return f"through {peer['relay']['name']}: {_why_this_way(peer)}"
    udp = peer["udp"]
    why = "this node uses no UDP" if udp is None else udp["why"]
    small = small_segments(peer["tcp_segment"]) if peer["transport"] == "tcp" else ""
    return f"over {peer['transport'].upper()}{small}: {why}"


def _unlinked(dial: Json) -> list[str]:
    return [dial["name"], dial["target"], click.style("down", fg="red")]


def _lost(node: Json) -> list[str]:
    word = "left" if node["left"] else "lost"
    return [node["name"], node["target"], click.style(word, fg="yellow"), "", duration(node["ago"])]


def _led(routes: Json) -> Iterator[str]:
    """Which networks outside the mesh this node leads to, and which ones it reaches."""
    if routes["advertised"]:
        yield f"leads to {', '.join(routes['advertised'])}"
    for accepted in routes["accepted"]:
        names = sorted({name for each in accepted["gateways"] for name in each["nodes"]})
        if names:
            yield f"reaches {accepted['network']} through {some(names)}"


def routes(tree: Json) -> Iterator[str]:
    """Every address and network with a route, and the node that it leads to."""
    rows = [*routed(tree), *_networks(tree)]
    yield from table(["ADDRESS", "NODE", "AT"], rows, range(3))
    routes = tree["routes"]
    for each in routes["unused"]:
        yield f"{each['node']} advertises {each['network']} in vain: {each['why']}"
    more = routes["unused_count"] - len(routes["unused"])
    if more:
        yield f"and {more} more networks are advertised in vain"


def _networks(tree: Json) -> Iterator[list[str]]:
    """The same of networks outside the mesh, those of this node first."""
    urls = {peer["name"]: peer["url"] for peer in tree["peers"]}
    for network in tree["routes"]["advertised"]:
        yield [network, tree["node"]["name"], "this node"]
    for accepted in tree["routes"]["accepted"]:
        for each in accepted["gateways"]:
            yield from ([each["network"], name, urls.get(name, "")] for name in each["nodes"])
        if not accepted["gateways"]:
            yield [accepted["network"], "nobody", "accepted, but no linked node leads there"]


def routed(tree: Json) -> Iterator[list[str]]:
    """Address, node and location; this node's own addresses first."""
    for address in tree["node"]["addresses"]:
        yield [address.partition("/")[0], tree["node"]["name"], "this node"]
    for peer in tree["peers"]:
        yield from ([address, peer["name"], peer["url"]] for address in peer["routed"])


def multicast(tree: Json) -> Iterator[str]:
    """A line for each multicast group that somebody is in."""
    carried = tree["multicast"]
    if carried is None:
        yield "multicast is not carried: networking/ipv4/enable_multicast, networking/ipv6/…"
        return
    families = " and ".join(f"IPv{version}" for version in carried["versions"])
    yield f"{families}: {carried['packets']} packets sent, in {carried['copies']} copies"
    yield ""
    if not carried["groups"]:
        yield "nobody is in a group"
        return
    rows = [
        [group["group"], _wanted(group["here"]), ", ".join(map(_member, group["nodes"]))]
        for group in carried["groups"]
    ]
    yield from table(["GROUP", "HERE", "NODES"], rows, range(3))


def _wanted(sources: str) -> str:
    return {"": "-", "all": "yes"}.get(sources, f"from {sources}")


def _member(node: Json) -> str:
    return node["name"] if node["sources"] == "all" else f"{node['name']} (from {node['sources']})"


def graph(tree: Json) -> Iterator[str]:
    """The links between nodes: a line for each node."""
    names = _names(tree)
    everybody = len(tree["nodes"]) - 1
    for node in tree["nodes"]:
        others = _others(tree, node["id"])
        if len(others) == everybody and everybody:
            said = f"all {everybody} others" if everybody > 1 else names[others[0]]
        else:
            said = ", ".join(sorted(names[other] for other in others)) or "nobody"
        parts = (names[node["id"]], ", ".join(node["addresses"]), f"linked with {said}")
        yield "  ".join(filter(None, parts))
    if tree["links_left_out"]:
        yield "Links between other nodes are left out: there are too many of them."


def dot(tree: Json) -> Iterator[str]:
    """The same for Graphviz."""
    names = _names(tree)
    yield "graph mesh {"
    for node in tree["nodes"]:
        label = "\\n".join(map(_dot_escaped, [names[node["id"]], *node["addresses"]]))
        yield f'  "{_dot_escaped(node["id"])}" [label="{label}"];'
    for one, other in tree["links"]:
        yield f'  "{_dot_escaped(one)}" -- "{_dot_escaped(other)}";'
    if tree["links_left_out"]:
        yield "  // links between other nodes are left out: there are too many of them"
    yield "}"


def _dot_escaped(text: str) -> str:
    """Text inside the quotes of a DOT string, as it is: peers choose their names. A backslash
    begins an escape of a label (\\n, \\N), a quote ends it."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _names(tree: Json) -> dict[str, str]:
    return {node["id"]: node["name"] or node["id"][:8] for node in tree["nodes"]}


def _others(tree: Json, node_id: str) -> list[str]:
    pairs = (pair for pair in tree["links"] if node_id in pair)
    return [one if other == node_id else other for one, other in pairs]


def event(tree: Json) -> str:
    """An event as a log line for a terminal."""
    level = tree["level"]
    word = click.style(f"{level:<5}", fg=_LEVELS.get(level))
    return f"{tree['time'][11:19]} {word} {tree['part']:<7} {tree['text']}"
