"""Watches one path through the mesh continuously, to find how long traffic was interrupted.

A ping every 10 ms. An outage is the time between the sending of two answered pings: pings that the
mesh delays and then delivers are no outage, lost ones are.
"""

from __future__ import annotations

import secrets
import socket
import time
from itertools import pairwise
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.host.namespaces import Namespace
from tunmesh.packets import icmp

INTERVAL = 0.01


@implementer(IReadDescriptor)
class Watch:
    """Pings from a namespace to an address, until `close`."""

    def __init__(self, reactor: Any, namespace: Namespace, address: str) -> None:
        self.answered: list[float] = []
        """The times at which the answered pings were sent."""
        self._reactor = reactor
        self._address = address
        self._identity = secrets.randbits(16)
        self._sent: dict[int, float] = {}
        self._sequence = 0
        with namespace:
            self._socket = socket.socket(
                socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
            )
        reactor.addReader(self)
        self._pace = LoopingCall(self._ask)
        self._pace.start(INTERVAL)

    def close(self) -> None:
        self._pace.stop()
        self._reactor.removeReader(self)
        self._socket.close()

    def move(self, address: str) -> None:
        """Ping another address from now on."""
        self._address = address

    def outage(self, since: float) -> float:
        """The longest time without an answered ping since then (monotonic seconds)."""
        times = [since, *sorted(one for one in self.answered if one >= since), time.monotonic()]
        return max(b - a for a, b in pairwise(times))

    def first_after(self, since: float) -> float | None:
        """Seconds from then until the first answered ping, if there is one."""
        later = next((one for one in self.answered if one >= since), None)
        return None if later is None else later - since

    def lost(self, since: float) -> float:
        """The share of pings since then that have no answer yet."""
        sent = sum(one >= since for one in self._sent.values())
        answered = sum(one >= since for one in self.answered)
        return sent / (sent + answered) if sent + answered else 0.0

    def _ask(self) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFF
        request = icmp.echo_request(icmp.IPV4, self._identity, self._sequence, bytes(56))
        self._sent[self._sequence] = time.monotonic()
        try:
            self._socket.sendto(request, (self._address, 0))
        except OSError:  # no route: counts as lost
            return

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error for an earlier ping
                continue
            match icmp.parse_echo_reply(icmp.IPV4, datagram):
                case (self._identity, sequence) if sequence in self._sent:
                    self.answered.append(self._sent.pop(sequence))

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def logPrefix(self) -> str:
        return "watch"
