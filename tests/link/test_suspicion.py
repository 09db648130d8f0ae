"""When a peer to which packets go out is taken for gone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.link.suspicion import PATIENCE, QUIET, ROUND_TRIPS, TRIES, Step, Suspicion

LOOK = 0.5  # seconds from one look to the next, at most


class Story:
    """A peer that is looked at every LOOK seconds, or when a step is due. `sent` and `heard` are
    counts that a test raises."""

    def __init__(self, round_trip: float | None = 0.01) -> None:
        self.suspicion = Suspicion()
        self.now = 100.0
        self.sent = self.heard = 0
        self.round_trip = round_trip
        self.steps: list[tuple[float, Step]] = []

    def look(self) -> None:
        """The next look."""
        before = self.now
        self.now = min(before + LOOK, max(before + 0.1, self.suspicion.due))
        if self.suspicion.look(self.now, before, self.sent, self.heard):
            step = self.suspicion.next(self.now, self.round_trip)
            if step is not Step.NOTHING:
                self.steps.append((self.now, step))

    def until(self, end: float, sends: bool, hears: bool) -> None:
        while self.now < end and not self.gave_up:
            self.sent += sends
            self.heard += hears
            self.look()

    @property
    def gave_up(self) -> bool:
        return any(step is Step.GIVE_UP for _, step in self.steps)


class SuspicionTests(SynchronousTestCase):
    """Two pings, and then the peer is given up; anything that comes clears it."""

    def test_cut(self) -> None:
        """Packets go out and nothing comes: it is pinged after two seconds, twice, and given up
        within four of the cut."""
        story = Story()
        story.until(110.0, sends=True, hears=True)
        cut = story.now
        story.until(200.0, sends=True, hears=False)
        self.assertEqual([step for _, step in story.steps], [Step.PING, Step.PING, Step.GIVE_UP])
        self.assertGreaterEqual(story.steps[0][0] - cut, QUIET - LOOK)
        self.assertLess(story.steps[-1][0] - cut, 4.0)

    def test_idle(self) -> None:
        """Where nothing is sent, nothing is asked, however long nothing comes."""
        story = Story()
        story.until(200.0, sends=False, hears=False)
        self.assertEqual(story.steps, [])

    def test_only_receives(self) -> None:
        """Nor where packets only come."""
        story = Story()
        story.until(200.0, sends=False, hears=True)
        self.assertEqual(story.steps, [])

    def test_answer(self) -> None:
        """An answer to a ping clears the peer: it is asked again two seconds later."""
        story = Story()
        for _ in range(3):
            while not story.steps or story.steps[-1][1] is not Step.PING:
                story.sent += 1
                story.look()
            story.heard += 1
            story.look()
            story.steps.clear()
        self.assertFalse(story.gave_up)

    def test_far(self) -> None:
        """A distant peer has two round trips for each answer."""
        story = Story(round_trip=1.0)
        story.until(200.0, sends=True, hears=False)
        (first, _), (second, _), (end, _) = story.steps
        self.assertAlmostEqual(second - first, ROUND_TRIPS)
        self.assertAlmostEqual(end - second, ROUND_TRIPS)

    def test_late(self) -> None:
        """A node that did not run for three seconds gives its peer as much longer to answer."""
        story = Story()
        story.until(102.4, sends=True, hears=False)
        self.assertEqual(len(story.steps), 1)
        suspicion, before = story.suspicion, story.now
        story.now += 3.0
        suspicion.forgive(3.0)
        self.assertFalse(suspicion.look(story.now, before, story.sent, story.heard))
        story.heard += 1
        story.look()
        self.assertIsNone(story.suspicion.since)

    def test_kernel(self) -> None:
        """An acknowledgement by the peer's kernel answers all that was sent until then: it is
        waited for again when more goes out."""
        story = Story()
        story.until(103.0, sends=True, hears=False)
        story.steps.clear()
        story.suspicion.trust()
        story.until(120.0, sends=False, hears=False)
        self.assertEqual(story.steps, [])
        sent = story.now
        story.until(200.0, sends=True, hears=False)
        self.assertGreaterEqual(story.steps[0][0] - sent, QUIET)
        self.assertLess(story.now - sent, 4.0)

    def test_another_reason(self) -> None:
        """With another reason to doubt it the peer is asked at once, once."""
        story = Story()
        story.suspicion.suspect(story.now)
        story.look()
        story.suspicion.suspect(story.now)
        story.look()
        self.assertEqual([step for _, step in story.steps], [Step.PING])
        story.until(200.0, sends=False, hears=False)
        self.assertTrue(story.gave_up)
        self.assertLess(story.now - 100.0, TRIES * PATIENCE + LOOK)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
    def test_any_history(self, history: list[tuple[bool, bool]]) -> None:
        """Whatever happened before: no peer is given up that was heard of in the last two seconds;
        and one to which packets go out in vain is given up within four."""
        story = Story()
        last_heard = -10.0
        for sends, hears in history:
            story.sent += sends
            story.heard += hears
            if hears:
                last_heard = story.now
            story.look()
            if story.gave_up:
                self.assertGreater(story.now - last_heard, QUIET)
                return
        cut = story.now
        story.until(cut + 10.0, sends=True, hears=False)
        self.assertTrue(story.gave_up)
        self.assertLess(story.now - cut, 4.0)
