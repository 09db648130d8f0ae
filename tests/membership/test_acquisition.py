"""How a node comes by an address that it chooses itself, and when it gives it up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface

from twisted.trial import unittest

from tests.membership.test_agreement import OnePeer
from tunmesh.addresses import Address
from tunmesh.membership.acquisition import (
    AVOIDED,
    CLAIM_WAIT,
    CLAIMS_BURST,
    GRACE,
    JOIN_WAIT,
    KEPT_WAIT,
    LONGEST_CLAIM,
    LOST_WAIT,
    PATIENCE,
    Acquisition,
    Change,
    Facts,
    Standing,
    State,
    standing,
)
from tunmesh.membership.agreement import View
from tunmesh.membership.candidates import Candidates
from tunmesh.membership.precedence import takes_precedence
from tunmesh.wire.records import NodeRecord

SMALL = IPv4Network("10.9.0.0/29")  # six hosts
HOSTS = [interface.ip for _, interface in Candidates(SMALL, 29, "me")]
FINE = Standing()
REFUSED = Standing(frozenset({"x"}), holder="bob")
RIVALLED = Standing(frozenset({"x"}), is_certain=True, holder="bob")
LOST = Standing(frozenset({"x", "y"}), is_lost=True, holder="bob")


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.machine = Acquisition(Candidates(SMALL, 29, "me"), 0.0)
        self.now = 0.0
        self.facts = Facts(0.0, is_linked=True, knows_all=True, is_whole=True)

    def look(self, at: Standing = FINE, wait: float = 0.0, **changes: object) -> list[str]:
        """What changed, after so many seconds."""
        self.now += wait + 1e-9 * (wait > 0)  # sums of floats are not exact
        self.facts = replace(self.facts, now=self.now, **changes)  # type: ignore[arg-type]
        return [str(step.change) for step in self.machine.update(self.facts, at)]

    def has(self, number: int, state: State) -> None:
        assert self.machine.interface is not None
        self.assertEqual((self.machine.interface.ip, self.machine.state), (HOSTS[number], state))

    def hold(self) -> None:
        self.look()
        self.assertEqual(self.look(wait=CLAIM_WAIT), ["held"])

    def taken(self, *numbers: int) -> dict[Address, str]:
        return {HOSTS[number]: "other" for number in numbers}


class JoiningTests(Case):
    """Before there is a claim."""

    def test_not_linked(self) -> None:
        """A node that is not in the mesh claims nothing, however long that lasts."""
        self.assertEqual(self.look(is_linked=False), [])
        self.assertIsNone(self.machine.wait(self.facts))
        self.assertEqual(self.look(wait=1000.0, is_linked=False), [])
        self.assertEqual(self.look(is_linked=True), ["claimed"])

    def test_waits_for_records(self) -> None:
        """It waits until it knows whom its peers are linked with, but not for ever."""
        self.assertEqual(self.look(knows_all=False), [])
        self.assertEqual(self.machine.wait(self.facts), JOIN_WAIT)
        self.assertEqual(self.look(wait=JOIN_WAIT - 0.1), [])
        self.assertEqual(self.look(wait=0.1), ["claimed"])
        self.setUp()
        self.assertEqual(self.look(knows_all=False), [])
        self.assertEqual(self.look(wait=0.1, knows_all=True), ["claimed"])

    def test_who_has_what(self) -> None:
        """Only while it looks for an address does it have to know what all others have."""
        machine = self.machine
        self.assertTrue(machine.is_choosing(0.0, knows_all=True))
        self.assertFalse(machine.is_choosing(0.0, knows_all=False))
        self.look(knows_all=False)
        self.assertFalse(machine.is_choosing(JOIN_WAIT - 0.1, knows_all=False))
        self.assertTrue(machine.is_choosing(JOIN_WAIT, knows_all=False))
        for state in ("claimed", "held"):
            self.assertEqual(self.look(wait=CLAIM_WAIT, knows_all=True), [state])
            self.assertFalse(machine.is_choosing(self.now, knows_all=True))

    def test_first_that_is_free(self) -> None:
        """It claims the first candidate that nobody has."""
        self.assertEqual(self.look(taken=self.taken(0, 1, 3)), ["claimed"])
        self.has(2, State.CLAIMING)

    def test_kept(self) -> None:
        """What is kept for a node that is away comes last, and not at once."""
        kept = dict.fromkeys(HOSTS[:5], 0.0)
        self.assertEqual(self.look(kept=kept), ["claimed"])
        self.has(5, State.CLAIMING)
        self.setUp()
        self.assertEqual(self.look(kept=kept, taken=self.taken(5)), ["full"])
        self.assertEqual(self.machine.wait(self.facts), KEPT_WAIT)
        self.assertEqual(self.look(wait=KEPT_WAIT - 0.1), [])
        self.assertEqual(self.look(wait=0.1), ["claimed"])
        self.has(0, State.CLAIMING)

    def test_full(self) -> None:
        """A network without a free address is reported once; then the first that is free is
        claimed."""
        self.assertEqual(self.look(taken=self.taken(*range(6))), ["full"])
        self.assertEqual((self.machine.state, self.machine.taken), (State.FULL, 6))
        self.assertEqual(self.machine.candidates.hosts, 6)
        self.assertEqual(self.look(wait=10.0), [])
        self.assertEqual(self.look(wait=10.0, taken=self.taken(0, 1, 2, 3, 5)), ["claimed"])
        self.has(4, State.CLAIMING)


class ClaimingTests(Case):
    """Between the claim and the address."""

    def setUp(self) -> None:
        super().setUp()
        self.look()

    def test_held(self) -> None:
        """When nobody has objected for a while it is the node's own."""
        self.assertEqual(self.machine.wait(self.facts), CLAIM_WAIT)
        self.assertEqual(self.look(wait=CLAIM_WAIT - 0.1), [])
        self.assertEqual(self.look(wait=0.1), ["held"])
        self.has(0, State.HELD)
        self.assertIsNone(self.machine.wait(self.facts))

    def test_not_whole(self) -> None:
        """Whoever is not linked yet is given the time to object."""
        self.assertEqual(self.look(wait=CLAIM_WAIT, is_whole=False), [])
        self.assertEqual(self.look(wait=LONGEST_CLAIM - CLAIM_WAIT), ["held"])

    def test_alone_again(self) -> None:
        """Time without links does not count: nobody could object."""
        self.assertEqual(self.look(wait=CLAIM_WAIT - 0.1, is_linked=False), [])
        self.assertEqual(self.look(wait=CLAIM_WAIT, is_linked=False), [])
        self.assertEqual(self.look(wait=CLAIM_WAIT - 0.1, is_linked=True), [])
        self.assertEqual(self.look(wait=0.1), ["held"])

    def test_rival(self) -> None:
        """A linked node that takes precedence has the address at once."""
        self.assertEqual(self.look(RIVALLED), ["given up", "claimed"])
        self.has(1, State.CLAIMING)

    def test_refused(self) -> None:
        """A refusal counts when it has stood for a moment."""
        self.assertEqual(self.look(REFUSED), [])
        self.assertEqual(self.machine.wait(self.facts), GRACE)
        self.assertEqual(self.look(wait=GRACE / 2), [])
        self.assertEqual(self.look(REFUSED), [])
        self.assertEqual(self.look(REFUSED, wait=GRACE), ["given up", "claimed"])
        self.has(1, State.CLAIMING)

    def test_not_held_while_refused(self) -> None:
        """The time of the claim does not end in the middle of an objection."""
        self.assertEqual(self.look(REFUSED, wait=CLAIM_WAIT + 1.0), [])
        self.assertEqual(self.look(wait=0.1), ["held"])

    def test_patience(self) -> None:
        """One source is believed only so often. Another one is believed as well."""
        for _ in range(PATIENCE):
            self.assertEqual(self.look(RIVALLED, wait=0.1), ["given up", "claimed"])
        self.has(PATIENCE, State.CLAIMING)
        self.assertEqual(self.look(RIVALLED, wait=CLAIM_WAIT), ["held"])
        self.setUp()
        for number in range(PATIENCE):
            self.look(RIVALLED, wait=0.1)
            self.has(number + 1, State.CLAIMING)
        self.assertEqual(
            self.look(replace(RIVALLED, objectors=frozenset("xz"))), ["given up", "claimed"]
        )

    def test_most_are_against_it(self) -> None:
        """Nor are most of them ignored, when patience with each of them is at its end."""
        for _ in range(PATIENCE):
            self.look(replace(LOST, is_certain=True), wait=0.1)
        self.assertEqual(self.look(LOST, wait=0.1), [])
        self.assertEqual(self.look(LOST, wait=GRACE), ["given up", "claimed"])

    def test_given_up(self) -> None:
        """What it gave up is not tried again for a while; until then the network is not full."""
        others = self.taken(1, 2, 3, 4, 5)
        self.assertEqual(self.look(RIVALLED, taken=others), ["given up"])
        self.assertEqual(self.machine.state, State.JOINING)
        self.assertEqual(self.machine.wait(self.facts), AVOIDED)
        self.assertEqual(self.look(wait=AVOIDED - 0.1), [])
        self.assertEqual(self.look(wait=0.2), ["claimed"])
        self.has(0, State.CLAIMING)

    def test_pace(self) -> None:
        """Its claims are limited, so that its peers read them all."""
        machine = Acquisition(Candidates(IPv4Network("10.0.0.0/8"), 8, "me"), 0.0)
        facts = Facts(0.0, True, True, True)
        claims = 0
        for number in range(100):
            against = Standing(frozenset({f"source {number}"}), True, False, "bob")
            steps = machine.update(replace(facts, now=number / 100), against)
            claims += sum(step.change is Change.CLAIMED for step in steps)
        self.assertEqual(claims, CLAIMS_BURST)
        self.assertEqual(machine.state, State.JOINING)
        wait = machine.wait(replace(facts, now=1.0))
        assert wait is not None
        self.assertTrue(0 < wait < 2.0, wait)
        steps = machine.update(replace(facts, now=1.001 + wait), FINE)
        self.assertEqual([step.change for step in steps], [Change.CLAIMED])


