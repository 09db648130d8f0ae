"""How large TCP segments may be, after a connection got stuck."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.segments import KEPT, LIMITS, MOST, TRIAL, SegmentLimits

THERE = "192.0.2.7", 4567
FULL = 1448  # bytes of data in a segment on Ethernet, with timestamps
OPTIONS = 12  # bytes of timestamps, which a limit includes


class SegmentLimitTests(SynchronousTestCase):
    """Limits are tried one after the other, and kept when they have helped."""

    def setUp(self) -> None:
        self.limits = SegmentLimits()

    def test_none(self) -> None:
        """Without a reason there is no limit, and a connection that comes up is no news."""
        self.assertIsNone(self.limits.of(THERE, 1.0))
        self.assertIsNone(self.limits.came_up(THERE, 1.0, FULL))

    def test_smaller_and_smaller(self) -> None:
        """Each connection that gets stuck makes the next one's segments smaller, down to 536."""
        segment = FULL
        for size in (*LIMITS, LIMITS[-1]):
            self.limits.stuck(THERE, 1.0, segment)
            self.assertEqual(self.limits.of(THERE, 1.0), size)
            segment = size - OPTIONS
        self.assertIsNone(self.limits.of(("192.0.2.8", 4567), 1.0))

    def test_stuck_before(self) -> None:
        """A connection that is older than the limit does not make it smaller."""
        self.limits.stuck(THERE, 1.0, FULL)
        self.limits.stuck(THERE, 2.0, FULL)
        self.assertEqual(self.limits.of(THERE, 2.0), LIMITS[0])

    def test_trial(self) -> None:
        """A limit that did not help is given up after a while, or when the path was cut."""
        self.limits.stuck(THERE, 1.0, FULL)
        self.assertIsNone(self.limits.of(THERE, 1.0 + TRIAL))
        self.limits.stuck(THERE, 1.0, FULL)
        self.limits.forget(THERE)
        self.assertIsNone(self.limits.of(THERE, 1.0))

    def test_kept(self) -> None:
        """One that helped is news once, and is kept for a day, even when the path is cut."""
        self.limits.stuck(THERE, 1.0, FULL)
        self.assertIsNone(self.limits.came_up(THERE, 2.0, FULL))
        self.assertEqual(self.limits.came_up(THERE, 2.0, LIMITS[0] - OPTIONS), LIMITS[0])
        self.assertIsNone(self.limits.came_up(THERE, 3.0, LIMITS[0] - OPTIONS))
        self.limits.forget(THERE)
        self.assertEqual(self.limits.of(THERE, KEPT), LIMITS[0])
        self.assertIsNone(self.limits.of(THERE, 3.0 + KEPT))

    def test_uncertain(self) -> None:
        """What may have been a busy listener is tried, and not kept; with a sign that it was the
        path it is."""
        self.limits.stuck(THERE, 1.0, FULL, is_certain=False)
        self.assertEqual(self.limits.of(THERE, 1.0), LIMITS[0])
        self.assertIsNone(self.limits.came_up(THERE, 2.0, LIMITS[0] - OPTIONS))
        self.assertIsNone(self.limits.of(THERE, 1.0 + TRIAL))
        self.limits.stuck(THERE, 100.0, FULL)
        self.limits.stuck(THERE, 101.0, LIMITS[0] - OPTIONS, is_certain=False)
        self.assertEqual(self.limits.came_up(THERE, 102.0, LIMITS[1] - OPTIONS), LIMITS[1])

    def test_other_addresses(self) -> None:
        """When this host has other addresses, nothing is known any more."""
        self.limits.stuck(THERE, 1.0, FULL)
        self.limits.came_up(THERE, 2.0, LIMITS[0])
        self.limits.forget_all()
        self.assertIsNone(self.limits.of(THERE, 3.0))

    def test_bounded(self) -> None:
        """Of very many targets the oldest is forgotten."""
        for number in range(MOST + 1):
            self.limits.stuck(("192.0.2.7", number), 1.0, FULL)
        self.assertIsNone(self.limits.of(("192.0.2.7", 0), 1.0))
        self.assertEqual(self.limits.of(("192.0.2.7", MOST), 1.0), LIMITS[0])
