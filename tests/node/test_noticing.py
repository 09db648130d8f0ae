"""Peers that are gone while packets go out to them, in a mesh in memory."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dialing.segments import LIMITS
from tunmesh.link.suspicion import QUIET
from tunmesh.node.noticing import LOOK, Noticing
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.tls.binding import Channel, TcpMeasures

STUCK = TcpMeasures(unacknowledged=3, retries=4, heard_ago=5.0, segment=1448)
WELL = TcpMeasures(heard_ago=0.1, segment=1448)


def noticing(member: Member) -> Noticing:
    assert member.node is not None
    return member.node._links.noticing


class CutTests(SynchronousTestCase):
    """Silence while packets go out, and silence while none do."""

    def notices(self, mesh: Mesh, sender: Member, receiver: Member, within: float) -> float:
        """Send ten packets a second until the sender has given the receiver up: how long."""
        began = mesh.clock.seconds()
        while receiver.name in sender.linked_with:
            self.assertLess(mesh.clock.seconds(), began + within)
            mesh.send(sender, receiver)
            mesh.advance(0.1)
        return mesh.clock.seconds() - began

    def test_under_traffic(self) -> None:
        """A node that vanishes while packets go out to it is given up within 4 s, by the sender
        alone; and the log says why."""
        mesh, (a, b, c) = complete(*"abc")
        mesh.send(a, c)
        c.vanish()
        self.assertGreater(self.notices(mesh, a, c, within=4.0), 2.0)
        self.assertIn("two pings", a.logged("unlinked")[-1]["reason"])
        self.assertIn("c", b.linked_with)

    def test_one_direction(self) -> None:
        """So is one whose packets do not arrive any more, in one direction."""
        mesh, (a, b) = complete(*"ab")
        mesh.network.cut(b.host, a.host, both_ways=False)
        self.notices(mesh, a, b, within=4.0)

    def test_idle(self) -> None:
        """Where nothing is sent it takes 15 s, and not one ping more than ever."""
        mesh, (a, _b, c) = complete(*"abc")
        mesh.advance(20)
        pings = {peer.record.name: peer.pings for peer in a.status.peers}
        mesh.advance(60)
        after = {peer.record.name: peer.pings for peer in a.status.peers}
        self.assertLessEqual(max(after[name] - pings[name] for name in after), 9)
        c.vanish()
        mesh.advance(6)
        self.assertIn("c", a.linked_with)

    def test_answers_are_not_needed(self) -> None:
        """A peer that only receives is pinged now and then, and stays."""
        mesh, (a, b) = complete(*"ab")
        [before], began = a.status.peers, mesh.clock.seconds()
        for _ in range(300):
            mesh.send(a, b)
        [after], took = a.status.peers, mesh.clock.seconds() - began
        self.assertEqual((after.since, a.linked_with), (before.since, ["b"]))
        self.assertLess(after.pings - before.pings, took / QUIET + 2)


class KernelTests(SynchronousTestCase):
    """What the kernel knows of the connection."""

    def setUp(self) -> None:
        self.mesh, (self.b, self.a) = complete(*"ba")  # a has dialed b
        assert self.a.node is not None
        [self.link] = self.a.node.links

    def kernel_says(self, measures: TcpMeasures) -> None:
        channel = self.link.authentication.channel
        self.patch(channel, "measures", lambda transport: measures)

    def send_for(self, seconds: float) -> None:
        end = self.mesh.clock.seconds() + seconds
        while self.mesh.clock.seconds() < end:
            self.mesh.send(self.a, self.b)
            self.mesh.advance(0.1)

    def test_stopped(self) -> None:
        """A process that does not run, on a machine that acknowledges, is not given up for that;
        nor when the machine's buffer is full and it takes nothing more."""
        for measures in (
            TcpMeasures(unacknowledged=1, heard_ago=0.1),
            TcpMeasures(unacknowledged=0, heard_ago=10.0),  # the kernel does not tell of room
            TcpMeasures(unacknowledged=0, heard_ago=10.0, segment=1448, window=700),
        ):
            self.kernel_says(measures)
            self.mesh.network.cut(self.a.host, self.b.host)
            self.send_for(6.0)
            self.assertEqual(self.a.linked_with, ["b"])
            self.mesh.network.heal()
            self.mesh.advance(1)

    def test_single_packet(self) -> None:
        """A packet that is acknowledged, and answered by nobody, costs not even a ping."""
        [before] = self.a.status.peers
        self.kernel_says(TcpMeasures(heard_ago=0.5))
        self.mesh.send(self.a, self.b)
        self.mesh.advance(4.5)
        [after] = self.a.status.peers
        self.assertLessEqual(after.pings - before.pings, 1)  # of the keepalive

    def test_cut(self) -> None:
        """One whose machine acknowledges nothing is."""
        self.kernel_says(TcpMeasures(unacknowledged=1, heard_ago=60.0))
        self.mesh.network.cut(self.a.host, self.b.host)
        self.send_for(4.0)
        self.assertEqual(self.a.linked_with, [])

    def test_not_sent(self) -> None:
        """One whose machine has room is, although all is acknowledged: what is sent does not leave
        this machine, as without a route or by a firewall's decision."""
        measures = TcpMeasures(unacknowledged=0, heard_ago=60.0, segment=1448, window=65536)
        self.kernel_says(measures)
        self.mesh.network.cut(self.a.host, self.b.host)
        self.send_for(4.0)
        self.assertEqual(self.a.linked_with, [])

    def test_stuck(self) -> None:
        """A link that sends the same again and again is replaced, by one with smaller segments,
        which is remembered and said once."""
        self.kernel_says(STUCK)
        small = TcpMeasures(heard_ago=0.1, segment=LIMITS[0] - 12)
        self.patch(Channel, "measures", lambda channel, transport: small)
        self.send_for(3.0)
        assert self.a.node is not None
        [link] = [each for each in self.a.node.links if each.state.is_open]
        self.assertIsNot(link, self.link)
        self.assertEqual(self.a.linked_with, ["b"])
        self.assertEqual(self.a.logged("unlinked"), [])
        limits = self.a.node._links.connector.segments
        self.assertEqual(limits.of(link.node.host_port, self.mesh.clock.seconds()), LIMITS[0])
        [event] = self.a.logged("small_segments")
        self.assertEqual((event["peer"], event["size"]), ("b", LIMITS[0]))

    def test_accepted(self) -> None:
        """An accepted link that is stuck is replaced as well, but nothing is concluded about the
        URL that its node names: that may be another node's."""
        self.a, self.b = self.b, self.a
        assert self.a.node is not None
        [self.link] = self.a.node.links
        self.kernel_says(STUCK)
        dials = self.mesh.network.dials_by[self.a.host]
        self.send_for(3.0)
        self.assertGreater(self.mesh.network.dials_by[self.a.host], dials)
        limits = self.a.node._links.connector.segments
        self.assertIsNone(limits.of(self.link.node.host_port, self.mesh.clock.seconds()))
        self.assertEqual(self.a.linked_with, [self.b.name])

    def test_not_stuck_any_more(self) -> None:
        """One that makes progress again needs no limit, and is not dialed again."""
        self.kernel_says(STUCK)
        self.mesh.network.listeners.clear()
        self.send_for(2 * LOOK)
        self.kernel_says(WELL)
        self.send_for(2 * LOOK)
        assert self.a.node is not None
        limits = self.a.node._links.connector.segments
        target = self.link.node.host_port
        self.assertIsNone(limits.of(target, self.mesh.clock.seconds()))
        dials = self.mesh.network.dials
        self.send_for(30.0)
        self.assertEqual(self.mesh.network.dials, dials)
        self.assertEqual(self.a.linked_with, ["b"])

    def test_nobody_answers_the_dial(self) -> None:
        """If no other link comes up, a stuck one ends, so that the other end dials."""
        self.kernel_says(STUCK)
        self.mesh.network.listeners.clear()
        self.send_for(7.0)
        self.assertIn("no progress", self.a.logged("unlinked")[-1]["reason"])


