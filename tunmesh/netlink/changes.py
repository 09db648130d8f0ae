"""Requests to the kernel that change addresses and routes, as bytes.

A helper process makes them, which is to be small (tunmesh.assigner): so this module imports next to
nothing. What sets up the device at the start (netlink.setup) uses pyroute2, in a child process that
ends.

All of them mean "let it be so": what is there already is no error, and is replaced.

Sources: rtnetlink(7), linux/{rtnetlink,if_addr}.h, inet_rtm_newaddr in net/ipv4/devinet.c.
"""

from __future__ import annotations

import struct

from tunmesh.addresses import Address, Interface, Network
from tunmesh.netlink.messages import (
    ADDRESS,
    ERROR,
    HEADER,
    IPV4,
    IPV6,
    NEW_ADDRESS,
    NEW_ROUTE,
    ROUTE,
    attribute,
    error_of,
    message,
)

# Of the route to the network of a family whose address is automatic: one more than that of the
# route that the kernel makes with an address (IPv4), and the kernel's default (IPv6).
ROUTE_METRIC = {4: 1, 6: 1024}
SUBNET_METRIC = {4: 0, 6: 256}  # of the route that the kernel makes with an address
# Bytes of a TCP segment that nodes ask others to send at most (RTAX_ADVMSS), with options: so that
# one segment fills one datagram (wire.datagrams) on a path whose MTU is 1,500. A segment in two
# datagrams is lost twice as often. Headers in the datagram: 28 + 36, 10, 40 or 60.
SEGMENT = {4: 1500 - 28 - 36 - 10 - 40, 6: 1500 - 28 - 36 - 10 - 60}
# Bytes of TCP that the kernel hands to a node in one piece at most (IFLA_GSO_MAX_SIZE): no more
# segments than leave in one send of datagrams (65,507 bytes). A few more would cost a send and a
# receipt of their own, a tenth of the time of all. 321: what the kernel reserves for headers
# (MAX_TCP_HEADER + 1); 12: the option of timestamps.
PIECE = 65_507 // (1500 - 28) * (SEGMENT[4] - 12) + 321
IPV6_ROUTE_NEWS = 0x400  # RTMGRP_IPV6_ROUTE

_DELETE_ADDRESS = 21
_ACKNOWLEDGE, _REPLACE, _CREATE = 0x4, 0x100, 0x400
_PUT = _ACKNOWLEDGE | _CREATE | _REPLACE
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02  # the roster handles duplicates
_RTA_DESTINATION, _RTA_INTERFACE, _RTA_PRIORITY, _RTA_SOURCE, _RTA_METRICS = 1, 4, 6, 7, 8
_RTAX_ADVMSS = 8
_UNIVERSE, _LINK = 0, 253  # RT_SCOPE_*
_KERNEL, _STATIC = 2, 4  # RTPROT_*
_MAIN, _LOCAL_TABLE = 254, 255
_UNICAST, _LOCAL, _BROADCAST = 1, 2, 3  # RTN_*


def put_address(sequence: int, index: int, address: Interface) -> bytes:
    """Let the interface have this address."""
    return message(NEW_ADDRESS, _PUT, sequence, _address(index, address, _IFA_F_NODAD))


def take_off_address(sequence: int, index: int, address: Interface) -> bytes:
    """Take this address off the interface."""
    return message(_DELETE_ADDRESS, _ACKNOWLEDGE, sequence, _address(index, address, 0))


def put_route(sequence: int, index: int, network: Network) -> bytes:
    """Route a network of the mesh to the interface, with or without an address."""
    return _unicast(sequence, index, network, ROUTE_METRIC[network.version])


def put_subnet(sequence: int, index: int, address: Interface) -> bytes:
    """Let the kernel's route to the subnet of an address of the interface say how large segments
    should be."""
    metric = SUBNET_METRIC[address.version]
    source = attribute(_RTA_SOURCE, address.ip.packed) if address.version == 4 else b""
    return _unicast(sequence, index, address.network, metric, source, _KERNEL)


def put_broadcast(sequence: int, index: int, destination: Address, source: Address) -> bytes:
    """Make the kernel treat an IPv4 address as a broadcast address of the interface."""
    return _route(
        sequence,
        (IPV4, 32, _LOCAL_TABLE),
        _BROADCAST,
        attribute(_RTA_DESTINATION, destination.packed)
        + attribute(_RTA_INTERFACE, struct.pack("=I", index))
        + attribute(_RTA_SOURCE, source.packed),
    )


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
    metric: int,
    source: bytes = b"",
    protocol: int = _STATIC,
) -> bytes:
    """A route to a network by the interface. `source`: the attribute for it, if it has one."""
    segment = attribute(_RTAX_ADVMSS, struct.pack("=I", SEGMENT[network.version]))
    return _route(
        sequence,
        (IPV4 if network.version == 4 else IPV6, network.prefixlen, _MAIN),
        _UNICAST,
        attribute(_RTA_DESTINATION, network.network_address.packed)
        + attribute(_RTA_INTERFACE, struct.pack("=I", index))
        + attribute(_RTA_PRIORITY, struct.pack("=I", metric))
        + source
        + attribute(_RTA_METRICS, segment),
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
