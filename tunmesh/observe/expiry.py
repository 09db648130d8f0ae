"""When to say that a certificate expires: 30, 7 and 1 days before, and when it has.

Each is said once for each certificate, however often one asks; a node that starts late begins with
the latest of them.
"""

from __future__ import annotations

DAY = 86400.0  # seconds
_MARKS = (0.0, DAY, 7 * DAY, 30 * DAY)  # seconds before the end


class Countdown:
    """What is to be said of the certificate of one node, as time passes."""

    def __init__(self) -> None:
        self._said = (0.0, 0.0)  # the expiry, and the mark

    def due(self, expiry: float, now: float) -> str | None:
        """What is to be said now of a certificate that expires then; None if nothing is. Both
        times are seconds since the epoch."""
        left = expiry - now
        mark = next((mark for mark in _MARKS if left <= mark), None)
        if mark is None or self._said == (expiry, mark):
            return None
        self._said = (expiry, mark)
        if mark == 0.0:
            return "has expired: no peer accepts it any more"
        days = int(left / DAY)
        return f"expires in {days} day{'s' * (days != 1)}" if days else "expires within a day"
