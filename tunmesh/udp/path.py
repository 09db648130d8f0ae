"""The UDP path to one peer: which address its datagrams are sent to, and how large they may be.

    offered ──> candidates ── a ping is answered, and one of BASE bytes ──> the address in use
                    ^                                                          │      │ a newer
                    └───────────── nothing is answered any more ───────────────┘      v one

**An address is used** when pings to it were answered, never before, and only if datagrams of BASE
bytes arrive: where they do not, TCP is better. Which addresses are tried is said in
udp.probing.candidates. Once data goes over UDP, larger datagrams are searched for (probing.mtu).

**A path is left** when it is dead: probing.liveness says when it is pinged, and when it is in
doubt. Then all candidates are pinged, and one that answers takes its place. If none does in time,
the path is lost, and the candidates are tried again, less and less often. An overdue ping is
followed by those of BASE bytes, too: if only these are answered, the size falls.

**The newest source wins.** If authentic datagrams come from an address that is not the one in use,
it is pinged, and used when it has answered, unless the peer has gone back meanwhile.

Pings are limited (probing.pings), and so are answers: no answer is longer than what it answers.

Facts come in; what is to be done comes out as values. No clock and no I/O: time is an argument, in
seconds. After each fact that yields a command, and after `offered`, `used` and `tick`, the next
`tick` is due at `wake_at`, instead of when it was due before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tunmesh.addresses import Target, shown_target
from tunmesh.rate_limit import TokenBucket
from tunmesh.tls.underlay import Rule
from tunmesh.udp.probing.candidates import FIRST_PAUSE, Candidate, Candidates
from tunmesh.udp.probing.liveness import Liveness
from tunmesh.udp.probing.measures import Loss, RoundTrip
from tunmesh.udp.probing.mtu import AGAIN, AGAIN_AFTER_FALL, BASE, SizeSearch, SizeWatch, ladder
from tunmesh.udp.probing.pings import Pings, Sent
from tunmesh.wire.udp_pings import Ping, Pong

PONG_BURST, PONG_RATE = 64, 24  # answers at once, and a second: more than a peer may ask


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control datagram to this address, padded to `size` bytes of UDP payload, if it is
    shorter."""

    to: Target
    control: Ping | Pong
    size: int = 0


