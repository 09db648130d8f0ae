"""UDP segmentation: joining and splitting datagrams. test_tun has real kernels split them too."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.packets import udp_segments, virtio


def datagram(
    payload: bytes,
    version: int = 4,
    port: int = 53,
    identification: int = 0,
    fragment: int = 0x4000,
    protocol: int = 17,
) -> bytes:
    """A datagram as read from a tun: its checksum covers only the pseudo header."""
    length = 8 + len(payload)
    if version == 4:
        addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
        head = struct.pack(
            ">BBHHHBBH", 0x45, 0, 20 + length, identification, fragment, 64, protocol, 0
        )
        checksum = 0xFFFF - folded(head + addresses)
        ip = head[:10] + checksum.to_bytes(2) + addresses
    else:
        addresses = bytes(range(32))
        ip = struct.pack(">IHBB", 0x60000000, length, protocol, 64) + addresses
    partial = folded(addresses + struct.pack(">HH", protocol, length))
    udp = struct.pack(">HHHH", 9999, port, length, partial)
    virtio = struct.pack("<BBHHHH", 1, 0, 0, 0, len(ip), 6)
    return virtio + ip + udp + payload


def folded(words: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Join(unittest.SynchronousTestCase):
    """Which datagrams are joined into one frame."""

    def test_burst(self) -> None:
        """A burst of one flow becomes one well formed segment, and splitting it restores the
        burst."""
        for version in (4, 6):
            burst = [datagram(bytes([n]) * 1200, version, identification=n) for n in range(50)]
            (frame,) = udp_segments.join(burst)
            self.assertTrue(virtio.well_formed(frame))
            self.assertEqual(udp_segments.split(frame), burst)

    def test_full(self) -> None:
        """A segment holds at most 64 datagrams, and at most what fits into an IP packet."""
        for size, most in ((10, 64), (1400, 45), (40_000, 1), (65_400, 1)):
            frames = udp_segments.join([datagram(bytes(size))] * (most + 1))
            self.assertEqual(len(frames), 2)
            self.assertTrue(all(map(virtio.well_formed, frames)))
            self.assertEqual(frames[1], datagram(bytes(size)))

    def test_kept_apart(self) -> None:
        """Datagrams that differ in more than the payload, fragments and other packets are not
        joined."""
        plain = datagram(b"12345678")
        others = [
            datagram(b"123456789"),
            datagram(b"12345678", port=54),
            datagram(b"12345678", version=6),
            datagram(b"12345678", fragment=0x2000),
            datagram(b"12345678", fragment=0x0001),
            datagram(b"12345678", fragment=0),
            datagram(b"12345678", protocol=6),
            bytes(10) + plain[10:],  # its checksum is complete
            plain[:11] + b"\x10" + plain[12:],  # different type of service
            plain[:18] + b"\x3f" + plain[19:],  # different time to live
        ]
        for other in others:
            for frames in ([plain, other], [other, plain], [other, plain, other]):
                self.assertEqual(udp_segments.join(frames), frames)
        for alone in (datagram(b""), others[3], others[4], others[6], others[7], b"", b"short"):
            self.assertEqual(udp_segments.join([alone, alone]), [alone, alone])

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((4, 6)),
                st.integers(1, 2),
                st.sampled_from((1, 2, 3, 500)),
                st.integers(1, 5),
            ),
            max_size=12,
        ),
        st.integers(0, 0xFFFF),
    )
    def test_nothing_is_lost(self, bursts: list[tuple[int, int, int, int]], first: int) -> None:
        """Every packet of a batch comes out again, in order, after splitting."""
        frames = [
            datagram(bytes([n]) * size, version, port, (first + n) & 0xFFFF)
            for version, port, size, count in bursts
            for n in range(count)
        ]
        joined = udp_segments.join(frames)
        cut = []
        for frame in joined:
            self.assertTrue(virtio.well_formed(frame))
            cut += udp_segments.split(frame) if frame[1] == virtio.GSO_UDP_L4 else [frame]
        # Adjacent bursts of one flow may have been joined: their identifications then continue.
        self.assertEqual([f[22:] for f in cut], [f[22:] for f in frames])
        for one, other in pairwise(joined):
            self.assertNotEqual(one[:60], other[:60] if one[1] else b"")


class Split(unittest.SynchronousTestCase):
    """Segments as kernels make them."""

    def test_last_is_shorter(self) -> None:
        """The last datagram of an application's own segment may be shorter than the others."""
        whole = datagram(b"a" * 10 + b"b" * 10 + b"c" * 3)
        frame = struct.pack("<BBHHHH", 1, virtio.GSO_UDP_L4, 28, 10, 20, 6) + whole[10:]
        self.assertTrue(virtio.well_formed(frame))
        self.assertEqual(
            udp_segments.split(memoryview(frame)),
            [
                datagram(b"a" * 10),
                datagram(b"b" * 10, identification=1),
                datagram(b"c" * 3, identification=2),
            ],
        )
