"""TLS on both sides of the port: which files will do, whom a dialer believes, and what strangers
can do to a listener."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.network import LATENCY, Network
from tunmesh.tls import bulk
from tunmesh.tls.admission import MAX_CLIENTS, MAX_VISIT
from tunmesh.tls.binding import Channel
from tunmesh.tls.credentials import ALPN, Contexts, Credentials, select_protocol
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT, MeshPort
from tunmesh.tls.read_quota import QUOTA
from tunmesh.tls.transport import (
    MIN_READ,
    READ_SIZE,
    TunedTransport,
    client_factory,
    server_factory,
)

STRANGER = "198.51.100.1"
DAY = timedelta(days=1)
AnyKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Holder:
    """Somebody with a key and a certificate, who may issue certificates to others."""

    def __init__(
        self,
        name: str,
        *names: str,
        issuer: Holder | None = None,
        key: Any = None,
        begin: timedelta = -DAY,
        end: timedelta = DAY,
        usage: Sequence[x509.ObjectIdentifier] = (),
    ) -> None:
        """`names`: the DNS names and addresses that it is for. `begin`, `end`: from now. `usage`:
        the extended one."""
        self.key: Any = key or ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
            builder = builder.add_extension(alternatives, critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        algorithm = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else SHA256()
        self.certificate = builder.sign(signer.key, algorithm)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, encryption: KeySerializationEncryption | None = None) -> bytes:
        data: bytes = self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
        )
        return data

    def credentials(
        self, *trusted: Holder, issuers: Sequence[Holder] = (), verify_hostname: bool = False
    ) -> Credentials:
        """What a node has that shows this certificate and those of its issuers."""
        chain = tuple(holder.certificate for holder in (self, *issuers))
        trust = tuple(holder.certificate for holder in trusted)
        return Credentials(chain, self.key, trust, verify_hostname)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Meeting(SynchronousTestCase):
    """A node, a, that another one, b, dials."""

    def meet(self, a: Credentials, b: Credentials, name: str = "") -> tuple[Member, Member]:
        """Let b dial a by this name, or by its address."""
        mesh = Mesh()
        one = mesh.add("a", credentials=a, url=f"https://{name or '192.0.2.1'}:{PORT}")
        mesh.network.names[name] = [one.host]
        group = GroupSettings("a", ((name or one.host, PORT),))
        other = mesh.add("b", credentials=b, groups=(group,), url=f"https://192.0.2.99:{PORT}")
        mesh.advance(3)
        return one, other

    def assert_believed(self, a: Credentials, b: Credentials, name: str = "") -> None:
        one, other = self.meet(a, b, name)
        self.assertEqual((one.linked_with, other.linked_with), (["b"], ["a"]))

    def assert_refused(self, text: str, a: Credentials, b: Credentials, name: str = "") -> None:
        one, other = self.meet(a, b, name)
        self.assertEqual((one.linked_with, other.linked_with), ([], []))
        failures = other.logged("handshake_failed")
        self.assertEqual([each["reason"] for each in failures], ["certificate"])
        self.assertIn(text, failures[0]["why"])
        self.assertGreater(other.status.handshake_failures["certificate"], 0)


class TrustTests(Meeting):
    """Whether b believes a's certificate."""

    def test_every_kind_of_key(self) -> None:
        """Elliptic curves, Ed25519 and RSA all do."""
        keys: list[AnyKey] = [
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
            rsa.generate_private_key(65537, 2048),
        ]
        for key in keys:
            mesh = Holder("mesh", "mesh.test", key=key)
            shared = mesh.credentials(mesh)
            self.assert_believed(shared, shared)

    def test_one_authority(self) -> None:
        """Nodes with certificates of their own believe each other by their common CA."""
        root = Holder("root")
        a, b = (Holder(name, f"{name}.test", issuer=root) for name in "ab")
        self.assert_believed(a.credentials(root), b.credentials(root))

    def test_intermediate_authority(self) -> None:
        """Between CA and certificate there may be others, which the node sends along; or the one
        between is itself what is trusted."""
        root = Holder("root")
        middle = Holder("middle", issuer=root)
        a = Holder("a", "a.test", issuer=middle)
        self.assert_believed(a.credentials(root, issuers=[middle]), a.credentials(root))
        self.assert_believed(a.credentials(root), a.credentials(middle))

    def test_unknown_authority(self) -> None:
        """A certificate that does not lead to the CA is refused, whatever it calls itself."""
        root, impostor = Holder("root"), Holder("root")
        a = Holder("a", "a.test", issuer=impostor).credentials(impostor)
        b = Holder("b", "b.test", issuer=root).credentials(root)
        self.assert_refused("certificate verify failed: it is not one that this node trusts", a, b)

    def test_other_self_signed(self) -> None:
        """Two nodes with one self-signed certificate each do not believe each other."""
        self.assert_refused("certificate verify failed", credentials("a"), credentials("b"))

    def test_dates(self) -> None:
        """A certificate that has expired, or is not valid yet, is refused."""
        for begin, end, why in (
            (-2 * DAY, -DAY, "it has expired"),
            (DAY, 2 * DAY, "it is not valid yet"),
        ):
            mesh = Holder("mesh", "mesh.test", begin=begin, end=end)
            shared = mesh.credentials(mesh)
            self.assert_refused(f"certificate verify failed: {why}", shared, shared)

    def test_purpose(self) -> None:
        """A certificate that is for clients only is refused, and who shows it is told why."""
        mesh = Holder("mesh", "mesh.test", usage=[ExtendedKeyUsageOID.CLIENT_AUTH])
        shared = mesh.credentials(mesh)
        self.assert_refused("certificate verify failed: it is not for servers", shared, shared)
        one, _ = self.meet(shared, shared)
        (told, *_) = one.logged("handshake_failed")
        self.assertIn("TLS: this node's certificate is not for servers, it says", told["why"])

    def test_names_do_not_matter(self) -> None:
        """Unless names are to be verified, a certificate for any name will do."""
        mesh = Holder("mesh", "mesh.test")
        self.assert_believed(mesh.credentials(mesh), mesh.credentials(mesh), "a.test")

    def test_verify_name(self) -> None:
        """Where names are verified, the certificate must be for the name that was dialed; a
        wildcard is for all of its names."""
        for certified in ("a.test", "*.test.example", "my_app"):
            mesh = Holder("mesh", certified)
            strict = mesh.credentials(mesh, verify_hostname=True)
            self.assert_believed(strict, strict, certified.replace("*", "a"))
        mesh = Holder("mesh", "b.test", "192.0.2.1")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a.test", strict, strict, "a.test")
        self.assert_believed(strict, strict, "b.test.")  # the final dot is the resolver's

    def test_name_that_is_none(self) -> None:
        """What can be in no certificate is in none."""
        mesh = Holder("mesh", "a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a~b", strict, strict, "a~b")

    def test_verify_address(self) -> None:
        """Who dials an address wants it in the certificate."""
        mesh = Holder("mesh", "192.0.2.1")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_believed(strict, strict)
        mesh = Holder("mesh", "192.0.2.2", "a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for 192.0.2.1", strict, strict)

    def test_common_name_is_no_name(self) -> None:
        """A certificate without subject alternative names is for nobody (RFC 9525)."""
        mesh = Holder("a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a.test", strict, strict, "a.test")

    def test_server_name(self) -> None:
        """Each connection asks for the name that it dials, as it stands in the URL, although all
        have one context; who dials an address asks for none."""
        clock, contexts, asked = Clock(), Contexts(credentials()), []
        contexts.server.set_tlsext_servername_callback(lambda c: asked.append(c.get_servername()))
        network = Network(clock)
        listening = server_factory(contexts, Factory.forProtocol(Protocol), clock)
        network.listeners["192.0.2.1", PORT] = listening
        for host in ("a.test", "my_app", "192.0.2.1", "b.test."):
            dialing = ClientFactory.forProtocol(Protocol)
            wrapped = client_factory(contexts, host, dialing, clock)
            network.connect(STRANGER, "192.0.2.1", PORT, wrapped, timeout=5)
        clock.pump([LATENCY] * 5)
        self.assertEqual(asked, [b"a.test", b"my_app", None, b"b.test"])

    def test_not_a_mesh(self) -> None:
        """A TLS server that does not speak the protocol is recognised as one."""
        mesh = Mesh()
        web = mesh.add("web", start=False)
        mesh.network.listeners[web.host, PORT] = TLSMemoryBIOFactory(
            web_server(credentials()), False, Factory.forProtocol(Protocol), mesh.clock
        )
        a = mesh.add("a")
        mesh.advance(3)
        (failure,) = a.logged("handshake_failed")
        self.assertEqual(failure["reason"], "tls")
        self.assertIn("it does not speak tunmesh/1", failure["why"])


