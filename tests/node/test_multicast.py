"""Multicast through whole meshes in memory: who gets what, and what is never passed on."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.addresses import link_local
from tunmesh.multicast.own import INTERVAL, MOST, ROBUSTNESS
from tunmesh.observe import status_json
from tunmesh.observe.samples import History
from tunmesh.packets.group_records import Kind
from tunmesh.testing.group_reports import igmp, igmp3, mld, mld2, record
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.testing.tun import frame

GROUP, GROUP6, MDNS = "239.1.2.3", "ff05::5", "224.0.0.251"


def local_of(member: Member) -> str:
    """The link-local address of a member's tun."""
    return str(ip_address(link_local(ip_address(member.addresses[1]).packed)))


class MulticastCase(SynchronousTestCase):
    """Three nodes that carry multicast; c is in another local subnet."""

    def setUp(self) -> None:
        self.mesh = Mesh(multicast=(4, 6))
        self.a, self.b, self.c = (self.mesh.add(name, start=False) for name in "abc")
        self.members = (self.a, self.b, self.c)
        self.c.addresses = ("10.9.7.3", "fd09::7:3")
        for member in self.members:
            member.prefixes = (24, 112)
            member.start()
        self.mesh.until(self.mesh.is_complete)

    def join(self, member: Member, *groups: str, kind: Kind = Kind.TO_EXCLUDE) -> None:
        for group in groups:
            report = mld2 if ":" in group else igmp3
            member.tun.inject(report(record(kind, group)))
        self.mesh.advance(0.3)

    def leave(self, member: Member, *groups: str) -> None:
        self.join(member, *groups, kind=Kind.TO_INCLUDE)

    def gets(self, group: str, sender: Member | None = None, source: str = "") -> str:
        """The members that get a packet that one sends, a if nobody is named."""
        sender = sender or self.a
        source = source or sender.addresses[":" in group]
        packet = frame(source, group, b"to all")
        before = {member: member.tun.written.count(packet) for member in self.members}
        sender.tun.inject(packet)
        self.mesh.advance(0.1)
        counts = {m: m.tun.written.count(packet) - before[m] for m in self.members}
        self.assertLessEqual(max(counts.values()), 1)
        return "".join(member.name for member in self.members if counts[member])


