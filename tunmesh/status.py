"""The status of a node: frozen values, made on demand by `Node.status`.

Health, metrics, the command line and the page read these, and nothing else of the node. Times are
seconds of the node's monotonic clock unless stated otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tunmesh.wire.records import NodeRecord

# Upper bounds, in seconds, of the buckets that round trips are counted in.
RTT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


LEADS_BACK = "it leads to this node"  # why dialing a bootstrap URL did not help
REVOKED = "revoked"  # the key id of every secret that is not valid any more


def key_labels(count: int) -> tuple[str, ...]:
    """The key ids of this many secrets, for status and metrics: their places in this node's config.
    "1" is the one that is offered. Nothing that is derived from a secret is shown: guesses could be
    tested against it."""
    return tuple(str(place + 1) for place in range(count))


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of health, and why it is met or not, in words."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """The conditions of being live and of being ready. It costs far less than a Status, so probes
    and supervisors ask for it."""

    live: tuple[Check, ...]
    ready: tuple[Check, ...]

    @property
    def is_live(self) -> bool:
        return all(check.ok for check in self.live)

    @property
    def is_ready(self) -> bool:
        return all(check.ok for check in self.ready)


@dataclass(frozen=True, slots=True)
class UrlReports:
    """What peers that tried the URL of this node found, each source (tunmesh.addresses) counted
    once. `note`: what is to be said about it, if none of them reached this node."""

    tried: int = 0
    reached: int = 0
    note: str = ""


@dataclass(slots=True)
class Traffic:
    """Packets and bytes, seen from this node: rx came from the mesh, tx went into it. Bytes are
    those of IP packets."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def copy(self) -> Traffic:
        return Traffic(self.rx_packets, self.rx_bytes, self.tx_packets, self.tx_bytes)

    def add(self, other: Traffic) -> None:
        self.rx_packets += other.rx_packets
        self.rx_bytes += other.rx_bytes
        self.tx_packets += other.tx_packets
        self.tx_bytes += other.tx_bytes


class Histogram:
    """How many observations there were in each bucket."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def copy(self) -> Histogram:
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = list(self.counts), self.sum
        return copied

    def observe(self, value: float) -> None:
        self.sum += value
        for index, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound as Prometheus writes it, observations up to it); the last bound is +Inf."""
        total, rows = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The tun."""

    name: str
    networks: tuple[str, ...]  # that are routed to it
    complaints: tuple[str, ...] = ()  # what others took from it, or what takes its packets


@dataclass(frozen=True, slots=True)
class NamesStatus:
    """The names of the mesh, which this node answers."""

    domain: str
    addresses: tuple[str, ...]  # that queries are sent to
    servers: tuple[str, ...]  # that other names are forwarded to
    queries: Mapping[str, int]  # by outcome (names.responder)
    in_flight: int  # that wait for a name server


@dataclass(frozen=True, slots=True)
class AutomaticAddress:
    """An address that the node chooses itself, and how far it has come with it."""

    version: int  # of IP
    state: str  # joining, claiming, held or full: membership.acquisition
    address: str  # with its prefix; "" while it has chosen none
    number: int  # of that candidate, from 0
    since: float  # when it came into that state
    network: str
    hosts: int  # how many addresses for nodes the network has
    taken: int  # how many of these others had when it last looked
    is_on_device: bool  # the tun has it
    # Choices before it that were not free: the address, and the name of the node that had it ("" if
    # that is not known). The last few of them.
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def is_usable(self) -> bool:
        return self.state == "held" and self.is_on_device


@dataclass(frozen=True, slots=True)
class UdpCounts:
    """Datagrams."""

    sent: int = 0
    received: int = 0
    lost: int = 0  # of those sent
    replayed: int = 0  # that came twice, or so late that they may have
    undecryptable: int = 0  # that came, and that the peer has not made

    def plus(self, other: UdpCounts) -> UdpCounts:
        """Both together."""
        return UdpCounts(
            self.sent + other.sent,
            self.received + other.received,
            self.lost + other.lost,
            self.replayed + other.replayed,
            self.undecryptable + other.undecryptable,
        )


@dataclass(frozen=True, slots=True)
class UdpStatus:
    """UDP beside the link with one node."""

    why: str  # packets go over UDP, or do not: udp.choice
    address: str = ""  # host:port that answers; empty: there is no path
    size: int = 0  # bytes of UDP payload that datagrams have at most
    rtt: float | None = None  # seconds
    loss: float | None = None  # of what this node sends: 0 to 1; None: too little was sent
    counts: UdpCounts = UdpCounts()  # since the node is linked
    is_offered: bool = True  # the other end takes UDP


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One linked node."""

    record: NodeRecord
    dialed: bool
    since: float
    rtt: float | None  # seconds
    queued_bytes: int
    key_id: str  # of the secret it came up with: one of `key_labels`, or REVOKED
    traffic: Traffic
    refuses: tuple[str, ...]  # addresses of ours that it does not route to us
    routed: tuple[str, ...]  # its addresses that this node routes to it
    pings: int  # keepalives sent on this link
    pongs: int  # and answered in time
    dropped: int  # packets to it that this link dropped
    url_tried: str = ""  # what it found when it tried this node's URL: a word; "" if it has not
    transport: str = "tcp"  # of packets to it: tcp or udp
    udp: UdpStatus | None = None  # None: this node uses no UDP

    @property
    def why(self) -> str:
        """Why this carries packets to it."""
        return "this node uses no UDP" if self.udp is None else self.udp.why


