"""What a node asks of its helper, and what that answers: one datagram each, in turn.

    request   what u8 (1: put, 2: take off), IP version u8, address 16 bytes, padded with zeros
    answer    errno u16 (0: done), then why it was refused, in UTF-8

A request says no more than which address. Everything else (the device, the network, the prefix,
the routes) was told to the helper before the node had a connection to anybody.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from tunmesh.addresses import Address

PUT, TAKE_OFF = 1, 2
SIZE = 18  # bytes of every request
MAX_ANSWER = 512  # bytes

_REQUEST = struct.Struct("!BB16s")
_ERRNO = struct.Struct("!H")


def request(what: int, address: Address) -> bytes:
    """PUT or TAKE_OFF this address."""
    return _REQUEST.pack(what, address.version, address.packed)


def read_request(data: bytes) -> tuple[int, Address]:
    """What is asked, and of which address. Raises ValueError."""
    if len(data) != SIZE:
        raise ValueError(f"a request of {len(data)} bytes or more, not {SIZE}")
    what, version, padded = _REQUEST.unpack(data)
    if what not in (PUT, TAKE_OFF) or version not in (4, 6):
        raise ValueError("a request for something that the helper does not do")
    if version == 6:
        return what, IPv6Address(padded)
    if any(padded[4:]):
        raise ValueError("a request with an address of a wrong size")
    return what, IPv4Address(padded[:4])


def answer(errno: int, why: str = "") -> bytes:
    """What a request came to."""
    return (_ERRNO.pack(errno) + why.encode())[:MAX_ANSWER]


def read_answer(data: bytes) -> tuple[int, str]:
    """The errno, and why. Raises ValueError."""
    if len(data) < _ERRNO.size:
        raise ValueError("an answer that is too short")
    return int(_ERRNO.unpack_from(data)[0]), data[_ERRNO.size :].decode(errors="replace")
