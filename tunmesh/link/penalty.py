"""How many useless frames a peer may send: packets that are dropped, and messages.

They cost as much to read as packets that are carried. `BURST` of them at once and `RATE` a second
(rate_limit.TokenBucket) go unnoticed. A peer that sends more is not read until the debt is paid,
which leaves the other peers the time that it would have taken. An honest peer stays far below: its
packets are dropped only until both ends know of a change of routes, which takes little more than a
round trip, and it sends a few messages a second. If it happens to one nevertheless, it loses
nothing but time: its transport has to wait, as with a slow peer.
"""

from __future__ import annotations

from tunmesh.wire import messages

# Updates of its record that a peer may send, at once and a second. More are ignored, since to
# verify one costs as much as a hundred packets; an honest node sends fewer (node.own.addresses).
UPDATES_BURST, UPDATES_RATE = 30, 1.0

RATE = 10_000  # frames a second: some 3 % of a processor
BURST = 20_000  # at once: a fifth of a second of 100,000 packets a second
MAX_REST = 0.5  # seconds that a peer is not read at a time: byes and pings come soon enough

_INTERESTS_PER_FRAME = 64  # bytes of interests in multicast groups that cost as much as one frame


def weight(message: bytes | memoryview) -> int:
    """How many useless frames a message counts as."""
    if len(message) > _INTERESTS_PER_FRAME and message[0] == messages.INTERESTS:
        return len(message) // _INTERESTS_PER_FRAME
    return 1
