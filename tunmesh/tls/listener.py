"""The listening port: connections that have not authenticated yet, which become links or HTTPS.

Whose bytes are looked at, and when, is decided by admission control (tls.admission, tls.cpu_share).
Until a client has sent something, and its turn has come, it costs no more than a TCP connection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.errors import FailureReason, PeerError
from tunmesh.logs import bugs
from tunmesh.timers import Timer
from tunmesh.tls.admission import MAX_VISIT, Slots
from tunmesh.tls.binding import Channel
from tunmesh.tls.cpu_share import UNMEASURED, CpuShare, CpuTimes
from tunmesh.tls.credentials import ALPN, Contexts
from tunmesh.tls.transport import MIN_READ, TunedTransport, server_factory

HANDSHAKE_TIMEOUT = 5.0  # seconds from the accepted connection to an authenticated link
# Seconds of work beside what is measured, which begins when the connection has been accepted.
ACCEPT_COST = 0.00005
REFUSE_COST = 0.00004
ACCEPTS = 128  # connections accepted in one iteration of the reactor


def listening_factory(
    contexts: Contexts,
    port: MeshPort,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap the `MeshPort` so that it answers over TLS. In place of `TunedTransport` it uses one
    that waits for its turn."""
    waits = _ClientTransport if transport is TunedTransport else transport
    return server_factory(contexts, port, clock, waits)


@implementer(IHandshakeListener)
class _Client(Protocol):
    """A connection to the port. Once TLS is up it becomes what ALPN says."""

    transport: Any
    _inner: IProtocol | None = None
    _error: PeerError | None = None  # why this end closed it

    def __init__(self, port: MeshPort, host: str) -> None:
        self._port = port
        self._host = host
        self._deadline = port.clock.seconds() + HANDSHAKE_TIMEOUT
        self._timer = Timer(port.clock)
        self._timer.start(HANDSHAKE_TIMEOUT, self._too_slow)

    def handshakeCompleted(self) -> None:
        self._timer.stop()
        if self.transport.negotiatedProtocol == ALPN:
            # In a slow iteration of the reactor the handshake may end before the timer is called.
            left = max(0.0, self._deadline - self._port.clock.seconds())
            inner: IProtocol | None = self._port.accept_link(left, self._give_up_slot)
        else:
            inner = self._port.accept_http(self.transport.getPeer())
            self._timer.start(MAX_VISIT, self.transport.abortConnection)
        if inner is None:
            self.transport.abortConnection()
            return
        self._inner = inner
        self.dataReceived = inner.dataReceived  # type: ignore[method-assign]
        inner.makeConnection(self.transport)
        if IHandshakeListener.providedBy(inner):
            inner.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._give_up_slot()
        self._timer.stop()
        if self._inner is not None:
            self._inner.connectionLost(reason)
            self._inner = None
        else:
            error = self._error or Channel().why_lost(reason)
            self._port.tls_failed(self._host, error)

    def dismiss(self, error: PeerError) -> None:
        """Close the connection for this reason."""
        self._error = error
        self._give_up_slot()
        self.transport.abortConnection()

    def _give_up_slot(self) -> None:
        """It has authenticated, or is gone."""
        self._port.left(self)

    def _too_slow(self) -> None:
        self.dismiss(PeerError(FailureReason.TIMEOUT, f"no TLS within {HANDSHAKE_TIMEOUT:.0f} s"))