class HeldTests(Case):
    """When it has an address."""

    def setUp(self) -> None:
        super().setUp()
        self.hold()

    def test_objections(self) -> None:
        """A refusal, or a rival, is no reason to give it up."""
        for _ in range(10):
            self.assertEqual(self.look(RIVALLED, wait=10.0), [])
            self.assertEqual(self.look(REFUSED, wait=10.0), [])
        self.has(0, State.HELD)

    def test_lost(self) -> None:
        """It is given up when the mesh has been against it for a while."""
        self.assertEqual(self.look(LOST), [])
        self.assertEqual(self.machine.wait(self.facts), LOST_WAIT)
        self.assertEqual(self.look(wait=LOST_WAIT), [])
        self.assertEqual(self.look(LOST), [])
        self.assertEqual(self.look(LOST, wait=LOST_WAIT - 0.1), [])
        self.assertEqual(self.look(LOST, wait=0.1), ["lost", "claimed"])
        self.has(1, State.CLAIMING)

    def test_lost_in_a_full_network(self) -> None:
        """Without another one it has none."""
        self.look(LOST, taken=self.taken(*range(6)))
        self.assertEqual(self.look(LOST, wait=LOST_WAIT), ["lost", "full"])
        self.assertIsNone(self.machine.interface)

    def test_not_linked(self) -> None:
        """A node that is alone keeps what it has."""
        self.assertEqual(self.look(wait=1000.0, is_linked=False), [])
        self.has(0, State.HELD)


