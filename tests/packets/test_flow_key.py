"""Which packets belong to one flow."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_virtio import PLAIN, TCP, UDP, ip_packet
from tunmesh.packets import ip_headers, virtio
from tunmesh.packets.flow_key import flow_key

PAIRS = (("10.77.0.1", "192.168.5.9"), ("fd77::1", "fd5e::9"))


def segment(source_port: int, destination_port: int, payload: bytes = b"") -> bytes:
    """The beginning of a TCP or UDP header."""
    return struct.pack("!HH", source_port, destination_port) + bytes(16) + payload


def fragment(frame: bytes, start: int, is_last: bool) -> bytes:
    """An IPv4 frame turned into a fragment."""
    field = (start // 8 | (0 if is_last else 0x2000)).to_bytes(2, "big")
    return frame[:16] + field + frame[18:]


def swapped(source: str, destination: str, payload: bytes, protocol: int) -> bytes:
    """The answer to a packet, without its virtio header."""
    ports = payload[2:4] + payload[:2] + payload[4:]
    return ip_packet(destination, source, ports, protocol)


class FlowKey(unittest.SynchronousTestCase):
    def test_ports(self) -> None:
        """Packets of one connection have one key, whatever else is in them; other ports, another
        key."""
        for source, destination in PAIRS:
            for protocol in (TCP, UDP):
                keys = [
                    flow_key(PLAIN + ip_packet(source, destination, payload, protocol))
                    for payload in (segment(1, 80), segment(1, 80, b"more"), segment(2, 80))
                ]
                self.assertEqual(keys[0], keys[1])
                self.assertNotEqual(keys[0], keys[2])

    def test_addresses(self) -> None:
        """The key begins with source and destination."""
        frame = PLAIN + ip_packet(*PAIRS[0], segment(1, 80), TCP)
        self.assertEqual(flow_key(frame)[:8], frame[22:30])
        frame = PLAIN + ip_packet(*PAIRS[1], segment(1, 80), TCP)
        self.assertEqual(flow_key(frame)[:32], frame[18:50])

    def test_fragments(self) -> None:
        """All fragments of a datagram have one key, also the first one, which has the ports."""
        whole = PLAIN + ip_packet(*PAIRS[0], segment(1, 80, bytes(64)), UDP)
        first, last = fragment(whole, 0, False), fragment(whole, 64, True)
        self.assertEqual(flow_key(first), flow_key(last))
        pieces = [
            PLAIN + ip_packet(*PAIRS[1], bytes((UDP, 0, 0, more)) + bytes(4) + data, 44)
            for more, data in ((1, segment(1, 80)), (0, bytes(20)))
        ]
        self.assertEqual(flow_key(pieces[0]), flow_key(pieces[1]))

    def test_errors_follow_their_flow(self) -> None:
        """An ICMP error goes the way of the packets that answer the one that it quotes."""
        for (source, destination), protocol, kind in (
            (PAIRS[0], ip_headers.ICMP, 3),
            (PAIRS[1], ip_headers.ICMPV6, 2),
        ):
            ours = segment(5432, 80)
            answer = swapped(source, destination, ours, TCP)
            for quoted in (answer, answer[: -len(ours) + 8]):
                message = bytes((kind, 4)) + bytes(6) + quoted
                error = PLAIN + ip_packet(source, destination, message, protocol)
                flow = PLAIN + ip_packet(source, destination, ours, TCP)
                self.assertEqual(flow_key(error), flow_key(flow))

    def test_echoes(self) -> None:
        """Pings between two addresses are one flow."""
        for (source, destination), protocol, kind in (
            (PAIRS[0], ip_headers.ICMP, 8),
            (PAIRS[1], ip_headers.ICMPV6, 128),
        ):
            first, second = (
                PLAIN
                + ip_packet(source, destination, bytes((kind, 0)) + bytes((n, n)) * 40, protocol)
                for n in (1, 2)
            )
            self.assertEqual(flow_key(first), flow_key(second))

    @given(st.sampled_from(PAIRS), st.integers(0, 255), st.binary(max_size=120))
    def test_anything(self, pair: tuple[str, str], protocol: int, payload: bytes) -> None:
        """Whatever a packet holds, it has a key."""
        frame = PLAIN + ip_packet(*pair, payload, protocol)
        self.assertTrue(virtio.well_formed(frame))
        self.assertGreaterEqual(len(flow_key(frame)), 8)
