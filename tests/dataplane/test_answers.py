"""Answers to packets of this machine that are not carried: which, when, how many."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.packets.test_replies import is_right
from tests.packets.test_virtio import PLAIN, UDP, ip_packet
from tests.support.segmentation import tcp_frame, udp_frame
from tunmesh.dataplane import answers
from tunmesh.dataplane.answers import Answers
from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.forwarder import Forwarder
from tunmesh.dataplane.peer import Limits, Peer
from tunmesh.dataplane.table import Table
from tunmesh.packets import ip_headers
from tunmesh.testing.carrier import MemoryCarrier
from tunmesh.testing.tun import MemoryTun
from tunmesh.wire.records import NodeRecord

ME, PEER, NOBODY, OUTSIDE = "10.77.0.2", "10.77.0.1", "10.77.0.9", "192.0.2.9"
ME6, PEER6, NOBODY6, OUTSIDE6 = "fd77::2", "fd77::1", "fd77::9", "2001:db8::9"
NETWORKS = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
HOST_UNREACHABLE, ADDRESS_UNREACHABLE = (3, 1), (1, 3)


def datagram(source: str, destination: str, size: int = 8, fragmentable: bool = False) -> bytes:
    """A frame with a UDP datagram; `size` is that of its payload."""
    head = struct.pack("!HHHH", 5000, 9, 8 + size, 0)
    whole = ip_packet(source, destination, head + bytes(size), UDP)
    if ":" not in source and not fragmentable:
        whole = whole[:6] + b"\x40" + whole[7:]
    return PLAIN + whole


def icmp(source: str, destination: str, kind: int) -> bytes:
    is_four = ip_address(source).version == 4
    protocol = ip_headers.ICMP if is_four else ip_headers.ICMPV6
    message = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + bytes(56)
    return PLAIN + ip_packet(source, destination, message, protocol)


class AnswersCase(SynchronousTestCase):
    """A node that has one peer, at 10.77.0.1 and fd77::1."""

    def setUp(self) -> None:
        self.now = 50.0
        own = (ip_interface(f"{ME}/24"), ip_interface(f"{ME6}/64"))
        self.table: Table[Peer] = Table(own, NETWORKS, broadcast=True)
        self.tun = MemoryTun()
        self.forwarder = Forwarder(self.tun, self.table, lambda: self.now)
        self.carrier = MemoryCarrier(self.forwarder.count_drops)
        addresses = (ip_interface(f"{PEER}/24"), ip_interface(f"{PEER6}/64"))
        record = NodeRecord("1" * 32, "peer", 1, "https://a:1", addresses, "test")
        self.peer = Peer(record, self.carrier)
        self.table.join(self.peer, addresses)
        for address in addresses:
            self.table.route(address.packed, self.peer)
        self.answers = Answers(self.table, self.forwarder.answer, lambda: self.now)
        self.forwarder.answer_unrouted(self.answers.take)
        self.forwarder.screen_by(self.answers.screen)
        self.tun.start(self.forwarder.sent, lambda why: None)
        self.answers.joined()
        self.now += answers.SETTLING

    def answered(self, *frames: bytes) -> list[tuple[int, int]]:
        """Type and code of the answers to these packets. Each is right, comes from the destination
        of the packet and quotes it."""
        self.tun.written.clear()
        self.tun.inject(*frames)
        kinds = []
        for answer in self.tun.written:
            self.assertTrue(is_right(answer))
            source, destination, body = (
                (slice(12, 16), slice(16, 20), 20)
                if answer[10] == 0x45
                else (slice(8, 24), slice(24, 40), 40)
            )
            quoted = answer[10 + body + 8 :]
            self.assertEqual(quoted[source], answer[10:][destination])
            self.assertEqual(quoted[destination], answer[10:][source])
            self.assertTrue(any(frame[10:].startswith(quoted) for frame in frames))
            kinds.append((answer[10 + body], answer[11 + body]))
        return kinds

    def dropped(self) -> dict[str, int]:
        return {reason: count for reason, count in self.forwarder.dropped.items() if count}

    def carried(self) -> int:
        return self.peer.traffic.tx_packets


class UnreachableTests(AnswersCase):
    """Packets without a route."""

    def test_nobody(self) -> None:
        """An address that no node has, one outside the mesh, and one whose link is down: the
        packet is counted, and answered."""
        for source, kind, destinations in (
            (ME, HOST_UNREACHABLE, (NOBODY, OUTSIDE)),
            (ME6, ADDRESS_UNREACHABLE, (NOBODY6, OUTSIDE6)),
        ):
            for destination in destinations:
                self.assertEqual(self.answered(datagram(source, destination)), [kind])
                packet = PLAIN + ip_packet(source, destination, bytes(20), ip_headers.ICMP + 5)
                self.assertEqual(self.answered(packet), [kind])
        self.assertEqual(self.dropped(), {"no_route": 4, "outside_network": 4})
        self.assertEqual(self.answered(datagram(ME, PEER)), [])
        self.table.unroute(ip_address(PEER).packed)
        self.assertEqual(self.answered(datagram(ME, PEER)), [HOST_UNREACHABLE])
        self.assertEqual(self.answers.status().unreachable, 9)

    def test_echo(self) -> None:
        """A ping is answered with the error, which `ping` shows."""
        self.assertEqual(self.answered(icmp(ME, NOBODY, 8)), [HOST_UNREACHABLE])
        self.assertEqual(self.answered(icmp(ME6, NOBODY6, 128)), [ADDRESS_UNREACHABLE])

    def test_never_about_errors(self) -> None:
        """No ICMP error, redirect, echo reply or other message is answered."""
        for kind in {*range(256)} - {8}:
            self.assertEqual(self.answered(icmp(ME, NOBODY, kind)), [], kind)
        for kind in {*range(256)} - {128}:
            self.assertEqual(self.answered(icmp(ME6, NOBODY6, kind)), [], kind)

    def test_never_to_many(self) -> None:
        """Neither multicast nor broadcast is answered, whether or not anybody gets it."""
        self.table.part(self.peer)
        for destination in ("224.0.0.1", "239.1.2.3", "255.255.255.255", "10.77.0.255"):
            self.assertEqual(self.answered(datagram(ME, destination)), [], destination)
        self.assertEqual(self.answered(datagram(ME6, "ff02::1")), [])
        self.assertEqual(self.dropped(), {"multicast": 3, "broadcast": 2})

    def test_only_own_sources(self) -> None:
        """A source that is not this node's is not answered: somebody else's, of another device, or
        one that does not exist."""
        for source in (PEER, "10.77.3.3", OUTSIDE, "127.0.0.1", "0.0.0.0", "255.255.255.255"):
            self.assertEqual(self.answered(datagram(source, NOBODY)), [], source)
        for source in (PEER6, OUTSIDE6, "::", "::1", "ff02::1"):
            self.assertEqual(self.answered(datagram(source, NOBODY6)), [], source)
        self.assertEqual(self.answers.status().unreachable, 0)

    def test_networks_behind(self) -> None:
        """A host in a network that this node leads to is answered: its packets come through this
        machine, which forwards the answer."""
        behind = datagram("192.0.2.77", NOBODY)
        self.assertEqual(self.answered(behind), [])
        self.table.gateways.advertise((ip_network("192.0.2.64/26"),))
        self.assertEqual(self.answered(behind), [HOST_UNREACHABLE])
        self.assertEqual(self.answered(datagram("192.0.2.63", NOBODY)), [])

    def test_fragments(self) -> None:
        """Of a datagram in fragments, the first is answered."""
        frame = datagram(ME, NOBODY, 100, fragmentable=True)
        first, later = frame[:16] + b"\x20\0" + frame[18:], frame[:16] + b"\0\x10" + frame[18:]
        self.assertEqual(self.answered(later), [])
        self.assertEqual(self.answered(first), [HOST_UNREACHABLE])
        head = struct.pack("!BBHI", UDP, 0, 0x80, 7)
        later6 = PLAIN + ip_packet(ME6, NOBODY6, head + bytes(64), ip_headers.FRAGMENT)
        self.assertEqual(self.answered(later6), [])

    def test_no_address(self) -> None:
        """A family that this node has no address in is silent."""
        self.table.readdress((ip_interface(f"{ME}/24"),))
        self.assertEqual(self.answered(datagram(ME6, NOBODY6)), [])
        self.assertEqual(self.dropped(), {"no_address": 1})

    def test_garbage(self) -> None:
        """What is no packet is not answered."""
        self.assertEqual(self.answered(b"", PLAIN, bytes(30), datagram(ME, NOBODY)[:-1]), [])

    def test_refused_by_the_kernel(self) -> None:
        """An answer that the tun does not take is counted like any other packet."""
        self.tun.refuses = DropReason.TUN_FULL
        self.tun.inject(datagram(ME, NOBODY))
        self.assertEqual(self.dropped(), {"no_route": 1, "tun_full": 1})


class BeginningTests(AnswersCase):
    """Before and after the node has joined its mesh."""

    def test_silent_at_first(self) -> None:
        """Not before it has been in its mesh for a second; then always, even if it was said
        again that it is."""
        late = Answers(self.table, self.tun.write, lambda: self.now)
        drops: list[Drop] = [(DropReason.NO_ROUTE, datagram(ME, NOBODY))]
        late.take(drops)
        self.now += 1000
        late.take(drops)
        late.joined()
        self.now += answers.SETTLING / 2
        late.joined()
        late.take(drops)
        self.assertEqual(self.tun.written, [])
        self.assertFalse(late.status().is_answering)
        self.now += answers.SETTLING / 2
        self.assertEqual(late.take(drops), drops)
        self.assertEqual(len(self.tun.written), 1)
        late.joined()
        late.take(drops)
        self.assertEqual(len(self.tun.written), 2)
        self.assertTrue(late.status().is_answering)


class RateTests(AnswersCase):
    """How many are answered."""

    def test_one_destination(self) -> None:
        """A flood to one destination is answered at its own rate, which leaves enough for
        others."""
        flood = [datagram(ME, NOBODY, size) for size in range(1000)]
        self.assertEqual(len(self.answered(*flood)), answers.DESTINATION_BURST)
        self.assertEqual(self.answered(datagram(ME, "10.77.0.8")), [HOST_UNREACHABLE])
        self.now += 1
        self.assertEqual(len(self.answered(*flood)), answers.DESTINATION_RATE)
        said = self.answers.status()
        self.assertEqual((said.unreachable, said.limited), (201, 1800))
        self.assertEqual(self.dropped(), {"no_route": 2001})

    def test_many_destinations(self) -> None:
        """A scan is answered at the rate for all; what is remembered is bounded."""
        scan = [datagram(ME, f"10.77.{n // 250 + 1}.{n % 250}") for n in range(3000)]
        self.assertEqual(len(self.answered(*scan)), answers.BURST)
        self.now += 0.25
        self.assertEqual(len(self.answered(*scan)), answers.RATE / 4)
        self.assertEqual(len(self.answers._destinations), answers.MAX_DESTINATIONS)

    def test_unanswerable(self) -> None:
        """What must not be answered takes nothing away from others."""
        for _ in range(2000):
            self.assertEqual(self.answered(icmp(ME, NOBODY, 3)), [])
        self.assertEqual(self.answered(datagram(ME, NOBODY)), [HOST_UNREACHABLE])


class TooBigTests(AnswersCase):
    """A peer whose tun has a smaller MTU."""

    def setUp(self) -> None:
        super().setUp()
        self.peer.limits = Limits(1300)

    def mtu(self) -> int:
        """What the only answer says."""
        (answer,) = self.tun.written
        at = 10 + (20 if answer[10] == 0x45 else 40) + 4
        return int.from_bytes(answer[at : at + 4])

    def test_sizes(self) -> None:
        """What fits is carried; what is larger by one byte is answered with the MTU."""
        self.assertEqual(self.answered(datagram(ME, PEER, 1300 - 28)), [])
        self.assertEqual(self.answered(datagram(ME6, PEER6, 1300 - 48)), [])
        self.assertEqual(self.carried(), 2)
        self.assertEqual(self.answered(datagram(ME, PEER, 1301 - 28)), [(3, 4)])
        self.assertEqual(self.mtu(), 1300)
        self.assertEqual(self.answered(datagram(ME6, PEER6, 1301 - 48)), [(2, 0)])
        self.assertEqual(self.mtu(), 1300)
        self.assertEqual(self.carried(), 2)
        self.assertEqual(self.dropped(), {"too_big": 2})
        self.assertEqual(self.answers.status().too_big, 2)

    def test_may_be_fragmented(self) -> None:
        """IPv4 without "don't fragment" is carried as it is: there is nobody to tell, and the
        other kernel takes it."""
        self.assertEqual(self.answered(datagram(ME, PEER, 1472, fragmentable=True)), [])
        self.assertEqual(self.carried(), 1)

    def test_segments(self) -> None:
        """Of what the kernel has left for others to cut, the size of the pieces counts."""
        for version in (4, 6):
            header = 20 if version == 4 else 40
            for frame, unit in (
                (tcp_frame(bytes(30_000), version=version, unit=1300 - header - 32), 0),
                (udp_frame(bytes(30_000), version=version, unit=1300 - header - 8), 0),
                (tcp_frame(bytes(30_000), version=version, unit=1301 - header - 32), 1),
                (udp_frame(bytes(30_000), version=version, unit=1301 - header - 8), 1),
                (tcp_frame(bytes(100), version=version, unit=1400), 0),
            ):
                self.assertEqual(len(self.answered(frame)), unit)

    def test_to_many(self) -> None:
        """Broadcasts are not answered, but carried."""
        self.assertEqual(self.answered(datagram(ME, "10.77.0.255", 1472)), [])
        self.assertEqual(self.carried(), 1)

    def test_before_the_start(self) -> None:
        """It is answered at once when there is a peer: there is nothing to wait for."""
        early = Answers(self.table, self.tun.write, lambda: self.now)
        taken, drops = early.screen(Limits(1300), [datagram(ME, PEER, 1400), datagram(ME, PEER)])
        self.assertEqual((len(taken), [reason for reason, _ in drops]), (1, ["too_big"]))
        self.assertEqual(len(self.tun.written), 1)

    def test_others_are_not_screened(self) -> None:
        """A peer without limits gets everything."""
        self.peer.limits = None
        self.assertEqual(self.answered(datagram(ME, PEER, 1472)), [])
        self.assertEqual(self.carried(), 1)


class RefusedTests(AnswersCase):
    """A peer that does not route an address of this node to it."""

    def test_refused(self) -> None:
        """Packets from that address are answered, and not carried; others are carried."""
        self.peer.limits = Limits(1500, (ip_address(ME).packed,))
        self.assertEqual(self.answered(datagram(ME, PEER)), [HOST_UNREACHABLE])
        self.assertEqual(self.answered(datagram(ME6, PEER6)), [])
        self.assertEqual(self.answered(datagram(ME, "255.255.255.255")), [])
        self.assertEqual(self.carried(), 2)
        self.assertEqual(self.dropped(), {"refused": 1})


class OracleTests(AnswersCase):
    """Against a slow list of rules."""

    @given(st.binary(min_size=1, max_size=80), st.sampled_from((4, 6)), st.integers(0, 5))
    @settings(deadline=None)
    def test_any_packet(self, payload: bytes, version: int, what: int) -> None:
        """Whatever follows an IP header, at most one right answer comes, and only to packets that
        may be answered."""
        protocol = (ip_headers.ICMP, ip_headers.ICMPV6, UDP, 6, ip_headers.FRAGMENT, 60)[what]
        ends = (ME, NOBODY) if version == 4 else (ME6, NOBODY6)
        frame = PLAIN + ip_packet(*ends, payload, protocol)
        self.now += 10
        kinds = self.answered(frame)
        kind = HOST_UNREACHABLE if version == 4 else ADDRESS_UNREACHABLE
        self.assertIn(kinds, ([], [kind]))
        if (version, protocol) == (4, ip_headers.ICMP):
            self.assertEqual(bool(kinds), payload[0] == 8)
        elif (version, protocol) == (6, ip_headers.ICMPV6):
            self.assertEqual(bool(kinds), payload[0] == 128)
        elif protocol in (UDP, 6) or version == 4:
            self.assertEqual(kinds, [kind])
