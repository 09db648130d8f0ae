"""How large datagrams may be: the sizes that are tried, and when."""

from __future__ import annotations

from math import inf

from twisted.trial import unittest

from tunmesh.udp.probing.mtu import BASE, ROUND, ROUNDS, SizeSearch, ladder


class LadderTests(unittest.SynchronousTestCase):
    def test_ethernet(self) -> None:
        """Up to what Ethernet takes, if nothing is known about the device."""
        self.assertEqual(ladder("192.0.2.1", None)[0], 1472)
        self.assertEqual(ladder("2001:db8::1", None)[0], 1452)

    def test_smallest(self) -> None:
        """The least MTU of IPv6 is among them: with IPv4, and with IPv6."""
        self.assertEqual(ladder("192.0.2.1", None)[-1], 1252)
        self.assertEqual(ladder("2001:db8::1", None)[-1], 1232)

    def test_device(self) -> None:
        """The device's own size is tried, and nothing above it."""
        self.assertEqual(ladder("192.0.2.1", 1300), (1300, 1252))
        self.assertEqual(ladder("192.0.2.1", 8972)[:2], (8972, 8922))
        self.assertEqual(ladder("192.0.2.1", 548), ())

    def test_base_fits(self) -> None:
        """All sizes are above the base, which is known to arrive."""
        self.assertTrue(all(size > BASE for size in ladder("2001:db8::1", 65_487)))


class SizeSearchTests(unittest.SynchronousTestCase):
    def search(self, largest: int, rtt: float = 0.02) -> list[tuple[float, tuple[int, ...]]]:
        """What is sent, and when, over a path that takes datagrams up to a size."""
        search, now, sent = SizeSearch(), 0.0, []
        search.begin(now, ladder("192.0.2.1", 1500), rtt)
        while search.is_on:
            now = search.wake_at
            sizes = search.due(now)
            if sizes:
                sent.append((now, sizes))
            for size in sizes:
                if size <= largest:
                    search.answered(size)
        return sent

    def test_all_arrive(self) -> None:
        """When all are answered, each was sent once."""
        self.assertEqual(len(self.search(1500)), 1)

    def test_some_arrive(self) -> None:
        """Those that are too large are tried three times, within a second."""
        sent = self.search(1372)
        self.assertEqual(len(sent), ROUNDS)
        self.assertLess(sent[-1][0], 1.0)
        self.assertTrue(all(min(sizes) > 1372 for _, sizes in sent[1:]))

    def test_far(self) -> None:
        """On a long path an answer has time to come before the next try."""
        self.assertGreater(self.search(1252, rtt=0.6)[1][0], 0.6)
        self.assertEqual(self.search(1252, rtt=0.01)[1][0], ROUND)

    def test_nothing_to_try(self) -> None:
        """There may be nothing above the base."""
        search = SizeSearch()
        search.begin(0.0, (), 0.02)
        self.assertEqual((search.is_on, search.wake_at), (False, inf))
