"""A node: the interpreter between the pure machines and the world.

    link up, link lost, gossip, bye ── facts ──> Roster ── commands ──> Node._do
                                                     │
         links, dialers, routes <────────────────────┘

Decisions are the roster's, effects are made here. What is left to decide here is when: news is
gathered before it is told, patient dials wait, old links are renewed, groups are looked after.
Packets pass by in dataplane.forwarder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHostnameResolver, IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper

from tunmesh import status
from tunmesh.addresses import Network, Target, plain_host, shown_target
from tunmesh.auth import signing
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import NodeKey
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.forwarder import Forwarder, Tap
from tunmesh.dataplane.table import Table
from tunmesh.dataplane.tun import Tun
from tunmesh.dialing import dial_budget
from tunmesh.dialing.attempt import DialPolicy
from tunmesh.dialing.bootstrap import Bootstrap, GroupSettings
from tunmesh.dialing.connections import Connector, Proof
from tunmesh.dialing.dial_limit import DialLimit
from tunmesh.dialing.dialable import Dialable
from tunmesh.dialing.discovered import DiscoveredNodes
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.dialing.redial import Redialer
from tunmesh.errors import PeerError
from tunmesh.host import heap
from tunmesh.link import memory_budget
from tunmesh.link.link import Link, Timing
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.membership import agreement, commands, name_conflicts, precedence, roster
from tunmesh.membership.introductions import Introductions
from tunmesh.membership.lost_nodes import LostNodes
from tunmesh.membership.me import Me
from tunmesh.membership.roster import News
from tunmesh.membership.seniority import Seniority
from tunmesh.netlink.device_state import Unwatched, Watch
from tunmesh.node.peers import LinkedNode, Peers
from tunmesh.observe import health
from tunmesh.observe.debug_summary import Digest
from tunmesh.observe.explain import Explainer
from tunmesh.status import (
    DeviceStatus,
    DialStatus,
    Dropped,
    Health,
    KnownNode,
    Sample,
    Status,
    Traffic,
    key_labels,
)
from tunmesh.tls.credentials import Contexts, Credentials
from tunmesh.tls.listener import Reception, listening_factory
from tunmesh.tls.transport import TunedTransport, https_factory
from tunmesh.tls.underlay import Outside
from tunmesh.wire import messages
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

REVOCATION = 60.0  # seconds beyond its session that a link with a key that is valid no more has
GATHER = 0.2  # seconds that news is gathered before it is told
# Seconds, for each link, from one telling to the next: telling everybody costs about 0.1 ms each at
# either end, and is not to be what a node does when a large mesh starts as a whole.
GATHER_PER_LINK = 0.02
TRIM = 4 << 20  # bytes that peers have given back, after which free memory goes back to the kernel
GATHER_VOUCHES_PER_LINK = 0.1  # when all the news is that nodes are linked which others vouch for
MAX_REDIALS = 4  # attempts at a time to link with nodes that are remembered
PATIENCE = 1.0  # the node with the larger id lets the other one dial first, for so many seconds
PATIENCE_PER_NODE = 0.02  # and the longer the more nodes there are that the other one may dial
MAX_PATIENCE = 10.0  # but a member that makes nodes up is not to keep it waiting for minutes
HEARSAY = "hearsay"  # what causes lines about nodes that were dialed because somebody said so
LEAVE_TIMEOUT = 1.5  # for the byes to reach the peers

HANDSHAKE_FAILURES = (
    "bad_proof",
    "certificate",
    "closed",
    "crowded",
    "framing",
    "malformed",
    "oversized",
    "through_mesh",
    "timeout",
    "tls",
    "unexpected",
    "unknown_key",
    "version",
)


@dataclass(frozen=True, slots=True)
class Reloadable:
    """What a node may be told anew while it runs. The first key is offered, all are accepted."""

    keys: tuple[Key, ...]
    credentials: Credentials
    groups: tuple[GroupSettings, ...] = ()
    expected_nodes: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node is told, in plain values. Durations are seconds."""

    record: NodeRecord  # with the id that is made of the node's key
    node_key: NodeKey
    networks: tuple[Network, ...]
    reloadable: Reloadable
    enable_broadcast: bool = False
    bootstrap_retry_interval: float = 15.0
    startup_grace: float = 0.0
    session_max_age: float = 3600.0
    groom_interval: float = 5.0
    metric_ttl: float = 3600.0
    memory_budget: int = memory_budget.DEFAULT  # bytes
    max_nodes_per_source: int = 512
    dial_allow: tuple[Network, ...] | None = None
    local: Timing = field(default_factory=Timing)  # for links within the local subnet
    mesh: Timing = field(default_factory=Timing)  # for all others


