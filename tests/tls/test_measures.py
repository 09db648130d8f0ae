"""What the kernel has measured of a TCP connection."""

from __future__ import annotations

import socket

from twisted.trial import unittest

from tunmesh.tls.binding import measures_of

SENT = 1 << 20


class MeasuresTests(unittest.SynchronousTestCase):
    def test_loopback(self) -> None:
        """Segments and the round trip are counted; on the loopback nothing is lost."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        one = socket.create_connection(listener.getsockname())
        self.addCleanup(one.close)
        other, _ = listener.accept()
        self.addCleanup(other.close)
        one.settimeout(5.0)
        left = SENT
        while left:
            one.sendall(bytes(1 << 16))
            left -= 1 << 16
            arrived = 0
            while arrived < 1 << 16:
                arrived += len(other.recv(1 << 16))
        found = measures_of(one)
        self.assertGreaterEqual(found.segments, SENT // 65_536)
        self.assertEqual(found.retransmitted, 0)
        assert found.round_trip is not None
        self.assertTrue(0.0 < found.round_trip < 1.0, found.round_trip)
        self.assertEqual(measures_of(other).segments, 0)
