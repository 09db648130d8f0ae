"""The status of a node in a mesh in memory: frozen, and asking for it changes nothing."""

from __future__ import annotations

from copy import deepcopy

from twisted.trial.unittest import SynchronousTestCase

from tests.support.meshes import complete
from tunmesh.dataplane.drops import DropReason
from tunmesh.membership.seniority import SETTLING


class SnapshotTests(SynchronousTestCase):
    """A status is a value."""

    def test_frozen(self) -> None:
        """A status that was asked for stays as it was, whatever happens afterwards."""
        mesh, (a, b) = complete("a", "b")
        mesh.advance(1.0)
        status = a.status
        before = deepcopy(status)
        mesh.send(a, b, b"more")
        mesh.send(b, a, b"more")
        a.tun.refuses = DropReason.TUN_FULL
        mesh.send(b, a, b"dropped")
        mesh.advance(60.0)
        for name in ("tun", "link", "peers", "dropped", "handshake_failures", "links"):
            self.assertEqual(getattr(status, name), getattr(before, name), name)
        self.assertEqual(status.rtt.counts, before.rtt.counts)
        self.assertEqual(status.nodes["b"].traffic, before.nodes["b"].traffic)
        self.assertEqual(status.nodes["b"].latency.counts, before.nodes["b"].latency.counts)
        now = a.status
        self.assertNotEqual(now.rtt.counts, before.rtt.counts)
        self.assertNotEqual(now.nodes["b"].traffic, before.nodes["b"].traffic)

    def test_questions(self) -> None:
        """No question changes the node: not its record, its log or its timers."""
        mesh, (a, _) = complete("a", "b")
        mesh.advance(SETTLING / 2)
        asked = (a.node.status, a.node.health, a.node.sample, a.node.known_nodes, a.node.explainer)
        record, events, timers = a.node.record, list(a.events), mesh.clock.getDelayedCalls()
        for question in (*asked, a.node._links._presented.show):
            question()
        self.assertIs(a.node.record, record)
        self.assertEqual(a.events, events)
        self.assertEqual(mesh.clock.getDelayedCalls(), timers)

    def test_settles(self) -> None:
        """A node is settled from the moment that its time is over, without any other cause."""
        mesh, (a, b) = complete("a", "b")
        linked = max(member.status.peers[0].since for member in (a, b))
        mesh.advance(linked + SETTLING - 0.1 - mesh.clock.seconds())
        self.assertFalse(b.node.record.settled)
        mesh.advance(0.2)
        self.assertTrue(b.node.record.settled)
