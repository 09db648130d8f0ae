"""A start beside a process that ends."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.errors import InUseError, OperatorError
from tunmesh.host.holders import Holder
from tunmesh.service.preflight import LOOK, PATIENCE, when_free

ENDING, ALIVE = Holder(0, 7, "twistd", is_ending=True), Holder(0, 8, "nginx")
HIDDEN = Holder(0)  # of another container, or ending: its files are closed


class WhenFreeTests(SynchronousTestCase):
    """Something that a start takes, and who has it; with a clock of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.error: OperatorError = InUseError("tun1", "it is in use")

    def take(self, *holders: Holder, free_after: float) -> str:
        def attempt() -> str:
            if self.clock.seconds() < free_after:
                raise self.error
            return "taken"

        seconds, sleep = self.clock.seconds, self.clock.advance
        return when_free(attempt, lambda: holders, self.told.append, seconds, sleep)

    def test_free(self) -> None:
        """Nothing is waited for."""
        self.assertEqual(self.take(ENDING, free_after=0), "taken")
        self.assertEqual((self.told, self.clock.seconds()), ([], 0))

    def test_killed(self) -> None:
        """A node that was killed has it for a moment yet, or nobody that can be seen."""
        for holders in ((ENDING,), (), (HIDDEN,)):
            until = self.clock.seconds() + 1
            self.told.clear()
            self.assertEqual(self.take(*holders, free_after=until), "taken")
            self.assertTrue(until <= self.clock.seconds() < until + 2 * LOOK)
            self.assertEqual(self.told, ["tun1"])

    def test_in_use(self) -> None:
        """What has a holder that goes on is refused at once."""
        self.assertRaises(InUseError, self.take, ENDING, ALIVE, free_after=1)
        self.assertEqual((self.told, self.clock.seconds()), ([], 0))

    def test_never_free(self) -> None:
        """Whoever does not end is not waited for without end."""
        self.assertRaises(InUseError, self.take, ENDING, free_after=1000)
        self.assertTrue(PATIENCE <= self.clock.seconds() < PATIENCE + 2 * LOOK)

    def test_refused(self) -> None:
        """Nothing else that is wrong is waited for."""
        self.error = OperatorError("CAP_NET_ADMIN is missing")
        self.assertRaises(OperatorError, self.take, free_after=1)
        self.assertEqual((self.told, self.clock.seconds()), ([], 0))
