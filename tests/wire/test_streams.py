"""Messages about streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.errors import FailureReason, PeerError
from tunmesh.wire.streams import (
    BROKEN,
    CREDIT,
    END,
    INCOMING,
    MAX_PIECE,
    OPEN,
    OPENED,
    PIECE,
    REFUSED,
    Message,
    Refused,
    decode,
)

NODE = bytes(range(16))


class StreamMessageTests(SynchronousTestCase):
    """What is said about streams."""

    def test_round_trips(self) -> None:
        """Each kind is read as it was written."""
        for message in (
            Message(OPEN, 1, body=NODE),
            Message(INCOMING, 2, body=NODE),
            Message(OPENED, 3),
            Message(REFUSED, 4, Refused.BUSY),
            Message(PIECE, 5, 1 << 40, b"bytes"),
            Message(CREDIT, (1 << 32) - 1, 1 << 63),
            Message(END, 7, 0),
            Message(BROKEN, 8),
        ):
            payload = message.encode()
            self.assertEqual(payload[:1], b"S")
            self.assertEqual(decode(payload), message)
            self.assertEqual(decode(memoryview(payload)), message)

    def test_wrong(self) -> None:
        """Messages of wrong sizes, of unknown kinds, and refusals for unknown reasons."""
        head = (1).to_bytes(4, "big")
        for payload in (
            b"S",
            b"So" + head[:3],
            b"So" + head + NODE[:15],
            b"Si" + head + NODE + b"x",
            b"Sa" + head + b"x",
            b"Sr" + head,
            b"Sr" + head + b"\0",
            b"Sr" + head + b"\xff",
            b"Sd" + head + bytes(8),
            b"Sd" + head + bytes(8 + MAX_PIECE + 1),
            b"Sc" + head + bytes(7),
            b"Se" + head + bytes(9),
            b"Sx" + head + b"x",
            b"S?" + head,
        ):
            error = self.assertRaises(PeerError, decode, payload)
            self.assertEqual(error.reason, FailureReason.MALFORMED)

    @given(st.binary(max_size=64))
    def test_garbage(self, rest: bytes) -> None:
        """Garbage is the peer's error, or what it would be if it were written again."""
        try:
            message = decode(b"S" + rest)
        except PeerError:
            return
        self.assertEqual(message.encode(), b"S" + rest)
