"""The form of a routing netlink message, for those that ask (netlink.codec) and those that change
something (netlink.changes).

    nlmsghdr  length u32, type u16, flags u16, sequence u32, port u32      16 bytes, host order
    header    rtmsg, ifaddrmsg, ifinfomsg or fib_rule_hdr                   8 to 16 bytes
    rtattr    length u16, type u16, value, padded to 4 bytes; until the message's end

Sources: netlink(7), rtnetlink(7), linux/{netlink,rtnetlink}.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tunmesh.addresses import Address

HEADER = struct.Struct("=IHHII")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")  # that of rules has the same layout
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, which of them to change
ATTRIBUTE = struct.Struct("=HH")
# RTM_*; what else there is belongs to those that ask, or that change something.
NEW_ADDRESS, NEW_ROUTE, GET_ROUTE = 20, 24, 26
ERROR = 2  # NLMSG_ERROR: also the acknowledgement, with the error 0
IPV4, IPV6 = 2, 10  # AF_*
_REQUEST, _REPLACE, _EXCLUSIVE = 0x1, 0x100, 0x200
_RTM_F_LOOKUP_TABLE = 0x1000
_RTA_DESTINATION, _RTA_SOURCE, _RTA_INCOMING = 1, 2, 3


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request of this kind (RTM_*), with these flags besides NLM_F_REQUEST."""
    return HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, sequence, 0) + body


def exclusive(request: bytes) -> bytes:
    """The same request to put something, refused with EEXIST if it is there already."""
    length, kind, flags, *rest = HEADER.unpack_from(request)
    flags = flags & ~_REPLACE | _EXCLUSIVE
    return HEADER.pack(length, kind, flags, *rest) + request[HEADER.size :]


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) & 3)


def route_request(
    sequence: int, destination: Address, source: Address | None = None, incoming: int = 0
) -> bytes:
    """The request for the route that the kernel would use for a packet of this machine; or, with
    the index of an interface, for one that comes in there."""
    family = IPV4 if destination.version == 4 else IPV6
    width = destination.max_prefixlen
    header = ROUTE.pack(family, width, width if source else 0, 0, 0, 0, 0, 0, _RTM_F_LOOKUP_TABLE)
    body = header + attribute(_RTA_DESTINATION, destination.packed)
    if source is not None:
        body += attribute(_RTA_SOURCE, source.packed)
    if incoming:
        body += attribute(_RTA_INCOMING, struct.pack("=I", incoming))
    return message(GET_ROUTE, 0, sequence, body)


def attributes(data: bytes, at: int, end: int) -> dict[int, bytes]:
    """The attributes between two offsets, by kind; of several of one kind, the last."""
    return dict(_each_attribute(data, at, end))


def _each_attribute(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += size + 3 & ~3


def error_of(data: bytes, start: int, end: int) -> int:
    """The positive errno of NLMSG_ERROR or NLMSG_DONE; 0 if there is none."""
    if end - start < HEADER.size + 4:
        return 0
    (code,) = struct.unpack_from("=i", data, start + HEADER.size)
    return -code if code < 0 else 0
