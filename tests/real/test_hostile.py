"""A malicious member's machine sends packets through its own tun; the effect on a real kernel
behind an honest node."""

from __future__ import annotations

import socket
import struct

from twisted.internet.task import LoopingCall

from tests.packets.test_virtio import ip_packet
from tests.real.test_mesh import IPV4, Mailbox, MeshCase, dropped
from tests.support.realnode import reactor
from tunmesh.packets import ip_headers
from tunmesh.packets.icmp import checksum

IP_MTU = 14
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
FRAGMENTS = 4000  # of 1,400 bytes: more than the 4 MB that the kernel reserves for them
MORE = 0x2000


class HostileMemberTests(MeshCase):
    """Node 2's machine sends malicious packets."""

    nodes = 3

    def mtu(self, number: int, source: str, destination: str) -> int:
        """The path MTU from that machine to an address."""
        with self.ground.namespace(number), socket.socket(IPV4, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
            probe.bind((source, 0))
            probe.connect((destination, 9))
            return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)

    def too_big(self, quoted_source: str, quoted_destination: str) -> None:
        """Send node 1 "fragmentation needed, 552 bytes" about a packet between these two."""
        # It quotes an echo reply: errors about other packets count only if a socket sent them.
        pong = struct.pack("!BBHHH", 0, 0, 0, 1, 1)
        quoted = ip_packet(quoted_source, quoted_destination, pong, ip_headers.ICMP)
        quoted = quoted[:10] + checksum(quoted[:20]).to_bytes(2, "big") + quoted[12:]
        body = struct.pack("!HH", 0, 552) + quoted
        message = struct.pack("!BBH", 3, 4, checksum(b"\3\4\0\0" + body)) + body
        with (
            self.ground.namespace(2),
            socket.socket(IPV4, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
        ):
            raw.sendto(message, (self.address(1), 0))

    async def test_mtu_of_the_underlay(self) -> None:
        """A forged "too big" does not affect paths to hosts outside the mesh; a genuine one, on the
        path to the peer, is accepted."""
        await self.ground.linked(2)
        outer = [plan.underlay for plan in self.ground.plans]
        before = self.mtu(1, outer[0], outer[1])
        self.too_big(outer[0], outer[1])
        self.too_big(self.address(1), self.address(2))
        mailbox, place = self.mailbox(1)
        self.post(2, b"behind them", place)
        await mailbox.post.get()
        self.assertEqual(self.mtu(1, outer[0], outer[1]), before)
        self.assertEqual(self.mtu(1, self.address(1), self.address(2)), 552)
        self.assertEqual((await self.ground.metrics(1))[dropped("icmp_error")], 1)

    async def test_reassembly(self) -> None:
        """Thousands of incomplete datagrams leave enough memory to reassemble those of another
        node, and those from outside the mesh."""
        await self.ground.linked(3)
        with (
            self.ground.namespace(2),
            socket.socket(IPV4, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
        ):
            for number in range(FRAGMENTS):
                whole = ip_packet(self.address(2), self.address(1), bytes(1400))
                field = struct.pack("!HH", number, MORE)
                raw.sendto(whole[:4] + field + whole[8:], (self.address(1), 0))
        mailbox, place = self.mailbox(1)
        # The device's queue may be full of them, so that a datagram is lost on that side.
        again = LoopingCall(self.post, 2, b"behind them", place)
        again.start(0.2)
        await mailbox.post.get()
        again.stop()
        self.assertGreater((await self.ground.metrics(1))[dropped("fragments")], 0)
        large = bytes(5000)
        mailbox, place = self.mailbox(1)
        self.post(3, large, place)
        self.assertEqual(await mailbox.post.get(), large)
        outside = Mailbox()
        with self.ground.namespace(1):
            port = reactor.listenUDP(
                0, outside, interface=self.ground.plans[0].underlay, maxPacketSize=65536
            )
        self.addCleanup(port.stopListening)
        self.post(3, large, (self.ground.plans[0].underlay, port.getHost().port))
        self.assertEqual(await outside.post.get(), large)
