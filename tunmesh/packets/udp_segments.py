"""UDP segmentation: joins the datagrams of a flow into one large segment, and splits segments.

    virtio header    IP header       UDP header    payload │ payload │ payload
    10 bytes         20 or 40        8             gso_size each, the last may be shorter

Consecutive datagrams that differ only in their payload travel as one frame. It is encrypted,
checked and written to the other tun once, and the kernel there splits it into the original
datagrams. Only neighbours within one batch read from the tun are joined, so no datagram is held
back; and only if the kernel left the checksum to be filled in, so no checksum is invented.

Kernels before 6.2 cannot split UDP segments written to a tun; `split` does it for them. IPv4
identifications count up from that of the first datagram, as in the kernel.

Sources: RFC 768, RFC 1071, RFC 1624; Linux, net/ipv4/udp_offload.c (__udp_gso_segment).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tunmesh.packets import icmp, virtio
from tunmesh.packets.virtio import UDP, UDP_CSUM_OFFSET, UDP_HEADER, VIRTIO

MAX_JOINED = 64  # datagrams per segment: the limit of older kernels
MAX_BYTES = 65_000  # payload of one segment: with its headers it must still be an IP packet
# What the kernel puts before a datagram whose checksum it left to be filled in.
_PLAIN4 = VIRTIO.pack(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, 20, UDP_CSUM_OFFSET)
_PLAIN6 = VIRTIO.pack(virtio.NEEDS_CSUM, virtio.GSO_NONE, 0, 0, 40, UDP_CSUM_OFFSET)
# The bytes that all datagrams of a flow share: in IPv6 all headers, in IPv4 all but identification
# and checksum.
_COMMON4 = (slice(0, 14), slice(16, 20), slice(22, 38))
_COMMON6 = (slice(0, 58), slice(0), slice(0))


def join(frames: Iterable[bytes]) -> list[bytes]:
    """The same packets in the same order, joined into fewer frames where possible."""
    joined: list[bytes] = []
    run: list[bytes] = []  # datagrams to be joined
    room = 0
    a, b, c = _COMMON4  # the slice to compare, and its content in the first datagram of the run
    in_a = in_b = in_c = b""
    for frame in frames:
        # Inlined: a function call per datagram would be a tenth of the sender's time.
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
    """The datagrams of a large segment, one frame each. The frame must be well formed and
    UDP_L4."""
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
    """Whether this is a UDP datagram with a payload, not fragmented, and without IP options."""
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
    """IP and UDP headers for a payload of this size, derived from those of another size. `index` is
    added to the identification."""
    length = UDP_HEADER + payload
    # A checksum to be filled in holds that of the pseudo header, which changes with the length.
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
    return ip[:10] + icmp.checksum(ip).to_bytes(2) + ip[12:] + udp
