"""Errors, split by blame.

`OperatorError`: a problem on our side (config, device, privilege, port) that a person must fix. Its
text is the one line that person reads; it is never shown with a traceback.

`PeerError`: the other end of a connection broke a rule. The link is closed, and the error is
counted under its `reason`, a short fixed word that is also the metric label. This is the only
exception that parsing bytes from the network may raise.

Any other exception is a bug of ours.
"""

from __future__ import annotations

from enum import StrEnum


class OperatorError(Exception):
    """One line for a person: it names the thing, what is wrong with it and what would be right."""

    def lines(self) -> list[str]:
        """This error, and what else is known to be wrong, each as one line for a person."""
        return [str(self)]

    def report(self) -> list[str]:
        """What a command prints about it."""
        return [f"tunmesh: {line}" for line in self.lines()]


class InUseError(OperatorError):
    """A port or a device is held by somebody else. `what`: which one."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(text)
        self.what = what


class FailureReason(StrEnum):
    """Why a connection to another node failed. `summary` says it in the status, `meaning` in the
    table of docs/monitoring.md (a test compares them); the values that `is_of_handshake` are the
    labels of `tunmesh_handshake_failures_total`."""

    summary: str
    meaning: str

    def __new__(cls, value: str, summary: str = "", meaning: str = "") -> FailureReason:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.summary, reason.meaning = summary, meaning
        return reason

    UNKNOWN_KEY = "unknown_key", "another secret", "the other side has none of our secrets"
    BAD_PROOF = (
        "bad_proof",
        "a wrong proof: a man in the middle?",
        "its proof is wrong: another secret, something in between, or a member that claims to "
        "be another node; the log says which",
    )
    CLOSED = (
        "closed",
        "the other end hung up",
        "it closed the connection; if this node dialed, usually because the secrets differ. The"
        " log says when it is something else",
    )
    CERTIFICATE = (
        "certificate",
        "a certificate that is not trusted",
        "its certificate does not chain to our CA, has expired, or does not name its host; or "
        "the other side says so of ours",
    )
    TLS = (
        "tls",
        "a TLS error",
        "no TLS, no TLS 1.3, or it does not speak tunmesh on that port",
    )
    VERSION = "version", "no common protocol version", "no protocol version in common"
    TIMEOUT = "timeout", "too slow", "too slow"
    STUCK = (
        "stuck",
        "a path that loses large segments",
        "the connection came up, and then large TCP segments did not arrive; it is dialed again "
        "with smaller ones",
    )
    THROUGH_MESH = (
        "through_mesh",
        "a link cannot run through the mesh itself",
        "it came from or leads to an address inside the mesh: a link cannot run through the "
        "mesh itself",
    )
    CROWDED = (
        "crowded",
        "too many strangers at the port",
        "more than 256 connections that do not authenticate",
    )
    MEMORY = (
        "memory",
        "too much memory used from its address",
        "its address holds more than its share of `process.memory_budget`",
    )
    UNREAD = "unread", "it does not read", "it does not read what it is sent"
    FRAMING = "framing", "it does not speak the protocol", "it does not send netstrings"
    MALFORMED = (
        "malformed",
        "it does not speak the protocol",
        "it sent a message that cannot be parsed",
    )
    OVERSIZED = "oversized", "it does not speak the protocol", "it sent a message that is too long"
    UNEXPECTED = "unexpected", "it does not speak the protocol", "it sent a message out of order"
    # Not of handshakes: an address that is not dialed, and links that were up.
    NOT_DIALED = "not_dialed", "an address that is not dialed"
    FALSE_INTRODUCTION = "false_introduction", "it introduced a node by a false record"
    LOST = "lost", "the connection was lost"

    @property
    def is_of_handshake(self) -> bool:
        return bool(self.meaning)


HANDSHAKE_FAILURES = tuple(reason for reason in FailureReason if reason.is_of_handshake)


class PeerError(Exception):
    """The peer broke the protocol.

    `reason` is a FailureReason, or a reason to say bye (wire.messages) with which we ended the link
    ourselves; the text is for the log.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
