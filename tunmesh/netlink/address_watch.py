"""Tells when the addresses of this host change.

Netlink notifications need no privilege (netlink(7)). They are gathered for PAUSE, since what is
taken away is often given back, and since a change seldom comes alone; and no more than one change
is told every REST seconds, whatever happens on the host.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import Address
from tunmesh.logs import bugs
from tunmesh.netlink.address_news import GROUPS, AddressNews
from tunmesh.netlink.exchange import open_socket
from tunmesh.timers import Timer

PAUSE = 0.2  # seconds from the first notification to the change that is told
REST = 2.0  # seconds from one change that is told to the next
_MOST_READS = 200  # notifications that are read in one turn
_CHUNK = 1 << 14

# Which addresses came, and which went. If both are none, some news was lost.
Changed = Callable[[frozenset[Address], frozenset[Address]], None]
_log_bug = bugs.caught("a change of this host's addresses was lost")


class AddressWatch(Protocol):
    """What a node is told by."""

    def start(self, changed: Changed) -> None: ...
    def stop(self) -> None: ...


class NoAddressWatch:
    """Where nothing is told."""

    def start(self, changed: Changed) -> None:
        pass

    def stop(self) -> None:
        pass


@implementer(IReadDescriptor)
class HostAddressWatch:
    """Of the host that this process runs on, without the addresses of the interface `device`. Opens
    its socket in the constructor, which raises OSError if it cannot."""

    def __init__(self, reactor: Any, device: str) -> None:
        self._reactor = reactor
        self._news = AddressNews(socket.if_nametoindex(device))
        self._socket = open_socket(GROUPS)
        self._socket.setblocking(False)
        self._timer = Timer(reactor)
        self._told = -REST
        self._is_incomplete = False
        self._changed: Changed = lambda came, gone: None

    def start(self, changed: Changed) -> None:
        """Tell `changed` from now on."""
        self._changed = changed
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Tell nothing any more. May be called twice."""
        self._timer.stop()
        self._reactor.removeReader(self)
        self._socket.close()

    def doRead(self) -> None:
        for _ in range(_MOST_READS):
            try:
                self._news.feed(self._socket.recv(_CHUNK))
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some were lost
                self._is_incomplete = True
        if not self._timer.is_running:
            rest = self._told + REST - self._reactor.seconds()
            self._timer.start(max(PAUSE, rest), self._tell)

    def _tell(self) -> None:
        came, gone = self._news.take()
        if came or gone or self._is_incomplete:
            self._is_incomplete = False
            self._told = self._reactor.seconds()
            try:
                self._changed(came, gone)
            except Exception as error:
                _log_bug(error)

    # --- for the reactor ---

    def fileno(self) -> int:
        return self._socket.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """A netlink socket has no peer to lose; an error in doRead would be a bug."""

    def logPrefix(self) -> str:
        return "netlink"
