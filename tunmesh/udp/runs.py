"""Joins the slices of one peer into frames, while they are being decrypted.

    arena  │ gap │ payload │ payload │ payload ‖ headers ‖ trailer │ ...
                 └── of one frame, without a gap: a run

Slices that continue each other are decrypted side by side, each over the headers and the trailer of
the one before. At the end the headers are copied into the gap in front of the run, and the frame is
written to the tun from there: its payload is never copied.

A run need not be the whole frame. Of a TCP segment any part is a segment, and of joined datagrams
any number, once the headers say so (`part`). So whatever came is delivered as soon as the read has
ended, and nothing waits for what was lost. Only WHOLE frames need all their slices. Of those that
are not complete one is held, as much of it as came, until a newer one takes its place, if there is
room for it in the account of the peer (link.memory_budget).

Everything here was authenticated, and may be nonsense all the same. Nonsense is counted
(`malformed`) or becomes a frame that the table refuses (dataplane.table).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from itertools import repeat

from cryptography.exceptions import InvalidTag

from tunmesh.link.memory_budget import Account
from tunmesh.packets import virtio
from tunmesh.udp.aead import Into
from tunmesh.udp.parts import part
from tunmesh.udp.scratch import ARENA, GAP, Arena, Scratch
from tunmesh.wire.datagrams import (
    CONTROL,
    CONTROL_TRAILER,
    MIN_DATAGRAM,
    TAG,
    TRAILER,
    WHOLE,
)

_NONE = ARENA + 1  # behind each arena
_MOST_PIECES = 64  # of a frame that is held: a frame has fewer slices
_CROWDED = GAP + 16_384  # from here on, runs begin in another arena
_WHOLE_END = virtio.HEADER + TRAILER.size  # of a WHOLE slice: what is behind the payload
_WHOLE_TRAILER = virtio.HEADER << 8 | WHOLE  # of a frame in one slice, but for its size
_NUMBER = struct.Struct(">Q").unpack_from


class _Incomplete:
    """A WHOLE frame of which slices are missing."""

    def __init__(self, first: int, headers: bytes, total: int) -> None:
        self.first = first
        self.headers = headers
        self.total = self.missing = total
        self.pieces: list[tuple[int, bytes]] = []  # with their offsets

    @property
    def size(self) -> int:
        """Bytes that came."""
        return self.total - self.missing

    def add(self, offset: int, piece: bytes) -> None:
        if len(self.pieces) < _MOST_PIECES:
            self.pieces.append((offset, piece))
            self.missing -= len(piece)

    def frame(self) -> memoryview:
        """With zeros where there are no pieces, if those that came are nonsense and overlap."""
        start = len(self.headers)
        frame = bytearray(self.headers) + bytes(self.total)
        for offset, piece in self.pieces:
            frame[start + offset : start + offset + len(piece)] = piece
        return memoryview(frame)


class Runs:
    """`controls` are the control messages that came, each with the size of its datagram."""

    def __init__(self, scratch: Scratch, account: Account) -> None:
        self.controls: list[tuple[bytes, int]] = []
        self.malformed = 0
        self._scratch = scratch
        self._account = account  # what is held of incomplete frames
        self._arenas: list[Arena] = []  # in use; the last one is being filled
        self._frames: list[memoryview] = []
        self._at = _NONE  # where the next plaintext goes
        self._first = 0  # the counter of the first slice of the frame of the run; 0: there is none
        self._headers = b""
        self._kind = WHOLE
        self._start = 0  # where the run begins in the arena
        self._offset = 0  # of the run in its frame
        self._total = 0
        # If the next slice has this counter, and its plaintext this size, it may well continue the
        # run with a payload of this size, and have this trailer.
        self._next = 0
        self._size = 0
        self._step = 0
        self._trailer = 0
        self._incomplete: _Incomplete | None = None

    def take(
        self, decrypt: Into, nonces: Sequence[bytes], texts: Sequence[bytes], counter: int
    ) -> int:
        """Decrypt datagrams that are equally long and have consecutive counters, up to the first
        that is not authentic. How many were."""
        done, count, is_orderly = 0, len(texts), True
        while done < count:
            if is_orderly and counter + done == self._next and len(texts[0]) == self._size + TAG:
                continued = self._continue(decrypt, nonces[done:], texts[done:])
                done += continued
                is_orderly = continued > 0
            elif self.take_one(decrypt, nonces[done], texts[done], counter + done):
                done += 1
            else:
                break
        return done

    def take_one(
        self, decrypt: Into, nonce: bytes | memoryview, text: bytes | memoryview, counter: int
    ) -> bool:
        """Decrypt one datagram; whether it was authentic."""
        size = len(text) - TAG
        if self._at + size > ARENA:
            self._next_arena()
        arena, at = self._arenas[-1], self._at
        end = at + size
        try:
            decrypt(nonce, text, None, arena.view[at:end])
        except InvalidTag:
            return False
        if (
            size > _WHOLE_END
            and not self._first
            and _NUMBER(arena.buffer, end - TRAILER.size)[0]
            == (size - _WHOLE_END) << 16 | _WHOLE_TRAILER
        ):
            # A small packet, alone in its datagram: the quick way to the same.
            payload, start = end - _WHOLE_END, at - virtio.HEADER
            arena.buffer[start:at] = arena.buffer[payload : payload + virtio.HEADER]
            self._frames.append(arena.view[start:payload])
            self._at = end + GAP
        elif not self._add(counter, size):
            self.malformed += 1
        return True

    def _continue(self, decrypt: Into, nonces: Sequence[bytes], texts: Sequence[bytes]) -> int:
        """Decrypt those that continue the run. How many did: all that can, or none.

        Only the last trailer is looked at. If it is of this frame, then so are all before, since
        their counters are consecutive; or somebody has sealed nonsense, and gets nonsense."""
        at, size, step, arena = self._at, self._size, self._step, self._arenas[-1]
        left = self._total - self._offset - (at - self._start)
        count = min(-(-left // step), (ARENA - size - at) // step + 1, len(texts))
        if self._start == GAP:
            places = arena.places(size, step, (at - GAP) // step, count)
        else:
            end = at + count * step
            places = [arena.view[start : start + size] for start in range(at, end, step)]
        try:
            deque(map(decrypt, nonces, texts, repeat(None), places), maxlen=0)
        except InvalidTag:
            return 0  # whichever it was: they are taken one by one
        trailer = self._trailer + (count - 1) * (1 << 48 | step << 32)
        if _NUMBER(arena.buffer, at + (count - 1) * step + size - TRAILER.size)[0] != trailer:
            return 0
        self._trailer = trailer + (1 << 48 | step << 32)
        self._next += count
        self._at += min(count * step, left)
        if count * step >= left:
            self._finish()
        return count

    def frames(self) -> list[memoryview]:
        """What came since the last call. The frames are valid until the next `take`, of whichever
        session with the same scratch."""
        self._finish()
        frames, self._frames = self._frames, []
        self._scratch.give_back(self._arenas)
        self._arenas, self._at = [], _NONE
        return frames

    def close(self) -> None:
        """Nothing comes any more."""
        self._incomplete = None
        self._account.hold(0)

    def _next_arena(self) -> None:
        self._finish()
        self._arenas.append(self._scratch.arena())
        self._at = GAP

    def _add(self, counter: int, plain: int) -> bool:
        """A plaintext of this size was decrypted to where the next one goes. False: nonsense."""
        at, buffer = self._at, self._arenas[-1].buffer
        end = at + plain
        if not plain:
            return False
        if buffer[end - 1] == CONTROL:
            return self._add_control(bytes(buffer[at:end]))
        if plain < TRAILER.size:
            return False
        number, offset, total, size, kind = TRAILER.unpack_from(buffer, end - TRAILER.size)
        step = plain - TRAILER.size - size
        length = min(step, total - offset)
        if length <= 0 or kind > WHOLE or number >= counter:
            return False
        is_first = (
            counter - number != self._first
            or offset != self._offset + at - self._start
            or kind != self._kind
            or total != self._total
        )
        if is_first:
            headers = bytes(buffer[end - TRAILER.size - size : end - TRAILER.size])
            self._begin(headers, at, length, offset, total)
            self._first, self._kind = counter - number, kind
        self._at += length
        if offset + length == total:
            self._finish()
        elif number < 0xFFFF and offset + step < 0xFFFF:
            # Not read again: the payload may have been moved to there.
            trailer = number << 48 | offset << 32 | total << 16 | size << 8 | kind
            self._next, self._size, self._step = counter + 1, plain, step
            self._trailer = trailer + (1 << 48 | step << 32)
        return True

    def _add_control(self, plaintext: bytes) -> bool:
        end = len(plaintext) - CONTROL_TRAILER.size
        if end < 0:
            return False
        size, _ = CONTROL_TRAILER.unpack_from(plaintext, end)
        if size > end:
            return False
        self.controls.append((plaintext[end - size : end], len(plaintext) + MIN_DATAGRAM))
        return True

    def _begin(self, headers: bytes, at: int, length: int, offset: int, total: int) -> None:
        """A run begins with this payload, which lies where the next plaintext would."""
        arena = self._arenas[-1]
        self._finish()
        # Room for the run, and behind it for a plaintext of this size.
        if self._at + total - offset + length + GAP > ARENA:
            self._next_arena()
        if self._at != at:
            self._arenas[-1].view[self._at : self._at + length] = arena.view[at : at + length]
        self._headers, self._start, self._offset, self._total = headers, self._at, offset, total

    def _finish(self) -> None:
        """The run is over, if there is one: what came next does not continue it."""
        first, self._first, self._next = self._first, 0, 0
        if not first:
            return
        view, start, end = self._arenas[-1].view, self._start, self._at
        # A long one had probably better begin in an arena of its own.
        self._at = end + GAP if end < _CROWDED else _NONE
        headers, size = self._headers, end - start
        if size < self._total:
            if self._kind == WHOLE:
                self._hold(first, view[start:end])
                return
            headers = part(headers, self._kind, self._offset, size, self._total)
            if not headers:
                self.malformed += 1
                return
        view[start - len(headers) : start] = headers
        self._frames.append(view[start - len(headers) : end])

    def _hold(self, first: int, payload: memoryview) -> None:
        """Slices of a WHOLE frame, without others that have come before or may still come."""
        held = self._incomplete
        if held is None or first > held.first:
            held = _Incomplete(first, self._headers, self._total)
        elif first < held.first or self._total != held.total:
            return
        held.add(self._offset, bytes(payload))
        if held.missing <= 0:
            self._frames.append(held.frame())
        is_held = held.missing > 0 and held.size <= self._account.held + self._account.room
        self._incomplete = held if is_held else None
        self._account.hold(held.size if is_held else 0)
