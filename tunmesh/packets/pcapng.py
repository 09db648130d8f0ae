"""Captured packets in pcapng, little endian, as Wireshark and tcpdump read them.

    section header    once, at the start
    interface         one per peer, before its first packet; packets carry its number
    packet            time, direction, number of packets dropped before it, its bytes

Source: draft-ietf-opsawg-pcapng, link type LINKTYPE_RAW: packets begin with their IP header.
"""

from __future__ import annotations

import struct

LINKTYPE_RAW = 101
INBOUND, OUTBOUND = 1, 2  # epb_flags: seen from this node
MAX_PACKET = 1 << 16
_NAME, _RESOLUTION, _FLAGS, _DROPS = 2, 9, 2, 4
_NANOSECONDS = 9


def section(software: str) -> bytes:
    """The section header."""
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(0x0A0D0D0A, head + _option(4, software.encode()) + _END)


def interface(name: str) -> bytes:
    """An interface description; interfaces are numbered from 0 in order of appearance."""
    options = _option(_NAME, name.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS]))
    return _block(1, struct.pack("<HHI", LINKTYPE_RAW, 0, MAX_PACKET) + options + _END)


def packet(
    number: int, nanoseconds: int, direction: int, missed: int, data: bytes, length: int
) -> bytes:
    """A packet of `length` bytes, of which `data` was captured, on this interface number, at
    `nanoseconds` since the epoch."""
    head = struct.pack(
        "<IIIII", number, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(data), length
    )
    options = _option(_FLAGS, struct.pack("<I", direction))
    if missed:
        options += _option(_DROPS, struct.pack("<Q", missed))
    return _block(6, head + _padded(data) + options + _END)


_END = bytes(4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
