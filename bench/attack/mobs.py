"""Floods by members with many identities at one address.

Each of 400 identities sends as much as the node accepts, independently of the others.
"""

from __future__ import annotations

import secrets
import select
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from OpenSSL import SSL

from bench.attack.hoarding import VICTIM, address_of
from bench.attack.target import CHUNK, GONE, Attack, Target, end
from tunmesh.testing.tun import frame
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.netstring import encode

IDENTITIES = 400
TOLD = 1000  # nodes that one message vouches for


def mob_packets(target: Target) -> Iterator[int]:
    """The smallest packets with their own source addresses."""
    numbers = range(IDENTITIES)
    return _mob(target, [_chunk(b"D" + frame(address_of(n), VICTIM.ipv4)) for n in numbers])


def mob_pings(target: Target) -> Iterator[int]:
    """Pings, whose pongs are not read."""
    return _mob(target, [_chunk(b"i" + bytes(8))] * IDENTITIES)


def mob_gossip(target: Target) -> Iterator[int]:
    """All vouch for the same thousand nodes and take it back, over and over."""
    ids = tuple(secrets.token_hex(16) for _ in range(TOLD))
    some, others = ids[: TOLD // 2], ids[TOLD // 2 :]
    told = (Gossip(1, ids), *(Gossip(0, some, others), Gossip(0, others, some)) * 2)
    return _mob(target, [b"".join(encode(each.encode()) for each in told)] * IDENTITIES)


def _chunk(payload: bytes) -> bytes:
    message = encode(payload)
    return message * (CHUNK // len(message))


def _mob(target: Target, said: Sequence[bytes]) -> Iterator[int]:
    """One link for each of these messages, on which it is sent for ever. Links that end are not
    replaced."""
    links: dict[int, Any] = {}  # by file descriptor
    texts: dict[int, bytes] = {}
    rest: dict[int, bytes] = {}  # what to send next
    for number, text in enumerate(said):
        link = target.join(f"mallory{number}", address_of(number))
        link.setblocking(False)
        links[link.fileno()], texts[link.fileno()], rest[link.fileno()] = link, text, text
    with select.epoll() as poll:
        for fd in links:
            poll.register(fd, select.EPOLLOUT)
        while links:
            yield len(links)
            for fd, _ in poll.poll(0.01, 64):
                try:
                    with suppress(SSL.WantWriteError):
                        sent = links[fd].send(rest[fd])
                        rest[fd] = rest[fd][sent:] or texts[fd]
                except GONE:
                    poll.unregister(fd)
                    end(links.pop(fd))
    raise ConnectionError("every link has ended")


MOBS: tuple[Attack, ...] = (mob_packets, mob_pings, mob_gossip)
