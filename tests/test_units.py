"""Numbers and names as people read them."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.units import natural


class NaturalOrder(unittest.SynchronousTestCase):
    def test_numbers(self) -> None:
        """web-10 comes after web-9, and names of every form can be compared."""
        names = ["web-10", "web-9", "web", "10.2", "9", "", "web-9-b", "web-9-10", "x²", "a" * 63]
        self.assertEqual(
            sorted(names, key=natural),
            ["", "9", "10.2", "a" * 63, "web", "web-9", "web-9-10", "web-9-b", "web-10", "x²"],
        )
