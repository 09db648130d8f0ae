"""Names in tables."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.cli.tables import apart


class Shortened(unittest.SynchronousTestCase):
    """Names that are cut can still be told apart."""

    def test_ends(self) -> None:
        """The middle of a name is left out; its end is what programs make different."""
        names = ["web-7d9f8b6c5-abcde", "web-7d9f8b6c5-fghij", "db"]
        self.assertEqual(apart(names, 10), ["web-…abcde", "web-…fghij", "db"])

    def test_hosts_of_one_domain(self) -> None:
        """Of names that end alike, what is before that is shown; short ones are left alone."""
        names = [f"frontend-{n}.eu-central-1.example.internal" for n in (1, 22)] + ["db"]
        self.assertEqual(apart(names, 16), ["frontend-1…", "frontend-22…", "db"])

    def test_names_that_begin_alike(self) -> None:
        """The same of names that begin alike, and of those that differ in the middle only."""
        names = [f"a-long-beginning-{n}-and-a-lot-more{m}" for n in "xy" for m in "ij"]
        self.assertEqual(
            apart(names, 14),
            ["…x-and-…-morei", "…x-and-…-morej", "…y-and-…-morei", "…y-and-…-morej"],
        )

    def test_hopeless(self) -> None:
        """If nothing helps, the middle is left out. The same name twice is no reason."""
        names = ["a" * 30 + n + "b" * 30 for n in ("xyz", "xqz")]
        self.assertEqual(apart([names[0]] * 2, 8), ["aaa…bbbb"] * 2)
        self.assertEqual(len(set(apart(names, 8))), 2)
        worse = ["".join(c) for c in ("axb" * 9, "ayb" * 9, "bxa" * 9)]
        self.assertEqual(len(apart(worse, 4)), 3)
