"""A mesh in memory: any number of full nodes on one fake clock.

Everything above the outside edges is the real thing (real TLS, real handshake, real roster and
routing); only the edges are twins: `MemoryTun` for the tun device, `MemoryReactor` for the reactor
of one host, `Wire` for a TCP connection. Nothing happens by itself: time passes when the test calls
`Mesh.advance` or `Mesh.until`, and with it bytes travel, one latency each way.

    mesh = Mesh()
    a, b, c = (mesh.add(name) for name in "abc")   # b and c bootstrap from a
    mesh.until(mesh.is_complete)
    mesh.send(b, c, b"hello")                      # a packet through both tuns
    mesh.network.cut(b.host, c.host)               # their cable is pulled, silently
    c.crash()                                      # SIGKILL: the kernel closes its sockets
    c.vanish()                                     # power cut: nobody closes anything

A cut delays bytes instead of losing them, as TCP would: after `heal` they arrive.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_interface
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from twisted.internet import address, error, interfaces
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.api import public
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dataplane.table import Drop
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.netlink.codec import Address
from tunmesh.netlink.device_state import Unwatched, Way
from tunmesh.node.node import Node, Reloadable, Settings
from tunmesh.status import Status
from tunmesh.testing.clock import FakeClock
from tunmesh.tls.tls import Credentials, TunedTransport
from tunmesh.wire.records import NodeRecord, split_url

LATENCY = 0.001  # seconds, one way
HIGH_WATER = 1 << 16  # bytes under way in one direction at which a writer is told to pause
PORT = 4567
SECRET = b"a secret that only tests are told"
IPV4 = IPv4Network("10.9.0.0/16")
IPV6 = IPv6Network("fd09::/64")
RELOADABLE = {field.name for field in fields(Reloadable)}


@cache
def credentials(name: str = "mesh") -> Credentials:
    """A self-signed certificate, made once for each name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    return Credentials((certificate,), key, (certificate,), verify_hostname=False)


# --- the tun ---


class MemoryTun:
    """A tun device without a kernel. `inject` is what the machine sends, `written` what it got,
    `answers` what it sends as soon as it got something."""

    def __init__(self, name: str = "tun1") -> None:
        self.name = name
        self.rx_packets = self.rx_bytes = self.tx_packets = self.tx_bytes = 0
        self.written: list[bytes] = []
        self.answers: list[bytes] = []
        # Why a frame is not taken: the same for all, or a function of the frame.
        self.refuses: str | Callable[[bytes | memoryview], str | None] | None = None
        self.is_open = True
        self._receive: Callable[[list[bytes]], None] | None = None
        self._lost: Callable[[str], None] | None = None

    def start(self, receive: Callable[[list[bytes]], None], lost: Callable[[str], None]) -> None:
        self._receive, self._lost = receive, lost

    def write(self, frames: Iterable[bytes | memoryview]) -> list[Drop]:
        drops: list[Drop] = []
        for frame in frames:
            reason = self.refuses(frame) if callable(self.refuses) else self.refuses
            if reason is not None:
                drops.append((reason, frame))
                continue
            self.written.append(bytes(frame))
            self.rx_packets += 1
            self.rx_bytes += len(frame) - 10
        return drops

    def poll(self) -> None:
        if self.answers:
            frames, self.answers = self.answers, []
            self.inject(*frames)

    def inject(self, *frames: bytes) -> None:
        self.tx_packets += len(frames)
        self.tx_bytes += sum(map(len, frames)) - 10 * len(frames)
        if self._receive is not None:
            self._receive(list(frames))

    def delete(self) -> None:
        """The interface is deleted under the node."""
        self.stop()
        if self._lost is not None:
            self._lost(f"{self.name} is gone: somebody deleted the interface")

    def stop(self) -> None:
        self.is_open = False
        self._receive = None


