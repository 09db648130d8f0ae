"""Token buckets: a burst, and then a fixed rate."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.rate_limit import SharedBucket, TokenBucket


class TokenBucketTests(SynchronousTestCase):
    """A bucket of 10 tokens that gains 2 a second."""

    def setUp(self) -> None:
        self.bucket = TokenBucket(10, 2, 100.0)

    def test_burst(self) -> None:
        """The bucket is full at first, and never holds more than its capacity."""
        self.assertEqual(self.bucket.level(200.0), 10)
        self.bucket.take(200.0, 4)
        self.assertEqual(self.bucket.level(201.0), 8)
        self.assertEqual(self.bucket.level(300.0), 10)

    def test_wait(self) -> None:
        """`wait` is the time until there are enough tokens."""
        self.bucket.take(100.0, 9)
        self.assertEqual(self.bucket.wait(100.0), 0)
        self.assertEqual(self.bucket.wait(100.0, 5), 2)
        self.assertEqual(self.bucket.wait(102.0, 5), 0)

    def test_debt(self) -> None:
        """More may be taken than there is; the debt is paid off first."""
        self.bucket.take(100.0, 16)
        self.assertEqual(self.bucket.level(100.0), -6)
        self.assertEqual(self.bucket.wait(100.0, 0), 3)
        self.assertEqual(self.bucket.wait(100.0), 3.5)
        self.assertEqual(self.bucket.wait(103.0, 0), 0)

    def test_give_back(self) -> None:
        """Returned tokens are available again, but never more than the capacity."""
        self.bucket.take(100.0, 3)
        self.bucket.give_back(100.0, 2)
        self.assertEqual(self.bucket.level(100.0), 9)
        self.bucket.give_back(100.0, 5)
        self.bucket.take(100.0)
        self.assertEqual(self.bucket.level(100.0), 9)

    def test_rounding(self) -> None:
        """An owner that waits as long as it was told need not wait again, despite rounding
        errors."""
        now = 123456.7
        bucket = TokenBucket(100, 1 / 3, now)
        bucket.take(now, 100)
        for _ in range(1000):
            now += bucket.wait(now)
            self.assertEqual(bucket.wait(now), 0)
            bucket.take(now)

    def test_pause(self) -> None:
        """An owner that goes on as long as there are tokens, and then waits until the bucket is
        full, gets a burst and the rate in the long run."""
        self.bucket.take(100.0, 9)
        self.assertEqual(self.bucket.pause(100.0), 0)
        self.bucket.take(100.0, 1)
        self.assertEqual(self.bucket.pause(100.0), 5)
        self.assertEqual(self.bucket.pause(104.0), 0)
        bucket, now, taken = TokenBucket(10, 2, 0.0), 0.0, 0
        while now < 1000:
            bucket.take(now, 3)
            taken += 3
            now += bucket.pause(now)
        self.assertApproximates(taken, 1000 * 2, 2 * 10)


class SharedBucketTests(SynchronousTestCase):
    """A bucket of 12 tokens, gaining one a second, for several sources."""

    def setUp(self) -> None:
        self.bucket = SharedBucket(12, 1, 0.0)

    def taken(self, now: float, source: str) -> int:
        """The number of tokens that a source gets if it takes all it can."""
        return sum(self.bucket.try_take(now, source) for _ in range(20))

    def test_shares(self) -> None:
        """One source gets half, the next half of the rest; the owner gets all that is left."""
        self.assertEqual(self.taken(0.0, "a"), 6)
        self.assertEqual(self.taken(0.0, "b"), 3)
        self.assertEqual(self.taken(0.0, ""), 3)
        self.assertEqual(self.taken(0.0, "c"), 0)

    def test_credit(self) -> None:
        """The tokens that the bucket gains are credited to the sources in turn."""
        self.taken(0.0, "a"), self.taken(0.0, "b"), self.taken(0.0, "")
        self.assertEqual(self.taken(0.5, ""), 0)
        self.assertEqual(self.taken(1.0, "a"), 0)  # one token is left, and this source still has 5
        self.assertEqual(self.taken(1.0, "c"), 1)
        self.assertEqual(self.taken(100.0, "a"), 6)

    def test_random(self) -> None:
        """No source ever holds more than is left, and all taken tokens are credited in the end."""
        draw = random.Random(1)
        now = 0.0
        for _ in range(2000):
            now += draw.choice((0.0, 0.1, 0.7, 3.0))
            source = draw.choice("abcd")
            before = dict(self.bucket._taken)
            if self.bucket.try_take(now, source):
                held = self.bucket._taken
                self.assertLessEqual(sum(held.values()), 12)
                self.assertLessEqual(held[source], 12 - sum(held.values()) + 1)
                self.assertLessEqual(held[source], before.get(source, 0) + 1)
        self.bucket.try_take(now + 1000.0)
        self.assertEqual(self.bucket._taken, {"": 1})
