"""The sessions with one peer: one for each link, opened, chosen and closed.

What is sent goes by the newest session that the other end has offered as well, and whose link is
still there; what comes is taken by all. So when a link is renewed, packets go on by the old session
until both ends have offered the new one, and the old one is open until its link has been gone for
LINGER seconds, for what is still under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from tunmesh.link.interfaces import Export
from tunmesh.link.memory_budget import Account
from tunmesh.status.peers import UdpCounts
from tunmesh.timers import Timer
from tunmesh.udp.port import Place, Port
from tunmesh.udp.scratch import Scratch
from tunmesh.udp.session import Session

LINGER = 2.0  # seconds that a session is open after its link
# A new epoch costs a call of the TLS exporter, as much as so many useless datagrams. One that is
# due comes after millions of datagrams; a member could begin one with each.
EPOCH_COST = 10
MOST_SESSIONS = 4  # at a time: a link, the one that it replaces, and two that cross each other

Controls = Sequence[tuple[bytes, int]]  # messages, each with the size of its datagram


class Listener(Protocol):
    """What is told of what comes."""

    @property
    def is_deaf(self) -> bool:
        """What comes is not even decrypted."""

    @property
    def source(self) -> Place | None:
        """Where the newest authentic datagram may come from without being told."""

    def came_from(self, source: Place) -> None:
        """The newest authentic datagram came from another place than `source`."""

    @property
    def has_say_about(self) -> Callable[[Place], bool]:
        """Whether what comes from there may say how it is answered."""

    def controls_came(self, session: Session, controls: Controls, source: Place) -> None:
        """Control messages came."""

    def nonsense_came(self, count: int) -> None:
        """So many authentic datagrams came that mean nothing."""

    def deliver(self, frames: list[memoryview]) -> None:
        """These packets came with one read of the port; they are valid until the next."""


class _Opened:
    """A session, as the port's reader of its datagrams. `link`: whose keys it has."""

    __slots__ = ("_listener", "_useless", "index", "is_gone", "link", "session")

    def __init__(
        self, listener: Listener, port: Port, link: object, make: Callable[[int], Session]
    ) -> None:
        self._listener = listener
        self.link = link
        self.is_gone = False  # the link
        self._useless = 0  # that the listener was told of
        self.index = port.open(self)
        self.session = make(self.index)

    def datagrams(self, data: memoryview, size: int, source: Place) -> bool:
        listener, session = self._listener, self.session
        if listener.is_deaf:
            return False
        controls = session.open(data, size)
        is_newest = session.is_newest
        if is_newest and source != listener.source:
            listener.came_from(source)
        if controls:
            listener.controls_came(session, controls, source)
        return is_newest and (source == listener.source or listener.has_say_about(source))

    def read_ended(self) -> None:
        session = self.session
        frames = session.frames()
        useless = session.malformed + EPOCH_COST * session.epoch
        if useless > self._useless:
            self._listener.nonsense_came(useless - self._useless)
            self._useless = useless
        if frames:
            self._listener.deliver(frames)

    def counts(self) -> UdpCounts:
        session = self.session
        return UdpCounts(
            session.sent,
            session.received,
            replayed=session.replayed,
            undecryptable=session.undecryptable,
        )


class Sessions:
    """`account`: of the peer. `changed()` is called when another session is to be used for sending,
    or none."""

    def __init__(
        self,
        listener: Listener,
        port: Port,
        clock: IReactorTime,
        scratch: Scratch,
        account: Account,
        changed: Callable[[], None],
    ) -> None:
        self.for_sending: Session | None = None
        self._listener = listener
        self._port = port
        self._clock = clock
        self._scratch = scratch
        self._account = account
        self._changed = changed
        self._opened: list[_Opened] = []  # the newest last
        self._past = UdpCounts()  # of sessions that are closed

    def open(self, link: object, export: Export, is_client: bool) -> int:
        """Take datagrams that are sealed with the keys of this link; the index to offer for them.
        `is_client`: this end has dialed the link."""
        while len(self._opened) >= MOST_SESSIONS:
            self._close(self._opened[0])
        opened = _Opened(
            self._listener,
            self._port,
            link,
            lambda index: Session(export, is_client, index, self._scratch, self._account.another()),
        )
        self._opened.append(opened)
        return opened.index

    def offered(self, link: object, index: int) -> bool:
        """The other end of this link takes datagrams under this index. False: the session is
        closed."""
        opened = self._of(link)
        if opened is None:
            return False
        opened.session.send_index = index
        self._choose()
        return True

    def gone(self, link: object) -> None:
        """This link is gone; so is its session, in a while."""
        opened = self._of(link)
        if opened is not None:
            Timer(self._clock).start(LINGER, partial(self._close, opened))
            # The other end may close its session earlier than this one. If links cross each other,
            # the one that is gone may be the newest.
            opened.is_gone = True
            self._choose()

    def close(self) -> None:
        """Close all of them, at once."""
        for opened in self._opened:
            self._end(opened)
        self._opened.clear()
        self.for_sending = None

    def counts(self) -> UdpCounts:
        """Of all sessions that there ever were, but for what was lost, which no session knows."""
        counts = self._past
        for opened in self._opened:
            counts = counts.plus(opened.counts())
        return counts

    def _of(self, link: object) -> _Opened | None:
        return next((each for each in self._opened if each.link is link), None)

    def _close(self, opened: _Opened) -> None:
        if opened in self._opened:
            self._opened.remove(opened)
            self._end(opened)
            self._choose()

    def _end(self, opened: _Opened) -> None:
        self._port.close(opened.index)
        opened.session.close()
        self._past = self._past.plus(opened.counts())

    def _choose(self) -> None:
        offered = [each for each in self._opened if each.session.send_index]
        offered.sort(key=lambda each: not each.is_gone)
        chosen = offered[-1].session if offered else None
        if chosen is not self.for_sending:
            self.for_sending = chosen
            self._changed()
