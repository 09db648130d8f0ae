"""Frames as a peer may send them: an IP packet behind a virtio_net_hdr, valid and invalid."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.packets import virtio

TCP, UDP = 6, 17
ALICE, BOB = "10.77.0.1", "10.77.0.2"
ALICE6, BOB6 = "fd77::1", "fd77::2"

Address = IPv4Address | IPv6Address


def ip_packet(source: str, destination: str, payload: bytes = b"", protocol: int = UDP) -> bytes:
    """An IP packet of the version of its addresses, without options or a valid checksum."""
    ends = ip_address(source).packed + ip_address(destination).packed
    size = len(payload)
    if len(ends) == 8:
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, protocol, 0)
    else:
        fixed = struct.pack("!IHBB", 6 << 28, size, protocol, 64)
    return fixed + ends + payload


def virtio_header(
    flags: int = 0,
    gso_type: int = 0,
    hdr_len: int = 0,
    gso_size: int = 0,
    csum_start: int = 0,
    csum_offset: int = 0,
) -> bytes:
    """The header that the tun puts before a packet."""
    return struct.pack("<BBHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


PLAIN = virtio_header()
SEGMENT4 = ip_packet(ALICE, BOB, bytes(20 + 4000), TCP)
SEGMENT6 = ip_packet(ALICE6, BOB6, bytes(20 + 4000), TCP)
OFFLOAD4 = {"flags": 1, "gso_type": 1, "hdr_len": 40, "gso_size": 1448, "csum_start": 20}
OFFLOAD6 = {"flags": 1, "gso_type": 4, "hdr_len": 60, "gso_size": 1428, "csum_start": 40}


def segment4(**changes: int) -> bytes:
    """A large TCP segment over IPv4, as the kernel sends it, with some fields changed."""
    return virtio_header(**{**OFFLOAD4, "csum_offset": 16, **changes}) + SEGMENT4


def segment6(**changes: int) -> bytes:
    """The same over IPv6."""
    return virtio_header(**{**OFFLOAD6, "csum_offset": 16, **changes}) + SEGMENT6


def allowed(frame: bytes) -> bool:
    """A slow implementation of the same rules: a frame is allowed if it breaks none of them."""
    if len(frame) < 30:
        return False
    flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = struct.unpack(
        "<BBHHHH", frame[:10]
    )
    ip = frame[10:]
    version, words = divmod(ip[0], 16)
    if version == 4:
        ip_header = 4 * words
        rules = [ip_header >= 20, ip_header <= len(ip), int.from_bytes(ip[2:4], "big") == len(ip)]
        checksum_at = [ip_header] if ip[9] == (UDP if gso_type == 5 else TCP) else []
    elif version == 6 and len(ip) >= 40:
        ip_header = 40
        rules = [int.from_bytes(ip[4:6], "big") + 40 == len(ip)]
        checksum_at = list(range(40, len(ip)))  # after any number of extension headers
    else:
        return False
    rules += [flags in (0, 1, 2, 3), hdr_len <= len(ip), gso_type in (0, 1, 4, 5)]
    if flags in (1, 3):
        rules += [csum_start >= ip_header, csum_start + csum_offset + 2 <= len(ip)]
    if gso_type != 0:
        rules += [flags in (1, 3), csum_start in checksum_at]
    if gso_type in (1, 4):
        rules += [
            (gso_type, version) in ((1, 4), (4, 6)),
            csum_start + 20 <= len(ip),
            csum_offset == 16,
            gso_size >= 8,
        ]
    if gso_type == 5:
        payload = len(ip) - csum_start - 8
        rules += [csum_offset == 6, payload > 0, payload <= 128 * gso_size]
    return all(rules)


EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21, 39, 40, 41, 60, 61, 0x81, 255]
CHANGES = st.dictionaries(
    st.sampled_from(["flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset"]),
    st.sampled_from(EDGES),
    max_size=2,
)
FIRST_BYTES = [0x00, 0x40, 0x44, 0x45, 0x46, 0x4F, 0x50, 0x60, 0x6F, 0xF5]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Valid frames of every kind, most of them with a field or two at a limit."""
    payload = bytes(draw(st.sampled_from([0, 1, 18, 19, 20, 21, 60, 1000])))
    if draw(st.booleans()):
        offload, ip = OFFLOAD4, bytearray(ip_packet(ALICE, BOB, payload, TCP))
    else:
        offload, ip = OFFLOAD6, bytearray(ip_packet(ALICE6, BOB6, payload, TCP))
    kind = draw(st.sampled_from([{}, {"flags": 1, "csum_start": len(ip) - len(payload)}, offload]))
    fields = {"csum_offset": 16, **kind, **draw(CHANGES)}
    ip[0] = draw(st.sampled_from([ip[0]] * 9 + FIRST_BYTES))
    ip[9] = draw(st.sampled_from([ip[9], ip[9], UDP]))
    frame = virtio_header(**fields) + bytes(ip)
    return frame[: draw(st.sampled_from([65546] * 9 + [len(frame) - 1, 31, 30, 29, 10]))]


