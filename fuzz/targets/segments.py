"""UDP segmentation: datagrams joined and split again, and split segments from a peer.

0 ‖ for each datagram: flow, size, identification      joined: nothing is lost, the order is kept
1 ‖ frame                                              split, if it is a UDP segment
"""

from __future__ import annotations

from fuzz.choices import Choices
from fuzz.targets.packet import with_correct_length
from tests.packets.test_udp_segments import datagram
from tunmesh.packets import udp_segments, virtio

_SIZES = (0, 1, 2, 3, 100, 1200, 1472, 9000, 40_000, 65_000, 65_400)


def check(data: bytes) -> None:
    choices = Choices(data)
    if choices.number(2):
        _cut(with_correct_length(choices.rest()))
    else:
        _join(choices)


def _join(choices: Choices) -> None:
    frames: list[bytes] = []
    while choices and len(frames) < 400 and sum(map(len, frames)) < 1 << 18:
        frames += _burst(choices)
    joined = udp_segments.join(frames)
    assert len(joined) <= len(frames)
    cut: list[bytes] = []
    for frame in joined:
        assert virtio.well_formed(frame) or frame in frames, "a frame that no peer would accept"
        assert len(frame) <= 65_545
        pieces = udp_segments.split(frame) if frame[1] == virtio.GSO_UDP_L4 else [frame]
        assert len(pieces) <= udp_segments.MAX_JOINED
        cut += pieces
    assert list(map(_distinct_part, cut)) == list(map(_distinct_part, frames))


def _burst(choices: Choices) -> list[bytes]:
    """A few datagrams as from the kernel, alike except for a detail in some of them."""
    what = choices.number()
    size = choices.pick(_SIZES)
    first = choices.number()
    one = [
        datagram(
            bytes((first + n & 255,)) * size,
            version=4 if what & 1 else 6,
            port=53 + (what >> 1 & 1),
            identification=0xFFF0 + first + n & 0xFFFF,
            fragment=0x2000 if what & 12 == 12 else 0x4000,
            protocol=6 if what & 48 == 48 else 17,
        )
        for n in range(1 + choices.number(100 if size <= 1500 else 3))
    ]
    return [bytes(10) + frame[10:] for frame in one] if what & 192 == 192 else one


def _distinct_part(frame: bytes) -> bytes:
    """All of a frame except what joining may change: in IPv4, identification and checksum."""
    return frame[:14] + frame[16:20] + frame[22:] if frame[10] >> 4 == 4 else frame


def _cut(frame: bytes) -> None:
    if not virtio.well_formed(frame) or frame[1] != virtio.GSO_UDP_L4:
        return
    _, _, _, size, start, _ = virtio.VIRTIO.unpack_from(frame)
    pieces = udp_segments.split(memoryview(frame))
    assert 1 <= len(pieces) <= virtio.MAX_SEGMENTS
    head = virtio.HEADER + start + virtio.UDP_HEADER
    assert b"".join(piece[head:] for piece in pieces) == frame[head:]
    assert all(len(piece) == head + size for piece in pieces[:-1])
    for piece in pieces:
        assert virtio.well_formed(piece), "cut, it is good no more"
        assert virtio.read(piece) == virtio.read(frame), "cut, it is somebody else's"
        assert piece[1] == virtio.GSO_NONE
