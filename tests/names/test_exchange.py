"""Queries as they are forwarded, and answers as they are passed on."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.support.nameservers import answer, query, read
from tunmesh.names import codec
from tunmesh.names.exchange import Exchange, cut, has_answers, is_truncated, is_unhelpful
from tunmesh.names.resolv_conf import nameservers
from tunmesh.names.resolv_conf import read as read_file


def ones(size: int) -> bytes:
    return b"\xff" * size


def zeros(size: int) -> bytes:
    return bytes(size)


def exchange(name: str = "Example.com", size: int | None = None, noise: object = ones) -> Exchange:
    return Exchange(codec.decode(query(name, size=size)), noise)  # type: ignore[arg-type]


class Forwarded(unittest.SynchronousTestCase):
    """The query that a name server gets."""

    def test_changes(self) -> None:
        """Another id and other capitals; all else is as it came, options too."""
        original = query("Example.com", size=4096)
        made = exchange(size=4096).message
        self.assertEqual(made[:2], b"\xff\xff")
        self.assertEqual(made[2:12], original[2:12])
        self.assertEqual(made.lower()[12:], original.lower()[12:])
        self.assertEqual(read(made).queries[0].name.name, b"example.com")
        self.assertEqual(read(exchange(noise=zeros).message).queries[0].name.name, b"EXAMPLE.COM")

    @given(
        st.from_regex(r"[A-Za-z0-9.]{1,20}", fullmatch=True), st.binary(min_size=300, max_size=300)
    )
    def test_mark(self, name: str, noise: bytes) -> None:
        """The capitals are never those that came, if there are letters; lengths, type and class
        never change."""
        if ".." in name or name.startswith(".") or name.endswith("."):
            return
        asked = codec.decode(query(name))
        made = Exchange(asked, lambda size: noise[:size])
        self.assertEqual(made.is_marked, any(each.isalpha() for each in name))
        again = codec.decode(made.message)
        self.assertEqual(again.name, asked.name)
        self.assertEqual((again.kind, again.kind_class), (asked.kind, asked.kind_class))


class Accepted(unittest.SynchronousTestCase):
    """What counts as the answer."""

    def setUp(self) -> None:
        self.exchange = exchange()
        self.good = answer(self.exchange.message, ["192.0.2.7"])

    def test_good(self) -> None:
        """The id and the question, capitals aside."""
        self.assertTrue(self.exchange.accepts(self.good))
        self.assertTrue(self.exchange.accepts(self.good.replace(b"example", b"ExAmPlE")))

    def test_forged(self) -> None:
        """Another id, another question, a query, or a part of an answer is none."""
        good = self.good
        for bad in (
            bytes((good[0] ^ 1,)) + good[1:],
            good[:1] + bytes((good[1] ^ 1,)) + good[2:],
            good[:2] + b"\1" + good[3:],
            good[:4] + b"\0\0" + good[6:],
            good.replace(b"example", b"exomple"),
            good.replace(b"\0\1\0\1", b"\0\x1c\0\1"),
            good[:20],
            b"",
            self.exchange.message,
        ):
            self.assertFalse(self.exchange.accepts(bad), bad)

    @given(st.binary(max_size=60))
    def test_garbage(self, data: bytes) -> None:
        """Garbage is refused, or passed on without trouble."""
        made = exchange()
        self.assertFalse(made.accepts(data))
        whole = made.message[:2] + b"\x80" + made.message[3:] + data
        self.assertTrue(made.accepts(whole))
        for room in (12, 40, 64, 512):
            passed = made.passed_on(whole, max(room, 12 + len(made.question)))
            self.assertLessEqual(len(passed), max(room, 12 + len(made.question)))

    def test_passed_on(self) -> None:
        """The client gets its own id and capitals; names that point to the question follow."""
        passed = read(self.exchange.passed_on(self.good))
        self.assertEqual((passed.id, passed.queries[0].name.name), (7, b"Example.com"))
        self.assertEqual(passed.answers[0].name.name, b"Example.com")

    def test_what_it_is(self) -> None:
        """Codes and bits that decide what happens next."""
        asked = self.exchange.message
        self.assertTrue(is_truncated(answer(asked, truncated=True)))
        self.assertFalse(is_truncated(self.good))
        self.assertTrue(has_answers(self.good))
        self.assertFalse(has_answers(answer(asked)))
        for code in range(16):
            self.assertEqual(is_unhelpful(answer(asked, code=code)), code in (2, 4, 5), code)


class Cut(unittest.SynchronousTestCase):
    """Answers that are too long."""

    @given(st.integers(0, 60), st.integers(40, 1300))
    def test_cut(self, count: int, room: int) -> None:
        """As many records as fit, whole; never a bit that says that there are more."""
        made = exchange()
        whole = answer(made.message, [f"192.0.2.{n}" for n in range(count)], truncated=True)
        end = 12 + len(made.question)
        short = cut(whole, end, room)
        found = read(short)
        self.assertLessEqual(len(short), max(room, end))
        self.assertEqual(found.trunc, 0)
        fit = max(0, min(count, (room - end) // 16))
        self.assertEqual(len(found.answers), fit)

    def test_option(self) -> None:
        """OPT stays, other records beside the answers do not."""
        made = exchange()
        whole = answer(made.message, [f"192.0.2.{n}" for n in range(50)])
        option = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
        extra = whole[-16:]
        whole = whole[:10] + b"\0\2" + whole[12:] + extra + option
        end = 12 + len(made.question)
        found = read(cut(whole, end, 512))
        self.assertEqual([each.type for each in found.additional], [41])
        self.assertEqual(len(found.answers), (512 - end - 11) // 16)


class Files(unittest.TestCase):
    """/etc/resolv.conf."""

    def test_lines(self) -> None:
        """The first three servers, without our own address, each once; nonsense is ignored."""
        text = """
# a comment
search default.svc.cluster.local
nameserver 10.9.255.254
nameserver\t10.96.0.10   # with a comment
nameserver nonsense
nameserver fe80::1%eth0
nameserver 192.0.2.1
options ndots:5
"""
        ours = (ip_address("10.9.255.254"),)
        self.assertEqual(nameservers(text, ours), ("10.96.0.10", "fe80::1%eth0"))
        self.assertEqual(nameservers(text, ())[0], "10.9.255.254")
        twice = "nameserver 192.0.2.1\nnameserver 192.0.2.1\n"
        self.assertEqual(nameservers(twice, ()), ("192.0.2.1",))
        for nothing in ("", "nameserver", "nameserver 10.9.255.254", "domain x"):
            self.assertEqual(nameservers(nothing, ours), ())

    def test_file(self) -> None:
        """A file that cannot be read has none."""
        path = Path(self.mktemp())
        self.assertEqual(read_file((), path), ())
        path.write_bytes(b"nameserver 192.0.2.1\n\xff\xfe\n")
        self.assertEqual(read_file((), path), ("192.0.2.1",))
