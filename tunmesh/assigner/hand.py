"""Changes the addresses of one device: what the helper does once a request is allowed.

Taking the last IPv4 address off a device takes away all its routes, and taking off the first of two
in one subnet takes away the second as well (unless net.ipv4.conf.*.promote_secondaries is set). So
what should remain is put back at once.

Sources: rtnetlink(7), inet_del_ifa in net/ipv4/devinet.c, fib_inetaddr_event in
net/ipv4/fib_frontend.c, addrconf_dad_work in net/ipv6/addrconf.c.
"""

from __future__ import annotations

import errno
import os
import socket
import time

from tunmesh.addresses import Interface
from tunmesh.assigner.allowance import Allowance
from tunmesh.netlink import changes, messages

_CHUNK = 1 << 14
_PATIENCE = 5.0  # seconds until an address can be used; it is a millisecond or two
_TIMEOUT = 1.0  # seconds for one answer of the kernel


class Hand:
    """Acts on the device with this index. Opens its sockets in the constructor, and sets all that
    is to be set of them. Raises OSError."""

    def __init__(self, index: int, allowance: Allowance) -> None:
        self._index = index
        self._allowance = allowance
        self._sequence = 0
        self._asked = _open(0)
        self._news = _open(changes.IPV6_ROUTE_NEWS)

    def put(self, own: Interface) -> None:
        """Put an address and its routes on the device; returns when packets reach it. Raises
        OSError."""
        family = self._allowance.family_of(own)
        self._change(changes.put_address(self._next(), self._index, own))
        self._change(changes.put_subnet(self._next(), self._index, own))
        broadcast = family.network.broadcast_address
        if family.broadcast and broadcast != own.network.broadcast_address:
            self._change(changes.put_broadcast(self._next(), self._index, broadcast, own.ip))
        self._change(changes.put_route(self._next(), self._index, family.network))
        self._await_usable(own)

    def take_off(self, own: Interface) -> None:
        """Take an address and its routes off the device. Raises OSError."""
        try:
            self._change(changes.take_off_address(self._next(), self._index, own))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # somebody else has done it
                raise
        for other in self._allowance.of_version(own.version):
            if other != own:
                self.put(other)
        network = self._allowance.family_of(own).network
        self._change(changes.put_route(self._next(), self._index, network))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _change(self, message: bytes) -> None:
        if code := changes.errno_of(self._ask(message)):
            raise OSError(code, os.strerror(code))

    def _ask(self, message: bytes) -> bytes:
        self._asked.send(message)
        while True:
            answer = self._asked.recv(_CHUNK)
            if changes.sequence_of(answer) == self._sequence:
                return answer

    def _await_usable(self, own: Interface) -> None:
        """As netlink.setup does for a static address: the kernel completes an IPv6 address later,
        and last of all makes its route, and tells those who listen."""
        deadline = time.monotonic() + _PATIENCE
        while not self._is_usable(own):
            if time.monotonic() > deadline:
                raise OSError(errno.EADDRNOTAVAIL, "it does not become usable")
            try:
                self._news.recv(_CHUNK)  # whether it is about ours, the next look tells
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # there was more of it than the socket holds
                    raise

    def _is_usable(self, own: Interface) -> bool:
        return changes.is_local(self._ask(messages.route_request(own.ip, sequence=self._next())))


def _open(groups: int) -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    opened.bind((0, groups))
    opened.settimeout(_TIMEOUT)
    return opened
