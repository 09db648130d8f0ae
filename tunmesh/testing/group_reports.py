"""What a kernel says of multicast groups on a tun, as frames."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from tunmesh.packets import icmp, ip_headers
from tunmesh.packets.group_records import Kind, Record

HOP_BY_HOP = bytes((ip_headers.ICMPV6, 0, 5, 2, 0, 0, 1, 0))


def raw(address: str) -> bytes:
    return ip_address(address).packed


def record(kind: Kind, group: str, *sources: str) -> Record:
    return Record(kind, raw(group), tuple(map(raw, sources)))


def encoded(records: Iterable[Record]) -> bytes:
    return b"".join(
        bytes((each.kind, 0)) + len(each.sources).to_bytes(2) + each.group + b"".join(each.sources)
        for each in records
    )


def igmp(kind: int, rest: bytes, to: str = "224.0.0.22", source: str = "10.9.0.1") -> bytes:
    """An IGMP frame; `rest` is what follows the checksum."""
    body = bytes((kind, 0, 0, 0)) + rest
    body = body[:2] + icmp.checksum(body).to_bytes(2) + body[4:]
    head = struct.pack("!BBHHHBBH", 0x46, 0xC0, 24 + len(body), 0, 0x4000, 1, 2, 0)
    return bytes(10) + head + raw(source) + raw(to) + b"\x94\x04\0\0" + body


def igmp3(*records: Record, source: str = "10.9.0.1") -> bytes:
    """An IGMPv3 report."""
    rest = bytes(2) + len(records).to_bytes(2) + encoded(records)
    return igmp(0x22, rest, source=source)


def mld(kind: int, rest: bytes, to: str = "ff02::16", source: str = "fe80::5") -> bytes:
    """An MLD frame; `rest` is what follows the checksum."""
    ends = raw(source) + raw(to)
    body = bytes((kind, 0, 0, 0)) + rest
    covered = ends + struct.pack("!II", len(body), ip_headers.ICMPV6) + body
    body = body[:2] + icmp.checksum(covered).to_bytes(2) + body[4:]
    size = len(HOP_BY_HOP) + len(body)
    return bytes(10) + struct.pack("!IHBB", 6 << 28, size, 0, 1) + ends + HOP_BY_HOP + body


def mld2(*records: Record, source: str = "fe80::5") -> bytes:
    """An MLDv2 report."""
    rest = bytes(2) + len(records).to_bytes(2) + encoded(records)
    return mld(143, rest, source=source)
