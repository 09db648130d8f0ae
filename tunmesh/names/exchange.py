"""One query as it is forwarded, and what is accepted as its answer.

The query goes on as it came, byte for byte, with two changes: a random id, and capitals at random
in its name, which resolvers leave alone. Together with the random port of its socket they make an
answer hard to forge. And they mark the query: if it comes back to this node, because a name server
of this machine forwards to the DNS address of the mesh, then the capitals are those of a query that
waits, and that is a loop (Docker's resolver does that, if the DNS address is in its `dns:` list).
They always differ from those that came, so that a second client with the same question is none.

An answer has to have the id and the question, capitals aside: some servers do not preserve them. In
the answer to the client the question is as it was. All else is passed on unchanged, also flags and
options, which are between client and server.

An answer that was fetched by TCP may be larger than the client takes, or than one packet can be:
records are left out from its end, as in our own answers.

Sources: RFC 5452 (forged answers), draft-vixie-dnsext-dns0x20, RFC 5625 (what a proxy leaves
alone).
"""

from __future__ import annotations

from collections.abc import Callable

from tunmesh.names import codec
from tunmesh.names.answers import Code, Kind
from tunmesh.names.codec import HEADER_SIZE, Query

MAX_REPLY = 16384  # bytes of an answer by TCP; larger ones count as none
MAX_DATAGRAM = 4096  # bytes of an answer by UDP
_TRUNCATED = 0x02  # in the third byte
_RESPONSE = 0x80


class Exchange:
    """A query under way. `draw_bytes(n)` gives random bytes."""

    def __init__(self, query: Query, draw_bytes: Callable[[int], bytes]) -> None:
        self.query = query
        self._id = draw_bytes(2)
        self.question = _scrambled(query.question, draw_bytes(len(query.question)))
        rest = query.message[query.end :]
        head = query.message[2:HEADER_SIZE]
        self.message = self._id + head + self.question + rest

    @property
    def is_marked(self) -> bool:
        """Whether it would be recognised: a name without letters cannot be marked."""
        return self.question != self.query.question

    def accepts(self, answer: bytes) -> bool:
        """Whether this is an answer to it."""
        end = HEADER_SIZE + len(self.question)
        return (
            len(answer) >= end
            and answer[:2] == self._id
            and bool(answer[2] & _RESPONSE)
            and answer[4:6] == b"\0\1"
            and _same(answer[HEADER_SIZE:end], self.question)
        )

    def passed_on(self, answer: bytes, room: int = MAX_DATAGRAM) -> bytes:
        """The answer as the client gets it, in so many bytes at most."""
        end = HEADER_SIZE + len(self.question)
        restored = self.query.message[:2] + answer[2:HEADER_SIZE] + self.query.question
        return cut(restored + answer[end:], end, room)


def is_truncated(answer: bytes) -> bool:
    return bool(answer[2] & _TRUNCATED)


def has_answers(answer: bytes) -> bool:
    return answer[6:8] != b"\0\0"


def is_unhelpful(answer: bytes) -> bool:
    """Whether another name server may know better."""
    return answer[3] & 0xF in (Code.FAILED, Code.REFUSED, Code.NOT_IMPLEMENTED)


def cut(answer: bytes, end: int, room: int) -> bytes:
    """An answer without the bit TC, and without the records that do not fit. What comes after the
    records that answer the question is left out altogether, but for OPT. `end`: of its question."""
    answer = answer[:2] + bytes((answer[2] & ~_TRUNCATED,)) + answer[3:]
    if len(answer) <= room:
        return answer
    counts = [int.from_bytes(answer[at : at + 2]) for at in (6, 8, 10)]
    try:
        found = list(codec.records(answer, end, sum(counts)))
    except ValueError:
        return _with_counts(answer[:end], 0, 0)
    options = [answer[each.start : each.end] for each in found if each.kind == Kind.OPT][:1]
    option = options[0] if options and end + len(options[0]) <= room else b""
    kept = [each for each in found[: counts[0]] if each.end + len(option) <= room]
    last = kept[-1].end if kept else end
    return _with_counts(answer[:last], len(kept), 1 if option else 0) + option


def _with_counts(message: bytes, answers: int, additional: int) -> bytes:
    counts = answers.to_bytes(2) + bytes(2) + additional.to_bytes(2)
    return message[:6] + counts + message[HEADER_SIZE:]


def _same(one: bytes, other: bytes) -> bool:
    """Whether two questions are equal, capitals in the name aside."""
    return one[:-4].lower() == other[:-4].lower() and one[-4:] == other[-4:]


def _scrambled(question: bytes, noise: bytes) -> bytes:
    """A question with capitals at random; others than it has, if it has letters at all. Lengths of
    labels are below 64, which are no letters."""
    name = bytearray(question[:-4])
    letters = [at for at, byte in enumerate(name) if chr(byte).isascii() and chr(byte).isalpha()]
    for at in letters:
        name[at] = name[at] & 0xDF | (noise[at] & 1) << 5
    if letters and bytes(name) == question[:-4]:
        name[letters[0]] ^= 0x20
    return bytes(name) + question[-4:]
