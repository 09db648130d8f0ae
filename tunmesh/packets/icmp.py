"""ICMP echo messages: what `ping` sends and waits for.

    0      1      2          4          6          8
    +------+------+----------+----------+----------+---------
    | type | code | checksum | identity | sequence | payload …
    +------+------+----------+----------+----------+---------

Both families use this layout with different types. The ICMPv6 checksum also covers the addresses,
so the kernel fills it in. When read, a raw IPv4 socket delivers the IP header as well; a raw IPv6
socket does not.

Sources: RFC 792, RFC 4443 section 4, RFC 1071 (checksum), raw(7), ipv6(7).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct("!BBHHH")


@dataclass(frozen=True)
class EchoFamily:
    """The differences between ICMP echo over IPv4 and over IPv6."""

    request: int
    reply: int
    has_ip_header: bool


IPV4 = EchoFamily(request=8, reply=0, has_ip_header=True)
IPV6 = EchoFamily(request=128, reply=129, has_ip_header=False)


def checksum(data: bytes) -> int:
    """The 16-bit Internet checksum (RFC 1071); 0 over a message that contains its own checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, destination: bytes, protocol: int, size: int) -> bytes:
    """What the checksum of an upper protocol covers beside its own `size` bytes; the addresses are
    raw. It is that of IPv6 (RFC 8200, section 8.1); the one of IPv4 (RFC 768) has the same sum."""
    return source + destination + struct.pack("!II", size, protocol)


def echo_request(family: EchoFamily, identity: int, sequence: int, payload: bytes) -> bytes:
    """An echo request; identity and sequence are 16 bits."""
    blank = HEADER.pack(family.request, 0, 0, identity, sequence) + payload
    return HEADER.pack(family.request, 0, checksum(blank), identity, sequence) + payload


def parse_echo_reply(family: EchoFamily, datagram: bytes) -> tuple[int, int] | None:
    """The (identity, sequence) of a datagram read from a raw socket; None if it is not an echo
    reply."""
    start = (datagram[0] & 0x0F) * 4 if family.has_ip_header and datagram else 0
    if len(datagram) < start + HEADER.size:
        return None
    kind, _code, _checksum, identity, sequence = HEADER.unpack_from(datagram, start)
    return (identity, sequence) if kind == family.reply else None
