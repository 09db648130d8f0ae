"""Token buckets: a burst at once, and then so much a second.

The unit of a token is the owner's: frames, dials, log lines, seconds of processor time. All times
are in seconds of any one clock that does not go back; nothing here reads it.
"""

from __future__ import annotations

_ROUNDING = 1e-6  # of the capacity: a difference this small is an error of floating point


class TokenBucket:
    """Holds at most `capacity` tokens, is full at first, and gains `rate` tokens a second.

    Taking never fails. An owner that can refuse asks `wait` before it takes; one that cannot (the
    frames have been read, the time is spent) takes, and a bucket that is empty goes into debt: the
    next tokens pay for that.
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
        """Take tokens, whether or not there are as many."""
        self._used, self._now = self.used(now) + tokens, now

    def give_back(self, now: float, tokens: float = 1.0) -> None:
        """Return tokens that were taken for nothing. A full bucket stays full."""
        self._used, self._now = max(0.0, self.used(now) - tokens), now

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Seconds until there are so many tokens; 0.0 if there are. With 0 tokens: until the debt
        is paid."""
        missing = tokens - self.level(now)
        return missing / self._rate if missing > self._capacity * _ROUNDING else 0.0

    def pause(self, now: float) -> float:
        """For owners that stop when the bucket is empty, and go on when it is full: seconds until
        then; 0.0 as long as any tokens are left."""
        is_empty = self.level(now) <= self._capacity * _ROUNDING
        return self.used(now) / self._rate if is_empty else 0.0


class SharedBucket:
    """A bucket of whole tokens that several sources take from, none of which can empty it alone.

    A source may have taken no more than is left for everybody: one alone gets half of the bucket,
    two get a third each, and there is always something left for one more. What the bucket gains is
    credited to the sources in turns. The source "" is the owner, who may take the last token.
    """

    __slots__ = ("_bucket", "_taken", "_total")

    def __init__(self, capacity: int, rate: float, now: float) -> None:
        self._bucket = TokenBucket(capacity, rate, now)
        self._taken: dict[str, int] = {}  # by source; the one to be credited next comes first
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
