"""The places of nodes known by hearsay, shared among those that vouch for them."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any

from twisted.trial import unittest

from tests.membership.test_roster import BOB
from tests.membership.test_roster_machine import check_places
from tunmesh.membership import hearsay
from tunmesh.membership.hearsay import Hearsay
from tunmesh.wire.gossip import Gossip


def invented(first: int, number: int) -> tuple[str, ...]:
    return tuple(f"{1 << 64 | each:032x}" for each in range(first, first + number))


class HearsayCase(unittest.TestCase):
    def setUp(self) -> None:
        self.hearsay: Hearsay[int] = Hearsay(f"{0:032x}")
        self.generations = count(1)

    def link(self, *numbers: int) -> None:
        """Nodes of these numbers are linked, and linked with nobody else so far."""
        for number in numbers:
            self.hearsay.linked(replace(BOB, id=f"{number:032x}"), number)
            self.full_sync(number)

    def full_sync(self, number: int, *ids: str) -> None:
        self.hear(number, Gossip(next(self.generations), ids))

    def vouch(self, number: int, *ids: str) -> None:
        self.hear(number, Gossip(0, ids))

    def hear(self, number: int, gossip: Gossip) -> None:
        self.hearsay.gossip_received(f"{number:032x}", number, gossip)


class PlacesTests(HearsayCase):
    def test_several_that_vouch_for_the_same(self) -> None:
        """Members that vouch for the same invented nodes do not keep a place that another member
        has less than its share of."""
        self.patch(hearsay, "MAX_NODES", 10)
        self.link(1, 2, 3, 4)
        crowd = invented(0, 10)
        for number in (1, 2, 3):
            self.vouch(number, *crowd)
        [newcomer] = invented(100, 1)
        self.vouch(4, newcomer)
        self.assertEqual({*self.hearsay}, {*crowd[1:], newcomer})
        for number in (1, 2, 3):
            self.assertEqual({*self.hearsay.vouches_of(f"{number:032x}")}, {*crowd[1:]})

    def test_what_others_vouch_for_stays(self) -> None:
        """What one member alone vouches for loses its place first, the latest first; then what
        others have vouched for as well."""
        self.patch(hearsay, "MAX_NODES", 6)
        self.link(1, 2, 3)
        crowd = invented(0, 6)
        self.vouch(1, *crowd)
        self.vouch(2, crowd[5], crowd[4], crowd[0])
        self.full_sync(2, crowd[5], crowd[0])
        for newcomer, displaced in zip(invented(100, 3), (4, 3, 2), strict=True):
            self.assertIn(crowd[displaced], self.hearsay)
            self.vouch(3, newcomer)
            self.assertNotIn(crowd[displaced], self.hearsay)
        self.assertIn(crowd[5], self.hearsay)

    def test_whatever_is_said(self) -> None:
        """However a full table changes, each node in it takes a place of one that vouches for
        it."""
        self.patch(hearsay, "MAX_NODES", 12)
        draw = random.Random(2026)
        numbers = range(1, 7)
        everybody = (*invented(0, 20), *(f"{number:032x}" for number in numbers))
        linked: set[int] = set()
        for _ in range(600):
            number = draw.choice(numbers)
            ids = tuple(draw.sample(everybody, draw.randrange(10)))
            if number not in linked:
                linked.add(number)
                self.link(number)
            elif draw.random() < 0.1:
                linked.discard(number)
                if draw.random() < 0.3:
                    self.hearsay.left(f"{number:032x}")
                self.hearsay.parted(f"{number:032x}")
            elif draw.random() < 0.3:
                self.full_sync(number, *ids)
            else:
                self.hear(number, Gossip(0, ids[:5], ids[5:]))
            check_places(self.hearsay)
            self.assertLessEqual(len({*self.hearsay}), 12)

    def test_cost(self) -> None:
        """A member that displaces others has a node do as much for each id, however many places
        and members there are."""
        small, large = self.lines_to_displace(40, 4), self.lines_to_displace(1000, 50)
        self.assertLess(large, 2 * small)

    def lines_to_displace(self, places: int, members: int) -> int:
        """How many lines of Python run for a node that displaces another one. The member that has
        most took its places before all others."""
        self.patch(hearsay, "MAX_NODES", places)
        self.setUp()
        self.link(*range(1, members + 2))
        self.vouch(1, *invented(0, places // 2))
        for number in range(2, members + 1):
            self.vouch(number, *invented(number * places, places // 2 // (members - 1)))
        self.vouch(2, *invented(1, places))
        lines = 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        before, known = sys.gettrace(), {*self.hearsay}
        sys.settrace(trace)
        try:
            self.vouch(members + 1, *invented(1 << 40, 1))
        finally:
            sys.settrace(before)
        self.assertEqual(len({*self.hearsay} - known), 1)
        return lines
