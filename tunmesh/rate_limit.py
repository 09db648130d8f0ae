"""Token buckets: they allow a burst, and then a fixed rate.

The owner decides what a token stands for: a frame, a dial, a log line, a second of processor time.
All times are in seconds of one monotonic clock; nothing here reads it.
"""

from __future__ import annotations

_ROUNDING = 1e-6  # of the capacity: a smaller difference is a floating-point rounding error


class TokenBucket:
    """Holds at most `capacity` tokens, is full at first, and gains `rate` tokens a second.

    Taking never fails. An owner that can refuse calls `wait` before it takes. One that cannot (the
    frames have been read, the time is spent) takes anyway, and an empty bucket goes into debt,
    which the next tokens pay off.
    """

    __slots__ = ("_capacity", "_now", "_rate", "_used")

    def __init__(self, capacity: float, rate: float, now: float) -> None:
        self._capacity, self._rate = capacity, rate
        self._used = 0.0  # at `_now`
        self._now = now

    def used(self, now: float) -> float:
        """Tokens missing from a full bucket; more than the capacity when it is in debt."""
        return max(0.0, self._used - (now - self._now) * self._rate)

    def level(self, now: float) -> float:
        """Tokens in the bucket; negative when it is in debt."""
        return self._capacity - self.used(now)

    def take(self, now: float, tokens: float = 1.0) -> None:
        """Take tokens, even if there are not enough."""
        self._used, self._now = self.used(now) + tokens, now

    def give_back(self, now: float, tokens: float = 1.0) -> None:
        """Return tokens that were taken but not used. A full bucket stays full."""
        self._used, self._now = max(0.0, self.used(now) - tokens), now

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Seconds until there are that many tokens; 0.0 if there are. With 0 tokens: until the debt
        is paid."""
        missing = tokens - self.level(now)
        return missing / self._rate if missing > self._capacity * _ROUNDING else 0.0

    def pause(self, now: float) -> float:
        """For owners that stop when the bucket is empty, and resume when it is full: seconds until
        then; 0.0 as long as any tokens are left."""
        is_empty = self.level(now) <= self._capacity * _ROUNDING
        return self.used(now) / self._rate if is_empty else 0.0


class SharedBucket:
    """A bucket of whole tokens that several sources share, none of which can empty it alone.

    A source may not hold more tokens than are left: a single source gets half of the bucket, two
    get a third each, and there is always something left for one more. The tokens that the bucket
    gains are credited to the sources in turn. The source "" is the owner, who may take the last
    token.
    """

    __slots__ = ("_bucket", "_taken", "_total")

    def __init__(self, capacity: int, rate: float, now: float) -> None:
        self._bucket = TokenBucket(capacity, rate, now)
        self._taken: dict[str, int] = {}  # by source; the next one to be credited is first
        self._total = 0

    def try_take(self, now: float, source: str = "") -> bool:
        """Take a token; False if there is none for this source."""
        self._credit(now)
        taken = self._taken.get(source, 0)
        if self._bucket.wait(now, taken + 1 if source else 1):
            return False
        self._taken[source] = taken + 1
        self._total += 1
        self._bucket.take(now)
        return True

    def _credit(self, now: float) -> None:
        gained = self._total - self._bucket.used(now)
        for _ in range(int(gained + _ROUNDING)):
            source = next(iter(self._taken))
            left = self._taken.pop(source) - 1
            if left:
                self._taken[source] = left
            self._total -= 1
