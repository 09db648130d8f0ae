"""Routing netlink on the wire: requests as bytes, answers as values.

netlink.messages draws the form of a message.

A machine may have a full routing table: parsed into objects, 100,000 routes take 13 s and hundreds
of megabytes. So only routes that overlap a network of the mesh are kept; a few bytes are enough to
skip the others. Snapshot requests one dump after another (links, addresses, routes, rules); whoever
has the socket feeds it the answers.

The kernel marks a dump that was interrupted by a change with NLM_F_DUMP_INTR. It may lack entries,
so it is requested again, a limited number of times where the tables change all the time.

Sources: netlink(7), rtnetlink(7), linux/{netlink,rtnetlink,if_link,if_addr,fib_rules}.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import (
    ip_address,
    ip_network,
)

from tunmesh.addresses import Network
from tunmesh.netlink.kernel import UP, InterfaceAddress, Link, NetlinkError, Route, Rule, State
from tunmesh.netlink.messages import (
    ADDRESS,
    ATTRIBUTE,
    ERROR,
    GET_ROUTE,
    HEADER,
    IPV4,
    IPV6,
    LINK,
    NEW_ADDRESS,
    NEW_ROUTE,
    ROUTE,
    attributes,
    error_of,
    message,
)

# Multicast groups to bind to for news of all that a Snapshot holds: RTNLGRP_LINK,
# IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE.
NEWS_GROUPS = 1 << 0 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18
MAX_ATTEMPTS = 10  # at a dump that is interrupted by changes

_NEW_LINK, _GET_LINK = 16, 18
_GET_ADDRESS = 22
_NEW_RULE, _GET_RULE = 32, 34
_DONE = 3
_DUMP, _DUMP_INTERRUPTED = 0x300, 0x10
_RTM_F_CLONED = 0x200
_RULE_INVERT = 2
_ANY = 0
# What kernels without policy routing or without IPv6 answer: there are no entries.
_UNKNOWN_KIND = (95, 97)  # EOPNOTSUPP, EAFNOSUPPORT

_U32 = struct.Struct("=I")
_ROUTE_AT = HEADER.size
_ROUTE_ATTRIBUTES = _ROUTE_AT + ROUTE.size


class Snapshot:
    """The dumps that make up a State, one after the other.

    while (request := snapshot.request()) is not None:
        send(request)
        while not snapshot.feed(receive()):
            pass
    snapshot.state
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        families = sorted({IPV4 if network.version == 4 else IPV6 for network in networks})
        self._wanted = {
            family: [
                (int(network.network_address), network.prefixlen)
                for network in networks
                if network.max_prefixlen == (32 if family == IPV4 else 128)
            ]
            for family in families
        }
        self._steps = [(_GET_LINK, _ANY), (_GET_ADDRESS, _ANY)]
        self._steps += [(what, family) for what in (GET_ROUTE, _GET_RULE) for family in families]
        self._step = 0
        self._sequence = 0
        self._attempts = 0
        self._is_interrupted = False
        self._found: list[Link | InterfaceAddress | Route | Rule] = []
        self._kept: list[Link | InterfaceAddress | Route | Rule] = []

    def request(self) -> bytes | None:
        """The next dump request; None when the snapshot is complete."""
        if self._step == len(self._steps):
            return None
        self._sequence += 1
        self._is_interrupted = False
        self._found = []
        what, family = self._steps[self._step]
        body = ROUTE.pack(family, *(0,) * 8) if what != _GET_LINK else bytes(LINK.size)
        return message(what, _DUMP, self._sequence, body)

    def feed(self, data: bytes) -> bool:
        """Take what was read from the socket. True if it ends this dump. Raises NetlinkError."""
        position, size = 0, len(data)
        while position + HEADER.size <= size:
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, position)
            end = position + max(length, HEADER.size)
            if sequence == self._sequence:
                if flags & _DUMP_INTERRUPTED:
                    self._is_interrupted = True
                if kind == NEW_ROUTE:
                    self._take_route(data, position, end)
                elif kind in (_DONE, ERROR):
                    self._end(error_of(data, position, end))
                    return True
                else:
                    self._take(kind, data, position, end)
            position = end + (-end & 3)
        return False

    @property
    def state(self) -> State:
        kept = self._kept
        return State(
            {one.index: one for one in kept if isinstance(one, Link)},
            tuple(one for one in kept if isinstance(one, InterfaceAddress)),
            tuple(one for one in kept if isinstance(one, Route)),
            tuple(one for one in kept if isinstance(one, Rule)),
        )

    def _end(self, error: int) -> None:
        if error and error not in _UNKNOWN_KIND:
            raise NetlinkError(error)
        self._attempts += 1
        if self._is_interrupted and self._attempts < MAX_ATTEMPTS:
            return  # the same again
        self._kept += self._found
        self._step += 1
        self._attempts = 0

    def _take_route(self, data: bytes, start: int, end: int) -> None:
        """Keep the route if it overlaps. Called for every route of the machine."""
        family, length = data[start + _ROUTE_AT], data[start + _ROUTE_AT + 1]
        wanted = self._wanted.get(family)
        if wanted is None:
            return
        width = 32 if family == IPV4 else 128
        destination = 0
        if length:
            at = start + _ROUTE_ATTRIBUTES
            while at < end:
                size, kind = ATTRIBUTE.unpack_from(data, at)
                if kind == 1:  # RTA_DST
                    destination = int.from_bytes(data[at + 4 : at + size], "big")
                    break
                at += size + 3 & ~3 or 4
        for network, prefix in wanted:
            common = prefix if prefix < length else length
            if (destination ^ network) >> (width - common) == 0:
                route = _route(data, start, end)
                if route is not None:
                    self._found.append(route)
                return

    def _take(self, kind: int, data: bytes, start: int, end: int) -> None:
        if kind == _NEW_LINK:
            _, _, index, flags, _ = LINK.unpack_from(data, start + HEADER.size)
            named = attributes(data, start + HEADER.size + LINK.size, end)
            name = named.get(3, b"").rstrip(b"\0").decode(errors="replace")
            mtu = _u32(named.get(4), 0)
            self._found.append(Link(index, name, bool(flags & UP), mtu))
        elif kind == NEW_ADDRESS:
            family, prefix, _, _, index = ADDRESS.unpack_from(data, start + HEADER.size)
            if family not in (IPV4, IPV6):
                return
            given = attributes(data, start + HEADER.size + ADDRESS.size, end)
            # Of a point-to-point interface, IFA_ADDRESS is the far end and IFA_LOCAL is ours.
            far = given.get(1) or given[2]
            self._found.append(
                InterfaceAddress(
                    index,
                    ip_address(given.get(2) or far),
                    ip_network((far, prefix), strict=False),
                )
            )
        elif kind == _NEW_RULE:
            self._found.append(_rule(data, start, end))


