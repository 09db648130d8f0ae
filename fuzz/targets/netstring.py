"""The frame decoder, compared with a simple one that is given the whole stream.

limit / 4 ‖ number of cuts ‖ sizes of the chunks (1 byte each, repeated) ‖ stream
"""

from __future__ import annotations

import re
from itertools import cycle

from fuzz.choices import Choices
from tunmesh.errors import PeerError
from tunmesh.wire.netstring import Decoder, encode

Outcome = tuple[list[bytes], str | None]  # payloads, and the reason for the end

_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_PART_OF_LENGTH = re.compile(rb"[0-9]{0,9}")


def check(data: bytes) -> None:
    choices = Choices(data)
    limit = 4 * choices.number()
    sizes = [choices.number() + 1 for _ in range(choices.number(8))]
    stream = choices.rest()
    expected = slowly(stream, limit)
    for chunks in ([len(stream) + 1], [1], sizes or [2]):
        assert in_chunks(stream, limit, chunks) == expected, chunks
    again = b"".join(map(encode, expected[0]))
    assert stream.startswith(again), "what was read is not what is written"


def slowly(stream: bytes, limit: int) -> Outcome:
    """The rules, one after another."""
    payloads: list[bytes] = []
    while True:
        head = _LENGTH.match(stream)
        if head is None:
            is_begun = _PART_OF_LENGTH.fullmatch(stream) is not None
            return payloads, None if is_begun else "framing"
        length, rest = int(head[1]), stream[head.end() :]
        if length > limit:
            return payloads, "oversized"
        if len(rest) <= length:
            return payloads, None
        if rest[length : length + 1] != b",":
            return payloads, "framing"
        payloads.append(rest[:length])
        stream = rest[length + 1 :]


def in_chunks(stream: bytes, limit: int, sizes: list[int]) -> Outcome:
    """The decoder's result. Payloads are read at the end, since they must stay valid."""
    decoder = Decoder(limit)
    payloads: list[memoryview] = []
    reason = None
    at = 0
    for size in cycle(sizes):
        if at >= len(stream):
            break
        try:
            for payload in decoder.feed(stream[at : at + size]):
                payloads.append(payload)
        except PeerError as error:
            reason = error.reason
            break
        assert len(decoder._header) <= 9
        assert len(decoder._frame) <= limit + 1
        at += size
    return [bytes(payload) for payload in payloads], reason