class Addresses(unittest.SynchronousTestCase):
    """Parsing of source and destination."""

    def test_ipv4(self) -> None:
        """The addresses of an IPv4 packet are four bytes each."""
        frame = PLAIN + ip_packet("10.0.0.1", "192.168.2.3")
        expected = b"\x0a\x00\x00\x01", b"\xc0\xa8\x02\x03"
        self.assertEqual(virtio.read(frame)[:2], expected)
        self.assertEqual(virtio.read(memoryview(frame))[:2], expected)

    def test_ipv6(self) -> None:
        """The addresses of an IPv6 packet are sixteen bytes each."""
        frame = PLAIN + ip_packet("fd00::1", "fd00::2:3")
        expected = b"\xfd" + bytes(14) + b"\x01", b"\xfd" + bytes(12) + b"\x02\x00\x03"
        self.assertEqual(virtio.read(frame)[:2], expected)
        self.assertEqual(virtio.read(memoryview(frame))[:2], expected)


class WellFormed(unittest.SynchronousTestCase):
    """Which frames may be written to our tun."""

    def accepts(self, *good: bytes) -> None:
        for frame in good:
            self.assertTrue(virtio.well_formed(frame), frame[:60])
            self.assertTrue(virtio.well_formed(memoryview(frame)), frame[:60])

    def refuses(self, *bad: bytes) -> None:
        for frame in bad:
            self.assertFalse(virtio.well_formed(frame), frame[:60])
            self.assertFalse(virtio.well_formed(memoryview(frame)), frame[:60])

    def test_literals(self) -> None:
        """Two hand-written IPv4 and IPv6 datagrams with two bytes of payload are well formed."""
        self.accepts(
            bytes(10) + bytes.fromhex("45000016 00000000 40110000 0a4d0001 0a4d0002 abcd"),
            bytes(10)
            + bytes.fromhex("60000000 00021140")
            + bytes.fromhex("fd77 0000 0000 0000 0000 0000 0000 0001")
            + bytes.fromhex("fd77 0000 0000 0000 0000 0000 0000 0002 abcd"),
        )

    def test_sizes(self) -> None:
        """Empty packets and packets of the largest size are well formed."""
        self.accepts(
            PLAIN + ip_packet(ALICE, BOB),
            PLAIN + ip_packet(ALICE, BOB, bytes(65515)),
            PLAIN + ip_packet(ALICE6, BOB6),
            PLAIN + ip_packet(ALICE6, BOB6, bytes(65495)),
        )

    def test_wrong_length(self) -> None:
        """A packet that is truncated, or followed by other bytes, is refused."""
        for frame in (PLAIN + ip_packet(ALICE, BOB, b"ab"), PLAIN + ip_packet(ALICE6, BOB6, b"ab")):
            self.refuses(*(frame[:size] for size in range(len(frame))), frame + b"\0")

    def test_version(self) -> None:
        """Any IP version other than 4 and 6 is refused."""
        for ip in (ip_packet(ALICE, BOB, bytes(40)), ip_packet(ALICE6, BOB6, bytes(40))):
            for version in set(range(16)) - {ip[0] >> 4}:
                self.refuses(PLAIN + bytes([version << 4 | 5]) + ip[1:])

    def test_ipv4_header_length(self) -> None:
        """An IPv4 header has at least five words and fits into the packet."""
        ip = ip_packet(ALICE, BOB, bytes(20))
        for words in range(5):
            self.refuses(PLAIN + bytes([0x40 | words]) + ip[1:])
        self.accepts(PLAIN + b"\x46" + ip[1:], PLAIN + b"\x4a" + ip[1:])
        self.refuses(PLAIN + b"\x4b" + ip[1:])

    def test_flags(self) -> None:
        """The checksum may be requested or declared valid; any other flag is refused."""
        ip = ip_packet(ALICE, BOB, bytes(20))
        self.accepts(*(virtio_header(flags=flags, csum_start=20) + ip for flags in range(4)))
        self.refuses(*(virtio_header(flags=flags, csum_start=20) + ip for flags in range(4, 256)))

    def test_checksum_offsets(self) -> None:
        """The checksum must be located after the IP header and inside the packet."""
        ip, ip6 = ip_packet(ALICE, BOB, bytes(8)), ip_packet(ALICE6, BOB6, bytes(8))
        self.accepts(virtio_header(flags=1, csum_start=20, csum_offset=6) + ip)
        self.accepts(virtio_header(flags=1, csum_start=40, csum_offset=6) + ip6)
        for start, offset in ((19, 6), (0, 0), (20, 7), (27, 0), (20, 65515), (65515, 0)):
            self.refuses(virtio_header(flags=1, csum_start=start, csum_offset=offset) + ip)
            self.refuses(virtio_header(flags=1, csum_start=start + 20, csum_offset=offset) + ip6)

    def test_header_length(self) -> None:
        """The declared header length must not exceed the packet."""
        self.accepts(virtio_header(hdr_len=28) + ip_packet(ALICE, BOB, bytes(8)))
        self.refuses(virtio_header(hdr_len=29) + ip_packet(ALICE, BOB, bytes(8)))

    def test_segments(self) -> None:
        """Large TCP segments are accepted as the kernel sends them."""
        self.accepts(segment4(), segment4(flags=3), segment4(hdr_len=0), segment4(gso_size=8))
        self.accepts(segment6(), segment6(csum_start=48), segment6(gso_size=65535))

    def test_segments_of_other_kinds(self) -> None:
        """Only TCP of the packet's own IP version may be segmented; no UDP fragmentation, no
        ECN."""
        self.refuses(*(segment4(gso_type=kind) for kind in range(2, 256)))
        self.refuses(*(segment6(gso_type=kind) for kind in range(1, 256) if kind != 4))
        udp = ip_packet(ALICE, BOB, bytes(4020), UDP)
        self.refuses(segment4()[:10] + udp)

    def test_invalid_segments(self) -> None:
        """A segment needs a checksum at TCP's offset, a whole TCP header and a reasonable size."""
        self.refuses(segment4(flags=0), segment4(flags=2), segment6(flags=0), segment6(flags=2))
        self.refuses(*(segment4(gso_size=size) for size in range(8)))
        self.refuses(*(segment6(gso_size=size) for size in range(8)))
        self.refuses(segment4(csum_offset=6), segment6(csum_offset=6), segment4(csum_start=24))
        self.refuses(segment6(csum_start=39), segment6(csum_start=len(SEGMENT6) - 19))
        short = ip_packet(ALICE, BOB, bytes(19), TCP)
        self.refuses(virtio_header(**{**OFFLOAD4, "hdr_len": 39, "csum_offset": 16}) + short)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=100))
    def test_garbage(self, frame: bytes) -> None:
        """Random bytes are accepted or refused without an exception."""
        self.assertEqual(virtio.well_formed(memoryview(frame)), allowed(frame))

    @settings(max_examples=400, deadline=None)
    @given(frames())
    def test_beside_the_slow_rules(self, frame: bytes) -> None:
        """The fast check and the slow one agree about nearly valid frames."""
        self.assertEqual(virtio.well_formed(frame), allowed(frame))
