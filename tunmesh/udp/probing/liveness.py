"""Whether a path still works, by its pings: when the next one is due, and when it is dead.

    data is sent         a ping every 0.25 s
    none, UDP in use     every 15 s: a binding of a NAT lasts 30 s or more
    UDP not in use       every 60 s
    one is overdue       ten times in the patience, at most every 0.1 s
    the peer fell silent once, 0.5 s after the last of its pings that came as under traffic: it may
                         not know that this node has another address, and is told by that

A path is dead when nothing was answered for `patience`: max(0.75 s, three round trips and 0.25 s).
With so many pings, 3 % of loss each way does not look like death once in a month. It is doubted at
half of that: then other addresses are tried.

A node that did not run for a while does not blame the path: answers may wait in its socket.

No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

from collections import deque
from math import inf

from tunmesh.udp.probing.measures import RoundTrip
from tunmesh.udp.probing.mtu import SizeWatch

UNDER_TRAFFIC, IN_USE, UNUSED = 0.25, 15.0, 60.0  # seconds between pings
OVERDUE = 0.1  # least seconds between pings after one is not answered in time
SILENCE = 0.5  # seconds without a ping of a peer that sent one every UNDER_TRAFFIC
_GRACE = 0.05  # seconds later than expected that an answer may be
LEAST_PATIENCE, MOST_PATIENCE = 0.75, 5.0
_TRIES = 10  # pings within the patience
_MOST = 64  # pings that are remembered
_LATE = 0.1  # seconds after which this node was called later than it asked for


class Liveness:
    """Of the path in use, from the moment it was taken."""

    def __init__(self, round_trip: RoundTrip, watch: SizeWatch, now: float = 0.0) -> None:
        self._round_trip = round_trip
        self._watch = watch
        self._unanswered: deque[float] = deque()  # when they were sent
        self._pinged = now  # it was answered, or it would not be in use
        self._sent = now
        self._heard = -inf  # when the peer last pinged
        self._silent_at = inf  # when it is silent
        self._has_forgiven = False

    def data_sent(self, now: float) -> bool:
        """Data was sent. True if a ping is due."""
        self._sent = now
        return now >= self._pinged + UNDER_TRAFFIC

    def pinged(self, now: float) -> None:
        """A ping was sent."""
        if len(self._unanswered) == _MOST:
            del self._unanswered[1]  # what counts is the oldest
        self._unanswered.append(now)
        self._pinged = now
        if now >= self._silent_at:
            self._silent_at = inf

    def peer_pinged(self, now: float) -> None:
        """A ping of the peer came."""
        self._silent_at = now + SILENCE if now - self._heard < SILENCE else inf
        self._heard = now

    def answered(self, sent: float) -> None:
        """The ping that was sent at that time was answered, and so the path worked until then."""
        while self._unanswered and self._unanswered[0] <= sent:
            self._unanswered.popleft()
        self._has_forgiven = False

    def forgive(self, late: float) -> None:
        """This node was called so much later than it asked for. Forgiven once until there is an
        answer, so that a node that is always late does not trust a dead path."""
        if late > _LATE and not self._has_forgiven:
            self._has_forgiven = True
            self._unanswered = deque(at + late for at in self._unanswered)

    @property
    def patience(self) -> float:
        """Seconds without an answer after which the path is dead."""
        wanted = 3 * self._round_trip.expected + 0.25
        return min(MOST_PATIENCE, max(LEAST_PATIENCE, wanted))

    def is_overdue(self, now: float) -> bool:
        """An answer to a ping of the size in use should have come by now."""
        return now >= self._overdue_at()

    def is_doubtful(self, now: float) -> bool:
        """Half of the patience is over."""
        return bool(self._unanswered) and now >= self._unanswered[0] + self.patience / 2

    def is_dead(self, now: float) -> bool:
        return bool(self._unanswered) and now >= self._unanswered[0] + self.patience

    def due(self, is_in_use: bool) -> float:
        """When the next ping is due, unless data is sent before that."""
        idle = IN_USE if is_in_use else UNUSED
        due = self._pinged + (UNDER_TRAFFIC if self._sent > self._pinged else idle)
        pause = max(OVERDUE, self.patience / _TRIES)
        return min(due, self._silent_at, max(self._overdue_at(), self._pinged + pause))

    def wake_at(self, now: float, is_in_use: bool) -> float:
        """When to look again, whether or not data is sent meanwhile."""
        due = self.due(is_in_use)
        if is_in_use and now < self._pinged + UNDER_TRAFFIC:
            due = min(due, self._pinged + UNDER_TRAFFIC)
        if self._unanswered:
            first, patience = self._unanswered[0], self.patience
            doubt, end = first + patience / 2, first + patience
            due = min(due, doubt if now < doubt else end)
        return due

    def _overdue_at(self) -> float:
        oldest = self._watch.oldest
        return inf if oldest is None else oldest + self._round_trip.expected + _GRACE
