"""How many records are verified at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.membership.test_roster import BOB, NETWORKS
from tunmesh.auth import signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import State
from tunmesh.logs.journal import Journal
from tunmesh.membership.me import Me
from tunmesh.membership.roster import Roster
from tunmesh.node import introductions
from tunmesh.node.introductions import TURN, Introductions
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.records import NodeRecord, SignedRecord

KEYS = [NodeKey.of(number.to_bytes(SEED_SIZE, "big")) for number in range(1, 3 * TURN + 1)]


class Introducer:
    """A link with a node, as introductions see one."""

    source = "192.0.2.1"

    def __init__(self, node: NodeRecord) -> None:
        self.node = node
        self.state = State.UP
        self.error: PeerError | None = None

    def fail(self, error: PeerError) -> None:
        self.state, self.error = State.CLOSED, error


class TurnTests(SynchronousTestCase):
    """Two linked nodes vouch for many others, and introduce them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.roster: Roster[Any] = Roster(Me(replace(BOB, id=f"{9:032x}")), NETWORKS)
        self.seen: list[tuple[str, str]] = []  # by whom, and who
        keep: Any = [].append
        journal = Journal(Logger(observer=keep), self.clock.seconds)
        self.introductions = Introductions(self.roster, journal, self.clock, self.introduced)
        ids = tuple(key.id for key in KEYS)
        self.links: list[Any] = []
        for number in (1, 2):
            link: Any = Introducer(replace(BOB, id=f"{number:032x}", name=str(number)))
            self.roster.authenticated(link, link.node, True)
            self.roster.gossip_received(link, Gossip(number, ids))
            self.links.append(link)
        self.signed = [self.sign(key, key.id) for key in KEYS]

    def sign(self, key: NodeKey, node_id: str) -> SignedRecord:
        return signing.sign(replace(BOB, id=node_id, name=f"x{node_id[:8]}"), key)

    def introduced(self, link: Any, record: NodeRecord) -> None:
        self.seen.append((link.node.name, record.id))
        self.roster.introduction_received(link, [record])

    def test_in_turn(self) -> None:
        """So many are verified at once, the others in later iterations of the reactor, and each
        node only once, however many introduce it."""
        for link in self.links:
            self.introductions.received(link, self.signed)
        for turns in (1, 2, 3):
            self.assertEqual(self.seen, [("1", key.id) for key in KEYS[: turns * TURN]])
            # As the reactor does: what a call adds is for the next iteration.
            calls: list[Any] = list(self.clock.getDelayedCalls())
            for call in calls:
                go_on = call.func
                call.cancel()
                go_on()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_much(self) -> None:
        """No more than so many bytes wait; what is beyond that is verified at once."""
        self.patch(introductions, "MAX_HELD", 5 * len(self.signed[0].record))
        self.introductions.received(self.links[0], self.signed)
        self.assertEqual(len(self.seen), len(KEYS) - 5)
        self.clock.advance(0)
        self.assertEqual((len(self.seen), self.introductions._held), (len(KEYS), 0))

    def test_false(self) -> None:
        """A false record ends its introducer's link when its turn comes, and what else that has
        said is ignored; another introducer is believed."""
        first, second = self.links
        self.signed[TURN] = replace(self.signed[TURN], signature=bytes(64))
        self.introductions.received(first, self.signed)
        self.clock.pump([0] * 4)
        self.assertEqual(len(self.seen), TURN)
        self.assertIs(first.error.reason, FailureReason.FALSE_INTRODUCTION)
        self.assertEqual(self.introductions.false, 1)
        self.roster.link_lost(first, "lost")
        self.introductions.received(second, [self.sign(KEYS[-1], KEYS[-1].id)])
        self.assertEqual(self.seen[-1], ("2", KEYS[-1].id))
        self.assertIsNone(second.error)
