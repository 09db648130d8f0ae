"""Numbers and names as people read them."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.units import DAY, expires, natural


class NaturalOrder(unittest.SynchronousTestCase):
    def test_numbers(self) -> None:
        """web-10 comes after web-9, and names of every form can be compared."""
        names = ["web-10", "web-9", "web", "10.2", "9", "", "web-9-b", "web-9-10", "x²", "a" * 63]
        self.assertEqual(
            sorted(names, key=natural),
            ["", "9", "10.2", "a" * 63, "web", "web-9", "web-9-10", "web-9-b", "web-10", "x²"],
        )


class Expiry(unittest.SynchronousTestCase):
    def test_units(self) -> None:
        """How long a certificate is valid yet, in the largest unit that there is one of."""
        for left, text in (
            (4.9 * DAY, "expires in 4 days"),
            (DAY, "expires in 1 day"),
            (DAY - 1, "expires in 23 hours"),
            (3599.0, "expires in 59 minutes"),
            (59.0, "expires in 0 minutes"),
            (0.0, "has expired"),
        ):
            self.assertEqual(expires(left), text)
