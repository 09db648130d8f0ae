"""The headers of a part of a frame.

A TCP segment of up to 64 KB that is still to be segmented, or joined datagrams, are carried in
slices. When only some of them arrive, what arrived is a frame of its own, from which the kernel
makes just the packets that it would have made of these bytes.

Sources: RFC 9293, section 3.1; RFC 3168, section 6.1.2 (CWR is for one segment only); RFC 1624;
Linux, net/ipv4/tcp_offload.c (tcp_gso_segment) and udp_offload.c (__udp_gso_segment).
"""

from __future__ import annotations

import struct

from tunmesh.packets import icmp, virtio
from tunmesh.packets.virtio import GSO_NONE, VIRTIO
from tunmesh.wire.datagrams import TCP

_CWR, _FIN_AND_PSH = 0x80, 0x09
_TCP_HEADER, _TCP_CSUM_OFFSET = 20, 16
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_MAX_PACKET = 65_535
_WORD = struct.Struct(">H")


def part(headers: bytes, kind: int, offset: int, size: int, total: int) -> bytes:
    """The headers for `size` bytes of payload from `offset` on, given those for all `total` bytes.
    Empty if they are nonsense, as only a peer can send that is not tunmesh."""
    flags, _, _, _, start, _ = VIRTIO.unpack_from(headers.ljust(virtio.HEADER, b"\0"))
    at = virtio.HEADER + start  # of the transport header
    shortest = _TCP_HEADER if kind == TCP else virtio.UDP_HEADER
    length = len(headers) - virtio.HEADER + size
    if len(headers) < at + shortest or length > _MAX_PACKET or flags != virtio.NEEDS_CSUM:
        return b""
    edited = bytearray(headers)
    unit = headers[4] | headers[5] << 8
    number = offset // unit if unit else 0  # of the first packet that is made of it
    if not _edit_ip(edited, at, length, number):
        return b""
    if kind == TCP:
        check = at + _TCP_CSUM_OFFSET
        sequence = int.from_bytes(headers[at + 4 : at + 8]) + offset
        edited[at + 4 : at + 8] = (sequence & 0xFFFFFFFF).to_bytes(4)
        if offset:
            edited[at + 13] &= ~_CWR & 0xFF
        if offset + size < total:
            edited[at + 13] &= ~_FIN_AND_PSH & 0xFF
    else:
        check = at + virtio.UDP_CSUM_OFFSET
        _WORD.pack_into(edited, at + 4, len(headers) - at + size & 0xFFFF)
    # It is that of the pseudo header, with the length of the whole.
    (partial,) = _WORD.unpack_from(headers, check)
    _WORD.pack_into(edited, check, (partial + size - total) % 0xFFFF)
    if size <= unit:
        VIRTIO.pack_into(edited, 0, flags, GSO_NONE, 0, 0, start, check - at)
    else:
        hdr_len = len(headers) - virtio.HEADER
        VIRTIO.pack_into(edited, 0, flags, headers[1], hdr_len, unit, start, check - at)
    return bytes(edited)


def _edit_ip(headers: bytearray, end: int, length: int, number: int) -> bool:
    """Give the IP header, which ends before `end`, the length of its packet, and the identification
    of a later packet. False if there is none."""
    at = virtio.HEADER
    version, size = headers[at] >> 4, (headers[at] & 15) * 4
    if version == 6 and end >= at + _IPV6_HEADER:
        _WORD.pack_into(headers, at + 4, length - _IPV6_HEADER)
        return True
    if version != 4 or not _IPV4_HEADER <= size <= end - at:
        return False
    (identification,) = _WORD.unpack_from(headers, at + 4)
    struct.pack_into(">HH", headers, at + 2, length, identification + number & 0xFFFF)
    _WORD.pack_into(headers, at + 10, 0)
    _WORD.pack_into(headers, at + 10, icmp.checksum(bytes(headers[at : at + size])))
    return True
