"""Attacks by a member: mallory holds the secret, is linked with a, and says what no honest node
says. At worst that one link ends; a and b go on as before."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface
from itertools import count
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.members import ADDRESS, HOST, Mallory, mallory
from tunmesh.addresses import Interface
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.auth.signing import sign
from tunmesh.link import penalty
from tunmesh.link.sender import MAX_UNREAD
from tunmesh.logs import journal
from tunmesh.membership import lost_nodes, roster
from tunmesh.membership.hearsay import MAX_NODES
from tunmesh.membership.seniority import SETTLING
from tunmesh.packets.virtio import HEADER
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.tun import frame
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import Gossip, Refusal, encode_inquiry, encode_introduction
from tunmesh.wire.records import NodeRecord

PING = b"i" + bytes(8)
WRONG = (
    b"",
    b"Z",
    b"i",
    PING + b"x",
    b"o",
    b"H" + bytes(42),
    b"C" + bytes(41),
    b"P" + bytes(99),
    b"D" + bytes(sizes.MAX_DATA_FRAME),
    b"G",
    b"G" + bytes(9),
    b"G" + bytes(8) + b"\xff\xff",
    b"G" + bytes(10) + bytes(15),
    b"W" + bytes(15),
    b"N",
    b"N[]",
    b"N" + b"[" * 100_000,
    b"N[" + b"9" * 100_000 + b"]",
    b"U",
    b"U" + bytes(50),
    b"U\x02" + bytes(500),
    b"U" + bytes(sizes.MAX_SIGNED + 2),
    b"T",
    b"T" + bytes(8),
    b"T" + bytes(10),
    b"R",
    b"R{}",
    b'R{"addresses":["10.9.0.1"],"holder":"two words"}',
    b'R{"addresses":["10.9.0.1"],"holder":"\\u001b[2J"}',
    b"R" + b'{"a":' * 10_000,
    b"B",
    b"Bno such reason",
)
TELLINGS = count(1)


def lie(*ids: str, full: bool = True) -> bytes:
    return Gossip(next(TELLINGS) if full else 0, ids).encode()


class MemberCase(SynchronousTestCase):
    """a and b are linked; mallory is linked with a."""

    settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.mesh = Mesh(**self.settings)
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.lines = len(self.a.events)
        self.mallory = self.join()
        self.a.tun.written.clear()

    def join(self, **changes: Any) -> Mallory:
        member = mallory(**changes).dial(self.mesh, self.a)
        self.assertTrue(member.is_up)
        member.heard.clear()
        return member

    def new_ids(self, count: int) -> list[str]:
        return [self.mesh.random.randbytes(16).hex() for _ in range(count)]

    def new_key(self) -> NodeKey:
        return NodeKey.of(self.mesh.random.randbytes(SEED_SIZE))

    def say(self, *payloads: bytes) -> None:
        self.mallory.say(*payloads)
        self.mesh.advance(0.3)

    def assert_unharmed(self, most_lines: int = 8) -> None:
        """a and b carry packets over the link that they had; few lines were logged."""
        self.assertNotIn("b", [event["peer"] for event in self.a.logged("unlinked")])
        self.assertTrue(self.mesh.send(self.a, self.b, b"there"))
        self.assertTrue(self.mesh.send(self.b, self.a, b"and back"))
        self.assertTrue(self.a.status.is_ready and self.b.status.is_ready)
        self.assertLessEqual(len(self.a.events) - self.lines, most_lines)


class FramesTests(MemberCase):
    """What is no message."""

    def test_wrong_frames(self) -> None:
        """Every wrong message ends the link that it came on, and nothing else."""
        for number, payload in enumerate(WRONG):
            member = self.join(seed=number, name=f"m{number}", addresses=_address(number))
            member.say(payload)
            self.mesh.advance(0.1)
            self.assertTrue(member.has_ended, payload[:40])
        self.assertEqual(self.a.linked_with, ["b", "mallory"])
        self.assert_unharmed(most_lines=2 * len(WRONG) + 2)

    def test_half_a_frame(self) -> None:
        """A frame that arrives a byte at a time delays nobody."""
        self.mallory.transport.write(b"1048576:G")
        for _ in range(20):
            self.mallory.transport.write(b"\0")
            self.mesh.advance(1)
        self.assertIn("mallory", self.a.linked_with)
        self.assert_unharmed()


def _address(number: int) -> tuple[Interface, ...]:
    return (ip_interface(f"10.9.1.{number}/16"),)


class PacketsTests(MemberCase):
    """What is no packet, or has a source that is not his."""

    def assert_dropped(self, reason: str, *frames: bytes) -> None:
        before = self.a.status.dropped[reason]
        self.say(*(b"D" + each for each in frames))
        self.assertEqual(self.a.status.dropped[reason], before + len(frames))
        self.assertEqual(self.a.tun.written, [])

    def test_what_is_his(self) -> None:
        """His own valid packets arrive: what is dropped below is dropped for the flaw that is
        tested."""
        self.say(b"D" + frame(ADDRESS, self.a.address, b"hello"))
        self.assertEqual(len(self.a.tun.written), 1)

    def test_sources(self) -> None:
        """A source that is not routed to him is spoofed, be it a node's or nobody's."""
        others = (self.b.address, self.a.address, "10.9.0.99", "0.0.0.0", "127.0.0.1", "8.8.8.8")
        more = (self.b.addresses[1], "::", "::1", "fe80::1", "ff02::1")
        self.assert_dropped(
            "spoofed_source",
            *(frame(source, self.a.address) for source in others),
            *(frame(source, self.a.addresses[1]) for source in more),
        )
        self.assert_unharmed()

    def test_destinations(self) -> None:
        """What is not for the node is not passed on, to another member or out of the mesh."""
        others = (self.b.address, "10.9.255.255", "255.255.255.255", "224.0.0.1", "8.8.8.8")
        self.assert_dropped("misrouted", *(frame(ADDRESS, address) for address in others))
        self.assert_unharmed()

    def test_ip_headers(self) -> None:
        """A header that lies about its version, its length or the packet's, in either family."""
        good = frame(ADDRESS, self.a.address, bytes(40))
        six = frame("fd09::66", self.a.addresses[1], bytes(40))
        self.assert_dropped(
            "malformed",
            b"",
            good[:9],
            good[:29],
            good[:-1],
            good + b"x",
            six[:49],
            six[:-1],
            six + b"x",
            *(_with(good, HEADER, bytes((first,))) for first in (0, 0x15, 0x40, 0x44, 0x65, 0xF5)),
            *(_with(good, HEADER + 2, size.to_bytes(2, "big")) for size in (0, 19, 59, 61, 65535)),
            *(_with(six, HEADER + 4, size.to_bytes(2, "big")) for size in (0, 39, 41, 65535)),
        )
        self.assert_unharmed()

    def test_virtio_headers(self) -> None:
        """Every field of the virtio header out of its range: none of them reaches the kernel."""
        good = _with(frame(ADDRESS, self.a.address, bytes(4000)), HEADER + 9, b"\6")
        right = {"flags": 1, "type": 1, "header": 40, "size": 1448, "start": 20, "offset": 16}
        wrong = (
            *({"flags": flags} for flags in (0, 2, 4, 5, 0x80, 0xFF)),
            *({"type": kind} for kind in (2, 3, 4, 5, 6, 0x7F, 0x80, 0x81, 0xFF)),
            *({"header": size} for size in (4021, 65535)),
            *({"size": size} for size in (0, 1, 7)),
            *({"start": start} for start in (0, 19, 21, 4001, 65535)),
            *({"offset": offset} for offset in (0, 6, 15, 17, 65535)),
        )
        frames = [_virtio({**right, **fields}, good) for fields in wrong]
        self.assert_dropped("malformed", *frames)
        self.say(b"D" + _virtio(right, good))
        self.assertEqual(len(self.a.tun.written), 1)
        self.assert_unharmed()

    def test_extension_headers_and_fragments(self) -> None:
        """What follows the addresses is for the kernel to judge, except what dataplane.inspection
        refuses: extension headers pass from and to the right addresses."""
        payload = bytes((59,)) + bytes(63)  # nothing follows the first of them
        self.mallory = self.join(seed=77, name="six", addresses=(ip_interface("fd09::77/64"),))
        for header in (0, 43, 44, 50, 51, 59, 60, 135):
            good = _with(
                frame("fd09::77", self.a.addresses[1], payload), HEADER + 6, bytes((header,))
            )
            self.say(b"D" + good)
        self.assertEqual(len(self.a.tun.written), 8)
        self.a.tun.written.clear()
        spoofed = _with(
            frame(self.b.addresses[1], self.a.addresses[1], bytes(64)), HEADER + 6, b"\x2c"
        )
        self.assert_dropped("spoofed_source", spoofed)
        self.assert_unharmed()


