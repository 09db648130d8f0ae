"""What becomes of a UDP path when the network fails: how long nothing arrives, and what is used."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial import unittest

from tests.udp.two_ends import Datagram, End, World
from tunmesh.tls.underlay import Outside
from tunmesh.udp.path import Lost, Path, Send, Use
from tunmesh.udp.probing.mtu import BASE
from tunmesh.wire.udp_pings import PING_SIZE, Ping, Pong

HOLE = 1.0  # seconds in which nothing may arrive when a path fails
FOUND = 0.5  # seconds within which a path is used that works, at 40 ms


class PathTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.a, self.b = self.world.ends

    def tearDown(self) -> None:
        self.assertEqual(self.world.faults, [])

    def begin(self, seconds: float = 3.0) -> None:
        """Both use UDP."""
        self.world.start()
        self.world.run(seconds)
        self.assert_both_use(True)

    def assert_both_use(self, udp: bool) -> None:
        for end in self.world.ends:
            self.assertIs(end.is_udp, udp, f"{end.name}: {end.choice.reason}")

    def go_on(self, seconds: float, hole: float = HOLE) -> float:
        """The network is what it is now. Nothing may be missing for longer than `hole`."""
        since = self.world.now
        self.world.run(seconds)
        longest = max(self.world.hole(end, since) for end in self.world.ends)
        self.assertLessEqual(longest, hole)
        return longest

    def test_found(self) -> None:
        """A path is used after two round trips, and with its full size after a third one."""
        self.begin(FOUND)
        for end in self.world.ends:
            self.assertLess(end.switches[0][0] - 1000.0, 0.1)
            self.assertEqual(end.path.size, 1472)
            self.assertEqual([type(each) for _, each in end.changes], [Use, Use])

    def test_blocked_from_the_start(self) -> None:
        """Nothing is missing where UDP does not get through, and little is sent in vain."""
        self.world.lost = lambda sender, datagram: True
        self.world.start()
        self.go_on(600.0, hole=0.02)
        self.assert_both_use(False)
        self.assertLessEqual(self.a.pings, 6 + 10)
        self.assertEqual(self.a.choice.reason, "UDP to 198.51.100.2:5000 is not answered")

    def test_blocked_later(self) -> None:
        """A path that is blocked while it is used is left within a second; when it works again,
        it is used again."""
        self.begin()
        self.world.lost = lambda sender, datagram: True
        self.go_on(5.0)
        self.assert_both_use(False)
        lost = self.a.changes[-1][1]
        self.assertEqual(lost, Lost("UDP to 198.51.100.2:5000 is not answered any more"))
        self.world.lost = lambda sender, datagram: False
        self.go_on(10.0, hole=0.1)
        self.assert_both_use(True)

    def test_blocked_in_one_direction(self) -> None:
        """What gets through in one direction only is used in neither."""
        self.begin()
        self.world.lost = lambda sender, datagram: sender is self.a
        self.go_on(5.0, hole=1.1)
        self.assert_both_use(False)

    def test_blocked_while_idle(self) -> None:
        """A path that failed while nothing was sent is noticed by the first data, at the latest."""
        self.begin()
        for end in self.world.ends:
            end.is_sending = False
        self.world.run(20.0)
        self.world.lost = lambda sender, datagram: True
        self.world.run(1.0)
        self.a.is_sending = True
        since = self.world.now
        self.world.run(3.0)
        self.assertLess(self.world.hole(self.a, since), HOLE)
        self.assertFalse(self.a.is_udp)

    def test_large_datagrams_lost(self) -> None:
        """A black hole for large datagrams costs less than a second; UDP stays, with smaller ones,
        and the larger size that still works is found."""
        self.begin()
        self.world.lost = lambda sender, datagram: datagram.size > 1400
        self.go_on(1.0, hole=0.8)
        self.assert_both_use(True)
        self.assertEqual(self.a.path.size, BASE)
        self.world.run(2.0)
        self.assertEqual(self.a.path.size, 1392)
        self.assertEqual(len(self.a.switches), 1)

    def test_much_is_lost(self) -> None:
        """A path that loses 8 % each way, of datagrams of any size, keeps its size."""
        self.begin()
        self.world.lost = lambda sender, datagram: self.world.random.random() < 0.08
        self.world.run(60.0)
        self.assert_both_use(True)
        for end in self.world.ends:
            self.assertEqual([each for _, each in end.changes[2:]], [])

    def test_path_mtu_1280(self) -> None:
        """With the least MTU of IPv6, UDP is used from the start, with what fits."""
        self.world.lost = lambda sender, datagram: datagram.size > 1280 - 28
        self.world.start()
        self.go_on(5.0, hole=0.1)
        self.assert_both_use(True)
        self.assertEqual(self.a.path.size, 1252)

    def test_path_mtu_576(self) -> None:
        """With less than that TCP is used, and the reason is named."""
        self.world.lost = lambda sender, datagram: datagram.size > 576 - 28
        self.world.start()
        self.go_on(60.0, hole=0.02)
        self.assert_both_use(False)
        self.assertEqual(
            self.a.choice.reason,
            "UDP datagrams of 1200 bytes do not arrive at 198.51.100.2:5000, only short ones do",
        )

    def test_path_mtu_becomes_576(self) -> None:
        """TCP takes over within a second."""
        self.begin()
        self.world.lost = lambda sender, datagram: datagram.size > 576 - 28
        self.go_on(60.0)
        self.assert_both_use(False)

    def test_device_takes_less(self) -> None:
        """When the own device's MTU gets smaller, nothing is lost at all."""
        self.begin()
        self.a.device_takes = 1352
        self.go_on(2.0, hole=0.1)
        self.assertEqual(self.a.path.size, 1352)

    def test_host_refuses(self) -> None:
        """When the own host refuses to send, TCP is used at once."""
        self.begin()
        self.a.carry_out(self.a.path.unreachable(self.world.now))
        self.assertFalse(self.a.is_udp)
        self.assertEqual(self.a.changes[-1][1], Lost("this host cannot send to 198.51.100.2:5000"))

    def test_nat_rebinds(self) -> None:
        """When a NAT chooses another port for a node, the other one follows in two round trips."""
        self.world.public[self.a.place] = ("203.0.113.7", 40_001)
        self.b_is_offered_nothing_that_works()
        self.world.public[self.a.place] = ("203.0.113.7", 40_002)
        self.go_on(3.0, hole=0.15)
        self.assert_both_use(True)
        self.assertEqual(self.b.path.address, ("203.0.113.7", 40_002))
        self.assertEqual(len(self.b.switches), 1)

    def b_is_offered_nothing_that_works(self) -> None:
        """Where one end is behind a NAT, the other one learns its address from its pings."""
        self.a.offered(self.b.place)
        self.b.offered(self.a.place, ("10.0.0.1", 5000))
        self.world.run(3.0)
        self.assert_both_use(True)
        self.assertEqual(self.b.path.address, ("203.0.113.7", 40_001))

    def test_nat_binding_ends(self) -> None:
        """A NAT that forgets after 30 s keeps the path, though nothing is sent."""
        self.world.public[self.a.place] = ("203.0.113.7", 40_001)
        self.b_is_offered_nothing_that_works()
        last = [self.world.now]

        def forgets(sender: End, datagram: Datagram) -> bool:
            if sender is self.a:
                last[0] = self.world.now
            return self.world.now - last[0] > 30.0

        self.world.lost = forgets
        for end in self.world.ends:
            end.is_sending = False
        self.world.run(300.0)
        for end in self.world.ends:
            end.is_sending = True
        self.go_on(3.0, hole=0.1)
        self.assert_both_use(True)

    def test_roams(self) -> None:
        """A peer that moves to another address, whose old one is gone, is followed."""
        self.begin()
        self.a.place = ("203.0.113.99", 5000)
        self.go_on(3.0, hole=0.15)
        self.assert_both_use(True)
        self.assertEqual(self.b.path.address, self.a.place)

    def test_receiver_roams(self) -> None:
        """A peer that moves is followed also if it sends nothing itself."""
        self.begin()
        self.a.is_sending = False
        self.world.run(1.0)
        self.a.place = ("203.0.113.99", 5000)
        self.world.run(1.0)
        self.assertEqual(self.b.path.address, self.a.place)
        self.assertTrue(self.b.is_udp)
        self.assertEqual([each for _, each in self.b.switches], [True])

    def test_peer_falls_silent(self) -> None:
        """A peer whose data ends is pinged once."""
        self.begin()
        self.a.is_sending = False
        self.world.run(1.0)
        self.b.is_sending = False
        before = self.a.pings
        self.world.run(10.0)
        self.assertEqual(self.a.pings - before, 1)

    def test_idle(self) -> None:
        """A path that is used pings every 15 s while nothing is sent; one that is not, every
        minute."""
        self.begin()
        for end in self.world.ends:
            end.is_sending = False
        self.world.run(1.0)
        before = self.a.pings
        self.world.run(150.0)
        self.assertEqual(self.a.pings - before, 10)
        self.a.carry_out(self.a.path.used(self.world.now, False))
        self.a.choice.is_udp = False
        self.a.decide = lambda: None  # type: ignore[method-assign]
        before = self.a.pings
        self.world.run(300.0)
        self.assertEqual(self.a.pings - before, 5)

    def test_under_traffic(self) -> None:
        """While data is sent, four pings a second are."""
        self.begin()
        before = self.a.pings
        self.world.run(10.0)
        self.assertAlmostEqual(self.a.pings - before, 40, delta=3)

    def test_loss(self) -> None:
        """A path that loses 3 % each way is kept, and the loss is measured."""
        self.world.lost = lambda sender, datagram: self.world.random.random() < 0.03
        self.world.start()
        self.world.run(120.0)
        self.assert_both_use(True)
        self.assertEqual(len(self.a.switches), 1)
        assert self.a.path.loss.share is not None
        self.assertLess(abs(self.a.path.loss.share - 0.03), 0.012)

    def test_no_loss(self) -> None:
        """Sizes that are too large are not counted as loss, nor is reordering."""
        self.world.lost = lambda sender, datagram: datagram.size > 1300
        self.world.jitter, self.world.copies = 0.03, 0.1
        self.world.start()
        self.world.run(30.0)
        self.assertLess(self.a.path.loss.share or 0.0, 0.001)

    def test_loss_ends(self) -> None:
        """A while after the last loss, nothing is lost, and that is what people read."""
        self.begin()
        self.world.lost = lambda sender, datagram: self.world.random.random() < 0.05
        self.world.run(30.0)
        self.world.lost = lambda sender, datagram: False
        self.world.run(200.0)
        self.assertEqual(self.a.path.loss.share, 0.0)

    def test_new_session(self) -> None:
        """A renewed link is a new session: the path stays, and with it what goes over it."""
        self.begin()
        changes = len(self.a.changes)
        for end, other in ((self.a, self.b), (self.b, self.a)):
            end.sent, end.highest = 0, 0
            end.received.clear()
            end.offered(other.place)
        self.go_on(5.0, hole=0.1)
        self.assertEqual(len(self.a.changes), changes)
        self.assert_both_use(True)

    def test_withdrawn(self) -> None:
        """Without a session there is no path."""
        self.begin()
        self.a.carry_out(self.a.path.withdrawn("the link has ended"))
        self.assertEqual(self.a.changes[-1][1], Lost("the link has ended"))
        self.assertEqual(self.a.choice.reason, "the link has ended")
        self.go_on(5.0, hole=0.1)

    def test_stalled(self) -> None:
        """A node that did not run for a second does not blame the path; but if there is still no
        answer, it does."""
        self.begin()
        path = self.a.path
        self.assertEqual([type(each) for each in path.tick(path.wake_at + 1.0)], [Send])
        self.assertIsNotNone(path.address)
        while path.address:
            path.tick(path.wake_at)
        self.assertLess(path.wake_at - self.world.now, 1.0 + 2.0)


