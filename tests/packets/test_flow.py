"""The flow of a packet, and filters for flows."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.packets.flow import Filter, Flow, flow_of

FOUR = "10.77.0.1", "10.77.0.2"
SIX = "fd77::1", "fd77::2"
PORTS = struct.pack("!HH", 5000, 443) + bytes(16)


def ipv4(protocol: int, body: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    """An IPv4 packet from .1 to .2; `fragment` as in its header."""
    ends = b"".join(ip_address(end).packed for end in FOUR)
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | length // 4, 0, length + len(body), 0, fragment, 64, protocol, 0
    )
    return head + ends + options + body


def ipv6(protocol: int, body: bytes) -> bytes:
    """An IPv6 packet from ::1 to ::2."""
    ends = b"".join(ip_address(end).packed for end in SIX)
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body


class Flows(unittest.SynchronousTestCase):
    """`flow_of`."""

    def test_ports(self) -> None:
        """Ports are found in both families, behind options and extension headers."""
        options = bytes([1, 1, 1, 1])
        extension = bytes([6, 0]) + bytes(6)  # followed by TCP
        fragment_head = bytes([17, 0, 0, 1]) + bytes(4)  # the first fragment
        for packet, text in {
            ipv4(6, PORTS): "tcp 10.77.0.1:5000 > 10.77.0.2:443",
            ipv4(17, PORTS, options=options): "udp 10.77.0.1:5000 > 10.77.0.2:443",
            ipv4(6, PORTS, fragment=0x2000): "tcp 10.77.0.1:5000 > 10.77.0.2:443",
            ipv6(6, PORTS): "tcp [fd77::1]:5000 > [fd77::2]:443",
            ipv6(0, extension + PORTS): "tcp [fd77::1]:5000 > [fd77::2]:443",
            ipv6(44, fragment_head + PORTS): "udp [fd77::1]:5000 > [fd77::2]:443",
        }.items():
            self.assertEqual(str(flow_of(packet)), text)

    def test_no_ports(self) -> None:
        """Ports are None for protocols without ports, later fragments and unknown headers."""
        later = bytes([17, 0, 0, 9]) + bytes(4)  # a later fragment
        for packet, text in {
            ipv4(1, bytes(8)): "icmp 10.77.0.1 > 10.77.0.2",
            ipv4(6, PORTS, fragment=5): "tcp 10.77.0.1 > 10.77.0.2",
            ipv4(6, b"\x13\x88\x01"): "tcp 10.77.0.1 > 10.77.0.2",
            ipv4(47, PORTS): "47 10.77.0.1 > 10.77.0.2",
            ipv6(58, bytes(8)): "icmp6 fd77::1 > fd77::2",
            ipv6(44, later + PORTS): "udp fd77::1 > fd77::2",
            ipv6(0, b""): "0 fd77::1 > fd77::2",
        }.items():
            self.assertEqual(str(flow_of(packet)), text)

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=140)
        | st.builds(ipv6, st.sampled_from([0, 43, 44, 60, 6]), st.binary(max_size=90))
    )
    def test_garbage(self, packet: bytes) -> None:
        """Random bytes have a flow or none, but never raise."""
        flow = flow_of(packet)
        self.assertEqual(flow is None, not _has_addresses(packet))

    def test_filter(self) -> None:
        """Each condition matches either end, and all of them must match."""
        one, other = map(ip_address, FOUR)
        flow = Flow(one, other, "tcp", 5000, 443)
        for wanted in (
            Filter(),
            Filter(host=one),
            Filter(host=other, port=5000),
            Filter(None, "tcp", 443),
        ):
            self.assertTrue(wanted.matches(flow), wanted)
        for wanted in (
            Filter(host=ip_address("10.77.0.3")),
            Filter(host=one, port=80),
            Filter(protocol="udp"),
        ):
            self.assertFalse(wanted.matches(flow), wanted)
        self.assertTrue(Filter(protocol="icmp").matches(Flow(one, other, "icmp6")))


def _has_addresses(packet: bytes) -> bool:
    version = packet[0] >> 4 if packet else 0
    return len(packet) >= {4: 20, 6: 40}.get(version, 1000)
