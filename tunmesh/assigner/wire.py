"""What a node asks of its helper, and what that answers: one datagram each, in turn.

    request   what u8, then
                1 put, 2 take off   IP version u8, prefix u8, address 16 bytes, padded with zeros
                3 restore           nothing
                4 link              MTU u32, txqueuelen u32 (0: as it is)
    answer    errno u16 (0: done), then why it was refused, in UTF-8

A request says no more than that. Everything else (the device, the networks, the routes) was told to
the helper before the node had a connection to anybody.
"""

from __future__ import annotations

import struct
from ipaddress import ip_interface
from typing import NamedTuple

from tunmesh.addresses import Interface

PUT, TAKE_OFF, RESTORE, LINK = 1, 2, 3, 4
MAX_REQUEST = 19  # bytes
MAX_ANSWER = 512  # bytes

_ADDRESS = struct.Struct("!BBB16s")
_LINK = struct.Struct("!BII")
_ERRNO = struct.Struct("!H")


class Request(NamedTuple):
    """What is asked, with the address that PUT and TAKE_OFF are about, or what LINK is to set."""

    what: int
    interface: Interface | None = None
    mtu: int = 0
    queue: int = 0

    def encode(self) -> bytes:
        if self.interface is not None:
            own = self.interface
            return _ADDRESS.pack(self.what, own.version, own.network.prefixlen, own.ip.packed)
        if self.what == LINK:
            return _LINK.pack(self.what, self.mtu, self.queue)
        return bytes([self.what])


def read_request(data: bytes) -> Request:
    """The reverse of Request.encode. Raises ValueError."""
    size = len(data)
    match data[:1]:
        case b"\1" | b"\2" if size == _ADDRESS.size:
            return _about_address(data)
        case b"\3" if size == 1:
            return Request(RESTORE)
        case b"\4" if size == _LINK.size:
            what, mtu, queue = _LINK.unpack(data)
            return Request(what, None, mtu, queue)
    raise ValueError("a request for something that the helper does not do")


def _about_address(data: bytes) -> Request:
    what, version, prefix, padded = _ADDRESS.unpack(data)
    width = {4: 4, 6: 16}.get(version)
    if width is None or any(padded[width:]):
        raise ValueError("a request with an address of a wrong size")
    return Request(what, ip_interface((padded[:width], prefix)))


def answer(errno: int, why: str = "") -> bytes:
    """What a request came to."""
    return (_ERRNO.pack(errno) + why.encode())[:MAX_ANSWER]


def read_answer(data: bytes) -> tuple[int, str]:
    """The errno, and why. Raises ValueError."""
    if len(data) < _ERRNO.size:
        raise ValueError("an answer that is too short")
    return int(_ERRNO.unpack_from(data)[0]), data[_ERRNO.size :].decode(errors="replace")
