"""How a frame is cut into slices that fit into datagrams (wire.datagrams).

The slices of a frame are as few as possible, and equally long: what the last one lacks is padding,
a few bytes, so that slices of many frames can leave in one send. Only joined datagrams, which are
cut between datagrams, may end with a shorter slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tunmesh.packets import ip_headers, udp_segments, virtio
from tunmesh.packets.virtio import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VIRTIO
from tunmesh.wire.datagrams import MAX_HEADERS, TCP, UDP, WHOLE, headers_size

_PROTOCOL_TCP = 6
_TCP_HEADER = 20
_TCP_CSUM_OFFSET = 16
_URGENT = 0x20
_MIN_STEP = 128  # a TCP segment whose headers leave less payload for a slice is sent as it is


class Cut(NamedTuple):
    """`slices` slices with `step` bytes of payload each, from `start` in the frame on."""

    kind: int
    start: int
    step: int
    slices: int


def cut(frame: bytes, room: int) -> Cut:
    """The slices of a frame that came out of `fitting`. `room` is for payload and headers."""
    size = len(frame)
    kind = WHOLE if size <= room else _kind(frame)
    start = headers_size(kind, frame)
    if kind == TCP and room - start < _MIN_STEP:
        kind, start = WHOLE, virtio.HEADER
    payload, most = size - start, room - start
    if kind == UDP:
        unit = frame[4] | frame[5] << 8
        step = unit * _even(-(-payload // unit), most // unit)
    else:
        step = _even(payload, most)
    return Cut(kind, start, step, -(-payload // step))


def fitting(frames: Iterable[bytes], room: int) -> Iterable[bytes]:
    """The frames, without joined datagrams of which not even one fits into a slice: those are
    parted, so that a lost slice costs one of them and not all."""
    return [
        part
        for frame in frames
        for part in (
            udp_segments.split(frame)
            if frame[1] == GSO_UDP_L4 and _is_too_coarse(frame, room)
            else (frame,)
        )
    ]


def _is_too_coarse(frame: bytes, room: int) -> bool:
    if not virtio.well_formed(frame):
        return False
    return headers_size(UDP, frame) + (frame[4] | frame[5] << 8) > room


def _even(total: int, most: int) -> int:
    """Parts of this size, of which there are as few as of the size `most`."""
    return -(-total // -(-total // most))


def _kind(frame: bytes) -> int:
    """How a frame may be cut. What the kernel would not take back as a segment is WHOLE."""
    flags, gso_type, _, _, start, csum_offset = VIRTIO.unpack_from(frame)
    if flags != NEEDS_CSUM or not virtio.well_formed(frame):
        return WHOLE
    at = virtio.HEADER + start
    if gso_type == GSO_UDP_L4:
        kind, protocol = UDP, virtio.UDP
    elif gso_type in (GSO_NONE, GSO_TCPV4, GSO_TCPV6) and csum_offset == _TCP_CSUM_OFFSET:
        kind, protocol = TCP, _PROTOCOL_TCP
    else:
        return WHOLE
    headers = ip_headers.read(frame[virtio.HEADER : at])
    if headers != (protocol, start, None, True):
        return WHOLE
    # TCP options, and an urgent pointer: that counts from the sequence number, which changes.
    if kind == TCP and (
        not _TCP_HEADER <= (frame[at + 12] >> 4) * 4 < len(frame) - at or frame[at + 13] & _URGENT
    ):
        return WHOLE
    return kind if headers_size(kind, frame) <= MAX_HEADERS else WHOLE
