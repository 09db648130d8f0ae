"""The page as it is sent: plain tables of the state at this moment.

In a browser with JavaScript, main.js draws the mesh and keeps everything up to date; one without
shows the page as it is. Everything from the report is escaped: peers choose their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from tunmesh.observe.status_json import Json
from tunmesh.units import duration, milliseconds, percent, size

_SHOWN_EVENTS = 50
_WIDE, _MEDIUM = "wide", "medium"  # columns that narrow screens leave out


def document(template: Template, report: Json, events: Sequence[Mapping[str, object]]) -> str:
    """`report` as observe.status_json makes it; `events`, the oldest first."""
    node, ready = report["node"], report["ready"]
    return template.substitute(
        name=escape(node["name"]),
        addresses=escape(_addresses(node)),
        state="ready" if ready else "not ready",
        state_class="good" if ready else "bad",
        uptime=duration(node["uptime"]),
        version=escape(node["version"]),
        target=escape(node["url"].removeprefix("https://")),
        problems="".join(f"<li>{escape(problem)}</li>" for problem in report["problems"]),
        figures="".join(_figures(report)),
        peers="".join(map(_peer, report["peers"])) + "".join(_unlinked(report)),
        names_hidden="" if report["names"] else " hidden",
        domain=escape(_domain(report)),
        queries="".join(_queries(report)),
        routes_hidden="" if _networks(report) else " hidden",
        routes="".join(map(_network, _networks(report))),
        groups_hidden="" if _groups(report) else " hidden",
        groups="".join(map(_network, _groups(report))),
        drops="".join(_drops(report)),
        events="".join(map(_event, reversed(events[-_SHOWN_EVENTS:]))),
    )


def _addresses(node: Json) -> str:
    """What the node has, and how far it has come with what it does not have yet."""
    missing = [own for own in node["automatic"] if not own["usable"]]
    floating = (
        own["address"] if own["usable"] else f"{own['state']} for {own['address']}"
        for own in node["floating"]
    )
    claimed = (f"{own['state']} {own['address']}".strip() for own in missing)
    return ", ".join([*node["addresses"], *claimed, *floating])


def _figures(report: Json) -> Iterator[str]:
    """The figures at the top, of all peers together."""
    peers = report["peers"]
    received = sum(peer["rx"]["bytes_per_second"] for peer in peers)
    sent = sum(peer["tx"]["bytes_per_second"] for peer in peers)
    for name, value in (
        ("Linked", f"{len(peers)} of {report['others']}"),
        ("Received", f"{size(received)}/s"),
        ("Sent", f"{size(sent)}/s"),
        ("Not carried", f"{sum(report['dropped_packets'].values())} packets"),
    ):
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _peer(peer: Json) -> str:
    direction = "out" if peer["direction"] == "dialed" else "in"
    relay = peer["relay"]
    cells = (
        (f"{direction}, {duration(peer['linked_for'])}", _WIDE),
        (f"via {relay['name']}" if relay else peer["transport"].upper(), f"{_MEDIUM} via"),
        ("–" if peer["rtt"] is None else milliseconds(peer["rtt"]), ""),
        ("–" if peer["loss"] is None else percent(peer["loss"]), ""),
        (f"{size(peer['rx']['bytes_per_second'])}/s", ""),
        (f"{size(peer['tx']['bytes_per_second'])}/s", _MEDIUM),
        (size(peer["queued_bytes"]), _WIDE),
        (str(peer["dropped_packets"]), _MEDIUM),
        (peer["version"], _WIDE),
    )
    head = _name(peer["name"], ", ".join((*peer["addresses"], *peer["floating"], *peer["groups"])))
    return f"<tr>{head}{''.join(_cell(*cell) for cell in cells)}</tr>"


def _unlinked(report: Json) -> Iterator[str]:
    for dial in report["dials"]:
        why = escape(dial["why"] or "being dialed")
        head = _name(dial["name"], dial["target"])
        yield f'<tr class="gone">{head}<td colspan="9">{why}</td></tr>'


def _name(name: str, addresses: str) -> str:
    return f'<th scope="row">{escape(name)}<small>{escape(addresses)}</small></th>'


def _cell(text: str, kind: str) -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _domain(report: Json) -> str:
    """Which names this node answers, and where."""
    names = report["names"]
    if names is None:
        return ""
    groups = ", ".join(report["node"]["groups"])
    ours = f"; groups of this node: {groups}" if groups else ""
    return f"below {names['domain']}, at {', '.join(names['addresses'])}{ours}"


def _queries(report: Json) -> Iterator[str]:
    for outcome, count in (report["names"] or {"queries": {}})["queries"].items():
        if count:
            yield f'<tr><th scope="row">{escape(outcome)}</th><td>{count}</td></tr>'


def _networks(report: Json) -> list[tuple[str, str]]:
    """Each network outside the mesh, and who leads there."""
    routes = report["routes"]
    rows = [(network, "this node") for network in routes["advertised"]]
    for accepted in routes["accepted"]:
        gateways = accepted["gateways"]
        rows += [(each["network"], ", ".join(each["nodes"])) for each in gateways]
        rows += [] if gateways else [(accepted["network"], "nobody")]
    return rows


def _network(row: tuple[str, str]) -> str:
    return f'<tr><th scope="row">{escape(row[0])}</th><td>{escape(row[1])}</td></tr>'


def _groups(report: Json) -> list[tuple[str, str]]:
    """Each multicast group, and who is in it."""
    rows = []
    for group in (report["multicast"] or {"groups": []})["groups"]:
        here = [{"name": "this node", "sources": group["here"]}] if group["here"] else []
        rows.append((group["group"], ", ".join(map(_member, [*here, *group["nodes"]]))))
    return rows


def _member(node: Json) -> str:
    return node["name"] if node["sources"] == "all" else f"{node['name']} (from {node['sources']})"


def _drops(report: Json) -> Iterator[str]:
    for what, counts in (
        ("packets", report["dropped_packets"]),
        ("connections", report["handshake_failures"]),
    ):
        for reason, count in sorted(counts.items()):
            yield f'<tr><th scope="row">{what}: {escape(reason)}</th><td>{count}</td></tr>'


def _event(event: Mapping[str, Any]) -> str:
    time, level, text = (escape(str(event[name])) for name in ("time", "level", "text"))
    return f'<li class="{level}"><time datetime="{time}">{time[11:19]}</time> {text}</li>'
