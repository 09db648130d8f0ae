"""Which peer has a say about a place."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.udp.places import PlacesInUse

HERE, THERE = ("192.0.2.1", 4567), ("192.0.2.2", 4567)


class PlacesTests(SynchronousTestCase):
    """The peer whose path leads there, as long as it does."""

    def test_in_use(self) -> None:
        """A place that nobody uses is open to all, and then to its user alone."""
        places = PlacesInUse()
        self.assertTrue(places.is_open_to("bravo", HERE))
        places.use("alpha", HERE)
        self.assertEqual(
            [places.is_open_to(peer, HERE) for peer in ("alpha", "bravo")], [True, False]
        )
        self.assertTrue(places.is_open_to("bravo", THERE))

    def test_moves(self) -> None:
        """A peer that moves, or has no path any more, leaves its place."""
        places = PlacesInUse()
        places.use("alpha", HERE)
        places.use("alpha", THERE)
        self.assertTrue(places.is_open_to("bravo", HERE))
        places.use("alpha", None)
        self.assertTrue(places.is_open_to("bravo", THERE))

    def test_two(self) -> None:
        """Of two peers in one place the first has the say, whatever the other does."""
        places = PlacesInUse()
        for peer in ("alpha", "bravo", "alpha"):
            places.use(peer, HERE)
        self.assertFalse(places.is_open_to("bravo", HERE))
        places.use("alpha", None)
        self.assertTrue(places.is_open_to("bravo", HERE))
