"""DNS: packets at the DNS address, queries in them, and answers of name servers.

0 ‖ frame               any packet; first the length in its IP header is corrected
1 ‖ message             a query, in a datagram by IPv4
2 ‖ message             the same by IPv6
3 ‖ room ‖ rest         an answer of a name server: the right head, then this; `room`: two bytes
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from fuzz.targets.packet import with_correct_length
from tests.names.test_zone import DIRECTORY, ZONE
from tests.packets.test_replies import DNS, datagram, is_right
from tests.support.nameservers import query, read
from tunmesh.dataplane.drops import DropReason
from tunmesh.names import codec
from tunmesh.names.endpoint import Endpoint
from tunmesh.names.exchange import MAX_DATAGRAM, Exchange, is_truncated
from tunmesh.names.responder import Responder
from tunmesh.packets import replies

_ADDRESSES = [ip_address(each) for each in DNS.values()]


class _Servers:
    """They answer at once, with the query itself."""

    in_flight = 0

    def is_loop(self, query: codec.Query) -> bool:
        return query.id == 0xFFFF

    def has_room(self) -> bool:
        return True

    def ask(self, query: codec.Query, done: Callable[[bytes | None], None]) -> None:
        done(query.message if query.id else None)

    def stop(self) -> None: ...


class _Troubles:
    def looped(self) -> None: ...
    def unanswered(self) -> None: ...


def check(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"\3":
        _check_answer(int.from_bytes(rest[:2]), rest[2:])
    elif kind in (b"\1", b"\2"):
        _check_query(rest, 4 if kind == b"\1" else 6)
    else:
        _answers_to(with_correct_length(rest))


def _answers_to(frame: bytes) -> list[bytes]:
    """What a packet without a route gets; each a right packet, and no larger than allowed."""
    written: list[bytes] = []
    responder = Responder(ZONE, lambda: DIRECTORY, lambda _: None, forwards=True)
    endpoint = Endpoint(_ADDRESSES, responder, _Servers(), written.extend, lambda: 0.0, _Troubles())
    left = endpoint.take([(DropReason.NO_ROUTE, frame)])
    assert len(left) <= 1
    assert not (left and written) or len(written) > 1, "both answered and dropped"
    for answer in written:
        assert is_right(answer)
        assert answer[10:] != frame[10:], "it would come back for ever"
    asked = replies.datagram_of(frame)
    if asked is not None and frame[1] == 0:
        assert len(written) <= 1
    return written


def _check_query(message: bytes, version: int) -> None:
    """What is answered has the id and the question of the query, and no more than it takes."""
    message = message[:1400]
    answers = _answers_to(datagram(message, version))
    try:
        asked = codec.decode(message)
    except codec.MessageError as error:
        expected = [error.answer] if error.answer is not None else []
        found = [replies.datagram_of(each) for each in answers]
        assert [each.payload for each in found if each is not None] == expected
        return
    (frame,) = answers
    answer = replies.datagram_of(frame)
    assert answer is not None
    payload = answer.payload
    assert payload[:2] == message[:2]
    assert payload[12 : asked.end] == asked.question
    if payload != message:  # the name server of this check sends that back
        assert len(payload) <= max(asked.room, asked.end + 100)
        found_answer = read(payload)
        assert found_answer.answer and not found_answer.trunc
        # Twisted joins labels by dots: the same, unless a label has one.
        assert found_answer.queries[0].name.name == asked.text


def _check_answer(room: int, rest: bytes) -> None:
    """An answer is passed on in no more bytes than there is room, and what is cut is whole."""
    exchange = Exchange(codec.decode(query("eXample.com", size=1232)), lambda size: b"\x5a" * size)
    end = 12 + len(exchange.question)
    rest = rest.ljust(7, b"\0")
    head = exchange.message[:2] + b"\x80" + rest[:1] + b"\0\1" + rest[1:7]
    answer = head + exchange.question + rest[7:]
    assert exchange.accepts(answer)
    room = max(min(room, MAX_DATAGRAM), end)
    passed = exchange.passed_on(answer, room)
    assert len(passed) <= room
    assert passed[:2] == exchange.query.message[:2]
    assert passed[12:end] == exchange.query.question
    assert not is_truncated(passed)
    if len(answer) > room:
        counts = [int.from_bytes(passed[at : at + 2]) for at in (6, 8, 10)]
        found = list(codec.records(passed, end, sum(counts)))
        assert not found or found[-1].end == len(passed)
