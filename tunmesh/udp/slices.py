"""How a frame is cut into slices that fit into datagrams (wire.datagrams).

Frames of several packets are cut between packets, so that a lost slice costs no more of them than
it must: TCP would send each again of which a part is missing. If not even one packet fits into a
slice, a TCP segment is cut anywhere (joined datagrams are parted, see `fitting`).

The slices of a frame are equally long, so that those of many frames can leave in one send. What the
last one lacks is padding, if that is a few bytes.

What is done for each slice is done by the loops of struct, map and zip, of which there is a step
every 50 ns; a step of a loop of Python's takes three times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import repeat

from tunmesh.packets import ip_headers, udp_segments, virtio
from tunmesh.packets.virtio import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VIRTIO
from tunmesh.wire.datagrams import MAX_HEADERS, TCP, TRAILER, UDP, WHOLE, headers_size

_PROTOCOL_TCP = 6
_TCP_HEADER = 20
_TCP_CSUM_OFFSET = 16
_URGENT = 0x20
# The beginnings of a frame with TCP over IPv4 without options, its checksum to be filled in.
_TCPV4 = (bytes((NEEDS_CSUM, GSO_TCPV4)), bytes((NEEDS_CSUM, GSO_NONE)))
_PLAIN_TCPV4 = struct.pack("<HHB", 20, _TCP_CSUM_OFFSET, 0x45)
_MOST_PADDING = 64
_MIN_STEP = 128  # a TCP segment whose headers leave less payload for a slice is sent as it is


def cut(frame: bytes, room: int) -> list[bytes]:
    """The plaintexts of the slices of a frame that came out of `fitting`. `room` is for payload and
    headers."""
    size = len(frame)
    if size <= room:
        headers = frame[: virtio.HEADER]
        payload = size - virtio.HEADER
        return [
            frame[virtio.HEADER :] + headers + TRAILER.pack(0, 0, payload, virtio.HEADER, WHOLE)
        ]
    kind = _kind(frame)
    start = headers_size(kind, frame)
    if kind == TCP and room - start < _MIN_STEP:
        kind, start = WHOLE, virtio.HEADER
    total, most = size - start, room - start
    unit = (frame[4] | frame[5] << 8) if kind != WHOLE else 0
    if not 0 < unit <= most:
        unit = 1
    return _texts(frame, start, unit * _even(-(-total // unit), most // unit), kind)


def _texts(frame: bytes, start: int, step: int, kind: int) -> list[bytes]:
    """Slices with `step` bytes of payload each."""
    headers, total = frame[:start], len(frame) - start
    full = total // step
    trailers = _trailers(start, step, total, kind)
    pieces = _pieces(start, step, full).unpack_from(frame)
    texts = list(map(b"".join, zip(pieces, repeat(headers), trailers, strict=False)))
    rest = frame[start + full * step :]
    if rest:
        if kind != UDP and step - len(rest) <= _MOST_PADDING:
            rest = rest.ljust(step, b"\0")
        texts.append(rest + headers + trailers[full])
    return texts


@lru_cache(maxsize=64)
def _pieces(start: int, step: int, count: int) -> struct.Struct:
    """So many payloads in a frame."""
    return struct.Struct(f"{start}x" + f"{step}s" * count)


@lru_cache(maxsize=32)
def _trailers(start: int, step: int, total: int, kind: int) -> tuple[bytes, ...]:
    """Those of all slices of a frame."""
    count = -(-total // step)
    # From one to the next, number and offset grow by the same.
    first, more = total << 16 | start << 8 | kind, 1 << 48 | step << 32
    numbers = struct.pack(f">{count}Q", *range(first, first + count * more, more))
    return tuple(numbers[at : at + TRAILER.size] for at in range(0, len(numbers), TRAILER.size))


def fitting(frames: Iterable[bytes], room: int) -> Iterator[bytes]:
    """The frames, without joined datagrams of which not even one fits into a slice: those are
    parted, so that a lost slice costs one of them and not all."""
    for frame in frames:
        if len(frame) > room and frame[1] == GSO_UDP_L4 and _is_too_coarse(frame, room):
            yield from udp_segments.split(frame)
        else:
            yield frame


def _is_too_coarse(frame: bytes, room: int) -> bool:
    if not virtio.well_formed(frame):
        return False
    return headers_size(UDP, frame) + (frame[4] | frame[5] << 8) > room


def _even(total: int, most: int) -> int:
    """Parts of this size, of which there are as few as of the size `most`."""
    return -(-total // -(-total // most))


def _kind(frame: bytes) -> int:
    """How a frame may be cut. What the kernel would not take back as a segment is WHOLE."""
    if frame[:2] in _TCPV4 and frame[6:11] == _PLAIN_TCPV4 and frame[19] == _PROTOCOL_TCP:
        kind, at = TCP, virtio.HEADER + 20  # nearly always; its length is the receiver's business
    else:
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
        if ip_headers.read(frame[virtio.HEADER : at]) != (protocol, start, None, True):
            return WHOLE
    # TCP options, and an urgent pointer: that counts from the sequence number, which changes.
    if kind == TCP and (
        not _TCP_HEADER <= (frame[at + 12] >> 4) * 4 < len(frame) - at or frame[at + 13] & _URGENT
    ):
        return WHOLE
    return kind if headers_size(kind, frame) <= MAX_HEADERS else WHOLE
