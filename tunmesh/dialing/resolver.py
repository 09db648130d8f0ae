"""Looks up host names without blocking what does not depend on them.

The C library may take half a minute to give up on a silent name server, and cannot be interrupted.
Twisted's own resolver sends addresses through the same few threads as names, so they would wait
behind it; its threads are joined at exit, so the exit would wait, too; and after any error but
`gaierror` it never answers, so the caller would wait for ever. Here

- an address is no name: it is answered at once, without a thread;
- lookups have threads of their own, which are not joined at exit;
- whatever goes wrong with a lookup, the answer is that the name has no addresses;
- the addresses of a name come in random order. The name of a headless service has those of all its
  pods, and the C library puts the nearest first (RFC 6724, section 6, rule 9), which for a pod of
  that service is itself: it would reach itself for ever and nobody else.
"""

from __future__ import annotations

# getaddrinfo encodes names with it. Python would import it at the first lookup, when the node's uid
# may not be allowed to read the file any more.
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

MAX_LOOKUPS = 16  # at a time; more are queued

_FAMILIES = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


@implementer(IHostResolution)
class _Lookup:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """The lookup goes on; the caller ignores its answer."""


@implementer(IHostnameResolver)
class Resolver:
    """The resolver of a reactor, for TCP: see `reactor.installNameResolver`.

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
    """The addresses that the system knows, nearest first. Raises OSError and others."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_FAMILIES[family]("TCP", *place) for family, *_, place in found if family in _FAMILIES]
