"""What the kernel's notifications say about the addresses of this host: which came, which went.

The kernel also notifies when nothing has changed but a lifetime (IPv6, router advertisements), and
before an IPv6 address can be used (it is tentative). An address that is taken away and given back
in one moment, as some DHCP clients do, has not changed.

Sources: rtnetlink(7), linux/if_addr.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from tunmesh.addresses import Address
from tunmesh.netlink.messages import ADDRESS, HEADER, IPV4, IPV6, NEW_ADDRESS, attributes

GROUPS = 1 << 4 | 1 << 8  # RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_GONE_ADDRESS = 21  # RTM_DELADDR
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TENTATIVE = 0x40  # IFA_F_TENTATIVE
_MOST = (
    4096  # addresses that are remembered; with more, one that is only refreshed is taken for new
)

_Held = tuple[int, Address]  # by this interface


class AddressNews:
    """Of one network namespace, without the interface `ignored` (an index)."""

    def __init__(self, ignored: int) -> None:
        self._ignored = ignored
        self._known: set[_Held] = set()  # that are no news
        self._came: set[_Held] = set()
        self._gone: set[_Held] = set()

    def feed(self, data: bytes) -> None:
        """Notifications that were read from the socket. What is cut off is ignored."""
        for is_new, held in _held_in(data):
            index, address = held
            if index == self._ignored or address.is_loopback:
                continue
            if is_new and held in self._gone:
                self._gone.discard(held)
                self._known.add(held)
            elif is_new and held not in self._known:
                self._came.add(held)
            elif not is_new:
                self._came.discard(held)
                self._gone.add(held)

    def take(self) -> tuple[frozenset[Address], frozenset[Address]]:
        """The addresses that came, and those that went, since the last call. One that moved from
        one interface to another did both."""
        came, gone = self._came, self._gone
        self._known = self._known - gone | came
        if len(self._known) > _MOST:
            self._known.clear()
        self._came, self._gone = set(), set()
        return frozenset(each for _, each in came), frozenset(each for _, each in gone)


def _held_in(data: bytes) -> Iterator[tuple[bool, _Held]]:
    """The addresses that usable ones are reported of: whether each is there, or is gone."""
    at, size = 0, len(data)
    while at + HEADER.size <= size:
        length, kind, _, _, _ = HEADER.unpack_from(data, at)
        end = at + length
        if length < HEADER.size or end > size:
            return
        if kind in (NEW_ADDRESS, _GONE_ADDRESS) and length >= HEADER.size + ADDRESS.size:
            held = _held(data[at + HEADER.size : end], kind == NEW_ADDRESS)
            if held is not None:
                yield kind == NEW_ADDRESS, held
        at = end + (-end & 3)


def _held(body: bytes, is_new: bool) -> _Held | None:
    family, _, flags, _, index = ADDRESS.unpack_from(body)
    given = attributes(body, ADDRESS.size, len(body))
    packed = given.get(_IFA_LOCAL) or given.get(_IFA_ADDRESS, b"")
    if family not in (IPV4, IPV6) or len(packed) != (4 if family == IPV4 else 16):
        return None
    if is_new and flags & _TENTATIVE:
        return None
    return index, ip_address(packed)
