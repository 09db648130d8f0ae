"""Attacks by those who cannot prove anything, on a node that is linked with another one, over TLS.
After each one the two are linked as before, and the port is open to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import Client, web_server
from tests.support.members import Mallory
from tunmesh.auth.handshake import Key
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, SECRET, Mesh
from tunmesh.tls.admission import MAX_CLIENTS
from tunmesh.tls.credentials import ALPN, Contexts
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT
from tunmesh.tls.transport import client_factory
from tunmesh.wire import sizes
from tunmesh.wire.netstring import encode
from tunmesh.wire.proofs import Hello, Proof

KEY = Key.derive(SECRET)
ATTACKER, PASSER_BY = "198.51.100.1", "203.0.113.1"
Secure = Callable[[Any], Any]


def hello(version: int = sizes.VERSION, key_id: bytes = KEY.id_for(bytes(32))) -> bytes:
    return encode(Hello((version,), (key_id,), bytes(32)).encode())


PROOF = encode(Proof(bytes(32), bytes(sizes.PROOF_SIZE)).encode())

# What is said over TLS instead of a handshake, and what it is counted as.
LIES = (
    (b"GET / HTTP/1.1\r\n\r\n", "framing"),
    (b"\x16\x03\x01\x02\x00\x01", "framing"),
    (b"-1:", "framing"),
    (b"007:", "framing"),
    (b"99999999999999999999:", "framing"),
    (b"1:HH", "framing"),
    (f"{sizes.MAX_HANDSHAKE_FRAME + 1}:".encode(), "oversized"),
    (b"999999999:", "oversized"),
    (b"0:,", "unexpected"),
    (encode(b"D" + bytes(60)), "unexpected"),
    (encode(b"G\1\0\0"), "unexpected"),
    (PROOF, "unexpected"),
    (encode(b"H"), "malformed"),
    (encode(b"H\xff" + bytes(2000)), "malformed"),
    (hello(version=99), "version"),
    (hello(key_id=bytes(8)), "unknown_key"),
    (hello() + hello(), "unexpected"),
    (hello() + PROOF, "bad_proof"),
)


class Echo(Protocol):
    """Sends back what it hears."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Tape(Protocol):
    """Sits on the path between two others, and records what one end sends."""

    transport: Any

    def __init__(self, inner: Protocol, heard: list[bytes]) -> None:
        self.inner, self.heard = inner, heard

    def connectionMade(self) -> None:
        self.inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.inner.connectionLost(reason)


