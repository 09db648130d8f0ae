"""Replies to packets, made without a kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_udp_segments import folded
from tunmesh.packets import replies, virtio
from tunmesh.testing.tun import frame

HERE, DNS = {4: "10.9.0.1", 6: "fd09::1"}, {4: "10.9.255.254", 6: "fd09::ffff"}


def datagram(payload: bytes, version: int = 4, port: int = 53, source: str = "") -> bytes:
    """A UDP datagram to the DNS address, from port 40000, as read from a tun."""
    return packet(
        struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload, version, 17, source
    )


def packet(payload: bytes, version: int, protocol: int, source: str = "") -> bytes:
    whole = bytearray(frame(source or HERE[version], DNS[version], payload))
    whole[19 if version == 4 else 16] = protocol
    return bytes(whole)


def is_right(answer: bytes) -> bool:
    """Whether a packet is well formed, and all its checksums are right."""
    ip = answer[10:]
    if not virtio.well_formed(answer) or answer[:10] != bytes(10):
        return False
    if ip[0] >> 4 == 4:
        protocol, body, ends = ip[9], ip[20:], ip[12:20]
        if folded(ip[:20]) != 0xFFFF:
            return False
    else:
        protocol, body, ends = ip[6], ip[40:], ip[8:40]
    covered = body if protocol == 1 else ends + struct.pack(">II", len(body), protocol) + body
    return folded(covered + bytes(len(covered) % 2)) == 0xFFFF


class Datagrams(unittest.SynchronousTestCase):
    """UDP."""

    def test_there_and_back(self) -> None:
        """An answer goes back to where the query came from, with right checksums."""
        for version in (4, 6):
            request = replies.datagram_of(datagram(b"query", version))
            assert request is not None
            self.assertEqual(request.payload, b"query")
            self.assertEqual(ip_address(request.source), ip_address(HERE[version]))
            self.assertEqual((request.source_port, request.destination_port), (40000, 53))
            answer = replies.datagram_back(request, b"an answer")
            self.assertTrue(is_right(answer))
            back = replies.datagram_of(answer)
            assert back is not None
            self.assertEqual(back.payload, b"an answer")
            self.assertEqual((back.source, back.destination), (request.destination, request.source))
            self.assertEqual((back.source_port, back.destination_port), (53, 40000))

    @given(st.binary(max_size=300), st.sampled_from((4, 6)))
    def test_checksums(self, payload: bytes, version: int) -> None:
        """Checksums are right for every payload, and never 0, which would mean that there is
        none."""
        request = replies.datagram_of(datagram(b"", version))
        assert request is not None
        answer = replies.datagram_back(request, payload)
        self.assertTrue(is_right(answer))
        at = 10 + (26 if version == 4 else 46)
        self.assertNotEqual(answer[at : at + 2], b"\0\0")

    def test_parts(self) -> None:
        """A fragment, a datagram that is cut short, and one with a wrong length are none."""
        whole = datagram(b"query")
        fragment = whole[:16] + b"\x20\x00" + whole[18:]
        later = whole[:16] + b"\x00\x03" + whole[18:]
        for bad in (fragment, later, whole[:-1], whole + b"x", b"", bytes(10), bytes(60)):
            self.assertIsNone(replies.datagram_of(bad), bad)
        for length in (7, 14, 0xFFFF):
            head = struct.pack(">HHHH", 40000, 53, length, 0)
            self.assertIsNone(replies.datagram_of(packet(head + b"query", 4, 17)), length)
        self.assertIsNone(replies.datagram_of(packet(b"1234567", 4, 17)))
        self.assertIsNone(replies.datagram_of(packet(b"x" * 20, 6, 6)))


class Icmp(unittest.SynchronousTestCase):
    """Echo and errors."""

    def test_echo(self) -> None:
        """A ping is answered with the same identity, sequence and payload."""
        for version, request, reply, protocol in ((4, 8, 0, 1), (6, 128, 129, 58)):
            rest = b"\x12\x34\x00\x07payload"
            asked = packet(bytes((request, 0, 0, 0)) + rest, version, protocol)
            answer = replies.echo_reply(asked)
            assert answer is not None
            self.assertTrue(is_right(answer))
            body = answer[30:] if version == 4 else answer[50:]
            self.assertEqual((body[0], body[1], body[4:]), (reply, 0, rest))

    def test_no_echo(self) -> None:
        """Nothing else is an echo request: replies, errors, what is cut short, UDP."""
        for body in (b"\0\0\0\0abcd", b"\3\3\0\0abcd", b"\x08\1\0\0abcd", b"\x08\0\0\0abc"):
            self.assertIsNone(replies.echo_reply(packet(body, 4, 1)))
        self.assertIsNone(replies.echo_reply(datagram(b"x" * 8)))
        self.assertIsNone(replies.echo_reply(b"\x08" * 40))

    def test_unreachable(self) -> None:
        """A refused packet is quoted from its IP header on, as far as an error may be long."""
        errors: tuple[tuple[Callable[[bytes], bytes | None], dict[int, tuple[int, int]]], ...] = (
            (replies.port_unreachable, {4: (3, 3), 6: (1, 4)}),
            (replies.host_unreachable, {4: (3, 1), 6: (1, 3)}),
            (lambda frame: replies.too_big(frame, 1280), {4: (3, 4), 6: (2, 0)}),
        )
        for (error, kinds), version, size in product(errors, (4, 6), (0, 100, 1400)):
            kind, longest = kinds[version], {4: 576, 6: 1280}[version]
            asked = datagram(b"q" * size, version, port=99)
            answer = error(asked)
            assert answer is not None
            self.assertTrue(is_right(answer))
            self.assertLessEqual(len(answer) - 10, longest)
            body = answer[30:] if version == 4 else answer[50:]
            self.assertEqual((body[0], body[1]), kind)
            self.assertTrue(asked[10:].startswith(body[8:]))
            self.assertGreaterEqual(len(body) - 8, min(len(asked) - 10, 500))

    def test_mtu(self) -> None:
        """How large packets may be is said in 16 bits, and in 32 bits for IPv6."""
        for version, at in ((4, 34), (6, 54)):
            for mtu in (576, 1280, 65_521):
                answer = replies.too_big(datagram(b"q" * 1400, version), mtu)
                assert answer is not None
                self.assertEqual(int.from_bytes(answer[at : at + 4]), mtu)

    def test_error_about_a_ping(self) -> None:
        """An echo request is answered by an error where there is no host: `ping` shows it."""
        for version, request, protocol in ((4, 8, 1), (6, 128, 58)):
            asked = packet(bytes((request, 0, 0, 0)) + b"\x12\x34\0\7", version, protocol)
            answer = replies.host_unreachable(asked)
            assert answer is not None
            self.assertTrue(is_right(answer))

    def test_no_error(self) -> None:
        """There is no error about an ICMP error, a later fragment, or garbage (RFC 1122)."""
        self.assertIsNone(replies.port_unreachable(packet(b"\3\3\0\0abcd", 4, 1)))
        self.assertIsNone(replies.port_unreachable(packet(b"\1\4\0\0abcd", 6, 58)))
        whole = datagram(b"query")
        self.assertIsNone(replies.port_unreachable(whole[:16] + b"\x00\x03" + whole[18:]))
        for garbage in (b"", bytes(10), bytes(70), whole[:-1]):
            self.assertIsNone(replies.port_unreachable(garbage))

    @given(st.binary(max_size=120))
    def test_garbage(self, data: bytes) -> None:
        """Nothing that comes raises, and what is answered is a right packet."""
        for answer in (
            replies.echo_reply(data),
            replies.port_unreachable(data),
            replies.host_unreachable(data),
            replies.too_big(data, 1280),
        ):
            self.assertTrue(answer is None or is_right(answer))
        replies.datagram_of(data)
