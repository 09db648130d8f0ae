"""Joins the slices of one peer into frames, while they are being decrypted.

    arena  │ gap │ payload │ payload │ payload ‖ headers ‖ trailer │ ...
                 └── of one frame, without a gap: a run

Slices that continue each other are decrypted side by side, each over the headers and the trailer of
the one before. At the end the headers are copied into the gap in front of the run, and the frame is
written to the tun from there: its payload is never copied.

A run need not be the whole frame. Of a TCP segment any part is a segment, and of joined datagrams
any number, once the headers say so (`part`). So whatever came is delivered as soon as the read has
ended, and nothing waits for what was lost. Only WHOLE frames need all their slices. Of those that
are not complete one is held, 64 KB at most, until a newer one takes its place.

Everything here was authenticated, and may be nonsense all the same. Nonsense is counted
(`malformed`) or becomes a frame that the table refuses (dataplane.table).
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

from tunmesh.udp.aead import Into
from tunmesh.udp.parts import part
from tunmesh.udp.scratch import ARENA, GAP, Scratch
from tunmesh.wire.datagrams import (
    CONTROL,
    CONTROL_TRAILER,
    HEAD,
    MIN_DATAGRAM,
    TRAILER,
    WHOLE,
)

_NONE = ARENA + 1  # there is no arena yet


class _Incomplete:
    """A WHOLE frame of which slices are missing."""

    def __init__(self, first: int, headers: bytes, total: int) -> None:
        self.first = first
        self.total = total
        self.frame = bytearray(headers) + bytes(total)
        self.missing = total


class Runs:
    """`controls` are the control messages that came, each with the size of its datagram."""

    def __init__(self, scratch: Scratch) -> None:
        self.controls: list[tuple[bytes, int]] = []
        self.malformed = 0
        self._scratch = scratch
        self._arenas: list[memoryview] = []  # in use; the last one is being filled
        self._frames: list[memoryview] = []
        self._at = _NONE  # where the next plaintext goes
        self._first = 0  # the counter of the first slice of the frame of the run; 0: there is none
        self._headers = b""
        self._kind = WHOLE
        self._start = 0  # where the run begins in the arena
        self._offset = 0  # of the run in its frame
        self._total = 0
        self._incomplete: _Incomplete | None = None

    def take(self, decrypt: Into, data: memoryview, size: int, counter: int) -> int:
        """Decrypt datagrams of `size` bytes each and consecutive counters, up to the first that is
        not authentic. How many were."""
        plain = size - MIN_DATAGRAM
        for at in range(0, len(data), size):
            if self._at + plain > ARENA:
                self._next_arena()
            place = self._arenas[-1][self._at : self._at + plain]
            try:
                decrypt(data[at : at + HEAD.size], data[at + HEAD.size : at + size], None, place)
            except InvalidTag:
                return at // size
            if not self._add(counter + at // size, plain):
                self.malformed += 1
        return len(data) // size

    def frames(self) -> list[memoryview]:
        """What came since the last call. The frames are valid until the next `take`, of whichever
        session with the same scratch."""
        self._finish()
        frames, self._frames = self._frames, []
        self._scratch.give_back(self._arenas)
        self._arenas, self._at = [], _NONE
        return frames

    def _next_arena(self) -> None:
        self._finish()
        self._arenas.append(self._scratch.arena())
        self._at = GAP

    def _add(self, counter: int, plain: int) -> bool:
        """A plaintext of this size was decrypted to where the next one goes. False: nonsense."""
        at, arena = self._at, self._arenas[-1]
        end = at + plain
        if not plain:
            return False
        if arena[end - 1] == CONTROL:
            return self._add_control(arena[at:end])
        if plain < TRAILER.size:
            return False
        number, offset, total, size, kind = TRAILER.unpack_from(arena, end - TRAILER.size)
        length = min(plain - TRAILER.size - size, total - offset)
        if length <= 0 or kind > WHOLE or number >= counter:
            return False
        if (
            counter - number != self._first
            or offset != self._offset + at - self._start
            or kind != self._kind
            or total != self._total
        ):
            headers = bytes(arena[end - TRAILER.size - size : end - TRAILER.size])
            self._begin(headers, arena[at : at + length], offset, total)
            self._first, self._kind = counter - number, kind
        self._at += length
        if offset + length == total:
            self._finish()
        return True

    def _add_control(self, plaintext: memoryview) -> bool:
        if len(plaintext) < CONTROL_TRAILER.size:
            return False
        end = len(plaintext) - CONTROL_TRAILER.size
        size, _ = CONTROL_TRAILER.unpack_from(plaintext, end)
        if size > end:
            return False
        self.controls.append((bytes(plaintext[end - size : end]), len(plaintext) + MIN_DATAGRAM))
        return True

    def _begin(self, headers: bytes, payload: memoryview, offset: int, total: int) -> None:
        """A run begins with this payload, which lies where the next plaintext would."""
        at, arena = self._at, self._arenas[-1]
        self._finish()
        # Room for the run, and behind it for a plaintext of this size.
        if self._at + total - offset + len(payload) + GAP > ARENA:
            self._next_arena()
        if self._at != at or self._arenas[-1] is not arena:
            self._arenas[-1][self._at : self._at + len(payload)] = payload
        self._headers, self._start, self._offset, self._total = headers, self._at, offset, total

    def _finish(self) -> None:
        """The run is over, if there is one: what came next does not continue it."""
        first, self._first = self._first, 0
        if not first:
            return
        arena, start, end = self._arenas[-1], self._start, self._at
        self._at = end + GAP
        headers, size = self._headers, end - start
        if size < self._total:
            if self._kind == WHOLE:
                self._hold(first, arena[start:end])
                return
            headers = part(headers, self._kind, self._offset, size, self._total)
            if not headers:
                self.malformed += 1
                return
        arena[start - len(headers) : start] = headers
        self._frames.append(arena[start - len(headers) : end])

    def _hold(self, first: int, payload: memoryview) -> None:
        """Slices of a WHOLE frame, without others that have come before or may still come."""
        held = self._incomplete
        if held is None or first > held.first:
            held = self._incomplete = _Incomplete(first, self._headers, self._total)
        elif first < held.first or self._total != held.total:
            return
        start = len(held.frame) - held.total + self._offset
        held.frame[start : start + len(payload)] = payload
        held.missing -= len(payload)
        if held.missing <= 0:
            self._incomplete = None
            self._frames.append(memoryview(held.frame))
