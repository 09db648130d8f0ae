"""Many peers on one machine, to measure what they cost one real node.

    python -m bench.crowd DIRECTORY MODE COUNT

`DIRECTORY` holds the mesh's certificate and secret (tunmesh.localmesh.plan). The mesh consists of
the real nodes, numbered from 1, and COUNT others. MODE is

- `star`: extras, all in one process. Each has a port and a real link to the real node, and claims
  to be linked to all others, which it is not. To the real node this looks like joining a mesh of
  that size.
- `mesh`: whole nodes (node.node) with an in-memory tun, one process each, forked from one that has
  imported everything. They form a full mesh.
- `join`: such nodes too, in a few processes, but they do not dial each other: each is to be linked
  with the REALS real nodes, of which it knows only the first one at the start.

A line on standard input starts them, end of file stops them. Events go to standard output, one JSON
object a line, with the time of the machine's monotonic clock.
"""

from __future__ import annotations

import json
import os
import random
import resource
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from tunmesh.addresses import Target
from tunmesh.api import public
from tunmesh.auth import signing
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.connections import Connector, Proof, Unobserved
from tunmesh.dialing.resolver import Resolver
from tunmesh.errors import PeerError
from tunmesh.host import tcp_ports
from tunmesh.link.link import Link
from tunmesh.localmesh import plan
from tunmesh.logs.journal import Journal
from tunmesh.node.node import Node
from tunmesh.node.settings import Host, Reloadable, Settings
from tunmesh.testing.owner import IgnoringOwner
from tunmesh.testing.tun import MemoryTun
from tunmesh.tls import certificates
from tunmesh.tls.credentials import Contexts, Credentials
from tunmesh.tls.listener import MeshPort, listening_factory
from tunmesh.wire import messages
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.records import NodeRecord

REALS = 3  # real nodes in `join`; there is one in the other modes
HOST = plan.NodePlan(REALS + 1).underlay
REAL = plan.NodePlan(1)
JOIN_PROCESSES = 4
FIRST_PORT = 10_000
BACKLOG = 1024


def say(event: str, **fields: object) -> None:
    """Report to the parent."""
    line = json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n"
    os.write(1, line.encode())  # a single write: many processes share one pipe


def new_key() -> NodeKey:
    return NodeKey.of(secrets.token_bytes(SEED_SIZE))


def record_of(number: int, node_key: NodeKey) -> NodeRecord:
    return NodeRecord(
        id=node_key.id,
        name=f"node{number}",
        started=int(time.time() * 1000),
        url=f"https://{HOST}:{FIRST_PORT + number}",
        addresses=(
            ip_interface(f"10.77.{number >> 8}.{number & 255}/16"),
            ip_interface(f"fd77::{number:x}/64"),
        ),
        version="bench",
    )


class Crowd(Protocol):
    """The nodes that one process runs."""

    def go(self) -> None: ...


class Complaints(Unobserved):
    """Reports to the parent which nodes could not be reached."""

    def unreachable(self, target: Target, why: str) -> None:
        say("unreachable", target=target, why=why)


class Extra(IgnoringOwner):
    """A light-weight peer: one port, one link, answers to pings and no decisions."""

    def __init__(self, crowd: Stars, number: int) -> None:
        node_key = new_key()
        self.record = record = record_of(number, node_key)
        self.signed = signing.sign(record, node_key)
        self.link: Link | None = None
        self._crowd = crowd
        self._connector = Connector(
            crowd.reactor,
            self,
            Proof(
                crowd.keys,
                node_key,
                lambda _: signing.show(record, node_key),
                secrets.token_bytes,
                crowd.contexts,
            ),
            random.random,
            Complaints(),
        )
        self._dialer = self._connector.dialer(((REAL.underlay, plan.LISTEN_PORT),))
        port = MeshPort(
            crowd.reactor,
            self._connector.accept,
            _no_http,
            lambda host, error: say("tls", why=str(error)),
        )
        factory = listening_factory(crowd.contexts, port, crowd.reactor)
        crowd.reactor.listenTCP(record.host_port[1], factory, BACKLOG, HOST)

    def dial(self) -> None:
        self._dialer.start()

    # link.interfaces.Owner

    def link_up(self, link: Link) -> None:
        self._dialer.stop()
        self._connector.settled(link)
        if self.link is not None:
            link.close(messages.REPLACED)
            return
        self.link = link
        link.deliver_to(lambda frames: 0, lambda: None)
        link.conversation.tell(Gossip(1, tuple(self._crowd.records)))
        self._crowd.linked(link.node)

    def link_failed(self, link: Link, error: PeerError) -> None:
        self._connector.closed(link)
        say("failed", node=self.record.name, why=str(error))

    def link_lost(self, link: Link, error: PeerError) -> None:
        self._connector.closed(link)
        if link is self.link:
            self.link = None
            say("lost", node=self.record.name, why=str(error))

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        records = self._crowd.records
        link.conversation.introduce(records[each] for each in ids if each in records)


def _no_http(address: IAddress) -> None:
    """Extras serve no HTTP."""


