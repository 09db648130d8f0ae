"""UDP in memory does what UDP does, and nothing by itself."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial import unittest

from tests.udp.test_port import Inbox
from tunmesh.testing.datagrams import Datagrams, MemoryPort
from tunmesh.testing.network import Network
from tunmesh.udp.port import Sent

A, B = "192.0.2.1", "192.0.2.2"


class DatagramTests(unittest.SynchronousTestCase):
    """Two hosts with a port each."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.datagrams = Datagrams(self.network, random.Random(1))
        self.a, self.b = self.port(A), self.port(B)
        self.inbox = Inbox(self.b)

    def port(self, host: str) -> MemoryPort:
        port = self.datagrams.port(host, 4567, random.Random(host).randbytes)
        port.start()
        return port

    def send(self, count: int, size: int = 100) -> list[bytes]:
        """Send so many from A to B in one go, and wait until they are there."""
        sent = [self.inbox.datagram(size) for _ in range(count)]
        self.assertIs(self.a.send(b"".join(sent), size, (B, 4567)), Sent.DONE)
        self.clock.advance(1.0)
        return sent

    def came(self) -> list[bytes]:
        """The datagrams that came to B since the last time."""
        came, self.inbox.came = self.inbox.came, []
        return [data[at : at + size] for data, size, _ in came for at in range(0, len(data), size)]

    def test_faultless(self) -> None:
        """What is sent at once comes at once, in order; a short one may be the last."""
        data = self.inbox.datagram(100) * 3 + self.inbox.datagram(50)
        self.a.send(data, 100, (B, 4567))
        self.clock.advance(1.0)
        self.assertEqual(self.inbox.came, [(data, 100, (A, 4567))])
        self.assertEqual(self.inbox.turns, 1)

    def test_faults(self) -> None:
        """Some are lost, some come twice, some come late; the same with the same seed."""
        self.datagrams.loss = self.datagrams.duplicated = self.datagrams.late = 0.2
        sent = [each for _ in range(20) for each in self.send(20)]
        came = self.came()
        self.assertEqual(set(came) - set(sent), set())
        self.assertApproximates(len(set(came)) / len(sent), 0.8, 0.1)
        self.assertApproximates(len(came) / len(set(came)), 1.2, 0.1)
        self.assertNotEqual(came, sorted(came, key=sent.index))
        counts = dict(self.datagrams.counts)
        self.setUp()
        self.datagrams.loss = self.datagrams.duplicated = self.datagrams.late = 0.2
        for _ in range(20):
            self.send(20)
        self.assertEqual(counts, dict(self.datagrams.counts))

    def test_ways(self) -> None:
        """A block has one direction; a cut, a host without a port and a small MTU lose, too."""
        back = Inbox(self.a)
        for begin, end in (
            (lambda: self.datagrams.block(A, B), self.datagrams.unblock),
            (lambda: self.datagrams.block(), self.datagrams.unblock),
            (lambda: self.network.cut(A, B, both_ways=False), self.network.heal),
            (self.b.stop, lambda: None),
        ):
            begin()
            self.send(3)
            self.assertEqual(self.came(), [])
            self.b.send(back.datagram(100), 100, (A, 4567))
            end()
        self.clock.advance(1.0)
        self.assertEqual(back.total, 200)  # not the one when all was blocked, nor after the end

    def test_sizes(self) -> None:
        """What the device does not take is refused; what the path does not take vanishes."""
        self.datagrams.path_mtu = 1300
        self.assertIs(self.a.send(bytes(1473), 1473, (B, 4567)), Sent.TOO_BIG)
        self.assertEqual(self.a.largest((B, 4567)), 1472)
        self.send(3, 1273)
        self.assertEqual(self.came(), [])
        self.assertEqual(self.send(3, 1272), self.came())

    def test_rebinding(self) -> None:
        """After its NAT forgot it, a host has another port, and is not reached at the old one."""
        back = Inbox(self.a)
        self.send(1)
        self.datagrams.rebind(A)
        self.send(1)
        (_, _, before), (_, _, after) = self.inbox.came
        self.assertEqual((before[0], after[0]), (A, A))
        self.assertNotEqual(before, after)
        for place in (before, after):
            self.b.send(back.datagram(100), 100, place)
        self.clock.advance(1.0)
        self.assertEqual(back.total, 100)

    def test_moved(self) -> None:
        """A host that has another address sends from there, and is reached there."""
        self.datagrams.readdress(B, "192.0.2.9")
        self.send(1)
        self.assertEqual(self.came(), [])
        self.a.send(self.inbox.datagram(100), 100, ("192.0.2.9", 4567))
        self.clock.advance(1.0)
        self.assertEqual(len(self.came()), 1)

    def test_full(self) -> None:
        """A device that takes no more says so, and calls those who wait in turn."""
        self.a.allow(150)
        turns: list[str] = []

        def send(name: str) -> None:
            turns.append(name)
            if self.a.send(self.inbox.datagram(100), 100, (B, 4567)) is Sent.BLOCKED:
                self.a.call_when_writable(lambda: send(name))

        for name in "vwxy":
            send(name)
        self.assertIs(self.a.send(bytes(100), 100, (B, 4567)), Sent.BLOCKED)
        self.a.allow(100)
        self.a.allow(None)
        self.clock.advance(1.0)
        self.assertEqual("".join(turns), "vwxyxy")
        self.assertEqual(len(self.came()), 4)

    def test_strangers(self) -> None:
        """What is nobody's is counted."""
        self.a.send(bytes(300), 100, (B, 4567))
        self.clock.advance(1.0)
        self.assertEqual(self.b.strangers, 3)
