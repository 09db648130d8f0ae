"""Limits how much of the kernel's memory for reassembly peers may take.

The kernel keeps the fragments of incomplete datagrams for 30 s (IPv4) or 60 s (IPv6), at most 4 MB
of each family per network namespace (`ipfrag_high_thresh`). When that is full it accepts no
fragments at all, whoever they come from and on whatever interface. A peer that sends fragments
which never become complete would thus prevent reassembly for all applications in the namespace, on
the underlay too. So what the kernel holds because of peers is tracked here, and stays below half.

The rule for each peer (dynamic threshold, Choudhury and Hahne 1998): a fragment is admitted while
its peer holds less than what is left for everybody. One peer that hoards gets a half, two get a
third each, and as much is always left for one more. A complete datagram is no longer held. A
fragment that overlaps another one is not admitted, so what is complete here is complete in the
kernel.

Sources: net/ipv4/inet_fragment.c, net/ipv4/ip_fragment.c, Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from tunmesh.packets.ip_headers import Fragment

LIMIT = 2 << 20  # bytes of each family: half of what the kernel has by default
OVERHEAD = 1024  # bytes that a fragment takes in the kernel beside its contents
TIMEOUT4, TIMEOUT6 = 30.0, 60.0  # seconds: ipfrag_time, ip6frag_time
MAX_DATAGRAM = 65_535


@dataclass(slots=True)
class _Datagram:
    """An incomplete datagram."""

    peer: Hashable
    expires: float
    held: int = 0  # bytes of the kernel's memory
    received: int = 0  # bytes of the datagram
    size: int | None = None  # known from its last fragment
    pieces: list[tuple[int, int]] = field(default_factory=list)  # (start, end), sorted

    def overlaps(self, start: int, end: int) -> bool:
        place = bisect_left(self.pieces, (start, end))
        is_free_before = place == 0 or self.pieces[place - 1][1] <= start
        is_free_after = place == len(self.pieces) or end <= self.pieces[place][0]
        return not (is_free_before and is_free_after)


class Reassembly:
    """The incomplete datagrams of one address family. `timeout`: how long the kernel keeps one, in
    seconds from its first fragment. `now` is in seconds of any one clock."""

    def __init__(self, timeout: float, limit: int = LIMIT) -> None:
        self._timeout = timeout
        self._limit = limit
        self._datagrams: dict[bytes, _Datagram] = {}  # the oldest first
        self._held: Counter[Hashable] = Counter()  # by peer
        self._total = 0

    @property
    def held(self) -> int:
        """The most bytes of the kernel's memory that are in use now."""
        return self._total

    def admit(self, now: float, peer: Hashable, fragment: Fragment) -> bool:
        """Whether the kernel may get this fragment. If so, it is counted."""
        self._expire(now)
        end = fragment.start + fragment.size
        cost = fragment.size + OVERHEAD
        datagram = self._datagrams.get(fragment.datagram)
        if not 0 < fragment.size <= end <= MAX_DATAGRAM:
            return False
        if self._held[peer] + cost > self._limit - self._total:
            return False
        if datagram is None:
            datagram = self._datagrams[fragment.datagram] = _Datagram(peer, now + self._timeout)
        elif datagram.overlaps(fragment.start, end):
            return False
        self._hold(datagram, cost)
        insort(datagram.pieces, (fragment.start, end))
        datagram.received += fragment.size
        if fragment.is_last:
            datagram.size = end
        if datagram.received == datagram.size:
            self._release(fragment.datagram)
        return True

    def _hold(self, datagram: _Datagram, cost: int) -> None:
        datagram.held += cost
        self._held[datagram.peer] += cost
        self._total += cost

    def _release(self, key: bytes) -> None:
        datagram = self._datagrams.pop(key)
        self._total -= datagram.held
        self._held[datagram.peer] -= datagram.held
        if not self._held[datagram.peer]:
            del self._held[datagram.peer]

    def _expire(self, now: float) -> None:
        while self._datagrams:
            oldest = next(iter(self._datagrams))
            if self._datagrams[oldest].expires > now:
                return
            self._release(oldest)
