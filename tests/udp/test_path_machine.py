"""Paths through everything that a network may do, in any order: it loses, delays, reorders and
duplicates; it blocks one way, or large datagrams; NATs rebind, and nodes move, stall and renew."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial import unittest

from tests import examples
from tests.udp.two_ends import Datagram, End, World
from tunmesh.udp.choice import LONGEST_WAIT
from tunmesh.udp.probing.candidates import LAST_PAUSE
from tunmesh.udp.probing.liveness import MOST_PATIENCE
from tunmesh.udp.probing.mtu import AGAIN
from tunmesh.udp.probing.pings import BURST, RATE

EXAMPLES = examples(40)
DATA_EVERY = 0.05  # seconds
# Seconds until a path that works is used again: the pause, and the wait of one lost often; and with
# its full size: the pause of one whose size fell often.
WORKS_AGAIN = LAST_PAUSE + LONGEST_WAIT + 5.0
FULL_AGAIN = AGAIN


class Paths(RuleBasedStateMachine):
    """Two ends, which always send."""

    @initialize(seed=st.integers(0, 1 << 16), delay=st.sampled_from((0.0001, 0.02, 0.2)))
    def begin(self, seed: int, delay: float) -> None:
        self.world = World(seed=seed, delay=delay, data_every=DATA_EVERY)
        self.begun = self.world.now
        self.share, self.largest = 0.0, 1 << 16
        self.blocked: frozenset[str] = frozenset()
        self.world.lost = self.is_lost
        self.ports = 40_000
        self.is_recovered = True  # no time has passed since
        self.world.start()

    def is_lost(self, sender: End, datagram: Datagram) -> bool:
        return (
            sender.name in self.blocked
            or datagram.size > self.largest
            or self.world.random.random() < self.share
        )

    @rule(seconds=st.sampled_from((0.01, 0.3, 1.0, 3.0, 20.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)
        self.is_recovered = False

    @rule(share=st.sampled_from((0.0, 0.01, 0.3, 0.9)))
    def loses(self, share: float) -> None:
        self.share = share

    @rule(largest=st.sampled_from((548, 1228, 1252, 1400, 1 << 16)))
    def takes(self, largest: int) -> None:
        self.largest = largest

    @rule(names=st.sampled_from(("", "a", "b", "ab")))
    def blocks(self, names: str) -> None:
        self.blocked = frozenset(names)

    @rule(jitter=st.sampled_from((0.0, 0.05, 1.0)), copies=st.sampled_from((0.0, 0.5)))
    def reorders(self, jitter: float, copies: float) -> None:
        self.world.jitter, self.world.copies = jitter, copies

    @rule(is_a=st.booleans())
    def rebinds(self, is_a: bool) -> None:
        """A NAT in front of that end chooses another port."""
        self.ports += 1
        self.world.public[self.world.ends[is_a].place] = ("203.0.113.7", self.ports)

    @rule(is_a=st.booleans())
    def moves(self, is_a: bool) -> None:
        self.ports += 1
        self.world.ends[is_a].place = ("203.0.113.8", self.ports)

    @rule()
    def renews(self) -> None:
        """Both ends have a new session, and know each other's address from it."""
        for end in self.world.ends:
            other = self.world.other(end)
            end.sent = end.highest = 0
            end.received.clear()
            end.offered(self.world.public.get(other.place, other.place))

    @rule(is_a=st.booleans())
    def is_idle(self, is_a: bool) -> None:
        end = self.world.ends[is_a]
        end.is_sending, end.used_since = not end.is_sending, self.world.now

    @rule(is_a=st.booleans(), takes=st.sampled_from((1252, 1400, 1472)))
    def device_changes(self, is_a: bool, takes: int) -> None:
        self.world.ends[is_a].device_takes = takes

    @precondition(lambda self: not self.is_recovered)
    @rule()
    def recovers(self) -> None:
        """When the network works again, UDP is used again, from wherever both are."""
        self.blocked, self.share, self.largest = frozenset(), 0.0, 1 << 16
        self.world.jitter = self.world.copies = 0.0
        self.renews()
        for end in self.world.ends:
            end.is_sending, end.used_since = True, self.world.now
        self.world.data_every = 1.0
        self.world.run(WORKS_AGAIN)
        for end in self.world.ends:
            assert end.is_udp, f"{end.name}: {end.choice.reason}"
        self.world.run(FULL_AGAIN)
        self.world.data_every = DATA_EVERY
        for end in self.world.ends:
            assert end.is_udp, f"{end.name}: {end.choice.reason}"
            assert end.path.size == end.device_takes, end.path.size
        self.is_recovered = True

    @invariant()
    def uses_only_what_answered(self) -> None:
        """Never an address, nor a size, that did not answer."""
        if hasattr(self, "world"):
            assert self.world.faults == []

    @invariant()
    def has_no_black_hole(self) -> None:
        """Never data for longer than the bound to a path that answers nothing."""
        for end in self.world.ends if hasattr(self, "world") else ():
            assert end.unanswered_for <= MOST_PATIENCE + 0.6, end.unanswered_for

    @invariant()
    def keeps_its_budget(self) -> None:
        for end in self.world.ends if hasattr(self, "world") else ():
            assert end.pings <= BURST + RATE * (self.world.now - self.begun) + 1


class PathMachineTests(unittest.SynchronousTestCase):
    def test_machine(self) -> None:
        """No history makes a path break its rules."""
        run_state_machine_as_test(
            Paths,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
