"""Names in whole meshes in memory: queries out of the tun, and what changes their answers."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.names.test_codec import values
from tests.packets.test_replies import is_right
from tests.support.nameservers import query, read
from tunmesh.dataplane.drops import DropReason
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.names.answers import Kind
from tunmesh.names.settings import NamesSettings
from tunmesh.packets import replies, udp_segments
from tunmesh.testing.mesh import IPV4, IPV6, Member, Mesh
from tunmesh.testing.tun import frame
from tunmesh.wire.records import split_url

DNS4, DNS6 = "10.9.255.254", str(IPV6[-1])
DNS = (ip_address(DNS4), ip_address(DNS6))
NAMES = NamesSettings("mesh", DNS)
SETTINGS: dict[str, Any] = {"names": NAMES, "reserved": DNS}


def udp(
    source: str, destination: str, payload: bytes, port: int = 53, sender: int = 40000
) -> bytes:
    """A datagram as read from a tun."""
    head = struct.pack(">HHHH", sender, port, 8 + len(payload), 0)
    whole = bytearray(frame(source, destination, head + payload))
    whole[19 if ":" not in source else 16] = 17
    return bytes(whole)


class NamesCase(SynchronousTestCase):
    """A mesh that answers names."""

    def setUp(self) -> None:
        self.mesh = Mesh(**SETTINGS)

    def complete(self, *names: str) -> list[Member]:
        members = [self.mesh.add(name) for name in names]
        self.mesh.until(self.mesh.is_complete)
        self.mesh.advance(1)
        return members

    def ask(
        self,
        member: Member,
        name: str,
        kind: int = Kind.A,
        source: str = "",
        server: str = DNS4,
    ) -> tuple[int, list[str]]:
        """The code and the records of an answer, as the machine of this node gets it."""
        member.tun.written.clear()
        member.tun.inject(udp(source or member.address, server, query(name, kind)))
        (answer,) = member.tun.written
        self.assertTrue(is_right(answer))
        datagram = replies.datagram_of(answer)
        assert datagram is not None
        self.assertEqual(str(ip_address(datagram.source)), server)
        self.assertEqual(str(ip_address(datagram.destination)), source or member.address)
        self.assertEqual((datagram.source_port, datagram.destination_port), (53, 40000))
        return read(datagram.payload).rCode, sorted(values(datagram.payload))


class Answers(NamesCase):
    """What nodes answer."""

    def test_names(self) -> None:
        """Each node knows itself and all that it is linked with, by both families."""
        a, b, c = self.complete("a", "b", "c")
        for asker in (a, b, c):
            for other in (a, b, c):
                self.assertEqual(self.ask(asker, f"{other.name}.mesh"), (0, [other.addresses[0]]))
                self.assertEqual(
                    self.ask(asker, f"{other.name}.mesh", Kind.AAAA), (0, [other.addresses[1]])
                )
            everybody = sorted(each.address for each in (a, b, c))
            self.assertEqual(self.ask(asker, "_nodes.mesh"), (0, everybody))
            self.assertEqual(self.ask(asker, "d.mesh"), (3, []))
            self.assertEqual(self.ask(asker, "example.com"), (5, []))
        reverse = ip_address(b.addresses[1]).reverse_pointer
        self.assertEqual(self.ask(a, reverse, Kind.PTR), (0, ["b.mesh"]))
        counts = a.status.names
        assert counts is not None
        self.assertEqual(counts.queries["answered"], 8)
        self.assertEqual((counts.queries["nxdomain"], counts.queries["refused"]), (1, 1))

    def test_both_families(self) -> None:
        """Queries over IPv6, and from an address that is not the node's: a query may come before
        the node has one."""
        a, b = self.complete("a", "b")
        name = "b.mesh"
        self.assertEqual(self.ask(a, name, source=a.addresses[1], server=DNS6), (0, [b.address]))
        self.assertEqual(self.ask(a, name, source="192.0.2.77"), (0, [b.address]))

    def test_two_queries_at_once(self) -> None:
        """A resolver that asks for both families at once gets both answers, though its queries were
        joined into one segment."""
        a, _ = self.complete("a", "b")
        a.tun.written.clear()
        pair = [
            struct.pack("<BBHHHH", 1, 0, 0, 0, 20, 6)
            + udp(a.address, DNS4, query("b.mesh", kind, number=number))[10:26]
            + udp(a.address, DNS4, query("b.mesh", kind, number=number))[26:]
            for number, kind in ((1, Kind.A), (2, Kind.AAAA))
        ]
        pair = [each[:16] + b"\x40\0" + each[18:] for each in pair]
        self.assertEqual(len(udp_segments.join(pair)), 1)
        a.tun.inject(*pair)
        answers = [replies.datagram_of(each) for each in a.tun.written]
        found = [(read(each.payload).id, values(each.payload)) for each in answers if each]
        self.assertEqual(found, [(1, ["10.9.0.2"]), (2, ["fd09::2"])])

    def test_groups(self) -> None:
        """A group leads to all that have it, in varying order; a reload changes it everywhere."""
        mesh = self.mesh
        a = mesh.add("a")
        members = [mesh.add(f"web-{n}", node_groups=("web",)) for n in range(4)]
        mesh.until(mesh.is_complete)
        mesh.advance(1)
        addresses = sorted(each.address for each in members)
        orders = set()
        for _ in range(20):
            self.assertEqual(self.ask(a, "web.mesh"), (0, addresses))
            (answer,) = a.tun.written
            datagram = replies.datagram_of(answer)
            assert datagram is not None
            orders.add(values(datagram.payload)[0])
        self.assertEqual(sorted(orders), addresses)
        members[0].reload(node_groups=("db",))
        mesh.advance(1)
        for asker in (a, *members):
            self.assertEqual(self.ask(asker, "web.mesh"), (0, addresses[1:]))
            self.assertEqual(self.ask(asker, "db.mesh"), (0, addresses[:1]))

    def test_who_left(self) -> None:
        """A node that leaves is gone from the names at once; one that comes back with another
        address is found there."""
        a, b, _ = self.complete("a", "b", "c")
        b.leave()
        self.mesh.advance(0.2)
        self.assertEqual(self.ask(a, "b.mesh"), (3, []))
        b._end(silently=True)
        b.move(20)
        b.start()
        self.mesh.until(self.mesh.is_complete)
        self.mesh.advance(0.2)
        self.assertEqual(self.ask(a, "b.mesh"), (0, ["10.9.0.20"]))

    def test_alone(self) -> None:
        """A node that is not in the mesh knows its own name, and nothing about others; the first
        node of a mesh knows that there are none."""
        first = self.mesh.add("first")
        self.mesh.advance(1)
        self.assertEqual(self.ask(first, "b.mesh"), (3, []))
        first.crash()
        lonely = self.mesh.add("lonely")
        self.mesh.advance(1)
        self.assertEqual(self.ask(lonely, "lonely.mesh"), (0, [lonely.address]))
        self.assertEqual(self.ask(lonely, "b.mesh"), (2, []))


class Conflicts(NamesCase):
    """Two nodes of one name."""

    def test_second_claimant(self) -> None:
        """The name stays with the node that had it first, in the answers of everybody, also of the
        second one and of nodes that come later; the second one has no name."""
        a, b, thief = self.complete("a", "b", "c")
        self.mesh.advance(60)
        thief.leave()
        self.mesh.advance(1)
        thief._end(silently=True)
        thief.name = "B"
        thief.start()
        self.mesh.advance(60)
        late = self.mesh.add("late")
        self.mesh.until(lambda: len(late.linked_with) == 3)
        self.mesh.advance(20)
        for asker in (a, b, thief, late):
            self.assertEqual(self.ask(asker, "b.mesh"), (0, [b.address]), asker.name)
            pointer = ip_address(thief.address).reverse_pointer
            self.assertEqual(self.ask(asker, pointer, Kind.PTR), (0, []), asker.name)
            (warning,) = asker.status.warnings
            whose = "this node" if asker is b else "10.9.0.2, fd09::2"
            self.assertIn(f"leads to {whose}, which had it first", warning)
        b.leave()
        self.mesh.advance(1)
        self.assertEqual(self.ask(a, "b.mesh"), (0, [thief.address]))

    def test_liar(self) -> None:
        """A member that says it started long ago does not get the name where the other one is
        known."""
        a, b, c = self.complete("a", "b", "c")
        self.mesh.advance(60)
        c.leave()
        self.mesh.advance(1)
        c._end(silently=True)
        c.name, c.skew = "b", -1e6
        c.start()
        self.mesh.advance(60)
        for asker in (a, b):
            self.assertEqual(self.ask(asker, "b.mesh"), (0, [b.address]), asker.name)

    def test_both_sides_of_a_partition(self) -> None:
        """Two nodes that took one name while the mesh was parted keep it, each where it was known;
        everybody warns of them. A node that comes later goes by who started first."""
        mesh = self.mesh
        a, b, c, d = self.complete(*"abcd")
        first, second = (mesh.add("x", start=False) for _ in range(2))
        sides = (a, b, first), (c, d, second)
        for one in sides[0]:
            for other in sides[1]:
                mesh.network.cut(one.host, other.host)
        mesh.advance(60)
        first.start()
        mesh.advance(30)
        second.start(groups=(GroupSettings("c", (split_url(c.url),)),))
        mesh.until(lambda: [len(each.linked_with) for each in (a, b, c, d)] == [2] * 4)
        mesh.advance(60)
        mesh.network.heal()
        mesh.until(mesh.is_complete, within=300)
        mesh.advance(20)
        late = mesh.add("late")
        mesh.until(mesh.is_complete)
        mesh.advance(20)
        for asker, owner in (
            *((each, first) for each in (a, b, first, late)),
            *((each, second) for each in (c, d, second)),
        ):
            self.assertEqual(self.ask(asker, "x.mesh"), (0, [owner.address]), asker.name)
            self.assertIn("two nodes have the name x", asker.status.warnings[0])

    def test_group_and_node(self) -> None:
        """A newcomer that is called as a group does not get what is sent to the group."""
        mesh = self.mesh
        a = mesh.add("a")
        x = mesh.add("x", node_groups=("web",))
        mesh.until(mesh.is_complete)
        mesh.advance(60)
        web = mesh.add("web")
        mesh.until(mesh.is_complete)
        mesh.advance(20)
        for asker in (a, x, web):
            self.assertEqual(self.ask(asker, "web.mesh"), (0, [x.address]), asker.name)
            self.assertIn("it leads to the group, which was first", asker.status.warnings[0])

    def test_reserved(self) -> None:
        """Nobody can have the DNS address: what claims it gets no route, and what comes from it or
        goes to it through a link is dropped."""
        a, b = self.complete("a", "b")
        thief = self.mesh.add("thief", start=False)
        thief.addresses = (DNS4, str(IPV6[3]))
        thief.start(reserved=(), names=None)
        self.mesh.until(lambda: "thief" in a.linked_with and "thief" in b.linked_with)
        self.mesh.advance(20)
        self.assertEqual(self.ask(a, "thief.mesh"), (0, []))
        self.assertEqual(self.ask(a, "_dns.mesh"), (0, [DNS4]))
        self.assertIn(DNS4, str(thief.status.peers[0].refuses))
        forged = udp(DNS4, a.address, b"forged", 40000, 53)
        before = dict(a.status.dropped)
        thief.tun.inject(forged)
        b.tun.inject(forged, udp(b.address, DNS4, query("a.mesh")))
        self.mesh.advance(0.2)
        self.assertNotIn(forged, a.tun.written)
        self.assertGreaterEqual(a.status.dropped["spoofed_source"] - before["spoofed_source"], 1)

    def test_broadcasts(self) -> None:
        """The DNS address is inside the mesh's network."""
        self.assertIn(DNS[0], IPV4)


