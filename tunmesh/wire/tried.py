"""Tried: what a peer tells a node about the URL that the node advertises, after it tried it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from tunmesh.wire.fields import malformed

DIGEST_SIZE = 8


class Outcome(IntEnum):
    """What became of the attempt. Words come from here, never from the peer."""

    REACHED = 0
    NO_ANSWER = 1
    REFUSED = 2
    NO_ROUTE = 3
    NO_ADDRESS = 4
    ANOTHER_NODE = 5
    NO_NODE = 6
    CERTIFICATE = 7
    NOT_DIALED = 8
    FAILED = 9

    @property
    def text(self) -> str:
        """For people, after "tried it:"."""
        return _TEXTS[self]


_TEXTS = {
    Outcome.REACHED: "it leads here",
    Outcome.NO_ANSWER: "no answer",
    Outcome.REFUSED: "the connection was refused",
    Outcome.NO_ROUTE: "no route there",
    Outcome.NO_ADDRESS: "the name does not resolve",
    Outcome.ANOTHER_NODE: "another node answers there",
    Outcome.NO_NODE: "what answers there is no node of this mesh",
    Outcome.CERTIFICATE: "the certificate there is not trusted",
    Outcome.NOT_DIALED: "no node dials such an address at the word of others",
    Outcome.FAILED: "it failed",
}


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
