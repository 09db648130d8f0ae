"""Packets through whole meshes in memory: answers, slow peers, broadcasts, devices."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dataplane.drops import DropReason
from tunmesh.link.fair_queue import MAX_BYTES
from tunmesh.observe.problems import problems
from tunmesh.observe.samples import History
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.testing.network import LATENCY
from tunmesh.testing.tun import frame


class PromptnessTests(SynchronousTestCase):
    """What the host answers at once is sent at once."""

    def test_answer(self) -> None:
        """An answer that the kernel has ready when it is given a packet leaves at once. If the
        packet is dropped, the tun is not read for one."""
        mesh, (a, b) = complete("a", "b")
        answer = frame(b.address, a.address, b"pong")
        for request, goes in (
            (frame("10.9.9.9", b.address, b"a spoofed ping"), False),
            (frame(a.address, b.address, b"ping"), True),
        ):
            b.tun.answers = [answer]
            a.tun.inject(request)
            mesh.advance(1.5 * LATENCY)
            self.assertEqual(b.tun.answers == [], goes)
            mesh.advance(LATENCY)
            self.assertEqual(answer in a.tun.written, goes)


class BackpressureTests(SynchronousTestCase):
    """A slow peer does not affect others."""

    def test_stuck_peer(self) -> None:
        """Packets to a peer that accepts no more are dropped and counted; others get theirs."""
        mesh, (a, b, c) = complete(*"abc")
        mesh.network.cut(a.host, b.host)
        bulk = [frame(a.address, b.address, bytes(60_000)) for _ in range(50)]
        a.tun.inject(*bulk)
        a.tun.inject(*bulk)
        self.assertLessEqual(sum(peer.queued_bytes for peer in a.status.peers), MAX_BYTES)
        self.assertGreater(a.status.dropped["queue_full"], 0)
        self.assertTrue(mesh.send(a, c))
        mesh.advance(1)
        mesh.network.heal()
        mesh.advance(1)
        self.assertGreater(a.status.dropped["expired"], 0)
        self.assertTrue(mesh.send(a, b))

    def test_tun_that_takes_no_more(self) -> None:
        """Packets that the tun refuses are dropped and counted by reason; the link stays up."""
        mesh, (a, b) = complete("a", "b")
        b.tun.refuses = DropReason.TUN_FULL
        self.assertFalse(mesh.send(a, b))
        self.assertEqual(b.status.dropped["tun_full"], 1)
        b.tun.refuses = None
        self.assertTrue(mesh.send(a, b))

    def test_conservation(self) -> None:
        """Every packet that arrives is counted once, as received or as dropped with a reason, and
        the totals of the tun, the links, the peers and the names are equal."""
        mesh, (a, b, c) = complete("a", "b", "c")
        reasons = {0: DropReason.TUN_FULL, 1: DropReason.TUN_REFUSED}
        b.tun.refuses = lambda each: reasons.get(each[-1] % 4)
        for number in range(100):
            for sender in (a, c):
                source = sender.address if number % 10 else "10.77.9.9"  # one that b drops
                sender.tun.inject(frame(source, b.address, bytes(number) + bytes((number,))))
        mesh.advance(1)
        now = b.status
        sent = sum(each.traffic.tx_packets for each in (*a.status.peers, *c.status.peers))
        self.assertEqual(sent, 200)
        self.assertEqual(now.link.rx_packets + sum(now.dropped.values()), sent)
        self.assertEqual(now.dropped["spoofed_source"], 20)
        self.assertEqual(now.dropped["tun_full"] + now.dropped["tun_refused"], 90)
        for count in ("rx_packets", "rx_bytes"):
            totals = {
                getattr(now.tun, count),
                getattr(now.link, count),
                sum(getattr(peer.traffic, count) for peer in now.peers),
                sum(getattr(node.traffic, count) for node in now.nodes.values()),
            }
            self.assertEqual(len(totals), 1, totals)
        self.assertEqual(len(b.tun.written), now.tun.rx_packets)
        for member in (a, c):
            self.assertEqual(member.status.tun.tx_packets, member.status.link.tx_packets)
            self.assertEqual(member.status.tun.tx_bytes, member.status.link.tx_bytes)
        self.assertIn("tun_full", [drop.reason for drop in b.node.drops])

    def test_deleted_tun(self) -> None:
        """A node whose tun is deleted is neither live nor ready."""
        _mesh, (_a, b) = complete("a", "b")
        b.tun.delete()
        self.assertFalse(b.status.is_live)
        self.assertFalse(b.status.is_ready)


class DeviceTests(SynchronousTestCase):
    """What others do to the tun of a node."""

    def test_damaged_and_mended(self) -> None:
        """A node whose device lacks something is not ready, logs it once, and goes on; when that is
        restored it is ready again."""
        mesh, (a, b) = complete("a", "b")
        b.watch.complain("the route is gone", "the address is gone")
        self.assertTrue(b.status.is_live)
        self.assertFalse(b.status.is_ready)
        self.assertEqual(b.status.device.complaints, ("the route is gone", "the address is gone"))
        (problem,) = problems(b.status, History(), 0.0)
        self.assertEqual(problem, "the route is gone; the address is gone")
        (event,) = b.logged("device_changed")
        self.assertIn("not as it was set up: the route is gone; the", str(formatEvent(event)))
        self.assertTrue(mesh.send(a, b, b"goes on"))
        b.watch.complain()
        self.assertTrue(b.status.is_ready)
        self.assertEqual(len(b.logged("device_whole")), 1)

    def test_explained(self) -> None:
        """If the kernel sends a packet of this host elsewhere, its way ends there. Packets that
        arrive are not affected."""
        _mesh, (a, b) = complete("a", "b")
        ends = [ip_address(member.address) for member in (a, b)]
        for interface, carried in ((None, True), (a.tun.name, True), ("eth0", False)):
            a.watch.interface = interface
            steps = a.node.explainer().explain(*ends)
            self.assertEqual(all(step.ok for step in steps), carried)
        text = "the kernel sends it to eth0 (routing table 52); it does not come to tun1"
        self.assertEqual(steps[-1].text, text)
        self.assertTrue(all(step.ok for step in a.node.explainer().explain(*reversed(ends))))


class BroadcastTests(SynchronousTestCase):
    """One packet for many nodes, where the config allows it."""

    def heard(self, mesh: Mesh, sender: Member, destination: str) -> list[str]:
        """The names of the nodes whose tun gets a packet to this destination."""
        packet = frame(sender.address, destination, b"to whom it may concern")
        sender.tun.inject(packet)
        mesh.advance(0.1)
        return [member.name for member in mesh.members if packet in member.tun.written]

    def subnets(self, enable: bool) -> tuple[Mesh, list[Member]]:
        """a and b in one local subnet of the mesh, c in another one."""
        mesh = Mesh(enable_broadcast=enable)
        members = [mesh.add(name, start=False) for name in "abc"]
        for member, text in zip(members, ("10.9.1.1", "10.9.1.2", "10.9.2.1"), strict=True):
            member.addresses = (text, member.addresses[1])
            member.prefixes = (24, 64)
            member.start()
        mesh.until(mesh.is_complete)
        return mesh, members

    def test_local_subnet(self) -> None:
        """255.255.255.255 and the local subnet's broadcast address reach the local subnet."""
        mesh, (a, _b, c) = self.subnets(enable=True)
        self.assertEqual(self.heard(mesh, a, "255.255.255.255"), ["b"])
        self.assertEqual(self.heard(mesh, a, "10.9.1.255"), ["b"])
        self.assertEqual(self.heard(mesh, c, "255.255.255.255"), [])
        self.assertEqual(self.heard(mesh, c, "10.9.1.255"), [])

    def test_mesh(self) -> None:
        """The mesh's broadcast address reaches every node."""
        mesh, (a, _b, c) = self.subnets(enable=True)
        self.assertEqual(self.heard(mesh, a, "10.9.255.255"), ["b", "c"])
        self.assertEqual(self.heard(mesh, c, "10.9.255.255"), ["a", "b"])

    def test_off_by_default(self) -> None:
        """Unless the config allows them broadcasts are dropped and counted, sent or received."""
        mesh, (a, _b, _c) = self.subnets(enable=False)
        for destination in ("255.255.255.255", "10.9.255.255"):
            self.assertEqual(self.heard(mesh, a, destination), [])
        self.assertEqual(a.status.dropped["broadcast"], 2)

    def test_receiver_does_not_allow_it(self) -> None:
        """A node without broadcast does not accept those of others either."""
        mesh = Mesh()
        a, b = mesh.add("a", enable_broadcast=True), mesh.add("b")
        mesh.until(mesh.is_complete)
        self.assertEqual(self.heard(mesh, a, "10.9.255.255"), [])
        self.assertEqual(b.status.dropped["misrouted"], 1)

    def test_nobody_owns_a_broadcast_address(self) -> None:
        """A node that claims the mesh's broadcast address does not get it."""
        mesh = Mesh(enable_broadcast=True)
        a, b = mesh.add("a"), mesh.add("b", start=False)
        b.addresses = ("10.9.255.255", b.addresses[1])
        b.start()
        mesh.until(lambda: b.linked_with == ["a"])
        mesh.advance(1)
        self.assertFalse(b.status.is_ready)
        self.assertNotIn(b"\x0a\x09\xff\xff", a.node._parts.table.routes)