@dataclass(frozen=True, slots=True)
class Use:
    """When data goes over UDP, send it to this address, in datagrams of at most `size` bytes."""

    address: Target
    size: int


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no path any more: send nothing over UDP."""

    reason: str


Command = Send | Use | Lost


class Path:
    """`key`: random bytes that nobody else knows. `outside`: which addresses are outside the mesh.
    `largest(address)`: bytes of the largest datagram that the device towards it takes; None: not
    known."""

    def __init__(
        self, key: bytes, outside: Rule, largest: Callable[[Target], int | None], now: float
    ) -> None:
        self.address: Target | None = None  # the path in use, or ready to be used
        self.size = BASE
        self.loss = Loss()
        self.wake_at = inf
        self._largest = largest
        self._candidates = Candidates(outside)
        self._pings = Pings(key, now)
        self._pongs = TokenBucket(PONG_BURST, PONG_RATE, now)
        self._session = 0
        self._is_in_use = False
        self._round_trip = RoundTrip()
        self._is_doubted = False
        self._watch = SizeWatch()
        self._liveness = Liveness(self._round_trip, self._watch)
        self._search = SizeSearch()
        self._search_at = inf  # when the next search begins
        self._falls = 0  # of the size to the base, on this path

    # Facts

    def offered(self, now: float, places: Sequence[Target]) -> list[Command]:
        """A session has begun, and the peer may have these addresses."""
        self._session += 1
        self.loss.restart()
        self._candidates.offered(now, places, self.address)
        return self.tick(now)

    def withdrawn(self, reason: str) -> list[Command]:
        """The peer takes no UDP any more."""
        self._candidates.withdrawn(reason)
        self.wake_at = inf
        return self._leave(reason) if self.address else []

    def used(self, now: float, is_in_use: bool) -> list[Command]:
        """From now on data goes over UDP, or does not any more."""
        self._is_in_use = is_in_use
        if self._search.is_on:
            self._search.stop()
            self._search_at = inf
        if is_in_use and self._search_at == inf:
            self._search_at = now
        return self.tick(now)

    def data_sent(self, now: float) -> list[Command]:
        """Data was sent over UDP. It costs little while no ping is due."""
        return self.tick(now) if self._liveness.data_sent(now) else []

    def came_from(self, now: float, source: Target) -> list[Command]:
        """The newest authentic datagram came from there. It need not be said while that is
        `address`, and was at the call before."""
        if source == self.address:
            self._candidates.newest = None
            return []
        self._candidates.came_from(now, source, self.address)
        return self.tick(now)

    def ping_came(
        self, now: float, ping: Ping, source: Target, received: int, highest: int
    ) -> list[Command]:
        """A ping that is to be answered, with what has been received in its session."""
        if self._pongs.wait(now) or not self._candidates.allows(source[0]):
            return []
        self._pongs.take(now)
        self._liveness.peer_pinged(now)
        return [Send(source, Pong(ping.token, received, highest)), *self.tick(now)]

    def pong_came(self, now: float, pong: Pong) -> list[Command]:
        """A pong, wherever it came from: it proves that its ping has arrived."""
        ping = self._pings.answered(now, pong.token)
        candidate = self._candidates.find(ping.to) if ping else None
        if ping is None or candidate is None:
            return []
        candidate.round_trip.measured(now, now - ping.at)
        commands: list[Command] = []
        if ping.to == self.address:
            if ping.session == self._session and not self._search.is_on:
                self.loss.counted(now, pong.received, pong.highest)
            commands += self._confirmed(now, ping)
        elif ping.size < BASE:
            candidate.answered_short(now)
        elif self.address is None or self._is_doubted or ping.to == self._candidates.newest:
            commands += self._take(now, candidate)
        return commands + self.tick(now)

    def too_big(self, now: float) -> list[Command]:
        """The device does not take datagrams of `size` bytes any more."""
        if not self.address or self.size == BASE:
            return []
        return [self._fall(self.address, search_at=now), *self.tick(now)]

    def unreachable(self, now: float) -> list[Command]:
        """This host refuses to send data to `address`."""
        if not self.address:
            return []
        why = f"this host cannot send to {shown_target(self.address)}"
        return [*self._died(now, why), *self.tick(now)]

    def tick(self, now: float) -> list[Command]:
        """Time has passed."""
        self._liveness.forgive(now - self.wake_at)
        commands = self._look_after(now, self.address) if self.address else []
        for each in self._candidates:
            if self._is_to_be_tried(each) and now >= each.due and self._pings.allows(now):
                commands.append(self._ping(now, each.place, each.size_to_ping(now)))
        self.wake_at = self._next(now)
        return commands

    # Questions

    @property
    def shortest_round_trip(self) -> float | None:
        """Of the last minute, seconds; None: not known, or there is no path."""
        return self._round_trip.shortest if self.address else None

    @property
    def round_trip(self) -> float | None:
        """The smoothed one, seconds; None: not known, or there is no path."""
        return self._round_trip.smoothed if self.address else None

    @property
    def is_offered(self) -> bool:
        """The peer takes UDP."""
        return self._candidates.is_open

    @property
    def why_not(self) -> str:
        """Why there is no path, in words; empty if there is."""
        return "" if self.address else self._candidates.why_not

    # The path in use

    def _look_after(self, now: float, address: Target) -> list[Command]:
        if self._liveness.is_dead(now):
            return self._died(now, f"UDP to {shown_target(address)} is not answered any more")
        commands: list[Command] = []
        if self._liveness.is_doubtful(now) and not self._is_doubted:
            self._is_doubted = True
            for each in self._candidates:
                each.start_again(now)
        if now >= self._liveness.due(self._is_in_use):
            is_overdue = self._liveness.is_overdue(now)
            self._liveness.pinged(now)
            self._watch.pinged(now)
            commands.append(self._ping(now, address, self.size))
            if is_overdue and self.size > BASE and self._pings.allows(now):
                commands.append(self._ping(now, address, BASE))
        if self._is_in_use and not self._is_doubted:
            commands += self._search_sizes(now, address)
        return commands

    def _search_sizes(self, now: float, address: Target) -> list[Command]:
        if now >= self._search_at:
            sizes = ladder(address[0], self._largest(address))
            larger = tuple(size for size in sizes if size > self.size)
            self._search.begin(now, larger, self._round_trip.expected)
            self._search_at = now + AGAIN
        if not self._search.is_on:
            return []
        sizes = self._search.due(now)
        if not self._search.is_on:
            self.loss.restart()  # what was too large was not lost
        sizes = sizes if self._pings.allows(now, len(sizes)) else ()
        return [self._ping(now, address, size) for size in sizes]

    def _confirmed(self, now: float, ping: Sent) -> list[Command]:
        """A ping to the address in use was answered."""
        self._liveness.answered(ping.at)
        self._search.answered(ping.size)
        self._is_doubted = self._is_doubted and self._liveness.is_doubtful(now)
        if ping.size >= self.size:
            self._watch.answered(ping.at)
        elif self._watch.is_lost(now - self._round_trip.expected):
            pause = AGAIN_AFTER_FALL[min(self._falls, len(AGAIN_AFTER_FALL) - 1)]
            return [self._fall(ping.to, search_at=now + pause)]
        if ping.size <= self.size:
            return []
        self.size = ping.size
        self._watch.begin()
        return [Use(ping.to, self.size)]

    def _fall(self, address: Target, search_at: float) -> Command:
        """Smaller datagrams at once; larger ones are searched for again later."""
        self.size = BASE
        self._watch.begin()
        self._falls += 1
        self._search.stop()
        self._search_at = search_at
        return Use(address, BASE)

    def _take(self, now: float, candidate: Candidate) -> list[Command]:
        """This address has just answered a ping of BASE bytes: use it."""
        self.address, self.size = candidate.place, BASE
        self._candidates.newest = None
        self._round_trip = candidate.round_trip
        self._liveness = Liveness(self._round_trip, self._watch, now)
        self._is_doubted = False
        self._watch.begin()
        self.loss.restart()
        self._search.stop()
        self._search_at, self._falls = now if self._is_in_use else inf, 0
        return [Use(candidate.place, BASE)]

    def _died(self, now: float, reason: str) -> list[Command]:
        for each in self._candidates:
            each.start_again(now + FIRST_PAUSE)
        return self._leave(reason)

    def _leave(self, reason: str) -> list[Command]:
        self.address, self.size = None, BASE
        self._is_doubted = False
        self._search.stop()
        return [Lost(reason)]

    # Candidates

    def _is_to_be_tried(self, candidate: Candidate) -> bool:
        if candidate.place == self.address:
            return False
        is_newest = candidate.place == self._candidates.newest
        return self.address is None or self._is_doubted or is_newest

    def _ping(self, now: float, to: Target, size: int) -> Send:
        return Send(to, Ping(self._pings.send(Sent(to, size, now, self._session))), size)

    def _next(self, now: float) -> float:
        """When to look again."""
        tries = [each.due for each in self._candidates if self._is_to_be_tried(each)]
        wake_at = max(min(tries), now + self._pings.wait(now)) if tries else inf
        if self.address:
            wake_at = min(wake_at, self._liveness.wake_at(now, self._is_in_use))
            if self._is_in_use and not self._is_doubted:
                wake_at = min(wake_at, self._search.wake_at, self._search_at)
        return wake_at
