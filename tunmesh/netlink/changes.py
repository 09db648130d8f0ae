"""Requests to the kernel that change addresses and routes, as bytes.

The device is set up with them at the start (netlink.setup), and changed later by a helper process
that is to be small (tunmesh.assigner): so this module imports next to nothing.

All of them mean "let it be so": what is there already is no error, and is replaced, unless
messages.exclusive is applied to the request.

Sources: rtnetlink(7), linux/{rtnetlink,if_addr}.h, inet_rtm_newaddr in net/ipv4/devinet.c.
"""

from __future__ import annotations

import struct

from tunmesh.addresses import Address, Interface, Network, has_broadcast
from tunmesh.netlink.messages import (
    ADDRESS,
    ERROR,
    HEADER,
    IPV4,
    IPV6,
    LINK,
    NEW_ADDRESS,
    NEW_ROUTE,
    ROUTE,
    attribute,
    attributes,
    error_of,
    message,
)

# What a device may have as its MTU: the least that IPv4 and IPv6 demand (RFC 791, RFC 8200 section
# 5), and the most that Linux gives one with a link-layer header.
MIN_MTU, MIN_MTU_IPV6, MAX_MTU = 576, 1280, 65_521
# Its txqueuelen at most: the kernel keeps so many packets, of up to 64 KiB, and charges nobody.
MAX_QUEUE = 10_000

# Of the route to the network of a family whose address is automatic: one more than that of the
# route that the kernel makes with an address (IPv4), and the kernel's default (IPv6).
ROUTE_METRIC = {4: 1, 6: 1024}
STATIC_METRIC = {4: 0, 6: 1024}  # of that to the network of a family whose addresses are static
SUBNET_METRIC = {4: 0, 6: 256}  # of the route that the kernel makes with an address
_HEADERS = {4: 40, 6: 60}  # bytes of IP and TCP headers, without options
# Of a TCP segment, with options: so that one fills one datagram (wire.datagrams) on a path whose
# MTU is 1,500. Headers in the datagram: 28 + 36, 10, and those above.
SEGMENT = {version: 1500 - 28 - 36 - 10 - headers for version, headers in _HEADERS.items()}
# Bytes of TCP that the kernel hands to a node in one piece at most (IFLA_GSO_MAX_SIZE): no more
# segments than leave in one send of datagrams (65,507 bytes). A few more would cost a send and a
# receipt of their own, a tenth of the time of all. 321: what the kernel reserves for headers
# (MAX_TCP_HEADER + 1); 12: the option of timestamps. Not where this machine forwards to the tun:
# what is larger, as hosts send it, would be cut into single segments, at a third of the speed.
PIECE = 65_507 // (1500 - 28) * (SEGMENT[4] - 12) + 321
IPV6_ROUTE_NEWS = 0x400  # RTMGRP_IPV6_ROUTE

# RTM_NEWLINK, RTM_GETLINK, RTM_DELADDR, RTM_DELROUTE
_SET_LINK, _ASK_LINK, _DELETE_ADDRESS, _DELETE_ROUTE = 16, 18, 21, 25
_ACKNOWLEDGE, _REPLACE, _CREATE = 0x4, 0x100, 0x400
_PUT = _ACKNOWLEDGE | _CREATE | _REPLACE
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02  # the roster handles duplicates
_RTA_DESTINATION, _RTA_INTERFACE, _RTA_PRIORITY, _RTA_SOURCE, _RTA_METRICS = 1, 4, 6, 7, 8
_RTAX_ADVMSS = 8
_IFLA_MTU, _IFLA_QUEUE, _IFLA_FAMILIES, _IFLA_GSO_MAX_SIZE = 4, 13, 26, 41
_IFLA_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE = 8, b"\1"
_UP = 1  # IFF_UP
_UNIVERSE, _LINK, _NOWHERE = 0, 253, 255  # RT_SCOPE_*
_KERNEL, _STATIC = 2, 4  # RTPROT_*
_MAIN, _LOCAL_TABLE = 254, 255
_UNICAST, _LOCAL, _BROADCAST, _UNREACHABLE = 1, 2, 3, 7  # RTN_*
_WORST_METRIC = 0xFFFF_FFFF
_U32 = struct.Struct("=I")


