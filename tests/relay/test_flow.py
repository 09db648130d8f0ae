"""Both ends of one stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.flow import MAX_EARLY, MIN_GRANT, BrokenStreamError, Incoming, Outgoing
from tunmesh.wire.streams import MAX_PIECE, WINDOW


class OutgoingTests(SynchronousTestCase):
    """The bytes that an end sends."""

    def test_window(self) -> None:
        """No more than the window is sent before more is granted; pieces are in order, and not too
        long."""
        outgoing = Outgoing()
        data = bytes(range(256)) * (WINDOW // 128)
        outgoing.write(data)
        pieces = []
        while (piece := outgoing.next_piece()) is not None:
            pieces.append(piece)
        self.assertEqual(sum(len(each) for _, each in pieces), WINDOW)
        self.assertLessEqual(max(len(each) for _, each in pieces), MAX_PIECE)
        self.assertEqual(outgoing.waiting, len(data) - WINDOW)
        outgoing.grant(WINDOW - 5)  # an older message
        self.assertIsNone(outgoing.next_piece())
        outgoing.grant(WINDOW + 5)
        self.assertEqual(outgoing.next_piece(), (WINDOW, data[WINDOW : WINDOW + 5]))


class IncomingTests(SynchronousTestCase):
    """The bytes that arrive."""

    @given(st.permutations(range(6)), st.data())
    def test_any_order(self, order: list[int], data: st.DataObject) -> None:
        """Pieces that come in any order are delivered in the right one."""
        pieces = [data.draw(st.binary(min_size=1, max_size=9)) for _ in order]
        offsets = [sum(map(len, pieces[:at])) for at in range(len(pieces))]
        incoming = Incoming()
        got = b"".join(incoming.receive(offsets[at], pieces[at]) for at in order)
        self.assertEqual((got, incoming.held), (b"".join(pieces), 0))
        incoming.ends(len(got))
        self.assertTrue(incoming.is_over)

    def test_end_comes_early(self) -> None:
        """An end that overtakes bytes does not end the stream before these are there."""
        incoming = Incoming()
        incoming.ends(3)
        self.assertFalse(incoming.is_over)
        incoming.receive(0, b"abc")
        self.assertTrue(incoming.is_over)

    def test_refused(self) -> None:
        """What was not granted, what comes twice, what lies behind the end, and too many pieces
        break the stream."""
        incoming = Incoming()
        incoming.receive(0, b"abc")
        incoming.receive(6, b"g")
        for offset, data in ((0, b"a"), (2, b"c"), (6, b"g"), (WINDOW, b"x"), (WINDOW - 1, b"xy")):
            self.assertRaises(BrokenStreamError, incoming.receive, offset, data)
        self.assertRaises(BrokenStreamError, incoming.ends, 2)
        incoming.ends(7)
        self.assertRaises(BrokenStreamError, incoming.ends, 7)
        self.assertRaises(BrokenStreamError, incoming.receive, 7, b"h")
        crumbs = Incoming()
        with self.assertRaises(BrokenStreamError):
            for at in range(MAX_EARLY + 1):
                crumbs.receive(2 + 2 * at, b"x")

    def test_grants(self) -> None:
        """More is granted when enough was consumed, and nothing behind the end."""
        incoming = Incoming()
        self.assertIsNone(incoming.consume(MIN_GRANT - 1))
        self.assertEqual(incoming.consume(1), WINDOW + MIN_GRANT)
        incoming.ends(WINDOW)
        self.assertIsNone(incoming.consume(WINDOW - MIN_GRANT))
