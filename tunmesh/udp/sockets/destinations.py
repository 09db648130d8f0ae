"""What a socket remembers of the places that datagrams are sent to.

**The address of this host that a peer knows.** A host may have several. An answer that leaves from
another one than the peer sent to is dropped by its firewall or its NAT. So the address that
authentic datagrams of a place came to is kept, and is the source of what is sent there (ip(7),
ipi_spec_dst). The interface is not kept: routing may be asymmetric. When the host loses the
address, the kernel refuses it; then it is forgotten, and the kernel chooses.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

from tunmesh.addresses import unscoped_host
from tunmesh.host.udp_ports import IP_PKTINFO, UDP_SEGMENT
from tunmesh.udp.port import Place
from tunmesh.udp.probing.mtu import overhead
from tunmesh.wire.datagrams import MAX_DATAGRAM

MOST = 8192  # places that are remembered: eight for each of a thousand peers
BYTE_ORDER: Literal["little", "big"] = sys.byteorder  # of integers in control messages
_SIOCGIFNAME, _SIOCGIFMTU = 0x8910, 0x8921  # linux/sockios.h
_IFREQ = struct.Struct("16si20x")  # the name of an interface, and what is asked of it

Control = tuple[int, int, bytes]  # a control message: level, type, value


class Destination:
    """One place."""

    __slots__ = ("_joined", "_size", "address", "came_by", "joins", "single")

    def __init__(self, address: tuple[Any, ...], joins: bool) -> None:
        self.address = address  # as the socket takes it
        self.joins = joins  # several datagrams may be sent at once
        self.came_by = b""  # the packet information of what came from there
        self.single: tuple[Control, ...] = ()  # the control messages, for one datagram
        self._joined: tuple[Control, ...] = ()  # and for several of this size
        self._size = 0

    def leave_from(self, came_by: bytes, source: tuple[Control, ...]) -> None:
        """Send from that address of this host from now on."""
        self.came_by, self.single, self._size = came_by, source, 0

    def joined(self, size: int) -> tuple[Control, ...]:
        """The control messages for several datagrams of this size."""
        if size != self._size:
            segment = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))
            self._size, self._joined = size, (*self.single, segment)
        return self._joined


class Destinations:
    """Of one socket. `joins`: whether it may send several datagrams at once."""

    def __init__(self, bound: socket.socket, joins: bool) -> None:
        self._socket = bound
        self._has_ipv6 = bound.family == socket.AF_INET6
        self._joins = joins
        self._destinations: dict[Place, Destination] = {}
        self.get = self._destinations.get

    def new(self, to: Place) -> Destination | None:
        """A place that is not known yet. None: this socket cannot send there at all."""
        host, port = to
        address = ip_address(host)
        sockaddr: tuple[Any, ...]
        if not self._has_ipv6:
            if address.version == 6:
                return None
            sockaddr = to
        elif isinstance(address, IPv6Address):
            sockaddr = (unscoped_host(host), port, 0, _index_of(address.scope_id or ""))
        else:
            sockaddr = (f"::ffff:{host}", port, 0, 0)
        if len(self._destinations) >= MOST:
            del self._destinations[
                next(iter(self._destinations))
            ]  # the oldest; if it is in use, it comes back
        known = self._destinations[to] = Destination(sockaddr, self._joins)
        return known

    def believe(self, place: Place, came_by: bytes) -> None:
        """What is sent there leaves from the address of this host that this came to."""
        known = self._destinations.get(place) or self.new(place)
        if known is not None and known.came_by != came_by:
            known.leave_from(came_by, (self._source_of(came_by),))

    def _source_of(self, came_by: bytes) -> Control:
        if self._has_ipv6:  # in6_pktinfo: address, interface
            return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, came_by[:16] + bytes(4)
        # in_pktinfo: interface, address of this host, destination of the packet
        return socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + came_by[4:8] + bytes(4)

    def largest(self, to: Place) -> int | None:
        """Bytes of the largest datagram that the device takes by which `to` was heard."""
        known = self._destinations.get(to)
        if known is None or not known.came_by:
            return None
        at = 16 if self._has_ipv6 else 0
        interface = int.from_bytes(known.came_by[at : at + 4], BYTE_ORDER)
        with contextlib.suppress(OSError):  # it is gone
            named = fcntl.ioctl(self._socket, _SIOCGIFNAME, _IFREQ.pack(b"", interface))
            answer = fcntl.ioctl(self._socket, _SIOCGIFMTU, named)
            mtu: int = _IFREQ.unpack(answer)[1]
            return min(mtu - overhead(to[0]), MAX_DATAGRAM)
        return None


def _index_of(scope: str) -> int:
    """Of the interface with that name or index; 0 if there is none."""
    if scope.isdecimal():
        return int(scope)
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(scope)
    return 0
