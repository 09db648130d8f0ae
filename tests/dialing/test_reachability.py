"""What peers say about the URL of a node, and whose URLs a node tries."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet import error
from twisted.trial import unittest

from tunmesh.dialing import url_checks
from tunmesh.dialing.reachability import PATIENCE, Reachability
from tunmesh.dialing.url_checks import CHECKERS, FIRST, FRESH, RETRY, Turn, UrlChecks, is_chosen
from tunmesh.errors import FailureReason, PeerError
from tunmesh.node.own.url_checker import outcome_of
from tunmesh.wire.tried import Outcome, Tried

URL, OTHER = "https://192.0.2.1:4567", "https://192.0.2.2:4567"


class Heard(unittest.SynchronousTestCase):
    """The node's own side."""

    def setUp(self) -> None:
        self.reach = Reachability(URL)

    def heard(self, peer: str, outcome: Outcome, source: str = "", url: str = URL) -> None:
        self.reach.heard(peer, peer, source or peer, Tried.of(url, outcome), 0.0)

    def note(self) -> str:
        return self.reach.reports(PATIENCE).note

    def test_nothing_heard(self) -> None:
        """As long as nobody has tried, there is nothing to say."""
        self.assertEqual(self.reach.reports(1e6).tried, 0)
        self.assertEqual(self.note(), "")

    def test_all_fail(self) -> None:
        """If all that tried failed, it is noted after a while: who tried, and what happened, the
        most frequent first."""
        for peer, outcome in (("a", Outcome.NO_ROUTE), ("b", Outcome.REFUSED)):
            self.heard(peer, outcome)
        for peer in "cde":
            self.heard(peer, Outcome.NO_ANSWER)
        self.assertEqual(self.reach.reports(PATIENCE - 0.1).note, "")
        self.assertIn(
            f"{URL}: no answer, no route there, the connection was refused (tried by a, b, c "
            "and 2 more).",
            self.note(),
        )

    def test_one_success(self) -> None:
        """One that reached it outweighs all others, however many they are; when it is gone, what
        the others say counts again."""
        for number in range(100):
            self.heard(f"liar{number}", Outcome.REFUSED)
        self.heard("honest", Outcome.REACHED)
        self.assertEqual(self.note(), "")
        self.reach.parted("honest", 0.0)
        self.assertNotEqual(self.note(), "")

    def test_one_source_one_vote(self) -> None:
        """Many identities at one address count once."""
        for number in range(100):
            self.heard(f"liar{number}", Outcome.REFUSED, "192.0.2.66")
        self.heard("honest", Outcome.REACHED)
        reports = self.reach.reports(PATIENCE)
        self.assertEqual((reports.tried, reports.reached), (2, 1))

    def test_other_url(self) -> None:
        """What was found out about a former URL says nothing about the present one."""
        self.heard("a", Outcome.REFUSED)
        self.reach.advertised(OTHER)
        self.heard("b", Outcome.REFUSED, url=URL)
        self.assertEqual(self.reach.reports(PATIENCE).tried, 0)
        self.heard("b", Outcome.REFUSED, url=OTHER)
        self.assertIn(OTHER, self.note())

    @given(st.binary(max_size=20))
    def test_messages(self, payload: bytes) -> None:
        """Any bytes are a report, or the peer's fault."""
        try:
            tried = Tried.decode(b"T" + payload)
        except PeerError as wrong:
            self.assertEqual(wrong.reason, FailureReason.MALFORMED)
        else:
            self.assertEqual(Tried.decode(tried.encode()), tried)

    def test_outcomes(self) -> None:
        """Every way in which a dial may fail has a word of its own, or is "failed"."""
        for failure, outcome in (
            (error.DNSLookupError(), Outcome.NO_ADDRESS),
            (error.TimeoutError(), Outcome.NO_ANSWER),
            (error.TCPTimedOutError(osError=110), Outcome.NO_ANSWER),
            (error.ConnectionRefusedError(), Outcome.REFUSED),
            (error.ConnectError(), Outcome.REFUSED),
            (error.NoRouteError(osError=101), Outcome.NO_ROUTE),
            (error.ConnectError(osError=113), Outcome.NO_ROUTE),
            (error.ConnectError(osError=13), Outcome.FAILED),
            (PeerError(FailureReason.NOT_DIALED, ""), Outcome.NOT_DIALED),
            (PeerError(FailureReason.CERTIFICATE, ""), Outcome.CERTIFICATE),
            (PeerError(FailureReason.TLS, ""), Outcome.NO_NODE),
            (PeerError(FailureReason.CLOSED, ""), Outcome.NO_NODE),
            (None, Outcome.FAILED),
        ):
            self.assertEqual(outcome_of(failure), outcome, repr(failure))


