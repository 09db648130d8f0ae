"""Tried: what a peer tells a node about the URL that the node advertises, after it tried it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from tunmesh.wire.fields import malformed

DIGEST_SIZE = 8


class Outcome(IntEnum):
    """What became of the attempt. `text` says it to people: words come from here, never from the
    peer."""

    text: str

    def __new__(cls, value: int, text: str = "") -> Outcome:
        reason = int.__new__(cls, value)
        reason._value_ = value
        reason.text = text
        return reason

    REACHED = 0, "it leads here"
    NO_ANSWER = 1, "no answer"
    REFUSED = 2, "the connection was refused"
    NO_ROUTE = 3, "no route there"
    NO_ADDRESS = 4, "the name does not resolve"
    ANOTHER_NODE = 5, "another node answers there"
    NO_NODE = 6, "what answers there is no node of this mesh"
    CERTIFICATE = 7, "the certificate there is not trusted"
    NOT_DIALED = 8, "no node dials such an address at the word of others"
    FAILED = 9, "it failed"


@dataclass(frozen=True, slots=True)
class Tried:
    """`digest` is of the URL that was tried: the node may advertise another one by now."""

    digest: bytes
    outcome: Outcome

    @classmethod
    def of(cls, url: str, outcome: Outcome) -> Tried:
        return cls(digest_of(url), outcome)

    def encode(self) -> bytes:
        return b"T" + self.digest + bytes((self.outcome,))

    @classmethod
    def decode(cls, payload: bytes) -> Tried:
        """An outcome that a later version may add counts as FAILED."""
        if len(payload) != 2 + DIGEST_SIZE:
            raise malformed("a report about a URL of a wrong size")
        known = payload[-1] in Outcome.__members__.values()
        return cls(payload[1:-1], Outcome(payload[-1]) if known else Outcome.FAILED)


def digest_of(url: str) -> bytes:
    return hashlib.sha256(url.encode("ascii")).digest()[:DIGEST_SIZE]
