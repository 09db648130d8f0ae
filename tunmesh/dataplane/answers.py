"""Answers to packets of this machine that are not carried, so that nobody waits for a timeout.

    no node has the address, or its link is down     host unreachable     connect() fails at once,
    not an address of the mesh                       host unreachable     `ping` says so
    the peer refuses the source                      host unreachable
    larger than the MTU of the peer's tun            packet too big       the kernel sends smaller
                                                                          ones, or fragments

An answer is an ICMP or ICMPv6 error, written to the tun as if the destination had sent it
(packets.replies, which also says which packets are never answered). It does not leave this machine.
The packet is dropped, and counted, all the same.

**Whose packets.** Only those from an address of this node, or of a network that it leads to, to
which this machine forwards the answer: an answer to any other source would go to somebody who may
not have sent anything. None to a multicast or broadcast address, which have drop reasons of their
own. Nor one in a family that this node has no address in yet (`no_address`): the kernel gave it the
address of another device, and a moment later the node has its own.

**When.** Not before the node has been in its mesh for SETTLING: at the start of a machine,
applications connect before their peers are linked, and the kernel sends a SYN again after a second.
An error would make the connection fail that this retry would have made. Once it answers, it goes on
to do so, also when all links are down.

**How many.** RATE a second after a burst of BURST, as a whole, and DESTINATION_RATE and
DESTINATION_BURST for each destination, so that a flood to one does not use up the answers about
others. The buckets of the MAX_DESTINATIONS latest ones are remembered; a forgotten one is full
again, and the limit on the whole holds. What is more is dropped without an answer, and counted.

Sources: RFC 1122 sections 3.2.2 and 4.2.3.9 (errors and TCP), RFC 6298 (1 s), RFC 1191, RFC 4443
section 2.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.peer import Limits
from tunmesh.dataplane.table import Table
from tunmesh.packets import replies, virtio
from tunmesh.rate_limit import TokenBucket
from tunmesh.status.traffic import IcmpAnswers

SETTLING = 1.0  # seconds
RATE, BURST = 1000.0, 500
DESTINATION_RATE, DESTINATION_BURST = 100.0, 100
MAX_DESTINATIONS = 1024

_UNREACHABLE = {DropReason.NO_ROUTE, DropReason.OUTSIDE_NETWORK}
_DONT_FRAGMENT = 0x40


class Answers:
    """`table` knows whose an address is; `write(frames)` writes to the tun; `seconds` reads the
    clock."""

    def __init__(
        self,
        table: Table[Any],
        write: Callable[[list[bytes]], object],
        seconds: Callable[[], float],
    ) -> None:
        self._table = table
        self._write = write
        self._seconds = seconds
        self._begin = math.inf  # when to begin to answer
        self._whole = TokenBucket(BURST, RATE, seconds())
        self._destinations: dict[bytes, TokenBucket] = {}  # the latest last
        self._unreachable = self._too_big = self._limited = 0

    def joined(self) -> None:
        """The node is in its mesh. Only the first time counts."""
        self._begin = min(self._begin, self._seconds() + SETTLING)

    def status(self) -> IcmpAnswers:
        """What has been answered so far."""
        return IcmpAnswers(
            is_answering=self._seconds() >= self._begin,
            unreachable=self._unreachable,
            too_big=self._too_big,
            limited=self._limited,
        )

    def take(self, drops: list[Drop]) -> list[Drop]:
        """Packets without a route, each with the reason. Answers those that it should, and returns
        all of them: an answered packet is dropped, too."""
        if self._seconds() >= self._begin:
            self._refuse([bytes(frame) for reason, frame in drops if reason in _UNREACHABLE])
        return drops

    def screen(self, limits: Limits, batch: list[bytes]) -> tuple[list[bytes], list[Drop]]:
        """Sort the packets for a peer with limits: what it takes, and the rest, which is
        answered."""
        taken: list[bytes] = []
        refused: list[bytes] = []
        large: list[bytes] = []
        for frame in batch:
            if limits.refused and self._is_refused(limits, frame):
                refused.append(frame)
            elif len(frame) > limits.mtu + virtio.HEADER and self._is_too_big(limits, frame):
                large.append(frame)
            else:
                taken.append(frame)
        self._refuse(refused)
        self._too_big += self._answer(large, lambda frame: replies.too_big(frame, limits.mtu))
        drops: list[Drop] = [(DropReason.REFUSED, frame) for frame in refused]
        drops += [(DropReason.TOO_BIG, frame) for frame in large]
        return taken, drops

    def _is_refused(self, limits: Limits, frame: bytes) -> bool:
        source, destination = virtio.ends(frame)
        return source in limits.refused and not self._table.is_to_many(destination)

    def _is_too_big(self, limits: Limits, frame: bytes) -> bool:
        """A packet that routers may fragment is carried as it is: a kernel takes from its tun what
        is larger than it would send. So is what goes to many, which must not be answered."""
        if frame[virtio.HEADER] >> 4 == 4 and not frame[16] & _DONT_FRAGMENT:
            return False
        is_large = virtio.largest_packet(frame) > limits.mtu
        return is_large and not self._table.is_to_many(virtio.ends(frame)[1])

    def _refuse(self, frames: list[bytes]) -> None:
        self._unreachable += self._answer(frames, replies.host_unreachable)

    def _answer(self, frames: list[bytes], reply: Callable[[bytes], bytes | None]) -> int:
        """Write the replies that are due. Returns how many."""
        now = self._seconds()
        back: list[bytes] = []
        exhausted: set[bytes] = set()  # destinations: a flood costs little more than its drops
        for frame in frames:
            source, destination = virtio.ends(frame)
            if destination in exhausted:
                self._limited += 1
                continue
            if not (self._table.owns(source) or self._table.gateways.is_own(source)):
                continue
            bucket = self._bucket(now, destination)
            if bucket.wait(now) or self._whole.wait(now):
                self._limited += 1
                exhausted.add(destination)
                continue
            answer = reply(frame)
            if answer is not None:
                bucket.take(now)
                self._whole.take(now)
                back.append(answer)
        if back:
            self._write(back)
        return len(back)

    def _bucket(self, now: float, destination: bytes) -> TokenBucket:
        """What is left of the answers about this destination."""
        bucket = self._destinations.pop(destination, None)
        if bucket is None:
            bucket = TokenBucket(DESTINATION_BURST, DESTINATION_RATE, now)
            if len(self._destinations) >= MAX_DESTINATIONS:
                del self._destinations[next(iter(self._destinations))]
        self._destinations[destination] = bucket
        return bucket
