"""TLS on both ends of a connection: contexts, the one listening port, the bulk transport.

One TCP port serves two protocols. ALPN tells them apart: `tunmesh/1` is a mesh link (TLS 1.3 only),
anything else, or nothing, is HTTPS (TLS 1.2 as well, for old probes). TLS alone does not say which
node is at the other end, since one certificate may serve all nodes; that is the handshake's task.
Nodes that dial check that the certificate chains to the CA; by default the CA is the node's own
certificate.

Stock `TLSMemoryBIOFactory` builds a transport that gathers small writes for one reactor turn. Link
writes are batches already, so they use a transport without that (tls.bulk), on a socket that
is read 256 KB at a time where Twisted's default is 64 KB.

Sources: RFC 7301 (ALPN), RFC 9266 (channel binding), tcp(7).
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.errors import OperatorError, PeerError
from tunmesh.logs import bugs
from tunmesh.rate_limit import TokenBucket
from tunmesh.tls.admission import BURST, MAX_VISIT, SHARE, Places
from tunmesh.tls.bulk import transport_class
from tunmesh.tls.pacing import MAX_BUDGET
from tunmesh.tls.underlay import Outside
from tunmesh.wire.sizes import PROTOCOL

ALPN = PROTOCOL.encode("ascii")
HTTP = b"http/1.1"
TLS12_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
EXPORTER = b"EXPORTER-Channel-Binding"

HANDSHAKE_TIMEOUT = 5.0  # seconds from the accepted connection to an authenticated link
READ_SIZE = 1 << 18
MIN_READ = 1 << 12  # and what is read of a stranger
TURN = 0.001  # seconds that what is read of one connection should take: then others have theirs
REST = 2  # turns of the reactor that it sits out for each TURN that it took, when that was more
ACCEPT_COST = 0.00005  # seconds for a connection, beside what is measured
REFUSE_COST = 0.00004  # seconds for one that is turned away
ACCEPTS = 128  # connections taken in one turn of the reactor
SEND_LIMIT = 1 << 20
# Bytes that wait unsent in the kernel, at first. The rest waits in our queue, where it can expire.
NOTSENT_LOWAT = MAX_BUDGET
USER_TIMEOUT = 15_000  # milliseconds that sent data may stay unacknowledged
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; the socket module does not name it


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node shows and what it trusts. The first certificate is its own."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False, compare=False)  # it is that of the first certificate
    trusted: tuple[x509.Certificate, ...]
    verify_hostname: bool

    @property
    def expiry(self) -> float:
        """When the node's own certificate expires, in seconds since the epoch."""
        return self.chain[0].not_valid_after_utc.timestamp()

    def server_context(self) -> SSL.Context:
        context = self._context()
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(TLS12_CIPHERS)
        context.set_alpn_select_callback(_select_protocol)
        return context

    def client_context(self) -> SSL.Context:
        context = self._context()
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_alpn_protos([ALPN])
        store = context.get_cert_store()
        if store is None:
            raise OperatorError("OpenSSL gave a TLS context without a certificate store")
        for certificate in self.trusted:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # A certificate that is trusted by itself need not be followed up to its issuer.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        context.set_verify(SSL.VERIFY_PEER, _verified)
        return context

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # OpenSSL would keep 34 KB for each connection, for records that are long gone.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.use_certificate(crypto.X509.from_cryptography(self.chain[0]))
        for issuer in self.chain[1:]:
            context.add_extra_chain_cert(crypto.X509.from_cryptography(issuer))
        context.use_privatekey(crypto.PKey.from_cryptography_key(self.key))  # type: ignore[arg-type]
        return context


# X509_verify_cert_error_string(3) has names; these say what to do.
_NOT_TRUSTED = (
    "it is not one that this node trusts: all share one, or ca_file_path names who signed theirs"
)
_VERIFY_ERRORS = {
    7: _NOT_TRUSTED,  # signed by a namesake of who is trusted
    9: "it is not valid yet: is a clock wrong?",
    10: "it has expired",
    18: _NOT_TRUSTED,  # signed by itself
    19: _NOT_TRUSTED,  # signed by an authority that was sent along
    20: _NOT_TRUSTED,  # signed by somebody unknown
    21: _NOT_TRUSTED,  # likewise, with nothing else in the chain
    25: "an authority on its way may not sign so long a chain (pathlen)",
    26: "it is not for servers: its extended key usage must have serverAuth, or not be there",
    32: "an issuer of it may not sign certificates: its key usage has no keyCertSign",
    34: "it has a critical extension that is not known here",
    66: "its key is too weak: use EC P-256, Ed25519, or RSA of 2048 bits or more",
    67: "the key of an issuer of it is too weak: use EC P-256, or RSA of 2048 bits or more",
    68: "it is signed with a weak hash, such as SHA-1 or MD5: use SHA-256",
    79: "an issuer of it is no authority: its basic constraints must say CA:TRUE",
}


