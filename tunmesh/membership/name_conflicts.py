"""Names and URLs that more than one node has, of this node and those that it is linked with.

Operators and applications know a node by its name; and a URL leads to one node only, so that nobody
finds the other one. Both come from a copied config. Capitals do not count in names: they do not in
DNS. A name that is a node's here and a group's there is one, too: it leads to only one of the two
(membership.namesakes says which).

Two incarnations of one node are no conflict: the older one is about to end (membership.precedence).
Nor is a node that has no address yet, since it may turn out to be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tunmesh.membership.namesakes import incumbent
from tunmesh.membership.precedence import are_incarnations
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nodes that have the same name, or advertise the same URL; or a name of nodes and a group."""

    kind: Literal["name", "group", "url"]
    value: str
    nodes: tuple[str, ...]  # each by what tells it from the others
    keeper: str = ""  # to whom the name leads

    def __str__(self) -> str:
        *others, last = self.nodes
        who = f"{', '.join(others)} and {last}"
        count = "two" if len(self.nodes) == 2 else str(len(self.nodes))
        if self.kind == "name":
            text = f"{count} nodes have the name {self.value}: {who}; each needs its own node_name"
            return f"{text} ({self.value} leads to {self.keeper}, which had it first)"
        if self.kind == "group":
            text = f"{self.value} is the node_name of one and in the node_groups of another: {who}"
            return f"{text}; it leads to {self.keeper}, which was first. Rename one of them"
        text = f"{count} nodes advertise the URL {self.value}: {who}"
        return f"{text}; each needs its own control_api_advertise_url"


def conflicts(me: NodeRecord, nodes: Iterable[NodeRecord]) -> Iterator[Conflict]:
    """All conflicts. `nodes`: all of them, this one included, in the order of
    namesakes.by_right."""
    by_name: dict[str, list[NodeRecord]] = {}
    by_url: dict[str, list[NodeRecord]] = {}
    for record in nodes:
        by_url.setdefault(record.url, []).append(record)
        if record.addresses:
            for name in {record.name.lower(), *_groups(record)}:
                by_name.setdefault(name, []).append(record)
    for name, records in by_name.items():
        yield from _of_name(me, name, records)
    for url, records in by_url.items():
        if len(records) > 1:
            yield Conflict("url", url, _names(me, records))


def conflicts_of(
    record: NodeRecord, me: NodeRecord, nodes: Iterable[NodeRecord]
) -> Iterator[Conflict]:
    """Those of a node that has just been linked, or has other addresses now, each with one other
    node. `nodes`: all of them, this one included, in the order of namesakes.by_right."""
    name = record.name.lower()
    goes_first = False  # before those that follow
    for other in nodes:
        goes_first = goes_first or other.id == record.id
        has_name, has_url = other.name.lower() == name, other.url == record.url
        if not (has_name or has_url) or other.id == record.id or are_incarnations(record, other):
            continue
        if has_name and record.addresses and other.addresses:
            yield _of_namesakes(me, [record, other] if goes_first else [other, record])
        if has_url:
            yield Conflict("url", record.url, _names(me, (other, record)))


def _of_name(me: NodeRecord, name: str, claimants: list[NodeRecord]) -> Iterator[Conflict]:
    """Those about one name, which these have as their own or as a group."""
    named = [record for record in claimants if record.name.lower() == name]
    members = [record for record in claimants if name in _groups(record)]
    if len(named) > 1:
        yield _of_namesakes(me, named)
    if members and any(record not in members for record in named):
        is_group = claimants[0] in members
        kept = "the group" if is_group else "the node"
        yield Conflict("group", name, _names(me, claimants), kept)


def _of_namesakes(me: NodeRecord, records: list[NodeRecord]) -> Conflict:
    (keeper,) = _addresses(me, [incumbent(records)])
    return Conflict("name", records[0].name, _addresses(me, records), keeper)


def _groups(record: NodeRecord) -> set[str]:
    return {group.lower() for group in record.groups}


def _names(me: NodeRecord, records: Iterable[NodeRecord]) -> tuple[str, ...]:
    return tuple("this node" if record.id == me.id else record.name for record in records)


def _addresses(me: NodeRecord, records: Iterable[NodeRecord]) -> tuple[str, ...]:
    return tuple(
        "this node" if record.id == me.id else ", ".join(map(str, record.own)) for record in records
    )
