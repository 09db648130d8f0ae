"""The links of a node: what they report goes to the roster as facts.

    link up, link lost, gossip, bye ── facts ──> Roster ── commands ──> Interpreter
      ^                                                                      │
    Connector <── Dials <────────────────────────────────────────────────────┘

Links that are too old or have carried too much are renewed here, and all are closed when the node
leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from twisted.internet.defer import Deferred

from tunmesh.auth import signing
from tunmesh.dataplane.drops import DropReason
from tunmesh.dialing.connections import Connector, Proof
from tunmesh.errors import HANDSHAKE_FAILURES, FailureReason, PeerError
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.node.dials import Dials
from tunmesh.node.interpreter import Interpreter
from tunmesh.node.introductions import Introductions
from tunmesh.node.noticing import Noticing
from tunmesh.node.parts import Parts
from tunmesh.node.relays import Relays
from tunmesh.node.stories.dials import DialStory
from tunmesh.node.stories.links import LinkStory
from tunmesh.observe.debug_summary import DebugSummary
from tunmesh.wire import messages
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord
from tunmesh.wire.streams import Message
from tunmesh.wire.tried import Tried

REVOCATION = 60.0  # seconds that a link with a revoked key may be older than session_max_age
# Bytes in one direction after which a link is renewed, 275 GB. One key of AES-GCM should protect
# no more than 2^24.5 full records of 16 KiB, 390 GB (RFC 8446, section 5.5); the difference leaves
# time to dial again and again while the other end cannot be reached.
MAX_CARRIED = 1 << 38
LEAVE_TIMEOUT = 1.5  # seconds for the byes to reach the peers


class _Presented:
    """This node's record, signed anew whenever it is another one."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.signed = self._sign()
        self._revision = parts.me.record.revision

    def show(self, local: str = "") -> bytes:
        """What this node says of itself in a handshake, or when that changes. `local`: the address
        that the connection was dialed from."""
        if local:
            self._parts.url.dialed_from(local)
        record = self._parts.me.record
        if record.revision != self._revision:
            self.signed, self._revision = self._sign(), record.revision
        return encode_shown(self.signed, record.settled)

    def _sign(self) -> SignedRecord:
        return signing.sign(self._parts.me.record, self._parts.settings.node_key)