class AttackCase(SynchronousTestCase):
    """Two nodes, a and b, that are linked. The attack is on a."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.lines = len(self.a.events)

    def connect(
        self, opening: bytes = b"", secure: Secure | None = None, host: str = ATTACKER
    ) -> Client:
        stranger = Client(self.mesh, opening)
        factory: Any = ClientFactory.forProtocol(lambda: stranger)
        if secure is not None:
            factory = secure(factory)
        self.mesh.network.connect(host, self.a.host, PORT, factory, timeout=5)
        return stranger

    def as_link(self, factory: Any) -> Any:
        contexts = Contexts(credentials())
        return client_factory(contexts, self.a.host, factory, self.mesh.clock)

    def as_old_link(self, factory: Any) -> Any:
        """With the protocol of links, over TLS 1.2."""
        contexts = Contexts(credentials())
        contexts.client.set_min_proto_version(SSL.TLS1_2_VERSION)
        contexts.client.set_max_proto_version(SSL.TLS1_2_VERSION)
        return client_factory(contexts, self.a.host, factory, self.mesh.clock)

    def as_browser(self, factory: Any) -> Any:
        """Without ALPN."""
        contexts = Contexts(credentials())
        contexts.client = SSL.Context(SSL.TLS_METHOD)
        return client_factory(contexts, self.a.host, factory, self.mesh.clock)

    def failures(self) -> dict[str, int]:
        counts = self.a.status.handshake_failures
        return {reason: count for reason, count in counts.items() if count}

    def assert_unharmed(self) -> None:
        """The link is the same one and carries packets, nobody else is linked, nothing is left of
        the strangers, few lines were logged, and others are let in."""
        self.mesh.advance(0.1)
        self.assertEqual(self.a.logged("unlinked"), [])
        self.assertTrue(self.mesh.send(self.a, self.b, b"there"))
        self.assertTrue(self.mesh.send(self.b, self.a, b"and back"))
        self.assertEqual(dict(self.a.status.links), {"up": 1})
        self.assertEqual(self.a.status.nodes_known, 1)
        self.assertLess(len(self.a.events) - self.lines, 6)
        page = self.connect(b"GET /livez HTTP/1.1\r\n\r\n", self.as_browser, PASSER_BY)
        self.mesh.advance(0.5)
        self.assertIn(b"200 OK", page.received)


class LiesTests(AttackCase):
    """Strangers that send something else than they should."""

    def test_lies(self) -> None:
        """Whatever is sent instead of the handshake ends it at once, is counted under its reason,
        and is answered with a challenge at most."""
        for opening, reason in LIES:
            before = self.a.status.handshake_failures[reason]
            stranger = self.connect(opening, self.as_link)
            self.mesh.advance(0.1)
            self.assertIsNotNone(stranger.ended, opening)
            self.assertEqual(self.a.status.handshake_failures[reason], before + 1, opening)
            self.assertIn(stranger.received[:4], (b"", b"42:C"), opening)
        self.assertEqual(sum(self.failures().values()), len(LIES))
        self.lines += 8  # one for each of so many reasons
        self.assert_unharmed()

    def test_a_thousand_failures(self) -> None:
        """A thousand failures are counted one by one, and make one log line."""
        for _ in range(1000):
            self.connect(b"no TLS at all")
            self.mesh.advance(0.01)
        self.mesh.advance(1)
        self.assertEqual(self.failures(), {"tls": 1000})
        self.assertLess(len(self.a.logged("handshake_failed")), 3)
        self.assert_unharmed()

    def test_old_tls(self) -> None:
        """A link over TLS 1.2 is refused; HTTPS over TLS 1.2 is served."""
        stranger = self.connect(hello(), self.as_old_link)
        self.mesh.advance(0.1)
        self.assertIsNotNone(stranger.ended)
        self.assertEqual((stranger.received, self.failures()), (b"", {"tls": 1}))
        self.assert_unharmed()

    def test_own_id(self) -> None:
        """A peer with the id of the node itself is sent away, even if it has its key."""
        me = self.a.node._parts.settings
        member = Mallory(me.record, me.node_key).dial(self.mesh, self.a)
        self.assertTrue(member.has_ended)
        self.assertEqual(member.heard[-1], b"Bself")
        self.assert_unharmed()

    def test_reflection(self) -> None:
        """A node that dials an echo is not linked with itself."""
        echo = TLSMemoryBIOFactory(mirror(), False, Factory.forProtocol(Echo), self.mesh.clock)
        self.mesh.network.listeners[ATTACKER, PORT] = echo
        self.a.reload(groups=(GroupSettings("mirror", ((ATTACKER, PORT),)),))
        self.mesh.advance(3)
        self.assertEqual(set(self.failures()), {"unexpected"})
        self.assert_unharmed()


def mirror() -> Any:
    """TLS of a server that speaks the protocol of links and has the certificate."""
    options = web_server(credentials())
    options.getContext().set_alpn_select_callback(lambda *_: ALPN)
    return options


class RecordedTests(AttackCase):
    """A stranger that has recorded what an honest node sent."""

    def setUp(self) -> None:
        super().setUp()
        heard: list[bytes] = []
        place = (self.a.host, PORT)
        honest = self.mesh.network.listeners[place]
        tape = Factory()
        tape.noisy = False
        tape.buildProtocol = lambda addr: Tape(honest.buildProtocol(addr), heard)  # type: ignore
        self.mesh.network.listeners[place] = tape
        self.b.crash()
        self.mesh.advance(0.1)
        self.a.events.clear()
        self.b.start()
        self.mesh.until(self.mesh.is_complete)
        self.mesh.network.listeners[place] = honest
        self.a.events.clear()
        self.lines = 0
        self.recorded = b"".join(heard)

    def test_replay(self) -> None:
        """Replaying all of it makes no link."""
        before = self.failures()
        stranger = self.connect(self.recorded)
        self.mesh.advance(0.1)
        self.assertIsNotNone(stranger.ended)
        self.assertNotEqual(self.failures(), before)
        self.assert_unharmed()

    def test_cut_short(self) -> None:
        """Nor does any part of it, whether the stranger then hangs up or stays silent."""
        for at in range(0, len(self.recorded), 16):
            stranger = self.connect(self.recorded[:at])
            self.mesh.advance(0.01)
            if stranger.ended is None:
                stranger.transport.loseConnection()
        self.connect(self.recorded[:-1])
        self.connect(self.recorded[: len(self.recorded) // 3])
        self.mesh.advance(HANDSHAKE_TIMEOUT + 1)
        self.assert_unharmed()


class CrowdTests(AttackCase):
    """Very many strangers."""

    def test_half_open(self) -> None:
        """However many connections one address holds, others are let in, and links are not
        affected."""
        crowd = [self.connect() for _ in range(3 * MAX_CLIENTS)]
        self.mesh.advance(1)
        self.assertLessEqual(sum(each.ended is None for each in crowd), MAX_CLIENTS)
        self.assert_unharmed()
        self.mesh.add("c")
        self.mesh.until(self.mesh.is_complete, within=2)
        self.assertGreater(self.failures()["crowded"], MAX_CLIENTS)

    def test_drip(self) -> None:
        """A byte a second does not extend the time that a stranger has."""
        crowd = [self.connect(b"\x16\x03\x01\x02\x00") for _ in range(MAX_CLIENTS)]
        for _ in range(6):
            self.mesh.advance(1)
            for each in crowd:
                each.transport.write(b"\1")
        self.assertNotIn(None, [each.ended for each in crowd])
        self.assertEqual(self.failures(), {"timeout": MAX_CLIENTS})
        self.assert_unharmed()

    def test_pipeline(self) -> None:
        """Ten thousand requests on one connection get one answer."""
        stranger = self.connect(b"GET /livez HTTP/1.1\r\n\r\n" * 10_000, self.as_browser)
        self.mesh.advance(1)
        self.assertEqual(stranger.received.count(b"HTTP/1.1"), 1)
        self.assert_unharmed()

    def test_endless_head(self) -> None:
        """A request longer than any page needs is not read to its end."""
        stranger = self.connect(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 200_000, self.as_browser)
        self.mesh.advance(1)
        self.assertNotIn(b"200 OK", stranger.received)
        self.assertIsNotNone(stranger.ended)
        self.assert_unharmed()
