"""The addresses that a peer may have, and when each of them is tried.

They are those that its owner offers, and the last sources of authentic datagrams, since a NAT may
choose another port and a peer may move. An address that has not answered gets pings of PING_SIZE
bytes and no others, after 1, 2, 4 ... 60 seconds: a source can be forged, and a URL can name
somebody else. When it answers one, it gets one of BASE bytes, and two more if that is not answered.

A new source is looked at once a second at most, and needs no more memory than the one before it.

No clock, no I/O. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from tunmesh.addresses import Target, shown_target
from tunmesh.tls.underlay import Rule
from tunmesh.udp.probing.measures import RoundTrip
from tunmesh.udp.probing.mtu import BASE
from tunmesh.wire.udp_pings import PING_SIZE

MOST_OFFERED, MOST_SOURCES = 2, 2
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0  # seconds between short pings that are not answered
BASE_TRIES = 3
_BASE_PAUSE = 0.3  # least seconds between pings of BASE bytes
_NEWS_PAUSE = 1.0  # least seconds between short pings because of news; and between new sources


@dataclass(slots=True)
class Candidate:
    """One address. `due`: when to ping it next, if it is to be tried."""

    place: Target
    due: float
    round_trip: RoundTrip = field(default_factory=RoundTrip)
    pause: float = FIRST_PAUSE
    _tried: float = -inf
    _base_tries: int = 0  # that are left
    _has_answered: bool = False
    _unanswered: int = 0  # short pings, in a row

    def try_now(self, now: float) -> None:
        """There is news of it, or need of it."""
        self.due = min(self.due, max(now, self._tried + _NEWS_PAUSE))

    def start_again(self, due: float) -> None:
        """It worked, and does not any more, or may not."""
        self.due, self.pause = due, FIRST_PAUSE
        self._base_tries, self._has_answered = 0, False

    def size_to_ping(self, now: float) -> int:
        """Of the ping that is sent now, bytes."""
        if self._base_tries:
            self._base_tries -= 1
            soon = max(_BASE_PAUSE, 1.5 * self.round_trip.expected)
            self.due = now + (soon if self._base_tries else self.pause)
            return BASE
        self._tried, self.due = now, now + self.pause
        self.pause = min(LAST_PAUSE, 2 * self.pause)
        self._unanswered += 1
        return PING_SIZE

    def answered_short(self, now: float) -> None:
        """A short ping was answered: try whether larger datagrams arrive."""
        self._has_answered, self._unanswered = True, 0
        self._base_tries, self.due = BASE_TRIES, now

    @property
    def answers_only_short(self) -> bool:
        """Short pings are answered; of one that is not in use: those of BASE bytes are not."""
        return self._has_answered and self._unanswered <= 1


class Candidates:
    """The addresses of one peer, at most MOST_OFFERED + MOST_SOURCES of them. `outside`: which
    addresses are outside the mesh; all others are ignored."""

    def __init__(self, outside: Rule) -> None:
        self.newest: Target | None = None  # a source that is to be used once it has answered
        self._outside = outside
        self._offered: tuple[Candidate, ...] = ()
        self._sources: tuple[Candidate, ...] = ()  # the newest last
        self.is_open = False  # the peer takes UDP
        self._next_source = -inf  # when a new one is looked at
        self._why = "the peer does not offer UDP"

    def __iter__(self) -> Iterator[Candidate]:
        yield from self._offered
        yield from self._sources

    def find(self, place: Target | None) -> Candidate | None:
        return next((each for each in self if each.place == place), None)

    def allows(self, host: str) -> bool:
        """It is outside the mesh."""
        return not self._outside.why_not(host)

    def offered(self, now: float, places: Sequence[Target], in_use: Target | None) -> None:
        """The peer may have these. Those that are known already stay as they are, and so does the
        one in use."""
        known = {each.place: each for each in self}
        wanted = [place for place in dict.fromkeys(places) if self.allows(place[0])][:MOST_OFFERED]
        self._offered = tuple(known.get(place) or Candidate(place, now) for place in wanted)
        others = [each for place, each in known.items() if place not in wanted]
        others.sort(key=lambda each: each.place == in_use)
        self._sources = tuple(others[-MOST_SOURCES:])
        self.is_open = True
        refusals = [self._outside.why_not(host) for host, _ in places]
        self._why = next(filter(None, refusals), "no address of the peer is known")

    def withdrawn(self, reason: str) -> None:
        """The peer takes no UDP any more."""
        self._offered = self._sources = ()
        self.newest = None
        self.is_open, self._why = False, reason

    def came_from(self, now: float, source: Target, in_use: Target | None) -> None:
        """The newest datagram came from there, and that is not the address in use."""
        candidate = self.find(source)
        if candidate is None:
            if not self.is_open or now < self._next_source or not self.allows(source[0]):
                return
            self._next_source = now + _NEWS_PAUSE
            candidate = Candidate(source, now)
            spared = [each for each in self._sources if each.place == in_use]
            others = [each for each in self._sources if each.place != in_use]
            self._sources = (*spared, *[*others, candidate][len(spared) - MOST_SOURCES :])
        candidate.try_now(now)
        self.newest = source

    @property
    def why_not(self) -> str:
        """Why there is no path to any of them, in words."""
        half = next((each for each in self if each.answers_only_short), None)
        if half:
            where = shown_target(half.place)
            return f"UDP datagrams of {BASE} bytes do not arrive at {where}, only short ones do"
        places = " and ".join(dict.fromkeys(shown_target(each.place) for each in self))
        return f"UDP to {places} is not answered" if places else self._why
