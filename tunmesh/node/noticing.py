"""Notices peers that are gone, and links that are stuck, before anybody has to wait for them.

    every LOOK seconds   packets went out to a peer, and nothing came      link.suspicion: two pings
                         a link sends the same again and again             a new one, with smaller
                                                                           segments
    this host's addresses have changed                                     both at once

A peer to which nothing is sent is not looked at beyond two numbers.

**Stuck.** A path that begins to lose large segments without a word stops a connection for good:
what is sent waits behind the segment that does not arrive. So does a path that is cut, and nothing
tells the two apart. So another link is dialed, with smaller segments (dialing.segments). If it
comes up while the old one is still stuck, it takes its place, and the limit is remembered.
"""

from __future__ import annotations

from collections.abc import Collection

from tunmesh.addresses import Address, literal_address, plain_host, unscoped_host
from tunmesh.dialing.connections import Connector
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.link import Link
from tunmesh.link.suspicion import Step, Suspicion
from tunmesh.logs import bugs
from tunmesh.node.dials import Dials
from tunmesh.node.parts import Parts
from tunmesh.node.peers import LinkedNode
from tunmesh.node.stories.links import LinkStory
from tunmesh.node.stories.node import NodeStory
from tunmesh.timers import Timer
from tunmesh.tls.binding import TcpMeasures
from tunmesh.wire import messages

LOOK = 0.5  # seconds from one look to the next, at most
LEAST_LOOK = 0.1
LATE = 0.25  # seconds later than asked for: this node did not run
RETRIES = 3  # of one segment, 1.4 s without progress or more, until a link is stuck
PATIENCE = 5.0  # seconds that a stuck link is kept while no other one comes up


class Noticing:
    """Of all peers of one node."""

    def __init__(self, parts: Parts, dials: Dials, connector: Connector, story: LinkStory) -> None:
        self._parts = parts
        self._dials = dials
        self._connector = connector
        self._story = story
        self._node_story = NodeStory(parts.journal)
        self._timer = Timer(parts.host.reactor)
        self._looked = self._due = parts.now

    def start(self) -> None:
        """Look from now on."""
        self._look_in(LOOK)

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()

    def addresses_changed(self, came: Collection[Address], gone: Collection[Address]) -> None:
        """This host has these addresses now, and those not any more. If it is not known which, all
        links are asked whether they work. What only its containers see, with addresses of their
        cables, changes nothing here."""
        peers = tuple(self._parts.peers)
        lost = [each for each in peers if _local_address(each.link) in gone]
        changed = (*came, *gone)
        if changed and not lost and all(each.is_link_local for each in changed):
            return
        self._node_story.addresses_changed(came, gone, len(lost))
        self._connector.segments.forget_all()
        self._dials.hurry()
        now = self._parts.now
        for peer in peers:
            peer.suspicion.suspect(now)
        for peer in lost:
            self._dials.dial(peer.record, patient=False)
        self._look_in(0.0)

    def link_up(self, link: Link) -> None:
        """A link has come up, and has not taken the place of another one yet."""
        if self._parts.roster.is_linked(link.node.id):
            before = self._parts.peers.linked(link.node.id).link
            if not _is_stuck(before.authentication.measures()):
                self._connector.goes_well(link)
                return
        size = self._connector.helped(link)
        if size is not None:
            self._story.small_segments(link, size)

    def _look_in(self, delay: float) -> None:
        self._due = self._parts.now + delay
        self._timer.start(delay, self._look)

    def _look(self) -> None:
        now = self._parts.now
        before, late = self._looked, now - self._due
        self._looked = now
        self._look_in(LOOK)  # a bug must not keep the node from looking again
        soonest = now + LOOK
        for peer in self._parts.peers:
            suspicion = peer.suspicion
            is_idle = peer.traffic.tx_packets == suspicion.sent and suspicion.since is None
            if is_idle and peer.stuck_since is None:
                continue
            with bugs.logged(f"whether {peer.record.name} is still there is not known"):
                if late > LATE:
                    suspicion.forgive(late)
                self._look_at(peer, now, before)
            soonest = min(soonest, suspicion.due)
        self._look_in(max(LEAST_LOOK, soonest - now))

    def _look_at(self, peer: LinkedNode, now: float, before: float) -> None:
        suspicion, link = peer.suspicion, peer.link
        measures = link.authentication.measures()
        heard = link.conversation.received + self._parts.transports.received_from(peer.record.id)
        if suspicion.look(now, before, peer.traffic.tx_packets, heard):
            self._ask(suspicion, link, measures, now)
        if _is_stuck(measures) or peer.stuck_since is not None:
            self._look_at_stuck(peer, link, measures, now)

    def _ask(self, suspicion: Suspicion, link: Link, measures: TcpMeasures, now: float) -> None:
        """Nothing came of this link for too long."""
        since, ago = suspicion.since or now, measures.heard_ago
        if ago is not None and now - ago > since:
            suspicion.trust()  # the kernel of the other end is there
            return
        match suspicion.next(now, link.round_trip):
            case Step.PING:
                link.pinger.ping()
            case Step.GIVE_UP if ago is not None and measures.is_full:
                suspicion.trust()
            case Step.GIVE_UP:
                self._connector.goes_well(link)
                why = f"nothing came back for {now - since:.1f} s, not even to two pings"
                link.fail(PeerError(messages.SILENT, why))

    def _look_at_stuck(
        self, peer: LinkedNode, link: Link, measures: TcpMeasures, now: float
    ) -> None:
        record, since = peer.record, peer.stuck_since
        if not _is_stuck(measures):
            peer.gets_stuck(None)
            self._connector.goes_well(link)
            self._dials.discovered.stop(record.id)
        elif since is None:
            peer.gets_stuck(now)
            self._connector.stuck(link, measures)
            self._dials.dial(record, patient=False)
        elif now >= since + PATIENCE:
            why = f"what was sent does not arrive: no progress for {now - since:.1f} s"
            link.fail(PeerError(FailureReason.STUCK, why))


def _local_address(link: Link) -> Address | None:
    """Of this host, that the link leaves from; without a scope, as the kernel's news has it."""
    host: str = link.transport.getHost().host
    return literal_address(plain_host(unscoped_host(host)))


def _is_stuck(measures: TcpMeasures) -> bool:
    return measures.unacknowledged > 0 and measures.retries >= RETRIES
