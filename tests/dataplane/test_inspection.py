"""Which ICMP errors and fragments from peers reach the kernel."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_virtio import PLAIN, UDP, ip_packet
from tunmesh.dataplane.gateways import Accepted, Gateways
from tunmesh.dataplane.inspection import Inspection, is_echo
from tunmesh.packets import ip_headers, virtio
from tunmesh.packets.virtio import GSO_NONE, HEADER, NEEDS_CSUM, VIRTIO

ME, PEER, OTHER, OUTSIDE = "10.77.0.1", "10.77.0.2", "10.77.3.4", "192.0.2.9"
ME6, PEER6, OTHER6, OUTSIDE6 = "fd77::1", "fd77::2", "fd77::3:4", "2001:db8::9"
OWN = (ip_interface(f"{ME}/24"), ip_interface(f"{ME6}/64"))
NETWORKS = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
LINK_CONTROL6 = (130, 131, 132, 133, 134, 135, 136, 143)
ERRORS4, ERRORS6 = (3, 4, 11, 12), (1, 2, 3, 4, 100, 127)


def error(source: str, kind: int, quoted: bytes) -> bytes:
    """A frame with an ICMP message to this node."""
    is_four = ip_address(source).version == 4
    message = struct.pack("!BBHI", kind, 4, 0, 552) + quoted
    protocol = ip_headers.ICMP if is_four else ip_headers.ICMPV6
    return PLAIN + ip_packet(source, ME if is_four else ME6, message, protocol)


def extended(number: int, length: int, following: int, payload: bytes) -> bytes:
    """An IPv6 frame with one extension header, of `length` times 8 bytes beyond the first 8."""
    header = bytes((following, length)) + bytes(6 + 8 * length)
    return PLAIN + ip_packet(PEER6, ME6, header + payload, number)


def fragment(frame: bytes, start: int, is_last: bool) -> bytes:
    """An IPv4 frame turned into a fragment."""
    field = (start // 8 | (0 if is_last else 0x2000)).to_bytes(2, "big")
    return frame[:16] + field + frame[18:]


class InspectionCase(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        own = [address.packed for address in OWN]
        self.gateways: Gateways[str] = Gateways(
            [Accepted(ip_network("192.168.5.0/24")), Accepted(ip_network("fd5e::/64"))],
            [ip_network("172.20.0.0/24"), ip_network("fd20::/64")],
        )
        routes = {ip_address(PEER).packed: "peer", ip_address(PEER6).packed: "peer"}
        routes |= {ip_address(OTHER).packed: "other", ip_address(OTHER6).packed: "other"}
        self.inspection = Inspection(own, NETWORKS, lambda: 0.0, self.gateways, routes.get)

    def why(self, frame: bytes) -> str:
        """Why a frame is refused; only special frames are inspected."""
        self.assertTrue(virtio.well_formed(frame))
        is_special = virtio.read(memoryview(frame))[2]
        return self.inspection.refuses("peer", memoryview(frame)) or "" if is_special else ""


class GatewayErrorTests(InspectionCase):
    """Errors about packets to and from networks that are reached through gateways."""

    def test_about_what_was_sent_to_a_gateway(self) -> None:
        """An error about a packet of ours to a network that the peer leads to is carried."""
        for me, host, kinds in ((ME, "192.168.5.9", ERRORS4), (ME6, "fd5e::9", ERRORS6)):
            quoted = ip_packet(me, host, b"payload!")
            source = PEER if me == ME else PEER6
            for kind in kinds:
                self.assertEqual(self.why(error(source, kind, quoted)), "icmp_error")
            self.gateways.offer(
                "peer", [ip_network("192.168.5.0/24"), ip_network("fd5e::/64")], b""
            )
            for kind in kinds:
                self.assertEqual(self.why(error(source, kind, quoted)), "")
            self.gateways.part("peer")

    def test_of_another_gateway(self) -> None:
        """Only who leads there can know of an error there."""
        self.gateways.offer("other", [ip_network("192.168.5.0/24")], b"")
        quoted = ip_packet(ME, "192.168.5.9", b"payload!")
        self.assertEqual(self.why(error(PEER, 3, quoted)), "icmp_error")

    def test_to_a_host_that_is_led_to(self) -> None:
        """A host behind this node is told of errors about its own packets, and of no others."""
        host, told, strange = "172.20.0.7", "172.20.0.7", "172.20.0.8"
        message = struct.pack("!BBHI", 3, 4, 0, 552) + ip_packet(host, PEER, b"payload!")
        for destination, why in ((told, ""), (strange, "icmp_error"), (ME, "icmp_error")):
            frame = PLAIN + ip_packet(PEER, destination, message, ip_headers.ICMP)
            self.assertEqual(self.why(frame), why, destination)
        elsewhere = struct.pack("!BBHI", 3, 4, 0, 552) + ip_packet(host, OUTSIDE, b"payload!")
        frame = PLAIN + ip_packet(PEER, host, elsewhere, ip_headers.ICMP)
        self.assertEqual(self.why(frame), "icmp_error")

    def test_to_a_host_in_ipv6(self) -> None:
        """The same is true of ICMPv6."""
        message = struct.pack("!BBHI", 2, 0, 0, 1280) + ip_packet("fd20::7", PEER6, b"payload!")
        for destination, why in (("fd20::7", ""), ("fd20::8", "icmp_error")):
            frame = PLAIN + ip_packet(PEER6, destination, message, ip_headers.ICMPV6)
            self.assertEqual(self.why(frame), why, destination)


class IcmpErrorTests(InspectionCase):
    """An error is carried if it is about a packet that this machine sent into the mesh."""

    def test_about_our_packets(self) -> None:
        """From our address in the mesh to the peer."""
        for kind in ERRORS4:
            frame = error(PEER, kind, ip_packet(ME, PEER, b"8 bytes."))
            self.assertEqual(self.why(frame), "")
        for kind in ERRORS6:
            frame = error(PEER6, kind, ip_packet(ME6, PEER6, b"8 bytes."))
            self.assertEqual(self.why(frame), "")

    def test_about_others(self) -> None:
        """Ours to another node or outside the mesh, and those of others."""
        for kind in ERRORS4:
            for ends in (
                (OUTSIDE, PEER),
                (ME, OUTSIDE),
                (PEER, ME),
                (ME, OTHER),
                (ME, "10.77.9.9"),
                (OUTSIDE, OUTSIDE),
            ):
                self.assertEqual(self.why(error(PEER, kind, ip_packet(*ends))), "icmp_error")
        for kind in ERRORS6:
            for ends in ((OUTSIDE6, PEER6), (ME6, OUTSIDE6), (PEER6, ME6), (ME6, OTHER6)):
                self.assertEqual(self.why(error(PEER6, kind, ip_packet(*ends))), "icmp_error")

    def test_quotes_that_cannot_be_read(self) -> None:
        """Cut off, empty, or of the other family."""
        whole, whole6 = ip_packet(ME, PEER), ip_packet(ME6, PEER6)
        for quoted in (b"", whole[:19], b"\0" + whole[1:], whole6):
            self.assertEqual(self.why(error(PEER, 3, quoted)), "icmp_error")
        for quoted in (b"", whole6[:39], b"\0" + whole6[1:], whole):
            self.assertEqual(self.why(error(PEER6, 1, quoted)), "icmp_error")

    def test_redirects(self) -> None:
        """Redirects are never carried."""
        self.assertEqual(self.why(error(PEER, 5, ip_packet(ME, PEER))), "icmp_error")
        self.assertEqual(self.why(error(PEER6, 137, ip_packet(ME6, PEER6))), "icmp_error")

    @given(
        st.sampled_from((0x45, 0x46, 0x65)),
        st.sampled_from((0, 0x4000, 0x2000, 0x8000, 1, 0x4001)),
        st.integers(0, 20),
    )
    def test_only_whole_pings_are_taken_for_pings(self, first: int, field: int, kind: int) -> None:
        """What is let through without a closer look is an unfragmented ping or its reply."""
        packet = bytearray(ip_packet(PEER, ME, bytes((kind, 0)) + bytes(62), ip_headers.ICMP))
        packet[0], packet[6:8] = first, field.to_bytes(2, "big")
        read = ip_headers.read(bytes(packet))
        is_ping = first == 0x45 and kind in (0, 8) and field & 0xBFFF == 0
        self.assertEqual(is_echo(PLAIN + packet), is_ping)
        if is_ping:
            self.assertEqual(read, ip_headers.Headers(ip_headers.ICMP, 20))

    def test_no_errors(self) -> None:
        """Echo requests, replies, and everything else that is not an error, are carried."""
        for kind in {*range(256)} - {*ERRORS4, 5}:
            self.assertEqual(self.why(error(PEER, kind, b"payload")), "")
        for kind in {*range(128, 256)} - {*LINK_CONTROL6, 137}:
            self.assertEqual(self.why(error(PEER6, kind, b"payload")), "")

    def test_link_control(self) -> None:
        """IGMP, MLD and neighbour discovery are never carried: a peer could make itself this
        machine's router."""
        for kind in LINK_CONTROL6:
            self.assertEqual(self.why(error(PEER6, kind, b"payload")), "link_control")
        self.assertEqual(self.why(PLAIN + ip_packet(PEER, ME, b"\x11\0\0\0", 2)), "link_control")

    def test_behind_options(self) -> None:
        """An error is recognized behind IPv4 options and IPv6 extension headers too."""
        message = struct.pack("!BBHI", 3, 4, 0, 552) + ip_packet(OUTSIDE, PEER)
        plain = ip_packet(PEER, ME, b"\1\1\1\1" + message, ip_headers.ICMP)
        self.assertEqual(self.why(PLAIN + b"\x46" + plain[1:]), "icmp_error")
        message6 = struct.pack("!BBHI", 2, 0, 0, 552) + ip_packet(OUTSIDE6, PEER6)
        for number in (ip_headers.HOP_BY_HOP, ip_headers.ROUTING, ip_headers.DESTINATION):
            for length in (0, 3):
                frame = extended(number, length, ip_headers.ICMPV6, message6)
                self.assertEqual(self.why(frame), "icmp_error")
        inner = extended(ip_headers.DESTINATION, 0, ip_headers.ICMPV6, message6)[HEADER + 40 :]
        frame = extended(ip_headers.HOP_BY_HOP, 1, ip_headers.DESTINATION, inner)
        self.assertEqual(self.why(frame), "icmp_error")

    def test_in_fragments(self) -> None:
        """An error in fragments is refused: the quoted packet could be in another fragment."""
        whole = error(PEER, 3, ip_packet(ME, PEER, bytes(60)))
        self.assertEqual(self.why(fragment(whole, 0, False)), "icmp_error")
        self.assertEqual(self.why(fragment(whole, 48, True)), "")
        message = struct.pack("!BBHI", 2, 0, 0, 552) + ip_packet(ME6, PEER6)
        head = struct.pack("!BBHI", ip_headers.ICMPV6, 0, 1, 7)
        frame = PLAIN + ip_packet(PEER6, ME6, head + message, ip_headers.FRAGMENT)
        self.assertEqual(self.why(frame), "icmp_error")

    def test_extensions_without_end(self) -> None:
        """Headers that end outside the packet, or are too many, are malformed."""
        self.assertEqual(self.why(extended(ip_headers.ROUTING, 0, 0, b"")), "malformed")
        frame = extended(ip_headers.ROUTING, 1, ip_headers.ICMPV6, b"")
        cut = frame[: HEADER + 4] + (8).to_bytes(2, "big") + frame[HEADER + 6 : HEADER + 48]
        self.assertEqual(self.why(cut), "malformed")
        chain = b"".join(bytes((ip_headers.DESTINATION, 0)) + bytes(6) for _ in range(20))
        frame = PLAIN + ip_packet(PEER6, ME6, chain, ip_headers.DESTINATION)
        self.assertEqual(self.why(frame), "malformed")


