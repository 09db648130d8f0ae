"""Who must prove that it lives, because another node claims a floating address that it holds.

A program that claims an address for its node has most likely noticed that the holder is gone. So
the holder is probed at once, and loses its links, and with them the address, if it does not answer
within a second. But any member can claim an address, again and again, to catch a moment in which
the holder pauses. So each holder is doubted no more than `BURST` times in a row, and then once in
1 / RATE seconds; a later claim has to wait until the links of a dead holder end by themselves.
"""

from __future__ import annotations

from tunmesh.rate_limit import TokenBucket

BURST, RATE = 3, 0.1


class Doubts:
    """Those of one node about the nodes that it is linked with. Time is in seconds."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._pending: list[str] = []

    def cast(self, holder: str, now: float) -> None:
        """Another node has begun to claim what this one holds."""
        bucket = self._buckets.setdefault(holder, TokenBucket(BURST, RATE, now))
        if not bucket.wait(now):
            bucket.take(now)
            self._pending.append(holder)

    def parted(self, holder: str) -> None:
        """It is not linked any more."""
        self._buckets.pop(holder, None)
        self._pending = [each for each in self._pending if each != holder]

    def taken(self) -> list[str]:
        """The nodes that are to be probed, since the last call."""
        pending, self._pending = self._pending, []
        return pending
