"""A man in the middle who holds the mesh's certificate and its key, but not the secret."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IHandshakeListener, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.attacks.test_strangers import Tape
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.reactor import MemoryReactor
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.transport import client_factory, server_factory
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.proofs import Challenge, Hello
from tunmesh.wire.sizes import MAX_HANDSHAKE_FRAME

ATTACKER = "192.0.2.66"


@implementer(IHandshakeListener)
class Splice(Protocol):
    """One of two TLS sessions; the plain text of each is forwarded into the other."""

    transport: Any
    other: Splice | None = None

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.waiting = b""

    def handshakeCompleted(self) -> None:
        self.attack.established(self)

    def dataReceived(self, data: bytes) -> None:
        self.attack.seen.append(data)
        if self.other is None:
            self.waiting += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class Attack(Factory):
    """Listens at ATTACKER, presents the mesh's own certificate, and forwards everything to a
    victim."""

    noisy = False

    def __init__(self, mesh: Mesh, victim: str) -> None:
        self.reactor = MemoryReactor(mesh.network, ATTACKER)
        self.victim = victim
        self.near: Splice | None = None
        self.seen: list[bytes] = []
        self.spliced = 0
        self.reactor.listenTCP(PORT, server_factory(Contexts(credentials()), self, self.reactor))

    def buildProtocol(self, addr: object) -> Splice:
        return Splice(self)

    def established(self, side: Splice) -> None:
        if self.near is None:
            self.near = side
            endpoint = HostnameEndpoint(self.reactor, self.victim.encode(), PORT)
            endpoint.connect(
                client_factory(Contexts(credentials()), self.victim, self, self.reactor)
            )
            return
        self.near.other, side.other = side, self.near
        side.transport.write(self.near.waiting)
        self.near = None
        self.spliced += 1


class Poser(Protocol):
    """Answers a dialer's messages as far as that is possible without the secret: the key ids are in
    the hello, so it can choose one."""

    transport: Any

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard
        self._decoder = Decoder(MAX_HANDSHAKE_FRAME)

    def dataReceived(self, data: bytes) -> None:
        for payload in map(bytes, self._decoder.feed(data)):
            self._heard.append(payload)
            if payload[:1] == b"H":
                hello = Hello.decode(payload)
                challenge = Challenge(hello.versions[0], hello.key_ids[0], bytes(32))
                self.transport.write(encode(challenge.encode()))
            else:
                self.transport.write(encode(payload))  # nothing else is possible without the secret


class Recorded(Factory):
    """Wraps another factory, and records the bytes."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, seen: list[bytes]) -> None:
        self._inner, self._seen = inner, seen

    def buildProtocol(self, addr: Any) -> Tape:
        inner: Any = self._inner.buildProtocol(addr)
        return Tape(inner, self._seen)


class PoserTests(SynchronousTestCase):
    """An attacker at a node's address, with the mesh's certificate."""

    def test_dialer_reveals_nothing(self) -> None:
        """What a dialer sends contains neither its name nor its addresses, URL, version or id, and
        nor does the visible part of TLS."""
        said: list[bytes] = []  # inside TLS
        seen: list[bytes] = []  # on the wire
        mesh = Mesh(groups=())
        reactor = MemoryReactor(mesh.network, ATTACKER)
        posers = Factory.forProtocol(lambda: Poser(said))
        secured = server_factory(Contexts(credentials()), posers, reactor)
        reactor.listenTCP(PORT, Recorded(secured, seen))
        trap = (GroupSettings("trap", ((ATTACKER, PORT),)),)
        dialer = mesh.add("a-name-that-is-seen", groups=trap)
        mesh.advance(10)
        kinds = {message[:1] for message in said}
        self.assertEqual(kinds, {b"H", b"P"})  # the exchange got as far as the proof
        self.assertGreater(sum(map(len, seen)), sum(map(len, said)))
        self.assertEqual(set(dialer.status.handshake_failures.values()) - {0}, {len(said) // 2})
        told = self.of(dialer)
        for data in (b"".join(said), b"".join(seen)):
            for what, needle in told:
                self.assertNotIn(needle, data, what)

    def of(self, dialer: Member) -> list[tuple[str, bytes]]:
        """The contents of a record, as text and as bytes."""
        record = dialer.status.record
        ips = [address.ip for address in record.addresses]
        texts = (record.id, record.name, record.url, dialer.host, record.version, '"name"')
        return [
            *((text, text.encode()) for text in (*texts, *map(str, ips), str(record.started))),
            *((str(ip), ip.packed) for ip in ips),
            ("id", bytes.fromhex(record.id)),
        ]


class SpliceTests(SynchronousTestCase):
    """Two honest nodes with a man in the middle are not linked."""

    def test_two_tls_sessions_are_not_one(self) -> None:
        """Forwarding every byte between two TLS sessions authenticates neither end: a proof is
        bound to its own session."""
        mesh = Mesh(groups=())
        a = mesh.add("a")
        attack = Attack(mesh, a.host)
        b = mesh.add("b", groups=(GroupSettings("trap", ((ATTACKER, PORT),)),))
        mesh.advance(60)
        self.assertGreater(attack.spliced, 3)
        self.assertIn(b"P", b"".join(attack.seen))  # the exchange got as far as b's proof
        self.assertEqual((a.linked_with, b.linked_with), ([], []))
        self.assertEqual(a.status.handshake_failures["bad_proof"], attack.spliced)
        self.assertEqual(b.status.handshake_failures["closed"], attack.spliced)
        self.assertEqual((a.status.nodes_known, b.status.nodes_known), (0, 0))

    def test_one_session_links(self) -> None:
        """With one end-to-end TLS session through the same proxy, the two nodes are linked: only
        the second session makes the attack fail."""
        mesh = Mesh(groups=())
        a = mesh.add("a")
        mesh.network.listeners[ATTACKER, PORT] = mesh.network.listeners[a.host, PORT]
        b = mesh.add("b", groups=(GroupSettings("detour", ((ATTACKER, PORT),)),))
        mesh.until(mesh.is_complete)
        self.assertEqual(b.linked_with, ["a"])
