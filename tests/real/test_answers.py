"""Packets that are not carried, on real tun devices: what applications are told."""

from __future__ import annotations

import errno
import os
import re
import socket

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

from tests.real.test_mesh import IPV4, IPV6, MEGABYTE, MUST_FAIL_PATIENCE, MeshCase, dropped
from tests.real.test_names import need
from tests.support.realnode import RealNode, reactor

# Of include/uapi/linux/in.h and in6.h.
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU = 10, 14, 23, 24
PMTUDISC_DONT, PMTUDISC_WANT = 0, 1
LONG = 100.0  # seconds: by then a kernel that is told nothing has tried six times
UNREACHABLE = 'tunmesh_icmp_answers_total{kind="unreachable"}'
TOO_BIG = 'tunmesh_icmp_answers_total{kind="too_big"}'


class Attempt(ClientFactory):
    """A connection that should fail. `error` fires with the number of the error."""

    protocol = Protocol

    def __init__(self) -> None:
        self.error: Deferred[int | None] = Deferred()

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        assert isinstance(reason.value, ConnectError), reason
        self.error.callback(reason.value.osError)


class AnswersCase(MeshCase):
    async def connect(self, number: int, address: str, timeout: float = LONG) -> str:
        """Connect from that node's machine; the name of the error that the kernel was told."""
        attempt = Attempt()
        with self.ground.namespace(number):
            reactor.connectTCP(address, 9, attempt, timeout=timeout)
        code = await attempt.error
        return errno.errorcode.get(code or 0, "no answer")

    async def run_beside(self, number: int, *command: str) -> str:
        """The output of a program in a node's namespace."""
        need(command[0])
        with self.ground.namespace(number):
            running = getProcessOutputAndValue("/usr/bin/env", command, os.environ, reactor=reactor)
        out, err, _ = await running
        text: str = (out + err).decode()
        return text

    async def settled(self) -> list[RealNode]:
        """Two nodes that answer."""
        nodes = await self.ground.linked(2)
        await self.answering(1)
        await self.answering(2)
        return nodes

    async def answering(self, number: int) -> None:
        while not (await self.ground.status(number))["icmp_answers"]["is_answering"]:
            pass


class UnreachableTests(AnswersCase):
    """Addresses that lead nowhere."""

    async def test_connect(self) -> None:
        """A connection to an address that no node has, or whose node is gone, fails: every SYN is
        answered."""
        _, second = await self.settled()
        for address in ("10.77.0.200", "fd77::200"):
            self.assertEqual(await self.connect(1, address), "EHOSTUNREACH")
        self.assertEqual(await self.connect(1, self.address(2)), "ECONNREFUSED")
        second.signal("KILL")
        await second.ended
        while (await self.ground.status(1))["peers"]:
            pass
        for family in (IPV4, IPV6):
            self.assertEqual(await self.connect(1, self.address(2, family)), "EHOSTUNREACH")
        metrics = await self.ground.metrics(1)
        self.assertEqual(metrics[UNREACHABLE], metrics[dropped("no_route")])
        self.assertGreaterEqual(metrics[UNREACHABLE], 4)  # more if a SYN was sent again meanwhile

    async def test_outside(self) -> None:
        """What others route into the tun is answered, too."""
        await self.settled()
        await self.run_beside(1, "ip", "route", "add", "198.51.100.0/24", "dev", "tun1")
        self.assertEqual(await self.connect(1, "198.51.100.7"), "EHOSTUNREACH")
        metrics = await self.ground.metrics(1)
        self.assertEqual(metrics[UNREACHABLE], metrics[dropped("outside_network")])

    async def test_while_it_starts(self) -> None:
        """A node that is not in its mesh yet answers nothing, so that a connection of that time
        is made by a later SYN."""
        second = self.ground.start(2)
        await second.logged("listening")
        attempt = Attempt()
        with self.ground.namespace(2):
            reactor.connectTCP(self.address(1), 9, attempt, timeout=LONG)
        error = await self.connect(2, self.address(1, IPV6), timeout=MUST_FAIL_PATIENCE)
        self.assertEqual(error, "no answer")
        first = self.ground.start(1)
        await first.logged("linked", peer="node2")
        self.assertEqual(errno.errorcode[await attempt.error or 0], "ECONNREFUSED")
        self.assertEqual((await self.ground.metrics(2))[UNREACHABLE], 0)

    async def test_programs(self) -> None:
        """ping, traceroute and tracepath say at once that there is nobody, and show a node as the
        only hop to itself."""
        await self.settled()
        for program, address in (("ping", "10.77.0.200"), ("ping", "fd77::200")):
            text = await self.run_beside(1, program, "-c1", "-W60", address)
            self.assertRegex(text, r"Host Unreachable|Address unreachable")
        for kind in ("-I", "-U", "-T"):
            text = await self.run_beside(1, "traceroute", "-n", kind, "-q1", self.address(2))
            hops = text.splitlines()[1:]
            self.assertRegex(hops[0], rf"^ *1 +{re.escape(self.address(2))} ")
            self.assertEqual(len(hops), 1, text)
            text = await self.run_beside(1, "traceroute", "-n", kind, "-q1", "10.77.0.200")
            self.assertRegex(text, r" 1 +10\.77\.0\.200 .*!H")
        for address in (self.address(2), self.address(2, IPV6)):
            text = await self.run_beside(1, "tracepath", "-n", address)
            self.assertRegex(text, rf"1: +{address} .*reached")
            self.assertIn("pmtu 1500", text)
        text = await self.run_beside(1, "tracepath", "-n", "10.77.0.200")
        self.assertIn("!H", text)