def route_answer(data: bytes) -> Route:
    """The answer to `messages.route_request`. Raises NetlinkError if there is no way."""
    length, kind, _, _, _ = HEADER.unpack_from(data)
    if kind == ERROR:
        raise NetlinkError(error_of(data, 0, length))
    route = _route(data, 0, length, is_answer=True)
    if route is None:
        raise NetlinkError(_UNKNOWN_KIND[0])
    return route


def _route(data: bytes, start: int, end: int, is_answer: bool = False) -> Route | None:
    family, length, _, _, table, protocol, _, kind, flags = ROUTE.unpack_from(
        data, start + _ROUTE_AT
    )
    if flags & _RTM_F_CLONED and not is_answer:
        return None  # an entry of a cache
    given = attributes(data, start + _ROUTE_ATTRIBUTES, end)
    width = 4 if family == IPV4 else 16
    hops = given.get(9, b"")  # RTA_MULTIPATH: struct rtnexthop, the index at 4
    outgoing = given.get(4) or hops[4:8]
    return Route(
        ip_network((given.get(1, bytes(width)), length), strict=False),
        _u32(given.get(15), table),
        kind,
        protocol,
        _u32(given.get(6), 0),
        _u32(outgoing, 0),
    )


def _rule(data: bytes, start: int, end: int) -> Rule:
    family, to_length, from_length, tos, table, _, _, action, flags = ROUTE.unpack_from(
        data, start + _ROUTE_AT
    )
    given = attributes(data, start + _ROUTE_ATTRIBUTES, end)
    mark = _u32(given.get(10), 0)
    # What makes a rule partial: FRA_TUN_ID, OIFNAME, L3MDEV, UID_RANGE, IP_PROTO, SPORT_RANGE,
    # DPORT_RANGE.
    asks_more = any(
        any(given.get(kind, b"")) for kind in (12, 17, 19, 22, 23, 24)
    ) or _limits_users(given.get(20, b""))
    suppressed = given.get(14)
    return Rule(
        4 if family == IPV4 else 6,
        _u32(given.get(6), 0),
        action,
        _u32(given.get(15), table),
        ip_network((given[2], from_length)) if 2 in given else None,
        ip_network((given[1], to_length)) if 1 in given else None,
        mark,
        _u32(given.get(16), 0xFFFFFFFF if mark else 0),
        given.get(3, b"").rstrip(b"\0").decode(errors="replace"),
        struct.unpack("=i", suppressed)[0] if suppressed else -1,
        _u32(given.get(4), 0),
        bool(flags & _RULE_INVERT),
        asks_more or bool(tos),
    )


def _limits_users(value: bytes) -> bool:
    """Whether a uid range excludes anybody; the kernel also reports the full range."""
    return len(value) == 8 and struct.unpack("=II", value) != (0, 0xFFFFFFFF)


def _u32(value: bytes | None, default: int) -> int:
    return int(_U32.unpack(value)[0]) if value else default
