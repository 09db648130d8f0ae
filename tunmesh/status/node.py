"""The status of a node as a whole: frozen values, made on demand by `Node.status`.

Health, metrics, the command line and the page read these, and nothing else of the node. Times are
seconds of the node's monotonic clock unless stated otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunmesh.status.health import Check, Health, UrlReports
from tunmesh.status.multicast import MulticastStatus
from tunmesh.status.peers import DialStatus, LostNode, PeerStatus, UdpCounts
from tunmesh.status.routes import RoutesStatus
from tunmesh.status.traffic import CarriedStreams, Histogram, IcmpAnswers, NodeTraffic, Traffic
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The tun."""

    name: str
    networks: tuple[str, ...]  # that are routed to it
    complaints: tuple[str, ...] = ()  # what others took from it, or what takes its packets
    mtu: int = 1500  # as configured
    queue: int = 0  # its txqueuelen; 0: the kernel's
    has_helper: bool = False  # a process that puts back what others take
    restored: int = 0  # how often that was done


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
class FloatingAddress:
    """A floating address that the node claims (membership.floating)."""

    address: str
    state: str  # waiting or held
    since: float  # when it came into that state
    number: int  # of the claim
    holder: str  # the name of the node that has it, as far as is known
    is_on_device: bool  # the tun has it

    @property
    def is_usable(self) -> bool:
        return self.state == "held" and self.is_on_device


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
    multicast: MulticastStatus | None = None  # None: multicast is not carried
    url: UrlReports = field(default_factory=UrlReports)
    automatic: tuple[AutomaticAddress, ...] = ()  # none if all addresses are assigned
    address_moves: int = 0  # how often it had to give up one of those that it had
    floating: tuple[FloatingAddress, ...] = ()
    # How often it came to hold one, and had to give one up to another node.
    floating_moves: Mapping[str, int] = field(default_factory=lambda: {"held": 0, "lost": 0})
    floating_allowed: tuple[str, ...] = ()  # networking.floating: what may be claimed here
    transport: str = "tcp"  # auto, tcp or udp: the key networking.transport
    udp: UdpCounts = field(
        default_factory=UdpCounts
    )  # with all nodes, those that are gone included
    answers: IcmpAnswers = field(default_factory=IcmpAnswers)  # to this machine's own packets
    udp_strangers: int = 0  # datagrams that came to the port and were for no link
    carried: CarriedStreams = field(default_factory=CarriedStreams)  # for other nodes
    routes: RoutesStatus = field(default_factory=RoutesStatus)  # networks outside the mesh

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
