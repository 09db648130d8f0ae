"""What a kernel makes of a frame, in the plain way: each packet as it would be on a wire.

This is what delivered frames are compared by: packet for packet, with complete checksums. Nothing
here uses tunmesh's own code for packets.

Sources: RFC 791, 768, 1071, 8200, 9293; Linux, net/ipv4/tcp_offload.c (tcp_gso_segment).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

TCP, UDP = 6, 17
FIN, PSH, ACK, URG, ECE, CWR = 0x01, 0x08, 0x10, 0x20, 0x40, 0x80


class Packet(NamedTuple):
    """A packet in its parts. `ip` and `transport` are headers without what depends on the length
    and on the place in a stream."""

    ip: bytes  # without lengths, identification and checksum
    identification: int
    transport: bytes  # without sequence number, flags, length and checksum
    sequence: int
    flags: int
    payload: bytes
    is_sound: bool  # lengths and checksums are right


def folded(data: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(packet: bytes, start: int, protocol: int) -> bytes:
    """Of an IP packet whose transport header begins at `start`."""
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return addresses + struct.pack(">HI", protocol, len(packet) - start)


def with_length(packet: bytes, identification: int) -> bytes:
    """An IP packet with the right length; and this identification and checksum, if it has them."""
    if packet[0] >> 4 == 6:
        return packet[:4] + struct.pack(">H", len(packet) - 40) + packet[6:]
    size = (packet[0] & 15) * 4
    head = packet[:2] + struct.pack(">HH", len(packet), identification) + packet[6:10] + b"\0\0"
    head += packet[12:size]
    return head[:10] + struct.pack(">H", 0xFFFF - folded(head)) + packet[12:]


def segmented(frame: bytes) -> list[bytes]:
    """The packets of a frame, finished: no checksum is left to be filled in."""
    flags, gso, _, unit, start, offset = struct.unpack("<BBHHHH", frame[:10])
    packet = frame[10:]
    if not flags & 1:
        return [packet]
    if not gso:
        return [filled_in(packet, start, offset)]
    head = start + (8 if gso == 5 else (packet[start + 12] >> 4) * 4)
    payload = packet[head:]
    partial = int.from_bytes(packet[start + offset : start + offset + 2])
    identification = int.from_bytes(packet[4:6])
    pieces = [payload[at : at + unit] for at in range(0, len(payload), unit)]
    packets = []
    for index, piece in enumerate(pieces):
        transport = bytearray(packet[start:head])
        if gso == 5:
            transport[4:6] = (8 + len(piece)).to_bytes(2)
        else:
            sequence = int.from_bytes(packet[start + 4 : start + 8]) + index * unit
            transport[4:8] = (sequence & 0xFFFFFFFF).to_bytes(4)
            if index:
                transport[13] &= ~CWR & 0xFF
            if index < len(pieces) - 1:
                transport[13] &= ~(FIN | PSH) & 0xFF
        # One's complement: the pseudo header's length is another.
        fewer = len(payload) - len(piece)
        transport[offset : offset + 2] = ((partial - fewer) % 0xFFFF).to_bytes(2)
        whole = with_length(packet[:start] + transport + piece, identification + index & 0xFFFF)
        packets.append(filled_in(whole, start, offset))
    return packets


def filled_in(packet: bytes, start: int, offset: int) -> bytes:
    at = start + offset
    check = 0xFFFF - folded(packet[start:])
    return packet[:at] + check.to_bytes(2) + packet[at + 2 :]


def parsed(packet: bytes, start: int) -> Packet:
    """A finished TCP or UDP packet, whose transport header begins at `start`."""
    if packet[0] >> 4 == 4:
        ip = packet[:2] + packet[6:10] + packet[12:start]
        identification, protocol = int.from_bytes(packet[4:6]), packet[9]
        is_sound = folded(packet[:start]) == 0xFFFF
        is_sound &= int.from_bytes(packet[2:4]) == len(packet)
    else:
        ip = packet[:4] + packet[6:start]
        identification, protocol = 0, packet[6] if start == 40 else packet[40]
        is_sound = int.from_bytes(packet[4:6]) == len(packet) - 40
    is_sound &= folded(pseudo_header(packet, start, protocol) + packet[start:]) == 0xFFFF
    if protocol == UDP:
        transport, end, sequence, flags = packet[start : start + 4], start + 8, 0, 0
        is_sound &= int.from_bytes(packet[start + 4 : start + 6]) == len(packet) - start
    else:
        end = start + (packet[start + 12] >> 4) * 4
        sequence, flags = int.from_bytes(packet[start + 4 : start + 8]), packet[start + 13]
        transport = packet[start : start + 4] + packet[start + 8 : start + 13]
        transport += packet[start + 14 : start + 16] + packet[start + 18 : end]
    return Packet(ip, identification, transport, sequence, flags, packet[end:], bool(is_sound))


def ip_header(version: int, protocol: int, size: int, extra: int, identification: int) -> bytes:
    """For a packet with so many bytes behind the header, which has `extra` times four (IPv4) or
    eight (IPv6) bytes of options. Its lengths and checksum are right."""
    if version == 4:
        options = b"\1" * (4 * extra)
        start = bytes((0x45 + extra, 0)) + bytes(4) + b"\x40\0\x40" + bytes((protocol,)) + b"\0\0"
        addresses = bytes((10, 77, 0, 2, 10, 77, 0, 1))
        whole = with_length(start + addresses + options + bytes(size), identification)
        return whole[: 20 + 4 * extra]
    options = b""
    if extra:
        padding = 8 * extra - 4
        options = bytes((protocol, extra - 1, 1, padding)) + bytes(padding)
        protocol = 60
    addresses = bytes.fromhex("fd77" + "00" * 13 + "02" + "fd77" + "00" * 13 + "01")
    start = bytes((0x60, 0, 0, 7)) + (len(options) + size).to_bytes(2) + bytes((protocol, 64))
    return start + addresses + options


def tcp_frame(
    payload: bytes,
    port: int = 80,
    *,
    version: int = 4,
    extra: int = 0,
    options: int = 3,
    unit: int = 1448,
    sequence: int = 0,
    flags: int = ACK,
    identification: int = 0,
) -> bytes:
    """TCP as the kernel hands it over, with `options` times four bytes of TCP options. It is to be
    cut into segments with `unit` bytes each; 0: it is one."""
    size = 20 + 4 * options + len(payload)
    ip = ip_header(version, TCP, size, extra, identification)
    head = struct.pack(">HHIIBBHHH", port, 4000, sequence, 1234, 5 + options << 4, flags, 501, 0, 0)
    transport = head + b"\1" * (4 * options)
    partial = folded(pseudo_header(ip + transport + payload, len(ip), TCP))
    transport = transport[:16] + partial.to_bytes(2) + transport[18:]
    gso = (1 if version == 4 else 4) if unit else 0
    headers = len(ip) + len(transport) if unit else 0
    return struct.pack("<BBHHHH", 1, gso, headers, unit, len(ip), 16) + ip + transport + payload


def udp_frame(
    payload: bytes, port: int = 53, *, version: int = 4, unit: int = 1200, identification: int = 0
) -> bytes:
    """Joined datagrams with `unit` bytes of payload each; the last may be shorter."""
    ip = ip_header(version, UDP, 8 + len(payload), 0, identification)
    udp = struct.pack(">HHHH", port, 4000, 8 + len(payload), 0)
    partial = folded(pseudo_header(ip + udp + payload, len(ip), UDP))
    udp = udp[:6] + partial.to_bytes(2)
    return struct.pack("<BBHHHH", 1, 5, len(ip) + 8, unit, len(ip), 6) + ip + udp + payload
