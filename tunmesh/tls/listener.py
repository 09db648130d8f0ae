"""The listening port: connections that have not authenticated yet, links and HTTPS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
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

from tunmesh.errors import PeerError
from tunmesh.logs import bugs
from tunmesh.rate_limit import TokenBucket
from tunmesh.tls.admission import BURST, MAX_VISIT, SHARE, Places
from tunmesh.tls.binding import Channel
from tunmesh.tls.credentials import ALPN, Contexts
from tunmesh.tls.transport import MIN_READ, TunedTransport, server_factory

HANDSHAKE_TIMEOUT = 5.0  # seconds from the accepted connection to an authenticated link
ACCEPT_COST = 0.00005  # seconds for a connection, beside what is measured
REFUSE_COST = 0.00004  # seconds for one that is turned away
ACCEPTS = 128  # connections taken in one turn of the reactor


def listening_factory(
    contexts: Contexts,
    reception: Reception,
    clock: IReactorTime,
    transport: type[ProtocolWrapper] = TunedTransport,
) -> TLSMemoryBIOFactory:
    """Wrap the `Reception` so that it answers over TLS, on the transport of the listening end
    instead of `TunedTransport`."""
    guarded = _GuestTransport if transport is TunedTransport else transport
    return server_factory(contexts, reception, clock, guarded)


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
