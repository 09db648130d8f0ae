"""By which carrier the packets of each peer go: its link (TLS over TCP), or UDP beside it.

    link up ── offer ──> the peer        offer ──> UdpCarrier ── its path ──> Choice
                                                                                │
    LinkedNode.carrier <── the link, or the UdpCarrier <────────────────────────┘

Each end offers UDP on each link. What both ends have offered is tried at once; whether packets go
by it is decided whenever the path comes or goes, and every LOOK seconds besides (udp.choice). Each
end decides for what it sends, and takes what comes by both.

When a peer parts, nothing of it is left over UDP.
"""

from __future__ import annotations

from tunmesh.addresses import (
    Target,
    literal_address,
    plain_host,
    scoped_host,
    shown_target,
)
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.forwarder import Forwarder
from tunmesh.dialing.dialable import Dialable
from tunmesh.link.interfaces import State
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.membership.me import Me
from tunmesh.node.peers import LinkedNode
from tunmesh.node.settings import Host, Settings
from tunmesh.node.stories.links import LinkStory
from tunmesh.status.peers import UdpCounts, UdpStatus
from tunmesh.timers import Timer
from tunmesh.tls.underlay import Rule
from tunmesh.udp.carrier import UdpCarrier
from tunmesh.udp.choice import Choice, Facts
from tunmesh.udp.path import Path
from tunmesh.udp.places import PlacesInUse
from tunmesh.udp.port import Port
from tunmesh.udp.scratch import Scratch

LOOK = 1.0  # seconds between two looks at whether the choices are still right
IDLE = 8  # looks from one to the next at a peer with which nothing was exchanged meanwhile
PATIENCE = 5.0  # seconds that a link is up before it is said that `transport: udp` is not met
_KEY = 16  # bytes of the key that pings are made with
_CHOSEN = ("packets to {peer} go over TCP: {reason}", "packets to {peer} go over UDP: {reason}")


class _PeerTransport:
    """The carriers of one peer, and the choice between them (udp.carrier.Owner)."""

    def __init__(self, transports: Transports, peer: LinkedNode, port: Port) -> None:
        self.peer = peer
        self.choice = Choice(transports.transport)
        self.carrier = transports.make_carrier(self, port)
        self.exchanged = 0  # packets, at the last look
        self.has_changed = False  # the choice, since the peer is linked
        self._transports = transports
        self._forwarder = transports.forwarder

    def received(self, frames: list[memoryview]) -> int:
        return self._forwarder.received(self.peer, frames)

    def read_ended(self) -> None:
        self._forwarder.read_ended()

    def packets_dropped(self, reason: DropReason, count: int) -> None:
        self._forwarder.count_drops(reason, count)

    def send_instead(self, frames: list[bytes]) -> None:
        self.peer.link.send(frames)

    def path_changed(self) -> None:
        self.decide()

    def wasteful(self) -> None:
        self._transports.wasteful(self.peer.link)

    def decide(self) -> None:
        """Send by the carrier that is better now."""
        peer, path = self.peer, self.carrier.path
        tcp = peer.link.authentication.measures()
        pinged = peer.link.round_trip
        round_trips = [each for each in (tcp.round_trip, pinged) if each is not None]
        before = self.choice.is_udp
        facts = Facts(
            udp_why_not=path.why_not,
            udp_round_trip=path.shortest_round_trip,
            udp_loss=path.loss.share,
            tcp_round_trip=min(round_trips, default=None),
            tcp_segments=tcp.segments,
            tcp_retransmitted=tcp.retransmitted,
        )
        if self.choice.decide(self._transports.now, facts) is not before:
            peer.carry_by(self.carrier if not before else peer.link)
            self.carrier.used(not before)
            self._transports.chosen(self)

    def end(self) -> None:
        """The peer has parted."""
        self.peer.carry_by(self.peer.link)
        self.carrier.close("")

    def status(self) -> UdpStatus:
        path = self.carrier.path
        return UdpStatus(
            why=path.why_not or self.choice.reason,
            address=shown_target(path.address) if path.address else "",
            size=path.size if path.address else 0,
            rtt=path.round_trip,
            loss=path.loss.share,
            counts=self.carrier.counts(),
            is_offered=path.is_offered,
        )


