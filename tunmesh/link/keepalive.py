"""When to ping the other end of a link, and when it is dead.

Every `ping_interval` one of the two ends sends a ping. They take turns, since a received ping
proves as much as the answer to one of ours, and in a large mesh pings are most of what an idle node
does. Both ends ping as soon as the link is up, so that both know the round trip from then on: the
end that dialed goes first, the other one's ping is sent with its pong. When nothing at all has been
received for `silence` seconds, the other end is dead. Where packets go out and nothing comes back,
link.suspicion says so sooner.

This module decides what is due and when; link.pinger has the clock and the connection. All times
are in seconds of any one clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.wire.sizes import TOKEN_SIZE

# The defaults, and the largest values that a config may have, in seconds.
PING_INTERVAL = 5.0
SILENCE = 15.0  # after which the other end is dead
_CLOCK_STEP = 0.001  # seconds; a shorter time counts as none
# Intervals until an end that has pinged does so again, unless the other end has its turn first.
OTHERS_TURN = 1.5


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a link is, in seconds."""

    ping_interval: float = PING_INTERVAL
    silence: float = SILENCE
    probe_timeout: float = 1.0  # for the answer to a ping that somebody waits for
    packet_expiration: float = 0.1  # how long a packet may wait


class KeepAlive:
    """The schedule of one end. `rtt` is the round trip of the last ping that was answered."""

    ping_interval: float
    silence: float

    def __init__(self, now: float) -> None:
        self.rtt: float | None = None
        self.pings = 0
        self.pongs = 0
        self._heard = now
        self._sent: float | None = None  # the last ping, until it is answered
        self._is_deferred = False  # by a ping received since our last turn

    def heard(self, now: float) -> None:
        """Anything was received from the other end."""
        self._heard = now

    def is_dead(self, now: float) -> bool:
        return self._left(now) < _CLOCK_STEP

    def begin(self, now: float, dialed: bool) -> float:
        """The link is up, or its timing has changed. Seconds until our turn, or until the other end
        may be dead."""
        return self._in(now, self.ping_interval * (1 if dialed else OTHERS_TURN))

    def take_turn(self, now: float) -> float:
        """Our turn is now. Seconds until the next one."""
        self._is_deferred = False
        return self._in(now, self.ping_interval * OTHERS_TURN)

    def pinged(self, now: float) -> float | None:
        """A ping was received: seconds until our turn, which it defers, or None if our turn stays
        when it was. A ping defers our turn only once per cycle: otherwise we would never ping a
        peer that pings more often, and not know the round trip."""
        if self._is_deferred:
            return None
        self._is_deferred = True
        return self._in(now, self.ping_interval)

    def ping(self, now: float) -> bytes:
        """The token of a ping that is sent now."""
        self.pings += 1
        self._sent = now
        return self._token()

    def ponged(self, now: float, token: bytes) -> float | None:
        """The round trip, if this is the first answer to the last ping."""
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