def verify_error(error: int) -> str:
    """What is wrong with a certificate, by OpenSSL's number for it."""
    return _VERIFY_ERRORS.get(error, f"reason {error} of X509_verify_cert_error_string")


def _verified(
    _connection: SSL.Connection, _certificate: crypto.X509, error: int, _depth: int, ok: int
) -> bool:
    """OpenSSL's verdict. Its own error would not say what is wrong; what is raised here takes its
    place, and the other end is sent the same alert."""
    if not ok:
        raise SSL.Error([("", "", f"certificate verify failed: {verify_error(error)}")])
    return True


class Identity:
    """What a node shows and trusts at the moment: the contexts of all connections from now on.

    A context costs more than the rest of a dial, so there is one for each end, not one for each
    connection. `renew` leaves the connections that there are as they are."""

    def __init__(self, credentials: Credentials) -> None:
        self.renew(credentials)

    def renew(self, credentials: Credentials) -> None:
        self.server, self.client = credentials.server_context(), credentials.client_context()
        self.credentials = credentials


def _select_http(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    return HTTP if HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    """The best of ours that was offered, or pyOpenSSL's mark for none."""
    ours = (protocol for protocol in (ALPN, HTTP) if protocol in offered)
    return next(ours, SSL.NO_OVERLAPPING_PROTOCOLS)


# --- the two ends ---


@implementer(IOpenSSLClientConnectionCreator)
class _ClientCreator:
    """A fresh TLS connection to one host, whose name is sent along when it has one."""

    def __init__(self, identity: Identity, host: str) -> None:
        self._identity = identity
        self._host = host

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._identity.client, None)
        connection.set_connect_state()
        if ip_address(self._host) is None:
            # As it stands in the URL, which is ASCII; without the final dot, as RFC 6066 has it.
            connection.set_tlsext_host_name(self._host.removesuffix(".").encode("ascii"))
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class _ServerCreator:
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._identity.server, None)
        connection.set_accept_state()
        return connection


