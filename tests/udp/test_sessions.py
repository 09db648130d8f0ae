"""Which session with a peer is used, of those of all its links."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial import unittest

from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.testing.datagrams import Datagrams
from tunmesh.testing.network import Network
from tunmesh.udp.port import Place
from tunmesh.udp.scratch import Scratch
from tunmesh.udp.session import Session
from tunmesh.udp.sessions import LINGER, Sessions


class Silent:
    """A listener that hears nothing."""

    is_deaf = False
    source: Place | None = None
    own: Place = "192.0.2.2", 4567
    useless = 0

    def came_from(self, source: Place) -> None: ...
    def controls_came(
        self, session: Session, controls: Sequence[tuple[bytes, int]], source: Place
    ) -> None: ...
    def nonsense_came(self, count: int) -> None:
        self.useless += count

    def has_say_about(self, source: Place) -> bool:
        return source == self.own

    def deliver(self, frames: list[memoryview]) -> None: ...


class SessionsTests(unittest.SynchronousTestCase):
    """The sessions of two links with one peer."""

    def setUp(self) -> None:
        self.clock = Clock()
        datagrams = Datagrams(Network(self.clock), random.Random(1))
        port = datagrams.port("192.0.2.1", 4567, random.Random(2).randbytes)
        self.changes = 0
        account = MemoryBudget().account("peer")
        self.sessions = Sessions(Silent(), port, self.clock, Scratch(), account, self.changed)

    def changed(self) -> None:
        self.changes += 1

    def used(self) -> int:
        """The index of the session that is used for sending; 0: none."""
        session = self.sessions.for_sending
        return session.send_index if session is not None else 0

    def link(self, name: str, index: int) -> None:
        """A link of that name is up, and the peer has offered this index on it."""
        self.sessions.open(name, lambda context: bytes(32), True)
        self.assertTrue(self.sessions.offered(name, index))

    def test_renewed(self) -> None:
        """The newest link's is used, and the old one's is closed some time after its link."""
        self.link("old", 7)
        self.link("new", 8)
        self.assertEqual(self.used(), 8)
        self.sessions.gone("old")
        self.assertTrue(self.sessions.offered("old", 7))
        self.clock.advance(LINGER)
        self.assertFalse(self.sessions.offered("old", 7))
        self.assertEqual(self.used(), 8)

    def test_crossed(self) -> None:
        """Of two links that cross each other, the newer one may be the one that goes: its session
        is not used from then on, since the other end may close it earlier."""
        self.link("stays", 7)
        self.link("goes", 8)
        self.sessions.gone("goes")
        self.assertEqual((self.used(), self.changes), (7, 3))

    def test_last(self) -> None:
        """When the only link goes, its session is used until another one is there."""
        self.link("goes", 7)
        self.sessions.gone("goes")
        self.assertEqual(self.used(), 7)
        self.link("comes", 8)
        self.assertEqual(self.used(), 8)
        self.sessions.close()
        self.assertEqual(self.used(), 0)
