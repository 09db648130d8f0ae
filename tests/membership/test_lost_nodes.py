"""Which lost nodes are dialed, and when: with literals, and at random."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.membership.test_roster import ALICE, BOB, BOB_AGAIN, CAROL, node
from tunmesh.addresses import Target
from tunmesh.membership import lost_nodes
from tunmesh.membership.lost_nodes import (
    BURST,
    FIRST_LEFT,
    FIRST_LOST,
    LONGEST_ALONE,
    LONGEST_BOOTSTRAPPED,
    MAX_LOST,
    PAUSE_PER_NODE,
    SHORT_LIFE,
    LostNodes,
)
from tunmesh.units import DAY
from tunmesh.wire.records import NodeRecord

URL = BOB.host_port
LONG = 2 * SHORT_LIFE


class MemoryCase(unittest.SynchronousTestCase):
    """Alice's memory. Chance always says 1: every pause is as long as it may be."""

    def setUp(self) -> None:
        self.now = 0.0
        self.memory = LostNodes(lambda: ALICE.host_port, lambda: 1.0)
        self.is_bootstrapped = False
        self.busy: set[Target] = set()

    def lose(self, record: NodeRecord, left: bool = False, after: float = LONG) -> None:
        self.memory.linked(record, self.now)
        self.now += after
        self.memory.parted(record.id, left, self.now)

    def dialed(self, seconds: float) -> list[tuple[float, Target]]:
        """What is dialed in so many seconds, and how long after their beginning."""
        begin, dialed = self.now, []
        while (wait := self.memory.wait(self.now, self.is_bootstrapped)) is not None:
            if self.now + wait > begin + seconds:
                break
            self.now += wait
            due = self.memory.due(self.now, self.is_bootstrapped, self.busy)
            dialed += [(self.now - begin, target) for target in due]
        self.now = begin + seconds
        return dialed

    def times(self, seconds: float) -> list[float]:
        return [round(time, 3) for time, _ in self.dialed(seconds)]


class PauseTests(MemoryCase):
    def test_lost(self) -> None:
        """A lost node is dialed with longer and longer pauses, up to 15 s."""
        self.lose(BOB)
        self.assertEqual(self.times(50), [1, 3, 7, 15, 30, 45])
        self.assertEqual(self.memory.retry_in(URL, self.now, False), 10)

    def test_left(self) -> None:
        """A node that said that it leaves is not dialed at once."""
        self.lose(BOB, left=True)
        self.assertEqual(self.times(50), [15, 30, 45])
        self.lose(CAROL, left=True)
        self.is_bootstrapped = True
        self.assertEqual(self.memory.retry_in(CAROL.host_port, self.now, True), 15)

    def test_helped(self) -> None:
        """While every bootstrap group has a link the pauses grow longer; when one has lost its
        link, a long pause that has begun is shortened."""
        self.lose(BOB)
        self.is_bootstrapped = True
        self.assertEqual(self.times(300), [1, 3, 7, 15, 31, 63, 127, 247])
        self.is_bootstrapped = False
        self.assertEqual(self.times(15), [0, 15])

    def test_at_once(self) -> None:
        """Few are dialed at once, those that have waited longest first."""
        records = [node(number, f"n{number}") for number in range(2, 12)]
        for record in records:
            self.memory.linked(record, 0.0)
        self.now = LONG
        for record in records:
            self.memory.parted(record.id, False, self.now)
        first = self.dialed(3.5)
        self.assertEqual([round(time) for time, _ in first[:10]], [1] * 4 + [2] * 4 + [3] * 2)
        self.assertEqual(len({target for _, target in first[:10]}), 10)

    def test_short_life(self) -> None:
        """A link that does not last does not reset the pauses; one that does, does."""
        self.lose(BOB)
        self.assertEqual(self.times(7), [1, 3, 7])
        self.lose(BOB, after=1.0)
        self.is_bootstrapped = True
        self.assertEqual(self.times(40), [16])
        self.lose(BOB, after=1.0)
        self.assertEqual(self.times(70), [64])
        self.lose(BOB)
        self.assertEqual(self.times(3), [1, 3])

    def test_dialed_anyhow(self) -> None:
        """A node that was dialed for other reasons is treated as if it had just been lost."""
        self.lose(BOB)
        self.busy = {URL}
        self.assertEqual(self.times(100), [])
        self.busy = set()
        self.assertEqual(self.times(7), [1, 3, 7])

    @settings(max_examples=3, deadline=None)
    @given(st.integers(1, 2 * MAX_LOST), st.integers(), st.booleans())
    def test_cost(self, many: int, seed: int, left: bool) -> None:
        """However many are lost: all have been dialed within a minute or so, none is left out
        later, and in the end there is about one dial a second."""
        self.memory = LostNodes(lambda: ALICE.host_port, random.Random(seed).random)
        self.now = 0.0
        records = [node(2, f"n{number}", "10.0.0.2/24") for number in range(many)]
        records = [replace(each, id=f"{n:032x}") for n, each in enumerate(records)]
        for record in records:
            self.memory.linked(record, self.now)
        self.now += LONG
        for record in records:
            self.memory.parted(record.id, left, self.now)
        kept = min(many, MAX_LOST)
        first = self.dialed(FIRST_LEFT + kept / BURST + 1)
        self.assertEqual(len({target for _, target in first}), kept)
        self.dialed(3600)
        longest = max(LONGEST_ALONE, kept * PAUSE_PER_NODE)
        later = self.dialed(2 * longest)
        self.assertEqual(len({target for _, target in later}), kept)
        self.assertLess(len(later), 2 * longest * 2 / PAUSE_PER_NODE)