class MeshPort(Factory):
    """Accepts connections on the port that links and HTTPS share.

    `accept_link(timeout, authenticated)` makes a link that must authenticate within `timeout`
    seconds and then calls `authenticated()`. `accept_http(address)` makes an HTTP channel, or None.
    `tls_failed(host, error)` is told of connections that ended before TLS was up.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        accept_link: Callable[[float, Callable[[], None]], IProtocol],
        accept_http: Callable[[IAddress], IProtocol | None],
        tls_failed: Callable[[str, PeerError], None],
        cpu: CpuTimes = UNMEASURED,
    ) -> None:
        self.clock = clock
        self.accept_link = accept_link
        self.accept_http = accept_http
        self.tls_failed = tls_failed
        self.slots: Slots[_Client] = Slots()
        self.cpu_share = CpuShare(clock, cpu, self._resuming)
        self._waiting: dict[_Client, bytes] = {}  # and what of theirs was not looked at yet
        self._port: Any = None  # a tcp.Port
        self._own_address = ""

    def opened(self, port: Any, own_address: str = "") -> None:
        """This is the port. If it listens on a single address, clients that have that one as well
        are on this host."""
        self._port = port
        self._own_address = own_address
        self.cpu_share.pause_also(port)

    def buildProtocol(self, addr: Any) -> Protocol | None:
        if self._port is not None:
            self._port.numberAccepts = 0  # Twisted would accept 20 more each time when many come
        host = getattr(addr, "host", "")
        if host == self._own_address:
            host = "127.0.0.1"
        is_admitted, instead_of = self.slots.may_admit(host)
        self.cpu_share.charge(ACCEPT_COST if is_admitted else REFUSE_COST)
        crowded = PeerError(FailureReason.CROWDED, "too many connections that do not authenticate")
        if instead_of is not None:
            instead_of.dismiss(crowded)
        if not is_admitted:
            self.tls_failed(host, crowded)
            return None
        client = _Client(self, host)
        self.slots.add(client, host)
        return client

    def received(self, transport: _ClientTransport, data: bytes) -> None:
        """A client that has not authenticated sent this. It is looked at now, or when those that
        have waited for longer have had their turns."""
        if not self.cpu_share.is_spent and not self._waiting:
            self.cpu_share.run(partial(transport.take, data))
            return
        transport.pauseProducing()
        client = transport.wrappedProtocol
        self._waiting[client] = self._waiting.get(client, b"") + data

    def left(self, client: _Client) -> None:
        """The client has authenticated, or is gone."""
        self.slots.discard(client)
        self._waiting.pop(client, None)

    def _resuming(self) -> None:
        """Accept some new clients, and then see to those that wait: neither keeps the node from
        the other, however many there are."""
        if self._port is not None:
            self._port.numberAccepts = ACCEPTS
        self.clock.callLater(0, self._serve)

    def _serve(self) -> None:
        """See to those that wait, to one of them at least."""
        while self._waiting:
            client = self.slots.take_turn(self._waiting)
            transport = client.transport
            data = self._waiting.pop(client)
            try:
                self.cpu_share.run(partial(transport.take, data))
            except Exception as error:  # the others would wait for ever
                bugs.caught("a connection to the port is closed")(error)
                transport.abortConnection()
            else:
                transport.resumeProducing()
            if self.cpu_share.is_spent:
                return
        self.slots.forget_turns()


class _ClientTransport(TunedTransport):
    """The transport of the listening end. What arrives before the client has authenticated is
    looked at when the `MeshPort` says so. TLS begins with the first bytes: a client that never
    sends any has cost no more than a TCP connection."""

    _has_begun = False
    _plain: Any

    @property
    def _mesh_port(self) -> MeshPort:
        port: MeshPort = self.factory.wrappedFactory
        return port

    @property
    def _has_slot(self) -> bool:
        """Whether the client has not authenticated yet."""
        return self.wrappedProtocol in self._mesh_port.slots

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = self._plain = transport
        self.wrappedProtocol.transport = self
        self._plain.bufferSize = MIN_READ

    def dataReceived(self, data: bytes) -> None:
        if self._has_slot:
            self._mesh_port.received(self, data)
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        ends: Any = super() if self._has_begun else self.wrappedProtocol
        end = partial(ends.connectionLost, reason)
        if self._has_slot:
            self._mesh_port.cpu_share.run(end)
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
        """Before it has authenticated never more than MIN_READ, since that may have to be kept."""
        super()._read_at_most(MIN_READ if self._has_slot else size)
