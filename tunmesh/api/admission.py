"""Admission control for a web site: what its clients may have of a node, whoever can reach it.

    TCP ──> Admission ──> TLS, if any ──> the site

As at the mesh's port (tls.admission, tls.cpu_share): `MAX_CLIENTS` connections at a time, of which
a new client may take one of the source that has most; `longest` seconds for each; and a share of
the processor, for which nobody is accepted while a burst of work is paid for. A connection is good
for one request (api.http), so it is enough to count those.
"""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.interfaces import IProtocolFactory, IReactorTime, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from tunmesh.timers import Timer
from tunmesh.tls.admission import Slots
from tunmesh.tls.cpu_share import CpuShare, CpuTimes


class _Visit(ProtocolWrapper):
    """One connection."""

    factory: Admission
    _limit: Timer | None = None

    def makeConnection(self, transport: ITransport) -> None:
        if self.factory.longest < inf:
            self._limit = Timer(self.factory.clock)
            self._limit.start(self.factory.longest, self.abort)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self.factory.cpu_share.run(lambda: super(_Visit, self).dataReceived(data))

    def abort(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.left(self)
        if self._limit is not None:
            self._limit.stop()
        super().connectionLost(reason)


class Admission(WrappingFactory):
    """Accepts connections for the factory that it wraps, from all ports that it is told of.
    `longest`: the seconds that a connection may last, if that is bounded."""

    protocol = _Visit
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        wrapped: IProtocolFactory,
        cpu: CpuTimes,
        longest: float = inf,
    ) -> None:
        super().__init__(wrapped)
        self.clock = clock
        self.longest = longest
        self.cpu_share = CpuShare(clock, cpu)
        self._slots: Slots[_Visit] = Slots()

    def opened(self, *ports: Any) -> None:
        """These ports accept connections for it."""
        self.cpu_share.pause_also(*ports)

    def buildProtocol(self, addr: Any) -> _Visit | None:  # type: ignore[override]
        host = getattr(addr, "host", "")
        is_admitted, instead_of = self._slots.may_admit(host)
        if instead_of is not None:
            self.left(instead_of)
            instead_of.abort()
        inner = self.wrappedFactory.buildProtocol(addr) if is_admitted else None
        if inner is None:
            return None
        visit = _Visit(self, inner)  # type: ignore[arg-type]
        self._slots.add(visit, host)
        return visit

    def left(self, visit: _Visit) -> None:
        """Its slot is free."""
        self._slots.discard(visit)