def _with(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def _virtio(fields: dict[str, int], data: bytes) -> bytes:
    return struct.pack("<BBHHHH", *fields.values()) + data[HEADER:]


class IdsTests(MemberCase):
    """A member that claims the id of another node."""

    def impostor(self, node: Member, **changes: Any) -> Mallory:
        """He has that node's whole record, the secret, and a key of his own."""
        record = replace(node.node.record, **changes)
        return Mallory(record, self.new_key())

    def assert_refused(self, impostor: Mallory) -> None:
        """He is not linked, is told nothing, and is counted as a wrong proof."""
        self.assertTrue(impostor.has_ended)
        self.assertEqual((impostor.is_up, impostor.heard), (False, []))
        self.assertEqual(self.a.status.handshake_failures["bad_proof"], 1)
        self.assertIn("claims to be another node", self.a.logged("handshake_failed")[0]["why"])
        self.assertEqual(self.a.linked_with, ["b", "mallory"])
        self.assert_unharmed()

    def test_another_nodes_record(self) -> None:
        """With a linked node's whole record he is refused; that node keeps its link, and what is
        sent to it."""
        self.assert_refused(self.impostor(self.b).dial(self.mesh, self.a))

    def test_later_start(self) -> None:
        """Claiming to be that node, started later and elsewhere, does not help him."""
        started = self.b.node.record.started + 1000
        impostor = self.impostor(self.b, started=started, url=f"https://{HOST}:{PORT}")
        self.assert_refused(impostor.dial(self.mesh, self.a))

    def test_own_record(self) -> None:
        """Nor is he taken for the very node that he talks to, which would stop dialing itself."""
        self.assert_refused(self.impostor(self.a).dial(self.mesh, self.a))

    def test_while_it_is_away(self) -> None:
        """While the node is out of reach he does not get its place; it comes back as itself."""
        self.mesh.network.cut(self.a.host, self.b.host)
        self.mesh.until(lambda: self.a.linked_with == [])  # mallory pings nobody
        impostor = self.impostor(self.b).dial(self.mesh, self.a)
        self.assertTrue(impostor.has_ended)
        self.assertEqual((self.a.linked_with, impostor.is_up), ([], False))
        self.mesh.network.heal()
        self.mesh.until(self.mesh.is_complete)
        self.assertTrue(self.mesh.send(self.a, self.b, b"for b alone"))
        self.assertEqual(impostor.heard, [])

    def test_in_the_place_of_another(self) -> None:
        """A node that is dialed for one id and proves another one is simply that other node:
        leading others to himself by hearsay gives him a link of his own, and no address of the
        absent node."""
        absent_key = NodeKey.of(bytes(SEED_SIZE))
        absent = absent_key.id
        c = self.mesh.add("c", start=False)
        self.say(lie(absent))
        self.assertEqual(self.mallory.count(b"W"), 1)
        c.start()
        self.mesh.until(lambda: "c" in self.a.linked_with)
        record = replace(c.node.record, id=absent, name="absent")
        self.say(encode_introduction([sign(record, absent_key)]))
        self.mesh.advance(5)
        self.assertIn("absent", [dial.name for dial in self.a.status.dials])
        self.assertEqual(self.a.linked_with, ["b", "c", "mallory"])
        self.assertNotIn("absent", [event["peer"] for event in self.a.logged("linked")])
        self.assertTrue(self.mesh.send(self.a, c, b"for c"))


class AddressesTests(MemberCase):
    """A member that claims the addresses of others."""

    def test_claims(self) -> None:
        """Addresses that others hold stay theirs, however many are claimed at once."""
        claimed = tuple(
            ip_interface(f"{address}/16" if "." in address else f"{address}/64")
            for address in (*self.b.addresses, *self.a.addresses)
        )
        thief = self.join(seed=77, name="thief", addresses=claimed)
        self.mesh.advance(3)
        self.assertEqual(len(self.a.logged("address_conflict")), 1)
        self.assert_unharmed()
        self.assertEqual(thief.count(b"D"), 0)

    def thief(self, seed: int) -> None:
        """He joins again, and says that he is settled at the addresses of b."""
        claimed = (f"{self.b.addresses[0]}/16", f"{self.b.addresses[1]}/64")
        addresses = tuple(map(ip_interface, claimed))
        self.join(seed=seed, name="thief", addresses=addresses, settled=True)
        self.mesh.advance(3)

    def test_settled(self) -> None:
        """Saying that he is settled does not help him with an incumbent, whatever the others said
        when they came."""
        self.assertFalse(any(peer.record.settled for peer in self.a.status.peers))
        self.mesh.advance(SETTLING + 5)
        self.thief(seed=77)
        self.assert_unharmed()

    def test_settled_among_the_new(self) -> None:
        """At a node on probation it gets him the address of another one that has just come; that
        one is told so, and logs it."""
        self.thief(seed=77)
        self.assertFalse(self.mesh.send(self.a, self.b))
        self.assertEqual(len(self.b.logged("address_refused")), 1)
        self.assertEqual(len(self.a.logged("address_conflict")), 1)

    def test_outvoted(self) -> None:
        """More identities at one address than there are honest nodes cannot make a node unready by
        routing its address to another one, not even a node on probation."""
        for number in range(5):
            member = self.join(seed=number, name=f"m{number}", addresses=_address(number))
            member.answers_pings = True
            refusal = Refusal((self.a.address,), "mallory")
            member.say(lie(), refusal.encode())
        self.mesh.advance(1)
        self.assertEqual(len(self.a.linked_with), 7)
        self.assert_unharmed(most_lines=16)
        self.mesh.advance(SETTLING)
        self.assert_unharmed(most_lines=32)

    def test_refusals(self) -> None:
        """A member that refuses addresses that are not ours makes us neither unready nor log
        much."""
        foreign = [Refusal(("10.9.9.9",), f"x{n}").encode() for n in range(1000)]
        self.say(lie(), *foreign)
        self.assert_unharmed()
        own = [Refusal((self.a.address,), f"x{n}").encode() for n in range(1000)]
        self.say(*own)
        self.assertEqual(len(self.a.logged("address_refused")), 1)
        self.assertTrue(self.a.status.is_ready)  # nobody else refuses it
        self.assertIn("holds it there", str(self.a.status.warnings))
        self.say(lie())  # as at the beginning of a link: what was refused before is over
        self.assertEqual(self.a.status.warnings, ())
        self.say(own[0])
        self.assertIn("holds it there", str(self.a.status.warnings))
        self.mallory.transport.abortConnection()
        self.mesh.advance(0.1)
        self.assert_unharmed()


class GossipTests(MemberCase):
    """Gossip about nodes that do not exist."""

    def test_liars_crowd(self) -> None:
        """He can make only so many nodes known, and they are forgotten when he goes."""
        for _ in range(5):
            self.say(lie(*self.new_ids(2000), full=False))
        self.say(lie(*self.new_ids(10_000)))
        self.assertLessEqual(self.a.status.nodes_known, MAX_NODES + 2)
        self.assert_unharmed()
        self.mallory.transport.abortConnection()
        self.mesh.advance(1)
        self.assertEqual(self.a.status.nodes_known, 1)

    def test_takes_back(self) -> None:
        """Having vouched for thousands once does not make every later gossip expensive."""
        self.say(lie(*self.new_ids(MAX_NODES)))
        self.say(lie())
        vouchers = self.a.node._parts.roster.hearsay._vouchers.values()
        (vouches,) = [each.vouches for each in vouchers if each.record.name == "mallory"]
        self.assertLess(vouches.__sizeof__(), 1000)

    def test_uncalled_for(self) -> None:
        """A member that introduces more nodes than it was asked for is disconnected."""
        self.say(lie(*self.new_ids(2)))
        self.assertEqual(self.mallory.count(b"W"), 1)
        keys = [self.new_key() for _ in range(3)]
        self.say(encode_introduction([sign(_node(key.id), key) for key in keys]))
        self.assertTrue(self.mallory.has_ended)
        self.assert_unharmed()

    def test_too_many_links(self) -> None:
        """However many nodes one process claims to be, only so many are linked."""
        self.patch(roster, "MAX_NODES", 4)
        crowd = [self.join(seed=n, name=f"m{n}", addresses=_address(n)) for n in range(1, 6)]
        self.mesh.advance(1)
        self.assertEqual([each.has_ended for each in crowd], [False, False, True, True, True])
        self.assert_unharmed(most_lines=10)


def _node(node_id: str) -> NodeRecord:
    return NodeRecord(node_id, "m", 1, f"https://{HOST}:1", (ip_interface("10.9.9.9/16"),), "m")


class FloodsTests(MemberCase):
    """Valid messages in large numbers."""

    def heard(self, tag: bytes, payloads: Sequence[bytes]) -> int:
        """How many such answers there are to all of these at once."""
        self.mallory.heard.clear()
        self.say(*payloads)
        self.assert_unharmed()
        return self.mallory.count(tag)

    def test_pings(self) -> None:
        """Thousands of pings are answered by a few pongs, the last of them among these."""
        pings = [b"i" + number.to_bytes(8, "big") for number in range(20_000)]
        self.assertLess(self.heard(b"o", pings), 40)
        self.assertIn(b"o" + pings[-1][1:], self.mallory.heard)

    def test_useless_packets(self) -> None:
        """A member that keeps sending packets from wrong sources is read only so fast, and the log
        names it, once."""
        spoofed = [b"D" + frame(self.b.address, self.a.address)] * 1000
        for _ in range(200):
            self.mallory.say(*spoofed)
            self.mesh.advance(0.01)
        dropped = self.a.status.dropped["spoofed_source"]
        self.assertGreaterEqual(dropped, penalty.BURST)
        self.assertLess(dropped, penalty.BURST + 3 * penalty.RATE)
        self.assertEqual([line["peer"] for line in self.a.logged("wasteful")], ["mallory"])
        self.assertEqual(self.a.linked_with, ["b", "mallory"])
        self.assert_unharmed()

    def test_inquiries(self) -> None:
        """Thousands of questions about one node are answered a few times."""
        inquiry = encode_inquiry([self.b.node.record.id])
        self.assertLess(self.heard(b"N", [inquiry] * 10_000), 40)

    def test_unread(self) -> None:
        """A member that asks more and more and reads nothing is disconnected before much is
        buffered."""
        self.mesh.network.cut(self.a.host, HOST, both_ways=False)
        (link,) = [each for each in self.a.node.links if each.node.name == "mallory"]
        most = 0
        for _ in range(40):
            self.say(lie(*self.new_ids(4000)))
            wires = self.mesh.network.wires
            most = max(most, *(wire._under_way for wire in wires if wire.there == HOST), 0)
        self.mesh.network.heal()
        self.mesh.advance(1)
        self.assertGreater(most, MAX_UNREAD / 2)
        self.assertLess(most, 2 * MAX_UNREAD)
        self.assertNotIn("mallory", self.a.linked_with)
        self.assertGreater(link._sender._unread, MAX_UNREAD)
        self.assertIn("does not read", self.a.logged("unlinked")[-1]["reason"])
        self.assert_unharmed()

    def test_comes_and_goes(self) -> None:
        """A member that joins and leaves again and again leaves nothing behind but log lines, and
        only a limited number of these (tests.logs.test_journal)."""
        for number in range(30):
            member = self.join(seed=number, name=f"m{number}", addresses=_address(number))
            member.transport.abortConnection()
            self.mesh.advance(0.1)
        self.mesh.advance(3)
        self.assertEqual(self.a.linked_with, ["b", "mallory"])
        self.assertEqual(self.a.status.nodes_known, 2)
        self.assert_unharmed(most_lines=64)


class SplitTests(SynchronousTestCase):
    """a and b lose each other, and nobody else knows where they are. Mallory wants them to forget
    each other before the cable is back."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.b.reload(groups=())
        self.mesh.network.cut(self.a.host, self.b.host)
        self.mesh.until(lambda: not self.a.linked_with and not self.b.linked_with)
        self.number = 200

    def tell(self, told: Member, **changes: Any) -> Mallory:
        self.number += 1
        return mallory(self.number, **changes).dial(self.mesh, told)

    def assert_found(self) -> None:
        self.mesh.network.heal()
        wanted = self.b.node.record.id
        self.mesh.until(lambda: wanted in [peer.record.id for peer in self.a.node._parts.peers])

    def test_same_url(self) -> None:
        """By claiming, to each of them, the URL of the other one."""
        self.tell(self.a, url=self.b.url)
        self.tell(self.b, url=self.a.url)
        self.assert_found()

    def test_later_life(self) -> None:
        """By claiming, to each of them, to be the other one, which has moved."""
        for told, other in ((self.a, self.b), (self.b, self.a)):
            record = other.node.record
            self.tell(told, name=record.name, addresses=record.addresses, started=1 << 60)
        self.assert_found()

    def test_crowd(self) -> None:
        """By being more nodes that come and go than are remembered."""
        self.patch(lost_nodes, "MAX_LOST", 8)
        for told in (self.a, self.b):
            for _ in range(10):
                url = f"https://{HOST}:{self.number}"
                self.tell(told, name=f"m{self.number}", url=url).transport.abortConnection()
        self.mesh.advance(1)
        self.assert_found()


class CrowdTests(MemberCase):
    """Many identities of one member."""

    settings: ClassVar[dict[str, Any]] = {"memory_budget": 1 << 20, "max_nodes_per_source": 8}

    def member(self, number: int) -> Mallory:
        return mallory(200 + number, name=f"m{number}", addresses=_address(number))

    def test_frames_without_end(self) -> None:
        """A member that begins long frames on many links, and finishes none, loses links when more
        has come than the memory budget allows; others are not affected."""
        crowd = [self.member(number).dial(self.mesh, self.a) for number in range(1, 8)]
        for member in crowd:
            member.transport.write(b"1048576:G" + bytes(100_000))
            self.mesh.advance(0.2)
        self.assertLess(self.a.status.buffered_bytes, (1 << 19) + 100_000)
        ended = [member for member in crowd if member.has_ended]
        self.assertTrue(0 < len(ended) < len(crowd))
        reasons = [event["reason"] for event in self.a.logged("unlinked")]
        self.assertEqual(
            set(reasons), {"its address holds more than its share of process/memory_budget"}
        )
        for member in set(crowd) - set(ended):
            member.transport.abortConnection()
        self.mesh.advance(1)
        self.assertEqual(self.a.status.buffered_bytes, 0)
        self.assert_unharmed(most_lines=40)

    def test_slow_crowd(self) -> None:
        """Peers behind one address that all read nothing at the same time, and are sent much, lose
        packets, but not their links."""
        crowd = [self.member(number).dial(self.mesh, self.a) for number in range(1, 8)]
        self.mesh.network.cut(self.a.host, HOST, both_ways=False)
        for _ in range(40):
            for member in crowd:
                destination = str(member.record.addresses[0].ip)
                self.a.tun.inject(*[frame(self.a.address, destination, bytes(4000))] * 10)
            self.mesh.advance(0.02)
        self.assertLess(self.a.status.buffered_bytes, (1 << 19) + (1 << 16))
        self.assertGreater(self.a.status.dropped["queue_full"], 0)
        self.assertEqual(self.a.logged("unlinked"), [])
        self.assertTrue(self.mesh.send(self.a, self.b))
        self.mesh.network.heal()
        for member in crowd:
            member.transport.abortConnection()
        self.mesh.advance(1)
        self.assert_unharmed(most_lines=60)

    def test_too_many_from_one_source(self) -> None:
        """Only so many nodes may be linked from one address, and at half of that the log warns. A
        node from elsewhere still gets in, and when one has left another one may come."""
        crowd = [self.member(number).dial(self.mesh, self.a) for number in range(1, 10)]
        self.assertEqual([member.has_ended for member in crowd], [False] * 7 + [True] * 2)
        self.assertEqual(crowd[-1].heard[-1], messages.encode_bye(messages.CROWDED))
        self.assertEqual([e["count"] for e in self.a.logged("crowded_source")], [4, 8])
        elsewhere = self.member(20).dial(self.mesh, self.a, "198.51.100.67")
        self.assertFalse(elsewhere.has_ended)
        crowd[0].transport.loseConnection()
        self.mesh.advance(0.5)
        self.assertFalse(self.member(21).dial(self.mesh, self.a).has_ended)
        self.assert_unharmed(most_lines=40)


class LogTests(MemberCase):
    """Many identities of one member, and a log that has room for a hundred lines at once."""

    def setUp(self) -> None:
        self.patch(journal, "BURST", 100)
        super().setUp()

    def test_without_room(self) -> None:
        """A member that comes and goes until log lines are throttled does not hide what happens to
        others."""
        for number in range(100):
            member = mallory(200 + number % 8, name="m", addresses=_address(number % 8))
            member.dial(self.mesh, self.a).transport.abortConnection()
            self.mesh.advance(0.01)
        self.b.crash()
        self.mesh.advance(1)
        self.assertEqual(self.a.logged("unlinked")[-1]["peer"], "b")
        self.assertTrue(self.a.logged("left_out"))
