"""What is sent to one peer over UDP: sealed and given to the port at once, or waiting for it.

The port takes datagrams at once, or is BLOCKED. Then packets wait in a fair and bounded queue, as
for a link (link.fair_queue), behind those that were sealed already; a turn of them is sent whenever
the port takes datagrams again. What waits counts against the budget that all peers share
(link.memory_budget).

When this host refuses to send, or there is no path any more, packets that are not sealed go to the
owner, who has another carrier for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import length_hint
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from tunmesh.dataplane.drops import DropReason
from tunmesh.link.fair_queue import MAX_BYTES, PacketQueue
from tunmesh.link.keepalive import Timing
from tunmesh.link.memory_budget import Account
from tunmesh.udp.port import Place, Port, Sent
from tunmesh.udp.session import Session
from tunmesh.wire.datagrams import SLICE_OVERHEAD

TURN = 1 << 16  # bytes that are sent at a time of what waits

_NOTHING_WAITS = PacketQueue(0.0)  # of all to whom nothing waits: a queue takes 2 KB

Bursts = Iterator[tuple[bytes | memoryview, int]]  # datagrams, and how long each of them is


class Owner(Protocol):
    """Whose packets they are."""

    def packets_dropped(self, reason: DropReason, count: int) -> None: ...

    def send_instead(self, frames: list[bytes]) -> None:
        """Send these packets by another carrier."""


class Outbox:
    """Of one peer. `account`: what waits for it. `refused(why)` is called when this host does not
    send datagrams that are so large, or none at all. It aims again: at smaller ones, or nowhere."""

    def __init__(
        self,
        owner: Owner,
        port: Port,
        clock: IReactorTime,
        account: Account,
        refused: Callable[[Sent], None],
    ) -> None:
        self.dropped = 0  # packets
        self._owner = owner
        self._refused = refused
        self._port = port
        self._clock = clock
        self._account = account
        self._max_age = Timing().packet_expiration
        self._queue = _NOTHING_WAITS
        self._session: Session | None = None
        self._to: Place | None = None
        self._size = 0
        self._small = 0  # bytes of a frame that fits into one datagram
        # What the port did not take: bursts, what they are sealed from, and how many packets are
        # sealed already.
        self._stuck: tuple[Bursts, Iterator[bytes], int] | None = None
        self._is_called = False  # when the port takes datagrams again

    @property
    def queued_bytes(self) -> int:
        return self._queue.bytes

    def expire_after(self, seconds: float) -> None:
        """Drop packets that have waited for longer."""
        self._max_age = seconds
        if self._queue is not _NOTHING_WAITS:
            self._queue.max_age = seconds

    def aim(self, session: Session | None, to: Place | None, size: int) -> None:
        """Send by this session to there from now on, in datagrams of at most `size` bytes."""
        self._session, self._to, self._size = session, to, size
        self._small = size - SLICE_OVERHEAD if to is not None else 0

    def send(self, frames: list[bytes]) -> None:
        """Send packets now, or queue them, or drop them."""
        if self._stuck is not None or self._queue:
            self._wait(frames)
            return
        session = self._session
        if session is not None and len(frames) == 1 and len(frames[0]) <= self._small:
            self._send_bursts(iter((session.seal_small(frames[0]),)), iter(()), 1)
            return
        unsealed = iter(frames)
        self._write(unsealed)
        if self._stuck is not None:
            self._wait(unsealed)

    def send_control(self, to: Place, message: bytes, size: int) -> None:
        """Send a control message, padded to this size, ahead of all packets: a busy path must not
        look dead. If it is too big or the host refuses it, it is lost, as it could be on the way.
        """
        if self._session is not None:
            datagram = self._session.seal_control(message, size)
            self._port.send(datagram, len(datagram), to, ahead=True)

    def hand_over(self) -> None:
        """Packets go another way from now on, those that wait too; what is sealed is lost."""
        frames: list[bytes] = []
        if self._stuck is not None:
            _, unsealed, sealed = self._stuck
            self._stuck = None
            frames += unsealed
            self._drop(DropReason.UDP_REFUSED, sealed)
        waiting, expired = self._queue.pop(self._clock.seconds(), MAX_BYTES)
        self._drop(DropReason.EXPIRED, expired)
        self._note_memory()
        if frames or waiting:
            self._owner.send_instead(frames + waiting)

    def close(self) -> None:
        """Drop what waits; send nothing any more."""
        waiting = self._queue.clear()
        if self._stuck is not None:
            _, unsealed, sealed = self._stuck
            self._stuck = None
            waiting += sealed + length_hint(unsealed)
        self.aim(None, None, 0)
        self._drop(DropReason.LINK_LOST, waiting)
        self._account.hold(0)

    # --- now ---

    def _write(self, unsealed: Iterator[bytes]) -> None:
        """Send these packets. Those that stay in the iterator are stuck."""
        if self._to is None or self._session is None:
            self._owner.send_instead(list(unsealed))
        else:
            self._send_bursts(self._session.seal(unsealed, self._size), unsealed, 0)

    def _send_bursts(self, bursts: Bursts, unsealed: Iterator[bytes], sealed: int) -> None:
        port, to = self._port, self._to
        if to is None:
            self._failed(Sent.UNREACHABLE, unsealed, sealed)
            return
        left = length_hint(unsealed) + sealed
        for datagrams, size in bursts:
            sent = port.send(datagrams, size, to)
            if sent is not Sent.DONE:
                sealed = left - length_hint(unsealed)
                if sent is Sent.BLOCKED:
                    first = bytes(datagrams), size  # all sessions seal in the same buffer
                    self._stuck = chain((first,), bursts), unsealed, sealed
                    self._note_memory()
                    self._call_when_writable()
                else:
                    self._failed(sent, unsealed, sealed)
                return
            left = length_hint(unsealed)

    def _failed(self, sent: Sent, unsealed: Iterator[bytes], sealed: int) -> None:
        self._drop(DropReason.UDP_REFUSED, sealed)
        if self._to is not None:
            self._refused(sent)
        self._write(unsealed)

    # --- later ---

    def _wait(self, frames: Iterable[bytes]) -> None:
        if self._queue is _NOTHING_WAITS:
            self._queue = PacketQueue(self._max_age)
        limit = self._queue.bytes + self._account.room
        dropped = self._queue.push(self._clock.seconds(), frames, limit)
        self._drop(DropReason.QUEUE_FULL, dropped)
        self._note_memory()
        self._call_when_writable()

    def _call_when_writable(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._port.call_when_writable(self._writable)

    def _writable(self) -> None:
        """The port takes datagrams again: send what is stuck, or one turn of what waits."""
        self._is_called = False
        if self._stuck is not None:
            bursts, unsealed, sealed = self._stuck
            self._stuck = None
            self._send_bursts(bursts, unsealed, sealed)
        elif self._queue:
            frames, expired = self._queue.pop(self._clock.seconds(), TURN)
            self._drop(DropReason.EXPIRED, expired)
            self._write(iter(frames))
        if self._queue:
            self._call_when_writable()
        self._note_memory()

    def _drop(self, reason: DropReason, count: int) -> None:
        if count:
            self.dropped += count
            self._owner.packets_dropped(reason, count)

    def _note_memory(self) -> None:
        self._account.hold(self._queue.held + (TURN if self._stuck is not None else 0))
        if not self._queue:
            self._queue = _NOTHING_WAITS
