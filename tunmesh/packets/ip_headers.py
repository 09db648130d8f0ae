"""Parses the IP headers of a packet: the upper protocol, where it begins, and fragmentation.

Sources: RFC 791, RFC 8200 section 4 (extension headers), IANA's protocol numbers.
"""

from __future__ import annotations

from typing import NamedTuple

ICMP, ICMPV6 = 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
_WITH_LENGTH = {HOP_BY_HOP, ROUTING, DESTINATION}  # second byte: 8-byte units beyond the first
MAX_EXTENSIONS = 8  # extension headers that are followed; real packets need no more than four

_HEADER4, _HEADER6 = 20, 40


class Fragment(NamedTuple):
    """A fragment of a datagram."""

    datagram: bytes  # identifies the datagram: addresses, protocol (IPv4 only) and identification
    start: int  # offset in the datagram, bytes
    size: int  # bytes
    is_last: bool


class Headers(NamedTuple):
    """`at` is the offset of the upper protocol's header in the packet. Only a first fragment has
    one: in later fragments `at` is where the data begins."""

    protocol: int
    at: int
    fragment: Fragment | None = None
    is_whole: bool = True  # False: the bytes end inside an extension header, that of `protocol`


def read(packet: bytes | memoryview) -> Headers | None:
    """Parse the headers of a packet. Its first bytes are enough (a fragment's `size` counts only
    the bytes that were given). None if it is not an IP packet."""
    version = packet[0] >> 4 if len(packet) >= _HEADER4 else 0
    if version == 4:
        return _read4(packet)
    if version == 6 and len(packet) >= _HEADER6:
        return _read6(packet)
    return None


def _read4(packet: bytes | memoryview) -> Headers | None:
    at = (packet[0] & 15) * 4
    if not _HEADER4 <= at <= len(packet):
        return Headers(packet[9], at, is_whole=False)
    field = packet[6] << 8 | packet[7]
    start, more = (field & 0x1FFF) * 8, bool(field & 0x2000)
    if not (start or more):
        return Headers(packet[9], at)
    datagram = bytes(packet[12:20]) + bytes(packet[9:10]) + bytes(packet[4:6])
    return Headers(packet[9], at, Fragment(datagram, start, len(packet) - at, not more))


def _read6(packet: bytes | memoryview) -> Headers | None:
    number, at, size = packet[6], _HEADER6, len(packet)
    fragment = None
    for _ in range(MAX_EXTENSIONS):
        if number == FRAGMENT and fragment is None and size >= at + 8:
            field = packet[at + 2] << 8 | packet[at + 3]
            start, more = field & 0xFFF8, bool(field & 1)
            if start or more:
                datagram = bytes(packet[8:40]) + bytes(packet[at + 4 : at + 8])
                fragment = Fragment(datagram, start, size - at - 8, not more)
            length = 8
        elif number in _WITH_LENGTH and size >= at + 8:
            length = 8 * (packet[at + 1] + 1)
        else:
            is_whole = number != FRAGMENT and number not in _WITH_LENGTH and at <= size
            return Headers(number, at, fragment, is_whole)
        number, at = packet[at], at + length
        if fragment is not None and fragment.start:
            return Headers(number, at, fragment)  # no further header is in this fragment
    return Headers(number, at, fragment, is_whole=False)
