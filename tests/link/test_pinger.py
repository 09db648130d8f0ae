"""How a link finds out whether the other end is alive."""

from __future__ import annotations

from tests.support.links import (
    GOSSIP,
    LATEST,
    PACKET,
    PING,
    PONG,
    TIMING,
    LinkCase,
)
from tunmesh.link.keepalive import Timing
from tunmesh.wire import messages


class KeepAliveTests(LinkCase):
    """Pings, pongs, probes, and silence."""

    def setUp(self) -> None:
        super().setUp()
        self.come_up()

    def answer(self) -> None:
        """The other end answers the last ping."""
        pings = [payload for payload in self.other.heard if payload[:1] == b"i"]
        self.other.say(b"o" + pings[-1][1:])
        self.advance(0.01)

    def test_ping(self) -> None:
        """A ping is sent every few seconds; its answer gives the round trip."""
        self.advance(LATEST + 0.1)
        self.assertEqual(self.other.count(b"i"), 1)
        self.answer()
        self.assertEqual(self.owner.trips, [self.link.keepalive.rtt])
        self.assertApproximates(self.owner.trips[0], 0.1, 0.03)
        self.advance(LATEST)
        self.assertEqual(self.other.count(b"i"), 2)

    def test_turns(self) -> None:
        """A received ping defers ours by an interval, but only once per cycle; so the ends take
        turns, and both know the round trip."""
        self.other.say(PING)
        self.advance(0.01)
        for sent in range(1, 4):
            self.other.say(PING)
            self.advance(TIMING.ping_interval - 0.1)
            self.other.say(PING)
            self.assertEqual(self.other.count(b"i"), sent)
            self.advance(0.2)
            self.assertEqual(self.other.count(b"i"), sent + 1)

    def test_dialer_begins(self) -> None:
        """The dialing end pings as soon as the link is up. The other end pings at once too, so both
        know the round trip. Then it is the dialer's turn."""
        for dialed, sent in ((True, 1), (False, 0)):
            self.setUp()
            self.come_up(dialed)
            self.advance(0.01)
            self.assertEqual(self.other.count(b"i"), sent)
            self.other.say(PING)
            self.advance(0.01)
            self.assertEqual(self.other.count(b"i"), 1)
            self.answer()
            self.assertEqual(self.owner.trips, [self.link.keepalive.rtt])
            self.advance(TIMING.ping_interval)
            self.assertEqual(self.other.count(b"i"), 1 + sent)

    def test_unwanted(self) -> None:
        """If the owner closes a link that just came up, no ping is sent."""
        self.setUp()
        self.owner.wants = False
        self.come_up(dialed=True)
        self.advance(1)
        self.assertEqual(self.other.heard, [b"Bself"])

    def test_pong(self) -> None:
        """A ping is answered at once with its token."""
        self.other.say(b"iabcdefgh")
        self.advance(0.01)
        self.other.say(b"iijklmnop")
        self.advance(0.01)
        pongs = [payload for payload in self.other.heard if payload[:1] == b"o"]
        self.assertEqual(pongs, [b"oabcdefgh", b"oijklmnop"])

    def test_wrong_pongs(self) -> None:
        """A pong that was not asked for, is repeated, or answers an old ping is ignored."""
        self.other.say(PONG)
        self.advance(LATEST + 0.1)
        self.answer()
        self.advance(1)
        self.answer()
        self.assertEqual(len(self.owner.trips), 1)
        late = self.other.heard[-1]
        self.advance(LATEST)
        self.assertEqual(self.other.count(b"i"), 2)
        self.other.say(b"o" + late[1:])
        self.advance(0.01)
        self.assertEqual(len(self.owner.trips), 1)

    def test_silence(self) -> None:
        """If nothing is received for too long, the other end is dead."""
        self.advance(TIMING.silence - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.2)
        self.assert_ended("lost", messages.SILENT)

    def test_silence_between_pings(self) -> None:
        """It is dead when that time is over, not when the next ping would be due."""
        self.advance(TIMING.ping_interval / 2)
        self.other.say(PONG)
        self.advance(TIMING.silence - 0.1)
        self.assertEqual(self.owner.ends, [])
        self.advance(0.2)
        self.assert_ended("lost", messages.SILENT)

    def test_anything_is_a_sign_of_life(self) -> None:
        """Anything received proves that the other end is alive."""
        for payload in (b"D" + PACKET, PING, GOSSIP, PONG):
            self.other.say(payload)
            self.advance(TIMING.silence - 1)
        self.assertEqual(self.owner.ends, [])

    def test_impatient(self) -> None:
        """The intervals can be shortened."""
        self.link.adopt(Timing(ping_interval=1.0, silence=2.0))
        self.advance(1.6)
        self.assertEqual(self.other.count(b"i"), 1)
        self.advance(0.5)
        self.assert_ended("lost", messages.SILENT)

    def test_probe_answered(self) -> None:
        """A probe is answered by the next pong; concurrent probes share a ping."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.link.probe(answers.append)
        self.advance(0.05)
        self.assertEqual((answers, self.other.count(b"i")), ([], 1))
        self.answer()
        self.assertEqual(answers, [True, True])
        self.advance(TIMING.probe_timeout)
        self.assertEqual(answers, [True, True])

    def test_probe_not_answered(self) -> None:
        """Without a pong in time the answer is no; the next probe sends a new ping."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.advance(TIMING.probe_timeout - 0.05)
        self.assertEqual(answers, [])
        self.advance(0.06)
        self.assertEqual(answers, [False])
        self.link.probe(answers.append)
        self.advance(0.01)
        self.answer()
        self.assertEqual(answers, [False, True])

    def test_probe_lost(self) -> None:
        """If the connection is lost meanwhile, the answer is no, at once, and only once."""
        answers: list[bool] = []
        self.link.probe(answers.append)
        self.other.transport.abortConnection()
        self.advance(0.01)
        self.assertEqual(answers, [False])
        self.assert_ended("lost", "lost")
        self.assertEqual(answers, [False])