@dataclass(frozen=True, slots=True)
class PeerSample:
    """The counters of a linked node that are sampled every few seconds."""

    id: str
    since: float
    rtt: float | None  # seconds
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a node that are sampled every few seconds, for rates."""

    now: float
    peers: tuple[PeerSample, ...]
    dropped: Mapping[str, int]  # by reason
    handshake_failures: Mapping[str, int]  # by reason


@dataclass(frozen=True, slots=True)
class DialStatus:
    """A node, or a bootstrap group, that this node tries to reach."""

    name: str  # of the node or of the group
    is_group: bool
    target: str  # host:port that is being tried, or will be next
    failures: int  # in a row
    why: str  # of the last one
    retry_in: float | None  # seconds; None: an attempt is under way, or waits for a slot


@dataclass(frozen=True, slots=True)
class LostNode:
    """A node that was linked and that this node tries to reach again (membership.lost_nodes)."""

    name: str
    target: str  # host:port where it was to be dialed
    ago: float  # seconds since it was linked
    left: bool  # it said goodbye
    attempts: int  # to reach it there that have failed
    why: str  # of the last one
    retry_in: float  # seconds


@dataclass(frozen=True, slots=True)
class KnownNode:
    """Another node that this one knows of: linked, or vouched for by one that is."""

    id: str
    record: NodeRecord | None  # None: its record has not arrived yet
    linked_with: tuple[str, ...]  # ids of the nodes that are linked with it, or say so
    is_whole: bool = True  # False: only this node is listed there, because there are too many links


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet that was dropped. `sender`: the name of the peer that sent it; None: this host did.
    `start`: its first bytes."""

    seconds: float
    reason: str
    sender: str | None
    start: bytes


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """The traffic with the nodes of one name, in all their incarnations."""

    traffic: Traffic
    latency: Histogram  # one way: half a round trip


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one node at one moment."""

    record: NodeRecord
    now: float
    started: float
    live: tuple[Check, ...]
    ready: tuple[Check, ...]
    peers: tuple[PeerStatus, ...]
    dials: tuple[DialStatus, ...]
    renewals: tuple[DialStatus, ...]  # of sessions with linked nodes, which have failed so far
    nodes: Mapping[str, NodeTraffic]  # by name; also nodes that left a while ago
    links: Mapping[str, int]  # by state
    nodes_known: int
    device: DeviceStatus
    tun: Traffic
    link: Traffic
    dropped: Mapping[str, int]  # by reason
    handshake_failures: Mapping[str, int]  # by reason
    false_introductions: int  # records that a peer sent of a node that had not signed them
    rtt: Histogram
    key_ids: tuple[str, ...]  # `key_labels` of the valid secrets; the first one is offered
    buffered_bytes: int  # what waits for peers, and what has arrived from them in part
    memory_budget: int  # the upper limit of that
    certificate_expiry: float  # seconds since the epoch
    port: int  # that is listened on
    delayed_calls: int  # timers of the whole process
    lost: tuple[LostNode, ...] = ()  # the latest first
    warnings: tuple[str, ...] = ()  # what is wrong in the mesh but does not make the node unready
    expected_nodes: int | None = None  # how many the mesh should have, this one included
    names: NamesStatus | None = None
    url: UrlReports = UrlReports()
    automatic: tuple[AutomaticAddress, ...] = ()  # none if all addresses are assigned
    address_moves: int = 0  # how often it had to give up one of those that it had
    transport: str = "tcp"  # auto, tcp or udp: the key networking.transport
    udp: UdpCounts = UdpCounts()  # with all nodes, those that are gone included
    udp_strangers: int = 0  # datagrams that came to the port and were for no link

    @property
    def links_by_key(self) -> Mapping[str, int]:
        """How many links came up with each key: the valid ones, and revoked ones still in use."""
        return {**dict.fromkeys(self.key_ids, 0), **Counter(peer.key_id for peer in self.peers)}

    @property
    def health(self) -> Health:
        return Health(self.live, self.ready)

    @property
    def is_live(self) -> bool:
        return self.health.is_live

    @property
    def is_ready(self) -> bool:
        return self.health.is_ready