def frame(source: str, destination: str, payload: bytes = b"") -> bytes:
    """A UDP-less IP packet (protocol 253, for experiments) behind an empty virtio header."""
    sender, receiver = ip_address(source), ip_address(destination)
    if isinstance(sender, IPv4Address):
        size = (20 + len(payload)).to_bytes(2, "big")
        header = b"\x45\0" + size + b"\0\0\0\0\x40\xfd\0\0"
    else:
        header = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + b"\xfd\x40"
    return bytes(10) + header + sender.packed + receiver.packed + payload


# --- the network ---


class MemoryWatch(Unwatched):
    """A watch of a MemoryTun: it complains of what it is told to, and the kernel sends packets
    where it is told."""

    def __init__(self) -> None:
        self.complaints: Sequence[str] = ()
        self.interface: str | None = None  # that packets go to; None: it cannot be asked
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def stop(self) -> None:
        self._changed = lambda: None

    def way(self, destination: Address, source: Address) -> Way | None:
        return None if self.interface is None else Way(self.interface, 52)

    def complain(self, *complaints: str) -> None:
        """This is wrong with the device from now on, and nothing else."""
        self.complaints = complaints
        self._changed()


@implementer(interfaces.ITransport, interfaces.IConsumer)
class Wire:
    """One end of a connection. What is written arrives at `peer` a latency later, in order."""

    def __init__(self, network: Network, here: str, there: str, port: int) -> None:
        self.network = network
        self.here = here
        self.there = there
        self.port = port
        self.peer: Wire
        self.number: int  # of the connection, both ends have the same
        self.protocol: interfaces.IProtocol | None = None
        self.disconnecting = False
        self.connected = True
        self._latency = network.latency_between(here, there)
        # Under way to the peer, with the time when it is due.
        self._sent: deque[tuple[float, bytes | Failure]] = deque()
        self._under_way = 0
        self._last_due = 0.0
        self._producer: Any = None
        self._paused = False
        self._reads = True

    # ITCPTransport

    def write(self, data: bytes) -> None:
        if self.connected and not self.disconnecting:
            self.network.writes_by[self.here] += 1
            self.network.bytes_by[self.here] += len(data)
            self._send(bytes(data), len(data))
            self._press()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting and self._producer is None:
            self.disconnecting = True
            self._send(Failure(error.ConnectionDone()), 0)

    def abortConnection(self) -> None:
        if self.connected:
            self.disconnecting = True
            self._sent.clear()
            self._send(Failure(error.ConnectionLost()), 0)
            self.network.clock.callLater(0, self._lost, Failure(error.ConnectionAborted()))

    def pauseProducing(self) -> None:
        self._reads = False

    def resumeProducing(self) -> None:
        self._reads = True
        self.network.clock.callLater(0, self.peer.deliver)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self._press()

    def unregisterProducer(self) -> None:
        self._producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is ever held back."""

    def getPeer(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self.there, self.port)

    def getHost(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self.here, self.port)

    # the cable

    def _send(self, what: bytes | Failure, size: int) -> None:
        clock = self.network.clock
        pace = self.network.rates.get(self.there, math.inf)
        due = max(clock.seconds() + self._latency, self._last_due) + size / pace
        self._last_due = due
        self._sent.append((due, what))
        self._under_way += size
        clock.callLater(due - clock.seconds(), self.deliver)

    def deliver(self) -> None:
        """Hand the peer everything that is due, unless the way is cut."""
        if self.network.is_cut(self.here, self.there):
            return
        clock, soon = self.network.clock, self.network.clock.seconds() + 1e-9
        while self._sent and self.peer.connected and self.peer.protocol and self.peer._reads:
            due, what = self._sent[0]
            if due > soon:
                break
            self._sent.popleft()
            if isinstance(what, bytes):
                self._under_way -= len(what)
                self.peer.protocol.dataReceived(what)
            else:
                self.peer._lost(what)
                clock.callLater(self._latency, self._lost, what)
        self._relax()

    def _press(self) -> None:
        if self._producer is not None and not self._paused and self._under_way > HIGH_WATER:
            self._paused = True
            self._producer.pauseProducing()

    def _relax(self) -> None:
        if self._producer is not None and self._paused and not self._under_way:
            self._paused = False
            self._producer.resumeProducing()

    def _lost(self, reason: Failure) -> None:
        if self.connected:
            self.connected = False
            self.network.wires.pop(self, None)
            if self.protocol is not None:
                self.protocol.connectionLost(reason)

    def crash(self, silently: bool) -> None:
        """The process at this end is no more."""
        self.connected = False
        self.protocol = None
        self.network.wires.pop(self, None)
        self._sent.clear()
        if not silently:
            self._send(Failure(error.ConnectionLost()), 0)


class Network:
    """Hosts, the names they go by, and the wires between them."""

    def __init__(self, clock: interfaces.IReactorTime, latency: float = LATENCY) -> None:
        self.clock = clock
        self.latency = latency
        self.names: dict[str, list[str]] = {}
        self.listeners: dict[tuple[str, int], interfaces.IProtocolFactory] = {}
        # Of ports that take no connections at the moment.
        self.backlogs: dict[tuple[str, int], list[Dialing]] = {}
        self.wires: dict[Wire, None] = {}  # in the order of their making
        self.dialings: dict[Dialing, None] = {}  # that are neither connected nor failed yet
        # What each host did.
        self.dials_by: Counter[str] = Counter()
        self.writes_by: Counter[str] = Counter()
        self.bytes_by: Counter[str] = Counter()
        self.connections = 0  # that there ever were
        self.gone: set[str] = set()  # hosts that answer nothing
        self.rates: dict[str, float] = {}  # bytes a second that slow hosts read, on each connection
        self._cuts: set[tuple[str, str]] = set()
        self._abandoned: set[str] = set()

    @property
    def dials(self) -> int:
        return self.dials_by.total()

    def cut(self, one: str, other: str, both_ways: bool = True) -> None:
        """From now on nothing gets from one host to the other, and nobody is told."""
        self._cuts.add((one, other))
        if both_ways:
            self._cuts.add((other, one))

    def heal(self) -> None:
        """Take back all cuts: what was under way arrives."""
        self._cuts.clear()
        for wire in list(self.wires):
            wire.deliver()

    def is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self._cuts or one in self._abandoned or other in self._abandoned

    def abandon(self, host: str) -> None:
        """Nobody has this address any more: nothing gets to it, or from it, ever."""
        self._abandoned.add(host)

    def latency_between(self, one: str, other: str) -> float:
        return self.latency

    def lookup(self, name: str) -> list[str]:
        """The addresses of a name."""
        return self.names.get(name, [name] if name[0].isdigit() else [])

    def connect(self, here: str, there: str, port: int, factory: Any, timeout: float) -> Dialing:
        """What connectTCP does."""
        self.dials_by[here] += 1
        dialing = Dialing(self, here, there, port, factory)
        self.dialings[dialing] = None
        factory.doStart()
        factory.startedConnecting(dialing)
        dialing.deadline = self.clock.callLater(timeout, dialing.fail, error.TimeoutError())
        self.clock.callLater(self.latency_between(here, there), dialing.arrive)
        return dialing


@implementer(interfaces.IConnector)
class Dialing:
    """An attempt to connect."""

    deadline: interfaces.IDelayedCall

    def __init__(self, network: Network, here: str, there: str, port: int, factory: Any) -> None:
        self.here = here
        self._network = network
        self._there = there
        self._port = port
        self._factory = factory
        self._pending = True

    def arrive(self) -> None:
        """The SYN is at the other host."""
        cut = self._network.is_cut
        if not self._pending or cut(self.here, self._there) or cut(self._there, self.here):
            return
        if self._there in self._network.gone:
            return
        place = (self._there, self._port)
        if place in self._network.backlogs:
            self._network.backlogs[place].append(self)
            return
        listener = self._network.listeners.get(place)
        if listener is None:
            self.fail(error.ConnectionRefusedError())
            return
        self._end()
        near = Wire(self._network, self.here, self._there, self._port)
        far = Wire(self._network, self._there, self.here, self._port)
        near.peer, far.peer = far, near
        self._network.connections += 1
        near.number = far.number = self._network.connections
        for wire, factory in ((near, self._factory), (far, listener)):
            wire.protocol = factory.buildProtocol(wire.getPeer())
            self._network.wires[wire] = None
        for wire in (far, near):
            if wire.protocol is not None:
                wire.protocol.makeConnection(wire)
            else:
                wire.abortConnection()

    def fail(self, why: Exception) -> None:
        if self._pending:
            self._end()
            self._factory.clientConnectionFailed(self, Failure(why))

    def crash(self) -> None:
        """The process that dials is no more."""
        self._end()

    def _end(self) -> None:
        self._pending = False
        self._network.dialings.pop(self, None)
        if self.deadline.active():
            self.deadline.cancel()

    def stopConnecting(self) -> None:
        self.fail(error.UserError())

    disconnect = stopConnecting

    def connect(self) -> None:
        raise NotImplementedError("a new attempt is a new Dialing")

    def getDestination(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", self._there, self._port)


@implementer(interfaces.IListeningPort)
class _Port:
    numberAccepts = 100

    def __init__(self, network: Network, place: tuple[str, int]) -> None:
        self._network = network
        self._place = place

    def startListening(self) -> None:
        """It does from the start."""

    def stopListening(self) -> None:
        self._network.listeners.pop(self._place, None)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._network.backlogs.setdefault(self._place, [])

    def resumeProducing(self) -> None:
        for dialing in self._network.backlogs.pop(self._place, []):
            self._network.clock.callLater(0, dialing.arrive)

    def getHost(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", *self._place)


@implementer(interfaces.IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """It is over before anybody could."""


@implementer(interfaces.IHostnameResolver)
class _Names:
    """Looks names up in the network's table, which a test may change at any time."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def resolveHostName(
        self,
        resolutionReceiver: interfaces.IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> interfaces.IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for host in self._network.lookup(hostName):
            found = address.IPv4Address("TCP", host, portNumber)
            resolutionReceiver.addressResolved(found)
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(
    interfaces.IReactorTCP, interfaces.IReactorTime, interfaces.IReactorPluggableNameResolver
)
class MemoryReactor:
    """The reactor of one host: the clock of all, its own connections."""

    def __init__(self, network: Network, host: str) -> None:
        self.host = host
        self._network = network
        self.nameResolver = _Names(network)
        self.is_dead = False

    def installNameResolver(self, resolver: Any) -> Any:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def seconds(self) -> float:
        return self._network.clock.seconds()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 (the interface names it so)
        *args: object,
        **kwargs: object,
    ) -> interfaces.IDelayedCall:
        return self._network.clock.callLater(delay, self._call, callable, *args, **kwargs)

    def _call(self, call: Any, *args: Any, **kwargs: Any) -> None:
        if not self.is_dead:
            call(*args, **kwargs)

    def getDelayedCalls(self) -> list[Any]:
        return list(self._network.clock.getDelayedCalls())

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> Dialing:
        return self._network.connect(self.host, host, port, factory, timeout)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        place = (self.host, port)
        if place in self._network.listeners:
            raise error.CannotListenError(interface, port, OSError("Address already in use"))
        self._network.listeners[place] = factory
        return _Port(self._network, place)