class Delivery(MulticastCase):
    """Packets to groups."""

    def test_members_only(self) -> None:
        """Whoever has joined a group gets its packets, from then on and until it leaves; nobody
        else does. A packet for nobody is a drop."""
        for group in (GROUP, GROUP6):
            self.assertEqual(self.gets(group), "")
            self.join(self.b, group)
            self.assertEqual(self.gets(group), "b")
            self.join(self.c, group)
            self.assertEqual(self.gets(group), "bc")
            self.assertEqual(self.gets(group, self.b), "c")
            self.leave(self.b, group)
            self.assertEqual(self.gets(group), "c")
        self.assertEqual(self.a.status.dropped["multicast"], 2)

    def test_sources(self) -> None:
        """A join of one source gets the packets of that source only."""
        self.b.tun.inject(igmp3(record(Kind.ALLOW, "232.1.1.1", self.c.address)))
        self.mesh.advance(0.3)
        self.assertEqual((self.gets("232.1.1.1"), self.gets("232.1.1.1", self.c)), ("", "b"))

    def test_old_versions(self) -> None:
        """IGMPv2 and MLDv1 do as well; their reports, which go to the group itself, stay here."""
        self.join(self.c, GROUP, GROUP6)
        before = len(self.c.tun.written)
        self.b.tun.inject(igmp(0x16, ip_address(GROUP).packed, GROUP))
        self.b.tun.inject(mld(131, bytes(4) + ip_address(GROUP6).packed, GROUP6))
        self.mesh.advance(0.3)
        self.assertEqual((self.gets(GROUP), self.gets(GROUP6)), ("bc", "bc"))
        self.assertEqual(len(self.c.tun.written), before + 2)
        self.b.tun.inject(igmp(0x17, ip_address(GROUP).packed, "224.0.0.2"))
        self.mesh.advance(0.3)
        self.assertEqual(self.gets(GROUP), "c")

    def test_local_subnet(self) -> None:
        """Link-local groups go to members in the local subnet; the one of all hosts to everybody
        there, without a join."""
        for group, all_hosts in ((MDNS, "224.0.0.1"), ("ff02::fb", "ff02::1")):
            self.join(self.b, group)
            self.join(self.c, group)
            self.assertEqual(self.gets(group), "b")
            self.assertEqual(self.gets(all_hosts), "b")
            self.assertEqual(self.gets(all_hosts, self.c), "")

    def test_foreign_source(self) -> None:
        """A packet from an address that is not the node's in the mesh is not even sent."""
        self.join(self.b, GROUP)
        self.assertEqual(self.gets(GROUP, source="192.0.2.7"), "")
        self.assertEqual(self.b.status.dropped["spoofed_source"], 0)

    def test_hostile(self) -> None:
        """What a peer sends to a group is believed if the source is its own, the group is joined
        here and, for a link-local one, the peer is in the local subnet."""
        self.join(self.b, GROUP, MDNS)
        for sender, source, group, reason in (
            (self.a, self.c.address, GROUP, "spoofed_source"),
            (self.a, self.a.address, "239.9.9.9", "not_joined"),
            (self.c, self.c.address, MDNS, "not_joined"),
        ):
            before, count = len(self.b.tun.written), self.b.status.dropped[reason]
            [peer] = [p for p in sender.node._parts.peers if p.record.name == "b"]
            peer.carrier.send([frame(source, group)])
            self.mesh.advance(0.1)
            self.assertEqual(len(self.b.tun.written), before)
            self.assertEqual(self.b.status.dropped[reason], count + 1)

    def test_reports_of_peers(self) -> None:
        """A peer's IGMP, MLD and router advertisements do not reach the kernel."""
        self.join(self.b, GROUP)
        [peer] = [p for p in self.a.node._parts.peers if p.record.name == "b"]
        before = len(self.b.tun.written)
        own, own6 = self.a.address, local_of(self.a)
        peer.carrier.send(
            [
                igmp(0x11, bytes(4), "224.0.0.1", source=own),
                igmp(0x11, bytes(4), GROUP, source=own),
                mld(130, bytes(20), "ff02::1", source=own6),
                mld(134, bytes(12), "ff02::1", source=own6),
                mld(134, bytes(12), local_of(self.b), source=own6),
            ]
        )
        self.mesh.advance(0.1)
        self.assertEqual(len(self.b.tun.written), before)
        self.assertEqual(self.b.status.dropped["link_control"], 5)

    def test_router_solicitation(self) -> None:
        """What a kernel asks routers for stays here, and is nobody's loss."""
        self.join(self.b, "ff02::2")
        self.a.tun.inject(mld(133, bytes(4), "ff02::2", source=local_of(self.a)))
        self.mesh.advance(0.1)
        self.assertEqual(sum(self.a.status.dropped.values()), 0)
        self.assertEqual(self.gets("ff02::2"), "b")


class LinkLocal(MulticastCase):
    """IPv6 link-local addresses."""

    def test_unicast(self) -> None:
        """They lead to the node that has the address that they are derived from, and come from it
        only."""
        [peer] = [
            p for p in status_json.report(self.a.status, History(), 0)["peers"] if p["name"] == "b"
        ]
        shown = sorted(self.b.addresses), [local_of(self.b)]
        self.assertEqual((sorted(peer["routed"]), peer["link_local"]), shown)
        packet = frame(local_of(self.a), local_of(self.b), b"hello")
        self.a.tun.inject(packet)
        self.mesh.advance(0.1)
        self.assertIn(packet, self.b.tun.written)
        [peer] = [p for p in self.c.node._parts.peers if p.record.name == "b"]
        peer.carrier.send([packet])
        self.mesh.advance(0.1)
        self.assertEqual(self.b.tun.written.count(packet), 1)
        self.assertEqual(self.b.status.dropped["spoofed_source"], 1)

    def test_gone(self) -> None:
        """They go with the node."""
        self.b.leave()
        self.mesh.advance(3)
        self.a.tun.inject(frame(local_of(self.a), local_of(self.b)))
        self.assertEqual(self.a.status.dropped["no_route"], 1)

    def test_off(self) -> None:
        """Without IPv6 multicast there are none."""
        mesh = Mesh(multicast=(4,))
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        a.tun.inject(frame(local_of(a), local_of(b)))
        self.assertEqual(a.status.dropped["outside_network"], 1)