class MtuTests(AnswersCase):
    """Nodes whose tuns have different MTUs: 9,000 and 1,400 bytes."""

    LARGE, SMALL = 9000, 1400

    async def settled(self) -> list[RealNode]:
        for number, mtu in ((1, self.LARGE), (2, self.SMALL)):
            self.ground.change(number, networking__mtu=mtu)
        return await super().settled()

    def socket(self, discover: int, family: socket.AddressFamily = IPV4) -> socket.socket:
        """A UDP socket at node 1, with this setting of path MTU discovery."""
        with self.ground.namespace(1):
            sender = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(sender.close)
        protocol, option = (
            (socket.IPPROTO_IP, IP_MTU_DISCOVER)
            if family == IPV4
            else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        )
        sender.setsockopt(protocol, option, discover)
        return sender

    async def test_too_big(self) -> None:
        """A datagram that is too large for the other tun is answered with its MTU, which the kernel
        remembers; the next one arrives in fragments."""
        await self.settled()
        for family, option in ((IPV4, IP_MTU), (IPV6, IPV6_MTU)):
            mailbox, place = self.mailbox(2, family)
            sender = self.socket(PMTUDISC_WANT, family)
            protocol = socket.IPPROTO_IP if family == IPV4 else socket.IPPROTO_IPV6
            sender.connect(place)
            self.assertEqual(sender.getsockopt(protocol, option), self.LARGE)
            sender.send(bytes(5000))
            while sender.getsockopt(protocol, option) != self.SMALL:
                await self.ground.status(1)
            # A connected socket is told by one call; nobody else is.
            self.assertIn(
                sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), (0, errno.EMSGSIZE)
            )
            sender.send(b"x" * 5000)
            self.assertEqual(await mailbox.post.get(), b"x" * 5000)
        metrics = await self.ground.metrics(1)
        self.assertEqual((metrics[TOO_BIG], metrics[dropped("too_big")]), (2, 2))

    async def test_may_be_fragmented(self) -> None:
        """A datagram that routers may fragment arrives at once, whole: the other kernel takes what
        is larger than it would send."""
        await self.settled()
        mailbox, place = self.mailbox(2)
        self.socket(PMTUDISC_DONT).sendto(bytes(8000), place)
        self.assertEqual(await mailbox.post.get(), bytes(8000))
        self.assertEqual((await self.ground.metrics(1))[TOO_BIG], 0)

    async def test_streams(self) -> None:
        """TCP transfers in both directions are intact, and tracepath finds the smaller MTU."""
        await self.settled()
        content = os.urandom(4 * MEGABYTE)
        for family in (IPV4, IPV6):
            for sender, receiver in ((1, 2), (2, 1)):
                await self.upload(sender, receiver, content, family)
            text = await self.run_beside(1, "tracepath", "-n", self.address(2, family))
            self.assertIn(f"pmtu {self.SMALL}", text)
