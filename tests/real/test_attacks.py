"""Real nodes under the attacks of bench.attack: by a member that claims an address, vouches for
others, or says false things of them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from twisted.internet.defer import Deferred

from bench.attack.stage import connections_opened
from tests.real.test_mesh import MeshCase
from tests.support.realnode import RealNode, reactor
from tunmesh.dialing.dial_budget import BURST, RATE

ROOT = Path(__file__).resolve().parent.parent.parent
CLAIMS = 3  # at intervals of 1.5 s
OTHERS = 2  # connections that the node may open for its own sake
NOWHERE = "https://192.0.2.250:4567"


class Attacker(RealNode):
    """A process of bench.attack.attacker. It goes on for as long as its standard input is open."""


class AttackCase(MeshCase):
    """No node runs on the last host: the attacker is there."""

    timeout = 90
    nodes = 3

    def attack(self, name: str, victim: int) -> None:
        """From now on, until the end of the test."""
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
        """Not a coroutine: older releases of trial do not run those as a clean-up."""
        attacker.signal("KILL")
        return attacker.ended


class ClaimTests(AttackCase):
    """The address of node 2 is claimed at node 1."""

    async def claimed(self, first: RealNode, times: int = 1) -> None:
        """Node 1 is linked with the claimant so many times more."""
        for _ in range(times):
            await first.logged("linked", peer="mallory")

    async def test_pause(self) -> None:
        """A node that is stopped for longer than a probe takes loses neither link nor address to
        the claimant, who is told whose it is."""
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
        """A node that was there for a while has its address again after a restart, though the
        claimant has it meanwhile."""
        self.ground.change(2, logging__level="debug")
        first, second = await self.ground.linked(2)
        await second.logged("settled")
        self.attack("claims", 1)
        await self.claimed(first)
        second.signal("KILL")
        await second.ended
        await first.logged("unlinked", peer="node2")
        await self.claimed(first, 2)
        self.ground.start(2)
        await first.logged("linked", peer="node2")
        await self.exchange(1, 2)
        await self.claimed(first)
        await self.exchange(1, 2)
        await self.exchange(2, 1)


class VouchingTests(AttackCase):
    """A member tells a node of other nodes."""

    async def test_dial_reflector(self) -> None:
        """4,000 made-up nodes at a host that refuses connections make a node open no more than a
        hundred at once, and then one a second; the log says so."""
        first, _ = await self.ground.linked(2)
        before, since = connections_opened(first.pid), reactor.seconds()
        self.attack("dial_reflector", 1)
        await first.logged("dials_spent")
        most = BURST + RATE * (reactor.seconds() - since) + OTHERS
        self.assertLessEqual(connections_opened(first.pid) - before, most)
        await self.exchange(1, 2)


class FalseIntroductionTests(AttackCase):
    """A newcomer, node 3, that a member introduces falsely to node 2."""

    nodes = 4

    async def test_past_life(self) -> None:
        """Node 2, which nobody can dial, dials the newcomer as soon as an honest node vouches for
        it, though it was introduced as the past life of somebody else before; the log names the
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
