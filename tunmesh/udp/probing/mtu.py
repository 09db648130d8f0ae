"""How large datagrams may be on a path: DPLPMTUD (RFC 8899), with a ladder tried at once.

A search sends one padded ping for each size that a path is likely to have, all in one moment: a
dozen datagrams cost less than a round trip. What is not answered is tried twice more. The largest
that was answered is the size. Each answer raises it at once; what is not confirmed is never used.
ICMP is not needed, and not believed: anybody could send it.

A path may lose its large datagrams later. Then pings of the size in use are not answered, and those
of BASE bytes beside them are: the size falls. If neither is answered, nothing is known about sizes.

No clock, no I/O. Sizes are bytes of the UDP payload; time is in seconds.
"""

from __future__ import annotations

from collections import deque
from math import inf

# Every path that UDP is used on takes this: IPv6 guarantees 1,280 (RFC 8200, section 5).
BASE = 1200
IPV4_OVERHEAD, IPV6_OVERHEAD = 28, 48  # IP and UDP headers
# Path MTUs in use: 1,280 the least of IPv6; 1,380 and 1,400 tunnels in tunnels; 1,420 WireGuard;
# 1,450 VXLAN; 1,460 Google's cloud; 1,480 6in4; 1,492 PPPoE; 1,500 Ethernet; 4,352 FDDI's, of some
# tunnels; 8,500 and 9,001 Amazon's cloud; 8,896 Google's; 8,950 VXLAN on 9,000.
_PATH_MTUS = (1280, 1340, 1380, 1400, 1420, 1450, 1460, 1480, 1492, 1500, 4352, 8500, 8896, 8950)
_LARGE_PATH_MTUS = (9000, 9001, 16_384, 32_768)
_USUAL = 1500  # path MTU up to which is searched if nothing is known about the device

ROUNDS = 3
ROUND = 0.3  # seconds between rounds, unless the round trip is longer
AGAIN = 600.0  # seconds after a search until the next one (RFC 8899, section 5.1.1)
FALL_TRIES = 6  # pings of the size in use, in a row, that are not answered though smaller ones are
_MOST_WATCHED = 64
# After the size had to fall back to the base: it may have been mere loss, after all.
AGAIN_AFTER_FALL = (1.0, 10.0, 60.0, AGAIN)


def overhead(host: str) -> int:
    """Bytes of the headers of IP and UDP in front of a payload to this address."""
    return IPV6_OVERHEAD if ":" in host else IPV4_OVERHEAD


def ladder(host: str, largest: int | None) -> tuple[int, ...]:
    """Sizes to try towards this address, all above the base, the largest first. `largest`: the most
    that the device takes, or None if that is not known."""
    extra = overhead(host)
    most = _USUAL - extra if largest is None else largest
    sizes = {mtu - extra for mtu in (*_PATH_MTUS, *_LARGE_PATH_MTUS) if mtu - extra <= most}
    return tuple(sorted((size for size in sizes | {most} if size > BASE), reverse=True))


class SizeSearch:
    """One search after the other, on one path. `wake_at`: when `due` wants to be asked."""

    def __init__(self) -> None:
        self.wake_at = inf
        self._sizes: tuple[int, ...] = ()  # not answered, nor below one that was
        self._rounds = 0  # left
        self._pause = ROUND

    @property
    def is_on(self) -> bool:
        return self.wake_at < inf

    def begin(self, now: float, sizes: tuple[int, ...], rtt: float) -> None:
        """Search among these sizes."""
        self._sizes, self._rounds = sizes, ROUNDS
        self._pause = max(ROUND, 1.5 * rtt)
        self.wake_at = now if sizes else inf

    def stop(self) -> None:
        """The path is not what it was."""
        self._sizes, self.wake_at = (), inf

    def due(self, now: float) -> tuple[int, ...]:
        """Sizes of the pings to send now. The search has ended if `is_on` is False afterwards."""
        if now < self.wake_at:
            return ()
        if not self._rounds or not self._sizes:
            self.stop()
            return ()
        self._rounds -= 1
        self.wake_at = now + self._pause
        return self._sizes

    def answered(self, size: int) -> None:
        """A ping of this size was answered: no smaller one need be tried."""
        self._sizes = tuple(each for each in self._sizes if each > size)


class SizeWatch:
    """Whether datagrams of the size in use get lost, while smaller ones arrive."""

    def __init__(self) -> None:
        self._unanswered: deque[float] = deque(maxlen=_MOST_WATCHED)  # when they were sent

    def begin(self) -> None:
        """There is another size now."""
        self._unanswered.clear()

    def pinged(self, now: float) -> None:
        """A ping of the size in use was sent."""
        self._unanswered.append(now)

    def answered(self, sent: float) -> None:
        """The ping of that size that was sent then was answered."""
        while self._unanswered and self._unanswered[0] <= sent:
            self._unanswered.popleft()

    @property
    def oldest(self) -> float | None:
        """When the first of those was sent that were not answered, nor any later one."""
        return self._unanswered[0] if self._unanswered else None

    def is_lost(self, before: float) -> bool:
        """A smaller one was answered: were FALL_TRIES of that size, sent before this, not?"""
        return sum(sent <= before for sent in self._unanswered) >= FALL_TRIES
