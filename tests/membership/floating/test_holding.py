"""How a claim comes to be held, and is lost: the machine alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.membership.floating.test_floating_machine import Linked
from tests.membership.test_roster import ALICE, BOB, CAROL, node
from tunmesh.membership.acquisition import LOST_WAIT, Standing
from tunmesh.membership.agreement import View
from tunmesh.membership.floating.holding import (
    JOIN_WAIT,
    PATIENCE,
    Change,
    Facts,
    Holding,
    State,
    next_number,
    standing_of,
)
from tunmesh.membership.precedence import takes_precedence
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_NUMBER

VIP = ip_address("10.0.0.100")
AGREED = Standing()
OBJECTION = Standing(objectors=frozenset({"192.0.2.1"}))
LOST = Standing(objectors=frozenset({"192.0.2.1"}), is_lost=True)


class Case(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.holding = Holding(VIP, 3, 0.0)
        self.facts = Facts(
            now=0.0, has_joined=True, is_next=True, is_answered=True, standing=AGREED
        )

    def look(self, now: float = 0.0, **changes: object) -> Change | None:
        self.facts = replace(self.facts, now=now, **changes)  # type: ignore[arg-type]
        return self.holding.update(self.facts)

    @property
    def wait(self) -> float | None:
        return self.holding.wait(self.facts)


class WaitingTests(Case):
    """Before it is held."""

    def test_at_once(self) -> None:
        """A claim that is next, of which all have heard and to which nobody objects, is held."""
        self.assertEqual(self.holding.claim, FloatingClaim(VIP, 3, False))
        self.assertIs(self.look(1.0), Change.HELD)
        self.assertEqual(self.holding.claim, FloatingClaim(VIP, 3, True))
        self.assertEqual(self.holding.since, 1.0)
        self.assertIsNone(self.wait)

    def test_not_next(self) -> None:
        """It waits for as long as somebody else has the address; time changes nothing."""
        for now in (0.0, 100.0):
            self.assertIsNone(self.look(now, is_next=False))
            self.assertIsNone(self.wait)
        self.assertIs(self.look(101.0, is_next=True), Change.HELD)

    def test_not_answered(self) -> None:
        """It waits until all peers have heard of it; whoever reports that reports it."""
        self.assertIsNone(self.look(0.0, is_answered=False))
        self.assertIsNone(self.wait)
        self.assertIs(self.look(0.01, is_answered=True), Change.HELD)

    def test_minority(self) -> None:
        """An objection of a few counts for a while: from the time on at which it is next."""
        self.look(0.0, is_next=False, standing=OBJECTION)
        self.assertIsNone(self.look(50.0, is_next=True))
        self.assertEqual(self.wait, PATIENCE)
        self.assertIsNone(self.look(50.0 + PATIENCE / 2))
        self.assertIs(self.look(50.0 + PATIENCE), Change.HELD)

    def test_withdrawn(self) -> None:
        """Without the objection it does not wait for the rest of that time, and another one counts
        anew."""
        self.look(0.0, standing=OBJECTION, is_answered=False)
        self.look(1.0, standing=AGREED)
        self.assertIsNone(self.look(2.0, standing=OBJECTION, is_answered=True))
        self.assertEqual(self.wait, PATIENCE)
        self.assertIs(self.look(2.1, standing=AGREED), Change.HELD)

    def test_majority(self) -> None:
        """An objection of most peers counts for ever."""
        self.assertIsNone(self.look(0.0, standing=LOST))
        self.assertIsNone(self.look(1000.0))
        self.assertIs(self.holding.state, State.WAITING)

    def test_no_mesh(self) -> None:
        """A node that is not in its mesh waits for it, but not for ever."""
        self.assertIsNone(self.look(1.0, has_joined=False))
        self.assertEqual(self.wait, JOIN_WAIT - 1.0)
        self.assertIs(self.look(JOIN_WAIT), Change.HELD)


class HeldTests(Case):
    """After it was held."""

    def setUp(self) -> None:
        super().setUp()
        self.look()

    def test_kept(self) -> None:
        """Neither a few objections, nor the loss of all links, nor a peer that has not answered
        take it away."""
        for changes in ({"standing": OBJECTION}, {"has_joined": False}, {"is_answered": False}):
            self.assertIsNone(self.look(100.0, **changes))
            self.assertIsNone(self.wait)

    def test_lost(self) -> None:
        """The mesh takes it away if it is against it for a while; then the claim waits, with its
        number."""
        self.look(10.0, standing=LOST)
        self.assertEqual(self.wait, LOST_WAIT)
        self.look(10.5, standing=AGREED)
        self.assertIsNone(self.look(20.0, standing=LOST))
        self.assertIsNone(self.look(20.0 + LOST_WAIT / 2))
        self.assertIs(self.look(20.0 + LOST_WAIT, is_next=False), Change.LOST)
        self.assertEqual(self.holding.claim, FloatingClaim(VIP, 3, False))
        self.assertIsNone(self.look(60.0))
        self.assertIs(self.look(61.0, is_next=True, standing=AGREED), Change.HELD)


class VoteTests(unittest.SynchronousTestCase):
    """Which of two holders gives way."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12),
        st.tuples(st.integers(0, 5), st.integers(0, 5)),
        st.booleans(),
    )
    def test_exactly_one(
        self, voters: list[tuple[int, bool]], own: tuple[int, int], is_settled: bool
    ) -> None:
        """Whatever sources the others come from, and whichever of the two they route it to."""
        held = (FloatingClaim(VIP, 1, True),)
        one = replace(BOB, floating=held, settled=is_settled)
        other = replace(CAROL, floating=held)
        lost = []
        for me, rival, mine in ((one, other, True), (other, one, False)):
            peers = [self.peer(me, rival, own[mine], takes_precedence(rival, me))]
            for number, (source, is_for_one) in enumerate(voters, 100):
                record = node(number, f"n{number}", f"10.0.0.{number}/24")
                refuses = () if is_for_one == mine else (str(VIP),)
                peers.append(self.peer(me, record, source, False, refuses))
            lost.append(standing_of(me, VIP, peers, ()).is_lost)
        self.assertEqual(sorted(lost), [False, True])

    def peer(
        self,
        me: NodeRecord,
        record: NodeRecord,
        source: int,
        was_first: bool,
        refuses: tuple[str, ...] = (),
    ) -> Linked:
        view = View.of(me, record)
        return Linked(record, view, f"source {source}", 0.0, was_first, refuses, "another")


class NumberTests(unittest.SynchronousTestCase):
    """Which number a new claim has."""

    def test_next(self) -> None:
        """One more than the highest for that address."""
        self.assertEqual(next_number(VIP, [ALICE, BOB]), 1)
        others = (FloatingClaim(ip_address("10.0.0.101"), 9), FloatingClaim(VIP, 4, True))
        self.assertEqual(next_number(VIP, [ALICE, replace(BOB, floating=others)]), 5)
        last = replace(BOB, floating=(FloatingClaim(VIP, MAX_NUMBER),))
        self.assertEqual(next_number(VIP, [last]), MAX_NUMBER)
