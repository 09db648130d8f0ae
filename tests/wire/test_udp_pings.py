"""Pings and pongs over UDP as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.wire.udp_pings import PING, PING_SIZE, PONG, Ping, Pong, decode

OVERHEAD = 28  # index, counter, tag
TOKENS = st.binary(min_size=8, max_size=8)
COUNTS = st.integers(0, (1 << 64) - 1)


class UdpPingTests(unittest.SynchronousTestCase):
    @given(TOKENS, st.binary(max_size=1500))
    def test_ping(self, token: bytes, padding: bytes) -> None:
        """A ping is read with whatever padding is in front of it."""
        self.assertEqual(decode(padding + Ping(token).encode()), Ping(token))

    @given(TOKENS, COUNTS, COUNTS, st.binary(max_size=64))
    def test_pong(self, token: bytes, received: int, highest: int, padding: bytes) -> None:
        """So is a pong."""
        pong = Pong(token, received, highest)
        self.assertEqual(decode(padding + pong.encode()), pong)

    def test_no_amplification(self) -> None:
        """No answer is longer than the shortest ping, nor than 64 bytes."""
        pong = OVERHEAD + len(Pong(bytes(8), 0, 0).encode())
        self.assertLessEqual(pong, PING_SIZE)
        self.assertLessEqual(PING_SIZE, 64)
        self.assertLessEqual(OVERHEAD + len(Ping(bytes(8)).encode()), PING_SIZE)

    @given(st.binary(max_size=40))
    def test_garbage(self, payload: bytes) -> None:
        """Anything else is nothing, and raises nothing."""
        found = decode(payload)
        if not payload or payload[-1] not in (PING, PONG):
            self.assertIsNone(found)
        if len(payload) < 9:
            self.assertIsNone(found)
