"""How long a node has been in the mesh, and whether its addresses are its own by now."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.membership.agreement import AGREED, Agreement
from tunmesh.membership.seniority import SETTLING, Seniority

SOON, LATE = SETTLING - 1, SETTLING


class SeniorityTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.seniority = Seniority()

    def look(
        self, now: float, in_mesh: bool = True, refused: bool = False, replaced: bool = False
    ) -> tuple[bool, bool]:
        """Whether it is on probation, and whether it is settled. `refused`: by some peer;
        `replaced`: by most."""
        cut_off = ("10.0.0.1",) if replaced else ()
        self.seniority.update(now, in_mesh, Agreement(cut_off, is_claimed=refused or replaced))
        return self.seniority.is_new, self.seniority.is_settled

    def test_settles(self) -> None:
        """A node is on probation until it has been in the mesh for a while, and settled from then
        on."""
        self.assertEqual(self.look(100.0), (True, False))
        self.assertEqual(self.look(100.0 + SOON), (True, False))
        self.assertEqual(self.look(100.0 + LATE), (False, True))

    def test_alone(self) -> None:
        """Time during which it looks for the mesh does not count, however long it is."""
        self.assertEqual(self.look(0.0, in_mesh=False), (True, False))
        self.assertEqual(self.look(1000.0, in_mesh=False), (True, False))
        self.assertEqual(self.look(1001.0), (True, False))
        self.assertEqual(self.look(1001.0 + LATE), (False, True))

    def test_refused(self) -> None:
        """A node that is refused an address does not settle, though its probation is over, until
        nobody refuses it."""
        self.look(0.0)
        self.assertEqual(self.look(LATE, refused=True), (False, False))
        self.assertEqual(self.look(1000.0, refused=True), (False, False))
        self.assertEqual(self.look(1001.0), (False, True))

    def test_refused_later(self) -> None:
        """A refusal cannot unsettle a node."""
        self.look(0.0)
        self.look(LATE)
        self.assertEqual(self.look(LATE + 1, refused=True), (False, True))

    def test_replaced(self) -> None:
        """Most of the mesh can: a node that had an address only while its holder was away is not
        settled, until that is over."""
        self.look(0.0)
        self.look(LATE)
        self.assertEqual(self.look(LATE + 1, replaced=True), (False, False))
        self.assertEqual(self.look(LATE + 2, refused=True), (False, False))
        self.assertEqual(self.look(LATE + 3), (False, True))

    def test_comes_back(self) -> None:
        """A node that lost all its links is on probation again: another node may have its address
        now."""
        self.look(0.0)
        self.look(LATE)
        self.assertEqual(self.look(100.0, in_mesh=False), (True, False))
        self.assertEqual(self.look(200.0, replaced=True), (True, False))
        self.assertEqual(self.look(200.0 + LATE, replaced=True), (False, False))

    def test_comes_back_to_one_who_refuses(self) -> None:
        """One refusal does not keep a node that was settled before from settling again."""
        self.look(0.0)
        self.look(LATE)
        self.look(100.0, in_mesh=False)
        self.assertEqual(self.look(200.0, refused=True), (True, False))
        self.assertEqual(self.look(200.0 + LATE, refused=True), (False, True))

    def test_changes(self) -> None:
        """An update reports whether anything has changed."""
        times = (0.0, 1.0, LATE, LATE + 1)
        changes = [self.seniority.update(now, True, AGREED) for now in times]
        self.assertEqual(changes, [False, False, True, False])

    def test_wait(self) -> None:
        """While it is new it says when it will not be any more, if nothing happens."""
        self.assertIsNone(self.seniority.wait(0.0))
        self.look(10.0)
        self.assertAlmostEqual(self.seniority.wait(11.0) or 0.0, LATE - 1, 2)
        self.look(10.0 + LATE)
        self.assertIsNone(self.seniority.wait(10.0 + LATE))
