"""The UDP port that carries packets, bound before privileges are dropped.

It has the number of the TCP port (host.tcp_ports), and is bound by the same rules: one dual-stack
socket for all addresses, or one for the only address that the config names; IPv4 alone on a machine
without IPv6.

- **Nothing is fragmented** (IP_PMTUDISC_PROBE): a datagram that is too large fails here, or is lost
  on the way, which a ping finds out. The kernel's idea of the path's MTU is not asked, since
  anybody can forge the ICMP message that it comes from.
- **The address that a datagram came to** is told (IP_PKTINFO), so that answers leave from there.
- **Datagrams of one sender are joined** when they come (UDP_GRO), where the kernel can do that.

Buffers. What comes while the node is busy with other things, or waits for a processor, waits in the
receive buffer: at 5 Gbit/s 4 MiB are 7 ms, about two turns of the reactor under full load. Measured
on two cores with fourteen programs that want them, and a sender that does not look: of its
datagrams a half was lost with 256 KiB, a third with 1 MiB, a fifth with 4 MiB. It is more than
net.core.rmem_max usually allows, which a process with NET_ADMIN may exceed. Of the kernel's memory
a buffer takes only what is in it. The send buffer begins with SEND_BUFFER; udp.sockets.send_buffer
adapts it to the device.

Sources: udp(7), ip(7), ipv6(7), socket(7), and net/ipv4/udp.c in the Linux tree.
"""

from __future__ import annotations

import contextlib
import socket

from tunmesh.addresses import Address
from tunmesh.host import tcp_ports

RECEIVE_BUFFER = 4 * 1024 * 1024  # bytes
SEND_BUFFER = 128 * 1024

# linux/udp.h, linux/in.h, linux/in6.h, asm-generic/socket.h; the socket module does not name them.
UDP_SEGMENT = 103
UDP_GRO = 104
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3  # of both families
_SO_RCVBUFFORCE = 33
IP_PKTINFO = 8


class Bound(tcp_ports.BoundSocket):
    """A socket that takes datagrams."""

    __slots__ = ()
    protocol = "UDP"


def bind(address: Address | None, port: int) -> Bound:
    """Take this port of one address, or of all. Raises OperatorError that names the key and the
    process that has the port."""
    try:
        return Bound(tcp_ports.on_one_or_all(address, port, _bound), address, port)
    except OSError as error:
        more = "; networking/transport: tcp needs no UDP port"
        raise tcp_ports.refusal("UDP", address, port, error, more=more) from None


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        _set_options(made)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _set_options(made: socket.socket) -> None:
    # An IPv6 socket sends IPv4 as well, and has the options of both.
    made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    with contextlib.suppress(OSError):  # since Linux 5.0
        made.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    # The kernel doubles what it is given, for what it needs itself for each datagram.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER // 2)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER // 2)
    except PermissionError:  # it is given as much as is allowed to anybody
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)
