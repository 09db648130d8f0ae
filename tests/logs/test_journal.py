"""How often events are logged that peers can cause."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial import unittest

from tunmesh.logs.journal import (
    BURST,
    DEBUG_PACE,
    MAX_THROTTLED,
    PACE,
    THROTTLE_INTERVAL,
    THROTTLE_LONGEST,
    Journal,
    Throttle,
)


class Throttled(unittest.SynchronousTestCase):
    """A peer that fails a thousand times does not make a thousand lines."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds)

    def test_first(self) -> None:
        """The first event of a kind is logged at once, also right after the machine started."""
        self.assertEqual(self.throttle.admit("refused"), 0)

    def test_repeated(self) -> None:
        """Then one after a minute, which says how many were left out."""
        self.throttle.admit("refused")
        for _ in range(1000):
            self.clock.advance(0.01)
            self.assertIsNone(self.throttle.admit("refused"))
        self.clock.advance(THROTTLE_INTERVAL)
        self.assertEqual(self.throttle.admit("refused"), 1000)
        self.assertIsNone(self.throttle.admit("refused"))

    def test_without_end(self) -> None:
        """Events that go on for ever are logged ever more rarely, in the end once an hour; when
        they are over, or none came for a while, the next one is logged as if it were new."""

        def lines(hours: int) -> int:
            admitted = [self.throttle.admit("refused")]
            for _ in range(hours * 360 - 1):
                self.clock.advance(10)
                admitted.append(self.throttle.admit("refused"))
            return len(admitted) - admitted.count(None)

        self.assertLess(lines(2), 10)
        self.assertEqual(lines(24), 24)
        self.throttle.forget("refused")
        self.assertEqual(self.throttle.admit("refused"), 0)
        self.assertIsNone(self.throttle.admit("refused"))
        for _ in range(3):
            self.clock.advance(THROTTLE_LONGEST)
            self.assertIsNotNone(self.throttle.admit("refused"))
        self.clock.advance(THROTTLE_INTERVAL)
        self.assertEqual(self.throttle.admit("refused"), 0)

    def test_just_before(self) -> None:
        """Not a moment sooner, and events that were left out do not delay it."""
        self.throttle.admit("refused")
        self.clock.advance(THROTTLE_INTERVAL - 0.001)
        self.assertIsNone(self.throttle.admit("refused"))
        self.clock.advance(0.001)
        self.assertEqual(self.throttle.admit("refused"), 1)

    def test_kinds(self) -> None:
        """Each kind of event is counted by itself."""
        self.throttle.admit(("handshake", "alpha"))
        self.assertEqual(self.throttle.admit(("handshake", "beta")), 0)
        self.assertIsNone(self.throttle.admit(("handshake", "alpha")))

    def test_bounded(self) -> None:
        """However many kinds there are, the memory for them is bounded."""
        for kind in range(3 * MAX_THROTTLED):
            self.assertEqual(self.throttle.admit(kind), 0)
            self.assertLessEqual(len(self.throttle._last), MAX_THROTTLED)


class Journals(unittest.SynchronousTestCase):
    """The log of one node."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        keep: Any = self.events.append
        log = Logger(namespace="tunmesh.node", observer=keep)
        self.is_debugging = False
        self.journal = Journal(log, self.clock.seconds, lambda: self.is_debugging)

    def texts(self) -> list[tuple[str, str]]:
        return [(event["log_level"].name, formatEvent(event)) for event in self.events]

    def test_warnings(self) -> None:
        """A warning that repeats is logged now and then, with the count of those left out."""
        for _ in range(4):
            self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.clock.advance(THROTTLE_INTERVAL)
        self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.assertEqual(
            self.texts(), [("warn", "beta refuses"), ("warn", "beta refuses (3 more like it)")]
        )
        self.assertEqual([event["left_out"] for event in self.events], [0, 3])
        self.assertEqual({event["event"] for event in self.events}, {"refused"})

    def test_others(self) -> None:
        """What the node does itself is logged every time."""
        for _ in range(2):
            self.journal.info("linked with {peer}", peer="beta")
            self.journal.error("no tun")
        self.assertEqual(self.texts(), [("info", "linked with beta"), ("error", "no tun")] * 2)

    def test_limit(self) -> None:
        """Peers that come and go under ever new names make no more lines than the limit; how many
        were left out is logged when there may be lines again. Errors are always logged."""
        for number in range(2 * BURST):
            self.journal.info("linked with {peer}", peer=f"m{number}")
            self.journal.warn(number, "refused by {peer}", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST)
        self.journal.error("no tun")
        self.assertEqual(self.texts()[-1], ("error", "no tun"))
        self.clock.advance(PACE)
        self.journal.info("ready")
        left_out = f"{3 * BURST} lines were left out: too many peers come and go"
        self.assertEqual(self.texts()[-2:], [("warn", left_out), ("info", "ready")])
        self.journal.info("linked")
        self.assertEqual(self.texts()[-1], ("info", "ready"))

    def test_shares(self) -> None:
        """A source that causes lines without end leaves some for those that others cause, and for
        the node's own, however long it goes on."""
        for number in range(2 * BURST):
            self.journal.info("linked with {peer}", by="1.2.3.4", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST // 2)
        self.journal.info("linked with {peer}", by="1.2.3.5", peer="beta")
        self.journal.info("ready")
        self.assertEqual(self.texts()[-2:], [("info", "linked with beta"), ("info", "ready")])
        for _ in range(100):
            self.clock.advance(PACE)
            for number in range(3):
                self.journal.info("again {peer}", by="1.2.3.4", peer=f"m{number}")
            self.journal.info("linked with {peer}", by="1.2.3.5", peer="beta")
        texts = [text for _, text in self.texts()]
        self.assertLess(len([text for text in texts if text.startswith("again")]), 100)
        self.assertEqual(texts.count("linked with beta"), 101)

    def test_debugging(self) -> None:
        """At debug level every warning is shown, those that were logged lately too, and what is
        only of use for debugging."""
        self.journal.debug("dialing {peer}", peer="beta")
        self.journal.warn("refused", "{peer} refuses", peer="beta")
        self.is_debugging = True
        self.journal.warn("refused", "{peer} refuses", peer="beta", event="refused")
        self.journal.debug("dialing {peer}", peer="beta")
        self.assertEqual(
            self.texts(),
            [("warn", "beta refuses"), ("debug", "beta refuses"), ("debug", "dialing beta")],
        )
        self.assertEqual(self.events[1]["event"], "refused")

    def test_debugging_limit(self) -> None:
        """Debug lines have a limit of their own, so none of the other lines is left out for
        them."""
        self.is_debugging = True
        for number in range(2 * BURST):
            self.journal.debug("dialing {peer}", peer=f"m{number}")
        self.assertEqual(len(self.events), BURST)
        self.journal.info("ready")
        self.clock.advance(DEBUG_PACE)
        self.journal.debug("dialing beta")
        last = f"dialing beta ({BURST} debug lines before this one were left out)"
        self.assertEqual(self.texts()[-2:], [("info", "ready"), ("debug", last)])
