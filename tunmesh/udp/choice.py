"""Whether packets to one peer go over UDP or over the link's TCP connection, and why.

TCP is faster where little is lost and the other node is near: TLS takes all that has gathered in
one call. Over a long or lossy path it retransmits what the streams inside would retransmit
themselves, and all of them wait for each other. So `auto` means:

    TCP to UDP    there is a path, and it is long or lossy
    UDP to TCP    there is none any more: at once. Or for 30 s it was not even half as long or lossy

Long is a shortest round trip of 3 ms. Lossy is a path where 0.1 % or more is lost, and one TCP
connection could carry no more than 1 Gbit/s because of that: 1.22 segments in a round trip,
divided by the square root of the loss (Mathis et al., 1997). At 1 ms that is 0.1 %, at 0.2 ms
0.5 %; between neighbours TCP makes up for any loss. The loss is what the kernel measures of the TCP
connection, or what the other end counts over UDP, whichever is used.

A path that was lost while it was used is used again when it has been there for 1 s; each further
loss in ten minutes doubles that, up to 5 min. So a path that fails again and again costs less and
less, and one that failed once is used again at once.

`udp` means UDP whenever there is a path. `tcp` means TCP.

No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt
from typing import Literal

FAR = 0.003  # seconds, round trip
LOSSY = 0.001  # of what is sent
# Seconds: a round trip times the square root of the loss, at which 1.22 × 1,448 bytes are 1 Gbit/s.
SLOW = 1.22 * 1448 * 8 / 1e9
PATIENCE = 30.0  # seconds below half of both, until TCP is chosen again
# Segments over which the loss of a TCP connection is measured, and after how long fewer are enough.
WINDOW, FEWER, WINDOW_TIME = 10_000, 2000, 10.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # for a path that was lost
REMEMBERED = 600.0  # seconds that a loss of the path counts for
_MOST_LOSSES = 16

Transport = Literal["auto", "tcp", "udp"]  # the key `networking.transport`


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about both ways. Round trips are the shortest of late."""

    udp_why_not: str  # udp.path; empty: there is a path
    udp_round_trip: float | None = None
    udp_loss: float | None = None
    tcp_round_trip: float | None = None
    tcp_segments: int = 0  # that the connection has sent, with retransmissions
    tcp_retransmitted: int = 0


class _TcpLoss:
    """The share of segments that a connection sent again, over the last window."""

    def __init__(self) -> None:
        self.share: float | None = None
        self._start: tuple[float, int, int] | None = None

    def counted(self, now: float, segments: int, again: int) -> None:
        if self._start is None or segments < self._start[1] or again < self._start[2]:
            self._start = now, segments, again  # the first time, or another connection
            return
        since, segments_before, again_before = self._start
        sent = segments - segments_before
        if sent < WINDOW and now - since < WINDOW_TIME:
            return
        if sent >= FEWER:
            self.share = (again - again_before) / sent
        self._start = now, segments, again


class Choice:
    """For one peer, for as long as the peer lives. `is_udp` and `reason`: the last decision."""

    def __init__(self, transport: Transport) -> None:
        self.is_udp = False
        self.reason = ""
        self.is_waiting = False  # a path is there, and has to be there for longer
        self._transport = transport
        self._tcp_loss = _TcpLoss()
        self._usable_since: float | None = None
        self._good_for_tcp_since: float | None = None
        self._losses: deque[float] = deque(maxlen=_MOST_LOSSES)  # when a path in use was lost

    def decide(self, now: float, facts: Facts) -> bool:
        """Whether packets go over UDP. To be asked when a path comes or goes, and every second or
        so besides."""
        self._tcp_loss.counted(now, facts.tcp_segments, facts.tcp_retransmitted)
        was_udp = self.is_udp
        self.is_udp, self.reason = self._decided(now, facts)
        if was_udp and not self.is_udp:
            self._tcp_loss = _TcpLoss()  # what it lost before is no news
        return self.is_udp

    def _decided(self, now: float, facts: Facts) -> tuple[bool, str]:
        if self._transport == "tcp":
            return False, "networking.transport is tcp"
        if facts.udp_why_not:
            if self.is_udp:
                self._losses.append(now)
            self._usable_since = None
            self.is_waiting = False
            return False, facts.udp_why_not
        if self._usable_since is None:
            self._usable_since = now
        wait = self._wait(now)
        self.is_waiting = not self.is_udp and now < self._usable_since + wait
        if self.is_waiting:
            times = "once" if len(self._losses) == 1 else f"{len(self._losses)} times"
            return False, (
                f"UDP stopped working {times} in {REMEMBERED / 60:.0f} min: "
                f"used again when it has worked for {wait:.0f} s"
            )
        if self._transport == "udp":
            return True, "networking.transport is udp"
        return self._better(now, facts)

    def _wait(self, now: float) -> float:
        """How long a path has to be there before it is used."""
        while self._losses and now - self._losses[0] > REMEMBERED:
            self._losses.popleft()
        if not self._losses:
            return 0.0
        return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (len(self._losses) - 1))

    def _better(self, now: float, facts: Facts) -> tuple[bool, str]:
        known = [each for each in (facts.udp_round_trip, facts.tcp_round_trip) if each is not None]
        rtt = min(known, default=0.0)
        loss = (facts.udp_loss if self.is_udp else self._tcp_loss.share) or 0.0
        far = f"shortest round trip {rtt * 1000:.3g} ms, {_percent(loss)} lost"
        slow = rtt * sqrt(loss)
        if rtt >= FAR or (loss >= LOSSY and slow >= SLOW):
            self._good_for_tcp_since = None
            return True, far
        if not self.is_udp:
            return False, f"{far}: TCP is faster"
        if rtt >= FAR / 2 or (loss >= LOSSY / 2 and slow >= SLOW / 2):
            self._good_for_tcp_since = None
            return True, f"{far}: about as good as TCP"
        if self._good_for_tcp_since is None:
            self._good_for_tcp_since = now
        if now >= self._good_for_tcp_since + PATIENCE:
            self._good_for_tcp_since = None
            return False, f"{far}: TCP is faster"
        return True, f"{far}: TCP is faster, and is used when that lasts"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share else "nothing"
