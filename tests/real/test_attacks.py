"""Real nodes under the attacks of bench.attack: a member claims an address, vouches for made-up
nodes, or makes false claims about others."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from twisted.internet.defer import Deferred

from bench.attack.stage import connections_opened
from tests.real.test_mesh import MeshCase
from tests.support.realnode import HASTY, RealNode, reactor
from tunmesh.dialing.dial_budget import BURST, RATE

ROOT = Path(__file__).resolve().parent.parent.parent
CLAIMS = 3  # at intervals of 1.5 s
OTHERS = 2  # connections that the node may open for its own purposes
NOWHERE = "https://192.0.2.250:4567"


class Attacker(RealNode):
    """A process of bench.attack.attacker. It runs while its standard input is open."""


class AttackCase(MeshCase):
    """The attacker is on the last host, where no node runs."""

    nodes = 3

    def attack(self, name: str, victim: int) -> None:
        """Attack from now on, until the end of the test."""
        namespace = self.ground.namespace(self.nodes)
        attacker = Attacker(namespace)
        directory, host = str(self.ground.directory), self.ground.plans[victim - 1].underlay
        command = [sys.executable, "-m", "bench.attack.attacker", name, directory, host]
        with namespace:
            reactor.spawnProcess(
                attacker, command[0], command, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        self.addCleanup(self.end, attacker)

    def end(self, attacker: Attacker) -> Deferred[int]:
        """Not a coroutine: older releases of trial do not support those as a clean-up."""
        attacker.signal("KILL")
        return attacker.ended


class ClaimTests(AttackCase):
    """An attacker claims the address of node 2 at node 1."""

    async def claimed(self, first: RealNode, times: int = 1) -> None:
        """Wait until node 1 has been linked with the claimant that many more times."""
        for _ in range(times):
            await first.logged("linked", peer="mallory")

    async def test_pause(self) -> None:
        """A node that is stopped for longer than a probe takes loses neither its link nor its
        address to the claimant, which is told who holds it."""
        first, second = await self.ground.linked(2)
        self.attack("claims", 1)
        conflict = await first.logged("address_conflict", peer="mallory")
        self.assertIn("node2 holds it", conflict["text"])
        await self.claimed(first)
        second.signal("STOP")
        await self.claimed(first, CLAIMS)
        os.kill(second.pid, signal.SIGCONT)
        await self.exchange(1, 2)
        await self.exchange(2, 1)
        gone = [event["peer"] for event in first.all_logged("unlinked")]
        self.assertNotIn("node2", gone, first.text)

    async def test_restart(self) -> None:
        """A long-running node gets its address back after a restart, even if the claimant has taken
        it meanwhile."""
        self.ground.change(2, logging__level="debug")
        first, second = await self.ground.linked(2, PYTHONPATH=HASTY)
        await second.logged("settled")
        self.attack("claims", 1)
        await self.claimed(first)
        second.signal("KILL")
        await second.ended
        await first.logged("unlinked", peer="node2")
        await self.claimed(first, 2)
        self.ground.start(2, PYTHONPATH=HASTY)
        await first.logged("linked", peer="node2")
        await self.exchange(1, 2)
        await self.claimed(first)
        await self.exchange(1, 2)
        await self.exchange(2, 1)


class VouchingTests(AttackCase):
    """A member vouches for other nodes."""

    async def test_dial_reflector(self) -> None:
        """For 4,000 made-up nodes at a host that refuses connections, a node opens no more than a
        hundred connections at once, and then one a second; the log says so."""
        first, _ = await self.ground.linked(2)
        before, since = connections_opened(first.pid), reactor.seconds()
        self.attack("dial_reflector", 1)
        await first.logged("dials_spent")
        most = BURST + RATE * (reactor.seconds() - since) + OTHERS
        self.assertLessEqual(connections_opened(first.pid) - before, most)
        await self.exchange(1, 2)


class FalseIntroductionTests(AttackCase):
    """A member gives node 2 a false introduction of a newcomer, node 3."""

    nodes = 4

    async def test_past_life(self) -> None:
        """Node 2, which cannot be dialed, dials the newcomer as soon as an honest node vouches for
        it, although it was introduced as another node's previous life before; the log names the
        liar."""
        self.ground.change(2, clustering__control_api_advertise_url=NOWHERE)
        first = self.ground.start(1)
        second = self.ground.start(2)
        await second.logged("linked", peer="node1")
        first.signal("KILL")
        await first.ended
        third = self.ground.start(3)
        await third.logged("listening")
        self.attack("false_introductions", 2)
        await second.logged("false_introduction", peer="mallory")
        self.ground.start(1)
        await second.logged("linked", peer="node3")
        await self.exchange(2, 3)
        await self.exchange(3, 2)
