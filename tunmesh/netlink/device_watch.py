"""Watches the tun, and everything in its network namespace that conflicts with the mesh.

    notification socket ── change ──> pause ──> scan ──> findings ──> changed()
      (multicast)       read once, then     dumps, one part per
                        not until the scan  reactor iteration

Netlink notifications need no privilege. Their content is discarded: a notification only triggers a
scan, which reads everything, so lost notifications (ENOBUFS) do no harm. 10,000 route changes a
second cost no more than one: after the first notification the socket is not read until the scan
begins. A scan is read in parts of about a millisecond; the next one waits for PAUSE, and for 20
times the CPU time that the last one took. So with 100,000 routes that change all the time it takes
5 % of a CPU, and with a few it notices within half a second.

A scan during which something changes may have seen one half of that: addresses that were there, and
routes that were not any more. What it finds is not reported before the next scan has found the
same or something else; that one is believed, or nothing would be where changes never end.

It also answers which route the kernel would use for a packet, with one request.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import Address, Interface
from tunmesh.logs import bugs
from tunmesh.netlink import codec, device_state, query
from tunmesh.netlink.codec import Snapshot
from tunmesh.netlink.device_state import Findings, Way
from tunmesh.netlink.exchange import open_socket
from tunmesh.netlink.kernel import NetlinkError
from tunmesh.netlink.overlaps import Overlay
from tunmesh.timers import Timer

PAUSE = 0.2  # seconds from the first notification to the scan, so that more of them share it
PAUSE_AFTER_FAILURE = 5.0
REST = 20  # times what a look took: as much as one in 20 parts of the processor's time
# How much news is read away before a look: what is in the socket's buffer; it holds a few hundred.
_STALE_NEWS = 2000


@implementer(IReadDescriptor)
class _Readable:
    """A socket that the reactor reads with a callable."""

    def __init__(self, opened: socket.socket, readable: Callable[[], None]) -> None:
        self.socket = opened
        opened.setblocking(False)
        self.doRead = readable

    def fileno(self) -> int:
        return self.socket.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """A netlink socket has no peer to lose; an error in doRead would be a bug."""

    def logPrefix(self) -> str:
        return "netlink"


class DeviceWatch:
    """Watches one device. Opens its sockets in the constructor, which raises OSError if it cannot.
    `worked()` returns the CPU time of this thread, in seconds. `mtu` 0: any is right."""

    def __init__(
        self,
        reactor: Any,
        device: str,
        overlays: Sequence[Overlay],
        worked: Callable[[], float] = time.thread_time,
        mtu: int = 0,
    ) -> None:
        self.found = Findings()
        self._reactor = reactor
        self._device = device
        self._overlays = tuple(overlays)
        self._mtu = mtu
        self._worked = worked
        self._news = _Readable(open_socket(codec.NEWS_GROUPS), self._news_came)
        self._questions = open_socket()
        self._questions.setblocking(False)
        self._asked: _Readable | None = None  # as long as a look takes
        self._cost = 0.0
        self._timer = Timer(reactor)
        self._is_watching = False
        self._is_doubted = False  # what the last scan found

    def start(self, changed: Callable[[], None]) -> None:
        """Check now and keep watching; `changed` is called whenever `found` changes."""
        self._changed = changed
        self._is_watching = True
        self._look()

    def stop(self) -> None:
        """Stop watching. May be called twice."""
        self._is_watching = False
        self._timer.stop()
        self._end_look()
        self._reactor.removeReader(self._news)
        self._news.socket.close()
        self._questions.close()

    def expect(self, addresses: Sequence[Interface]) -> None:
        """From now on the device should have these addresses. It is looked at again soon."""
        of_version = {
            version: tuple(a for a in addresses if a.version == version) for version in (4, 6)
        }
        self._overlays = tuple(
            replace(overlay, addresses=of_version[overlay.network.version])
            for overlay in self._overlays
        )
        self._look_soon()

    def expect_mtu(self, mtu: int) -> None:
        """From now on the device should have this MTU. It is looked at again soon."""
        self._mtu = mtu
        self._look_soon()

    def _look_soon(self) -> None:
        if self._is_watching:
            self._look_in(PAUSE)

    def way(self, destination: Address, source: Address, is_forwarded: bool = False) -> Way | None:
        """The kernel's route for a packet of this machine, or for one that comes out of the device
        and is to be forwarded; None if the kernel cannot be asked."""
        try:
            incoming = socket.if_nametoindex(self._device) if is_forwarded else 0
            route = query.route_of(self._questions, destination, source, incoming)
        except NetlinkError as error:
            return Way("", why=os.strerror(error.errno))
        except OSError:
            return None
        try:
            name = socket.if_indextoname(route.interface)
        except OSError:
            name = f"interface {route.interface}"
        return Way(name, route.table)

    def _news_came(self) -> None:
        self._look_in(max(PAUSE, REST * self._cost))

    def _look_in(self, delay: float) -> None:
        """Scan after a pause, in which notifications are not read. Cancels a scan under way."""
        self._end_look()
        self._reactor.removeReader(self._news)
        self._timer.start(delay, self._look)

    def _look(self) -> None:
        self._discard_news()
        self._cost = 0.0
        snapshot = Snapshot([overlay.network for overlay in self._overlays])
        try:
            # A new socket: leftovers of a failed scan must not be taken for answers.
            asked = self._asked = _Readable(
                open_socket(), lambda: self._guarded(self._part_came, snapshot)
            )
        except OSError:
            self._look_in(PAUSE_AFTER_FAILURE)
            return
        self._reactor.addReader(asked)
        self._guarded(self._ask, snapshot)

    def _discard_news(self) -> None:
        for _ in range(_STALE_NEWS):
            try:
                self._news.socket.recv(1)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some was lost
                continue

    def _guarded(self, step: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
        """One step of a scan, with its cost accounted. If it fails (no memory, say), the scan is
        repeated later."""
        began = self._worked()
        try:
            step(snapshot)
        except (OSError, NetlinkError):
            self._look_in(PAUSE_AFTER_FAILURE)
        except Exception as error:
            bugs.caught(f"a look at {self._device} was lost to a bug")(error)
            self._look_in(PAUSE_AFTER_FAILURE)
        finally:
            self._cost += self._worked() - began

    def _ask(self, snapshot: Snapshot) -> None:
        request = snapshot.request()
        if request is None:
            self._looked(snapshot)
        elif self._asked is not None:
            self._asked.socket.send(request)

    def _part_came(self, snapshot: Snapshot) -> None:
        if self._asked is None:
            return
        with suppress(BlockingIOError):
            if snapshot.feed(self._asked.socket.recv(query.CHUNK)):
                self._ask(snapshot)

    def _looked(self, snapshot: Snapshot) -> None:
        self._end_look()
        # Notifications of the meantime are read now and trigger the next scan.
        self._reactor.addReader(self._news)
        found = device_state.compare(self._device, self._overlays, self._mtu, snapshot.state)
        if found != self.found and not self._is_doubted and self._has_news():
            self._is_doubted = True
            return
        self._is_doubted = False
        if found != self.found:
            self.found = found
            self._changed()

    def _has_news(self) -> bool:
        return bool(select.select([self._news.socket], [], [], 0)[0])

    def _end_look(self) -> None:
        if self._asked is not None:
            self._reactor.removeReader(self._asked)
            self._asked.socket.close()
            self._asked = None
