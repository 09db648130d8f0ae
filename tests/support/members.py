"""A malicious member: real protocol, real TLS, and whatever messages the test wants."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.auth import signing
from tunmesh.auth.handshake import Dialer, Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, SECRET, Member, Mesh
from tunmesh.tls.binding import EXPORTER
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.transport import client_factory
from tunmesh.wire import sizes
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.records import NodeRecord

HOST = "198.51.100.66"
ADDRESS = "10.9.0.66"


@implementer(IHandshakeListener)
class Mallory(Protocol):
    """Dials a node; then the test decides."""

    transport: Any

    def __init__(self, record: NodeRecord, node_key: NodeKey) -> None:
        self.record = record
        self.shown = signing.show(record, node_key)
        self.node_key = node_key
        self.heard: list[bytes] = []
        self.is_up = self.has_ended = False
        self.answers_pings = False
        self._decoder = Decoder(sizes.MAX_FRAME)

    def dial(self, mesh: Mesh, node: Member, host: str = HOST) -> Mallory:
        """Link with this node."""
        plain: Any = ClientFactory.forProtocol(lambda: self)
        factory = client_factory(Contexts(credentials()), node.host, plain, mesh.clock)
        mesh.network.connect(host, node.host, PORT, factory, timeout=5)
        mesh.advance(0.1)
        return self

    def say(self, *payloads: bytes) -> None:
        self.transport.write(b"".join(map(encode, payloads)))

    def handshakeCompleted(self) -> None:
        binding = self.transport.getHandle().export_keying_material(EXPORTER, 32, b"")
        self._machine = Dialer((Key.derive(SECRET),), self.node_key, self.shown, bytes(32), binding)
        self.say(self._machine.hello)

    def dataReceived(self, data: bytes) -> None:
        for payload in map(bytes, self._decoder.feed(data)):
            if self.is_up:
                self.heard.append(payload)
                if self.answers_pings and payload[:1] == b"i":
                    self.say(b"o" + payload[1:])
                continue
            step = self._machine.receive(payload)
            if step.send is not None:
                self.say(step.send)
            self.is_up = step.peer is not None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.has_ended = True

    def count(self, tag: bytes) -> int:
        return sum(payload[:1] == tag for payload in self.heard)


def mallory(seed: int = 66, **changes: Any) -> Mallory:
    """A member with its own record, except for these changes."""
    node_key = NodeKey.of(seed.to_bytes(SEED_SIZE, "big"))
    record = NodeRecord(
        id=node_key.id,
        name="mallory",
        started=1,
        url=f"https://{HOST}:{PORT}",
        addresses=(ip_interface(f"{ADDRESS}/16"),),
        version="evil",
    )
    return Mallory(replace(record, **changes), node_key)
