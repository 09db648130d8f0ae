"""Who has which name: this node, and those that it is linked with.

A name is claimed by nodes that are called so, and by nodes that have it as a group. The one with
the best right to it (membership.namesakes) decides what it is: the name of one node, which leads to
that node only, or that of a group, which leads to all nodes that have it as a group. So nobody who
comes later can turn the name of a node into a group, or that of a group into a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tunmesh.addresses import Address
from tunmesh.membership.namesakes import incumbent
from tunmesh.names.labels import NODES, Name, labels_of
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Member:
    """A node. `addresses`: those that are routed to it, or this node's own."""

    record: NodeRecord
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name. `members`: to whom it leads; `others` claim it as well."""

    kind: Literal["node", "group", "all"]
    members: tuple[Member, ...]
    others: tuple[Member, ...] = ()


class Directory:
    """`members`: all nodes, who has the better right to a name first (namesakes.by_right).
    `is_in_mesh`: whether this node is in the mesh, so that a name that is missing here does not
    exist."""

    def __init__(self, members: Sequence[Member], is_in_mesh: bool) -> None:
        self.members = tuple(members)
        self.is_in_mesh = is_in_mesh
        self._claimants: dict[Name, list[Member]] = {}
        self._holders: dict[Address, Member] = {}
        self._inner: set[Name] = set()  # names that others end with
        for member in self.members:
            self._holders |= dict.fromkeys(member.addresses, member)
            for name in _names(member.record):
                self._claimants.setdefault(name, []).append(member)
                self._inner.update(name[at:] for at in range(1, len(name)))

    def __iter__(self) -> Iterable[Name]:
        return iter(self._claimants)

    def find(self, name: Name) -> Entry | None:
        """None if no node has this name."""
        if name == (NODES,):
            return Entry("all", self.members)
        claimants = self._claimants.get(name)
        if claimants is None:
            return None
        is_group = _has_group(claimants[0], name)
        if is_group:
            members = [each for each in claimants if _has_group(each, name)]
        else:
            record = incumbent([each.record for each in claimants if not _has_group(each, name)])
            members = [each for each in claimants if each.record is record]
        others = tuple(each for each in claimants if each not in members)
        return Entry("group" if is_group else "node", tuple(members), others)

    def has_below(self, name: Name) -> bool:
        """Whether there are names that end with this one."""
        return name in self._inner

    def holder(self, address: Address) -> Member | None:
        """The node that has this address."""
        return self._holders.get(address)

    def holds_name(self, member: Member) -> bool:
        """Whether the name of this node leads to it."""
        labels = labels_of(member.record.name)
        entry = self.find(labels) if labels is not None else None
        return entry is not None and member in entry.members


def _names(record: NodeRecord) -> set[Name]:
    """All names that a node claims."""
    found = map(labels_of, (record.name, *record.groups))
    return {name for name in found if name is not None}


def _has_group(member: Member, name: Name) -> bool:
    return len(name) == 1 and name[0] in map(str.lower, member.record.groups)
