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

HEADER = struct.Struct("=IHHII")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")  # that of rules has the same layout
ATTRIBUTE = struct.Struct("=HH")
ERROR = 2  # NLMSG_ERROR: also the acknowledgement, with the error 0
IPV4, IPV6 = 2, 10  # AF_*
_REQUEST = 0x1


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request of this kind (RTM_*), with these flags besides NLM_F_REQUEST."""
    return HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) & 3)


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
