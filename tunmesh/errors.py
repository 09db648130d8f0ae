"""Errors, split by blame.

`OperatorError`: something on our side (config, device, privilege, port) that a person must mend.
Its text is the one line that person reads; it never comes with a traceback.

`PeerError`: the other end of a connection broke a rule. It closes that one link and is counted
under its `reason`, a short fixed word that is also the metric label. Whatever bytes arrive from
the network, this is the only exception that parsing them may raise.

Everything else that is raised is a bug of ours.
"""

from __future__ import annotations


class OperatorError(Exception):
    """One line for a person: names the thing, what is wrong with it and what would be right."""

    def lines(self) -> list[str]:
        """It, and what else is wrong if that is known, each as one line for a person."""
        return [str(self)]

    def report(self) -> list[str]:
        """What a command prints of it."""
        return [f"tunmesh: {line}" for line in self.lines()]


class PeerError(Exception):
    """The peer broke the protocol.

    `reason` is a metric label from a small fixed set; the text is for the log.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
