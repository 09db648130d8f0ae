"""Pings from inside a namespace, with this process's own ICMP sockets: no `ping` program needed."""

from __future__ import annotations

import secrets
import socket
import statistics
import time
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.host.namespaces import Namespace
from tunmesh.packets import icmp

ECHO_PAYLOAD = bytes(56)  # as `ping` sends


class PingReactor(IReactorFDSet, IReactorTime):
    """The reactor interfaces that pinging needs."""


@dataclass(frozen=True)
class Pings:
    """The results of a number of echo requests; round-trip times in seconds."""

    sent: int
    round_trips: tuple[float, ...]

    @property
    def lost(self) -> int:
        return self.sent - len(self.round_trips)

    @property
    def loss(self) -> float:
        """0.0 for none lost to 1.0 for all."""
        return self.lost / self.sent

    @property
    def median(self) -> float | None:
        return statistics.median(self.round_trips) if self.round_trips else None


@implementer(IReadDescriptor)
class Pinger:
    """A raw ICMP socket in one namespace and the echo requests that it waits for."""

    def __init__(self, reactor: PingReactor, namespace: Namespace, version: int = 4) -> None:
        """Raises PermissionError without CAP_NET_RAW there. `version` is 4 or 6."""
        self._reactor = reactor
        self._family = icmp.IPV4 if version == 4 else icmp.IPV6
        self._identity = secrets.randbits(16)
        self._sequence = 0
        self._waiting: dict[int, tuple[float, Deferred[float]]] = {}
        family, protocol = (
            (socket.AF_INET, socket.IPPROTO_ICMP)
            if version == 4
            else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        )
        with namespace:
            self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        reactor.addReader(self)

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    async def ping(self, address: str, count: int, patience: float = 1.0) -> Pings:
        """One echo request after the other: the next leaves when the last was answered, or
        when its `patience` (seconds) is over."""
        answers = [await self.ping_once(address, patience) for _ in range(count)]
        return Pings(count, tuple(answer for answer in answers if answer is not None))

    async def ping_once(self, address: str, patience: float) -> float | None:
        """Seconds until the reply, or None."""
        self._sequence = sequence = (self._sequence + 1) & 0xFFFF
        request = icmp.echo_request(self._family, self._identity, sequence, ECHO_PAYLOAD)
        reply: Deferred[float] = Deferred()
        self._waiting[sequence] = (time.monotonic(), reply)
        try:
            self._socket.sendto(request, (address, 0))
            return await reply.addTimeout(patience, self._reactor)
        except (OSError, Overdue):  # an unreachable network is a lost packet, too
            return None
        finally:
            self._waiting.pop(sequence, None)

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        try:
            datagram = self._socket.recv(2048)
        except OSError:  # nothing there after all, or a late "unreachable" for an earlier request
            return
        match icmp.parse_echo_reply(self._family, datagram):
            case (self._identity, sequence) if sequence in self._waiting:
                sent, reply = self._waiting.pop(sequence)
                reply.callback(time.monotonic() - sent)

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def logPrefix(self) -> str:
        return "ping"
