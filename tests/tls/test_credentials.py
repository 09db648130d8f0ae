"""Which certificates a node that dials accepts, and that no session is resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import DAY, AnyKey, Holder
from tests.support.clients import CLIENT, web_server
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.network import LATENCY, Network
from tunmesh.tls.credentials import ALPN, Contexts, Credentials, select_protocol
from tunmesh.tls.transport import (
    client_factory,
    server_factory,
)


class Meeting(SynchronousTestCase):
    """Two nodes; b dials a."""

    def meet(self, a: Credentials, b: Credentials, name: str = "") -> tuple[Member, Member]:
        """Let b dial a by this name, or by its address."""
        mesh = Mesh()
        one = mesh.add("a", credentials=a, url=f"https://{name or '192.0.2.1'}:{PORT}")
        mesh.network.names[name] = [one.host]
        group = GroupSettings("a", ((name or one.host, PORT),))
        other = mesh.add("b", credentials=b, groups=(group,), url=f"https://192.0.2.99:{PORT}")
        mesh.advance(3)
        return one, other

    def assert_accepted(self, a: Credentials, b: Credentials, name: str = "") -> None:
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
    """Whether b accepts a's certificate."""

    def test_every_kind_of_key(self) -> None:
        """Elliptic curves, Ed25519 and RSA are accepted."""
        keys: list[AnyKey] = [
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
            rsa.generate_private_key(65537, 2048),
        ]
        for key in keys:
            mesh = Holder("mesh", "mesh.test", key=key)
            shared = mesh.credentials(mesh)
            self.assert_accepted(shared, shared)

    def test_one_authority(self) -> None:
        """Nodes with certificates of their own accept each other because of their common CA."""
        root = Holder("root")
        a, b = (Holder(name, f"{name}.test", issuer=root) for name in "ab")
        self.assert_accepted(a.credentials(root), b.credentials(root))

    def test_intermediate_authority(self) -> None:
        """There may be intermediate CAs, whose certificates the node sends along; or an
        intermediate CA is itself trusted."""
        root = Holder("root")
        middle = Holder("middle", issuer=root)
        a = Holder("a", "a.test", issuer=middle)
        self.assert_accepted(a.credentials(root, issuers=[middle]), a.credentials(root))
        self.assert_accepted(a.credentials(root), a.credentials(middle))

    def test_unknown_authority(self) -> None:
        """A certificate that does not chain to the CA is refused, whatever name its issuer has."""
        root, impostor = Holder("root"), Holder("root")
        a = Holder("a", "a.test", issuer=impostor).credentials(impostor)
        b = Holder("b", "b.test", issuer=root).credentials(root)
        self.assert_refused("certificate verify failed: it is not one that this node trusts", a, b)

    def test_other_self_signed(self) -> None:
        """Two nodes with a self-signed certificate each do not accept each other."""
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
        """A certificate that is for clients only is refused, and its node is told why."""
        mesh = Holder("mesh", "mesh.test", usage=[ExtendedKeyUsageOID.CLIENT_AUTH])
        shared = mesh.credentials(mesh)
        self.assert_refused("certificate verify failed: it is not for servers", shared, shared)
        one, _ = self.meet(shared, shared)
        (told, *_) = one.logged("handshake_failed")
        self.assertIn("TLS: this node's certificate is not for servers, it says", told["why"])

    def test_names_do_not_matter(self) -> None:
        """Unless names are verified, a certificate for any name is accepted."""
        mesh = Holder("mesh", "mesh.test")
        self.assert_accepted(mesh.credentials(mesh), mesh.credentials(mesh), "a.test")

    def test_verify_name(self) -> None:
        """Where names are verified, the certificate must be for the name that was dialed; a
        wildcard is for all names that match it."""
        for certified in ("a.test", "*.test.example", "my_app"):
            mesh = Holder("mesh", certified)
            strict = mesh.credentials(mesh, verify_hostname=True)
            self.assert_accepted(strict, strict, certified.replace("*", "a"))
        mesh = Holder("mesh", "b.test", "192.0.2.1")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a.test", strict, strict, "a.test")
        self.assert_accepted(strict, strict, "b.test.")  # the final dot is the resolver's

    def test_name_that_is_none(self) -> None:
        """A name that no certificate can have is refused."""
        mesh = Holder("mesh", "a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a~b", strict, strict, "a~b")

    def test_verify_address(self) -> None:
        """A node that dials an address requires it in the certificate."""
        mesh = Holder("mesh", "192.0.2.1")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_accepted(strict, strict)
        mesh = Holder("mesh", "192.0.2.2", "a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for 192.0.2.1", strict, strict)

    def test_common_name_is_no_name(self) -> None:
        """A certificate without subject alternative names is for no host (RFC 9525)."""
        mesh = Holder("a.test")
        strict = mesh.credentials(mesh, verify_hostname=True)
        self.assert_refused("its certificate is not for a.test", strict, strict, "a.test")

    def test_server_name(self) -> None:
        """Each connection asks for the name in the URL, although all share one context; a
        connection to an address asks for none."""
        clock, contexts, asked = Clock(), Contexts(credentials()), []
        contexts.server.set_tlsext_servername_callback(lambda c: asked.append(c.get_servername()))
        network = Network(clock)
        listening = server_factory(contexts, Factory.forProtocol(Protocol), clock)
        network.listeners["192.0.2.1", PORT] = listening
        for host in ("a.test", "my_app", "192.0.2.1", "b.test."):
            dialing = ClientFactory.forProtocol(Protocol)
            wrapped = client_factory(contexts, host, dialing, clock)
            network.connect(CLIENT, "192.0.2.1", PORT, wrapped, timeout=5)
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