class StandingTests(unittest.TestCase):
    """How the mesh stands to an address."""

    X = "10.9.0.1"

    def node(self, number: int, address: str = "", **changes: object) -> NodeRecord:
        record = NodeRecord(
            id=f"{number:032x}",
            name=f"n{number}",
            started=number,
            url=f"https://n{number}:1",
            addresses=(ip_interface(f"{address}/16"),) if address else (),
            version="1",
            automatic=(4,),
        )
        return replace(record, **changes)  # type: ignore[arg-type]

    def setUp(self) -> None:
        self.me = self.node(50, self.X, settled=True)

    def peer(self, number: int, refuses: bool = False, **changes: object) -> OnePeer:
        """A settled node that has another address, at a source of its own."""
        record = self.node(number, f"10.9.1.{number}", settled=True)
        peer = OnePeer(record, View.of(self.me, record), False, source=f"s{number}")
        peer = replace(peer, refuses=(self.X,) if refuses else (), holder="n1" if refuses else "")
        return replace(peer, **changes)  # type: ignore[arg-type]

    def rival(self, number: int, **changes: object) -> OnePeer:
        record = self.node(number, self.X, settled=True, **changes)
        view = View.of(self.me, record)
        was_first = takes_precedence(record, self.me)
        return OnePeer(record, view, was_first, source=f"s{number}")

    def stands(self, *peers: OnePeer, since: float = 100.0) -> Standing:
        return standing(self.me, ip_address(self.X), peers, (), since)

    def test_alone_or_agreed(self) -> None:
        """Nobody objects."""
        self.assertEqual(self.stands(), Standing())
        self.assertEqual(self.stands(self.peer(2), self.peer(3)), Standing())

    def test_one_member_that_refuses(self) -> None:
        """One source of several does not take it away, with however many identities."""
        liars = [self.peer(number, refuses=True, source="liar") for number in range(10, 19)]
        found = self.stands(self.peer(2), *liars)
        self.assertEqual((found.objectors, found.is_lost), (frozenset({"liar"}), False))

    def test_one_member_that_claims(self) -> None:
        """Nor when it claims the address, as an elder that cannot give way."""
        rival = self.rival(1, automatic=())
        others = [self.peer(number, refuses=True, source="s1") for number in (7, 8, 9)]
        found = self.stands(self.peer(2), rival, *others)
        self.assertTrue(rival.was_first and found.is_certain)
        self.assertFalse(found.is_lost)

    def test_majority(self) -> None:
        """Most sources do, and half of them if the rival takes precedence."""
        for rival, routing, refusing, is_lost in (
            (1, 2, 3, True),
            (1, 3, 2, False),
            (1, 2, 2, True),
            (60, 2, 2, False),
            (60, 2, 3, True),
            (1, 0, 0, True),
            (60, 0, 0, False),
        ):
            peers = [self.peer(10 + number) for number in range(routing)]
            peers += [self.peer(20 + number, refuses=True) for number in range(refusing)]
            found = self.stands(self.rival(rival), *peers)
            self.assertEqual(found.is_lost, is_lost, (rival, routing, refusing))

    def test_static_rival(self) -> None:
        """A settled static node needs more than a third of the votes of those who can know."""
        rival = self.rival(60, automatic=())
        routing = [self.peer(number) for number in range(10, 13)]
        self.assertTrue(rival.was_first)
        self.assertFalse(self.stands(rival, *routing).is_lost)
        refusing = [self.peer(number, refuses=True) for number in (20, 21)]
        self.assertFalse(self.stands(rival, *routing, refusing[0]).is_lost)
        self.assertTrue(self.stands(rival, *routing, *refusing).is_lost)
        newcomer = replace(refusing[1], record=replace(refusing[1].record, settled=False))
        newcomer = replace(newcomer, since=200.0)
        self.assertFalse(self.stands(rival, *routing, refusing[0], newcomer).is_lost)

    def test_newcomers(self) -> None:
        """Nodes that came after the address was claimed, and that were not settled, have no vote
        while there is anybody else."""
        newcomers = [
            replace(each, record=replace(each.record, settled=False), since=200.0)
            for each in (self.peer(number, refuses=True) for number in range(20, 25))
        ]
        self.assertFalse(self.stands(self.peer(2), *newcomers).is_lost)
        self.assertTrue(self.stands(*newcomers).is_lost)

    def test_only_liars_can_know(self) -> None:
        """When all others were restarted, the identities of one member are the only ones that say
        they know: they do not decide alone."""
        newcomers = [
            replace(each, record=replace(each.record, settled=False), since=200.0)
            for each in (self.peer(number) for number in range(20, 23))
        ]
        liars = [self.peer(number, refuses=True, source="liar") for number in (10, 11, 12)]
        self.assertFalse(self.stands(*newcomers, *liars).is_lost)

    def test_same_source(self) -> None:
        """If all peers come from one source, each of them has a vote but for the rival."""
        peers = [self.peer(number, source="here") for number in (10, 11)]
        rival = replace(self.rival(1), source="here")
        self.assertFalse(self.stands(rival, *peers).is_lost)
        refusing = [self.peer(number, refuses=True, source="here") for number in (20, 21, 22)]
        self.assertTrue(self.stands(rival, *peers, *refusing).is_lost)

    def test_yields(self) -> None:
        """A refusal in favour of a node that has to yield is no objection."""
        rival = self.rival(60)
        refusing = self.peer(10, refuses=True, holder=rival.record.name)
        self.assertEqual(self.stands(rival, refusing, self.peer(11)).objectors, frozenset())
        other = replace(refusing, holder="somebody")
        self.assertEqual(self.stands(rival, other, self.peer(11)).objectors, frozenset({"s10"}))

    def test_outside(self) -> None:
        """A peer with another network refuses it for that: that is no objection to the choice."""
        peer = self.peer(10, refuses=True)
        record = replace(peer.record, networks=(IPv4Network("10.8.0.0/16"),))
        odd = replace(peer, record=record, view=View.of(self.me, record))
        self.assertEqual(self.stands(odd), Standing())

    def test_unlinked_rival(self) -> None:
        """Of two halves, the one with the senior claimant is right, though the two are not linked
        with each other."""
        halves = [self.peer(10), self.peer(20, refuses=True)]
        for number, is_lost in ((1, True), (60, False)):
            heard = [self.node(number, self.X)]
            found = standing(self.me, ip_address(self.X), halves, heard, 100.0)
            self.assertEqual(found.is_lost, is_lost)