class Links:
    """What every link reports to (link.interfaces.Owner). `changed()` is called when what makes the
    node ready may have changed."""

    def __init__(
        self,
        parts: Parts,
        before_bootstrap: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        settings, host = parts.settings, parts.host
        self._parts = parts
        self._roster, self._peers = parts.roster, parts.peers
        self._changed = changed
        self._presented = _Presented(parts)
        parts.me.when_revised(self._me_revised)
        self._story = LinkStory(parts.journal, parts.me)
        dial_story = DialStory(parts.journal, parts.me)
        self._dial_story = dial_story
        self.connector = Connector(
            host.reactor,
            self,
            Proof(
                settings.reloadable.keys,
                settings.node_key,
                self._presented.show,
                host.random_bytes,
                parts.contexts,
                host.transport,
            ),
            host.draw,
            dial_story,
            settings.outside,
            parts.memory,
        )
        self.relays = Relays(parts, self.connector)
        self.dials = Dials(
            parts, dial_story, self.connector, before_bootstrap, self.relays.progressed
        )

        def introduced(link: Link, record: NodeRecord) -> None:
            self._interpreter.run(parts.roster.introduction_received(link, (record,)))

        self.introductions = Introductions(parts.roster, parts.journal, host.reactor, introduced)
        self._summary = DebugSummary(parts.journal)
        self._interpreter = Interpreter(
            parts,
            self.dials,
            self.relays,
            self._story,
            self._summary,
            self._presented.show,
            changed,
        )
        self.noticing = Noticing(parts, self.dials, self.connector, self._story)
        # Connections that did not become links, by reason.
        self.failures: dict[str, int] = dict.fromkeys(HANDSHAKE_FAILURES, 0)
        self._is_leaving = False
        self._last_closed: Deferred[None] | None = None

    def _me_revised(self) -> None:
        """This node has another record: tell all peers."""
        wanted = self._roster.me_revised()
        self._peers.me_revised(self._roster.claims.was_first)
        self._interpreter.run(wanted)

    def readdressed(self) -> None:
        """This node has other addresses, so other nodes may be in its local subnet now."""
        for peer in self._peers:
            self._adopt(peer.link)

    # --- what links report ---

    def link_up(self, link: Link) -> None:
        if self._is_leaving:
            link.close(messages.LEAVING)
        elif link.node.id == self._parts.me.id:
            self.dials.led_back(link)
            link.close(messages.SELF)
            self._changed()
        elif not self._peers.has_room(link):
            count, most = self._peers.count_with(link), self._peers.max_per_source
            self._story.crowded_source(link, count, most)
            link.close(messages.CROWDED)
        else:
            self._admit(link)

    def _admit(self, link: Link) -> None:
        record = link.node
        self._adopt(link)
        self._roster.time_passed(self._parts.now)
        self.introductions.compare(record, link.source)
        self.noticing.link_up(link)
        is_reached = self.dials.is_reached(link)
        self._interpreter.run(
            self._roster.authenticated(
                link,
                record,
                link.dialed,
                link.authentication.shown,
                is_reached,
                bool(link.via),
            )
        )
        if self._roster.is_linked(record.id):
            peer = self._peers.of(link)
            forwarder = self._parts.forwarder
            link.deliver_to(partial(forwarder.received, peer), forwarder.read_ended)
            self._parts.transports.link_up(peer, link)
            self._parts.multicast.link_up(peer, link)
            self.relays.link_up(link)
            self.dials.link_up(link)

    def _adopt(self, link: Link) -> None:
        """Be as patient with this link as its node's place in the mesh demands."""
        settings = self._parts.settings
        is_local = self._parts.table.is_local(link.node.addresses)
        timing = settings.local if is_local else settings.mesh
        if link.timing is not timing:
            link.adopt(timing)

    def link_failed(self, link: Link, error: PeerError) -> None:
        is_failure = self.dials.failed(link, error)
        self.relays.link_failed(link)
        self._closed(link)
        if is_failure:
            self.failures[error.reason] += 1

    def stranger_failed(self, host: str, error: PeerError) -> None:
        """An accepted connection ended before there was a link for it."""
        self.failures[error.reason] += 1
        self._dial_story.stranger_failed(host, error)

    def link_lost(self, link: Link, error: PeerError) -> None:
        self._parts.transports.link_lost(link)
        self._closed(link)
        self._interpreter.run(self._roster.link_lost(link, str(error)))
        self.relays.link_lost(link, error.reason == messages.REPLACED)
        if not self._is_leaving:
            self.dials.update()

    def _closed(self, link: Link) -> None:
        self.connector.closed(link)
        last = self._last_closed
        if last is not None and not last.called and not len(self.connector):
            last.callback(None)

    def wasteful(self, link: Link) -> None:
        self._story.wasteful(link)

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self._parts.forwarder.count_drops(reason, count)

    def gossip_received(self, link: Link, gossip: Gossip) -> None:
        self._summary.gossip_received()
        self._interpreter.run(self._roster.gossip_received(link, gossip))
        for source in self._peers.sources((link.node.id,)):
            self.dials.discovered.vouched(gossip.linked, source)
        self.relays.vouched(link, gossip.linked)
        if gossip.full and self._roster.is_current(link):
            # A full sync starts anew: a refusal that still holds follows it.
            self._peers.note_refusal(link, (), "")

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        self._summary.was_asked(len(ids))
        self._interpreter.run(self._roster.inquiry_received(link, ids))

    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        self.introductions.received(link, introduced)

    def update_received(self, link: Link, signed: SignedRecord, settled: bool) -> None:
        if not self._roster.is_linked(link.node.id):
            return
        record = replace(signing.verify(signed), settled=settled)
        before = self._peers.of(link).record
        if record.id == before.id and record.revision <= before.revision:
            return  # it came by another link already
        if not before.may_become(record):
            why = "its new record is no later revision of the one that it had"
            raise PeerError(FailureReason.UNEXPECTED, why)
        link.revised(record, signed)
        self._adopt(link)
        self._interpreter.run(self._roster.update_received(link, record))

    def tried_received(self, link: Link, tried: Tried) -> None:
        if self._roster.is_current(link):
            self._parts.url.heard(link, tried)

    def refusal_received(self, link: Link, refusal: Refusal) -> None:
        if not self._roster.is_current(link):
            return  # it came on a link that has been replaced
        me = self._parts.me.record
        claimed = set(map(str, me.claimed))
        refused = tuple(each for each in refusal.addresses if each in claimed)
        if self._peers.note_refusal(link, refused, refusal.holder):
            own = set(map(str, me.own))
            lost = tuple(each for each in refused if each in own)
            if lost:
                self._story.refused(link, refusal, lost)
            self._changed()

    def stream_received(self, link: Link, message: Message) -> bool:
        return self._roster.is_linked(link.node.id) and self.relays.received(link, message)

    def bye_received(self, link: Link, reason: str) -> None:
        if reason == messages.CROWDED:
            self._story.crowded_out(link)
        self._interpreter.run(self._roster.bye_received(link, reason))

    def round_trip(self, link: Link, seconds: float) -> None:
        self._peers.round_trip(link, seconds)

    # --- now and then ---

    def renew_sessions(self) -> None:
        """Renew the sessions that are too old, or whose keys have protected too much. An error with
        one of them must not affect the others."""
        for peer in self._peers:
            with bugs.logged(f"the session with {peer.record.name} is not renewed"):
                self._renew(peer.link)

    def _renew(self, link: Link) -> None:
        """The side that dialed the old link dials a new one, which replaces it. A link that came up
        with a secret that is no longer valid is closed if that has not worked after a while. Each
        end counts both directions, so the one that dialed need not be asked to."""
        overdue = self._parts.now - link.since - self._parts.settings.session_max_age
        if overdue > REVOCATION and link.key not in self.connector.keys:
            link.close(messages.REVOKED)
        elif link.dialed and (overdue > 0 or link.conversation.carried > MAX_CARRIED):
            if link.via:
                self.relays.renew(link)
            else:
                self.dials.dial(link.node, patient=False)

    def ask_again(self) -> None:
        """Ask other nodes for records that the one that was asked has not sent."""
        self._interpreter.run(self._roster.hearsay.answers_overdue())

    def summarize(self) -> None:
        """Log at debug level what happened since the last call."""
        dropped_by_peer = {peer.record.name: peer.dropped for peer in self._peers}
        self._summary.log(self._parts.forwarder.dropped, dropped_by_peer, self._roster.nodes_known)

    async def leave(self) -> None:
        """Say bye to every peer and close all links."""
        self._is_leaving = True
        self._interpreter.stop()
        self.noticing.stop()
        self.dials.abandon()
        self.relays.stop()
        self._parts.transports.stop()
        for link in self.connector:
            link.close(messages.LEAVING)
        if len(self.connector):
            self._last_closed = Deferred()
            self._last_closed.addTimeout(LEAVE_TIMEOUT, self._parts.host.reactor, lambda *_: None)
            await self._last_closed
