"""Real nodes, and a member that claims the address of one of them again and again."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.real.test_mesh import MeshCase
from tests.support.realnode import RealNode, reactor

ROOT = Path(__file__).resolve().parent.parent.parent
CLAIMS = 3  # at intervals of 1.5 s


class Attacker(RealNode):
    """A process of bench.attack.attacker. It goes on for as long as its standard input is open."""


class ClaimTests(MeshCase):
    """Node 3 is no node: there a member claims the address of node 2."""

    timeout = 90
    nodes = 3

    def claimant(self) -> None:
        attacker = Attacker(self.ground.namespace(3))
        directory, host = str(self.ground.directory), self.ground.plans[0].underlay
        command = [sys.executable, "-m", "bench.attack.attacker", "claims", directory, host]
        with self.ground.namespace(3):
            reactor.spawnProcess(
                attacker, command[0], command, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        self.addCleanup(self.end, attacker)

    async def end(self, attacker: Attacker) -> None:
        attacker.signal("KILL")
        await attacker.ended

    async def claimed(self, first: RealNode, times: int = 1) -> None:
        """Node 1 is linked with the claimant so many times more."""
        for _ in range(times):
            await first.logged("linked", peer="mallory")

    async def test_pause(self) -> None:
        """A node that is stopped for longer than a probe takes loses neither link nor address to
        the claimant, who is told whose it is."""
        first, second = await self.ground.linked(2)
        self.claimant()
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
        self.claimant()
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
