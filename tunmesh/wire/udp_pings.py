"""Pings over UDP: the control datagrams of tunmesh.udp.path, before they are sealed.

    ping    padding ‖ token (8) ‖ 1
    pong    token (8) ‖ received (8) ‖ highest counter (8) ‖ 2

Like every datagram they end with their kind. A ping is padded to the size that its sender wants to
know about, and a pong never is. Whoever is pinged answers a datagram of at least PING_SIZE bytes of
UDP payload, so no answer is longer than the question.

A pong tells what has come in the session that the ping came in: how many datagrams that were
authentic and no replays, and the highest counter among them. Two pongs tell how many were lost.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tunmesh.wire.sizes import TOKEN_SIZE

PING, PONG = 1, 2  # kinds: the last byte of a datagram

_PONG = struct.Struct(f"!{TOKEN_SIZE}sQQB")
_PING = TOKEN_SIZE + 1
PING_SIZE = 64  # bytes of UDP payload of the shortest ping; a sealed pong has 53


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer me."""

    token: bytes

    def encode(self) -> bytes:
        """The payload, without padding."""
        return self.token + bytes((PING,))


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer. `received`, `highest`: of the session that the ping came in."""

    token: bytes
    received: int
    highest: int

    def encode(self) -> bytes:
        """The payload."""
        return _PONG.pack(self.token, self.received, self.highest, PONG)


def decode(payload: bytes) -> Ping | Pong | None:
    """What it is, with or without the padding in front; None if it is neither."""
    kind = payload[-1] if payload else 0
    if kind == PING and len(payload) >= _PING:
        return Ping(bytes(payload[-_PING:-1]))
    if kind == PONG and len(payload) >= _PONG.size:
        token, received, highest, _ = _PONG.unpack(payload[-_PONG.size :])
        return Pong(token, received, highest)
    return None