class HostileTests(unittest.SynchronousTestCase):
    """What a peer may try, or who copies its datagrams."""

    def setUp(self) -> None:
        self.world = World()
        self.a, self.b = self.world.ends
        self.world.start()
        self.world.run(3.0)
        self.path = self.a.path

    def test_forged_source(self) -> None:
        """Datagrams from an address that answers nothing change nothing, and two short pings
        a second are all that goes there."""
        there: list[Datagram] = []

        def lost(sender: End, datagram: Datagram) -> bool:
            if datagram.to[0] == "203.0.113.5":
                there.append(datagram)
            return False

        self.world.lost = lost
        for port in range(1000, 2000):
            self.world.run(0.01)
            self.a.carry_out(self.path.came_from(self.world.now, ("203.0.113.5", port)))
        self.assertLessEqual(len(there), 20)
        self.assertEqual({each.size for each in there}, {PING_SIZE})
        self.assertEqual(self.path.address, self.b.place)

    def test_guessed_answers(self) -> None:
        """A pong for no ping, or for one that was answered, is nothing."""
        for token in range(1000):
            pong = Pong(token.to_bytes(8, "big"), 1, 1)
            self.assertEqual(self.path.pong_came(self.world.now, pong), [])

    def test_absurd_counts(self) -> None:
        """What a pong counts may be absurd: loss stays between none and all."""
        for received, highest in ((0, 1 << 63), ((1 << 64) - 1, 0), (1 << 63, 1 << 62), (5, 9999)):
            self.path.loss.counted(self.world.now, received, highest)
            share = self.path.loss.share
            self.assertTrue(share is None or 0.0 <= share <= 1.0)

    def test_many_pings(self) -> None:
        """Answers are limited."""
        answers = []
        for step in range(10_000):
            now = self.world.now + step / 1000
            came = self.path.ping_came(now, Ping(bytes(8)), self.b.place, 1, 1)
            sent = [each.control for each in came if isinstance(each, Send)]
            answers += [each for each in sent if isinstance(each, Pong)]
        self.assertLessEqual(len(answers), 64 + 240)

    def test_inside_the_mesh(self) -> None:
        """Addresses inside the mesh are neither offered, nor followed, nor answered."""
        path = Path(b"key", Outside([ip_network("10.9.0.0/16")]), lambda to: None, 0.0)
        self.assertEqual(path.offered(0.0, [("10.9.0.1", 5000)]), [])
        self.assertIn("inside the mesh", path.why_not)
        self.assertEqual(path.came_from(1.0, ("10.9.0.2", 5000)), [])
        self.assertEqual(path.ping_came(1.0, Ping(bytes(8)), ("10.9.0.2", 5000), 1, 1), [])
