"""IGMP and MLD: what is read of reports, and the queries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_udp_segments import folded
from tunmesh.packets import igmp as igmp_packets
from tunmesh.packets import link_control
from tunmesh.packets import mld as mld_packets
from tunmesh.packets.group_records import Kind, Record
from tunmesh.testing.group_reports import igmp, igmp3, mld, mld2, raw, record

GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"
# As Linux sends it when a program has joined 239.1.2.3.
REPORT = bytes.fromhex("22 00 e8 f9 00 00 00 01 04 00 00 00 ef 01 02 03")


class Reports(unittest.SynchronousTestCase):
    """What a kernel says."""

    def test_literal(self) -> None:
        """The bytes of an IGMPv3 report, with the checksum that the kernel gave it."""
        self.assertEqual(igmp3(record(Kind.TO_EXCLUDE, GROUP))[34:], REPORT)

    def test_new_versions(self) -> None:
        """Every kind of record, with and without sources, several in one report."""
        for report, read, group, sources in (
            (igmp3, igmp_packets.read, GROUP, ("10.9.0.5", "10.9.0.6")),
            (mld2, mld_packets.read, GROUP6, ("fd09::5", "fd09::6")),
        ):
            records = [
                record(kind, group, *sources[:count]) for kind in Kind for count in (0, 1, 2)
            ]
            self.assertEqual(read(report(*records)[10:]), tuple(records))

    def test_old_versions(self) -> None:
        """Reports and leaves of IGMPv1, v2 and MLDv1."""
        for frame, kind in (
            (igmp(0x12, raw(GROUP), GROUP), Kind.TO_EXCLUDE),
            (igmp(0x16, raw(GROUP), GROUP), Kind.TO_EXCLUDE),
            (igmp(0x17, raw(GROUP), "224.0.0.2"), Kind.TO_INCLUDE),
        ):
            self.assertEqual(igmp_packets.read(frame[10:]), (record(kind, GROUP),))
        for number, kind, to in ((131, Kind.TO_EXCLUDE, GROUP6), (132, Kind.TO_INCLUDE, "ff02::2")):
            frame = mld(number, bytes(4) + raw(GROUP6), to)
            self.assertEqual(mld_packets.read(frame[10:]), (record(kind, GROUP6),))

    def test_unknown(self) -> None:
        """Records and messages of unknown types say nothing; auxiliary data is skipped."""
        known = record(Kind.IS_EXCLUDE, GROUP)
        other = bytes((9, 1, 0, 0)) + raw(GROUP) + b"aux!"
        rest = bytes(2) + b"\0\2" + other + bytes((2, 0, 0, 0)) + raw(GROUP)
        self.assertEqual(igmp_packets.read(igmp(0x22, rest)[10:]), (known,))
        self.assertEqual(igmp_packets.read(igmp(0x13, bytes(4))[10:]), ())

    def test_wrong(self) -> None:
        """Cut off, with a wrong checksum, of another protocol or family: not read."""
        for report, read in (
            (igmp3(record(Kind.ALLOW, GROUP, "10.9.0.5")), igmp_packets.read),
            (mld2(record(Kind.ALLOW, GROUP6, "fd09::5")), mld_packets.read),
        ):
            packet = report[10:]
            for size in range(len(packet)):
                self.assertIsNone(read(packet[:size]))
            for at in range(24 if packet[0] < 0x50 else 48, len(packet)):
                self.assertIsNone(read(packet[:at] + bytes((packet[at] ^ 1,)) + packet[at + 1 :]))
        self.assertIsNone(igmp_packets.read(mld2()[10:]))
        self.assertIsNone(mld_packets.read(igmp3()[10:]))

    def test_too_few_records(self) -> None:
        """A report that says it has more records than it has is not read."""
        self.assertIsNone(igmp_packets.read(igmp(0x22, b"\0\0\0\1")[10:]))
        self.assertIsNone(mld_packets.read(mld(143, b"\0\0\0\1")[10:]))

    @given(st.binary(max_size=200))
    def test_garbage(self, data: bytes) -> None:
        """Whatever the bytes are, they are read or not."""
        for read in (igmp_packets.read, mld_packets.read):
            for packet in (data, igmp(0x22, data)[10:], mld(143, data)[10:]):
                found = read(packet)
                self.assertTrue(found is None or all(isinstance(each, Record) for each in found))


class Queries(unittest.SynchronousTestCase):
    """What the kernel is asked with."""

    def test_igmp(self) -> None:
        """From nobody, to all hosts, with a router alert and both checksums."""
        packet = igmp_packets.general_query(1.0, 2, 60)
        self.assertEqual(folded(packet[:24]), 0xFFFF)
        self.assertEqual(folded(packet[24:]), 0xFFFF)
        self.assertEqual(packet[12:24], bytes(4) + raw("224.0.0.1") + b"\x94\x04\0\0")
        self.assertEqual((packet[8], packet[9]), (1, 2))
        self.assertEqual(packet[24:26] + packet[28:], b"\x11\x0a" + bytes(4) + b"\x02\x3c\0\0")
        self.assertEqual(igmp_packets.read(packet), ())

    def test_mld(self) -> None:
        """From a link-local address, to all hosts, with a router alert and a checksum."""
        packet = mld_packets.general_query(1.0, 2, 60)
        self.assertEqual(packet[8:40], raw("fe80::1") + raw("ff02::1"))
        self.assertEqual((packet[6], packet[7]), (0, 1))
        self.assertEqual(packet[48:50] + packet[52:54], b"\x82\0\x03\xe8")
        self.assertEqual(packet[-4:], b"\x02\x3c\0\0")
        self.assertEqual(mld_packets.read(packet), ())


class LinkControl(unittest.SynchronousTestCase):
    """What no node passes on."""

    def test_kinds(self) -> None:
        """IGMP, MLD and neighbour discovery, and nothing else."""
        self.assertTrue(link_control.is_link_control(igmp3()))
        for kind in range(256):
            frame = mld(kind, bytes(20))
            is_control = kind in (130, 131, 132, 143, 133, 134, 135, 136, 137)
            self.assertEqual(link_control.is_link_control(frame), is_control, kind)