class _HttpsCreator(_ServerCreator):
    """Where no links are made: who wants one gets none of its protocol. The context is made anew
    when the certificate was renewed."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self._shown: tuple[Credentials, SSL.Context] | None = None

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        credentials = self._identity.credentials
        if self._shown is None or self._shown[0] is not credentials:
            context = credentials.server_context()
            context.set_alpn_select_callback(_select_http)
            self._shown = credentials, context
        connection = SSL.Connection(self._shown[1], None)
        connection.set_accept_state()
        return connection


class TunedTransport(transport_class):  # type: ignore[valid-type,misc]
    """The TLS transport of both kinds of connection, on a socket set up for links.

    A read of many small frames takes a hundred times as long as one of few large ones. Whoever
    sends them is read less at a time, so that he holds up nobody but himself. Whoever takes longer
    even so (a frame of gossip is looked at as a whole) sits out some turns of the reactor. When
    others want the processor these are long, and when nobody does they are over at once."""

    _most = READ_SIZE
    _is_paused = False  # by whom it carries bytes for
    _sits_out = False
    _waits: IDelayedCall | None = None
    _after_reads: Callable[[], None] | None = None

    def makeConnection(self, transport: ITransport) -> None:
        _tune(transport)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        began = time.thread_time()
        super().dataReceived(data)
        took, size = time.thread_time() - began, len(data)
        if took > TURN:
            self._read_at_most(max(MIN_READ, int(size * TURN / took)))
            if isinstance(self.transport, tcp.Connection) and not self._sits_out:
                self.sit_out(round(REST * took / TURN))
        elif size >= self._most < READ_SIZE:
            self._read_at_most(min(2 * self._most, READ_SIZE))
        if self._after_reads is not None:
            self._after_reads()

    def call_after_reads(self, call: Callable[[], None]) -> None:
        """Call this whenever what was read has been dealt with. What it does is not charged to the
        other end."""
        self._after_reads = call

    def sit_out(self, turns: int) -> None:
        """Nothing is read for so many turns of the reactor."""
        self._sits_out = True
        self.transport.pauseProducing()
        self._wait(turns)

    def _wait(self, turns: int) -> None:
        if turns:
            self._waits = self.transport.reactor.callLater(0, self._wait, turns - 1)
            return
        self._waits = None
        self._sits_out = False
        if not self._is_paused:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure) -> None:
        if self._waits is not None and self._waits.active():
            self._waits.cancel()
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        if not self._sits_out:
            self.transport.resumeProducing()

    def _read_at_most(self, size: int) -> None:
        self._most = self.transport.bufferSize = size


class _GuestTransport(TunedTransport):
    """The listening end. What arrives from a stranger is looked at when the reception says so.
    TLS begins when his first bytes are: who never says any has cost no more than a connection."""

    _has_begun = False
    _plain: Any

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = self._plain = transport
        self.wrappedProtocol.transport = self
        self._plain.bufferSize = MIN_READ

    def dataReceived(self, data: bytes) -> None:
        reception = self.factory.wrappedFactory
        if self.wrappedProtocol in reception.strangers:
            reception.received(self, data)
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        ends: Any = super() if self._has_begun else self.wrappedProtocol
        end = partial(ends.connectionLost, reason)
        reception = self.factory.wrappedFactory
        if self.wrappedProtocol in reception.strangers:
            reception.work(end)
        else:
            end()

    def abortConnection(self) -> None:
        if self._has_begun:
            super().abortConnection()
        else:
            self._plain.abortConnection()

    def take(self, data: bytes) -> None:
        """Its turn has come."""
        if not self._has_begun:
            self._has_begun = True
            super().makeConnection(self._plain)
            self._read_at_most(MIN_READ)
        super().dataReceived(data)

    def _read_at_most(self, size: int) -> None:
        """Of a stranger it is MIN_READ, whatever he sends: so much of each may have to wait."""
        is_stranger = self.wrappedProtocol in self.factory.wrappedFactory.strangers
        super()._read_at_most(MIN_READ if is_stranger else size)


def _tune(transport: ITransport) -> None:
    """Set a TCP transport up for large reads, small latency and a quick death. A transport without
    a socket (in memory) is left as it is."""
    handle = _socket_of(transport)
    if handle is None:
        return
    transport.bufferSize = READ_SIZE  # type: ignore[attr-defined]
    # Twisted sends at most 128 KB at a time: less than a batch.
    transport.SEND_LIMIT = SEND_LIMIT  # type: ignore[attr-defined]
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
    handle.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)


def _socket_of(transport: ITransport) -> socket.socket | None:
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


def client_factory(
    identity: Identity,
    host: str,
    wrapped: IProtocolFactory,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap a factory of links so that they dial this host over TLS."""
    factory = TLSMemoryBIOFactory(_ClientCreator(identity, host), True, wrapped, clock)
    factory.protocol = transport  # type: ignore[assignment]
    return factory


def server_factory(
    identity: Identity,
    wrapped: IProtocolFactory,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap the `Reception` (or, in tests, anything) so that it answers over TLS."""
    factory = _ServerFactory(_ServerCreator(identity), False, wrapped, clock)
    guarded = transport is TunedTransport and isinstance(wrapped, Reception)
    factory.protocol = _GuestTransport if guarded else transport  # type: ignore[assignment]
    return factory


def https_factory(
    identity: Identity, wrapped: IProtocolFactory, clock: IReactorTime
) -> TLSMemoryBIOFactory:
    """Wrap a web site so that it answers over TLS, on a port where no links are made."""
    return _ServerFactory(_HttpsCreator(identity), False, wrapped, clock)


class _ServerFactory(TLSMemoryBIOFactory):
    """Lets what it wraps refuse a connection; Twisted's would start TLS with nobody behind it."""

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


class Channel:
    """What a link must know of the TLS connection that it runs on. With `host`, the certificate at
    the other end must be for that name or address. Both ends must be `outside` the mesh."""

    def __init__(self, host: str | None = None, outside: Outside | None = None) -> None:
        self._host = host
        self._outside = outside or Outside()

    def admit(self, transport: Any) -> None:
        """Raises PeerError("through_mesh") for a connection that runs through the mesh itself."""
        why = self._outside.why_not(transport.getPeer().host)
        if why:
            raise PeerError("through_mesh", why)
        why = self._outside.why_not(transport.getHost().host)
        if why:
            raise PeerError("through_mesh", f"the connection runs through the mesh: its end {why}")

    def binding(self, transport: object) -> bytes:
        """The channel binding, 32 bytes, of a connection that is good enough for a link.

        Raises PeerError("tls") or PeerError("certificate").
        """
        return self.bind(transport.getHandle())  # type: ignore[attr-defined]

    def bind(self, connection: SSL.Connection) -> bytes:
        """The same for a connection of pyOpenSSL."""
        if connection.get_alpn_proto_negotiated() != ALPN:
            else_what = "something else answers, or a proxy that ends TLS on the way"
            raise PeerError("tls", f"it does not speak {PROTOCOL} on that port: {else_what}")
        if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
            raise PeerError("tls", "it does not speak TLS 1.3")
        if self._host is not None:
            _check_host(connection, self._host)
        return connection.export_keying_material(EXPORTER, 32, b"")

    def why_lost(self, reason: Failure) -> PeerError:
        """Why a connection ended before anybody was authenticated on it."""
        error = reason.value
        if isinstance(error, PeerError):
            return PeerError("unexpected", str(error))
        if isinstance(error, SSL.SysCallError):
            return PeerError("tls", f"TLS: {error.args[-1]}")
        if isinstance(error, SSL.Error) and error.args and error.args[0]:
            return error_of(error)
        return PeerError("closed", "it closed the connection during the handshake")

    def limit_unsent(self, transport: object, size: int) -> None:
        """Have the kernel keep no more bytes than that unsent, ciphertext as it is."""
        below = transport.transport  # type: ignore[attr-defined]
        handle = _socket_of(below) if below.connected else None
        if handle is not None:
            handle.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)


