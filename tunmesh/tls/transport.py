"""The TLS transport of both ends of a connection.

Stock `TLSMemoryBIOFactory` builds a transport that gathers small writes for one reactor turn. Link
writes are batches already, so they use a transport without that (tls.bulk), on a socket that
is read 256 KB at a time where Twisted's default is 64 KB.

Source: tcp(7).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import literal_address
from tunmesh.tls.bulk import transport_class
from tunmesh.tls.credentials import HTTP, Contexts, Credentials
from tunmesh.tls.pacing import MAX_BUDGET
from tunmesh.tls.read_quota import QUOTA, ReadQuota

READ_SIZE = 1 << 18
MIN_READ = 1 << 12  # and of a client that has not authenticated
SEND_LIMIT = 1 << 20
# Bytes that wait unsent in the kernel, at first. The rest waits in our queue, where it can expire.
NOTSENT_LOWAT = MAX_BUDGET
USER_TIMEOUT = 15_000  # milliseconds that sent data may stay unacknowledged
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; the socket module does not name it


@implementer(IOpenSSLClientConnectionCreator)
class _ClientCreator:
    """Makes connections to one host, and sends its name (SNI) unless it is an address."""

    def __init__(self, contexts: Contexts, host: str) -> None:
        self._contexts = contexts
        self._host = host

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._contexts.client, None)
        connection.set_connect_state()
        if literal_address(self._host) is None:
            # As in the URL, which is ASCII, but without the final dot (RFC 6066).
            connection.set_tlsext_host_name(self._host.removesuffix(".").encode("ascii"))
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class _ServerCreator:
    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._contexts.server, None)
        connection.set_accept_state()
        return connection


class _HttpsCreator(_ServerCreator):
    """For a port where no links are made: ALPN refuses their protocol. There is a new context when
    the certificate has been renewed."""

    def __init__(self, contexts: Contexts) -> None:
        super().__init__(contexts)
        self._shown: tuple[Credentials, SSL.Context] | None = None

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        credentials = self._contexts.credentials
        if self._shown is None or self._shown[0] is not credentials:
            self._shown = credentials, credentials.server_context((HTTP,))
        connection = SSL.Connection(self._shown[1], None)
        connection.set_accept_state()
        return connection


class TunedTransport(transport_class):  # type: ignore[valid-type,misc]
    """The TLS transport of links and of HTTPS on the mesh's port, on a socket tuned for links.

    A read of many small frames takes a hundred times as long as one of few large ones. So a
    connection that brings them is read less at a time, and all connections of one source share a
    quota (tls.read_quota): a source that keeps the node busy delays nobody but itself."""

    _most = READ_SIZE
    _is_paused = False  # by the protocol that it carries bytes for
    _is_waiting = False  # for a turn of its source
    _quota: ReadQuota | None = None  # None: not over TCP
    _after_reads: Callable[[], None] | None = None

    def makeConnection(self, transport: ITransport) -> None:
        _tune(transport)
        if isinstance(transport, tcp.Connection):
            below: Any = transport
            self.share(ReadQuota(partial(below.reactor.callLater, 0)))
            self._read, below.doRead = below.doRead, self._do_read
        super().makeConnection(transport)

    def share(self, quota: ReadQuota) -> None:
        """From now on reads are charged to this quota."""
        if self._quota is not None:
            self._quota.leave(self)
        quota.join()
        self._quota = quota

    def _do_read(self) -> Any:
        """The reactor calls this when there is something to read."""
        quota = self._quota
        if quota is None or quota.is_open or quota.admits(self):
            return self._read()
        return None

    def dataReceived(self, data: bytes) -> None:
        began = time.thread_time()
        super().dataReceived(data)
        took, size = time.thread_time() - began, len(data)
        if took > QUOTA:
            self._read_at_most(max(MIN_READ, int(size * QUOTA / took)))
        elif size >= self._most < READ_SIZE:
            self._read_at_most(min(2 * self._most, READ_SIZE))
        if self._quota is not None:
            self._quota.charge(began, took)
        if self._after_reads is not None:
            self._after_reads()

    def call_after_reads(self, call: Callable[[], None]) -> None:
        """Call this whenever what was read has been dealt with. What it does is not charged to the
        other end."""
        self._after_reads = call

    def connectionLost(self, reason: Failure) -> None:
        if self._quota is not None:
            self._quota.leave(self)
            self._quota = None
        super().connectionLost(reason)

    def pause_reading(self) -> None:
        self._is_waiting = True
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        self._is_waiting = False
        if not self._is_paused:
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        if not self._is_waiting:
            self.transport.resumeProducing()

    def _read_at_most(self, size: int) -> None:
        self._most = self.transport.bufferSize = size


def _tune(transport: ITransport) -> None:
    """Tune a TCP transport for large reads, low latency and early detection of a dead peer. One
    without a socket (in memory) is left as it is."""
    handle = socket_of(transport)
    if handle is None:
        return
    transport.bufferSize = READ_SIZE  # type: ignore[attr-defined]
    # Twisted sends at most 128 KB at a time: less than a batch.
    transport.SEND_LIMIT = SEND_LIMIT  # type: ignore[attr-defined]
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
    handle.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)


def socket_of(transport: ITransport) -> socket.socket | None:
    """The transport's socket; None if it is in memory."""
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


def limit_segments(connector: IConnector, size: int) -> None:
    """Have the connection that this is about to make carry at most so many bytes in a segment, in
    both directions. Once a connection is made, the kernel takes such a limit, and ignores it."""
    handle = getattr(getattr(connector, "transport", None), "socket", None)
    if isinstance(handle, socket.socket):  # not in memory, and Twisted could open one
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, size)


def client_factory(
    contexts: Contexts,
    host: str,
    wrapped: IProtocolFactory,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap a factory of links so that they dial this host over TLS."""
    factory = TLSMemoryBIOFactory(_ClientCreator(contexts, host), True, wrapped, clock)
    factory.protocol = transport  # type: ignore[assignment]
    return factory


def server_factory(
    contexts: Contexts,
    wrapped: IProtocolFactory,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap a factory so that it answers over TLS."""
    factory = _ServerFactory(_ServerCreator(contexts), False, wrapped, clock)
    factory.protocol = transport  # type: ignore[assignment]
    return factory


def https_factory(
    contexts: Contexts, wrapped: IProtocolFactory, clock: IReactorTime
) -> TLSMemoryBIOFactory:
    """Wrap a web site so that it answers over TLS, on a port where no links are made."""
    return _ServerFactory(_HttpsCreator(contexts), False, wrapped, clock)


class _ServerFactory(TLSMemoryBIOFactory):
    """Allows the wrapped factory to refuse a connection, with which Twisted's would start TLS."""

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)
