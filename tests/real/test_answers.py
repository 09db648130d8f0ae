"""Packets that are not carried, on real tun devices: what applications are told."""

from __future__ import annotations

import errno
import os
import re

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

from tests.real.test_mesh import IPV4, IPV6, MUST_FAIL_PATIENCE, MeshCase, dropped
from tests.real.test_names import need
from tests.support.realnode import RealNode, reactor

AT_ONCE = 0.9  # seconds: a kernel that is told nothing tries again after one
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
    async def connect(self, number: int, address: str, timeout: float = 30) -> tuple[str, float]:
        """Connect from that node's machine; the name of the error, and after how many seconds."""
        attempt, start = Attempt(), reactor.seconds()
        with self.ground.namespace(number):
            reactor.connectTCP(address, 9, attempt, timeout=timeout)
        code = await attempt.error
        name: str = errno.errorcode.get(code or 0, "no answer")
        return name, float(reactor.seconds() - start)

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
        """A connection to an address that no node has, or whose node is gone, fails at once."""
        _, second = await self.settled()
        for address in ("10.77.0.200", "fd77::200"):
            error, seconds = await self.connect(1, address)
            self.assertEqual(error, "EHOSTUNREACH")
            self.assertLess(seconds, AT_ONCE)
        error, _ = await self.connect(1, self.address(2))
        self.assertEqual(error, "ECONNREFUSED")
        second.signal("KILL")
        await second.ended
        while (await self.ground.status(1))["peers"]:
            pass
        for family in (IPV4, IPV6):
            error, seconds = await self.connect(1, self.address(2, family))
            self.assertEqual(error, "EHOSTUNREACH")
            self.assertLess(seconds, AT_ONCE)
        metrics = await self.ground.metrics(1)
        self.assertEqual(metrics[UNREACHABLE], 4)
        self.assertGreaterEqual(metrics[dropped("no_route")], 4)

    async def test_outside(self) -> None:
        """What others route into the tun is answered, too."""
        await self.settled()
        await self.run_beside(1, "ip", "route", "add", "198.51.100.0/24", "dev", "tun1")
        error, seconds = await self.connect(1, "198.51.100.7")
        self.assertEqual(error, "EHOSTUNREACH")
        self.assertLess(seconds, AT_ONCE)
        self.assertEqual((await self.ground.metrics(1))[dropped("outside_network")], 1)

    async def test_while_it_starts(self) -> None:
        """A node that is not in its mesh yet answers nothing, so that a connection of that time
        is made by a later SYN."""
        second = self.ground.start(2)
        await second.logged("listening")
        attempt = Attempt()
        with self.ground.namespace(2):
            reactor.connectTCP(self.address(1), 9, attempt, timeout=30)
        error, _ = await self.connect(2, self.address(1, IPV6), timeout=MUST_FAIL_PATIENCE)
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
            text = await self.run_beside(1, program, "-c1", "-W5", address)
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