def segment(version: int, mtu: int) -> int:
    """Bytes of a TCP segment that a node asks others to send it at most (RTAX_ADVMSS), with
    options: no more than its device takes. A segment in two datagrams is lost twice as often."""
    return min(SEGMENT[version], mtu - _HEADERS[version])


def set_link(sequence: int, index: int, is_up: bool, mtu: int = 0, queue: int = 0) -> bytes:
    """Let the interface be up or down, with this MTU and txqueuelen; 0: as it is."""
    body = LINK.pack(0, 0, index, _UP if is_up else 0, _UP)
    if mtu:
        body += attribute(_IFLA_MTU, _U32.pack(mtu))
    if queue:
        body += attribute(_IFLA_QUEUE, _U32.pack(queue))
    return message(_SET_LINK, _ACKNOWLEDGE, sequence, body)


def limit_pieces(sequence: int, index: int) -> bytes:
    """Let the kernel hand over TCP data in pieces of this size at most. Old kernels refuse."""
    body = LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_GSO_MAX_SIZE, _U32.pack(PIECE))
    return message(_SET_LINK, _ACKNOWLEDGE, sequence, body)


def forgo_link_local(sequence: int, index: int) -> bytes:
    """Let the interface make no link-local address of its own. The kernel refuses with
    EAFNOSUPPORT while the interface has no IPv6, as after an MTU below 1,280."""
    inet6 = attribute(IPV6, attribute(_IFLA_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE))
    body = LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_FAMILIES, inet6)
    return message(_SET_LINK, _ACKNOWLEDGE, sequence, body)


def ask_link(sequence: int, index: int) -> bytes:
    """The request for what the kernel knows of an interface."""
    return message(_ASK_LINK, 0, sequence, LINK.pack(0, 0, index, 0, 0))


def forgoes_link_local(answer: bytes) -> bool:
    """The answer to `ask_link`: whether the interface has IPv6, and makes no link-local address."""
    found = attributes(answer, HEADER.size + LINK.size, len(answer))
    families = found.get(_IFLA_FAMILIES, b"")
    inet6 = attributes(families, 0, len(families)).get(IPV6, b"")
    return attributes(inet6, 0, len(inet6)).get(_IFLA_INET6_ADDR_GEN_MODE) == _GEN_MODE_NONE


def put_address(sequence: int, index: int, address: Interface, broadcast: bool = False) -> bytes:
    """Let the interface have this address. With `broadcast`, and if its subnet has a broadcast
    address, that is what programs are told who ask for the interface's (SIOCGIFBRDADDR)."""
    body = _address(index, address, _IFA_F_NODAD)
    if broadcast and has_broadcast(address.network):
        body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    return message(NEW_ADDRESS, _PUT, sequence, body)


def take_off_address(sequence: int, index: int, address: Interface) -> bytes:
    """Take this address off the interface."""
    return message(_DELETE_ADDRESS, _ACKNOWLEDGE, sequence, _address(index, address, 0))


def put_route(
    sequence: int, index: int, network: Network, mtu: int, source: Address | None = None
) -> bytes:
    """Route a network of the mesh to the interface; packets leave from `source`. Without one: from
    whichever address the interface has, if it has any."""
    if source is None:
        return _unicast(sequence, index, network, mtu, ROUTE_METRIC[network.version])
    metric = STATIC_METRIC[network.version]
    return _unicast(sequence, index, network, mtu, metric, attribute(_RTA_SOURCE, source.packed))


def put_subnet(sequence: int, index: int, address: Interface, mtu: int) -> bytes:
    """Let the kernel's route to the subnet of an address of the interface say how large segments
    should be."""
    metric = SUBNET_METRIC[address.version]
    source = attribute(_RTA_SOURCE, address.ip.packed) if address.version == 4 else b""
    return _unicast(sequence, index, address.network, mtu, metric, source, _KERNEL)


def put_broadcast(sequence: int, index: int, destination: Address, source: Address) -> bytes:
    """Make the kernel treat an IPv4 address as a broadcast address of the interface."""
    return _route(
        sequence,
        (IPV4, 32, _LOCAL_TABLE),
        _BROADCAST,
        attribute(_RTA_DESTINATION, destination.packed)
        + attribute(_RTA_INTERFACE, _U32.pack(index))
        + attribute(_RTA_SOURCE, source.packed),
    )


