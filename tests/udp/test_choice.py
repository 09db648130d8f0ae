"""When packets go over UDP, when over TCP, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial import unittest

from tunmesh.udp.choice import FAR, FIRST_WAIT, LONGEST_WAIT, PATIENCE, Choice, Facts

NEAR = Facts("", udp_round_trip=0.0002, tcp_round_trip=0.0003)
DISTANT = Facts("", udp_round_trip=0.04, tcp_round_trip=0.041)
NONE = Facts("UDP to 192.0.2.1:5000 is not answered")


class ChoiceTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.choice = Choice("auto")
        self.now = 1000.0

    def decide(self, facts: Facts, after: float = 0.0) -> bool:
        self.now += after
        return self.choice.decide(self.now, facts)

    def test_near(self) -> None:
        """TCP between neighbours, and the reason says so."""
        self.assertFalse(self.decide(NEAR))
        self.assertEqual(
            self.choice.reason, "shortest round trip 0.2 ms, nothing lost: TCP is faster"
        )

    def test_far(self) -> None:
        """UDP over a long path, at once."""
        self.assertTrue(self.decide(DISTANT))
        self.assertEqual(self.choice.reason, "shortest round trip 40 ms, nothing lost")

    def test_one_slow_ping(self) -> None:
        """The shortest round trip counts: a busy node is not a far one."""
        self.assertFalse(self.decide(replace(NEAR, udp_round_trip=0.5)))

    def test_tcp_loses(self) -> None:
        """UDP when TCP sends again what was lost."""
        self.decide(replace(NEAR, tcp_segments=1000, tcp_retransmitted=90))
        self.assertFalse(self.choice.is_udp)  # it may have been long ago
        facts = replace(NEAR, tcp_segments=11_000, tcp_retransmitted=190)
        self.assertTrue(self.decide(facts, after=2.0))
        self.assertEqual(self.choice.reason, "shortest round trip 0.2 ms, 1 % lost")

    def test_neighbours_lose(self) -> None:
        """Where the round trip is so short that TCP makes up for the loss, it stays TCP."""
        near = Facts("", udp_round_trip=0.00003, tcp_round_trip=0.00001)
        self.decide(near)
        facts = replace(near, tcp_segments=10_000, tcp_retransmitted=100)
        self.assertFalse(self.decide(facts, after=2.0))
        self.assertEqual(self.choice.reason, "shortest round trip 0.01 ms, 1 % lost: TCP is faster")

    def test_little_loss(self) -> None:
        """Less than 0.1 % is none."""
        facts = Facts("", udp_round_trip=0.0025)
        self.decide(facts)
        facts = replace(facts, tcp_segments=20_000, tcp_retransmitted=18)
        self.assertFalse(self.decide(facts, after=2.0))
        facts = replace(facts, tcp_segments=40_000, tcp_retransmitted=48)
        self.assertTrue(self.decide(facts, after=2.0))

    def test_few_segments(self) -> None:
        """A few segments are no measurement."""
        self.decide(NEAR)
        for _ in range(60):
            self.assertFalse(
                self.decide(replace(NEAR, tcp_segments=500, tcp_retransmitted=5), after=1.0)
            )

    def test_back(self) -> None:
        """Back to TCP when the path has been good for half a minute, and it is said before."""
        self.assertTrue(self.decide(DISTANT))
        self.assertTrue(self.decide(NEAR))
        self.assertIn("used when that lasts", self.choice.reason)
        self.assertTrue(self.decide(NEAR, after=PATIENCE - 1))
        self.assertFalse(self.decide(NEAR, after=1.0))

    def test_hysteresis(self) -> None:
        """Between the two bounds it stays what it is."""
        between = Facts("", udp_round_trip=FAR * 0.7)
        self.assertFalse(self.decide(between))
        self.decide(DISTANT)
        for _ in range(100):
            self.assertTrue(self.decide(between, after=10.0))

    def test_interrupted(self) -> None:
        """It has to be good all the time."""
        self.decide(DISTANT)
        self.decide(NEAR)
        self.decide(DISTANT, after=PATIENCE - 1)
        self.assertTrue(self.decide(NEAR, after=2.0))

    def test_old_loss_of_tcp(self) -> None:
        """Loss that took TCP's place does not do so again when TCP is chosen later."""
        self.decide(NEAR)
        lossy = replace(NEAR, tcp_segments=20_000, tcp_retransmitted=200)
        self.assertTrue(self.decide(lossy, after=2.0))
        self.decide(replace(lossy, udp_loss=0.0))
        self.assertFalse(self.decide(replace(lossy, udp_loss=0.0), after=PATIENCE))
        self.assertFalse(self.decide(lossy, after=1.0))

    def test_no_path(self) -> None:
        """Without a path it is TCP at once, and the path's reason is the reason."""
        self.decide(DISTANT)
        self.assertFalse(self.decide(NONE))
        self.assertEqual(self.choice.reason, NONE.udp_why_not)

    def test_lost_again_and_again(self) -> None:
        """A path that was lost has to work for 1 s, then for 2 s, and so on; other paths need
        not."""
        self.assertTrue(self.decide(DISTANT))
        waits = []
        for _ in range(12):
            self.assertFalse(self.decide(NONE, after=1.0))
            begun = self.now
            while not self.decide(DISTANT, after=0.5):
                self.assertIn("UDP stopped working", self.choice.reason)
                self.assertTrue(self.choice.is_waiting)
            waits.append(self.now - begun - 0.5)
        self.assertEqual(waits[:4], [FIRST_WAIT, 2.0, 4.0, 8.0])
        self.assertLessEqual(max(waits), LONGEST_WAIT)

    def test_forgotten(self) -> None:
        """After ten good minutes it counts as reliable again."""
        self.decide(DISTANT)
        self.decide(NONE)
        self.decide(DISTANT)
        self.assertTrue(self.decide(DISTANT, after=2.0))
        self.decide(NONE, after=700.0)
        self.decide(DISTANT)
        self.assertTrue(self.decide(DISTANT, after=FIRST_WAIT))

    def test_demanded(self) -> None:
        """`udp`: also between neighbours; but over TCP where there is no path."""
        self.choice = Choice("udp")
        self.assertTrue(self.decide(NEAR))
        self.assertFalse(self.decide(NONE))
        self.assertEqual(self.choice.reason, NONE.udp_why_not)

    def test_refused(self) -> None:
        """`tcp`: never UDP."""
        self.choice = Choice("tcp")
        self.assertFalse(self.decide(DISTANT))
        self.assertEqual(self.choice.reason, "networking.transport is tcp")
