"""Pings and pongs over UDP as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.wire.datagrams import CONTROL_OVERHEAD
from tunmesh.wire.udp_pings import PING_SIZE, Ping, Pong, decode

TOKENS = st.binary(min_size=8, max_size=8)
COUNTS = st.integers(0, (1 << 64) - 1)


class UdpPingTests(unittest.SynchronousTestCase):
    @given(TOKENS)
    def test_ping(self, token: bytes) -> None:
        """A ping is read as it was written."""
        self.assertEqual(decode(Ping(token).encode()), Ping(token))

    @given(TOKENS, COUNTS, COUNTS)
    def test_pong(self, token: bytes, received: int, highest: int) -> None:
        """So is a pong."""
        pong = Pong(token, received, highest)
        self.assertEqual(decode(pong.encode()), pong)

    def test_no_amplification(self) -> None:
        """No answer is longer than the shortest ping, nor than 64 bytes."""
        pong = CONTROL_OVERHEAD + len(Pong(bytes(8), 0, 0).encode())
        self.assertLessEqual(pong, PING_SIZE)
        self.assertLessEqual(PING_SIZE, 64)
        self.assertLessEqual(CONTROL_OVERHEAD + len(Ping(bytes(8)).encode()), PING_SIZE)

    @given(st.binary(max_size=40))
    def test_garbage(self, message: bytes) -> None:
        """Anything else is nothing, and raises nothing."""
        found = decode(message)
        if found is not None:
            self.assertEqual(found.encode(), message)
        for message in (b"", Ping(bytes(8)).encode() + b"x", Pong(bytes(8), 1, 2).encode()[:-1]):
            self.assertIsNone(decode(message))
