"""DNS messages: what is taken for a query, and answers, which twisted.names reads back."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.support.nameservers import query, read
from tunmesh.names import codec
from tunmesh.names.answers import Answer, Code, Kind, Record
from tunmesh.names.codec import Codec, MessageError, Query

CODEC = Codec("mesh", True, 5, 2)


def values(answer: bytes) -> list[str]:
    """The addresses and names in an answer."""
    found = []
    for header in read(answer).answers:
        payload = header.payload
        if header.type in (1, 28):
            found.append(str(ip_address(payload.address)))
        else:
            found.append(payload.name.name.decode() if hasattr(payload, "name") else "SOA")
    return found


class Queries(unittest.SynchronousTestCase):
    """What is parsed."""

    def error(self, message: bytes) -> int | None:
        """The code that the sender is told; None if it is told nothing."""
        error = self.assertRaises(MessageError, codec.decode, message)
        if error.answer is None:
            return None
        self.assertEqual(len(error.answer), 12)
        self.assertEqual(error.answer[:2], message[:2])
        code: int = read(error.answer).rCode
        return code

    def test_plain(self) -> None:
        """A query of a resolver without EDNS: an answer of 512 bytes."""
        found = codec.decode(query("Web.Mesh", Kind.AAAA))
        self.assertEqual(found.labels, (b"Web", b"Mesh"))
        self.assertEqual(found.name, ("web", "mesh"))
        self.assertEqual((found.kind, found.kind_class, found.id), (28, 1, 7))
        self.assertEqual((found.room, found.has_edns), (512, False))

    def test_room(self) -> None:
        """With EDNS the client says how much it takes; never less than 512 or more than 1,232."""
        for size, room in ((0, 512), (700, 700), (1232, 1232), (4096, 1232), (65535, 1232)):
            self.assertEqual(codec.decode(query(size=size)).room, room)

    def test_not_for_an_answer(self) -> None:
        """What is too short, or itself an answer, is not answered: two servers would go on for
        ever."""
        self.assertIsNone(self.error(b""))
        self.assertIsNone(self.error(query()[:11]))
        self.assertIsNone(self.error(query()[:2] + b"\x81" + query()[3:]))

    def test_other_operations(self) -> None:
        """Updates and notifications are not implemented."""
        self.assertEqual(self.error(query()[:2] + b"\x28" + query()[3:]), Code.NOT_IMPLEMENTED)

    def test_malformed(self) -> None:
        """A query has one question, and no records but OPT."""
        good, with_option = query(), query(size=1232)
        counts = [
            (0, 0, 0, 0),
            (2, 0, 0, 0),
            (1, 1, 0, 0),
            (1, 0, 1, 0),
            (1, 0, 0, 3),
            (1, 0, 0, 1),
        ]
        for count in counts:
            bad = good[:4] + struct.pack(">4H", *count) + good[12:]
            self.assertEqual(self.error(bad), Code.MALFORMED, count)
        twice = with_option[:10] + b"\0\2" + with_option[12:] + with_option[len(good) :]
        self.assertEqual(self.error(twice), Code.MALFORMED)
        for bad in (good[:-1], good[:14], with_option[:-1], good + bytes(codec.MAX_QUERY)):
            self.assertEqual(self.error(bad), Code.MALFORMED)

    def test_names(self) -> None:
        """No pointers (a loop needs one), no label longer than 63, no name longer than 255."""
        head, tail = query()[:12], b"\0\1\0\1"
        longest = b"\x3f" + b"a" * 63
        for name in (
            b"\xc0\x0c",
            b"\3web\xc0\x0c",
            b"\x40" + b"a" * 64 + b"\0",
            longest * 4 + b"\0",
            b"\3we",
            b"\x3f",
        ):
            self.assertEqual(self.error(head + name + tail), Code.MALFORMED, name)
        self.assertEqual(len(codec.decode(head + longest * 3 + b"\0" + tail).labels), 3)
        self.assertEqual(codec.decode(head + b"\0" + tail).labels, ())

    @given(st.binary(max_size=80))
    def test_garbage(self, data: bytes) -> None:
        """Garbage is refused, or read as twisted.names reads it."""
        for message in (data, b"\0\7\1\0\0\1\0\0\0\0\0\0" + data):
            try:
                found = codec.decode(message)
            except MessageError:
                continue
            (question,) = read(message).queries
            self.assertEqual(question.name.name, b".".join(found.labels))
            self.assertEqual((question.type, question.cls), (found.kind, found.kind_class))


class Answers(unittest.SynchronousTestCase):
    """What is encoded."""

    def decoded(self, *arguments: object, **named: object) -> Query:
        return codec.decode(query(*arguments, **named))  # type: ignore[arg-type]

    def test_addresses(self) -> None:
        """Addresses of both families, with the name as it was asked for: clients that mix capitals
        compare it."""
        asked = self.decoded("wEB.mesh", Kind.ANY)
        records = [
            Record(Kind.A, ip_address("10.9.0.3")),
            Record(Kind.AAAA, ip_address("fd09::3")),
        ]
        encoded = CODEC.encode(asked, Answer(Code.OK, records, "mesh"))
        self.assertEqual(values(encoded), ["10.9.0.3", "fd09::3"])
        answer = read(encoded)
        self.assertEqual((answer.id, answer.answer, answer.auth, answer.rCode), (7, 1, 1, 0))
        self.assertEqual((answer.recDes, answer.recAv, answer.trunc), (1, 1, 0))
        self.assertEqual([each.name.name for each in answer.answers], [b"wEB.mesh"] * 2)
        self.assertEqual([each.ttl for each in answer.answers], [5, 5])
        self.assertEqual(encoded[12 : asked.end], asked.question)

    def test_other_records(self) -> None:
        """PTR, NS and SOA."""
        for kind, value, shown in (
            (Kind.PTR, "web.mesh", "web.mesh"),
            (Kind.NS, "_dns.mesh", "_dns.mesh"),
            (Kind.SOA, "", "SOA"),
        ):
            asked = self.decoded("mesh", kind)
            encoded = CODEC.encode(asked, Answer(Code.OK, [Record(kind, value)], "mesh"))
            self.assertEqual(values(encoded), [shown])

    def test_negative(self) -> None:
        """Without records there is the SOA of the zone, for as long as the answer may be kept."""
        for code in (Code.OK, Code.NO_SUCH_NAME):
            answer = read(CODEC.encode(self.decoded(), Answer(code, (), "mesh")))
            (soa,) = answer.authority
            self.assertEqual((answer.rCode, soa.name.name, soa.type), (code, b"mesh", 6))
            self.assertEqual((soa.ttl, soa.payload.minimum), (2, 2))

    def test_room(self) -> None:
        """What does not fit is left out, and the answer does not claim to be cut (TC)."""
        records = [Record(Kind.A, ip_address(f"10.9.{n // 256}.{n % 256}")) for n in range(1000)]
        for size, room, least in ((None, 512, 29), (512, 512, 28), (1232, 1232, 73)):
            asked = self.decoded("web.mesh", Kind.A, size)
            encoded = CODEC.encode(asked, Answer(Code.OK, records, "mesh"))
            answer = read(encoded)
            self.assertLessEqual(len(encoded), room)
            self.assertGreater(len(encoded), room - 16)
            self.assertEqual(answer.trunc, 0)
            self.assertGreaterEqual(len(answer.answers), least)
            self.assertEqual(len(answer.additional), size is not None)

    def test_edns(self) -> None:
        """A client with EDNS gets it back; a version that is not known is refused (BADVERS)."""
        answer = read(CODEC.refusal(self.decoded(size=4096), Code.REFUSED))
        (option,) = answer.additional
        self.assertEqual((option.type, option.cls, option.ttl), (41, 1232, 0))
        other = bytearray(query(size=4096))
        other[-5] = 1  # the version, in the second byte of the ttl
        asked = codec.decode(bytes(other))
        self.assertEqual(asked.edns_version, 1)
        (option,) = read(CODEC.refusal(asked, Code.OK)).additional
        self.assertEqual(option.ttl >> 24, 1)

    def test_dot_in_a_label(self) -> None:
        """The question comes back as it was, even if a label has a dot in it."""
        raw = query()[:12] + b"\7web.web\4mesh\0\0\1\0\1"
        asked = codec.decode(raw)
        encoded = CODEC.encode(asked, Answer(Code.NO_SUCH_NAME, (), "mesh"))
        self.assertEqual(encoded[12 : asked.end], raw[12:])
        self.assertEqual(read(encoded).authority[0].name.name, b"mesh")
