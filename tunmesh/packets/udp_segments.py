"""Datagrams of one flow made one large segment, and cut again: for UDP what kernels do for TCP.

    virtio header    IP header       UDP header    payload │ payload │ payload
    10 bytes         20 or 40        8             gso_size each, the last may be shorter

A burst of datagrams that differ in nothing but what they carry travels as one frame: it is
encrypted, checked and written to the other tun once, and the kernel there cuts it into the
datagrams that it was. Only neighbours in one batch of the tun are joined, so nothing waits for
more; and only where the kernel left the checksum to be filled in, so that none is ever made up.

Kernels before 6.2 do not cut datagrams for a tun: `split` does it for them. Identifications of
IPv4 count up from the first one's, as the kernel does it.

Sources: RFC 768, RFC 1071, RFC 1624; Linux, net/ipv4/udp_offload.c (__udp_gso_segment).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tunmesh.packets import virtio
from tunmesh.packets.virtio import UDP, UDP_CSUM_OFFSET, UDP_HEADER, VIRTIO

MAX_JOINED = 64  # datagrams of one segment: what older kernels take as well
MAX_BYTES = 65_000  # of the payload of one segment: together with its headers it is a packet
# What the kernel puts before a datagram whose checksum is left to be filled in.
_PLAIN4 = VIRTIO.pack(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, 20, UDP_CSUM_OFFSET)
_PLAIN6 = VIRTIO.pack(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, 40, UDP_CSUM_OFFSET)
# What the datagrams of one flow have in common: in IPv6 all of the headers, in IPv4 all but
# identification and checksum.
_COMMON4 = (slice(0, 14), slice(16, 20), slice(22, 38))
_COMMON6 = (slice(0, 58), slice(0), slice(0))


def join(frames: Iterable[bytes]) -> list[bytes]:
    """The same packets in the same order, in fewer frames where that can be."""
    joined: list[bytes] = []
    run: list[bytes] = []  # datagrams that belong together
    room = 0
    a, b, c = _COMMON4  # where to look, and what the first of the run has there
    in_a = in_b = in_c = b""
    for frame in frames:
        # Written out: a call for each datagram would be a tenth of the sender's time.
        if room > 0 and frame[c] == in_c and frame[a] == in_a and frame[b] == in_b:
            run.append(frame)
            room -= 1
            continue
        if run:
            joined.append(_segment(run))
            run, room = [], 0
        if _is_datagram(frame):
            run.append(frame)
            room = min(MAX_JOINED, MAX_BYTES // len(frame)) - 1
            a, b, c = _COMMON4 if frame[10] == 0x45 else _COMMON6
            in_a, in_b, in_c = frame[a], frame[b], frame[c]
        else:
            joined.append(frame)
    if run:
        joined.append(_segment(run))
    return joined


def split(frame: bytes | memoryview) -> list[bytes]:
    """The datagrams of a large segment, each a frame. The frame must be well formed and UDP_L4."""
    _, _, _, size, start, _ = VIRTIO.unpack_from(frame)
    ip = bytes(frame[virtio.HEADER : virtio.HEADER + start])
    udp = bytes(frame[virtio.HEADER + start :][:UDP_HEADER])
    payload = bytes(frame[virtio.HEADER + start + UDP_HEADER :])
    header = VIRTIO.pack(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, start, UDP_CSUM_OFFSET)
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return [
        header + _headers(ip, udp, len(piece), index) + piece for index, piece in enumerate(pieces)
    ]


def _is_datagram(frame: bytes) -> bool:
    """Whether it is a UDP datagram with something in it, not a fragment, without IP options."""
    if frame[:10] == _PLAIN4:
        return (
            len(frame) > 38
            and frame[10] == 0x45
            and frame[19] == UDP
            and frame[16] & 0xBF == 0  # all but "don't fragment"
            and frame[17] == 0
        )
    return frame[:10] == _PLAIN6 and len(frame) > 58 and frame[10] >> 4 == 6 and frame[16] == UDP


def _segment(run: list[bytes]) -> bytes:
    first = run[0]
    if len(run) == 1:
        return first
    start = 20 if first[10] == 0x45 else 40
    payload = virtio.HEADER + start + UDP_HEADER
    size = len(first) - payload
    header = VIRTIO.pack(
        virtio.NEEDS_CSUM, virtio.GSO_UDP_L4, start + UDP_HEADER, size, start, UDP_CSUM_OFFSET
    )
    ip, udp = first[virtio.HEADER :][:start], first[virtio.HEADER + start :][:UDP_HEADER]
    headers = _headers(ip, udp, size * len(run), 0)
    return b"".join([header, headers, *[frame[payload:] for frame in run]])


def _headers(ip: bytes, udp: bytes, payload: int, index: int) -> bytes:
    """IP and UDP header for so many bytes of payload, made from those of another length. `index`
    is added to the identification."""
    length = UDP_HEADER + payload
    # Of a checksum to be filled in there is the pseudo header's part: it changes with the length.
    partial = (int.from_bytes(udp[6:]) + length - int.from_bytes(udp[4:6])) % 0xFFFF
    udp = udp[:4] + length.to_bytes(2) + partial.to_bytes(2)
    if ip[0] >> 4 == 6:
        return ip[:4] + (len(ip) - 40 + length).to_bytes(2) + ip[6:] + udp
    identification = (int.from_bytes(ip[4:6]) + index) & 0xFFFF
    ip = (
        ip[:2]
        + struct.pack(">HH", len(ip) + length, identification)
        + ip[6:10]
        + bytes(2)
        + ip[12:]
    )
    return ip[:10] + _checksum(ip) + ip[12:] + udp


def _checksum(header: bytes) -> bytes:
    """The Internet checksum of an IPv4 header in which it is zero."""
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    return (0xFFFF - total % 0xFFFF).to_bytes(2)