class Floods(NamesCase):
    """More than is answered."""

    def test_queries(self) -> None:
        """At most so many queries at once are answered; the others are dropped and counted, and a
        second later there is room again."""
        a, _ = self.complete("a", "b")
        flood = [udp(a.address, DNS4, query("b.mesh", number=n), sender=n) for n in range(1, 1001)]
        a.tun.written.clear()
        a.tun.inject(*flood)
        self.assertEqual(len(a.tun.written), 200)
        self.assertEqual(a.status.dropped["dns_flood"], 800)
        self.mesh.advance(1)
        self.assertEqual(self.ask(a, "b.mesh")[0], 0)
        names = a.status.names
        assert names is not None
        self.assertEqual((names.queries["answered"], names.queries["dropped"]), (201, 800))

    def test_full_tun(self) -> None:
        """An answer that the tun does not take is counted as dropped."""
        a, _ = self.complete("a", "b")
        a.tun.refuses = DropReason.TUN_FULL
        a.tun.inject(udp(a.address, DNS4, query("b.mesh")))
        self.assertEqual(a.status.dropped["tun_full"], 1)

    def test_other_packets(self) -> None:
        """A ping is answered, any other packet is refused; only so many of them."""
        a, _ = self.complete("a", "b")
        a.tun.written.clear()
        a.tun.inject(*[udp(a.address, DNS4, b"x", 99) for _ in range(200)])
        self.assertEqual(len(a.tun.written), 50)
        self.assertEqual(a.status.dropped["dns_flood"], 150)

    def test_off(self) -> None:
        """Without networking/dns nothing is answered, and the address is like any other."""
        mesh = Mesh()
        a, _ = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        a.tun.written.clear()
        a.tun.inject(udp(a.address, DNS4, query("b.mesh")))
        self.assertEqual((a.tun.written, a.status.dropped["no_route"]), ([], 1))
        self.assertIsNone(a.status.names)
        unnamed = "applications do not find it by DNS: networking/dns is not in the config"
        self.assertEqual(a.node.resolve("b").found[0], ("10.9.0.2", "b"))
        self.assertEqual(a.node.resolve("b").why[-1], unnamed)
        held = a.node.resolve("10.9.0.2")
        self.assertEqual((held.outcome, held.found), ("answered", (("10.9.0.2", "b"),)))
        self.assertEqual(held.why, ("b has it", unnamed))
        self.assertEqual(a.node.resolve("10.9.0.9").outcome, "unknown")
