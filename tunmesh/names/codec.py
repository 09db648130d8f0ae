"""DNS messages: queries are parsed here, answers are built by twisted.names.dns.

    0        2       4         6        8         10          12
    +--------+-------+---------+--------+---------+-----------+------------------+---------
    | id     | flags | queries | answers| authority| additional| question         | records
    +--------+-------+---------+--------+---------+-----------+------------------+---------

A query has one question and nothing else but an OPT record. Its name must be written out: no
compression, so there is no pointer to follow. The question is sent back byte for byte, capitals
included, since clients compare it. Records are only skipped over, one after the other, and no
name is ever followed anywhere: a message takes time that is proportional to its length.

Answers have at most MAX_ANSWER bytes, less if the client takes less: 512 if it does not say
(no OPT). Records that do not fit are left out, without the bit TC: that would make clients try
again by TCP, for which there is nothing here. A client that gets some of the addresses of a group
can do its work.

Sources: RFC 1035 section 4, RFC 6891 (OPT), RFC 2308 (negative answers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from twisted.names import dns

from tunmesh.names.answers import Answer, Code, Kind, Record
from tunmesh.names.labels import SERVER, Name
from tunmesh.wire.sizes import MAX_LABEL

PORT = 53
MAX_QUERY = 4096  # bytes
MAX_ANSWER = 1232  # bytes: fits into any path's MTU (DNS flag day 2020)
PLAIN_ANSWER = 512  # for clients without EDNS
_MAX_NAME = 255  # bytes
_MAX_ADDITIONAL = 2  # OPT, and a signature
_HEADER = struct.Struct("!HHHHHH")
HEADER_SIZE = _HEADER.size
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _DESIRED, _AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
_CHECKING_DISABLED, _OPCODE, _CODE = 0x10, 0x7800, 0xF
IN, ANY_CLASS = 1, 255


class MessageError(Exception):
    """A message that is no query. `answer` is what its sender is told; None: nothing."""

    def __init__(self, answer: bytes | None = None) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was parsed. `message` is all of it, `end` where its question ends."""

    message: bytes
    end: int
    labels: tuple[bytes, ...]  # as sent
    kind: int
    kind_class: int
    room: int  # bytes that the answer may have
    has_edns: bool = False
    edns_version: int = 0

    @property
    def id(self) -> int:
        return int.from_bytes(self.message[:2])

    @property
    def question(self) -> bytes:
        """Name, type and class, byte for byte."""
        return self.message[HEADER_SIZE : self.end]

    @property
    def name(self) -> Name:
        """In small letters. What is not ASCII equals no name of anybody."""
        return tuple(label.decode("latin-1").lower() for label in self.labels)

    @property
    def text(self) -> bytes:
        """The name, capitals as sent."""
        return b".".join(self.labels)


# --- queries ---


def decode(message: bytes) -> Query:
    """Raises MessageError for what is no query."""
    if len(message) < HEADER_SIZE:
        raise MessageError
    _, flags, questions, answers, authority, additional = _HEADER.unpack_from(message)
    if flags & _RESPONSE:
        raise MessageError
    if flags & _OPCODE:
        raise MessageError(_bare(message, Code.NOT_IMPLEMENTED))
    if (
        (questions, answers, authority) != (1, 0, 0)
        or additional > _MAX_ADDITIONAL
        or len(message) > MAX_QUERY
    ):
        raise MessageError(_bare(message, Code.MALFORMED))
    try:
        labels, at = _written_out(message)
        kind, kind_class = struct.unpack_from("!HH", message, at)
        end = at + 4
        options = [each for each in records(message, end, additional) if each.kind == Kind.OPT]
    except (ValueError, struct.error):
        raise MessageError(_bare(message, Code.MALFORMED)) from None
    if len(options) > 1:
        raise MessageError(_bare(message, Code.MALFORMED))
    room, version = PLAIN_ANSWER, 0
    for option in options:
        room = min(max(option.kind_class, PLAIN_ANSWER), MAX_ANSWER)
        version = option.ttl >> 16 & 0xFF
    return Query(message, end, labels, kind, kind_class, room, bool(options), version)


def _bare(message: bytes, code: Code) -> bytes:
    """An answer without a question, to a message that need not have one."""
    number, flags, *_ = _HEADER.unpack_from(message)
    flags = _RESPONSE | flags & (_OPCODE | _DESIRED) | code
    return _HEADER.pack(number, flags, 0, 0, 0, 0)