class WhoTests(MemoryCase):
    def remembered(self) -> list[str]:
        return [each.record.name for _, each in self.memory]

    def test_day(self) -> None:
        """A lost node is remembered for a day."""
        self.lose(BOB)
        self.dialed(DAY)
        self.assertEqual(self.remembered(), ["bob"])
        self.dialed(LONGEST_ALONE)
        self.assertEqual(self.remembered(), [])
        self.assertIsNone(self.memory.wait(self.now, False))

    def test_linked_again(self) -> None:
        """A node that is linked at its URL again, whatever its id is now, is not dialed."""
        self.lose(BOB)
        self.memory.linked(BOB_AGAIN, self.now)
        self.assertEqual(self.remembered(), [])

    def test_moved(self) -> None:
        """Nor is one that came back with its name and an address at another URL."""
        self.lose(BOB)
        self.memory.linked(replace(BOB_AGAIN, url="https://elsewhere:1"), self.now)
        self.assertEqual(self.remembered(), [])
        self.lose(CAROL)
        self.memory.linked(node(9, "carol"), self.now)  # the name alone is not enough: replicas
        self.memory.linked(node(3, "dora"), self.now)  # nor is the address
        self.memory.linked(replace(BOB, id=f"{77:032x}"), self.now)
        self.assertEqual(self.remembered(), [])

    def test_past_life_goes_late(self) -> None:
        """If the link of an earlier incarnation ends only after the new one came, no node is
        lost."""
        self.memory.linked(BOB, self.now)
        self.memory.linked(BOB_AGAIN, self.now)
        self.memory.parted(BOB.id, False, self.now)
        self.assertEqual(self.remembered(), [])
        self.memory.parted(BOB_AGAIN.id, False, self.now)
        self.assertEqual(self.remembered(), ["bob"])

    def test_own_url(self) -> None:
        """A node that claims this node's URL cannot be dialed."""
        self.lose(replace(BOB, url=ALICE.url))
        self.assertEqual(self.remembered(), [])

    def test_somebody_else_there(self) -> None:
        """Once any node answers at the URL, be it another one that has moved in, it is not dialed
        any more."""
        self.lose(BOB)
        self.memory.answered(CAROL.host_port)
        self.assertEqual(self.remembered(), ["bob"])
        self.memory.answered(URL)
        self.assertEqual(self.remembered(), [])

    def test_claims(self) -> None:
        """A node from another source that claims the URL of a lost node, or to be a later
        incarnation of it, does not end the search; one that was reached at that URL does, and so
        does the node itself."""
        at_his_url = replace(node(66, "mallory"), url=BOB.url)
        moved = replace(BOB_AGAIN, url="https://elsewhere:1")
        for liar in (at_his_url, BOB_AGAIN, moved):
            for comes_first in (False, True):
                self.memory = LostNodes(lambda: ALICE.host_port, lambda: 1.0)
                if comes_first:
                    self.memory.linked(liar, self.now, "mallory's")
                self.memory.linked(BOB, self.now, "bob's")
                self.memory.parted(BOB.id, False, self.now)
                if not comes_first:
                    self.memory.linked(liar, self.now, "mallory's")
                self.assertEqual(self.remembered(), ["bob"])
        for source, is_there, found in (
            ("bob's", False, BOB_AGAIN),
            ("bob's", False, moved),
            ("elsewhere", True, BOB_AGAIN),
            ("elsewhere", False, BOB),
        ):
            self.memory = LostNodes(lambda: ALICE.host_port, lambda: 1.0)
            self.memory.linked(BOB, self.now, "bob's")
            self.memory.parted(BOB.id, False, self.now)
            self.memory.linked(found, self.now, source, is_there)
            self.assertEqual(self.remembered(), [])

    def test_is_elsewhere(self) -> None:
        """One that seems to be linked under another URL is dialed, and not shown as lost."""
        self.lose(BOB)
        self.assertFalse(self.memory.is_elsewhere(BOB))
        self.memory.linked(replace(BOB_AGAIN, url="https://elsewhere:1"), self.now, "elsewhere")
        self.assertTrue(self.memory.is_elsewhere(BOB))
        self.assertEqual(self.remembered(), ["bob"])

    def test_crowd(self) -> None:
        """Many identities from one source displace each other, not the nodes of other sources."""
        self.patch(lost_nodes, "MAX_LOST", 4)
        self.lose(BOB)
        for number in range(10, 20):
            self.memory.linked(node(number, f"m{number}"), self.now, "mallory's")
            self.memory.parted(node(number, f"m{number}").id, False, self.now)
        self.assertEqual(self.remembered(), ["m19", "m18", "m17", "bob"])

    def test_at_most(self) -> None:
        """If there are too many, those are forgotten that said that they leave, then those that
        were linked longest ago."""
        self.patch(lost_nodes, "MAX_LOST", 2)
        numbers = count(2)
        for name, left in (("a", False), ("b", True), ("c", False)):
            self.lose(node(next(numbers), name), left)
        self.assertEqual(self.remembered(), ["c", "a"])
        self.lose(node(next(numbers), "d"), left=True)
        self.assertEqual(self.remembered(), ["c", "a"])
        self.lose(node(next(numbers), "e"))
        self.assertEqual(self.remembered(), ["e", "c"])

    def test_pauses(self) -> None:
        """The bounds are those of the documentation."""
        self.assertEqual((MAX_LOST, DAY), (256, 24 * 3600))
        self.assertEqual((FIRST_LOST, FIRST_LEFT), (1, 15))
        self.assertEqual((LONGEST_ALONE, LONGEST_BOOTSTRAPPED), (15, 120))
