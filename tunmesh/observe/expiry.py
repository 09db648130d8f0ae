"""When to warn that a certificate expires: 30, 7 and 1 days before, and when it has expired.

There is one warning for each of these, however often one asks. A node that starts after some of
them gives only the latest.
"""

from __future__ import annotations

from tunmesh.units import DAY, expires

_MARKS = (0.0, DAY, 7 * DAY, 30 * DAY)  # seconds before the end


class Countdown:
    """The warnings about the certificate of one node, as time passes."""

    def __init__(self) -> None:
        self._warned = (0.0, 0.0)  # of this expiry, at this mark

    def due(self, expiry: float, now: float) -> str | None:
        """The warning that is due about a certificate that expires then; None: there is none. Both
        times are seconds since the epoch."""
        left = expiry - now
        mark = next((mark for mark in _MARKS if left <= mark), None)
        if mark is None or self._warned == (expiry, mark):
            return None
        self._warned = (expiry, mark)
        return expires(left) + ": nodes that dial this one refuse it" * (mark == 0.0)
