"""Pings over UDP: the control messages of tunmesh.udp.path, inside datagrams (wire.datagrams).

    ping    1 ‖ token (8)
    pong    2 ‖ token (8) ‖ received (8) ‖ highest counter (8)

The datagram of a ping is padded to the size that its sender wants to know about. Whoever is pinged
answers those of at least PING_SIZE bytes of UDP payload, so no answer is longer than its question.

A pong tells what has come in the session that the ping came in: how many datagrams that were
authentic and no replays, and the highest counter among them. Two pongs tell how many were lost.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tunmesh.wire.sizes import TOKEN_SIZE

PING_SIZE = 64  # bytes of UDP payload of the shortest ping; a pong has 56

_PING, _PONG = 1, 2
_PONG_FIELDS = struct.Struct(f"!B{TOKEN_SIZE}sQQ")


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer me."""

    token: bytes

    def encode(self) -> bytes:
        """The message."""
        return bytes((_PING,)) + self.token


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer. `received`, `highest`: of the session that the ping came in."""

    token: bytes
    received: int
    highest: int

    def encode(self) -> bytes:
        """The message."""
        return _PONG_FIELDS.pack(_PONG, self.token, self.received, self.highest)


def decode(message: bytes) -> Ping | Pong | None:
    """What it is; None if it is neither."""
    kind, size = message[:1], len(message)
    if kind == bytes((_PING,)) and size == 1 + TOKEN_SIZE:
        return Ping(bytes(message[1:]))
    if kind == bytes((_PONG,)) and size == _PONG_FIELDS.size:
        return Pong(*_PONG_FIELDS.unpack(message)[1:])
    return None
