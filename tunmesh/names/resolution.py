"""What a name leads to, and why: the answer of DNS (names.zone), explained in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from tunmesh.addresses import Address
from tunmesh.names.answers import Code, Kind
from tunmesh.names.directory import Directory, Entry, Member
from tunmesh.names.labels import NODES, SERVER, Name, labels_of, text_of
from tunmesh.names.settings import NamesSettings
from tunmesh.names.zone import Zone
from tunmesh.status.peers import KnownNode
from tunmesh.units import some
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Resolution:
    """`outcome` is one of names.responder.Outcome, or `unknown` where DNS is not configured.
    `found`: each address with the name of its node, or of an address the name; `why`: sentences."""

    name: str
    outcome: str
    found: tuple[tuple[str, str], ...] = ()
    why: tuple[str, ...] = ()


class Resolver:
    """Explains names as one node knows them. `settings`: None without networking/dns. `zone` is
    made of it."""

    def __init__(
        self,
        settings: NamesSettings | None,
        zone: Zone,
        directory: Directory,
        me: NodeRecord,
        known_nodes: Sequence[KnownNode],
    ) -> None:
        self._settings = settings
        self._zone = zone
        self._directory = directory
        self._me = me
        self._known_nodes = known_nodes
        self._linked = {member.record.id for member in directory.members}

    def resolve(self, text: str) -> Resolution:
        """`text` is a name with or without the domain, or an address."""
        found = self._resolve(text)
        if self._settings is not None or not found.found:
            return found
        why = "applications do not find it by DNS: networking/dns is not in the config"
        return replace(found, why=(*found.why, why))

    def _resolve(self, text: str) -> Resolution:
        try:
            address = ip_address(text)
        except ValueError:
            pass
        else:
            return self._address(address) if self._settings is not None else self._held(address)
        name: Name = tuple(text.removesuffix(".").lower().split("."))
        below = self._zone.relative(name) if self._settings is not None else None
        if below is None and (len(name) == 1 or self._directory.find(name) or self._known(name)):
            below = name
        if below is None:
            return self._elsewhere(text)
        shown = self._full(below)
        entry = self._directory.find(below)
        if entry is not None:
            return self._entry(shown, entry)
        if below == (SERVER,) and self._settings is not None:
            found = tuple((str(address), "this node") for address in self._settings.addresses)
            return Resolution(shown, "answered", found, ("this is the DNS address",))
        return self._missing(shown, below)

    def _full(self, name: Name) -> str:
        if self._settings is None:
            return text_of(name)
        return text_of((*name, self._settings.domain))

    # --- names ---

    def _entry(self, name: str, entry: Entry) -> Resolution:
        found = tuple(
            (str(address), member.record.name)
            for member in entry.members
            for address in member.addresses
        )
        why = [*self._kind(entry), *self._without_address(entry), *self._others(entry)]
        return Resolution(name, "answered" if found else "nodata", found, tuple(why))

    def _kind(self, entry: Entry) -> Iterator[str]:
        names = _names([member.record for member in entry.members])
        match entry.kind:
            case "node":
                (member,) = entry.members
                yield (
                    "this is the name of this node"
                    if self._is_me(member)
                    else (f"this is the name of a node, which is linked: {member.record.url}")
                )
            case "group":
                yield f"this is a group, which these nodes have in node_groups: {names}"
            case "all":
                yield f"this leads to all nodes that are linked, and to this one: {names}"

    def _is_me(self, member: Member) -> bool:
        return member.record.id == self._me.id

    def _without_address(self, entry: Entry) -> Iterator[str]:
        for member in entry.members:
            record = member.record
            whose = "this node has" if self._is_me(member) else f"{record.name} has"
            if not record.addresses:
                yield f"{whose} no address yet"
            for each in record.addresses:
                if each.ip in member.addresses:
                    continue
                holder = self._directory.holder(each.ip)
                held = f"{holder.record.name} holds it" if holder else "it is not routed to it"
                yield f"{whose} {each.ip}, which is left out: {held}"

    def _others(self, entry: Entry) -> Iterator[str]:
        for other in entry.others:
            record = other.record
            who = "this node" if self._is_me(other) else f"the node {record.name} at {record.url}"
            kept = "the node" if entry.kind == "node" else "the group"
            yield f"{who} claims this name, too; it stays with {kept} that had it first"

    def _known(self, name: Name) -> NodeRecord | None:
        """A node of this name that is known, and not linked."""
        for node in self._known_nodes:
            record = node.record
            if record is None or node.id in self._linked:
                continue
            if name in (labels_of(each) for each in (record.name, *record.groups)):
                return record
        return None

    def _missing(self, shown: str, name: Name) -> Resolution:
        if self._directory.has_below(name):
            return Resolution(
                shown, "nodata", (), ("no node has this name, but longer ones end so",)
            )
        known = self._known(name)
        if known is not None:
            why = f"{known.name} is known ({known.url}), but this node is not linked with it"
        else:
            why = f"no linked node has this name; {NODES} leads to all of them"
        if self._directory.is_in_mesh:
            return Resolution(shown, "nxdomain", (), (why,))
        lonely = "this node is not in the mesh yet, so it does not know"
        return Resolution(shown, "failed", (), (why, lonely))

    def _elsewhere(self, text: str) -> Resolution:
        if self._settings is None:
            return Resolution(text, "unknown", (), ("no linked node has this name",))
        outside = f"it is not below {self._settings.domain}"
        servers = ", ".join(self._settings.servers)
        if not servers:
            why = f"{outside}, and other names are not forwarded"
            return Resolution(text, "refused", (), (why,))
        return Resolution(text, "forwarded", (), (f"{outside}: it is forwarded to {servers}",))

    # --- addresses ---

    def _held(self, address: Address) -> Resolution:
        """Whose an address is, where there is no DNS."""
        holder = self._directory.holder(address)
        if holder is None:
            return Resolution(str(address), "unknown", (), ("no linked node has this address",))
        found = ((str(address), holder.record.name),)
        return Resolution(str(address), "answered", found, (self._has_it(holder),))

    def _has_it(self, holder: Member) -> str:
        return "this node has it" if self._is_me(holder) else f"{holder.record.name} has it"

    def _address(self, address: Address) -> Resolution:
        name: Name = tuple(address.reverse_pointer.split("."))
        answer = self._zone.answer(name, Kind.PTR, self._directory)
        shown = str(address)
        if answer is None:
            elsewhere = self._elsewhere(shown)
            why = f"{shown} is not in the mesh's networks"
            return Resolution(shown, elsewhere.outcome, (), (why,))
        names = tuple((shown, str(record.value)) for record in answer.records)
        if answer.code == Code.OK:
            holder = self._directory.holder(address)
            why = "this is the DNS address"
            if holder is not None:
                why = self._has_it(holder)
                if not names:
                    why += ", whose name leads to another node"
            return Resolution(shown, "answered" if names else "nodata", names, (why,))
        if answer.code == Code.FAILED:
            return Resolution(shown, "failed", (), ("this node is not in the mesh yet",))
        return Resolution(shown, "nxdomain", (), ("no linked node has this address",))


def _names(records: Sequence[NodeRecord]) -> str:
    return some(sorted(record.name for record in records))