def web_server(shown: Credentials) -> CertificateOptions:
    """TLS of a server that knows no protocol of ours."""
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(shown.key),  # type: ignore[arg-type]
        certificate=crypto.X509.from_cryptography(shown.chain[0]),
    )
    # Twisted's own way to choose none is an error to newer OpenSSLs.
    options.getContext().set_alpn_select_callback(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
    return options


class SessionTests(SynchronousTestCase):
    """No session is resumed: each connection begins with a whole handshake, and its own keys."""

    def shake_hands(
        self, client: SSL.Context, server: SSL.Context, session: SSL.Session | None = None
    ) -> tuple[SSL.Session, list[int], bool]:
        """The session that the client could come back with, how long the records are that the
        server sends behind the handshake, and whether the session was resumed."""
        ends = SSL.Connection(client, None), SSL.Connection(server, None)
        ends[0].set_connect_state()
        ends[1].set_accept_state()
        if session is not None:
            ends[0].set_session(session)
        last = b""
        for one, other in (ends, ends[::-1], ends, ends[::-1]):
            for call in (one.do_handshake, lambda end=one: end.recv(1)):
                with contextlib.suppress(SSL.WantReadError):
                    call()
            with contextlib.suppress(SSL.WantReadError):
                last = one.bio_read(1 << 16)
                other.bio_write(last)
        with contextlib.suppress(SSL.WantReadError):
            ends[0].recv(1)
        for end in ends:  # OpenSSL takes no session of a connection that was cut off
            end.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        kept = ends[0].get_session()
        assert kept is not None
        resumed = SSL._lib.SSL_session_reused(ends[0]._ssl)  # type: ignore[attr-defined]
        return kept, list(self.records(last)), bool(resumed)

    def records(self, data: bytes) -> Iterator[int]:
        while data:
            size = 5 + int.from_bytes(data[3:5], "big")
            yield size
            data = data[size:]

    def test_tickets(self) -> None:
        """OpenSSL sends two tickets behind each handshake of TLS 1.3, which pyOpenSSL cannot turn
        off. They are small, since no session is in them, and none is resumed by them."""
        shown = credentials()
        client, server = shown.client_context(), shown.server_context()
        session, sizes, _ = self.shake_hands(client, server)
        self.assertEqual(sizes, [79, 79])
        for _ in range(3):
            session, sizes, resumed = self.shake_hands(client, server, session)
            self.assertEqual((sizes, resumed), ([79, 79], False))

    def test_tls12(self) -> None:
        """Nor is one of TLS 1.2, as probes have it; there are no tickets at all."""
        client = SSL.Context(SSL.TLS_METHOD)
        client.set_max_proto_version(SSL.TLS1_2_VERSION)
        server = credentials().server_context()
        session, _, _ = self.shake_hands(client, server)
        self.assertFalse(self.shake_hands(client, server, session)[2])

    def test_others_resume(self) -> None:
        """With OpenSSL's defaults, the same two ends do resume: the test would see it."""
        shown = credentials()
        server = SSL.Context(SSL.TLS_METHOD)
        server.use_certificate(crypto.X509.from_cryptography(shown.chain[0]))
        server.use_privatekey(crypto.PKey.from_cryptography_key(shown.key))  # type: ignore
        server.set_alpn_select_callback(partial(select_protocol, (ALPN,)))
        client = shown.client_context()
        session, sizes, _ = self.shake_hands(client, server)
        self.assertGreater(min(sizes), 200)
        self.assertTrue(self.shake_hands(client, server, session)[2])


class Stranger(Protocol):
    """Somebody who connects, says something at first, and sees when it ends."""

    transport: Any

    def __init__(self, mesh: Mesh, opening: bytes = b"") -> None:
        self.mesh = mesh
        self.opening = opening
        self.received = b""
        self.ended: float | None = None

    def connectionMade(self) -> None:
        if self.opening:
            self.transport.write(self.opening)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = self.mesh.clock.seconds()


class WhyLostTests(SynchronousTestCase):
    """What is said of a connection that was lost before anybody was authenticated on it."""

    def test_reasons(self) -> None:
        """Whatever OpenSSL or the network give as the reason, it is a word that is counted."""
        for error, reason, text in (
            (SSL.Error([("SSL routines", "", "wrong version number")]), "tls", "wrong version"),
            (SSL.Error([("", "", "certificate verify failed")]), "certificate", "verify failed"),
            (SSL.Error([("", "", "tlsv1 alert unknown ca")]), "certificate", "does not trust"),
            (SSL.Error([("", "", "tls alert certificate expired")]), "certificate", "has expired"),
            (SSL.SysCallError(104, "ECONNRESET"), "tls", "ECONNRESET"),
            (SSL.ZeroReturnError(), "closed", "closed the connection"),
            (ConnectionDone(), "closed", "closed the connection"),
        ):
            found = Channel().why_lost(Failure(error))
            self.assertEqual(found.reason, reason)
            self.assertIn(text, str(found))


class Read:
    """A connection, and whether it is read."""

    def __init__(self) -> None:
        self.is_read = True
        self.bufferSize = READ_SIZE

    def pauseProducing(self) -> None:
        self.is_read = False

    def resumeProducing(self) -> None:
        self.is_read = True


class ReadingTests(SynchronousTestCase):
    """How much of a connection is read, and when."""

    def setUp(self) -> None:
        factory = client_factory(Contexts(credentials()), "a", Factory(), Clock())
        self.tuned = TunedTransport(factory, Protocol())
        self.plain = self.tuned.transport = Read()

    def test_after_reads(self) -> None:
        """A read that takes long makes the next ones small. What is done after it is not charged
        to the other end."""
        now, takes = [100.0], [0.1 * QUOTA, 3 * QUOTA]
        done: list[str] = []

        def spend(seconds: float, what: str) -> None:
            now[0] += seconds
            done.append(what)

        def take(transport: TunedTransport, data: bytes) -> None:
            spend(takes.pop(0), "read")

        self.patch(time, "thread_time", lambda: now[0])
        self.patch(bulk.transport_class, "dataReceived", take)
        self.tuned.call_after_reads(lambda: spend(3 * QUOTA, "answered"))
        self.tuned.dataReceived(bytes(READ_SIZE))
        self.assertEqual(self.plain.bufferSize, READ_SIZE)
        self.tuned.dataReceived(bytes(READ_SIZE))
        self.assertAlmostEqual(self.plain.bufferSize, READ_SIZE // 3, delta=1)
        self.assertEqual(done, ["read", "answered"] * 2)

    def test_paused_meanwhile(self) -> None:
        """Who pauses it meanwhile is the one who resumes it, and not before it is its turn."""
        self.tuned.pause_reading()
        self.tuned.pauseProducing()
        self.tuned.resume_reading()
        self.assertFalse(self.plain.is_read)
        self.tuned.pause_reading()
        self.tuned.resumeProducing()
        self.assertFalse(self.plain.is_read)
        self.tuned.resume_reading()
        self.assertTrue(self.plain.is_read)


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
    """A connection on which both ends have agreed to speak of links."""

    negotiatedProtocol = ALPN


class StrangersTests(SynchronousTestCase):
    """A node, a, and who else connects to its port."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a = self.mesh.add("a")
        self.mesh.advance(5)
        self.began = self.mesh.clock.seconds()

    def connect(self, opening: bytes = b"", secure: Any = None) -> Stranger:
        """A stranger connects. `secure(factory)` makes that a TLS connection."""
        stranger = Stranger(self.mesh, opening)
        factory: Any = ClientFactory.forProtocol(lambda: stranger)
        if secure is not None:
            factory = secure(factory)
        self.mesh.network.connect(STRANGER, self.a.host, PORT, factory, timeout=5)
        return stranger

    def as_link(self, factory: Any) -> Any:
        return client_factory(Contexts(credentials()), self.a.host, factory, self.mesh.clock)

    def as_browser(self, factory: Any) -> Any:
        return TLSMemoryBIOFactory(CertificateOptions(), True, factory, self.mesh.clock)

    def failures(self) -> dict[str, int]:
        """The reasons that were counted at a."""
        counts = self.a.status.handshake_failures
        return {reason: count for reason, count in counts.items() if count}

    def lasted(self, stranger: Stranger) -> float:
        """For how many seconds a let it stay."""
        assert stranger.ended is not None, "it is still there"
        return stranger.ended - self.began

    def test_silence(self) -> None:
        """Who connects and says nothing is hung up on after five seconds."""
        stranger = self.connect()
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(stranger), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_silence_after_tls(self) -> None:
        """Who speaks TLS and then nothing has no more time than that, in all."""
        stranger = self.connect(secure=self.as_link)
        self.mesh.advance(LATENCY)
        self.mesh.network.cut(STRANGER, self.a.host)
        self.mesh.advance(3)
        self.mesh.network.heal()
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(stranger), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_garbage(self) -> None:
        """Who speaks something else than TLS is hung up on at once."""
        for opening in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.7\r\n", bytes(100)):
            stranger = self.connect(opening)
            self.mesh.advance(0.5)
            self.assertIsNotNone(stranger.ended, opening)
        self.assertEqual(self.failures(), {"tls": 3})
        self.assertEqual(self.a.status.links, {})

    def test_half_a_record(self) -> None:
        """Who begins to speak TLS and stops has no more time than who says nothing."""
        stranger = self.connect(b"\x16\x03\x01\x02\x00\x01")
        self.mesh.advance(10)
        self.assertApproximates(self.lasted(stranger), HANDSHAKE_TIMEOUT, 0.1)
        self.assertEqual(self.failures(), {"timeout": 1})

    def test_much_at_once(self) -> None:
        """However much a stranger sends, it is read by a little at a time: it may have to wait."""
        stranger = self.connect(b"GET /livez HTTP/1.1\r\n", secure=self.as_browser)
        self.mesh.advance(1)
        (wire,) = (each for each in self.mesh.network.wires if each.here == self.a.host)
        for _ in range(3):
            stranger.transport.write(b"X: " + b"x" * MIN_READ + b"\r\n")
            self.mesh.advance(0.1)
            self.assertEqual(vars(wire)["bufferSize"], MIN_READ)
        self.assertIsNone(stranger.ended)

    def test_garbage_instead_of_hello(self) -> None:
        """Who speaks TLS and then garbage learns nothing and is hung up on at once."""
        stranger = self.connect(b"12:hello, world,", secure=self.as_link)
        self.mesh.advance(0.5)
        self.assertLess(self.lasted(stranger), 0.5)
        self.assertEqual(stranger.received, b"")
        self.assertEqual(sum(self.failures().values()), 1)

    def test_https(self) -> None:
        """A browser gets its page over the same port, and is no failed link."""
        request = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        stranger = self.connect(request, secure=self.as_browser)
        self.mesh.advance(1)
        self.assertTrue(stranger.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIsNotNone(stranger.ended)
        self.assertEqual(self.failures(), {})

    def test_crowd(self) -> None:
        """However many strangers connect, only so many are let in at a time. Links that are up do
        not notice, and when the strangers are gone there is room again."""
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
        """Nor does it help to speak, a byte now and then: after a minute every visit is over."""
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
        """Somebody who only keeps HTTPS connections open takes places too, until he is hung up on
        for saying nothing."""
        crowd = [self.connect(secure=self.as_browser) for _ in range(MAX_CLIENTS)]
        self.mesh.advance(1)
        one_more = self.connect()
        self.mesh.advance(1)
        self.assertIsNotNone(one_more.ended)
        self.mesh.advance(20)
        self.assertNotIn(None, [each.ended for each in crowd])