def error_of(error: SSL.Error) -> PeerError:
    """What OpenSSL found wrong with the other end."""
    text = _words(error)
    for alert, meaning in _ALERTS.items():
        if text.endswith(alert):
            text = f"{meaning} ({text})"
    return PeerError("certificate" if "certificate" in text else "tls", f"TLS: {text}")


_ALERTS = {  # RFC 8446, 6.2; what stands before these words depends on the release of OpenSSL
    "alert unknown ca": "it does not trust this node's certificate",
    "alert certificate expired": "this node's certificate has expired, it says",
    "alert unsupported certificate": "this node's certificate is not for servers, it says",
    "alert bad certificate": "it refuses this node's certificate; its log says why",
}


def _words(error: SSL.Error) -> str:
    """What OpenSSL says of its latest error."""
    return str(error.args[0][-1][-1])


def _check_host(connection: SSL.Connection, host: str) -> None:
    try:
        if ip_address(host) is not None:
            verify_ip_address(connection, host)
        else:
            # A final dot is for the resolver, and in no certificate.
            verify_hostname(connection, host.removesuffix("."))
    except (VerificationError, CertificateError, ValueError):
        # The certificate names another host, or none at all; or this can be in no certificate.
        raise PeerError("certificate", f"its certificate is not for {host}") from None


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as an address; None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


# --- the listening port ---


@implementer(IHandshakeListener)
class _Guest(Protocol):
    """A connection to the listening port. It becomes what its ALPN says once TLS is up."""

    transport: Any
    _inner: IProtocol | None = None
    _error: PeerError | None = None  # why it was closed, when it was not by the other end

    def __init__(self, reception: Reception, host: str) -> None:
        self._reception = reception
        self._host = host
        self._deadline = reception.clock.seconds() + HANDSHAKE_TIMEOUT
        self._timer = reception.clock.callLater(HANDSHAKE_TIMEOUT, self._too_slow)

    def handshakeCompleted(self) -> None:
        self._timer.cancel()
        if self.transport.negotiatedProtocol == ALPN:
            # In a slow turn of the reactor the handshake may be over before the timer is looked at.
            left = max(0.0, self._deadline - self._reception.clock.seconds())
            inner: IProtocol | None = self._reception.accept_link(left, self._leave)
        else:
            inner = self._reception.accept_http(self.transport.getPeer())
            self._timer = self._reception.clock.callLater(MAX_VISIT, self.transport.abortConnection)
        if inner is None:
            self.transport.abortConnection()
            return
        self._inner = inner
        self.dataReceived = inner.dataReceived  # type: ignore[method-assign]
        inner.makeConnection(self.transport)
        if IHandshakeListener.providedBy(inner):
            inner.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()
        if self._timer.active():
            self._timer.cancel()
        if self._inner is not None:
            self._inner.connectionLost(reason)
            self._inner = None
        else:
            error = self._error or Channel().why_lost(reason)
            self._reception.tls_failed(self._host, error)

    def _leave(self) -> None:
        """It is no stranger any more: authenticated, or gone."""
        self._reception.left(self)

    def _too_slow(self) -> None:
        self.dismiss(PeerError("timeout", f"no TLS within {HANDSHAKE_TIMEOUT:.0f} s"))

    def dismiss(self, error: PeerError) -> None:
        self._error = error
        self._leave()
        self.transport.abortConnection()