class Place(Protocol):
    """Where a node listens; host.tcp_ports.Bound is one."""

    @property
    def address(self) -> object | None: ...
    @property
    def port(self) -> int: ...
    @property
    def where(self) -> str: ...
    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort: ...


class Node:
    """One member of the mesh.

    `reactor` gives time, names, connections and the listening port; `tun` the packets;
    `make_site(node)` makes what answers HTTPS on the port; `random_bytes(n)` and
    `draw()` (0 to 1) are the only sources of chance; `failed(why)` is told when the node is of no
    more use, its tun being gone; `before_bootstrap()` may call `reload` before URLs are dialed;
    `transport` runs TLS on each connection.
    `worked()` and `waited()` give the seconds so far that this thread had a processor, and was in
    want of one, by which strangers are kept short; `is_debugging()` whether somebody reads events
    of level debug; `watch` sees what others do to the device; `own_names` looks up the names of
    bootstrap URLs, so that those that other nodes named keep nobody waiting.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        tun: Tun,
        make_site: Callable[[Node], IProtocolFactory],
        random_bytes: Callable[[int], bytes],
        draw: Callable[[], float],
        failed: Callable[[str], None],
        log: Logger,
        before_bootstrap: Callable[[], None] = lambda: None,
        transport: type[ProtocolWrapper] = TunedTransport,
        worked: Callable[[], float] = lambda: 0.0,
        waited: Callable[[], float] = lambda: 0.0,
        is_debugging: Callable[[], bool] = lambda: False,
        watch: Watch | None = None,
        own_names: IHostnameResolver | None = None,
    ) -> None:
        self._me = Me(settings.record)
        self._signed = signing.sign(settings.record, settings.node_key)
        self._own = frozenset(str(address.ip) for address in settings.record.addresses)
        self._settings = settings
        self._before_bootstrap = before_bootstrap
        self._reactor = reactor
        self._tun = tun
        self._watch: Watch = watch if watch is not None else Unwatched()
        self._draw = draw
        self._failed = failed
        self._journal = Journal(log, reactor.seconds, is_debugging)
        self._digest = Digest(self._journal)
        self._roster: roster.Roster[Link] = roster.Roster(self._me, settings.networks)
        self._seniority = Seniority()
        self._agreed: agreement.Agreement | None = None  # None: to be judged anew
        self._expected_nodes = settings.reloadable.expected_nodes
        self._table: Table[LinkedNode] = Table(
            settings.record.addresses,
            settings.networks,
            settings.enable_broadcast,
            reactor.seconds,
        )
        self._forwarder = Forwarder(tun, self._table, reactor.seconds)
        self._peers = Peers(
            self._table, settings.metric_ttl, reactor.seconds, settings.max_nodes_per_source
        )
        self._memory = memory_budget.MemoryBudget(settings.memory_budget)
        self._contexts = Contexts(settings.reloadable.credentials)
        self._connector = Connector(
            reactor,
            self,
            Proof(
                settings.reloadable.keys,
                settings.node_key,
                self._introduction,
                random_bytes,
                self._contexts,
                transport,
            ),
            draw,
            self,
            Outside(settings.networks),
            self._memory,
        )
        self._own_names = own_names
        dialable = Dialable(
            Outside(settings.networks), settings.dial_allow, self.record.host_port[0]
        )
        self._learned = DiscoveredNodes(
            reactor, self._connector, dialable, draw, self._introducers, self._note_spent
        )
        redial_limit = DialLimit(MAX_REDIALS, draw, bugs.caught("a dial could not begin"))
        self._bootstrap = Bootstrap(
            settings.reloadable.groups, self.record.host_port, self._group_dialer, draw
        )
        self._redialer = Redialer(
            reactor,
            LostNodes(self.record.host_port, draw),
            lambda target: self._connector.dialer(
                (target,), DialPolicy(redial_limit, rule=dialable, rounds=0, is_quiet=True)
            ),
            lambda: self._bootstrap.is_content,
            self._dialed_targets,
        )
        self._reception = Reception(
            reactor,
            self._connector.accept,
            make_site(self).buildProtocol,
            self._stranger_failed,
            worked,
            waited,
        )
        self._transport = transport
        self._port: IListeningPort | None = None
        self._port_number = 0
        self._timers: dict[str, Any] = {}
        self._started = reactor.seconds()
        self._told = -math.inf  # when news was told last
        self._tun_lost = ""
        self._was_ready = False
        self._leaving: Deferred[None] | None = None
        self._last_closed: Deferred[None] | None = None
        self._failures = dict.fromkeys(HANDSHAKE_FAILURES, 0)
        self._introductions = Introductions(self._roster, self._journal)
        self._rtt = status.Histogram(status.RTT_BUCKETS)

    @property
    def record(self) -> NodeRecord:
        """What this node says of itself."""
        return self._me.record

    # --- life ---

    def listen(self, bound: Place) -> None:
        """Accept connections at this place from now on."""
        factory = listening_factory(self._contexts, self._reception, self._reactor, self._transport)
        self._reception.own_address = str(bound.address or "")
        self._port = self._reception.port = bound.listen(self._reactor, factory)
        self._port_number = bound.port
        self._journal.info(
            "listening on {where}",
            event="listening",
            where=bound.where,
            port=bound.port,
            address=str(bound.address or ""),
        )

    def over_tls(self, site: IProtocolFactory) -> IProtocolFactory:
        """A web site for a port of its own, with this node's certificate, also a renewed one."""
        return https_factory(self._contexts, site, self._reactor)

    def start(self) -> None:
        """Begin to carry packets and to look for peers."""
        self._tun.start(self._forwarder.sent, self._device_lost)
        self._watch.start(self._device_changed)
        self._groom()

    def reload(self, new: Reloadable) -> None:
        """Go by this from now on. Links stay up; those to come prove these keys over this TLS."""
        if self._leaving is not None:
            return
        if new.credentials != self._contexts.credentials:
            self._contexts.renew(new.credentials)
        self._connector.use_keys(new.keys)
        self._expected_nodes = new.expected_nodes
        self._bootstrap.change(new.groups)
        self._tend_groups()
        self._note_readiness()

    def stop(self) -> Deferred[None]:
        """Leave the mesh: say bye to everybody, then close everything. Fires when that is done."""
        if self._leaving is None:
            self._leaving = Deferred.fromCoroutine(self._leave())
        return self._leaving

    async def _leave(self) -> None:
        self._journal.info("leaving the mesh", event="leaving")
        self._watch.stop()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._bootstrap.abandon()
        self._redialer.abandon()
        self._learned.abandon()
        closed = maybeDeferred(self._port.stopListening) if self._port is not None else None
        for link in self._connector:
            link.close(messages.LEAVING)
        if len(self._connector):
            self._last_closed = Deferred()
            self._last_closed.addTimeout(LEAVE_TIMEOUT, self._reactor, lambda *_: None)
            await self._last_closed
        if closed is not None:
            await closed
        self._tun.stop()

    def _device_lost(self, why: str) -> None:
        self._tun_lost = why
        self._journal.error("{why}", event="tun_lost", why=why)
        self._note_readiness()
        self._failed(why)

    def _device_changed(self) -> None:
        """Somebody took something from the device, or gave it back."""
        why = "; ".join(self._watch.complaints)
        if why:
            self._journal.warn(
                ("device", why),
                "{device} is not as it was set up: {why}",
                event="device_changed",
                device=self._tun.name,
                why=why,
            )
        else:
            text = "{device} has its addresses and routes again"
            self._journal.info(text, event="device_whole", device=self._tun.name)
        self._note_readiness()

    def _later(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call once after a delay, or sooner if that is on its way; never when the node leaves."""
        timer = self._timers.get(name)
        if self._leaving is not None:
            return
        if timer is None or not timer.active():
            self._timers[name] = self._reactor.callLater(delay, call)
        elif timer.getTime() > self._reactor.seconds() + delay:
            timer.reset(delay)

    # --- what links tell (link.link.Owner) ---

    def link_up(self, link: Link) -> None:
        if self._leaving is not None:
            link.close(messages.LEAVING)
            return
        record = link.node
        dialer = self._connector.attempt(link)
        if record.id == self.record.id:
            self._led_back(dialer)
            self._redialer.answered(dialer)
            link.close(messages.SELF)
            self._note_readiness()
            return
        if not self._peers.has_room(link):
            self._note_crowd(link)
            link.close(messages.CROWDED)
            return
        is_local = self._table.is_local(record.addresses)
        link.adopt(self._settings.local if is_local else self._settings.mesh)
        self._note_standing()  # what it is to go by, however long ago it was looked at
        self._introductions.compare(record, link.source)
        is_reached = self._is_reached(link)
        self._run(self._roster.authenticated(link, record, link.dialed, link.shown, is_reached))
        if self._roster.is_linked(record.id):
            peer = self._peers.of(link)
            link.deliver_to(partial(self._forwarder.received, peer), self._forwarder.read_ended)
            self._bootstrap.found(dialer, record.id)
            self._redialer.answered(dialer)
            self._note_misled(dialer, record)
            self._learned.stop(record.id)
            self._tend_groups()
            self._connector.settled(link)

    def _is_reached(self, link: Link) -> bool:
        """Whether this new link came of dialing the URL of the node that it leads to."""
        dialer = self._connector.attempt(link)
        return dialer is not None and dialer.target == link.node.host_port

    def _led_back(self, dialer: PeerFactory | None) -> None:
        """What was dialed is this node."""
        self._bootstrap.led_back(dialer)
        if dialer is not None:
            dialer.set_reason("it leads to this node")
            self._note_misled(dialer, self.record)
        targets = self._bootstrap.leads_back
        if targets and not len(self._peers):
            self._journal.warn(
                "leads back",
                "leads only to this node: {urls}; bootstrap_node_urls must name other nodes, or be "
                "empty for the first node of a mesh",
                event="leads_back",
                urls=", ".join(map(_url, targets)),
            )

    def _note_misled(self, dialer: PeerFactory | None, record: NodeRecord) -> None:
        """A dialer for one node reached another one: both say that they are at that URL."""
        if dialer is None or self._learned.is_for(record.id, dialer):
            return
        wanted = self._learned.wanted(dialer)
        meant = self._roster.record_of(wanted) if wanted is not None else None
        if meant is None or precedence.are_incarnations(meant, record):
            return
        there = "this node" if record.id == self.record.id else record.name
        dialer.set_reason(f"it leads to {there}")
        self._journal.warn(
            ("url", meant.url),
            "{conflict}",
            by=HEARSAY,
            event="url_conflict",
            conflict=f"{meant.url}, which {meant.name} advertises, leads to {there}",
            url=meant.url,
            nodes=[meant.name, there],
        )

    def link_failed(self, link: Link, error: PeerError) -> None:
        dialer = self._connector.attempt(link)
        if dialer is not None:
            dialer.set_reason(str(error))
        self._closed(link)
        if error.reason not in messages.BYE_REASONS:  # those are ours, when leaving
            if dialer is None:
                self._stranger_failed(link.transport.getPeer().host, error)
            else:
                self._count_failure(target := shown_target(dialer.target), target, error)

    def link_lost(self, link: Link, error: PeerError) -> None:
        self._closed(link)
        self._run(self._roster.link_lost(link, str(error)))
        self._tend_groups()

    def _closed(self, link: Link) -> None:
        self._connector.closed(link)
        last = self._last_closed
        if last is not None and not last.called and not len(self._connector):
            last.callback(None)

    def wasteful(self, link: Link) -> None:
        self._journal.warn(
            ("wasteful", link.node.id),
            "{peer} sends very much that leads nowhere: it is read no faster than that is bearable",
            by=link.source,
            event="wasteful",
            peer=link.node.name,
        )

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self._forwarder.count_drops(reason, count)

    def gossip_received(self, link: Link, gossip: Gossip) -> None:
        self._digest.heard += 1
        self._run(self._roster.gossip_received(link, gossip))
        for source in self._peers.sources((link.node.id,)):
            self._learned.vouched(gossip.linked, source)
        if gossip.full and self._roster.is_current(link):
            peer = self._peers.get(link)
            if peer is not None:
                # A new beginning: what it still refuses it says right behind.
                peer.refuses, peer.holder = (), ""
                self._agreed = None

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        self._digest.was_asked += len(ids)
        self._run(self._roster.inquiry_received(link, ids))

    def introduction_received(self, link: Link, introduced: Sequence[SignedRecord]) -> None:
        self._run(
            self._roster.introduction_received(link, self._introductions.read(link, introduced))
        )

    def refusal_received(self, link: Link, refusal: Refusal) -> None:
        peer = self._peers.get(link)
        if peer is None or not self._roster.is_current(link):
            return  # said on a link that another one has replaced
        refuses = tuple(each for each in refusal.addresses if each in self._own)
        if refuses == peer.refuses:
            return  # whoever says it a thousand times a second is not listened to
        peer.refuses, peer.holder = refuses, refusal.holder if refuses else ""
        self._agreed = None
        if peer.refuses:
            self._journal.warn(
                ("refused", peer.refuses),
                "{peer} does not route {addresses} to this node: {why}",
                by=link.source,
                event="address_refused",
                peer=peer.record.name,
                addresses=", ".join(peer.refuses),
                why=_why_refused(refusal, peer.record, self.record, "there"),
            )
        self._note_readiness()

    def bye_received(self, link: Link, reason: str) -> None:
        if reason == messages.CROWDED:
            self._journal.warn(
                "crowded out",
                "{peer} takes no more nodes from the address that this one comes from: see "
                "clustering/max_nodes_per_source there",
                by=link.source,
                event="crowded_source",
                peer=link.node.name,
            )
        self._run(self._roster.bye_received(link, reason))

    def round_trip(self, link: Link, seconds: float) -> None:
        self._rtt.observe(seconds)
        self._peers.round_trip(link, seconds)

    # --- what the roster wants ---

    def _run(self, wanted: list[commands.Command[Link]]) -> None:
        if self._leaving is None:
            for command in wanted:
                self._do(command)
            if self._roster.news is not News.NONE:
                each = (
                    GATHER_PER_LINK if self._roster.news is News.URGENT else GATHER_VOUCHES_PER_LINK
                )
                pause = self._told + each * len(self._peers) - self._reactor.seconds()
                self._later("gossip", max(GATHER, pause), self._tell_news)

    def _tell_news(self) -> None:
        self._told = self._reactor.seconds()
        self._run(self._roster.gossip())

    def _do(self, command: commands.Command[Link]) -> None:
        match command:
            case commands.Join(link):
                self._join(link)
            case commands.Part(link, reason):
                self._part(link, reason)
            case commands.Switch(link):
                self._peers.switch(link)
            case commands.Route(address, link):
                self._peers.route(address, link)
            case commands.Unroute(address):
                self._peers.unroute(address)
            case commands.Tell(link, gossip):
                self._digest.told += 1
                link.tell(gossip)
            case commands.Ask(link, ids):
                self._digest.asked += len(ids)
                link.ask(ids)
            case commands.Introduce(link, ids):
                link.introduce(self._peers.link(node_id).signed for node_id in ids)
            case commands.Refuse(link, refusal):
                self._refuse(link, refusal)
            case commands.Retire(link):
                self._retire(link)
            case commands.Close(link, reason):
                self._close(link, reason)
            case commands.Probe(link):
                link.probe(partial(self._probed, link))
            case commands.Dial(record, patient):
                self._dial(record, patient)
            case commands.Forget(node_id):
                self._learned.forget(node_id)

    def _join(self, link: Link) -> None:
        record = link.node
        self._redialer.linked(record, link.source, self._is_reached(link))
        view = agreement.View.of(self.record, record)
        self._peers.join(link, view, self._roster.was_first(record.id))
        self._agreed = None
        if self._peers.is_getting_crowded(link):
            self._note_crowd(link)
        self._journal.over(("unreachable", record.host_port))
        self._journal.info(
            "linked with {peer} ({addresses}), {direction}: {url}",
            by=link.source,
            event="linked",
            peer=record.name,
            url=record.url,
            direction="dialed" if link.dialed else "accepted",
            addresses=", ".join(str(address.ip) for address in record.addresses),
        )
        self._note_conflicts(link)
        if view.differs:
            self._journal.warn(
                ("networks", record.networks),
                "network_cidr is {ours} here, {theirs} on {peer}",
                by=link.source,
                event="networks_differ",
                peer=record.name,
                ours=agreement.network_texts(self.record),
                theirs=agreement.network_texts(record),
            )
        self._note_readiness()

    def _note_crowd(self, link: Link) -> None:
        source, count = self._peers.crowd(link)
        self._journal.warn(
            ("crowded source", source, count),
            "{count} nodes are linked from {source}, and clustering/max_nodes_per_source is {most}",
            by=link.source,
            event="crowded_source",
            count=count,
            source=source,
            most=self._settings.max_nodes_per_source,
        )

    def _note_conflicts(self, link: Link) -> None:
        record = link.node
        peers = (peer.record for peer in self._peers)
        for conflict in name_conflicts.conflicts_of(record, self.record, peers):
            kind, text, nodes = (conflict.kind, conflict.value), str(conflict), list(conflict.nodes)
            if conflict.kind == "name":
                self._journal.warn(
                    kind,
                    "{conflict}",
                    by=link.source,
                    event="name_conflict",
                    conflict=text,
                    name=conflict.value,
                    nodes=nodes,
                )
            else:
                self._journal.warn(
                    kind,
                    "{conflict}",
                    by=link.source,
                    event="url_conflict",
                    conflict=text,
                    url=conflict.value,
                    nodes=nodes,
                )

    def _part(self, link: Link, reason: str) -> None:
        self._peers.part(link)
        self._agreed = None
        self._redialer.parted(link.node, reason)
        if reason == messages.LEAVING:
            text = "{peer} left the mesh"
        elif any(peer.record.name == link.node.name for peer in self._peers):
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
        self._note_readiness()

    def _refuse(self, link: Link, refusal: Refusal) -> None:
        link.refuse(refusal)
        if refusal.addresses:
            self._journal.warn(
                ("refuse", link.node.name, refusal),
                "{addresses} is not routed to {peer}: {why}",
                by=link.source,
                event="address_conflict",
                peer=link.node.name,
                addresses=", ".join(refusal.addresses),
                why=_why_refused(refusal, self.record, link.node, "here"),
            )

    def _retire(self, link: Link) -> None:
        self._journal.debug(
            "of two links with {peer} the one {direction} {age} s ago is retired",
            event="retired",
            peer=link.node.name,
            direction="dialed" if link.dialed else "accepted",
            age=round(self._reactor.seconds() - link.since, 1),
        )
        link.retire()

    def _close(self, link: Link, reason: str) -> None:
        self._journal.debug(
            "a link with {peer} is closed: {reason}",
            event="closed",
            peer=link.node.name,
            reason=reason,
        )
        link.close(reason)

    def _probed(self, link: Link, alive: bool) -> None:
        self._journal.debug(
            "asked whether it is there, {peer} "
            + ("answered" if alive else "gave no answer within {patience:g} s"),
            event="probed",
            peer=link.node.name,
            answered=alive,
            patience=link.timing.probe_timeout,
        )
        self._run(self._roster.probed(link, alive))

    def _dial(self, record: NodeRecord, patient: bool) -> None:
        patience = min(PATIENCE + PATIENCE_PER_NODE * self._roster.nodes_known, MAX_PATIENCE)
        self._learned.dial(record, patience * (1 + self._draw()) if patient else 0.0)

    def _introducers(self, node_id: str) -> set[str]:
        """Where those come from who vouch for a node, and where it does itself if it is linked."""
        return self._peers.sources((node_id, *self._roster.hearsay.vouchers(node_id)))

    def _note_spent(self, source: str) -> None:
        self._journal.warn(
            ("dials spent", source),
            "nodes that are heard of from {source} are dialed more slowly from now on: {count} "
            "dials led to no member",
            by=source,
            event="dials_spent",
            source=source,
            count=dial_budget.BURST,
        )

    # --- looking after things ---

    def _groom(self) -> None:
        """Every groom_interval: renew links that are old, see to the groups."""
        self._later("groom", self._settings.groom_interval, self._groom)
        # Each by itself: an error in one of them is not to keep the node from the others for ever.
        for peer in self._peers:
            with bugs.logged(f"the link with {peer.record.name} is not looked after"):
                self._renew(peer.link)
        with bugs.logged("peers are not looked after"):
            self._peers.groom()
        with bugs.logged("no digest"):
            dropped_by_peer = {peer.record.name: peer.carrier.dropped for peer in self._peers}
            self._digest.tell(self._forwarder.dropped, dropped_by_peer, self._roster.nodes_known)
        with bugs.logged("nobody is asked again who others are"):
            self._run(self._roster.hearsay.answers_overdue())
        if self._memory.has_fallen(TRIM) or not self._memory.is_ample:
            heap.trim()
        with bugs.logged("bootstrap groups are not looked after"):
            self._tend_groups()
        with bugs.logged("readiness is not looked after"):
            self._note_readiness()

    def _renew(self, link: Link) -> None:
        """End the session of a link that is old enough: with a new link, by the side that dialed
        the old one. Where that fails because the old one came up with a secret that was replaced
        since, the peer is not to stay just because he was here."""
        overdue = self._reactor.seconds() - link.since - self._settings.session_max_age
        if overdue > REVOCATION and link.key not in self._connector.keys:
            link.close(messages.REVOKED)
        elif overdue > 0 and link.dialed:
            self._dial(link.node, patient=False)

    def _tend_groups(self) -> None:
        if self._leaving is None:
            self._bootstrap.update(self._roster.linked())
            self._redialer.dial_due()

    def _dialed_targets(self) -> set[Target]:
        """Where nodes are looked for that somebody vouches for, or groups that have no link."""
        dialers = [dialer for _, dialer in self._learned]
        dialers += [dialer for _, dialer in self._bootstrap.dialing()]
        return {target for dialer in dialers for target in dialer.targets}

    def _group_dialer(self, group: GroupSettings) -> PeerFactory:
        longest = self._settings.bootstrap_retry_interval
        return self._connector.dialer(
            group.targets,
            DialPolicy(
                rounds=group.retries,
                max_delay=longest,
                begin_round=self._before_bootstrap,
                resolver=self._own_names,
            ),
        )

    # --- what goes into the log rarely ---

    def unreachable(self, target: Target, why: str) -> None:
        if target == self.record.host_port:
            return  # behind NAT a node need not reach itself by the address that others use
        host, port = target
        text = "cannot reach {host}:{port}: {why}"
        self._journal.warn(
            ("unreachable", target),
            text,
            by=HEARSAY,
            event="unreachable",
            host=host,
            port=port,
            why=why,
        )

    def dialing(self, dialer: PeerFactory, address: str) -> None:
        host, port = dialer.target
        at = "" if address == host else " at {address}"
        again = ", attempt {attempt}" if dialer.retries else ""
        self._journal.debug(
            f"dialing {{host}}:{{port}}{at}{again}",
            event="dialing",
            host=host,
            port=port,
            address=address,
            attempt=dialer.retries + 1,
        )

    def _stranger_failed(self, host: str, error: PeerError) -> None:
        # One kind for all of them, or whoever has many addresses could have as many lines.
        self._count_failure("a stranger", f"a stranger at {plain_host(host)}", error)

    def _count_failure(self, kind: str, who: str, error: PeerError) -> None:
        self._failures[error.reason] += 1
        self._journal.warn(
            ("handshake", kind, error.reason),
            "no link with {who}: {why}",
            by=HEARSAY,
            event="handshake_failed",
            who=who,
            reason=error.reason,
            why=str(error),
        )

    # --- status ---

    def health(self) -> Health:
        """Whether this node is live and ready, and why. It is asked for by strangers and every few
        seconds, so it must cost little, however many peers there are."""
        leaving = self._leaving is not None
        live = health.liveness(self._tun_lost, self._port is not None, leaving)
        grace = self._started + self._settings.startup_grace - self._reactor.seconds()
        checks = self._agreement().checks(self._seniority.is_settled)
        ready = health.readiness(
            live,
            len(self._peers),
            grace,
            self._bootstrap.is_empty,
            leaving,
            checks,
            self._watch.complaints,
            [_url(target) for target in self._bootstrap.leads_back],
            self._expected_nodes,
        )
        return Health(live, ready)

    def _agreement(self) -> agreement.Agreement:
        if self._agreed is None:
            self._agreed = agreement.judge(self.record, tuple(self._peers))
        return self._agreed

    def sample(self) -> Sample:
        """The counters whose recent past is shown."""
        return Sample(
            now=self._reactor.seconds(),
            peers=self._peers.samples(),
            dropped=dict(self._forwarder.dropped),
            handshake_failures=dict(self._failures),
        )

    def _note_readiness(self) -> None:
        """Log it when it changes."""
        self._note_standing()
        now = self.health()
        ready = now.is_ready
        if ready and not self._was_ready:
            self._journal.info("ready", event="ready")
        elif self._was_ready and not ready and self._leaving is None:
            why = "; ".join(check.reason for check in now.ready if not check.ok)
            self._journal.warn(("not ready", why), "not ready: {why}", event="not_ready", why=why)
        self._was_ready = ready

    def _introduction(self) -> bytes:
        """What this node says of itself in a handshake."""
        return encode_shown(self._signed, self.record.settled)

    def _note_standing(self) -> None:
        """What this node says of itself, and what it believes of others, changes with time."""
        is_in_mesh = len(self._peers) > 0 or self._bootstrap.is_empty
        now = self._reactor.seconds()
        self._roster.time_passed(now)
        if self._seniority.update(now, is_in_mesh, self._agreement()):
            self._me.stands(self._seniority.is_new, self._seniority.is_settled)
            if self._seniority.is_settled:
                self._journal.debug("settled: newcomers go by what this node has", event="settled")
        wait = self._seniority.wait(now)
        if wait is not None:
            self._later("seniority", wait, self._note_readiness)

    def status(self) -> Status:
        """Everything there is to know about this node now."""
        now = self.health()
        return Status(
            record=self.record,
            now=self._reactor.seconds(),
            started=self._started,
            live=now.live,
            ready=now.ready,
            warnings=tuple(self._warnings()),
            expected_nodes=self._expected_nodes,
            peers=self._peers.statuses(self._connector.keys),
            dials=tuple(self._dials()),
            renewals=tuple(self._renewals()),
            nodes=self._peers.by_name(),
            links=self._connector.states(),
            nodes_known=self._roster.nodes_known,
            device=DeviceStatus(
                self._tun.name,
                tuple(map(str, self._settings.networks)),
                tuple(self._watch.complaints),
            ),
            tun=Traffic(
                self._tun.rx_packets, self._tun.rx_bytes, self._tun.tx_packets, self._tun.tx_bytes
            ),
            link=self._peers.traffic(),
            dropped=dict(self._forwarder.dropped),
            handshake_failures=dict(self._failures),
            rtt=self._rtt,
            false_introductions=self._introductions.false,
            key_ids=key_labels(len(self._connector.keys)),
            buffered_bytes=self._memory.held,
            memory_budget=self._memory.limit,
            certificate_expiry=self._contexts.credentials.expiry,
            port=self._port_number,
            delayed_calls=len(self._reactor.getDelayedCalls()),
            lost=tuple(self._redialer.statuses()),
        )

    def _warnings(self) -> Iterator[str]:
        yield from self._agreement().warnings(self._seniority.is_settled)
        peers = (peer.record for peer in self._peers)
        yield from map(str, name_conflicts.conflicts(self.record, peers))
        too_few = health.missing(len(self._peers), self._expected_nodes)
        if too_few:
            yield too_few

    def _renewals(self) -> Iterator[DialStatus]:
        """Sessions that are to be renewed, and that has failed so far."""
        for node_id, dialer in self._learned:
            if dialer.retries and self._roster.is_linked(node_id):
                yield _dial_status(self._peers.link(node_id).node.name, False, dialer)

    def _dials(self) -> Iterator[DialStatus]:
        for node_id, dialer in self._learned:
            if not self._roster.is_linked(node_id):
                record = self._roster.record_of(node_id)
                yield _dial_status(record.name if record else node_id, False, dialer)
        for name, dialer in self._bootstrap.dialing():
            yield _dial_status(name, True, dialer)

    # --- for those who look closer ---

    @property
    def taps(self) -> set[Tap]:
        """Who looks at the packets that are carried."""
        return self._forwarder.taps

    @property
    def drops(self) -> Sequence[Dropped]:
        """The packets that were dropped last, the latest at the end."""
        return self._forwarder.recent

    def known_nodes(self, crowd: float = math.inf) -> tuple[KnownNode, ...]:
        """Every other node that this one knows of; with more than `crowd`, links between others are
        left out."""
        return self._roster.known_nodes(crowd)

    def explainer(self) -> Explainer:
        """What tells the way of a packet as things are now."""
        settings = self._settings
        return Explainer(
            self.status(),
            self.known_nodes(crowd=0),
            self._table,
            settings.networks,
            self._watch.way,
        )

    def ping(self, node_id: str) -> Deferred[float | None]:
        """The round trip on the link with this node, in seconds; None when there is no answer
        within `probe_timeout`. Raises KeyError when it is not linked."""
        link = self._peers.link(node_id)
        answer: Deferred[float | None] = Deferred()
        link.probe(lambda alive: answer.callback(link.keepalive.rtt if alive else None))
        return answer


def _dial_status(name: str, is_group: bool, dialer: PeerFactory) -> DialStatus:
    target = shown_target(dialer.target)
    return DialStatus(name, is_group, target, dialer.retries, dialer.why, dialer.retry_in)


def _url(target: Target) -> str:
    return f"https://{shown_target(target)}"


def _why_refused(refusal: Refusal, refuser: NodeRecord, refused: NodeRecord, where: str) -> str:
    if refusal.holder == refused.name:
        return f"another {refused.name}, started later, holds it, and both are alive"
    if refusal.holder:
        return f"{refusal.holder} holds it"
    networks = agreement.network_texts(refuser)
    return f"it is outside the network {where}{': ' * bool(networks)}{networks}"
