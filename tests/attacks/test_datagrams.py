"""Attacks by datagrams, on two nodes whose packets go over UDP: by strangers, by somebody who sees
and sends whatever he likes on the way between them, and by a member that names somebody else's
address. After each one packets go as before."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from tests.node.test_transports import UdpMesh, peer, port_of, transports
from tunmesh.testing.datagrams import HEADERS, Datagrams
from tunmesh.testing.mesh import PORT
from tunmesh.testing.tun import frame
from tunmesh.udp.port import Place

ATTACKER = "198.51.100.1"
LARGEST = 1472


class Overheard(Datagrams):
    """UDP with somebody on the way, who hears all, and may keep some from arriving."""

    def __init__(self, mesh: UdpMesh) -> None:
        super().__init__(mesh.network, random.Random(1))
        self.heard: list[tuple[Place, Place, bytes]] = []
        self.kept: list[tuple[Place, Place, bytes]] = []
        self.keeps = ""  # what this host sends

    def carry(self, datagrams: Iterator[bytes], sender: Place, to: Place) -> None:
        several = list(datagrams)
        heard = [(sender, to, each) for each in several]
        self.heard += heard
        if sender[0] == self.keeps:
            self.kept += heard
        else:
            super().carry(iter(several), sender, to)

    def sent_to(self, host: str) -> int:
        """The bytes that were sent to a host, with their headers."""
        return sum(len(each) + HEADERS for _, to, each in self.heard if to[0] == host)


class DatagramAttacks(SynchronousTestCase):
    """`a` and `b` send each other packets over UDP."""

    def setUp(self) -> None:
        self.mesh = UdpMesh(transport="udp")
        self.air = self.mesh.datagrams = Overheard(self.mesh)
        self.a, self.b = self.mesh.pair()
        self.here, self.there = (self.a.host, PORT), (self.b.host, PORT)
        self.before = self.said()
        self.random = random.Random(2)

    def said(self) -> list[str]:
        """The events that `b` has logged, but for those that say that time has passed."""
        return [each["event"] for each in self.b.events if each["log_level"] != LogLevel.debug]

    def attack(self, datagrams: list[bytes], source: Place = (ATTACKER, 999)) -> None:
        """Send these to `b`, in one go, and wait until they have come."""
        Datagrams.carry(self.air, iter(datagrams), source, self.there)
        self.mesh.advance(0.01)

    def exchanged(self) -> list[bytes]:
        """The datagrams that brought a packet from `a` to `b`."""
        before = len(self.air.heard)
        self.assertTrue(self.mesh.send(self.a, self.b, b"x" * 100))
        return [each for source, _, each in self.air.heard[before:] if source == self.here]

    def tearDown(self) -> None:
        """Packets go over UDP to where they went before; nobody logged anything about it."""
        self.assertTrue(self.mesh.send(self.a, self.b))
        self.assertTrue(self.mesh.send(self.b, self.a))
        self.assertEqual(transports(self.a, self.b), ["udp", "udp"])
        udp = peer(self.b, "a").udp
        assert udp is not None
        self.assertEqual(udp.address, f"{self.a.host}:{PORT}")
        self.assertEqual(self.said(), self.before)

    def counts(self) -> tuple[int, int]:
        """What `b` counted of `a`: replayed, and not decryptable."""
        udp = peer(self.b, "a").udp
        assert udp is not None
        return udp.counts.replayed, udp.counts.undecryptable

    def test_junk(self) -> None:
        """Junk from thousands of addresses is counted; nothing is answered, kept or logged."""
        port, before = port_of(self.b), port_of(self.b).strangers
        for number in range(3000):
            size = self.random.choice((1, 27, 28, 100, LARGEST))
            source = f"198.51.{number >> 8}.{number & 255}"
            self.attack([self.random.randbytes(size)] * 3, (source, number))
        self.assertEqual(port.strangers, before + 9000)
        self.assertEqual(self.counts(), (0, 0))
        self.assertEqual({to[0] for _, to, _ in self.air.heard}, {self.a.host, self.b.host})

    def test_junk_for_a_peer(self) -> None:
        """Whoever knows the index of a session can have `b` try to decrypt junk, and no more, from
        his own address and from that of `a`."""
        known = self.exchanged()[0]
        junk = [known[:12] + self.random.randbytes(len(known) - 12) for _ in range(300)]
        fresh = [known[:4] + self.random.randbytes(len(known) - 4) for _ in range(300)]
        heard = len(self.air.heard)
        for source in ((ATTACKER, 999), self.here):
            self.attack(junk + fresh, source)
        replayed, undecryptable = self.counts()
        self.assertEqual(replayed + undecryptable, 1200)
        self.assertGreaterEqual(replayed, 600)  # of old counters, which cost no decryption
        self.assertEqual(self.air.sent_to(ATTACKER), 0)
        self.assertEqual(len(self.air.heard), heard)

    def test_replays(self) -> None:
        """All that `a` ever sent, again and again: no packet comes twice, no ping is answered, and
        nothing is sent to where the replays came from."""
        for _ in range(20):
            self.exchanged()
        old = [each for source, _, each in self.air.heard if source == self.here]
        written = len(self.b.tun.written)
        for _ in range(5):
            for each in old:
                self.attack([each])
            self.attack(old, self.here)
        self.assertEqual(len(self.b.tun.written), written)
        self.assertEqual(self.counts(), (10 * len(old), 0))
        self.assertEqual(self.air.sent_to(ATTACKER), 0)

    def test_reflected(self) -> None:
        """What `b` itself has sent comes back to it: it is nobody's."""
        self.assertTrue(self.mesh.send(self.b, self.a))
        own = [each for source, _, each in self.air.heard if source == self.there]
        before = port_of(self.b).strangers
        self.attack(own)
        self.attack(own, self.here)
        self.assertEqual(port_of(self.b).strangers, before + 2 * len(own))

    def test_taken_to_another_address(self) -> None:
        """Somebody on the way lets datagrams arrive from his own address, first and only there.
        They are authentic, so he is asked whether he is `a`, with few bytes; since he does not
        answer, nothing else is ever sent to him (RFC 9000, section 9.3)."""
        self.air.keeps = self.a.host
        for _ in range(3):
            self.a.tun.inject(frame(self.a.address, self.b.address, b"kept"))
            self.mesh.advance(0.02)
        self.air.keeps = ""
        self.attack([each for _, _, each in self.air.kept])
        written = self.b.tun.written.count(frame(self.a.address, self.b.address, b"kept"))
        self.assertEqual(written, 3)  # he delivered them
        for _ in range(100):
            self.assertTrue(self.mesh.send(self.b, self.a, bytes(1000)))
        self.assertLess(self.air.sent_to(ATTACKER), 20_000)

    def test_delayed(self) -> None:
        """The same, but he lets them through and repeats them later: they are replays by then."""
        for each in self.exchanged():
            self.attack([each])
        self.assertEqual(self.air.sent_to(ATTACKER), 0)