class PartialChecksumTests(InspectionCase):
    """A kernel that forwards a packet writes the checksum where its sender wants it."""

    def partial(self, frame: bytes, start: int, offset: int = 0) -> str:
        """Why a frame is refused whose checksum is to be written there."""
        header = VIRTIO.pack(NEEDS_CSUM, GSO_NONE, 0, 0, start, offset)
        return self.why(header + frame[HEADER:])

    def test_error_made_of_an_echo(self) -> None:
        """A checksum that is written at the type of an echo makes an error of it, behind the
        gateway where it was inspected."""
        for kind in (0, 8):
            frame = error(PEER, kind, ip_packet(OUTSIDE, OTHER, b"payload!"))
            self.assertEqual((self.why(frame), self.partial(frame, 20)), ("", "malformed"))
            self.assertEqual(self.partial(frame, 20, 2), "malformed")
        frame = error(PEER6, 128, ip_packet(OUTSIDE6, OTHER6, b"payload!"))
        self.assertEqual((self.why(frame), self.partial(frame, 40)), ("", "malformed"))

    def test_extension_headers(self) -> None:
        """It may be behind extension headers, not in them, whose first byte says what follows."""
        frame = extended(ip_headers.DESTINATION, 0, 6, bytes(20))
        self.assertEqual(self.partial(frame, 48, 16), "")
        for start in (40, 47):
            self.assertEqual(self.partial(frame, start), "malformed")

    def test_fragments(self) -> None:
        """A fragment has the checksum that was written before there were fragments."""
        frame = fragment(PLAIN + ip_packet(PEER, ME, bytes(64), UDP), 0, False)
        self.assertEqual((self.why(frame), self.partial(frame, 20, 6)), ("", "malformed"))