def take_off_route(sequence: int, index: int, network: Network) -> bytes:
    """Take the route of `put_route` off the interface, and leave the kernel's own."""
    place = (IPV4 if network.version == 4 else IPV6, network.prefixlen, _MAIN)
    return _delete(sequence, index, place, _UNICAST, network.network_address)


def take_off_broadcast(sequence: int, index: int, destination: Address) -> bytes:
    """Take the route of `put_broadcast` off the interface, and leave the kernel's own."""
    return _delete(sequence, index, (IPV4, 32, _LOCAL_TABLE), _BROADCAST, destination)


def _delete(
    sequence: int, index: int, place: tuple[int, int, int], kind: int, destination: Address
) -> bytes:
    family, prefix, table = place
    header = ROUTE.pack(family, prefix, 0, 0, table, _STATIC, _LINK, kind, 0)
    found_by = attribute(_RTA_DESTINATION, destination.packed)
    found_by += attribute(_RTA_INTERFACE, _U32.pack(index))
    return message(_DELETE_ROUTE, _ACKNOWLEDGE, sequence, header + found_by)


def put_refusal(sequence: int, network: Network, protocol: int) -> bytes:
    """Let the kernel refuse packets to a network, unless there is another route to it."""
    return message(NEW_ROUTE, _PUT, sequence, _refusal(network, protocol, _UNIVERSE))


def take_off_refusal(sequence: int, network: Network, protocol: int) -> bytes:
    """Take the route of `put_refusal` away."""
    return message(_DELETE_ROUTE, _ACKNOWLEDGE, sequence, _refusal(network, protocol, _NOWHERE))


def _refusal(network: Network, protocol: int, scope: int) -> bytes:
    family = IPV4 if network.version == 4 else IPV6
    header = ROUTE.pack(family, network.prefixlen, 0, 0, _MAIN, protocol, scope, _UNREACHABLE, 0)
    destination = attribute(_RTA_DESTINATION, network.network_address.packed)
    return header + destination + attribute(_RTA_PRIORITY, _U32.pack(_WORST_METRIC))


def is_local(answer: bytes) -> bool:
    """The answer to `messages.route_request`: whether the destination is an address of this machine
    that can be used."""
    (_, kind, *_) = HEADER.unpack_from(answer)
    return kind == NEW_ROUTE and answer[HEADER.size + 7] == _LOCAL


def errno_of(answer: bytes) -> int:
    """What a change came to: 0, or the errno."""
    length, kind, *_ = HEADER.unpack_from(answer)
    return error_of(answer, 0, length) if kind == ERROR else 0


def sequence_of(answer: bytes) -> int:
    """Which request this is the answer to."""
    return int(HEADER.unpack_from(answer)[3])


def _address(index: int, address: Interface, flags: int) -> bytes:
    family = IPV4 if address.version == 4 else IPV6
    header = ADDRESS.pack(
        family, address.network.prefixlen, flags if family == IPV6 else 0, _UNIVERSE, index
    )
    own = address.ip.packed
    return header + attribute(_IFA_LOCAL, own) + attribute(_IFA_ADDRESS, own)


def _unicast(
    sequence: int,
    index: int,
    network: Network,
    mtu: int,
    metric: int,
    source: bytes = b"",
    protocol: int = _STATIC,
) -> bytes:
    """A route to a network by the interface. `source`: the attribute for it, if it has one."""
    limit = attribute(_RTAX_ADVMSS, _U32.pack(segment(network.version, mtu)))
    return _route(
        sequence,
        (IPV4 if network.version == 4 else IPV6, network.prefixlen, _MAIN),
        _UNICAST,
        attribute(_RTA_DESTINATION, network.network_address.packed)
        + attribute(_RTA_INTERFACE, _U32.pack(index))
        + attribute(_RTA_PRIORITY, _U32.pack(metric))
        + source
        + attribute(_RTA_METRICS, limit),
        protocol,
    )


def _route(
    sequence: int,
    place: tuple[int, int, int],
    kind: int,
    found_by: bytes,
    protocol: int = _STATIC,
) -> bytes:
    family, prefix, table = place
    header = ROUTE.pack(family, prefix, 0, 0, table, protocol, _LINK, kind, 0)
    return message(NEW_ROUTE, _PUT, sequence, header + found_by)
