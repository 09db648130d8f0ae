"""Errors, split by blame.

`OperatorError`: a problem on our side (config, device, privilege, port) that a person must fix. Its
text is the one line that person reads; it is never shown with a traceback.

`PeerError`: the other end of a connection broke a rule. The link is closed, and the error is
counted under its `reason`, a short fixed word that is also the metric label. This is the only
exception that parsing bytes from the network may raise.

Any other exception is a bug of ours.
"""

from __future__ import annotations


class OperatorError(Exception):
    """One line for a person: it names the thing, what is wrong with it and what would be right."""

    def lines(self) -> list[str]:
        """This error, and what else is known to be wrong, each as one line for a person."""
        return [str(self)]

    def report(self) -> list[str]:
        """What a command prints about it."""
        return [f"tunmesh: {line}" for line in self.lines()]


class PeerError(Exception):
    """The peer broke the protocol.

    `reason` is a metric label from a small fixed set; the text is for the log.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
