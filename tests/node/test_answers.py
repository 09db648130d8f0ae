"""Answers to packets that a node does not carry, in whole meshes in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.dataplane.test_answers import HOST_UNREACHABLE, datagram
from tests.support.meshes import complete
from tunmesh.dataplane import answers
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.status.peers import PeerStatus
from tunmesh.testing.mesh import PORT, Member, Mesh


def answered(member: Member, *frames: bytes) -> list[tuple[int, int]]:
    """Type and code of the ICMP errors that these packets of its machine are answered with."""
    member.tun.written.clear()
    member.tun.inject(*frames)
    return [(each[30], each[31]) for each in member.tun.written if each[19] == 1]


class UnreachableTests(SynchronousTestCase):
    """Packets to a node that is not there."""

    def test_while_it_starts(self) -> None:
        """As long as a node has no link, and for a second afterwards, its applications' packets
        are dropped silently."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b", start=False)
        c = mesh.add("c", start=False)
        mesh.advance(30)
        b.start()
        packet = datagram(b.address, c.address)
        self.assertEqual(answered(b, packet), [])
        mesh.until(lambda: b.linked_with == ["a"])
        mesh.advance(answers.SETTLING / 2)
        self.assertEqual(answered(b, packet), [])
        self.assertFalse(b.status.answers.is_answering)
        mesh.advance(answers.SETTLING / 2)
        self.assertEqual(answered(b, packet), [HOST_UNREACHABLE])
        self.assertEqual(answered(a, datagram(a.address, c.address)), [HOST_UNREACHABLE])
        self.assertEqual(b.status.answers.unreachable, 1)
        self.assertEqual(b.status.dropped["no_route"], 3)

    def test_gone(self) -> None:
        """A node that leaves or whose link is lost is unreachable at once; when it is back it is
        reachable. It is the same for the last one that there was."""
        mesh, (a, b) = complete("a", "b")
        mesh.advance(answers.SETTLING)
        packet = datagram(a.address, b.address)
        self.assertEqual(answered(a, packet), [])
        b.leave()
        mesh.until(lambda: not a.linked_with)
        self.assertEqual(answered(a, packet), [HOST_UNREACHABLE])
        mesh.advance(100)
        self.assertEqual(answered(a, packet), [HOST_UNREACHABLE])
        b.start()
        mesh.until(mesh.is_complete)
        self.assertEqual(answered(a, packet), [])


class LimitTests(SynchronousTestCase):
    """What a peer does not take."""

    def large(self, sender: Member, receiver: Member, size: int) -> bytes:
        return datagram(sender.address, receiver.address, size - 28)

    def test_mtu(self) -> None:
        """A peer whose tun has a smaller MTU gets nothing larger, from the moment that it says so
        until it says otherwise; a peer with a larger one gets everything."""
        mesh, (a, b, c) = complete("a", "b", "c")
        for member, mtu in ((a, 9000), (b, 1400)):
            member.node._parts.me.use_mtu(mtu)
        mesh.advance(1)
        self.assertEqual(answered(a, self.large(a, b, 1400), self.large(a, c, 1500)), [])
        self.assertEqual(answered(a, self.large(a, b, 1401), self.large(a, c, 1501)), [(3, 4)] * 2)
        self.assertEqual(answered(b, self.large(b, a, 1400), self.large(b, c, 1400)), [])
        self.assertEqual(a.status.dropped["too_big"], 2)
        self.assertEqual(a.status.answers.too_big, 2)
        self.assertEqual([peer.record.mtu for peer in sorted_peers(a)], [1400, 1500])
        b.node._parts.me.use_mtu(9000)
        mesh.advance(1)
        self.assertEqual(answered(a, self.large(a, b, 9000)), [])
        a.node._parts.me.use_mtu(1500)
        mesh.advance(1)
        self.assertTrue(all(peer.limits is None for peer in a.node._parts.peers))

    def test_refused(self) -> None:
        """A peer that routes this node's address to another node does not get packets from it:
        they are answered. When it routes it here again, it gets them."""
        mesh, (a, b) = complete("a", "b")
        c = mesh.add("c", start=False, groups=(GroupSettings("b", ((b.host, PORT),)),))
        c.addresses = a.addresses
        mesh.network.cut(a.host, c.host)
        c.start()
        mesh.until(lambda: c.linked_with == ["b"])
        mesh.advance(answers.SETTLING)
        self.assertTrue(mesh.send(a, b))
        packet = datagram(c.address, b.address)
        self.assertEqual(answered(c, packet), [HOST_UNREACHABLE])
        self.assertEqual(c.status.dropped["refused"], 1)
        self.assertEqual(b.status.dropped["spoofed_source"], 0)
        a.leave()
        mesh.until(lambda: not c.status.peers[0].refuses)
        self.assertEqual(answered(c, packet), [])


def sorted_peers(member: Member) -> list[PeerStatus]:
    return sorted(member.status.peers, key=lambda peer: peer.record.name)