class Transports:
    """Of all peers of a node."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        journal: Journal,
        me: Me,
        forwarder: Forwarder[LinkedNode],
    ) -> None:
        self.transport = settings.transport
        self.forwarder = forwarder
        self._port = host.datagrams if self.transport != "tcp" else None
        self._host = host
        self._journal = journal
        self._story = LinkStory(journal, me)
        self._outside = settings.outside
        self._rule = Dialable(self._outside, settings.dial_allow, lambda: me.record.host_port[0])
        self._scratch = Scratch()
        self._places = PlacesInUse()
        self._by_id: dict[str, _PeerTransport] = {}  # by the id of the peer
        self._past = UdpCounts()  # with peers that have parted
        self._timer = Timer(host.reactor)
        self._looks = 0

    @property
    def now(self) -> float:
        return float(self._host.reactor.seconds())

    def start(self) -> None:
        """Take datagrams from now on."""
        if self._port is not None:
            self._port.start()
            self._timer.start(LOOK, self._look)

    def stop(self) -> None:
        """The node leaves the mesh: nothing goes over UDP any more."""
        self._timer.stop()
        for transport in self._by_id.values():
            transport.end()
        self._by_id.clear()
        if self._port is not None:
            self._port.stop()
            self._port = None

    # --- what becomes of links and peers ---

    def link_up(self, peer: LinkedNode, link: Link) -> None:
        """A peer has this link, perhaps beside another one: offer UDP on it."""
        if self._port is None or link.state is not State.UP:
            return
        transport = self._by_id.get(peer.record.id)
        if transport is None:
            transport = self._by_id[peer.record.id] = _PeerTransport(self, peer, self._port)
            peer.udp = transport.carrier
        if link.via or not link.node.udp:
            return  # who has no way for a connection has none for datagrams, or knows no offers
        index = transport.carrier.open(link, link.authentication.exporter(), link.dialed)
        places = _places(link, self._rule)
        link.conversation.when_offered(lambda at: transport.carrier.offered(link, at, places))
        link.conversation.offer(index)

    def link_lost(self, link: Link) -> None:
        """A link that was up is gone. Its peer may have another one."""
        transport = self._by_id.get(link.node.id)
        if transport is not None:
            transport.carrier.gone(link)

    def parted(self, link: Link) -> None:
        """The peer with this link is no longer linked."""
        transport = self._by_id.pop(link.node.id, None)
        if transport is not None:
            transport.end()
            self._past = self._past.plus(transport.carrier.counts())

    # --- the choice ---

    def make_carrier(self, transport: _PeerTransport, port: Port) -> UdpCarrier:
        """What carries the packets of this peer over UDP."""
        host = self._host
        path = Path(host.random_bytes(_KEY), self._outside, port.largest, self.now)
        account = transport.peer.account.another()
        return UdpCarrier(transport, port, path, host.reactor, account, self._scratch, self._places)

    def chosen(self, transport: _PeerTransport) -> None:
        """The packets of this peer go another way from now on. That they go over UDP when it has
        just been linked is as it should be: a mesh that starts would log as many lines again."""
        name, reason = transport.peer.record.name, transport.choice.reason
        if transport.has_changed:
            self._journal.info(
                _CHOSEN[transport.choice.is_udp],
                by=transport.peer.source,
                event="transport",
                peer=name,
                transport="udp" if transport.choice.is_udp else "tcp",
                reason=reason,
            )
        else:
            text = _CHOSEN[True]
            self._journal.debug(text, event="transport", peer=name, transport="udp", reason=reason)
        transport.has_changed = True

    def wasteful(self, link: Link) -> None:
        """The peer with this link sends too much that is useless over UDP."""
        self._story.wasteful(link)

    def _look(self) -> None:
        self._timer.start(LOOK, self._look)
        self._looks += 1
        for number, transport in enumerate(self._by_id.values()):
            traffic = transport.peer.traffic
            exchanged = traffic.rx_packets + traffic.tx_packets
            is_turn = (number + self._looks) % IDLE == 0
            if exchanged != transport.exchanged or transport.choice.is_waiting or is_turn:
                transport.exchanged = exchanged
                with bugs.logged(
                    f"the transport of {transport.peer.record.name} is not chosen anew"
                ):
                    self._look_at(transport)

    def _look_at(self, transport: _PeerTransport) -> None:
        link = transport.peer.link
        transport.carrier.expire_after(link.timing.packet_expiration)
        transport.decide()
        is_new = self.now - link.since < PATIENCE
        if self.transport == "udp" and not transport.choice.is_udp and not is_new:
            self._journal.warn(
                ("no udp", transport.peer.record.id),
                "networking.transport is udp, but packets to {peer} go over TCP: {reason}",
                by=transport.peer.source,
                event="no_udp",
                peer=transport.peer.record.name,
                reason=transport.choice.reason,
            )

    # --- for the status ---

    def status_of(self, node_id: str) -> UdpStatus | None:
        """What there is over UDP with this peer; None if this node uses no UDP."""
        transport = self._by_id.get(node_id)
        return transport.status() if transport is not None else None

    def received_from(self, node_id: str) -> int:
        """Authentic datagrams of this peer."""
        transport = self._by_id.get(node_id)
        return transport.carrier.counts().received if transport is not None else 0

    @property
    def counts(self) -> UdpCounts:
        """Datagrams with all peers, those included that have parted."""
        counts = self._past
        for transport in self._by_id.values():
            counts = counts.plus(transport.carrier.counts())
        return counts

    @property
    def strangers(self) -> int:
        """Datagrams that came to the port, and were for no link."""
        return self._port.strangers if self._port is not None else 0


def _places(link: Link, rule: Rule) -> list[Target]:
    """Where the other end may take datagrams: where its connection leads, and its URL if that has
    an address. What was dialed is a port for both; what was accepted came from any port. What only
    the other end says has to be dialable: what listens there may be meant for this machine."""
    host, port = link.node.host_port
    there = link.transport.getPeer()
    source = scoped_host(plain_host(there.host), getattr(there, "scopeID", 0))
    said = [(host, port)] if literal_address(host) is not None else []
    if not link.dialed:
        said.insert(0, (source, port))
    dialable = [place for place in said if not rule.why_not(place[0])]
    return [(source, there.port), *dialable] if link.dialed else dialable
