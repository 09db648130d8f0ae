"""What becomes of queries, and packets at the DNS address, without a tun."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.names.test_codec import values
from tests.names.test_directory import member
from tests.names.test_zone import DIRECTORY, ZONE
from tests.packets.test_replies import DNS as SERVER
from tests.packets.test_replies import datagram, is_right, packet
from tests.support.nameservers import query, read
from tunmesh.dataplane.drops import DropReason
from tunmesh.names.answers import Kind
from tunmesh.names.codec import Query
from tunmesh.names.directory import Directory
from tunmesh.names.endpoint import ICMP_BURST, QUERY_BURST, QUERY_RATE, Endpoint
from tunmesh.names.responder import Outcome, Reply, Responder
from tunmesh.packets import replies, udp_segments

TRANSFER = 252
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))  # wire.fields.parse_word


def backwards(records: list[object]) -> None:
    records.reverse()


class Responding(unittest.SynchronousTestCase):
    """Answers to messages."""

    def setUp(self) -> None:
        self.responder = Responder(ZONE, lambda: DIRECTORY, backwards, forwards=True)

    def reply(self, message: bytes) -> Reply:
        found = self.responder.respond(message)
        assert isinstance(found, Reply)
        return found

    def test_outcomes(self) -> None:
        """Every query has one outcome."""
        for asked, outcome, code in (
            (query("web-1.mesh"), Outcome.ANSWERED, 0),
            (query("web-2.mesh", Kind.AAAA), Outcome.NODATA, 0),
            (query("web-9.mesh"), Outcome.NXDOMAIN, 3),
            (query("mesh", TRANSFER), Outcome.REFUSED, 5),
            (query()[:-1], Outcome.MALFORMED, 1),
            (query()[:9], Outcome.MALFORMED, None),
        ):
            reply = self.reply(asked)
            self.assertEqual(reply.outcome, outcome, asked)
            if code is not None:
                assert reply.message is not None
                self.assertEqual(read(reply.message).rCode, code, asked)

    def test_classes(self) -> None:
        """Only the class IN is served, and ANY, which includes it."""
        asked = query("web-1.mesh")
        for kind_class, outcome in ((1, Outcome.ANSWERED), (255, Outcome.ANSWERED)):
            self.assertEqual(self.reply(asked[:-1] + bytes((kind_class,))).outcome, outcome)
        self.assertEqual(self.reply(asked[:-1] + b"\3").outcome, Outcome.REFUSED)

    def test_order(self) -> None:
        """The addresses of a group are in the order that `shuffle` makes."""
        message = self.reply(query("web.mesh")).message
        assert message is not None
        self.assertEqual(values(message), ["10.9.0.2", "10.9.0.1"])

    def test_others(self) -> None:
        """Other names are to be forwarded, or refused."""
        self.assertIsInstance(self.responder.respond(query("example.com")), Query)
        refusing = Responder(ZONE, lambda: DIRECTORY, backwards, forwards=False)
        reply = refusing.respond(query("example.com"))
        assert isinstance(reply, Reply) and reply.message is not None
        self.assertEqual(reply.outcome, Outcome.REFUSED)
        answer = read(reply.message)
        self.assertEqual((answer.rCode, answer.auth, answer.recAv), (5, 0, 0))


class AnyNames(unittest.SynchronousTestCase):
    """Nodes may be called whatever the wire allows."""

    @given(
        st.lists(
            st.tuples(st.text(PRINTABLE, min_size=1, max_size=64), st.sets(st.sampled_from("abc"))),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from((1, 2, 6, 12, 28, 255)),
        st.booleans(),
    )
    def test_names(self, nodes: list[tuple[str, set[str]]], kind: int, is_in_mesh: bool) -> None:
        """Every name and every address has an answer that can be read; what leads to a node leads
        back to it."""
        members = [
            member(number, name, tuple(groups)) for number, (name, groups) in enumerate(nodes, 1)
        ]
        directory = Directory(members, is_in_mesh)
        responder = Responder(ZONE, lambda: directory, backwards, forwards=False)
        for each in members:
            pointer = each.addresses[0].reverse_pointer
            labels = [label.encode() for label in each.record.name.split(".")]
            questions = [query(pointer, kind), query(f"{next(iter('abc'))}.mesh", kind)]
            if all(1 <= len(label) <= 63 for label in labels):
                name = b"".join(bytes((len(label),)) + label for label in (*labels, b"mesh"))
                questions.append(query()[:12] + name + b"\0" + kind.to_bytes(2) + b"\0\1")
            for asked in questions:
                reply = responder.respond(asked)
                assert isinstance(reply, Reply) and reply.message is not None
                values(reply.message)
            reply = responder.respond(query(pointer, Kind.PTR))
            assert isinstance(reply, Reply) and reply.message is not None
            self.assertEqual(bool(values(reply.message)), directory.holds_name(each))


class Servers:
    """Name servers that answer when a test says so."""

    def __init__(self) -> None:
        self.loops = False
        self.room = 2
        self.waiting: list[Callable[[bytes | None], None]] = []

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    def is_loop(self, query: Query) -> bool:
        return self.loops

    def has_room(self) -> bool:
        return len(self.waiting) < self.room

    def ask(self, query: Query, done: Callable[[bytes | None], None]) -> None:
        self.waiting.append(done)

    def stop(self) -> None:
        self.waiting.clear()


class AtTheAddress(unittest.SynchronousTestCase):
    """Packets without a route."""

    def setUp(self) -> None:
        self.now = 0.0
        self.written: list[bytes] = []
        self.troubles: list[str] = []
        self.servers = Servers()
        responder = Responder(ZONE, lambda: DIRECTORY, backwards, forwards=True)
        addresses = [ip_address(each) for each in SERVER.values()]
        self.endpoint = Endpoint(
            addresses, responder, self.servers, self.written.extend, lambda: self.now, self
        )

    def looped(self) -> None:
        self.troubles.append("looped")

    def unanswered(self) -> None:
        self.troubles.append("unanswered")

    def take(self, *frames: bytes) -> list[str]:
        """The reasons of those that are dropped."""
        drops = [(DropReason.NO_ROUTE, frame) for frame in frames]
        return [reason for reason, _ in self.endpoint.take(list(drops))]

    def counts(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.endpoint.outcomes.items() if count}

    def test_queries(self) -> None:
        """A query of either family is answered from the address that was asked."""
        for version in (4, 6):
            self.assertEqual(self.take(datagram(query("web-1.mesh"), version)), [])
            answer = replies.datagram_of(self.written.pop())
            assert answer is not None
            self.assertEqual(values(answer.payload), ["10.9.0.1"])
            self.assertEqual(answer.source, ip_address(SERVER[version]).packed)
        self.assertEqual(self.counts(), {"answered": 2})

    def test_others(self) -> None:
        """Packets to other addresses are left alone."""
        other = packet(b"x" * 20, 4, 6)
        other = other[:26] + b"\x0a\x09\x00\x09" + other[30:]
        self.assertEqual(self.take(other, b"", b"x" * 5, bytes(30)), ["no_route"] * 4)
        self.assertEqual(self.written, [])

    def test_refused(self) -> None:
        """Another port, another protocol, garbage: port unreachable, or nothing; a ping is
        answered; all of that only so often."""
        self.assertEqual(self.take(datagram(b"x", port=54), packet(b"S" * 20, 4, 6)), [])
        self.assertEqual([each[30] for each in self.written], [3, 3])
        self.assertEqual(self.take(packet(b"\x08\0\0\0\0\1\0\1", 4, 1)), [])
        self.assertEqual(self.written[-1][30], 0)
        self.assertEqual(self.take(packet(b"\3\3\0\0abcd", 4, 1)), [])
        self.assertEqual(len(self.written), 3)
        many = [datagram(b"x", port=54)] * (ICMP_BURST + 6)
        self.assertEqual(self.take(*many), ["dns_flood"] * 10)
        self.assertEqual(self.counts(), {})

    def test_flood(self) -> None:
        """So many queries at once, then so many a second."""
        frames = [datagram(query("web-1.mesh"))] * (QUERY_BURST + 7)
        self.assertEqual(self.take(*frames), ["dns_flood"] * 7)
        self.assertEqual(len(self.written), QUERY_BURST)
        self.now += 10 / QUERY_RATE
        self.assertEqual(self.take(*frames[:12]), ["dns_flood"] * 2)
        self.assertEqual(self.counts(), {"answered": QUERY_BURST + 10, "dropped": 9})

    def test_joined(self) -> None:
        """Queries that were joined into one frame are answered one by one, as far as there are
        tokens; the rest is counted as dropped."""
        head = b"\1\0\0\0\0\0\x14\0\6\0"  # a checksum that is to be filled in
        single = [head + datagram(query("web-1.mesh", number=n))[10:] for n in range(60)]
        single = [each[:16] + b"\x40\0" + each[18:] for each in single]
        frames = udp_segments.join(single)
        self.assertEqual(len(frames), 1)
        self.assertEqual(self.take(*frames), [])
        answers = [replies.datagram_of(each) for each in self.written]
        self.assertEqual([read(each.payload).id for each in answers if each], list(range(60)))
        for answer in self.written:
            self.assertTrue(is_right(answer))
        self.assertEqual(self.take(*frames * 3), ["dns_flood"])
        self.assertEqual(self.counts(), {"answered": QUERY_BURST, "dropped": 240 - QUERY_BURST})

    def test_forwarded(self) -> None:
        """Other names wait for a name server; the answer is written when it comes. One that
        nobody answers is an error."""
        asked = datagram(query("example.com"))
        self.assertEqual(self.take(asked, asked), [])
        self.assertEqual(self.written, [])
        self.servers.waiting[0](b"an answer")
        back = replies.datagram_of(self.written[0])
        assert back is not None
        self.assertEqual((back.payload, back.destination_port), (b"an answer", 40000))
        self.servers.waiting[1](None)
        back = replies.datagram_of(self.written[1])
        assert back is not None
        self.assertEqual(read(back.payload).rCode, 2)
        self.assertEqual(self.counts(), {"forwarded": 1, "failed": 1})
        self.assertEqual(self.troubles, ["unanswered"])

    def test_too_many_wait(self) -> None:
        """When no more can wait, the answer is an error at once."""
        asked = datagram(query("example.com"))
        self.take(asked, asked, asked)
        self.assertEqual((len(self.written), self.counts()), (1, {"failed": 1}))
        self.assertEqual(self.troubles, [])

    def test_loop(self) -> None:
        """A query of our own that comes back is refused at once."""
        self.servers.loops = True
        self.take(datagram(query("example.com")))
        self.assertEqual((self.servers.in_flight, self.counts()), (0, {"refused": 1}))
        self.assertEqual(self.troubles, ["looped"])