class Reception(Factory):
    """Takes connections to the listening port. How many may wait to be authenticated at a time, and
    what is done for them, is the matter of tls.admission.

    `accept_link(timeout, authenticated)` makes a link that must authenticate within `timeout`
    seconds and then calls `authenticated()`. `accept_http(address)` makes an HTTP channel.
    `tls_failed(host, error)` is told of connections that ended before TLS was up. `worked()` and
    `waited()`: the seconds so far that this thread had a processor, and was in want of one.
    """

    noisy = False
    port: Any = None  # that it listens on: a tcp.Port
    own_address = ""  # the only one that it listens on: who comes from there is on this host

    def __init__(
        self,
        clock: IReactorTime,
        accept_link: Callable[[float, Callable[[], None]], IProtocol],
        accept_http: Callable[[IAddress], IProtocol | None],
        tls_failed: Callable[[str, PeerError], None],
        worked: Callable[[], float],
        waited: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = clock
        self.accept_link = accept_link
        self.accept_http = accept_http
        self.tls_failed = tls_failed
        self.strangers: Places[_Guest] = Places()
        self._worked = worked
        self._waited = waited
        self._work = TokenBucket(BURST, SHARE, clock.seconds() - waited())
        self._waiting: dict[_Guest, bytes] = {}  # what arrived and was not looked at yet
        self._pause: IDelayedCall | None = None  # until more may be done for strangers

    def buildProtocol(self, addr: Any) -> Protocol | None:
        if self.port is not None:
            self.port.numberAccepts = 0  # else Twisted takes 20 more each time when there are many
        host = getattr(addr, "host", "")
        if host == self.own_address:
            host = "127.0.0.1"
        admitted, instead_of = self.strangers.room(host)
        self._spend(ACCEPT_COST if admitted else REFUSE_COST)
        crowded = PeerError("crowded", "too many connections that do not authenticate")
        if instead_of is not None:
            instead_of.dismiss(crowded)
        if not admitted:
            self.tls_failed(host, crowded)
            return None
        guest = _Guest(self, host)
        self.strangers.add(guest, host)
        return guest

    def received(self, transport: _GuestTransport, data: bytes) -> None:
        """Bytes of a stranger: to be looked at now, or when those before him were."""
        if self._pause is None and not self._waiting:
            self.work(partial(transport.take, data))
            return
        transport.pauseProducing()
        guest = transport.wrappedProtocol
        self._waiting[guest] = self._waiting.get(guest, b"") + data

    def left(self, guest: _Guest) -> None:
        """He is no stranger any more."""
        self.strangers.discard(guest)
        self._waiting.pop(guest, None)

    def work(self, task: Callable[[], None]) -> None:
        """Do something for a stranger."""
        began = self._worked()
        try:
            task()
        finally:
            self._spend(self._worked() - began)

    def _spend(self, seconds: float) -> None:
        # Time in which the node could not have worked pays for nothing.
        now = self.clock.seconds() - self._waited()
        self._work.take(now, seconds)
        pause = self._work.pause(now)
        if pause and self._pause is None:
            if self.port is not None:
                self.port.pauseProducing()
            self._pause = self.clock.callLater(pause, self._go_on)

    def _go_on(self) -> None:
        """Let some newcomers in, and then see to those who wait: whoever never ends to do the one
        does not keep the node from the other."""
        self._pause = None
        self._spend(0.0)  # there may have been more than the pause was for
        if self._pause is not None:
            return
        if self.port is not None:
            self.port.numberAccepts = ACCEPTS
            self.port.resumeProducing()
        self.clock.callLater(0, self._serve)

    def _serve(self) -> None:
        """At least one of those who wait."""
        while self._waiting:
            guest = self.strangers.serve(self._waiting)
            transport = guest.transport
            data = self._waiting.pop(guest)
            try:
                self.work(partial(transport.take, data))
            except Exception as error:  # the others would wait for ever
                bugs.caught("a connection to the port is closed")(error)
                transport.abortConnection()
            else:
                transport.resumeProducing()
            if self._pause is not None:
                return
        self.strangers.forget_turns()