class FragmentTests(InspectionCase):
    """Fragments are counted against the kernel's memory."""

    def test_a_flood(self) -> None:
        """First fragments of more and more datagrams are refused after a while; whole packets are
        not."""
        frame = PLAIN + ip_packet(PEER, ME, bytes(1480), UDP)
        whys = [
            self.why(fragment(frame[:14] + number.to_bytes(2, "big") + frame[16:], 0, False))
            for number in range(2000)
        ]
        self.assertEqual(set(whys), {"", "fragments"})
        self.assertEqual(whys[-1], "fragments")
        self.assertEqual(self.why(frame), "")

    def test_families_apart(self) -> None:
        """The address families do not share a limit, as in the kernel."""
        self.test_a_flood()
        head = struct.pack("!BBHI", UDP, 0, 1, 7)
        frame = PLAIN + ip_packet(PEER6, ME6, head + bytes(1000), ip_headers.FRAGMENT)
        self.assertEqual(self.why(frame), "")


class HeadersTests(unittest.SynchronousTestCase):
    """How headers are parsed."""

    @given(st.binary(max_size=120))
    def test_garbage(self, data: bytes) -> None:
        """Any input gives a result, and offsets are inside the packet if it is whole."""
        for first in (b"\x45", b"\x60", b""):
            read = ip_headers.read(first + data)
            if read is not None and read.is_whole:
                self.assertLessEqual(read.at, len(first + data))

    def test_fragment(self) -> None:
        """Offset, size and end of a fragment, in both families."""
        four = ip_packet(PEER, ME, bytes(100), UDP)
        read = ip_headers.read(fragment(PLAIN + four, 1480, True)[HEADER:])
        assert read is not None and read.fragment is not None
        self.assertEqual((read.protocol, read.at), (UDP, 20))
        self.assertEqual(read.fragment[1:], (1480, 100, True))
        head = struct.pack("!BBHI", UDP, 0, 1448 | 1, 7)
        read = ip_headers.read(ip_packet(PEER6, ME6, head + bytes(72), ip_headers.FRAGMENT))
        assert read is not None and read.fragment is not None
        self.assertEqual((read.protocol, read.at), (UDP, 48))
        self.assertEqual(read.fragment[1:], (1448, 72, False))

    def test_atomic(self) -> None:
        """A whole datagram with a fragment header (RFC 6946) is not a fragment."""
        head = struct.pack("!BBHI", UDP, 0, 0, 7)
        read = ip_headers.read(ip_packet(PEER6, ME6, head + bytes(72), ip_headers.FRAGMENT))
        self.assertEqual(read, ip_headers.Headers(UDP, 48))