@dataclass(frozen=True)
class MemoryPlace:
    """Where a node listens on a host in memory; host.tcp_ports.Bound is the real one."""

    port: int
    address: None = None

    @property
    def where(self) -> str:
        return f"TCP port {self.port}"

    def listen(self, reactor: Any, factory: Any) -> Any:
        return reactor.listenTCP(self.port, factory)


# --- the mesh ---


@implementer(ILogObserver)
class _Journal:
    def __init__(self, events: list[LogEvent]) -> None:
        self._events = events

    def __call__(self, event: LogEvent) -> None:
        self._events.append(event)


def host_address(number: int) -> str:
    return str(IPv4Address("192.0.2.0") + number)


class Member:
    """One host with one node on it, which may be started again."""

    skew = 0.0  # seconds that its clock is ahead
    debugs = False  # whether its events of level debug are kept, too
    # What looks up names for it, if not the table of the network, and those of bootstrap URLs.
    names: Any = None
    own_names: Any = None

    def __init__(self, mesh: Mesh, name: str, number: int) -> None:
        self.mesh = mesh
        self.name = name
        self.move(number)
        self.prefixes: tuple[int, ...] = (16, 64)
        self.settings: dict[str, Any] = {}  # what differs from the mesh's settings
        self.hidden_at = ""  # instead of its URL: it is behind a NAT, and cannot be dialed
        self.before_bootstrap: Callable[[], None] = lambda: None
        self.events: list[LogEvent] = []
        self.node: Node
        self.tun: MemoryTun
        self.watch: MemoryWatch
        self.reactor: MemoryReactor

    def move(self, number: int) -> None:
        """Have another host, and other addresses in the mesh, from the next start on."""
        self.host = host_address(number)
        self.addresses: tuple[str, ...] = (str(IPV4[number]), str(IPV6[number]))

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def url(self) -> str:
        return f"https://{self.host}:{PORT}"

    @property
    def advertised(self) -> str:
        """The URL that it says it has."""
        return self.hidden_at or self.url

    @property
    def status(self) -> Status:
        return self.node.status()

    @property
    def linked_with(self) -> list[str]:
        """The names of the nodes it is linked with, sorted."""
        return sorted(peer.record.name for peer in self.status.peers)

    def logged(self, event: str) -> list[LogEvent]:
        """The events of that kind since the host was added."""
        return [each for each in self.events if each.get("event") == event]

    def start(self, **changes: Any) -> None:
        """Start a node here: a new process, with a new id. `changes` are to its settings."""
        self.settings.update(changes)
        self.mesh.network.gone.discard(self.host)
        self.reactor = MemoryReactor(self.mesh.network, self.host)
        if self.names is not None:
            self.reactor.installNameResolver(self.names)
        self.tun = self.mesh.make_tun(self)
        self.watch = MemoryWatch()
        self.node = Node(
            self.reactor,
            self.mesh.settings_of(self),
            self.tun,
            make_site=lambda node: public.site(node.health, None, self.reactor),
            random_bytes=self.mesh.random.randbytes,
            draw=self.mesh.random.random,
            failed=lambda why: None,
            log=Logger(namespace="tunmesh", observer=_Journal(self.events)),
            before_bootstrap=lambda: self.before_bootstrap(),
            transport=self.mesh.transport,
            is_debugging=lambda: self.debugs,
            watch=self.watch,
            own_names=self.own_names,
        )
        self.node.listen(MemoryPlace(PORT))
        self.node.start()

    def reload(self, **changes: Any) -> None:
        """HUP: some of what may change while it runs has changed."""
        self.settings.update(changes)
        self.node.reload(self.mesh.reloadable_of(self))

    def readdress(self, number: int) -> None:
        """The host has another address from now on: what is connected to the old one hears no more
        of it, without being told. The process goes on, and says what it said of itself before."""
        network, before = self.mesh.network, self.host
        self.host = self.reactor.host = host_address(number)
        network.abandon(before)
        network.listeners[self.host, PORT] = network.listeners.pop((before, PORT))

    def leave(self) -> None:
        """TERM: it says bye."""
        self.node.stop()

    def crash(self) -> None:
        """KILL: the process is gone, and its kernel closes the sockets."""
        self._end(silently=False)

    def vanish(self) -> None:
        """The machine is gone: its sockets stay open at the other ends."""
        self.mesh.network.gone.add(self.host)
        self._end(silently=True)

    def _end(self, silently: bool) -> None:
        self.reactor.is_dead = True
        network = self.mesh.network
        network.listeners.pop((self.host, PORT), None)
        network.backlogs.pop((self.host, PORT), None)
        for wire in [wire for wire in network.wires if wire.here == self.host]:
            wire.crash(silently)
        for dialing in [dialing for dialing in network.dialings if dialing.here == self.host]:
            dialing.crash()


