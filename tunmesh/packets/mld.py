"""MLD: what programs on this machine say of IPv6 groups, and the query that makes them say it.

    report   v1   type 131 ‖ 0 ‖ checksum ‖ 0 (4) ‖ group                       to the group
    done     v1   type 132 ‖ 0 ‖ checksum ‖ 0 (4) ‖ group                       to ff02::2
    report   v2   type 143 ‖ 0 ‖ checksum ‖ 0 (2) ‖ count (2) ‖ records         to ff02::16
    query    v2   type 130 ‖ 0 ‖ checksum ‖ time (2) ‖ 0 (2) ‖ :: ‖ QRV ‖ QQIC ‖ 0 (2)  to ff02::1

All are ICMPv6, behind a hop-by-hop header with a router alert. Hosts obey a query only if it comes
from a link-local address.

Sources: RFC 2710, RFC 3810, RFC 2711 (router alert), RFC 4861 (neighbour discovery),
igmp6_event_query in net/ipv6/mcast.c.
"""

from __future__ import annotations

import struct

from tunmesh.packets import group_records, icmp, ip_headers
from tunmesh.packets.group_records import Record

_QUERY, _V1_REPORT, _DONE, _V2_REPORT = 130, 131, 132, 143
TYPES = frozenset({_QUERY, _V1_REPORT, _DONE, _V2_REPORT})
_ADDRESS = 16
_V1_SIZE, _V2_HEAD = 24, 8
_ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
_QUERIER = b"\xfe\x80" + bytes(13) + b"\x01"  # fe80::1; only this machine ever sees it
_ROUTER_ALERT = bytes((ip_headers.ICMPV6, 0, 5, 2, 0, 0, 1, 0))  # and two bytes of padding


def read(packet: bytes) -> tuple[Record, ...] | None:
    """What an MLD packet says of groups: nothing, for a query. None if it is no whole and correct
    MLD packet."""
    found = ip_headers.read(packet)
    if found is None or not found.is_whole or found.fragment is not None:
        return None
    message = packet[found.at :]
    if packet[0] >> 4 != 6 or found.protocol != ip_headers.ICMPV6 or len(message) < _V2_HEAD:
        return None
    kind = message[0]
    covered = icmp.pseudo_header(packet[8:24], packet[24:40], ip_headers.ICMPV6, len(message))
    if kind not in TYPES or icmp.checksum(covered + message):
        return None
    if kind == _V2_REPORT:
        count = message[6] << 8 | message[7]
        return group_records.parse(message[_V2_HEAD:], count, _ADDRESS)
    if len(message) < _V1_SIZE:
        return None
    group = message[8:24]
    if kind == _V1_REPORT:
        return (group_records.joined(group),)
    return (group_records.left(group),) if kind == _DONE else ()


def general_query(within: float, robustness: int, interval: int) -> bytes:
    """An IPv6 packet that asks for all groups. Responses take up to `within` seconds; hosts repeat
    what changes `robustness` times (1 to 7); it comes every `interval` seconds (at most 127)."""
    time = round(1000 * within)
    body = struct.pack("!BBHHH16sBBH", _QUERY, 0, 0, time, 0, bytes(16), robustness, interval, 0)
    covered = icmp.pseudo_header(_QUERIER, _ALL_NODES, ip_headers.ICMPV6, len(body))
    checksum = icmp.checksum(covered + body)
    body = body[:2] + checksum.to_bytes(2) + body[4:]
    payload = _ROUTER_ALERT + body
    head = struct.pack("!IHBB", 6 << 28, len(payload), ip_headers.HOP_BY_HOP, 1)
    return head + _QUERIER + _ALL_NODES + payload
