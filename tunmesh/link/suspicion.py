"""When a peer is suspected of being gone, and given up: sooner than link.keepalive would, where
packets go out and nothing comes back.

    packets go out, nothing comes ── QUIET ──> ping ── patience ──> ping ── patience ──> dead
           ^                                    └──── anything came ────┴──> trusted again

A node that is silent because nobody says anything costs nothing here: it has until
`keepalive.silence`. Anything that came proves that the peer is there: a byte of the link, an
authentic datagram, and, as far as the kernel says so, an acknowledgement by the peer's kernel. So a
process that is stopped or busy is not taken for a path that is cut: the kernel of its machine goes
on acknowledging, until its buffer is full; then it lets nothing be sent, and of what was sent all
is acknowledged. If it has room (tls.binding), this machine sends nothing: no route, a firewall.

A node that did not run itself does not blame its peers: `forgive` defers what is due.

What came is told as counts, at every look, so the way of a packet is no longer than without this.
No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

QUIET = 2.0  # seconds in which packets went out and nothing came, until the peer is pinged
PATIENCE = 0.6  # seconds for the answer to each of the two pings, at least
ROUND_TRIPS = 2.0  # that the answer may take, if that is longer
TRIES = 2


class Step(Enum):
    """What is to be done about the peer."""

    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()


class Suspicion:
    """Of one peer. `sent` is the count of packets to it at the last look, `due` when the next step
    may be."""

    __slots__ = ("_heard", "_pings", "due", "sent", "since")

    def __init__(self) -> None:
        self.sent = 0
        self.due = inf
        # The earliest moment at which the first of the packets may have gone out that nothing came
        # after; None: there is none.
        self.since: float | None = None
        self._heard = 0
        self._pings = 0

    def look(self, now: float, before: float, sent: int, heard: int) -> bool:
        """So many packets went out to the peer until now, and so much came from it. `before`: the
        time of the last look. Whether it is to be asked what comes `next`."""
        went_out, came = sent != self.sent, heard != self._heard
        self.sent, self._heard = sent, heard
        if came:
            self.trust()
        elif went_out and self.since is None:
            self.since, self.due, self._pings = before, before + QUIET, 0
        return now >= self.due

    def trust(self) -> None:
        """The peer is there, by whatever sign: only what goes out from now on is waited for."""
        self.since, self.due, self._pings = None, inf, 0

    def suspect(self, now: float) -> None:
        """There is another reason to ask at once whether it is there."""
        if self.since is None:
            self.since, self._pings = now, 0
        if not self._pings:
            self.due = now

    def forgive(self, late: float) -> None:
        """This node was called so much later than it asked for."""
        self.due += late

    def next(self, now: float, round_trip: float | None) -> Step:
        """What is to be done now that `due` has come, and nothing else proves that the peer is
        there. `round_trip`: as last measured."""
        if now < self.due:
            return Step.NOTHING
        if self._pings == TRIES:
            return Step.GIVE_UP
        self._pings += 1
        self.due = now + max(PATIENCE, ROUND_TRIPS * (round_trip or 0.0))
        return Step.PING
