"""What the listening port accepts, and for how long."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import CLIENT, Client
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.testing.network import LATENCY
from tunmesh.tls.admission import MAX_CLIENTS, MAX_VISIT
from tunmesh.tls.credentials import ALPN, Contexts
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT, MeshPort
from tunmesh.tls.transport import (
    MIN_READ,
    client_factory,
)


class MeshPortTests(SynchronousTestCase):
    """What is accepted, and for how long."""

    def test_tls_at_the_last_moment(self) -> None:
        """When TLS is up in the very iteration of the reactor in which its time is over, no time
        is left for the rest: not less than none, which would be an error."""
        clock, left = Clock(), []

        def accept(timeout: float, authenticated: object) -> Protocol:
            left.append(timeout)
            return Protocol()

        port = MeshPort(clock, accept, lambda address: None, lambda host, error: None)
        client = port.buildProtocol(None)
        assert client is not None
        client.makeConnection(LinkTransport())
        clock.rightNow += HANDSHAKE_TIMEOUT + 0.1  # time passes, but no timer is called
        IHandshakeListener(client).handshakeCompleted()
        self.assertEqual(left, [0.0])


class LinkTransport(StringTransport):
    """A connection on which ALPN has chosen the protocol of links."""

    negotiatedProtocol = ALPN


class ClientTests(SynchronousTestCase):
    """A node, a, and clients that connect to its port."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a = self.mesh.add("a")
        self.mesh.advance(5)
        self.began = self.mesh.clock.seconds()

    def connect(self, opening: bytes = b"", secure: Any = None) -> Client:
        """A client connects; over TLS, if `secure(factory)` makes it so."""
        client = Client(self.mesh, opening)
        factory: Any = ClientFactory.forProtocol(lambda: client)
        if secure is not None:
            factory = secure(factory)
        self.mesh.network.connect(CLIENT, self.a.host, PORT, factory, timeout=5)
        return client

    def as_link(self, factory: Any) -> Any:
        return client_factory(Contexts(credentials()), self.a.host, factory, self.mesh.clock)

    def as_browser(self, factory: Any) -> Any:
        return TLSMemoryBIOFactory(CertificateOptions(), True, factory, self.mesh.clock)

    def failures(self) -> dict[str, int]:
        """The reasons that were counted at a."""
        counts = self.a.status.handshake_failures
        return {reason: count for reason, count in counts.items() if count}

    def lasted(self, client: Client) -> float:
        """How many seconds its connection lasted."""
        assert client.ended is not None, "it is still there"
        return client.ended - self.began

    def test_silence(self) -> None:
        """A client that sends nothing is disconnected after five seconds."""
        client = self.connect()
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(client), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_silence_after_tls(self) -> None:
        """One that is silent once TLS is up has no more time than that in all."""
        client = self.connect(secure=self.as_link)
        self.mesh.advance(LATENCY)
        self.mesh.network.cut(CLIENT, self.a.host)
        self.mesh.advance(3)
        self.mesh.network.heal()
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(client), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_garbage(self) -> None:
        """One that speaks anything but TLS is disconnected at once."""
        for opening in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.7\r\n", bytes(100)):
            client = self.connect(opening)
            self.mesh.advance(0.5)
            self.assertIsNotNone(client.ended, opening)
        self.assertEqual(self.failures(), {"tls": 3})
        self.assertEqual(self.a.status.links, {})

    def test_half_a_record(self) -> None:
        """One that stops in the middle of a TLS record has no more time than a silent one."""
        client = self.connect(b"\x16\x03\x01\x02\x00\x01")
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(client), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_much_at_once(self) -> None:
        """However much a client sends, little of it is read at a time, since that may have to
        wait."""
        client = self.connect(b"GET /livez HTTP/1.1\r\n", secure=self.as_browser)
        self.mesh.advance(1)
        (wire,) = (each for each in self.mesh.network.wires if each.here == self.a.host)
        for _ in range(3):
            client.transport.write(b"X: " + b"x" * MIN_READ + b"\r\n")
            self.mesh.advance(0.1)
            self.assertEqual(vars(wire)["bufferSize"], MIN_READ)
        self.assertIsNone(client.ended)

    def test_garbage_instead_of_hello(self) -> None:
        """One that sends garbage over TLS gets no answer and is disconnected at once."""
        client = self.connect(b"12:hello, world,", secure=self.as_link)
        self.mesh.advance(0.5)
        self.assertLess(self.lasted(client), 0.5)
        self.assertEqual(client.received, b"")
        self.assertEqual(sum(self.failures().values()), 1)

    def test_https(self) -> None:
        """A browser gets its page at the same port, and is not counted as a failed link."""
        request = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        client = self.connect(request, secure=self.as_browser)
        self.mesh.advance(1)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIsNotNone(client.ended)
        self.assertEqual(self.failures(), {})

    def test_crowd(self) -> None:
        """However many clients connect, the number of their connections is limited. Links that are
        up do not notice, and slots are free again when the clients are gone."""
        b = self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        crowd = [self.connect() for _ in range(MAX_CLIENTS)]
        self.mesh.advance(1)
        self.assertEqual([each for each in crowd if each.ended is not None], [])
        one_more = self.connect(secure=self.as_browser)
        self.mesh.advance(1)
        self.assertIsNotNone(one_more.ended)
        self.assertEqual(self.failures(), {"crowded": 1})
        self.assertTrue(self.mesh.send(b, self.a, b"not disturbed"))
        self.mesh.advance(4)
        self.assertNotIn(None, [each.ended for each in crowd])
        self.mesh.add("c")
        self.mesh.until(self.mesh.is_complete, within=5)

    def test_slow_browsers_leave(self) -> None:
        """Sending a byte now and then does not help: no HTTPS connection lasts longer than a
        minute."""
        crowd = [self.connect(b"GET /livez", self.as_browser) for _ in range(MAX_CLIENTS)]
        for _ in range(6):
            self.mesh.advance(10)
            for each in crowd:
                each.transport.write(b"x")
        self.mesh.advance(MAX_VISIT - 60 + 3)
        self.assertNotIn(None, [each.ended for each in crowd])
        self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete, within=5)

    def test_idle_browsers_count(self) -> None:
        """Idle HTTPS connections take slots too, until they are closed for being idle."""
        crowd = [self.connect(secure=self.as_browser) for _ in range(MAX_CLIENTS)]
        self.mesh.advance(1)
        one_more = self.connect()
        self.mesh.advance(1)
        self.assertIsNotNone(one_more.ended)
        self.mesh.advance(20)
        self.assertNotIn(None, [each.ended for each in crowd])