class VictimTests(SynchronousTestCase):
    """A member says that it takes datagrams where somebody else is."""

    def test_named_by_a_member(self) -> None:
        """Whoever is named gets a few pings, less and less often, and never anything else; whether
        packets are sent to the member makes no difference."""
        victim = "203.0.113.53"
        mesh = UdpMesh(transport="udp")
        air = mesh.datagrams = Overheard(mesh)
        honest = mesh.add("honest")
        liar = mesh.add("liar", start=False)
        liar.hidden_at = f"https://{victim}:53"
        liar.start()
        air.block(liar.host)  # nor does it answer where it is
        mesh.until(mesh.is_complete)
        by_minute: Counter[int] = Counter()
        begin = mesh.clock.seconds()
        for _ in range(600):
            before = air.sent_to(victim)
            self.assertTrue(mesh.send(honest, liar, bytes(1400)))
            mesh.advance(0.9)
            by_minute[int(mesh.clock.seconds() - begin) // 60] += air.sent_to(victim) - before
        self.assertGreater(by_minute[0], 0)
        self.assertLess(by_minute[0], 1000)  # bytes
        for minute in range(1, 10):
            self.assertLess(by_minute[minute], 200)

    def test_what_is_not_dialed(self) -> None:
        """What a member names gets no ping if it would not be dialed: loopback, link-local and
        multicast addresses, and all that `dial_allow` does not have."""
        for victim, allowed, is_pinged in (
            ("127.0.0.1", None, False),
            ("169.254.169.254", None, False),
            ("224.0.0.251", None, False),
            ("203.0.113.53", None, True),
            ("203.0.113.53", (ip_network("203.0.113.0/26"),), True),
            ("203.0.113.53", (ip_network("192.0.2.0/24"),), False),
        ):
            mesh = UdpMesh(transport="udp", dial_allow=allowed)
            air = mesh.datagrams = Overheard(mesh)
            liar = mesh.add("liar", start=False)
            liar.hidden_at = f"https://{victim}:53"
            mesh.add("honest")
            liar.start()
            mesh.until(mesh.is_complete)
            mesh.advance(20)
            self.assertEqual(air.sent_to(victim) > 0, is_pinged, (victim, allowed))
