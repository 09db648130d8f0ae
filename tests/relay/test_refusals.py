"""Which neighbours are not asked again for a while."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.refusals import MAX_CARRIERS, MAX_NODES, Refusals
from tunmesh.wire.streams import Refused

NOT_LINKED, DECLINED = Refused.NOT_LINKED, Refused.DECLINED


class RefusalsTests(SynchronousTestCase):
    """Seen from one node."""

    def setUp(self) -> None:
        self.refusals = Refusals()

    def test_pair(self) -> None:
        """It is asked for other nodes, and for this one after the pause, or when it is wanted
        anew."""
        self.refusals.note("a", "x", NOT_LINKED, 0.0)
        self.refusals.note("a", "y", NOT_LINKED, 0.0)
        self.refusals.forget("y")
        pairs = (("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"))
        asked = [self.refusals.may_ask(carrier, node, 1.0) for carrier, node in pairs]
        self.assertEqual(asked, [False, True, True, True])
        self.assertTrue(self.refusals.may_ask("a", "x", NOT_LINKED.pause))

    def test_declined(self) -> None:
        """A node that carries for nobody is not asked for any other one, until it is linked
        anew."""
        self.refusals.note("a", "x", DECLINED, 0.0)
        self.assertFalse(self.refusals.may_ask("a", "y", 1.0))
        self.refusals.parted("a")
        self.assertTrue(self.refusals.may_ask("a", "y", 1.0))

    def test_many(self) -> None:
        """However many refusals there are, the last ones count, and what one neighbour refuses
        does not push out what another one has refused of another node."""
        self.refusals.note("a", "x", NOT_LINKED, 0.0)
        for number in range(2 * MAX_CARRIERS):
            self.refusals.note(f"{number}", "y", NOT_LINKED, 1.0)
        self.assertFalse(self.refusals.may_ask(f"{2 * MAX_CARRIERS - 1}", "y", 2.0))
        self.assertFalse(self.refusals.may_ask("a", "x", 2.0))
        for number in range(2 * MAX_NODES):
            self.refusals.note("liar", f"{number}", NOT_LINKED, 3.0)
        self.assertFalse(self.refusals.may_ask("liar", f"{2 * MAX_NODES - 1}", 4.0))
        self.assertLessEqual(len(self.refusals), MAX_NODES + MAX_CARRIERS)
