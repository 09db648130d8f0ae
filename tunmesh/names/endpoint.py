"""The DNS address: packets that this machine sends to it, and what comes back out of the tun.

No socket listens there, and the kernel does not know the address as its own: it is in the mesh's
network, so the kernel sends what is for it into the tun. As no node can have it, there is no route,
and the forwarder gives such packets to `take`.

    UDP to port 53       a query: names.responder answers, or names.upstream is asked
    ICMP echo            is answered
    anything else        ICMP port unreachable: nobody has to wait for a timeout

Answers are written to the tun, from the address and port that was asked, whatever the source: a
query may come before this node has an address, and the kernel then takes that of another device.
They go nowhere but to this machine.

**Bounds.** QUERY_RATE queries a second are answered, after a burst of QUERY_BURST: so many may
come in one iteration of the reactor. All others are dropped, and counted under the reason
`dns_flood`; so are echo requests and packets to be refused, ICMP_RATE a second of them. A query
that waits for a name server holds its packet: at most names.upstream.MAX_IN_FLIGHT of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from tunmesh.addresses import Address
from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.names.codec import PORT, Query
from tunmesh.names.responder import Outcome, Reply, Responder
from tunmesh.packets import replies, virtio
from tunmesh.packets.replies import Datagram
from tunmesh.rate_limit import TokenBucket

QUERY_RATE, QUERY_BURST = 1000.0, 200
ICMP_RATE, ICMP_BURST = 50.0, 50


class Forwards(Protocol):
    """Name servers for other names; names.upstream.Upstream is one."""

    @property
    def in_flight(self) -> int: ...
    def is_loop(self, query: Query) -> bool: ...
    def has_room(self) -> bool: ...
    def ask(self, query: Query, done: Callable[[bytes | None], None]) -> None: ...
    def stop(self) -> None: ...


class Troubles(Protocol):
    """What somebody should look at."""

    def looped(self) -> None:
        """A query that was forwarded came back."""

    def unanswered(self) -> None:
        """No name server has answered a query."""


class Endpoint:
    """`addresses` are those of DNS; `write(frames)` writes to the tun; `seconds` reads the
    clock."""

    def __init__(
        self,
        addresses: Iterable[Address],
        responder: Responder,
        upstream: Forwards | None,
        write: Callable[[list[bytes]], object],
        seconds: Callable[[], float],
        troubles: Troubles,
    ) -> None:
        self._troubles = troubles
        self._addresses = frozenset(address.packed for address in addresses)
        self._responder = responder
        self._upstream = upstream
        self._write = write
        self._seconds = seconds
        now = seconds()
        self._queries = TokenBucket(QUERY_BURST, QUERY_RATE, now)
        self._icmp = TokenBucket(ICMP_BURST, ICMP_RATE, now)
        self._outcomes: dict[str, int] = dict.fromkeys(Outcome, 0)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many queries ended in each way."""
        return self._outcomes

    def take(self, drops: list[Drop]) -> list[Drop]:
        """Packets without a route, each with the reason. Answers those that are for the DNS
        address; returns all others, and those that are too many."""
        left: list[Drop] = []
        back: list[bytes] = []
        for drop in drops:
            frame = bytes(drop[1])
            if virtio.ends(frame)[1] not in self._addresses:
                left.append(drop)
            elif not self._answer(frame, back):
                left.append((DropReason.DNS_FLOOD, frame))
        if back:
            self._write(back)
        return left

    def _answer(self, frame: bytes, back: list[bytes]) -> bool:
        """Append the answers that there are at once. False: too many come."""
        now = self._seconds()
        datagram = replies.datagram_of(frame)
        if datagram is None or datagram.destination_port != PORT:
            return self._refuse(frame, back, now)
        queries = _queries(frame, datagram)
        for number, query in enumerate(queries):
            if self._queries.wait(now):
                self._outcomes[Outcome.DROPPED] += len(queries) - number
                return False
            self._queries.take(now)
            answer = self._ask(replace(datagram, payload=query))
            if answer is not None:
                back.append(answer)
        return True

    def _refuse(self, frame: bytes, back: list[bytes], now: float) -> bool:
        if self._icmp.wait(now):
            return False
        self._icmp.take(now)
        answer = replies.echo_reply(frame) or replies.port_unreachable(frame)
        if answer is not None:
            back.append(answer)
        return True

    def _ask(self, datagram: Datagram) -> bytes | None:
        """The frame that answers a query, unless it has to wait or gets none."""
        found = self._responder.respond(datagram.payload)
        if isinstance(found, Query):
            waiting = self._forward(found, datagram)
            if waiting is None:
                return None
            found = waiting
        return self._ended(datagram, found)

    def _forward(self, query: Query, datagram: Datagram) -> Reply | None:
        """Ask another name server; the reply if that cannot be."""
        upstream = self._upstream
        if upstream is None:
            return self._responder.refuse(query)
        if upstream.is_loop(query):
            self._troubles.looped()
            return self._responder.refuse(query)
        if not upstream.has_room():
            return self._responder.fail(query)

        def done(message: bytes | None) -> None:
            if message is not None:
                reply = Reply(Outcome.FORWARDED, message)
            else:
                self._troubles.unanswered()
                reply = self._responder.fail(query)
            frame = self._ended(datagram, reply)
            if frame is not None:
                self._write([frame])

        upstream.ask(query, done)
        return None

    def _ended(self, datagram: Datagram, reply: Reply) -> bytes | None:
        self._outcomes[reply.outcome] += 1
        if reply.message is None:
            return None
        return replies.datagram_back(datagram, reply.message)


def _queries(frame: bytes, datagram: Datagram) -> list[bytes]:
    """The payloads in a frame. Queries that a resolver sends together have been joined into one
    (packets.udp_segments), by the kernel or on the way here."""
    size = virtio.VIRTIO.unpack_from(frame)[3] if frame[1] == virtio.GSO_UDP_L4 else 0
    payload = datagram.payload
    return [payload[at : at + size] for at in range(0, len(payload), size)] if size else [payload]
