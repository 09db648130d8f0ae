"""Looks up host names, so that nobody waits who need not.

The C library may take half a minute to give up on a name server that is silent, and nothing can
interrupt it. Twisted's own resolver sends addresses through the same few threads as names, so they
would wait behind it; its threads are joined when the process ends, so the end would wait too; and
after any error but `gaierror` it never answers, so whoever asked would wait for ever. Here

- an address is no name: it is answered at once, without a thread;
- lookups have threads of their own, which the process does not wait for when it ends;
- whatever goes wrong with a lookup, the answer is that the name has no addresses;
- the addresses of a name come in another order each time. The name of a headless service has those
  of all its pods, and the C library puts what is nearest first (RFC 6724, section 6, rule 9), which
  to a pod of that service is itself: it would reach itself for ever and nobody else.
"""

from __future__ import annotations

# What getaddrinfo encodes a name with. Python would import it at the first look-up, when the node's
# uid may not be allowed to read it any more.
import encodings.idna  # noqa: F401
import socket
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

MAX_LOOKUPS = 16  # at a time; more wait in line

_FAMILIES = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


@implementer(IHostResolution)
class _Lookup:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """It goes on, and its answer is ignored: who asked sees to that."""


@implementer(IHostnameResolver)
class Resolver:
    """The resolver of a reactor, for TCP. To be given to `reactor.installNameResolver`.

    `shuffle(addresses)` changes the order of a list in place."""

    def __init__(self, reactor: Any, shuffle: Callable[[list[IAddress]], None]) -> None:
        self._reactor = reactor
        self._shuffle = shuffle
        self._pool = ThreadPool(0, MAX_LOOKUPS, "names")
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()  # no thread before there is a name to look up

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        def answer(addresses: list[IAddress]) -> None:
            self._shuffle(addresses)
            for address in addresses:
                resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        lookup = _Lookup(hostName)
        resolutionReceiver.resolutionBegan(lookup)
        if isIPAddress(hostName) or isIPv6Address(hostName):
            answer(_addresses(hostName, portNumber))
        else:
            found = deferToThreadPool(self._reactor, self._pool, _addresses, hostName, portNumber)
            found.addErrback(lambda _failure: []).addCallback(answer)
        return lookup


def _addresses(host: str, port: int) -> list[IAddress]:
    """What the system knows of this name, nearest first. Raises OSError and others."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_FAMILIES[family]("TCP", *place) for family, *_, place in found if family in _FAMILIES]
