"""IP packets as the tun device reads and writes them, each preceded by a virtio_net_hdr.

    offset  0      1         2        4         6           8            10
            flags  gso_type  hdr_len  gso_size  csum_start  csum_offset  IP packet …
            u8     u8        u16 le   u16 le    u16 le      u16 le

The header lets the kernel hand over a TCP segment of up to 64 KB in one piece, with its checksum
left partial. The header is sent to the peer unchanged, and the peer's kernel takes the packet as
one large segment again. What a peer sends is therefore an instruction to our kernel, so every field
is checked before it is written to the tun. (`frame` below always means header and packet together.)

Offsets of the addresses inside a frame: IPv4 22:26 and 26:30, IPv6 18:34 and 34:50.

Sources: linux/virtio_net.h, linux/tcp.h, RFC 791, RFC 8200.
"""

from __future__ import annotations

import struct

HEADER = 10
PLAIN = bytes(HEADER)  # no offload requested: most small packets
VIRTIO = struct.Struct("<BBHHHH")

NEEDS_CSUM = 1
DATA_VALID = 2
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
_MIN_GSO_SIZE = 8  # TCP_MIN_GSO_SIZE
_IGMP, _TCP = 2, 6  # below it are only ICMP and a number that no IPv4 packet has
_TCP_HEADER = 20
_TCP_CSUM_OFFSET = 16
UDP = 17
_TRANSPORTS = {_TCP, UDP}
UNFRAGMENTED = {b"\0\0", b"\x40\0"}  # IPv4 flags and offset, with or without "don't fragment"
UDP_HEADER = 8
UDP_CSUM_OFFSET = 6
MAX_SEGMENTS = 128  # for UDP: the most an application may request on Linux; 64 in older kernels


def read(frame: bytes | memoryview) -> tuple[bytes, bytes, bool]:
    """Source and destination address, raw: 4 or 16 bytes each; and whether the packet needs
    inspection because it may be a fragment, ICMP or IGMP (dataplane.inspection). The frame must
    be well formed."""
    # One slice: each access to a memoryview costs as much as this does.
    if frame[HEADER] < 0x50:
        head = bytes(frame[16:30])
        return head[6:10], head[10:], head[3] <= _IGMP or head[:2] not in UNFRAGMENTED
    head = bytes(frame[16:50])
    return head[2:18], head[18:], head[0] not in _TRANSPORTS


def ends(frame: bytes) -> tuple[bytes, bytes]:
    """Source and destination address, raw; of a frame that is too short, whatever is there."""
    if frame[HEADER : HEADER + 1] < b"\x50":
        return frame[22:26], frame[26:30]
    return frame[18:34], frame[34:50]


def between(source: bytes, destination: bytes) -> bytes:
    """A frame with only an IP header, for UDP between these addresses, and no payload."""
    if len(source) == 4:
        start = b"\x45\0\0\x14\0\0\0\0\x40\x11\0\0"
    else:
        start = b"\x60\0\0\0\0\0\x11\x40"
    return PLAIN + start + source + destination


def well_formed(frame: bytes | memoryview) -> bool:
    """Whether the frame holds exactly one IP packet, and the offsets in its virtio header stay
    inside that packet."""
    size = len(frame) - HEADER
    if size < 20:
        return False
    version = frame[HEADER] >> 4
    if version == 4:
        transport = (frame[HEADER] & 15) * 4
        if transport < 20 or transport > size or frame[12] << 8 | frame[13] != size:
            return False
    elif version == 6:
        transport = 40
        if size < 40 or (frame[14] << 8 | frame[15]) != size - 40:
            return False
    else:
        return False
    return frame[:HEADER] == PLAIN or _offload_is_sane(frame, version, transport, size)


def largest_packet(frame: bytes) -> int:
    """Bytes of the largest IP packet among those that the frame is to be cut into; of the only one
    if it is not to be cut. The frame need not be well formed."""
    size = len(frame) - HEADER
    gso_type: int
    gso_size: int
    start: int
    _, gso_type, _, gso_size, start, _ = VIRTIO.unpack_from(frame)
    if gso_type == GSO_NONE or size < start + _TCP_HEADER:
        return size
    head = UDP_HEADER if gso_type == GSO_UDP_L4 else (frame[HEADER + start + 12] >> 4) * 4
    return min(size, start + head + gso_size)


def _offload_is_sane(frame: bytes | memoryview, version: int, transport: int, size: int) -> bool:
    """`transport` is the earliest offset at which the IP header can end, `size` the packet's
    length."""
    flags, gso_type, header, gso_size, csum_start, csum_offset = VIRTIO.unpack_from(frame)
    if flags & ~(NEEDS_CSUM | DATA_VALID) or header > size:
        return False
    if flags & NEEDS_CSUM and not transport <= csum_start <= size - csum_offset - 2:
        return False
    if gso_type == GSO_NONE:
        return True
    if not flags & NEEDS_CSUM:
        return False
    if gso_type == GSO_UDP_L4:
        return (
            (version == 6 or (frame[19] == UDP and csum_start == transport))
            and csum_offset == UDP_CSUM_OFFSET
            and 0 < size - csum_start - UDP_HEADER <= gso_size * MAX_SEGMENTS
        )
    if gso_type == GSO_TCPV4:
        is_tcp = version == 4 and frame[19] == _TCP and csum_start == transport
    elif gso_type == GSO_TCPV6:
        is_tcp = version == 6
    else:
        return False
    return (
        is_tcp
        and csum_offset == _TCP_CSUM_OFFSET
        and csum_start + _TCP_HEADER <= size
        and gso_size >= _MIN_GSO_SIZE
    )
