"""Netstrings: the framing of every byte inside the TLS connection.

    <length in decimal>:<payload>,          e.g.  5:hello,

The decoder is made for bulk data. A chunk from the transport is not copied: frames are memoryviews
into it. Only a frame that spans chunks is copied, into a buffer that grows as data arrives, so
announcing a long frame does not make the reader allocate memory. Between two calls the decoder
holds either that buffer, at most `limit` bytes and a comma, or an incomplete length.

Source: D. J. Bernstein, "Netstrings", 1997. As there, a length has no leading zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tunmesh.errors import FailureReason, PeerError

# "999999999" is the longest length that is waited for a colon to end.
_MAX_DIGITS = 9
_COMMA = 0x2C


def encode(payload: bytes) -> bytes:
    """Encode one frame."""
    return b"%d:%b," % (len(payload), payload)


class Decoder:
    """Splits a stream of chunks into payloads.

    `limit` is the longest payload accepted, in bytes. It may be changed between two frames, even
    while `feed` is being iterated; it applies from the next length on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._header = b""  # an incomplete length at the end of a chunk
        self._frame = bytearray()  # received part of a frame that spans chunks, with its comma
        self._missing = 0  # bytes of it that are still missing

    @property
    def held(self) -> int:
        """Bytes held of an incomplete frame."""
        return len(self._frame) if self._missing else 0

    def clear(self) -> None:
        """The stream has ended: discard the incomplete frame."""
        self._frame, self._missing, self._header = bytearray(), 0, b""

    def feed(self, chunk: bytes) -> Iterator[memoryview]:
        """Yield every payload that ends in this chunk.

        A payload stays valid for as long as the caller holds it. Raises PeerError("framing").
        """
        offset = 0
        size = len(chunk)
        if self._missing:
            offset = min(self._missing, size)
            self._frame += memoryview(chunk)[:offset]
            self._missing -= offset
            if self._missing:
                return
            frame, self._frame = self._frame, bytearray()
            if frame[-1] != _COMMA:
                raise PeerError(FailureReason.FRAMING, "a frame does not end in a comma")
            yield memoryview(frame)[:-1]
        if self._header:
            chunk = self._header + chunk[offset:]
            self._header = b""
            offset, size = 0, len(chunk)
        view = memoryview(chunk)
        while offset < size:
            colon = chunk.find(b":", offset, offset + _MAX_DIGITS + 1)
            if colon < 0:
                self._keep_header(chunk[offset:])
                return
            start = colon + 1
            length = _length(chunk[offset:colon])
            if length > self.limit:
                raise PeerError(
                    FailureReason.OVERSIZED, f"a frame of {length} bytes, {self.limit} are allowed"
                )
            end = start + length
            if end >= size:
                self._frame = bytearray(view[start:])
                self._missing = end + 1 - size
                return
            if chunk[end] != _COMMA:
                raise PeerError(FailureReason.FRAMING, "a frame does not end in a comma")
            yield view[start:end]
            offset = end + 1

    def _keep_header(self, rest: bytes) -> None:
        """The chunk ended before the colon: hold the digits, if they can still become a length."""
        if len(rest) > _MAX_DIGITS or not rest.isdigit():
            raise PeerError(FailureReason.FRAMING, "a frame does not begin with a length")
        self._header = rest


@lru_cache(2048)  # packets come in few sizes, and a lookup is faster than parsing
def _length(digits: bytes) -> int:
    if not digits.isdigit() or (digits[0] == 0x30 and len(digits) > 1):
        raise PeerError(FailureReason.FRAMING, "a frame does not begin with a length")
    return int(digits)