class Chosen(unittest.SynchronousTestCase):
    """Who tries the URL of a node."""

    @given(st.integers(1, 40), st.integers(0, 1000))
    def test_as_many_as_there_should_be(self, count: int, seed: int) -> None:
        """If all know of each other, it is CHECKERS of them, or all if there are fewer."""
        peers = [(f"{seed} {number}", f"source {number}") for number in range(count)]
        chosen = [
            me for me, _ in peers if is_chosen(me, "x", [each for each in peers if each[0] != me])
        ]
        self.assertEqual(len(chosen), min(count, CHECKERS))

    def test_many_identities(self) -> None:
        """Identities at one address, made to come first, do not keep the others from trying."""
        crowd = [(f"liar {number}", "192.0.2.66") for number in range(1000)]
        honest = [(f"honest {number}", f"192.0.2.{number}") for number in range(5)]
        chosen = [
            me
            for me, _ in honest
            if is_chosen(me, "x", [*crowd, *(each for each in honest if each[0] != me)])
        ]
        self.assertGreaterEqual(len(chosen), CHECKERS - 1)

    def test_spread(self) -> None:
        """Each node of a mesh has about as many to try as the others."""
        peers = [(f"{number}", f"source {number}") for number in range(60)]
        counts = [
            sum(
                is_chosen(me, about, [each for each in peers if each[0] not in (me, about)])
                for about, _ in peers
                if about != me
            )
            for me, _ in peers
        ]
        self.assertEqual(sum(counts), 60 * CHECKERS)
        self.assertLess(max(counts), 12)


class Turns(unittest.SynchronousTestCase):
    """When they do."""

    def setUp(self) -> None:
        self.checks = UrlChecks("me", lambda: 0.5)

    def due(self, now: float, peers: Iterable[tuple[str, str]] = ()) -> Turn | None:
        return self.checks.due(now, lambda _: peers)

    def test_story(self) -> None:
        """Tried some time after it was linked; after a failure again, ever later; after a success
        when that is old."""
        self.checks.linked("a", URL, "there", 0.0)
        self.assertIsNone(self.due(FIRST - 0.1))
        now = FIRST
        for pause in (RETRY, 2 * RETRY, 4 * RETRY):
            self.assertEqual(self.due(now), Turn("a", is_known=False))
            self.assertIsNone(self.due(now))
            self.assertTrue(self.checks.ended("a", URL, False, now))
            self.assertIsNone(self.due(now + pause - 0.1))
            now += pause
        self.assertEqual(self.due(now), Turn("a", is_known=False))
        self.assertTrue(self.checks.ended("a", URL, True, now))
        self.assertIsNone(self.due(now + FRESH - 0.1))
        self.assertEqual(self.due(now + FRESH), Turn("a", is_known=False))

    def test_reached_already(self) -> None:
        """A URL by which the node was reached need not be tried."""
        self.checks.linked("a", URL, "there", 0.0)
        self.checks.reached("a", OTHER, 0.0)
        self.checks.reached("a", URL, 1.0)
        self.assertEqual(self.due(FIRST), Turn("a", is_known=True))

    def test_other_url(self) -> None:
        """With another URL it starts anew, and what comes of the former one is told to nobody."""
        self.checks.linked("a", URL, "there", 0.0)
        self.checks.reached("a", URL, 1.0)
        self.checks.linked("a", OTHER, "there", 2.0)
        self.assertEqual(self.due(2.0 + FIRST), Turn("a", is_known=False))
        self.checks.linked("a", URL, "there", 13.0)
        self.assertFalse(self.checks.ended("a", OTHER, False, 14.0))
        self.checks.parted("a")
        self.assertFalse(self.checks.ended("a", URL, True, 15.0))

    def test_not_chosen(self) -> None:
        """When enough others come first, they try; if they go away, this node does."""
        others = [(f"peer {number}", f"source {number}") for number in range(200)]
        self.checks.linked("a", URL, "there", 0.0)
        self.assertIsNone(self.due(FIRST, others))
        self.assertIsNone(self.due(FIRST + url_checks.LATER - 0.1))
        self.assertEqual(self.due(FIRST + url_checks.LATER), Turn("a", is_known=False))

    def test_crowd(self) -> None:
        """A crowd of one source, all due at once, costs little each time, and does not delay the
        nodes of other sources."""
        for number in range(500):
            self.checks.linked(f"liar {number}", URL, "198.51.100.66", 0.0)
        self.checks.linked("honest", OTHER, "192.0.2.2", 1.0)
        ranked: list[str] = []

        def peers_of(node_id: str) -> Iterable[tuple[str, str]]:
            ranked.append(node_id)
            return ()

        now = FIRST + 1.0
        tried: list[str] = []
        while not tried or tried[-1] != "honest":
            turn = self.checks.due(now, peers_of)
            assert turn is not None
            tried.append(turn.node_id)
            self.checks.ended(turn.node_id, URL if len(tried) == 1 else OTHER, False, now)
            now += url_checks.PACE
        self.assertEqual(len(tried), 2)
        self.assertLessEqual(len(ranked), 2 * url_checks.MAX_LOOKED_AT)


