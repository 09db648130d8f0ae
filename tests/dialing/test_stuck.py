"""Handshakes that are stuck behind a large segment."""

from __future__ import annotations

from tests.support.links import LinkCase
from tunmesh.addresses import Target
from tunmesh.dialing.stuck import (
    FIRST_LOOK,
    LOOK,
    PATIENCE,
    RETRIES,
    HandshakeWatch,
    is_stuck,
)
from tunmesh.tls.binding import TcpMeasures

THERE: Target = ("192.0.2.7", 4567)
STUCK = TcpMeasures(unacknowledged=2, retries=RETRIES, segment=1448)


class StuckHandshakeTests(LinkCase):
    """A link that was dialed, and whose handshake makes no progress."""

    def setUp(self) -> None:
        super().setUp()
        self.found: list[tuple[Target, TcpMeasures, bool]] = []
        self.watch = HandshakeWatch(self.clock, lambda *found: self.found.append(found))

    def kernel_says(self, measures: TcpMeasures) -> None:
        self.patch(self.channel, "measures", lambda transport: measures)

    def test_signs(self) -> None:
        """What was sent is sent again and again, or the end of what was asked for is there and its
        beginning is not. A listener that is slow, or a segment that was lost once, is no sign."""
        self.assertTrue(is_stuck(STUCK))
        self.assertTrue(is_stuck(TcpMeasures(out_of_order=1)))
        for fine in (
            TcpMeasures(),
            TcpMeasures(unacknowledged=2, retries=RETRIES - 1),
            TcpMeasures(unacknowledged=0, retries=RETRIES),
        ):
            self.assertFalse(is_stuck(fine))

    def test_given_up(self) -> None:
        """It ends long before the handshake's timeout, and whoever dials is told first."""
        self.kernel_says(STUCK)
        self.connect(dialed=True)
        self.watch.begin(self.link, THERE)
        self.advance(FIRST_LOOK - 0.1)
        self.assertEqual(self.found, [])
        self.advance(LOOK + 0.1)
        self.assertEqual(self.found, [(THERE, STUCK, True)])
        self.watch.end(self.link)
        self.assert_closed("failed", "stuck")

    def test_slow(self) -> None:
        """A listener that takes its time has all the time that it had. If nothing came of it, its
        only segment may have been lost, for all one knows."""
        self.connect(dialed=True)
        self.watch.begin(self.link, THERE)
        self.advance(PATIENCE - 0.1)
        self.assertEqual(self.found, [])
        self.advance(LOOK + 0.1)
        self.assertEqual(self.found, [(THERE, TcpMeasures(), False)])
        self.assertEqual(self.owner.ends, [])
        self.watch.end(self.link)

    def test_up(self) -> None:
        """A link that has come up is not looked at any more."""
        self.kernel_says(STUCK)
        self.come_up(dialed=True)
        self.watch.begin(self.link, THERE)
        self.advance(FIRST_LOOK + 2 * LOOK)
        self.assertEqual((self.found, self.owner.ends), ([], []))
        self.watch.end(self.link)
