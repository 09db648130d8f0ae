"""What a node is made with: its settings, and what it uses of its host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IListeningPort, IProtocolFactory
from twisted.protocols.policies import ProtocolWrapper

from tunmesh.addresses import Address, Interface, Network
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import NodeKey
from tunmesh.dataplane.gateways import Accepted
from tunmesh.dataplane.tun import Tun
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.link import memory_budget
from tunmesh.link.keepalive import Timing
from tunmesh.names.settings import NamesSettings
from tunmesh.netlink.address_watch import AddressWatch, NoAddressWatch
from tunmesh.netlink.device_state import Unwatched, Watch
from tunmesh.tls.cpu_share import UNMEASURED, CpuTimes
from tunmesh.tls.credentials import Credentials
from tunmesh.tls.transport import TunedTransport
from tunmesh.tls.underlay import Outside
from tunmesh.udp.choice import Transport
from tunmesh.udp.port import Port
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """How the tun is to be; it may change while a node runs that has an Assigner."""

    addresses: tuple[Interface, ...] = ()  # the static ones
    mtu: int = 1500
    queue: int = 0  # its txqueuelen; 0: the kernel's


@dataclass(frozen=True, slots=True)
class Reloadable:
    """Settings that may change while a node runs. All keys are accepted, the first is preferred."""

    keys: tuple[Key, ...]
    credentials: Credentials
    groups: tuple[GroupSettings, ...] = ()
    expected_nodes: int | None = None
    node_groups: tuple[str, ...] = ()  # names that the node shares with others
    device: DeviceSettings = field(default_factory=DeviceSettings)
    advertise: tuple[Network, ...] = ()  # networks outside the mesh that it leads to
    relay: bool = False  # whether it carries links between other nodes


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a node, in plain values. Durations are seconds."""

    record: NodeRecord  # its id is made of the node's key
    node_key: NodeKey
    networks: tuple[Network, ...]
    reloadable: Reloadable
    # The networks in which the node chooses its address itself, each with the length of the prefix
    # of its local subnets; `record.automatic` names their IP versions.
    automatic: tuple[tuple[Network, int], ...] = ()
    # The port of its URL, if it finds out the host of it: then `record.url` is a first guess.
    auto_port: int | None = None
    reserved: tuple[Address, ...] = ()  # of the networks, which no node may have
    floating: tuple[Network, ...] = ()  # what programs may claim for this node
    enable_broadcast: bool = False
    accept_routes: tuple[Accepted, ...] = ()  # networks outside the mesh, through gateways
    allow_overlap: tuple[Network, ...] = ()  # what is in these is reached without the mesh
    multicast: tuple[int, ...] = ()  # the IP versions whose multicast is carried
    bootstrap_retry_interval: float = 15.0
    startup_grace: float = 0.0
    session_max_age: float = 3600.0
    groom_interval: float = 5.0
    metric_ttl: float = 3600.0
    memory_budget: int = memory_budget.DEFAULT  # bytes
    max_nodes_per_source: int = 512
    names: NamesSettings | None = None
    dial_allow: tuple[Network, ...] | None = None
    transport: Transport = "auto"  # of packets: with "tcp", none travel over UDP
    local: Timing = field(default_factory=Timing)  # for links within the local subnet
    mesh: Timing = field(default_factory=Timing)  # for all others

    @property
    def behind(self) -> tuple[Network, ...]:
        """The networks outside the mesh that are reached through gateways."""
        return tuple(each.network for each in self.accept_routes)

    @property
    def routed(self) -> tuple[Network, ...]:
        """All networks that are routed to the tun."""
        return self.networks + self.behind

    @property
    def outside(self) -> Outside:
        """Which addresses are outside the mesh, so that links may lead there."""
        return Outside(self.networks, self.behind, self.allow_overlap)


class Assigner(Protocol):
    """Changes the device while the node runs. The Deferreds fail with OperatorError when that could
    not be done."""

    def put(self, interface: Interface) -> Deferred[None]:
        """The device has this address when the Deferred fires."""
        ...

    def take_off(self, interface: Interface) -> Deferred[None]:
        """Then the device does not have this address any more, nor the routes that need it."""
        ...

    def set_link(self, mtu: int, queue: int) -> Deferred[None]:
        """Then the device has this MTU and txqueuelen (0: as it is)."""
        ...

    def restore(self) -> Deferred[None]:
        """Then the device is up, and has all that it was given, whatever others took from it."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """What a node uses of its host; tests have all of it in memory.

    - `reactor`: time, names, connections and the listening port;
    - `tun` carries packets to and from this host, `watch` notices what others do to it;
    - `random_bytes(n)` and `draw()`, a number from 0 to 1, are the only sources of randomness;
    - `transport` runs TLS on each connection;
    - `assigner` changes the tun while the node runs; None: nothing does;
    - `find_address()` guesses the address at which others reach this host (netlink.own_address);
    - `datagrams` carries packets over UDP; None: there are only links;
    - `address_watch` tells when the addresses of this host change;
    - `cpu` measures the work for clients that have not authenticated, which is limited;
    - `bootstrap_resolver` looks up the names in bootstrap URLs, so that lookups of names that other
      nodes gave cannot delay them. None: the reactor's.
    """

    reactor: Any
    tun: Tun
    random_bytes: Callable[[int], bytes]
    draw: Callable[[], float]
    watch: Watch = field(default_factory=Unwatched)
    transport: type[ProtocolWrapper] = TunedTransport
    cpu: CpuTimes = UNMEASURED
    bootstrap_resolver: IHostnameResolver | None = None
    assigner: Assigner | None = None
    find_address: Callable[[], str] | None = None
    datagrams: Port | None = None
    address_watch: AddressWatch = field(default_factory=NoAddressWatch)


class Place(Protocol):
    """Where a node listens; host.tcp_ports.Bound is one."""

    @property
    def address(self) -> object | None: ...
    @property
    def port(self) -> int: ...
    @property
    def where(self) -> str: ...
    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort: ...
