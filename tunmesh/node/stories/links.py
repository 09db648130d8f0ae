"""What is logged about links, and about the nodes at their other ends.

Each event is logged in one place. Its word and fields are documented in docs/logs.md and stay the
same; its text may change. `by` is the source that caused a line (logs.journal): peers cannot fill
the log. HEARSAY (stories.dials) stands for all that strangers, and nodes named by others, may cause
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from tunmesh.link.link import Link, room_of
from tunmesh.logs.journal import Journal
from tunmesh.membership.agreement import have_other_networks, network_texts
from tunmesh.membership.me import Me
from tunmesh.membership.name_conflicts import Conflict
from tunmesh.node.stories.dials import log_url_conflict
from tunmesh.wire import messages
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.records import NodeRecord


class LinkStory:
    """Links, the nodes at their other ends, and the addresses that these claim."""

    def __init__(self, journal: Journal, me: Me) -> None:
        self._journal = journal
        self._me = me

    def linked(self, link: Link, conflicts: Iterable[Conflict], relay: str) -> None:
        """A node is linked by this link. `conflicts`: names and URLs that another node has too;
        `relay`: the name of the node that carries the link, if it is not direct."""
        record = link.node
        through = ", {direction} through {relay}" if relay else ", {direction}"
        self._journal.over(("unreachable", record.host_port))
        self._journal.info(
            f"linked with {{peer}} ({{addresses}}){through}: {{url}}",
            by=link.source,
            event="linked",
            peer=record.name,
            url=record.url,
            direction="dialed" if link.dialed else "accepted",
            relay=relay,
            addresses=", ".join(map(str, record.own)) or "no address yet",
        )
        for conflict in conflicts:
            self._conflict(conflict, link.source)
        if have_other_networks(self._me.record, record):
            self._journal.warn(
                ("networks", record.networks),
                "network_cidr is {ours} here, {theirs} on {peer}",
                by=link.source,
                event="networks_differ",
                peer=record.name,
                ours=network_texts(self._me.record),
                theirs=network_texts(record),
            )

    def revised(self, link: Link, conflicts: Iterable[Conflict]) -> None:
        """The node at the other end has another record. `conflicts`: as in `linked`."""
        record = link.node
        self._journal.debug(
            "{peer} is now at {url}, with {addresses}",
            by=link.source,
            event="revised",
            peer=record.name,
            url=record.url,
            addresses=", ".join(map(str, record.own)) or "no address",
        )
        for conflict in conflicts:
            self._conflict(conflict, link.source)

    def _conflict(self, conflict: Conflict, source: str) -> None:
        if conflict.kind == "url":
            log_url_conflict(self._journal, str(conflict), conflict.value, conflict.nodes, source)
            return
        self._journal.warn(
            ("name", conflict.value),
            "{conflict}",
            by=source,
            event="name_conflict",
            conflict=str(conflict),
            name=conflict.value,
            nodes=list(conflict.nodes),
        )

    def unlinked(self, link: Link, reason: str, has_namesake: bool) -> None:
        """`has_namesake`: another node of the same name is still linked."""
        if reason == messages.LEAVING:
            text = "{peer} left the mesh"
        elif has_namesake:
            text = "one of the nodes named {peer} is no longer linked: {reason}"
        else:
            text = "no longer linked with {peer}: {reason}"
        self._journal.info(
            text,
            by=link.source,
            event="unlinked",
            peer=link.node.name,
            reason=reason,
        )

    def way_changed(self, link: Link, relay: str) -> None:
        """The link with a node is direct now, or runs through the node of this name."""
        way = "runs through {relay}" if relay else "is direct"
        self._journal.info(
            f"the link with {{peer}} {way} from now on",
            by=link.source,
            event="link_way",
            peer=link.node.name,
            relay=relay,
        )

    def retired(self, link: Link, age: float) -> None:
        self._journal.debug(
            "of two links with {peer} the one {direction} {age} s ago is retired",
            event="retired",
            peer=link.node.name,
            direction="dialed" if link.dialed else "accepted",
            age=round(age, 1),
        )

    def closed(self, link: Link, reason: str) -> None:
        self._journal.debug(
            "a link with {peer} is closed: {reason}",
            event="closed",
            peer=link.node.name,
            reason=reason,
        )

    def probed(self, link: Link, alive: bool) -> None:
        self._journal.debug(
            "{peer} "
            + ("answered a probe" if alive else "did not answer a probe within {patience:g} s"),
            event="probed",
            peer=link.node.name,
            answered=alive,
            patience=link.timing.probe_timeout,
        )

    def small_segments(self, link: Link, size: int) -> None:
        """Large segments do not arrive at the other end, or from it; of this size they do."""
        self._journal.warn(
            ("small segments", link.node.host_port, size),
            "the path to {peer} loses large packets without a word: links with it carry at most "
            "{size} bytes in a TCP segment from now on",
            by=link.source,
            event="small_segments",
            peer=link.node.name,
            size=size,
        )

    def wasteful(self, link: Link) -> None:
        self._journal.warn(
            ("wasteful", link.node.id),
            "{peer} sends very many packets that are dropped, or messages: it is read more slowly",
            by=link.source,
            event="wasteful",
            peer=link.node.name,
        )

    def crowded_source(self, link: Link, count: int, most: int) -> None:
        """This many nodes from the source of this link are linked."""
        self._journal.warn(
            ("crowded source", room_of(link), count),
            "{count} nodes are linked from {source}, and clustering/max_nodes_per_source is {most}",
            by=link.source,
            event="crowded_source",
            count=count,
            source=room_of(link),
            most=most,
        )

    def crowded_out(self, link: Link) -> None:
        """The other end says the same of this node's source."""
        self._journal.warn(
            "crowded out",
            "{peer} takes no more nodes from the address that this one comes from: see "
            "clustering/max_nodes_per_source there",
            by=link.source,
            event="crowded_source",
            peer=link.node.name,
        )

    def refuse(self, link: Link, refusal: Refusal) -> None:
        """This node does not route addresses of the other end to it. One that chooses its addresses
        itself has only tried, unless it was settled with them. For one that floats it waits."""
        own = tuple(each for each in refusal.addresses if link.node.owns(ip_address(each)))
        if not own or (link.node.automatic and not link.node.settled):
            return
        self._journal.warn(
            ("refuse", link.node.name, refusal),
            "{addresses} is not routed to {peer}: {why}",
            by=link.source,
            event="address_conflict",
            peer=link.node.name,
            addresses=", ".join(own),
            why=_why_refused(refusal, self._me.record, link.node, "here"),
        )

    def refused(self, link: Link, refusal: Refusal, addresses: tuple[str, ...]) -> None:
        """The other end does not route these addresses of this node to it. If it chooses them
        itself it may choose others, unless it is settled with them."""
        if self._me.record.automatic and not self._me.record.settled:
            return
        self._journal.warn(
            ("refused", addresses),
            "{peer} does not route {addresses} to this node: {why}",
            by=link.source,
            event="address_refused",
            peer=link.node.name,
            addresses=", ".join(addresses),
            why=_why_refused(refusal, link.node, self._me.record, "there"),
        )


def _why_refused(refusal: Refusal, refuser: NodeRecord, refused: NodeRecord, where: str) -> str:
    if refusal.holder == refused.name:
        return f"another {refused.name}, started later, holds it, and both are alive"
    if refusal.holder:
        return f"{refusal.holder} holds it"
    networks = network_texts(refuser)
    return f"it is outside the network {where}{': ' * bool(networks)}{networks}"
