"""Names and URLs that more than one node has, of this node and those that it is linked with.

Operators know a node by its name; and a URL leads to one node only, so that nobody finds the other
one. Both come from a copied config. Two incarnations of one node are no conflict: the older one is
about to end (membership.precedence).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tunmesh.membership.precedence import are_incarnations
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nodes that have the same name, or advertise the same URL."""

    kind: Literal["name", "url"]
    value: str
    nodes: tuple[str, ...]  # each by what tells it from the others

    def __str__(self) -> str:
        *others, last = self.nodes
        who = f"{', '.join(others)} and {last}"
        count = "two" if len(self.nodes) == 2 else str(len(self.nodes))
        if self.kind == "name":
            return f"{count} nodes have the name {self.value}: {who}; each needs its own node_name"
        text = f"{count} nodes advertise the URL {self.value}: {who}"
        return f"{text}; each needs its own control_api_advertise_url"


def conflicts(me: NodeRecord, peers: Iterable[NodeRecord]) -> Iterator[Conflict]:
    """All conflicts."""
    by_name: dict[str, list[NodeRecord]] = {}
    by_url: dict[str, list[NodeRecord]] = {}
    for record in (me, *peers):
        by_name.setdefault(record.name, []).append(record)
        by_url.setdefault(record.url, []).append(record)
    for name, records in by_name.items():
        if len(records) > 1:
            yield Conflict("name", name, _addresses(me, records))
    for url, records in by_url.items():
        if len(records) > 1:
            yield Conflict("url", url, _names(me, records))


def conflicts_of(
    record: NodeRecord, me: NodeRecord, peers: Iterable[NodeRecord]
) -> Iterator[Conflict]:
    """Those of a node that has just been linked, each with one other node."""
    for other in (me, *peers):
        if other.id == record.id or are_incarnations(record, other):
            continue
        if other.name == record.name:
            yield Conflict("name", record.name, _addresses(me, (other, record)))
        if other.url == record.url:
            yield Conflict("url", record.url, _names(me, (other, record)))


def _names(me: NodeRecord, records: Iterable[NodeRecord]) -> tuple[str, ...]:
    return tuple("this node" if record.id == me.id else record.name for record in records)


def _addresses(me: NodeRecord, records: Iterable[NodeRecord]) -> tuple[str, ...]:
    return tuple(
        "this node" if record.id == me.id else ", ".join(str(a.ip) for a in record.addresses)
        for record in records
    )
