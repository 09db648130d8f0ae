"""IGMP: what programs on this machine say of IPv4 groups, and the query that makes them say it.

    report   v1, v2   type 0x12, 0x16 ‖ 0 ‖ checksum ‖ group       to the group
    leave    v2       type 0x17 ‖ 0 ‖ checksum ‖ group             to 224.0.0.2
    report   v3       type 0x22 ‖ 0 ‖ checksum ‖ 0 ‖ count ‖ records    to 224.0.0.22
    query    v3       type 0x11 ‖ time ‖ checksum ‖ 0 ‖ QRV ‖ QQIC ‖ 0  to 224.0.0.1

The query's source is 0.0.0.0: such a query takes no part in the election of a querier, so it
disturbs no router that runs on this machine (RFC 4541, section 2.1.1).

Sources: RFC 1112 appendix I, RFC 2236, RFC 3376, RFC 2113 (router alert).
"""

from __future__ import annotations

import struct

from tunmesh.packets import group_records, icmp, ip_headers
from tunmesh.packets.group_records import Record

PROTOCOL = 2
_V1_REPORT, _V2_REPORT, _LEAVE, _V3_REPORT, _QUERY = 0x12, 0x16, 0x17, 0x22, 0x11
_SHORT = 8  # bytes of a message of v1 and v2, and of what is before the records of v3
_ADDRESS = 4
_ALL_HOSTS = b"\xe0\0\0\1"
_ROUTER_ALERT = b"\x94\x04\0\0"
_INTERNET_CONTROL = 0xC0  # type of service
MOST_SECONDS = 12.7  # that a response may take, in the linear part of the code


def read(packet: bytes) -> tuple[Record, ...] | None:
    """What an IGMP packet says of groups: nothing, for a query or an unknown type. None if it is
    no whole and correct IGMP packet."""
    found = ip_headers.read(packet)
    if found is None or not found.is_whole or found.fragment is not None:
        return None
    message = packet[found.at :]
    if packet[0] >> 4 != 4 or found.protocol != PROTOCOL or len(message) < _SHORT:
        return None
    if icmp.checksum(message):
        return None
    kind, group = message[0], message[4:8]
    if kind == _V3_REPORT:
        count = message[6] << 8 | message[7]
        return group_records.parse(message[_SHORT:], count, _ADDRESS)
    if kind in (_V1_REPORT, _V2_REPORT):
        return (group_records.joined(group),)
    return (group_records.left(group),) if kind == _LEAVE else ()


def general_query(within: float, robustness: int, interval: int) -> bytes:
    """An IPv4 packet that asks for all groups. Responses take up to `within` seconds; hosts repeat
    what changes `robustness` times (1 to 7); it comes every `interval` seconds (at most 127)."""
    code = round(10 * min(within, MOST_SECONDS))
    body = struct.pack("!BBH4sBBH", _QUERY, code, 0, bytes(4), robustness, interval, 0)
    body = body[:2] + icmp.checksum(body).to_bytes(2) + body[4:]
    size = 24 + len(body)
    head = struct.pack("!BBHHHBBH", 0x46, _INTERNET_CONTROL, size, 0, 0, 1, PROTOCOL, 0)
    head += bytes(4) + _ALL_HOSTS + _ROUTER_ALERT
    return head[:10] + icmp.checksum(head).to_bytes(2) + head[12:] + body
