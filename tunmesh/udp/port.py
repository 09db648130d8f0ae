"""The node's UDP port, as those see it who send and receive datagrams: one socket for all peers.

A datagram begins with an index, 32 bits, big-endian. Whoever wants datagrams opens one, tells it to
one peer, and is given each datagram that begins with it, wherever it comes from: the index only
finds the reader, who alone can say whether a datagram is authentic.

    u32 index | 24 bytes or more that only the reader understands

A datagram that is shorter, or whose index nobody has, is counted (`strangers`) and forgotten:
nothing is answered, logged or allocated for it.

**Sending** is at once or not at all, like writing to the tun. When the socket takes no more, the
answer is BLOCKED, and whoever sends queues, since queues belong where flows take turns
(link.fair_queue). Those that wait are called in the order in which they asked. While some wait,
nobody else overtakes them, but for control datagrams (`ahead`): they go as soon as there is room,
and wait for that in the port, a few hundred of all peers at most. A ping that stands in the line of
the data measures the line, and a path must not seem dead because the line is long.

udp.sockets.socket_port has the real port, testing.datagrams one in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

Place = tuple[str, int]  # a literal address, IPv4 in the form of IPv4, and a port


class Sent(Enum):
    """What became of a `send`."""

    DONE = auto()
    BLOCKED = auto()  # nothing was sent; `call_when_writable` says when to try again
    TOO_BIG = auto()  # larger than the device or its route takes, in one piece; nothing was sent
    UNREACHABLE = auto()  # no route, forbidden, or not possible for another reason; nothing sent


class Reader(Protocol):
    """Takes the datagrams of one index. Neither method may raise: who does, is given no more."""

    def datagrams(self, data: memoryview, size: int, source: Place) -> bool:
        """Datagrams that came from `source`, one behind the other: each has `size` bytes, the last
        may be shorter. `data` is valid until this returns.

        True if `source` may be believed: one of them was authentic, and newer than all before.
        Then answers to `source` leave from the address of this host that they came to."""

    def read_ended(self) -> None:
        """All that could be read for now was read: what came is to be delivered. It is called once
        after any number of `datagrams`."""


class Port(Protocol):
    """Sends and receives datagrams, on the port's number at which the node also takes links."""

    @property
    def strangers(self) -> int:
        """Datagrams that came and were nobody's."""

    def start(self) -> None:
        """Begin to read."""

    def stop(self) -> None:
        """Close the port. Nothing is received any more, and everybody is UNREACHABLE."""

    def open(self, reader: Reader) -> int:
        """Give `reader` the datagrams of an index from now on; the index: random, never 0."""

    def close(self, index: int) -> None:
        """Datagrams of this index are strangers from now on."""

    def send(self, data: bytes | memoryview, size: int, to: Place, *, ahead: bool = False) -> Sent:
        """Send datagrams, one behind the other in `data`, each of `size` bytes, the last may be
        shorter: at most MAX_SEGMENTS of at most MAX_DATAGRAM bytes together. When it returns,
        `data` may be used for something else. `ahead`: ahead of those who wait, for a control
        datagram; DONE although it may wait a moment in the port."""

    def call_when_writable(self, call: Callable[[], None]) -> None:
        """Call once, when the socket takes data again and all who waited before have been called.
        Whoever is called sends a bounded amount, and asks again if there is more."""

    def largest(self, to: Place) -> int | None:
        """The bytes of the largest datagram that the device towards there takes; None: not known.
        Only a first guess of what the path takes: `send` says TOO_BIG to what is larger."""