class Mesh:
    """Hosts 192.0.2.1, .2, … with a node each; the first one is everybody's bootstrap."""

    transport: type[ProtocolWrapper] = TunedTransport

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        self.clock = FakeClock()
        self.random = random.Random(seed)  # noqa: S311 (a reproducible one is what is needed)
        self.network = self.make_network()
        self.members: list[Member] = []
        self.settings = settings

    def make_network(self) -> Network:
        return Network(self.clock)

    def make_tun(self, member: Member) -> MemoryTun:
        return MemoryTun()

    def add(self, name: str, start: bool = True, **settings: Any) -> Member:
        number = len(self.members) + 1
        member = Member(self, name, number)
        member.settings.update(settings)
        self.members.append(member)
        if start:
            member.start()
        return member

    def settings_of(self, member: Member) -> Settings:
        node_key = NodeKey.of(self.random.randbytes(SEED_SIZE))
        record = NodeRecord(
            id=node_key.id,
            name=member.name,
            started=1_700_000_000_000 + int((self.clock.seconds() + member.skew) * 1000),
            url=member.settings.pop("url", member.advertised),
            addresses=tuple(
                ip_interface(f"{text}/{prefix}")
                for text, prefix in zip(member.addresses, member.prefixes, strict=True)
            ),
            version="test",
            networks=(self.settings | member.settings).get("networks", (IPV4, IPV6)),
        )
        plain: dict[str, Any] = {
            "record": record,
            "node_key": node_key,
            "networks": (IPV4, IPV6),
            "reloadable": self.reloadable_of(member),
        }
        changes = self.settings | member.settings
        return Settings(**plain | {k: v for k, v in changes.items() if k not in RELOADABLE})

    def reloadable_of(self, member: Member) -> Reloadable:
        first = self.members[0]
        plain: dict[str, Any] = {
            "keys": (Key.derive(SECRET),),
            "credentials": credentials(),
            "groups": (GroupSettings("first", () if member is first else (split_url(first.url),)),),
        }
        changes = self.settings | member.settings
        return Reloadable(**plain | {k: v for k, v in changes.items() if k in RELOADABLE})

    # --- time ---

    def advance(self, seconds: float) -> None:
        """Let time pass, and with it everything happen that is due."""
        self.clock.advance(seconds)

    def until(self, condition: Callable[[], bool], within: float = 60.0) -> float:
        """Let time pass until the condition holds; how long that took. AssertionError if it does
        not come to hold within so many seconds."""
        start = self.clock.seconds()
        while not condition():
            if self.clock.seconds() - start > within:
                raise AssertionError(f"not within {within:.0f} s: {self.story()}")
            self.clock.advance(0.01)
        return self.clock.seconds() - start

    # --- looking ---

    def running(self) -> Iterator[Member]:
        return (m for m in self.members if hasattr(m, "reactor") and not m.reactor.is_dead)

    def is_complete(self) -> bool:
        """Whether every running node is linked with every other one, and with nobody else."""
        running = list(self.running())
        return all(
            member.linked_with == sorted(m.name for m in running if m is not member)
            and member.status.links.get("up") == len(running) - 1
            and sum(member.status.links.values()) == len(running) - 1
            for member in running
        )

    def story(self) -> str:
        """Who is linked with whom, for a failed test."""
        return "; ".join(f"{m.name}: {', '.join(m.linked_with) or '-'}" for m in self.running())

    def send(self, sender: Member, receiver: Member, payload: bytes = b"", family: int = 0) -> bool:
        """Send a packet from tun to tun; whether it arrived, once and whole, within 0.1 s."""
        packet = frame(sender.addresses[family], receiver.addresses[family], payload)
        before = receiver.tun.written.count(packet)
        sender.tun.inject(packet)
        self.advance(0.1)
        return receiver.tun.written.count(packet) == before + 1
