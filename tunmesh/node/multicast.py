"""Multicast groups at this node: what its programs join, what peers join, and who is told.

    tun ── IGMP, MLD ──> take ──> OwnInterests ── changes, gathered ──> every link
     ^                                │
     └──── general queries            └─ joined? ─> Audience <── interests <── links
                                                       └─ dataplane.table: who gets a packet

Everything is told on each link that comes up or comes to be used, and then what changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import ip_address

from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.forwarder import Forwarder
from tunmesh.link.link import Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.logs.journal import Journal
from tunmesh.multicast.audience import MEMORY, Audience
from tunmesh.multicast.own import INTERVAL, MOST, ROBUSTNESS, WITHIN, OwnInterests
from tunmesh.node.peers import LinkedNode
from tunmesh.node.settings import Host
from tunmesh.packets import igmp, link_control, mld, virtio
from tunmesh.status.multicast import GroupStatus, MulticastStatus
from tunmesh.timers import Timers
from tunmesh.wire.interests import Interest, Interests, parts

GATHER = 0.1  # seconds for which changes are gathered before they are told
# Seconds from the start to each of the first queries: programs may join before the tun is read.
_FIRST = (0.0, 2.0, 10.0)
GRACE = 0.5  # seconds that an answer may be late


class Multicast:
    """Of one node. `versions`: of IP, whose multicast is carried; without any, this does nothing.
    `audience` is what the table asks."""

    def __init__(self, versions: Iterable[int], host: Host, journal: Journal) -> None:
        self.versions = frozenset(versions)
        self._own = OwnInterests()
        self.audience: Audience[LinkedNode] = Audience(self.versions, self._own)
        self._host = host
        self._journal = journal
        self._timers = Timers(host.reactor)
        self._linked: dict[LinkedNode, None] = {}
        self._memory = MemoryBudget(MEMORY)
        self._number = 0  # of the last message
        self._left_out = 0  # groups of peers that were too many

    def connect(self, forwarder: Forwarder[LinkedNode]) -> None:
        """Take what the kernel says from this forwarder, and ask it there."""
        if self.versions:
            self._ask = forwarder.answer
            forwarder.answer_unrouted(self.take)

    def start(self) -> None:
        """Begin to ask the kernel."""
        if not self.versions:
            return
        self._journal.info(
            "multicast is carried: {families}",
            event="multicast",
            families=" and ".join(f"IPv{version}" for version in sorted(self.versions)),
        )
        for number, delay in enumerate(_FIRST):
            self._timers.call_within(f"query {number}", delay, self._query)
        self._timers.call_within("query", INTERVAL, self._query_again)

    def stop(self) -> None:
        self._timers.stop()

    # --- this machine ---

    def take(self, drops: list[Drop]) -> list[Drop]:
        """Packets to groups that no peer has joined, among others without a route. Takes what the
        kernel says on its link, to routers and of groups; returns what is left."""
        left: list[Drop] = []
        for reason, frame in drops:
            is_carried = reason is DropReason.MULTICAST and self._carries(frame)
            if is_carried and link_control.is_link_control(frame):
                self._heard_kernel(bytes(frame[virtio.HEADER :]))
            else:
                left.append((reason, frame))
        return left

    def _carries(self, frame: bytes | memoryview) -> bool:
        return (4 if frame[virtio.HEADER] < 0x50 else 6) in self.versions

    def _heard_kernel(self, packet: bytes) -> None:
        """It may say something of groups, or ask for a router, which there is none of."""
        records = igmp.read(packet) if packet[0] < 0x50 else mld.read(packet)
        if not records:
            return
        was_full = self._own.is_full
        self._own.reported(records)
        if self._own.is_full and not was_full:
            self._journal.warn(
                "groups left out",
                "programs on this machine are in more than {most} multicast groups: packets to "
                "the others do not reach it",
                event="groups_left_out",
                most=MOST,
            )
        self._timers.call_within("changes", GATHER, self._tell_changes)

    def _query_again(self) -> None:
        self._timers.call_within("query", INTERVAL, self._query_again)
        self._query()
        self._timers.call_within("answer", WITHIN + GRACE, self._answered)

    def _query(self) -> None:
        """Ask the kernel which groups there are."""
        queries = {4: igmp.general_query, 6: mld.general_query}
        frames = [
            virtio.PLAIN + queries[version](WITHIN, ROBUSTNESS, INTERVAL)
            for version in sorted(self.versions)
        ]
        self._ask(frames)

    def _answered(self) -> None:
        """Groups that the kernel does not name any more are forgotten."""
        self._own.answered()
        self._tell_changes()

    # --- peers ---

    def _tell_changes(self) -> None:
        changed = self._own.changes()
        if changed:
            for message in self._messages(changed, is_full=False):
                for peer in self._linked:
                    peer.link.conversation.tell(message)

    def link_up(self, peer: LinkedNode, link: Link) -> None:
        """A link with this peer has come up."""
        if self.versions:
            self._linked[peer] = None
            link.conversation.when_interested(partial(self._heard, peer, link.source))
            self.link_used(peer, link)

    def link_used(self, peer: LinkedNode, link: Link) -> None:
        """This link of a peer is used from now on: what was told by another one may be lost."""
        if self.versions:
            self.audience.comes_from(peer, peer.source)
            for message in self._messages(self._own, is_full=True):
                link.conversation.tell(message)

    def _messages(self, interests: Iterable[Interest], is_full: bool) -> Iterator[Interests]:
        for at, part in enumerate(parts(interests)):
            self._number += 1
            yield Interests(self._number, is_full and not at, self.versions, part)

    def _heard(self, peer: LinkedNode, source: str, said: Interests) -> None:
        """A peer has said this, on a link from this source."""
        if peer not in self._linked:
            return  # it came on a link that ends
        ignored = self.audience.heard(peer, said, lambda: self._memory.account(peer.source))
        if ignored:
            self._left_out += ignored
            self._journal.warn(
                ("groups ignored", peer.source),
                "{peer} is in more multicast groups than are kept for one node or one address: "
                "packets to the others do not go there",
                by=source,
                event="groups_ignored",
                peer=peer.record.name,
            )

    def parted(self, peer: LinkedNode) -> None:
        """A node is no longer linked."""
        self._linked.pop(peer, None)
        self.audience.part(peer)

    # --- for the status ---

    def status(self) -> MulticastStatus | None:
        """None: multicast is not carried."""
        if not self.versions:
            return None
        members = self.audience.members()
        own = {interest.group: interest for interest in self._own}
        return MulticastStatus(
            versions=tuple(sorted(self.versions)),
            groups=tuple(
                GroupStatus(
                    group=str(ip_address(group)),
                    here=own[group].shown if group in own else "",
                    nodes=tuple(
                        sorted(
                            (peer.record.name, interest.shown)
                            for peer, interest in members.get(group, {}).items()
                        )
                    ),
                )
                for group in sorted(own.keys() | members.keys(), key=lambda g: (len(g), g))
            ),
            packets=self.audience.packets,
            copies=self.audience.copies,
            ignored=self._left_out,
            left_out=self._own.is_full,
        )
