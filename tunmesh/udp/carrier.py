"""Packets of one peer over UDP: a carrier (dataplane.carrier) beside the links with it.

    send ──> Outbox, Session.seal ──> port ═══ UDP ═══ port ──> Session.open ──> Owner.received
                    ^                                              │ pings, pongs, sources
                    └──── where to, how large ──── Path <──────────┘

**A peer that sends useless datagrams** (packets that are dropped, control messages, nonsense) at a
high rate is not listened to for a while, as on its link (link.penalty). The path looks dead to it
then, so it uses its link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from tunmesh.addresses import Target
from tunmesh.link import penalty
from tunmesh.link.interfaces import Export
from tunmesh.link.memory_budget import Account
from tunmesh.rate_limit import TokenBucket
from tunmesh.status.peers import UdpCounts
from tunmesh.timers import Timer
from tunmesh.udp import outbox
from tunmesh.udp.outbox import Outbox
from tunmesh.udp.path import Command, Path, Send
from tunmesh.udp.places import PlacesInUse
from tunmesh.udp.port import Place, Port, Sent
from tunmesh.udp.scratch import Scratch
from tunmesh.udp.session import Session
from tunmesh.udp.sessions import Controls, Sessions
from tunmesh.wire import udp_pings

TELL_AGAIN = 0.1  # seconds after which the path is told again where datagrams come from
_LOOK_AGAIN = 1.0  # seconds after which the path is asked again if there was a bug


class Owner(outbox.Owner, Protocol):
    """Whoever chose this carrier."""

    def received(self, frames: list[memoryview]) -> int:
        """Packets came; how many of them the peer should not have sent."""

    def read_ended(self) -> None:
        """All that came with one read has been received."""

    def path_changed(self) -> None:
        """There is a path now, or another one, or none any more."""

    def wasteful(self) -> None:
        """The peer sends so much that is useless that it is not listened to for a while."""


class UdpCarrier:
    """Of one peer, for as long as it is linked. `account`: what waits for it."""

    def __init__(
        self,
        owner: Owner,
        port: Port,
        path: Path,
        clock: IReactorTime,
        account: Account,
        scratch: Scratch,
        places: PlacesInUse,
    ) -> None:
        self.path = path
        self.is_deaf = False  # what comes is not decrypted
        self.source: Place | None = None  # of the newest authentic datagram, if that is in use
        self._owner = owner
        self._clock = clock
        self._places = places
        self.has_say_about = partial(places.is_open_to, self)
        self._told: tuple[Place | None, float] = None, 0.0  # to the path: which source, and when
        self._sessions = Sessions(self, port, clock, scratch, account, self._session_changed)
        self._outbox = Outbox(owner, port, clock, account, self._refused)
        self._useless = TokenBucket(penalty.BURST, penalty.RATE, clock.seconds())
        self._rest = Timer(clock)  # until it listens again
        self._wake = Timer(clock)  # when the path wants to be asked
        self._owed: Send | None = None  # an answer to a ping that came before the peer's offer
        self._is_closed = False

    # --- dataplane.carrier.Carrier ---

    @property
    def dropped(self) -> int:
        return self._outbox.dropped

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    @property
    def round_trip(self) -> float | None:
        return self.path.round_trip

    def send(self, frames: list[bytes]) -> None:
        self._outbox.send(frames)
        if commands := self.path.data_sent(self._clock.seconds()):
            self._run(commands)

    def close(self, reason: str) -> None:
        """The peer has parted: close all sessions, drop what waits."""
        self._is_closed = self.is_deaf = True
        self._wake.stop()
        self._rest.stop()
        self._sessions.close()
        self._outbox.close()
        self._places.use(self, None)

    # --- what its owner tells it ---

    def open(self, link: object, export: Export, is_client: bool) -> int:
        """Take datagrams that are sealed with the keys of this link; the index to offer for them.
        `is_client`: this end has dialed the link."""
        return self._sessions.open(link, export, is_client)

    def offered(self, link: object, index: int, places: Sequence[Target]) -> None:
        """The other end of this link takes datagrams under this index, perhaps at these places."""
        if self._sessions.offered(link, index):
            if self._owed is not None:
                self._run((self._owed,))
                self._owed = None
            self._run(self.path.offered(self._clock.seconds(), places))
            self._wake_up()

    def gone(self, link: object) -> None:
        """This link is gone; so is its session, in a while."""
        self._sessions.gone(link)

    def used(self, is_in_use: bool) -> None:
        """The packets of the peer go this way from now on, or no longer. What waits goes by the
        other carrier then."""
        self._run(self.path.used(self._clock.seconds(), is_in_use))
        self._wake_up()
        if not is_in_use:
            self._outbox.hand_over()

    def expire_after(self, seconds: float) -> None:
        """Drop packets that have waited for longer."""
        self._outbox.expire_after(seconds)

    def counts(self) -> UdpCounts:
        """Datagrams of all sessions with the peer. What was lost, the peer says."""
        counts = self._sessions.counts()
        return replace(counts, lost=min(self.path.loss.lost, counts.sent))

    # --- what comes (udp.sessions.Listener) ---

    def came_from(self, source: Place) -> None:
        now = self._clock.seconds()
        if source != self._told[0]:
            self._note_useless(1)
        elif now < self._told[1] + TELL_AGAIN:
            return
        self._told = source, now
        self._run(self.path.came_from(now, source))
        self._know_source()

    def controls_came(self, session: Session, controls: Controls, source: Place) -> None:
        now = self._clock.seconds()
        for message, size in controls:
            match udp_pings.decode(message):
                case udp_pings.Ping() as ping if size >= udp_pings.PING_SIZE:
                    received, highest = session.received, session.highest
                    self._run(self.path.ping_came(now, ping, source, received, highest))
                case udp_pings.Pong() as pong:
                    self._run(self.path.pong_came(now, pong))
        self._note_useless(len(controls))

    def nonsense_came(self, count: int) -> None:
        self._note_useless(count)

    def deliver(self, frames: list[memoryview]) -> None:
        if useless := self._owner.received(frames):
            self._note_useless(useless)
        self._owner.read_ended()

    def _note_useless(self, count: int) -> None:
        """Do not listen to the peer until it has paid for what was too much."""
        now = self._clock.seconds()
        self._useless.take(now, count)
        rest = min(self._useless.wait(now, 0), penalty.MAX_REST)
        if rest > 0 and not self.is_deaf and not self._is_closed:
            self.is_deaf = True
            self._rest.start(rest, self._listen)
            self._owner.wasteful()

    def _listen(self) -> None:
        self.is_deaf = False

    # --- the path ---

    def _refused(self, sent: Sent) -> None:
        """This host does not send what it was given."""
        now, size = self._clock.seconds(), self.path.size
        if sent is Sent.TOO_BIG:
            self._run(self.path.too_big(now))
        if self.path.size == size:
            self._run(self.path.unreachable(now))

    def _session_changed(self) -> None:
        if self._sessions.for_sending is None:
            self._run(self.path.withdrawn("the peer does not take UDP any more"))
            self._wake_up()
        self._aim()

    def _tick(self) -> None:
        self._wake.start(_LOOK_AGAIN, self._tick)
        self._run(self.path.tick(self._clock.seconds()))
        self._wake_up()

    def _run(self, commands: Sequence[Command]) -> None:
        """Do what the path wants."""
        for command in commands:
            if isinstance(command, Send) and self._sessions.for_sending is None:
                self._owed = command
            elif isinstance(command, Send):
                self._outbox.send_control(command.to, command.control.encode(), command.size)
            else:
                self._aim()
                self._owner.path_changed()
        if commands:
            self._wake_up()

    def _aim(self) -> None:
        self._outbox.aim(self._sessions.for_sending, self.path.address, self.path.size)
        if not self._is_closed:
            self._places.use(self, self.path.address)
        self._know_source()

    def _know_source(self) -> None:
        """As long as datagrams come from the address in use, the path need not hear of it."""
        self.source = self.path.address if self.path.address == self._told[0] else None

    def _wake_up(self) -> None:
        """Ask the path again when it wants to be asked."""
        if self.path.wake_at < inf and not self._is_closed:
            self._wake.start(max(0.0, self.path.wake_at - self._clock.seconds()), self._tick)
        else:
            self._wake.stop()
