"""A bound on what the clients of a web site can have of a node, whoever can reach it.

    TCP ──> Admission ──> TLS, if any ──> the site

As at the mesh's port (tls.admission): `MAX_STRANGERS` connections at a time, of which a
newcomer may take one of the source that has most; `longest` seconds for each; and a share of the
processor, which is kept by taking in nobody while a burst of work is paid back. A connection is
good for one request (api.http), so it is enough to count those.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from tunmesh.rate_limit import TokenBucket
from tunmesh.tls.admission import BURST, SHARE, Places


class _Visit(ProtocolWrapper):
    """One connection."""

    factory: Admission
    _limit: IDelayedCall | None = None

    def makeConnection(self, transport: ITransport) -> None:
        if self.factory.longest < inf:
            self._limit = self.factory.clock.callLater(self.factory.longest, self.abort)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self.factory.work(lambda: super(_Visit, self).dataReceived(data))

    def abort(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.left(self)
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        super().connectionLost(reason)


class Admission(WrappingFactory):
    """Takes connections for the factory that it wraps, from all of `ports`. `longest`: the seconds
    that one may last, if that is bounded. `worked()` and `waited()`: the seconds so far that this
    thread had a processor, and was in want of one."""

    protocol = _Visit
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        wrapped: IProtocolFactory,
        worked: Callable[[], float],
        waited: Callable[[], float],
        longest: float = inf,
    ) -> None:
        super().__init__(wrapped)
        self.clock = clock
        self.longest = longest
        self.ports: list[Any] = []
        self._places: Places[_Visit] = Places()
        self._worked = worked
        self._waited = waited
        self._work = TokenBucket(BURST, SHARE, clock.seconds() - waited())
        self._pause: IDelayedCall | None = None

    def buildProtocol(self, addr: Any) -> _Visit | None:  # type: ignore[override]
        host = getattr(addr, "host", "")
        admitted, instead_of = self._places.room(host)
        if instead_of is not None:
            self.left(instead_of)
            instead_of.abort()
        inner = self.wrappedFactory.buildProtocol(addr) if admitted else None
        if inner is None:
            return None
        visit = _Visit(self, inner)  # type: ignore[arg-type]
        self._places.add(visit, host)
        return visit

    def left(self, visit: _Visit) -> None:
        """Somebody else may have the place."""
        self._places.discard(visit)

    def work(self, task: Callable[[], None]) -> None:
        """Do something for a client, and nothing for a while if it was much."""
        began = self._worked()
        try:
            task()
        finally:
            now = self.clock.seconds() - self._waited()
            self._work.take(now, self._worked() - began)
            pause = self._work.pause(now)
            if pause and self._pause is None:
                for port in self.ports:
                    port.pauseProducing()
                self._pause = self.clock.callLater(pause, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        for port in self.ports:
            port.resumeProducing()
