"""Packets over UDP beside links: when, for how long, and what becomes of them on the way."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import ADDRESS, mallory
from tunmesh.link.keepalive import Timing
from tunmesh.status.peers import PeerStatus, UdpCounts
from tunmesh.testing.datagrams import MemoryPort
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.testing.network import Network
from tunmesh.testing.tun import frame
from tunmesh.wire.gossip import Gossip


class UdpMesh(Mesh):
    """A mesh whose nodes have UDP ports."""

    has_udp = True

    def pair(self, **settings: Any) -> tuple[Member, Member]:
        """Two linked nodes that have tried UDP."""
        a, b = self.add("a", start=False, **settings), self.add("b", start=False, **settings)
        for each in (a, b):
            each.debugs = True
            each.start()
        self.until(self.is_complete)
        self.advance(0.5)
        return a, b


def peer(member: Member, name: str = "b") -> PeerStatus:
    return next(each for each in member.status.peers if each.record.name == name)


def transports(*members: Member) -> list[str]:
    """What packets to each peer of each member travel over."""
    return [each.transport for member in members for each in member.status.peers]


def port_of(member: Member) -> MemoryPort:
    """The UDP port of a node."""
    port = member.node._parts.host.datagrams
    assert isinstance(port, MemoryPort)
    return port


class ChoiceTests(SynchronousTestCase):
    """Which way packets go."""

    def test_udp(self) -> None:
        """With `udp`, packets go over UDP as soon as it answers, in both directions."""
        mesh = UdpMesh(transport="udp")
        a, b = mesh.pair()
        self.assertEqual(transports(a, b), ["udp", "udp"])
        before = mesh.network.bytes_by[a.host]
        self.assertTrue(mesh.send(a, b, bytes(9000)))
        self.assertTrue(mesh.send(b, a, bytes(9000)))
        self.assertEqual(mesh.network.bytes_by[a.host], before)
        (event,) = a.logged("transport")
        self.assertEqual((event["peer"], event["log_level"]), ("b", LogLevel.debug))

    def test_near(self) -> None:
        """With `auto`, packets to a node that is near go over TCP, and UDP is ready."""
        mesh = UdpMesh()
        a, b = mesh.pair()
        self.assertEqual(transports(a, b), ["tcp", "tcp"])
        udp = peer(a).udp
        self.assertTrue(udp and udp.address and "TCP is faster" in udp.why, udp)
        self.assertEqual(a.logged("transport"), [])

    def test_far(self) -> None:
        """With `auto`, packets to a node that is far go over UDP."""
        mesh = UdpMesh()
        mesh.network.latency = 0.02
        a, b = mesh.pair()
        self.assertEqual(transports(a, b), ["udp", "udp"])
        self.assertTrue(mesh.send(a, b))

    def test_tcp(self) -> None:
        """With `tcp` at one end, no datagram leaves either of them."""
        mesh = UdpMesh(transport="udp")
        a = mesh.add("a")
        b = mesh.add("b", transport="tcp")
        mesh.until(mesh.is_complete)
        mesh.advance(16)
        self.assertTrue(mesh.send(a, b))
        self.assertEqual(transports(a, b), ["tcp", "tcp"])
        self.assertEqual(mesh.datagrams.counts["sent"], 0)
        self.assertIsNone(peer(b, "a").udp)
        self.assertEqual(b.status.udp, UdpCounts())
        (event,) = a.logged("no_udp")
        self.assertIn("does not offer UDP", event["reason"])


class OfferTests(SynchronousTestCase):
    """Offers of UDP by members, and to them."""

    def setUp(self) -> None:
        self.mesh = UdpMesh()
        self.a = self.mesh.add("a")

    def test_old_node(self) -> None:
        """A node that knows nothing of UDP is offered nothing, and exchanges packets over TCP."""
        old = mallory().dial(self.mesh, self.a)
        old.say(Gossip(1).encode(), b"D" + frame(ADDRESS, self.a.address))
        self.mesh.advance(1)
        self.assertEqual((old.count(b"O"), len(self.a.tun.written)), (0, 1))
        self.a.tun.inject(frame(self.a.address, ADDRESS))
        self.mesh.advance(1)
        self.assertEqual((old.count(b"D"), old.has_ended), (1, False))
        udp = peer(self.a, "mallory").udp
        self.assertTrue(udp and udp.why == "the peer does not offer UDP", udp)

    def test_one_offer(self) -> None:
        """One that does is offered UDP once; its own second offer ends the link."""
        member = mallory(udp=True).dial(self.mesh, self.a)
        member.say(Gossip(1).encode(), b"O\0\0\0\1")
        self.mesh.advance(1)
        self.assertEqual((member.count(b"O"), self.a.linked_with), (1, ["mallory"]))
        member.say(b"O\0\0\0\2")
        self.mesh.advance(1)
        self.assertEqual((member.has_ended, self.a.linked_with), (True, []))
        self.assertEqual(len(port_of(self.a)._readers._readers), 0)

    def test_unanswered_offer(self) -> None:
        """Whoever offers UDP and does not answer there is pinged a few times, less and less often,
        with few bytes: its URL may lead to somebody else."""
        member = mallory(udp=True).dial(self.mesh, self.a)
        member.say(Gossip(1).encode(), b"O\0\0\0\1")
        member.answers_pings = True
        self.mesh.advance(600)
        self.assertFalse(member.has_ended)
        self.assertLess(self.mesh.datagrams.counts["sent"], 40)


class LifeTests(SynchronousTestCase):
    """What becomes of UDP when links and nodes come and go."""

    def setUp(self) -> None:
        self.mesh = UdpMesh(transport="udp", session_max_age=20.0)
        self.a, self.b = self.mesh.pair()

    def readers(self, member: Member) -> int:
        """How many sessions its port has."""
        return len(port_of(member)._readers._readers)

    def test_renewal(self) -> None:
        """While links are renewed, packets go on over UDP: none is lost, none goes over TCP."""
        tcp = self.mesh.network.bytes_by[self.a.host]
        before = {each.host: len(each.tun.written) for each in (self.a, self.b)}
        since = peer(self.a).since
        for _ in range(6000):
            for one, other in ((self.a, self.b), (self.b, self.a)):
                one.tun.inject(frame(one.address, other.address, bytes(1500)))
            self.mesh.advance(0.01)
        for each in (self.a, self.b):
            self.assertEqual(len(each.tun.written) - before[each.host], 6000)
            self.assertEqual(transports(each), ["udp"])
            self.assertEqual(len(each.logged("transport")), 1)
        self.assertGreater(peer(self.a).since, since + 40)
        self.assertLess(self.mesh.network.bytes_by[self.a.host] - tcp, 50_000)
        self.assertEqual(peer(self.a).dropped, 0)
        self.mesh.until(lambda: self.readers(self.a) == 1, within=3)

    def test_part(self) -> None:
        """When a peer leaves, nothing of it is left over UDP, but for the counts."""
        counts = self.a.status.udp
        self.b.leave()
        self.mesh.until(lambda: not self.a.linked_with)
        self.assertEqual(self.readers(self.a), 0)
        self.assertGreaterEqual(self.a.status.udp.sent, counts.sent)
        sent = self.mesh.datagrams.counts["sent"]
        self.mesh.advance(60)
        self.assertEqual(self.mesh.datagrams.counts["sent"], sent)

    def test_lost(self) -> None:
        """The same when its link is lost, although UDP to it works still: what it sends then is
        received by nobody."""
        self.mesh.network.cut(self.a.host, self.b.host)
        self.mesh.datagrams.network = Network(self.mesh.clock)  # UDP is not cut
        self.mesh.until(lambda: not self.a.linked_with)
        self.assertEqual(self.readers(self.a), 0)
        self.assertFalse(self.mesh.send(self.b, self.a))

    def test_restart(self) -> None:
        """A node that was killed, and one whose machine was switched off, are spoken to over UDP
        when they are back."""
        for end in (self.b.crash, self.b.vanish):
            end()
            self.b.start()
            self.mesh.until(self.mesh.is_complete)
            self.mesh.advance(1)
            self.assertEqual(transports(self.a, self.b), ["udp", "udp"])
            self.assertTrue(self.mesh.send(self.a, self.b))
            self.assertTrue(self.mesh.send(self.b, self.a))
            self.assertLessEqual(self.readers(self.a), 2)

    def test_no_link_is_kept_alive(self) -> None:
        """Datagrams are no sign of life of a link: it is given up when nothing comes by it."""
        self.mesh.network.cut(self.a.host, self.b.host)
        self.mesh.datagrams.network = Network(self.mesh.clock)
        start = self.mesh.clock.seconds()
        while self.a.linked_with:
            self.mesh.send(self.b, self.a)
        self.assertLess(self.mesh.clock.seconds() - start, 20)

    def test_spoofed(self) -> None:
        """Sources are checked over UDP as over TCP."""
        carrier = self.b.node._parts.peers.linked(self.a.node.record.id).udp
        assert carrier is not None
        before = len(self.a.tun.written)
        carrier.send([frame("10.9.0.77", self.a.address), frame(self.b.address, "10.9.0.77")])
        carrier.send([frame(self.b.address, self.a.address)])
        self.mesh.advance(0.1)
        self.assertEqual(len(self.a.tun.written), before + 1)
        dropped = self.a.status.dropped
        self.assertEqual((dropped["spoofed_source"], dropped["misrouted"]), (1, 1))


class FaultTests(SynchronousTestCase):
    """UDP that stops working, and works again."""

    def setUp(self) -> None:
        patient = Timing(packet_expiration=5.0)
        self.mesh = UdpMesh(transport="udp", local=patient, mesh=patient)
        self.a, self.b = self.mesh.pair()

    def gap(self, size: int = 0) -> float:
        """Seconds until a packet from each end arrives at the other, while both keep sending."""
        start = self.mesh.clock.seconds()
        arrived: set[str] = set()
        while len(arrived) < 2 and self.mesh.clock.seconds() < start + 10:
            for one, other in ((self.a, self.b), (self.b, self.a)):
                before = len(other.tun.written)
                one.tun.inject(frame(one.address, other.address, bytes(size)))
                self.mesh.advance(0.01)
                if len(other.tun.written) > before:
                    arrived.add(one.name)
        return self.mesh.clock.seconds() - start

    def test_blocked(self) -> None:
        """UDP is blocked both ways, in one direction, and for large datagrams: packets arrive again
        in a second or so. When the fault is over, UDP is used again."""
        for one, other in (("", ""), (self.a.host, ""), (self.b.host, "")):
            self.mesh.datagrams.block(one, other)
            self.assertLess(self.gap(), 1.2)
            self.assertIn("tcp", transports(self.a, self.b))
            self.mesh.datagrams.unblock()
            self.mesh.until(lambda: transports(self.a, self.b) == ["udp", "udp"], within=20)
        self.mesh.datagrams.path_mtu = 1280
        self.assertLess(self.gap(5000), 1.2)
        self.assertEqual(transports(self.a, self.b), ["udp", "udp"])

    def test_flapping(self) -> None:
        """A path that fails again and again is used less and less often."""
        taken = 0
        for _ in range(120):
            self.mesh.datagrams.block()
            self.gap()
            self.mesh.datagrams.unblock()
            for _ in range(20):
                self.mesh.send(self.a, self.b)
        taken = len(self.a.logged("transport"))
        self.assertLess(taken, 20)

    def test_queue_goes_over_tcp(self) -> None:
        """What waits for the port when UDP fails arrives over TCP."""
        self.mesh.datagrams.block()
        port_of(self.a).allow(0)
        sent = [frame(self.a.address, self.b.address, bytes(4) + bytes((n,))) for n in range(100)]
        for each in sent:
            self.a.tun.inject(each)
        self.assertGreater(peer(self.a).queued_bytes, 0)
        self.mesh.until(lambda: transports(self.a) == ["tcp"])
        self.mesh.advance(0.1)
        arrived = [each for each in self.b.tun.written if each in sent]
        lost = self.a.status.dropped["udp_refused"]
        self.assertLess(lost, 5)
        self.assertEqual(arrived, sent[lost:])

    def test_rebound(self) -> None:
        """A NAT gives one of them another port, while it is sent to: UDP goes on."""
        self.mesh.advance(1)
        self.mesh.datagrams.rebind(self.b.host)
        self.assertLess(self.gap(), 0.5)
        self.assertEqual(transports(self.a, self.b), ["udp", "udp"])
        udp = peer(self.a).udp
        self.assertTrue(udp and udp.address.startswith(self.b.host) and ":4567" not in udp.address)
