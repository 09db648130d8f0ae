"""When to ping the other end of a link, and when it is dead.

Every `ping_interval` a ping goes one way or the other: the two ends take turns, since a ping that
comes says as much as the answer to one of ours, and in a large mesh pings are what an idle node
does. The first turn of either end comes as soon as the link is up, so that both know the round trip
from then on: the end that dialed pings, the other end's ping goes with the pong. When nothing at
all was heard for `silence` the other end is dead.

This says what is due and when; whoever has the clock and the connection sees to it. All times are
in seconds of any one clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.wire.sizes import TOKEN_SIZE

# Seconds, and the most that a config may make of them.
PING_INTERVAL = 5.0
SILENCE = 15.0  # after which the other end is dead
CLOCK_STEP = 0.001  # seconds: less is no time
# An end that has pinged waits for so many intervals, longer than the other end needs for its turn.
OTHERS_TURN = 1.5


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a link is, in seconds."""

    ping_interval: float = PING_INTERVAL
    silence: float = SILENCE
    probe_timeout: float = 1.0  # for the answer to a ping that somebody waits for
    packet_expiration: float = 0.1  # how long a packet may wait


class KeepAlive:
    """Of one end. `rtt` is the round trip of the last ping that was answered."""

    ping_interval: float
    silence: float

    def __init__(self, now: float) -> None:
        self.rtt: float | None = None
        self.pings = 0
        self.pongs = 0
        self._heard = now
        self._sent: float | None = None  # the last ping, until it is answered
        self._is_put_off = False  # by a ping that came since ours

    def heard(self, now: float) -> None:
        """Anything came from the other end."""
        self._heard = now

    def is_dead(self, now: float) -> bool:
        return self._left(now) < CLOCK_STEP

    def begin(self, now: float, dialed: bool) -> float:
        """The link is up, or has another patience. When our turn is; until then it may be looked at
        whether the other end is dead."""
        return self._in(now, self.ping_interval * (1 if dialed else OTHERS_TURN))

    def take_turn(self, now: float) -> float:
        """Ours is now. When the next one is."""
        self._is_put_off = False
        return self._in(now, self.ping_interval * OTHERS_TURN)

    def pinged(self, now: float) -> float | None:
        """The other end had its turn: ours is so much later. None: it is when it was. Once, or we
        would never ping one that does so more often, and not know the round trip."""
        if self._is_put_off:
            return None
        self._is_put_off = True
        return self._in(now, self.ping_interval)

    def ping(self, now: float) -> bytes:
        """The token of the ping that goes now."""
        self.pings += 1
        self._sent = now
        return self._token()

    def ponged(self, now: float, token: bytes) -> float | None:
        """The round trip. Only the answer to the last ping tells of one, and once."""
        if self._sent is None or token != self._token():
            return None
        self.rtt = now - self._sent
        self._sent = None
        self.pongs += 1
        return self.rtt

    def _token(self) -> bytes:
        return self.pings.to_bytes(TOKEN_SIZE, "big")

    def _left(self, now: float) -> float:
        return self._heard + self.silence - now

    def _in(self, now: float, delay: float) -> float:
        return max(0.0, min(delay, self._left(now)))
