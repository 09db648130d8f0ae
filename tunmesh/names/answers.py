"""Answers to DNS queries as values, not encoded yet (names.codec): what a zone has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from tunmesh.addresses import Address


class Kind(IntEnum):
    """Types of records that are known here."""

    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    AAAA = 28
    OPT = 41
    ANY = 255


class Code(IntEnum):
    """Response codes (RFC 1035 section 4.1.1)."""

    OK = 0
    MALFORMED = 1
    FAILED = 2
    NO_SUCH_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


class Record(NamedTuple):
    """A record of an answer: an address (A, AAAA) or a name (PTR, NS)."""

    kind: Kind
    value: Address | str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: `records` are of the name that was asked for; `zone` is the name of the
    zone, whose SOA is part of negative answers."""

    code: Code
    records: Sequence[Record] = ()
    zone: str = ""
