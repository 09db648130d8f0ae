"""Packets over UDP beside links: when, for how long, and what becomes of them on the way."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.status import PeerStatus, UdpCounts
from tunmesh.testing.mesh import Member, Mesh


class UdpMesh(Mesh):
    """A mesh whose nodes have UDP ports."""

    has_udp = True

    def pair(self, **settings: Any) -> tuple[Member, Member]:
        """Two linked nodes that have tried UDP."""
        a, b = self.add("a", **settings), self.add("b", **settings)
        self.until(self.is_complete)
        self.advance(0.5)
        return a, b


def peer(member: Member, name: str = "b") -> PeerStatus:
    return next(each for each in member.status.peers if each.record.name == name)


def transports(*members: Member) -> list[str]:
    """What packets to each peer of each member travel over."""
    return [each.transport for member in members for each in member.status.peers]


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
        self.assertEqual((event["peer"], event["transport"]), ("b", "udp"))

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
