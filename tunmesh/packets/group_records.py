"""What a host says of a group in IGMPv3 and MLDv2, which share the form of their records.

    type (1) ‖ length of auxiliary data (1), 32-bit words ‖ count of sources (2) ‖ group (4 or 16)
      ‖ sources (4 or 16 each) ‖ auxiliary data

The older versions, which know no sources, are read as records as well: a report is "all sources",
a leave is "none".

Sources: RFC 3376 section 4.2 (IGMPv3), RFC 3810 section 5.2 (MLDv2).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

_HEAD = 4


class Kind(IntEnum):
    """INCLUDE: only from these sources. EXCLUDE: from all but these."""

    IS_INCLUDE = 1
    IS_EXCLUDE = 2
    TO_INCLUDE = 3
    TO_EXCLUDE = 4
    ALLOW = 5
    BLOCK = 6


class Record(NamedTuple):
    """One group. Addresses are raw: 4 or 16 bytes."""

    kind: Kind
    group: bytes
    sources: tuple[bytes, ...] = ()


def joined(group: bytes) -> Record:
    """What a report of the older versions says."""
    return Record(Kind.TO_EXCLUDE, group)


def left(group: bytes) -> Record:
    """What a leave of the older versions says."""
    return Record(Kind.TO_INCLUDE, group)


def parse(data: bytes, count: int, size: int) -> tuple[Record, ...] | None:
    """So many records, with addresses of so many bytes. Records of unknown types are left out, as
    both standards demand. None if the data ends before they do."""
    records: list[Record] = []
    at = 0
    for _ in range(count):
        if len(data) < at + _HEAD + size:
            return None
        kind, words = data[at], data[at + 1]
        number = data[at + 2] << 8 | data[at + 3]
        begin = at + _HEAD + size
        end = begin + number * size
        group = data[begin - size : begin]
        at = end + 4 * words
        if at > len(data):
            return None
        if kind in Kind.__members__.values():
            sources = tuple(data[each : each + size] for each in range(begin, end, size))
            records.append(Record(Kind(kind), group, sources))
    return tuple(records)