class Stars:
    """The extras, which all know each other."""

    def __init__(self, reactor: Any, directory: Path, numbers: range) -> None:
        self.reactor = reactor
        self.keys, credentials = secret_of(directory)
        self.contexts = Contexts(credentials)
        self._extras = [Extra(self, number) for number in numbers]
        self.records = {extra.record.id: extra.signed for extra in self._extras}
        self._linked = 0

    def go(self) -> None:
        """One extra dials the real node. It then learns of the others, and those whose id is
        smaller than its own dial at once."""
        self._extras[0].dial()

    def linked(self, real: NodeRecord) -> None:
        self._linked += 1
        if self._linked == 1:
            for extra in self._extras[1:]:
                if extra.record.id < real.id:
                    extra.dial()
        if self._linked == len(self._extras):
            say("whole")


class Whole:
    """A whole node that waits for that many links. `is_shy`: it dials only real nodes."""

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        number: int,
        links: int,
        whole: Callable[[], None],
        is_shy: bool = False,
    ) -> None:
        self._wanted = links
        self._whole = whole
        self._links = 0
        keys, credentials = secret_of(directory)
        node_key = new_key()
        record = record_of(number, node_key)
        settings = Settings(
            record=record,
            node_key=node_key,
            networks=(ip_network(plan.IPV4_NETWORK), ip_network(plan.IPV6_NETWORK)),
            reloadable=Reloadable(
                keys, credentials, (GroupSettings("first", ((REAL.underlay, plan.LISTEN_PORT),)),)
            ),
        )
        log = Logger(namespace="tunmesh", observer=_Links(self._count))
        self._node = Node(
            settings,
            Host(reactor, MemoryTun(), secrets.token_bytes, random.random),
            Journal(log, reactor.seconds),
            make_site=lambda node: public.site(node.health, None, reactor),
            failed=partial(say, "failed"),
        )
        self._node.listen(tcp_ports.bind(ip_address(HOST), record.host_port[1]))
        if is_shy:
            dials = self._node._links.dials
            dials.dial = partial(_dial_real, dials.dial)  # type: ignore[method-assign]

    def go(self) -> None:
        self._node.start()

    def _count(self, links: int) -> None:
        self._links += links
        if links > 0 and self._links == self._wanted:
            self._whole()


def _dial_real(dial: Callable[..., None], record: NodeRecord, patient: bool) -> None:
    if record.host_port[0] != HOST:
        dial(record, patient)


class Joiners:
    """Several nodes in one process, each of which is to be linked with all real nodes, and dials no
    others."""

    def __init__(self, reactor: Any, directory: Path, numbers: range) -> None:
        self._missing = len(numbers)
        self._nodes = [
            Whole(reactor, directory, number, REALS, self._joined, True) for number in numbers
        ]

    def go(self) -> None:
        for node in self._nodes:
            node.go()

    def _joined(self) -> None:
        self._missing -= 1
        if not self._missing:
            say("whole")


@implementer(ILogObserver)
class _Links:
    """Counts links by the node's log events."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count

    def __call__(self, event: LogEvent) -> None:
        kind = event.get("event")
        if kind in ("linked", "unlinked"):
            self._count(1 if kind == "linked" else -1)


def secret_of(directory: Path) -> tuple[tuple[Key, ...], Credentials]:
    secret = (directory / plan.SECRET).read_bytes()
    certificate, key = directory / plan.CERTIFICATE, directory / plan.KEY
    return (Key.derive(secret),), certificates.load(certificate, key, None, False)


@implementer(IReadDescriptor)
class _Bell:
    """Fires when the other end of a pipe is closed."""

    def __init__(self, reactor: Any, fd: int, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._ring = ring
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "bell"

    def doRead(self) -> None:
        """Nothing is ever written to the pipe."""

    def connectionLost(self, reason: Any) -> None:
        if self._reactor.running:
            self._ring()


def live(make: Callable[[Any], Crowd], go: int, end: int) -> None:
    """Run one crowd, or one node, from when the pipe `go` is closed until `end` is closed."""
    from twisted.internet import reactor as default

    reactor: Any = default
    reactor.seconds = time.monotonic
    reactor.installNameResolver(Resolver(reactor, random.shuffle))
    crowd = make(reactor)
    _Bell(reactor, go, crowd.go)
    _Bell(reactor, end, lambda: os._exit(0))  # without a goodbye: its end should not cause any work
    reactor.callWhenRunning(say, "ready")
    reactor.run()


def main(directory: str, mode: str, count: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    (go, go_end), (end, end_end) = os.pipe(), os.pipe()
    for make in crowds(Path(directory), mode, int(count)):
        if not os.fork():
            os.close(go_end)
            os.close(end_end)
            live(make, go, end)
            return
    sys.stdin.readline()
    os.close(go_end)
    sys.stdin.read()  # only the exit is left: it closes the pipe, and the children exit too


def crowds(place: Path, mode: str, count: int) -> list[Callable[[Any], Crowd]]:
    """The part of each process."""
    first = REALS + 1
    numbers = range(first, first + count)
    if mode == "star":
        return [lambda reactor: Stars(reactor, place, numbers)]
    if mode == "join":
        parts = [numbers[start::JOIN_PROCESSES] for start in range(JOIN_PROCESSES)]
        return [partial(_joiners, place, part) for part in parts if part]
    return [partial(_whole, place, number, count) for number in numbers]


def _joiners(directory: Path, numbers: range, reactor: Any) -> Joiners:
    return Joiners(reactor, directory, numbers)


def _whole(directory: Path, number: int, total: int, reactor: Any) -> Whole:
    return Whole(reactor, directory, number, total, partial(say, "whole"))


if __name__ == "__main__":
    main(*sys.argv[1:])
