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

import random
from collections.abc import Callable, Iterator
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_interface
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from tunmesh.api import public
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.link.interfaces import State
from tunmesh.logs.journal import Journal
from tunmesh.node.node import Node
from tunmesh.node.settings import Host, Reloadable, Settings
from tunmesh.status.node import Status
from tunmesh.testing.clock import FakeClock
from tunmesh.testing.credentials import credentials
from tunmesh.testing.datagrams import Datagrams, MemoryPort
from tunmesh.testing.network import Network
from tunmesh.testing.reactor import MemoryPlace, MemoryReactor
from tunmesh.testing.tun import MemoryAssigner, MemoryTun, MemoryWatch, frame
from tunmesh.tls.transport import TunedTransport
from tunmesh.wire.records import NodeRecord, split_url

PORT = 4567
SECRET = b"a secret that only tests are told"
IPV4 = IPv4Network("10.9.0.0/16")
IPV6 = IPv6Network("fd09::/64")
RELOADABLE = {field.name for field in fields(Reloadable)}


@implementer(ILogObserver)
class _Events:
    def __init__(self, events: list[LogEvent]) -> None:
        self._events = events

    def __call__(self, event: LogEvent) -> None:
        self._events.append(event)


def host_address(number: int) -> str:
    return str(IPv4Address("192.0.2.0") + number)


class Member:
    """A host with one node, which may be restarted."""

    skew = 0.0  # seconds by which its clock is ahead
    debugs = False  # whether its events of level debug are kept, too
    # What looks up names for it, if not the table of the network, and those of bootstrap URLs.
    names: Any = None
    find_address: Callable[[], str] | None = None  # what guesses its own address
    bootstrap_names: Any = None

    def __init__(self, mesh: Mesh, name: str, number: int) -> None:
        self.mesh = mesh
        self.name = name
        self.move(number)
        self.prefixes: tuple[int, ...] = (16, 64)
        self.automatic: tuple[int, ...] = ()  # IP versions whose address its node chooses itself
        self.settings: dict[str, Any] = {}  # what differs from the mesh's settings
        self.hidden_at = ""  # instead of its URL: it is behind a NAT, and cannot be dialed
        self.before_bootstrap: Callable[[], None] = lambda: None
        self.events: list[LogEvent] = []
        self.failures: list[str] = []  # why its node was of no more use
        self.node: Node
        self.tun: MemoryTun
        self.watch: MemoryWatch
        self.assigner: MemoryAssigner
        self.reactor: MemoryReactor

    def move(self, number: int) -> None:
        """Have another host, and other addresses in the mesh, from the next start on."""
        self.host = host_address(number)
        self._assigned: tuple[str, ...] = (str(IPV4[number]), str(IPV6[number]))

    @property
    def addresses(self) -> tuple[str, ...]:
        """In the mesh. Those that its node chooses itself are "" while there are none."""
        if not self.automatic:
            return self._assigned
        own: dict[int, str] = {each.version: str(each.ip) for each in self.node.record.addresses}
        return tuple(own.get(version, "") for version in (4, 6)[: len(self._assigned)])

    @addresses.setter
    def addresses(self, addresses: tuple[str, ...]) -> None:
        self._assigned = addresses

    @property
    def assigned(self) -> list[str]:
        """With their prefixes, those that its node would have if it chose none itself."""
        pairs = zip(self._assigned, self.prefixes, strict=True)
        return [f"{text}/{prefix}" for text, prefix in pairs]

    @property
    def held(self) -> tuple[str, ...]:
        """The addresses that its node has chosen, and that are its own by now."""
        return tuple(each.address.split("/")[0] for each in self.node.automatic if each.is_usable)

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
        # Not from its whole status: tests ask for this all the time.
        names = {link.record.id: link.record.name for link in self.node.links if link.record}
        return sorted(names[peer.id] for peer in self.node.sample().peers)

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
        self.assigner = MemoryAssigner()
        host = Host(
            self.reactor,
            self.tun,
            self.mesh.random.randbytes,
            self.mesh.random.random,
            self.watch,
            transport=self.mesh.transport,
            bootstrap_resolver=self.bootstrap_names,
            find_address=self.find_address,
            assigner=self.assigner,
            datagrams=self._datagrams(),
        )
        log = Logger(namespace="tunmesh", observer=_Events(self.events))
        self.node = Node(
            self.mesh.settings_of(self),
            host,
            Journal(log, self.reactor.seconds, lambda: self.debugs),
            make_site=lambda node: public.site(node.health, None, self.reactor),
            failed=self.failures.append,
            before_bootstrap=lambda: self.before_bootstrap(),
        )
        self.node.listen(MemoryPlace(PORT))
        self.node.start()

    def _datagrams(self) -> MemoryPort | None:
        if not self.mesh.has_udp or self.settings.get("transport") == "tcp":
            return None
        return self.mesh.datagrams.port(self.host, PORT, self.mesh.random.randbytes)

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
        self.mesh.datagrams.readdress(before, self.host)
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
        self.mesh.datagrams.crash(self.host)
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
    has_udp = False  # whether its nodes have UDP ports

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        self.clock = FakeClock()
        self.random = random.Random(seed)  # noqa: S311 (a reproducible one is what is needed)
        self.network = self.make_network()
        # Its own source of randomness: what else is drawn does not depend on it.
        self.datagrams = Datagrams(self.network, random.Random(seed))  # noqa: S311
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
        url = member.settings.pop("url", member.advertised)
        changes = self.settings | member.settings
        automatic = tuple(
            (network, prefix)
            for network, prefix in zip(
                changes.get("networks", (IPV4, IPV6)), member.prefixes, strict=False
            )
            if network.version in member.automatic
        )
        node_key = NodeKey.of(self.random.randbytes(SEED_SIZE))
        record = NodeRecord(
            id=node_key.id,
            name=member.name,
            started=1_700_000_000_000 + int((self.clock.seconds() + member.skew) * 1000),
            url=url,
            addresses=tuple(
                each
                for each in map(ip_interface, member.assigned)
                if each.version not in member.automatic
            ),
            automatic=member.automatic,
            version="test",
            networks=changes.get("networks", (IPV4, IPV6)),
            groups=changes.get("node_groups", ()),
            routes=changes.get("advertise", ()),
            udp=self.has_udp and changes.get("transport") != "tcp",
        )
        plain: dict[str, Any] = {
            "record": record,
            "node_key": node_key,
            "networks": (IPV4, IPV6),
            "reloadable": self.reloadable_of(member),
            "automatic": automatic,
        }
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
            left = start + within - self.clock.seconds()
            if left < 0:
                raise AssertionError(f"not within {within:.0f} s: {self.story()}")
            # While nothing is due nothing changes.
            self.clock.advance(max(0.01, min(self.clock.until_next_call(), left)))
        return self.clock.seconds() - start

    # --- looking ---

    def running(self) -> Iterator[Member]:
        return (m for m in self.members if hasattr(m, "reactor") and not m.reactor.is_dead)

    def is_complete(self) -> bool:
        """Whether every running node is linked with every other one, and with nobody else."""
        running = list(self.running())
        return all(
            member.linked_with == sorted(m.name for m in running if m is not member)
            and [link.state for link in member.node.links] == [State.UP] * (len(running) - 1)
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
