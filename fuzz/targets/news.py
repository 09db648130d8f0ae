"""What the kernel says about the addresses of this host: notifications, cut anywhere.

number ‖ data           `data` is read in so many pieces

Read as a whole and by another parser, which looks for the same addresses, it says the same.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tunmesh.netlink.address_news import AddressNews

TUN = 7
_NEW, _GONE = 20, 21
_TENTATIVE = 0x40


def check(data: bytes) -> None:
    pieces, rest = max(1, data[0] if data else 1), data[1:]
    news = AddressNews(TUN)
    size = max(1, len(rest) // pieces)
    for at in range(0, len(rest), size):
        news.feed(rest[at : at + size])
    came, gone = news.take()
    assert not any(each.is_loopback for each in (*came, *gone))
    assert news.take() == (frozenset(), frozenset())
    news = AddressNews(TUN)
    news.feed(rest)
    assert news.take() == _expected(rest)
    news.feed(rest)
    again = news.take()
    assert again[0] <= {ip for kind, (_, ip) in _held(rest) if kind == _NEW}


def _expected(data: bytes) -> tuple[frozenset[object], frozenset[object]]:
    """By replaying the whole history for each address of each interface."""
    histories: dict[tuple[int, object], list[int]] = {}
    for kind, held in _held(data):
        histories.setdefault(held, []).append(kind)
    came, gone = set(), set()
    for (_, address), kinds in histories.items():
        was_lost = _GONE in kinds
        if kinds[-1] == _GONE:
            gone.add(address)
        elif not was_lost:
            came.add(address)
    return frozenset(came), frozenset(gone)


def _held(data: bytes) -> list[tuple[int, tuple[int, object]]]:
    found: list[tuple[int, tuple[int, object]]] = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if not 16 <= length <= len(data):
            break
        body, data = data[16:length], data[length + (-length % 4) :]
        if kind in (_NEW, _GONE) and len(body) >= 8:
            family, _, flags, _, index = struct.unpack_from("=BBBBI", body)
            given, rest = {}, body[8:]
            while len(rest) >= 4:
                size, number = struct.unpack_from("=HH", rest)
                if size < 4:
                    break
                given[number & 0x3FFF] = rest[4:size]
                rest = rest[size + (-size % 4) :]
            packed = given.get(2) or given.get(1, b"")
            if len(packed) != {2: 4, 10: 16}.get(family):
                continue
            address = ip_address(packed)
            is_ours = index != TUN and not address.is_loopback
            if is_ours and not (kind == _NEW and flags & _TENTATIVE):
                found.append((kind, (index, address)))
    return found
