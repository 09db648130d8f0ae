"""Replies to packets that this machine sent into its tun, made without the kernel of anybody else.

    UDP datagram          ->  a datagram back, with the payload of the caller
    ICMP echo request     ->  echo reply
    any other packet      ->  ICMP "port unreachable", "host unreachable" or "packet too big", which
                              quotes its beginning

They are complete: all checksums are filled in. What arrives comes from our own kernel, which may
have left checksums to be filled in, so none are checked. Their source is the destination of the
packet that they reply to: the kernel would not believe any of its own addresses on a packet that
comes out of a device.

Never is there an error about an ICMP error, nor about another ICMP message than an echo request
(about which "host unreachable" and "packet too big" are useful: `ping` shows them), nor about a
later fragment. Whether source and destination are addresses of a single host is up to the caller.

A frame is `virtio_net_hdr || IP packet` (packets.virtio).

Sources: RFC 768, RFC 791, RFC 792, RFC 1122 section 3.2.2 (what is not answered by an error),
RFC 1191 section 4 (packet too big), RFC 1812 section 4.3.2.3 (how much is quoted), RFC 4443,
RFC 8200 section 8.1 (pseudo header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tunmesh.packets import icmp, ip_headers, virtio
from tunmesh.packets.virtio import HEADER, PLAIN, UDP, UDP_HEADER

_HOPS = 64
# Type and code of errors.
_PORT_UNREACHABLE = {4: b"\3\3", 6: b"\1\4"}
_HOST_UNREACHABLE = {4: b"\3\1", 6: b"\1\3"}  # IPv6: address unreachable
_TOO_BIG = {4: b"\3\4", 6: b"\2\0"}  # IPv4: fragmentation needed
_ICMP = {4: ip_headers.ICMP, 6: ip_headers.ICMPV6}
_ECHO = {4: icmp.IPV4, 6: icmp.IPV6}
_LONGEST = {4: 576, 6: 1280}  # bytes of an error packet
_HEADER_SIZE = {4: 20, 6: 40}


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram. Addresses are raw: 4 or 16 bytes."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes


def datagram_of(frame: bytes) -> Datagram | None:
    """The datagram in a frame; None if there is none, or only a part of one."""
    found = _whole(frame)
    if found is None or found.protocol != UDP:
        return None
    packet = frame[HEADER:]
    if len(packet) < found.at + UDP_HEADER:
        return None
    source_port, destination_port, length, _ = struct.unpack_from("!HHHH", packet, found.at)
    if not UDP_HEADER <= length <= len(packet) - found.at:
        return None
    source, destination = virtio.ends(frame)
    payload = packet[found.at + UDP_HEADER : found.at + length]
    return Datagram(source, destination, source_port, destination_port, payload)


def datagram_back(request: Datagram, payload: bytes) -> bytes:
    """The frame of a datagram that answers another one."""
    source, destination = request.destination, request.source
    length = UDP_HEADER + len(payload)
    ports = struct.pack("!HHH", request.destination_port, request.source_port, length)
    body = ports + bytes(2) + payload
    checksum = icmp.checksum(icmp.pseudo_header(source, destination, UDP, length) + body) or 0xFFFF
    return _frame(source, destination, UDP, ports + checksum.to_bytes(2) + payload)


def echo_reply(frame: bytes) -> bytes | None:
    """The reply to an ICMP echo request; None if the frame is no such request, or only a part."""
    found, packet = _whole(frame), frame[HEADER:]
    if found is None:
        return None
    version = packet[0] >> 4
    message = packet[found.at :]
    if found.protocol != _ICMP[version] or len(message) < icmp.HEADER.size:
        return None
    kind, code = message[0], message[1]
    if kind != _ECHO[version].request or code:
        return None
    return _icmp_back(frame, bytes((_ECHO[version].reply, 0)), message[4:])


def port_unreachable(frame: bytes) -> bytes | None:
    """The error that refuses a packet; None for those that must not be answered by an error."""
    return _error(frame, _PORT_UNREACHABLE)


def host_unreachable(frame: bytes) -> bytes | None:
    """The error that says that there is no such host; None for packets that must not be answered by
    an error."""
    return _error(frame, _HOST_UNREACHABLE)


def too_big(frame: bytes, mtu: int) -> bytes | None:
    """The error that says how large packets may be, in bytes; None for packets that must not be
    answered by an error."""
    return _error(frame, _TOO_BIG, mtu)


def _error(frame: bytes, kind: dict[int, bytes], field: int = 0) -> bytes | None:
    """`field`: the last two bytes of the header in IPv4, all four in IPv6."""
    if not virtio.well_formed(frame):
        return None
    packet = frame[HEADER:]
    found = ip_headers.read(packet)
    version = packet[0] >> 4
    if found is None or not found.is_whole:
        return None
    if found.fragment is not None and found.fragment.start:
        return None
    if found.protocol == _ICMP[version]:
        is_request = packet[found.at : found.at + 1] == bytes((_ECHO[version].request,))
        if not is_request:
            return None
    quoted = packet[: _LONGEST[version] - _HEADER_SIZE[version] - icmp.HEADER.size]
    return _icmp_back(frame, kind[version], struct.pack("!I", field) + quoted)


def _whole(frame: bytes) -> ip_headers.Headers | None:
    """The headers of the packet in a frame, if it is one and no fragment."""
    found = ip_headers.read(frame[HEADER:]) if virtio.well_formed(frame) else None
    if found is None or found.fragment is not None or not found.is_whole:
        return None
    return found


def _icmp_back(frame: bytes, kind: bytes, rest: bytes) -> bytes:
    """The frame of an ICMP message to the sender of a packet: type and code, checksum, the rest."""
    destination, source = virtio.ends(frame)
    protocol = _ICMP[4 if len(source) == 4 else 6]
    body = kind + bytes(2) + rest
    covered = body
    if protocol == ip_headers.ICMPV6:
        covered = icmp.pseudo_header(source, destination, protocol, len(body)) + body
    return _frame(source, destination, protocol, kind + icmp.checksum(covered).to_bytes(2) + rest)


def _frame(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 16:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, _HOPS)
        return PLAIN + head + source + destination + payload
    size = 20 + len(payload)
    dont_fragment = 0x4000
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, dont_fragment, _HOPS, protocol, 0)
    head += source + destination
    head = head[:10] + icmp.checksum(head).to_bytes(2) + head[12:]
    return PLAIN + head + payload
