"""How datagrams get from a socket to each place: what is remembered of the places.

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

from tunmesh.host.udp_ports import IP_PKTINFO, UDP_SEGMENT
from tunmesh.udp.port import Place
from tunmesh.wire.datagrams import MAX_DATAGRAM

MOST = 8192  # places that are remembered: eight for each of a thousand peers
BYTE_ORDER: Literal["little", "big"] = sys.byteorder  # of integers in control messages
_SIOCGIFNAME, _SIOCGIFMTU = 0x8910, 0x8921  # linux/sockios.h
_IFREQ = struct.Struct("16si20x")  # the name of an interface, and what is asked of it

Control = tuple[int, int, bytes]  # a control message: level, type, value


class Way:
    """How datagrams get to one place."""

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


class Ways:
    """The ways from one socket. `joins`: whether it may send several datagrams at once."""

    def __init__(self, bound: socket.socket, joins: bool) -> None:
        self._socket = bound
        self._has_ipv6 = bound.family == socket.AF_INET6
        self._joins = joins
        self._ways: dict[Place, Way] = {}
        self.get = self._ways.get

    def new(self, to: Place) -> Way | None:
        """A way to a place to which there was none. None: this socket cannot send there at all."""
        host, port = to
        address = ip_address(host)
        sockaddr: tuple[Any, ...]
        if not self._has_ipv6:
            if address.version == 6:
                return None
            sockaddr = to
        elif isinstance(address, IPv6Address):
            scope = 0
            with contextlib.suppress(OSError):
                scope = socket.if_nametoindex(address.scope_id) if address.scope_id else 0
            sockaddr = (host.partition("%")[0], port, 0, scope)
        else:
            sockaddr = (f"::ffff:{host}", port, 0, 0)
        if len(self._ways) >= MOST:
            del self._ways[next(iter(self._ways))]  # the oldest; if it is in use, it comes back
        way = self._ways[to] = Way(sockaddr, self._joins)
        return way

    def believe(self, place: Place, came_by: bytes) -> None:
        """What is sent there leaves from the address of this host that this came to."""
        way = self._ways.get(place) or self.new(place)
        if way is not None and way.came_by != came_by:
            way.leave_from(came_by, (self._source_of(came_by),))

    def _source_of(self, came_by: bytes) -> Control:
        if self._has_ipv6:  # in6_pktinfo: address, interface
            return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, came_by[:16] + bytes(4)
        # in_pktinfo: interface, address of this host, destination of the packet
        return socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + came_by[4:8] + bytes(4)

    def largest(self, to: Place) -> int | None:
        """Bytes of the largest datagram that the device takes by which `to` was heard."""
        way = self._ways.get(to)
        if way is None or not way.came_by:
            return None
        at = 16 if self._has_ipv6 else 0
        interface = int.from_bytes(way.came_by[at : at + 4], BYTE_ORDER)
        with contextlib.suppress(OSError):  # it is gone
            named = fcntl.ioctl(self._socket, _SIOCGIFNAME, _IFREQ.pack(b"", interface))
            answer = fcntl.ioctl(self._socket, _SIOCGIFMTU, named)
            mtu: int = _IFREQ.unpack(answer)[1]
            return min(mtu - (48 if ":" in to[0] else 28), MAX_DATAGRAM)
        return None