class Pace(RuleBasedStateMachine):
    """Nodes of few sources come, go and change their URLs as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.checks = UrlChecks("me", lambda: 0.5)
        self.linked: dict[str, tuple[str, str]] = {}
        self.trying: str | None = None
        self.dials: list[tuple[float, str]] = []  # when, and because of which source

    @rule(number=st.integers(0, 20), url=st.integers(0, 3), source=st.integers(0, 2))
    def come(self, number: int, url: int, source: int) -> None:
        node = f"node {number}"
        source_of = self.linked.get(node, ("", f"source {source}"))[1]
        self.linked[node] = (f"https://192.0.2.{url}:1", source_of)
        self.checks.linked(node, *self.linked[node], self.now)

    @rule(number=st.integers(0, 20))
    def go(self, number: int) -> None:
        self.linked.pop(f"node {number}", None)
        self.checks.parted(f"node {number}")

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0, RETRY]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take_turn(self) -> None:
        turn = self.checks.due(self.now, lambda _: ())
        if turn is None:
            return
        assert turn.node_id in self.linked
        if not turn.is_known:
            assert self.trying is None
            self.trying = turn.node_id
            self.url = self.linked[turn.node_id][0]
            self.dials.append((self.now, self.linked[turn.node_id][1]))

    @precondition(lambda self: self.trying is not None)
    @rule(has_reached=st.booleans())
    def end(self, has_reached: bool) -> None:
        assert self.trying is not None
        is_current = self.checks.ended(self.trying, self.url, has_reached, self.now)
        assert is_current == (self.linked.get(self.trying, ("",))[0] == self.url)
        self.trying = None

    @invariant()
    def paced(self) -> None:
        for (before, _), (after, _) in pairwise(self.dials):
            assert after - before >= url_checks.PACE
        for source in {source for _, source in self.dials}:
            times = [when for when, by in self.dials if by == source]
            for one, other in pairwise(times):
                assert other - one >= url_checks.SOURCE_PACE


class PaceTests(unittest.SynchronousTestCase):
    """How often nodes can make this one dial."""

    def test_any_history(self) -> None:
        """Whatever they do: one dial at a time, one in PACE seconds, and one in SOURCE_PACE seconds
        for each source."""
        run_state_machine_as_test(Pace, settings=settings(max_examples=60, deadline=None))
