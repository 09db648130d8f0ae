"""The pings that a path has sent and that may still be answered, and how many it may send.

Tokens cannot be guessed, so an answer proves that the ping arrived: a peer cannot make this node
send to an address that is not its own. No clock, no I/O, no randomness: the key is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from tunmesh.addresses import Target
from tunmesh.rate_limit import TokenBucket
from tunmesh.wire.sizes import TOKEN_SIZE

BURST, RATE = 64, 12  # pings at once; pings a second
# Of the burst, for pings that tell whether the path in use is alive: nothing else uses it up.
RESERVED = 16
LATEST = 10.0  # seconds after which no answer is expected
MOST = 128  # that may be answered


@dataclass(frozen=True, slots=True)
class Sent:
    """A ping that was sent."""

    to: Target
    size: int
    at: float
    session: int  # counted from 0: which session of the path it was sent in


class Pings:
    """Pings of one path. `key`: some random bytes."""

    def __init__(self, key: bytes, now: float) -> None:
        self._key = key
        self._number = 0
        self._budget = TokenBucket(BURST, RATE, now)
        self._sent: dict[bytes, Sent] = {}  # by token, the oldest first

    def allows(self, now: float, count: int = 1) -> bool:
        """May so many more be sent, beside the reserved ones?"""
        return not self._budget.wait(now, count + RESERVED)

    def wait(self, now: float) -> float:
        """Seconds until there may be one beside the reserved ones."""
        return self._budget.wait(now, 1 + RESERVED)

    def send(self, ping: Sent) -> bytes:
        """The token of a ping that is sent now."""
        self._budget.take(ping.at)
        self._number += 1
        number = self._number.to_bytes(8, "big")
        token = blake2b(number, digest_size=TOKEN_SIZE, key=self._key).digest()
        while self._sent:
            oldest, sent = next(iter(self._sent.items()))
            if ping.at - sent.at < LATEST and len(self._sent) < MOST:
                break
            del self._sent[oldest]
        self._sent[token] = ping
        return token

    def answered(self, now: float, token: bytes) -> Sent | None:
        """The ping that this is the first answer to; None if there is none, or it came too late."""
        sent = self._sent.pop(token, None)
        return sent if sent and now - sent.at < LATEST else None