class Telling(MulticastCase):
    """Nodes tell each other what they have joined."""

    def test_newcomer(self) -> None:
        """A node that comes later, or comes again, learns what was joined before."""
        self.join(self.b, GROUP)
        self.c.crash()
        self.mesh.advance(1)
        self.c.start()
        self.mesh.until(self.mesh.is_complete)
        self.mesh.advance(0.2)
        self.assertEqual(self.gets(GROUP, self.c), "b")

    def test_parted(self) -> None:
        """A node that is gone is in no group."""
        self.join(self.b, GROUP)
        self.b.crash()
        self.mesh.advance(1)
        self.assertEqual(self.a.status.multicast and self.a.status.multicast.groups, ())

    def test_renewed_link(self) -> None:
        """What is joined and left while a link is replaced arrives by one link or the other."""
        self.join(self.b, GROUP)
        for number in range(12):
            groups = [f"239.2.{number}.{n}" for n in range(20)]
            self.join(self.b, *groups[:10])
            for one in self.members:
                for peer in one.node._parts.peers:
                    if peer.link.dialed:
                        one.node._links.dials.dial(peer.record, patient=False)
            self.join(self.b, *groups[10:])
            self.leave(self.b, *groups[5:15])
            self.mesh.advance(0.3)
            joined = {group for group in groups if self.gets(group) == "b"}
            self.assertEqual(joined, {*groups[:5], *groups[15:]})

    def test_address_moves(self) -> None:
        """Who is in the local subnet is judged by the addresses of the moment."""
        self.join(self.c, MDNS)
        self.assertEqual(self.gets(MDNS), "")
        self.c.crash()
        self.c.addresses = ("10.9.0.77", "fd09::77")
        self.c.start()
        self.mesh.until(self.mesh.is_complete)
        self.join(self.c, MDNS)
        self.assertEqual(self.gets(MDNS), "c")

    def test_off_elsewhere(self) -> None:
        """A node that does not carry multicast ignores what is told, and gets nothing."""
        mesh = Mesh()
        a, b = mesh.add("a", multicast=(4,)), mesh.add("b")
        mesh.until(mesh.is_complete)
        for member in (a, b):
            member.tun.inject(igmp3(record(Kind.TO_EXCLUDE, GROUP)))
        mesh.advance(0.3)
        for sender, other in ((a, b), (b, a)):
            before = len(other.tun.written)
            sender.tun.inject(frame(sender.address, GROUP), frame(sender.address, "224.0.0.1"))
            mesh.advance(0.1)
            self.assertEqual(len(other.tun.written), before)
        self.assertIsNone(b.status.multicast)


class Kernel(MulticastCase):
    """What the kernel is asked, and what it is believed."""

    def queries(self, member: Member) -> int:
        return sum(packet[19] == 2 and packet[10] == 0x46 for packet in member.tun.written)

    def test_queries(self) -> None:
        """It is asked at once, a few times at the start, and then every minute."""
        mesh = Mesh(multicast=(4, 6))
        a = mesh.add("a")
        mesh.advance(0.1)
        self.assertEqual((self.queries(a), len(a.tun.written)), (1, 2))
        mesh.advance(11)
        self.assertEqual(self.queries(a), 3)
        mesh.advance(10 * INTERVAL)
        self.assertEqual(self.queries(a), 13)

    def test_expiry(self) -> None:
        """A group that it does not name any more is left, and others are told."""
        self.join(self.b, GROUP)
        self.mesh.advance(ROBUSTNESS * INTERVAL)
        self.assertEqual(self.gets(GROUP), "b")
        self.mesh.advance(INTERVAL + 2)
        self.assertEqual(self.gets(GROUP), "")

    def test_too_many(self) -> None:
        """More groups than are told are said once; the others work."""
        self.join(self.b, *(f"239.3.{n // 200}.{n % 200}" for n in range(MOST + 5)))
        self.assertEqual(len(self.b.logged("groups_left_out")), 1)
        self.assertEqual((self.gets("239.3.0.0"), self.gets("239.3.1.60")), ("b", ""))

    def test_garbage(self) -> None:
        """A report that cannot be read says nothing."""
        report = bytearray(igmp3(record(Kind.TO_EXCLUDE, GROUP)))
        report[40] ^= 1
        self.a.tun.inject(bytes(report))
        self.mesh.advance(0.3)
        status = self.b.status.multicast
        self.assertEqual(status and status.groups, ())


class Shown(MulticastCase):
    """The status."""

    def test_status(self) -> None:
        """Every group, who is in it and from which sources; and how many copies were sent."""
        self.join(self.a, GROUP)
        self.join(self.b, GROUP)
        self.b.tun.inject(igmp3(record(Kind.ALLOW, "232.1.1.1", self.c.address)))
        self.join(self.c, GROUP)
        self.gets(GROUP)
        status = self.a.status.multicast
        assert status is not None
        self.assertEqual(
            [(group.group, group.here, group.nodes) for group in status.groups],
            [
                ("232.1.1.1", "", (("b", "10.9.7.3"),)),
                (GROUP, "all", (("b", "all"), ("c", "all"))),
            ],
        )
        self.assertEqual((status.packets, status.copies), (1, 2))
        self.assertEqual((status.joined, status.elsewhere), (1, 2))
