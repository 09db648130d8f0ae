"""The groups that programs on this machine have joined, by what its kernel reports on the tun.

The kernel adds up what all programs want, and is the only host on the tun: its latest report of a
group is the truth. So, unlike in RFC 3376 and RFC 3810, a leave is believed at once, and sources
that are excluded are known exactly.

Reports may be lost, when the tun's queue is full. Therefore the kernel is asked now and then
(`general_query` of packets.igmp and packets.mld), and a group that it has not named in ROBUSTNESS
answers is forgotten.

Bounds: MOST groups. What more are reported are left out until there is room and they are reported
again. A group with more than MAX_INTEREST_SOURCES sources is wanted from all: this machine then
gets more than it asked for, which its kernel drops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tunmesh.multicast import scope
from tunmesh.packets.group_records import Kind, Record
from tunmesh.wire.interests import Interest
from tunmesh.wire.sizes import MAX_INTEREST_SOURCES

MOST = 256  # groups that are told to others
MOST_SOURCES = 1024  # in all of them; see multicast.audience
INTERVAL = 60  # seconds from one query to the next
WITHIN = 1.0  # seconds that the kernel may take to respond
ROBUSTNESS = 2  # how often it says each change; and how many queries may go unanswered
_EXACT = frozenset({Kind.IS_INCLUDE, Kind.IS_EXCLUDE, Kind.TO_INCLUDE, Kind.TO_EXCLUDE})
_EXCLUDING = frozenset({Kind.IS_EXCLUDE, Kind.TO_EXCLUDE})


class OwnInterests:
    """Of this machine. `is_full`: some group was left out since there was room the last time."""

    def __init__(self) -> None:
        self.is_full = False
        self._groups: dict[bytes, Interest] = {}
        self._silent: dict[bytes, int] = {}  # answers since it was named last, that one included
        self._told: dict[bytes, Interest] = {}

    def __iter__(self) -> Iterator[Interest]:
        return iter(tuple(self._groups.values()))

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, group: bytes) -> bool:
        return group in self._groups

    def reported(self, records: Iterable[Record]) -> None:
        """The kernel has reported these."""
        for record in records:
            if scope.is_told(record.group):
                self._enter(self._after(record))

    def _after(self, record: Record) -> Interest:
        """What is wanted of the group after this record."""
        group, sources = record.group, frozenset(record.sources)
        before = self._groups.get(group, Interest(group, excludes=False))
        if record.kind in _EXACT:
            excludes = record.kind in _EXCLUDING
        else:
            excludes = before.excludes
            if (record.kind is Kind.ALLOW) != excludes:
                sources = before.sources | sources
            else:
                sources = before.sources - sources
        if len(sources) > MAX_INTEREST_SOURCES:
            return Interest(group)
        return Interest(group, excludes, sources)

    def _enter(self, interest: Interest) -> None:
        group = interest.group
        if interest.is_over:
            self._forget(group)
        elif group in self._groups or self._has_room():
            self._groups[group] = self._bounded(interest)
            self._silent[group] = 0

    def _has_room(self) -> bool:
        self.is_full = len(self._groups) >= MOST
        return not self.is_full

    def _bounded(self, interest: Interest) -> Interest:
        """The same, or from all sources if there would be too many of them."""
        others = sum(len(e.sources) for g, e in self._groups.items() if g != interest.group)
        if others + len(interest.sources) > MOST_SOURCES:
            return Interest(interest.group)
        return interest

    def _forget(self, group: bytes) -> None:
        self._groups.pop(group, None)
        self._silent.pop(group, None)

    def answered(self) -> None:
        """The kernel was asked, and the time for its answer is over."""
        for group in tuple(self._silent):
            self._silent[group] += 1
            if self._silent[group] > ROBUSTNESS:
                self._forget(group)

    def changes(self) -> Sequence[Interest]:
        """What has changed since the last call; groups that were left are over."""
        changed = [each for each in self if self._told.get(each.group) != each]
        changed += [Interest(g, excludes=False) for g in self._told if g not in self._groups]
        self._told = dict(self._groups)
        return changed
