"""Interests: which multicast groups a node wants packets of, and from which sources.

    interests  M ‖ number (8) ‖ flags (1) ‖ as often as there are:
                 kind (1) ‖ count of sources (1) ‖ group ‖ that many sources (4 or 16 bytes each)

    flags  1: what was said before is void; 2, 4: the sender carries IPv4, IPv6 multicast
    kind   4 or 6, the IP version; 128 more: all sources but these

No sources, and not all but these: the group is left. A node numbers its messages upwards, whatever
link they go by. Two links with one peer may deliver them in another order: a message whose number
is not higher than that of one that was received is ignored. So a message with flag 1 is sent on
each link that comes up or comes to be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from tunmesh.wire.fields import malformed
from tunmesh.wire.sizes import GENERATION_SIZE, MAX_INTEREST_SOURCES, MAX_INTERESTS

_HEAD = 1 + GENERATION_SIZE + 1
_FULL, _IPV4, _IPV6 = 1, 2, 4
_EXCLUDES = 0x80


@dataclass(frozen=True, slots=True)
class Interest:
    """In one group. Addresses are raw: 4 or 16 bytes."""

    group: bytes
    excludes: bool = True  # wants packets from all sources but these; else from these only
    sources: frozenset[bytes] = frozenset()

    @property
    def is_over(self) -> bool:
        """Whether the group is left."""
        return not self.excludes and not self.sources

    @property
    def shown(self) -> str:
        """From which sources packets are wanted, for people: `all`, `all but …`, or addresses."""
        sources = ", ".join(str(ip_address(each)) for each in sorted(self.sources))
        if self.excludes:
            return f"all but {sources}" if sources else "all"
        return sources

    def takes(self, source: bytes) -> bool:
        """Whether packets from this source are wanted."""
        return (source in self.sources) != self.excludes

    def encode(self) -> bytes:
        kind = (4 if len(self.group) == 4 else 6) | _EXCLUDES * self.excludes
        return bytes((kind, len(self.sources))) + self.group + b"".join(sorted(self.sources))


@dataclass(frozen=True, slots=True)
class Interests:
    """One message."""

    number: int
    is_full: bool  # what was said before is void
    versions: frozenset[int]  # of IP, whose multicast the sender carries
    groups: tuple[Interest, ...]

    def encode(self) -> bytes:
        flags = _FULL * self.is_full | _IPV4 * (4 in self.versions) | _IPV6 * (6 in self.versions)
        head = b"M" + self.number.to_bytes(GENERATION_SIZE, "big") + bytes((flags,))
        return head + b"".join(each.encode() for each in self.groups)

    @classmethod
    def decode(cls, payload: bytes) -> Interests:
        if not _HEAD <= len(payload) <= MAX_INTERESTS:
            raise malformed("interests of a wrong size")
        flags = payload[_HEAD - 1]
        versions = frozenset(version for version, flag in ((4, _IPV4), (6, _IPV6)) if flags & flag)
        number = int.from_bytes(payload[1 : _HEAD - 1], "big")
        return cls(number, bool(flags & _FULL), versions, tuple(_groups(payload)))


def parts(groups: Iterable[Interest]) -> Iterator[tuple[Interest, ...]]:
    """These in parts, each of which fits one message; at least one part."""
    part: list[Interest] = []
    size = _HEAD
    for each in groups:
        more = len(each.encode())
        if size + more > MAX_INTERESTS:
            yield tuple(part)
            part, size = [], _HEAD
        part.append(each)
        size += more
    yield tuple(part)


def _groups(payload: bytes) -> Iterator[Interest]:
    at = _HEAD
    while at < len(payload):
        if at + 2 > len(payload):
            raise malformed("interests that are cut off")
        kind, count = payload[at], payload[at + 1]
        size = {4: 4, 6: 16}.get(kind & ~_EXCLUDES)
        if size is None or count > MAX_INTEREST_SOURCES:
            raise malformed("an interest in a group of no IP version, or with too many sources")
        begin = at + 2 + size
        at = begin + count * size
        if at > len(payload):
            raise malformed("interests that are cut off")
        group = payload[begin - size : begin]
        if group[0] != 0xFF if size == 16 else not 224 <= group[0] < 240:
            raise malformed("an interest in a group that is not one")
        sources = frozenset(payload[each : each + size] for each in range(begin, at, size))
        yield Interest(group, bool(kind & _EXCLUDES), sources)