class OwnAddressTests(SynchronousTestCase):
    """The addresses of the host change."""

    def test_local_address_is_gone(self) -> None:
        """A node whose address is gone dials its peers at once, and asks its links."""
        mesh, (a, b, c) = complete(*"abc")
        mesh.advance(20)
        old = a.host
        a.readdress(100)
        mesh.advance(0.5)
        noticing(a).addresses_changed([ip_address(a.host)], [ip_address(old)])
        mesh.advance(2.5)
        self.assertTrue(mesh.is_complete())
        self.assertTrue(mesh.send(a, c) and mesh.send(b, a))
        [event] = a.logged("host_addresses")
        self.assertEqual(event["links"], 2)

    def test_another_one(self) -> None:
        """If links leave from other addresses they are only asked whether they work; addresses of
        cables between containers are nobody's business."""
        mesh, (a, _) = complete(*"ab")
        mesh.advance(20)
        dials, [before] = mesh.network.dials, a.status.peers
        noticing(a).addresses_changed([ip_address("fe80::1")], [])
        mesh.advance(1)
        self.assertEqual(a.logged("host_addresses"), [])
        noticing(a).addresses_changed([ip_address("192.0.2.1")], [])
        mesh.advance(1)
        [after] = a.status.peers
        self.assertEqual(after.pings - before.pings, 1)
        mesh.advance(5)
        self.assertEqual((mesh.network.dials, a.linked_with), (dials, ["b"]))