def _written_out(message: bytes) -> tuple[tuple[bytes, ...], int]:
    """The labels of the name in the question, and where it ends. Raises ValueError."""
    labels: list[bytes] = []
    at = HEADER_SIZE
    while True:
        if at >= len(message) or at - HEADER_SIZE >= _MAX_NAME:
            raise ValueError("a name without an end")
        length = message[at]
        if not length:
            return tuple(labels), at + 1
        if length > MAX_LABEL:
            raise ValueError("a compressed name in a question")
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length


# --- records of any message ---


class Found(NamedTuple):
    """A record in a message: where it starts and ends, and its head."""

    start: int
    end: int
    kind: int
    kind_class: int
    ttl: int


def records(message: bytes, at: int, count: int) -> Iterator[Found]:
    """The records from this offset on. Raises ValueError if there are fewer."""
    for _ in range(count):
        start, at = at, skip_name(message, at)
        if len(message) < at + 10:
            raise ValueError("a record is cut short")
        kind, kind_class, ttl, size = struct.unpack_from("!HHIH", message, at)
        at += 10 + size
        if len(message) < at:
            raise ValueError("a record is cut short")
        yield Found(start, at, kind, kind_class, ttl)


def skip_name(message: bytes, at: int) -> int:
    """Where a name ends. Raises ValueError."""
    while at < len(message):
        length = message[at]
        if length >= 0xC0:
            return at + 2  # a pointer, which ends a name
        if length > MAX_LABEL:
            break
        at += 1 + length
        if not length:
            return at
    raise ValueError("a name without an end")


# --- answers ---


class Codec:
    """Encodes answers of one mesh. `ttl` and `negative_ttl` are in seconds; `recursion`: whether
    other names are forwarded."""

    def __init__(self, domain: str, recursion: bool, ttl: int, negative_ttl: int) -> None:
        self._recursion = recursion
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._server = f"{SERVER}.{domain}"
        self._contact = f"hostmaster.{domain}"

    def encode(self, query: Query, answer: Answer) -> bytes:
        """The whole answer, or as many of its records as there is room for."""
        made = [self._record(query.text, record) for record in answer.records]
        authority = []
        if answer.zone and not made:
            authority.append(self._soa(answer.zone.encode(), self._negative_ttl))
        while True:
            encoded = self._message(query, answer, made, authority)
            excess = len(encoded) - query.room
            if excess <= 0 or not made:
                return encoded
            # Their sizes are much alike: mostly one round is enough.
            each = (len(encoded) - query.end) // len(made)
            del made[-max(1, excess // max(1, each)) :]

    def refusal(self, query: Query, code: Code) -> bytes:
        """An answer without records, of names that are not this mesh's."""
        return self._message(query, Answer(code), [], [])

    def _message(
        self,
        query: Query,
        answer: Answer,
        records: Sequence[dns.RRHeader],
        authority: Sequence[dns.RRHeader],
    ) -> bytes:
        (flags,) = struct.unpack_from("!H", query.message, 2)
        bad_version = query.edns_version != 0
        message = dns.Message(
            query.id,
            answer=1,
            recDes=flags & _DESIRED and 1,
            recAv=self._recursion,
            auth=bool(answer.zone),
            rCode=answer.code,
            maxSize=0,
            checkingDisabled=flags & _CHECKING_DISABLED and 1,
        )
        message.queries = [dns.Query(query.text, query.kind, query.kind_class)]
        message.answers, message.authority = list(records), list(authority)
        if query.has_edns:
            # The upper bits of the response code: 1 for BADVERS, which is 16.
            option = dns.UnknownRecord(b"")
            ttl = bad_version << 24
            message.additional = [dns.RRHeader(b"", Kind.OPT, MAX_ANSWER, ttl, option)]
        encoded = message.toStr()
        # A label may have a dot in it, which the text of a name does not show.
        return encoded[:HEADER_SIZE] + query.question + encoded[query.end :]

    def _record(self, owner: bytes, record: Record) -> dns.RRHeader:
        kind, value = record
        match kind:
            case Kind.SOA:
                return self._soa(owner, self._ttl)
            case Kind.PTR:
                payload: dns.IEncodableRecord = dns.Record_PTR(str(value).encode())
            case Kind.NS:
                payload = dns.Record_NS(str(value).encode())
            case _ if isinstance(value, IPv4Address):
                payload = dns.Record_A(str(value))
            case _:
                payload = dns.Record_AAAA(str(value))
        return dns.RRHeader(owner, kind, IN, self._ttl, payload)

    def _soa(self, zone: bytes, ttl: int) -> dns.RRHeader:
        payload = dns.Record_SOA(
            mname=self._server,
            rname=self._contact,
            serial=1,
            refresh=3600,
            retry=600,
            expire=86400,
            minimum=self._negative_ttl,
        )
        return dns.RRHeader(zone, Kind.SOA, IN, ttl, payload)
