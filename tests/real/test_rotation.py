"""Five real nodes rotate their secret as `tunmesh secret rotate` says, which expels one of them;
two renew their link because it has carried so much."""

from __future__ import annotations

import os
import sys
from typing import Any

from click.testing import CliRunner
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.real.test_mesh import IPV4, MEGABYTE, PATIENCE, MeshCase
from tests.support.realnode import HASTY, OWNER, RealNode, reactor
from tunmesh.cli.main import main
from tunmesh.localmesh.pinger import Pinger

SHORT_SESSIONS: dict[str, Any] = {
    "process__timing": {
        "auth": {"session_max_age": 2.0},
        "registrations": {"groom_interval": 0.25},
    }
}
# Python that runs the command which is its arguments, with links that are renewed after 4 MB.
SMALL_LINKS = """
import runpy, sys
from tunmesh.node import links
links.MAX_CARRIED = 4 << 20
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
STAYING = (1, 2, 3, 4)
OUT = 5  # keeps the old secret


class Traffic:
    """Pings between all remaining nodes, in one direction for each pair, until it is stopped."""

    def __init__(self, case: MeshCase, nodes: tuple[int, ...] = STAYING) -> None:
        self.answered = self.lost = 0
        self._goes_on = True
        self._ways: list[Deferred[None]] = []
        for sender in nodes:
            pinger = Pinger(reactor, case.ground.namespace(sender), 4)
            case.addCleanup(pinger.close)
            for receiver in nodes:
                if receiver > sender:
                    way = self._ping(pinger, case.address(receiver))
                    self._ways.append(ensureDeferred(way))

    async def _ping(self, pinger: Pinger, address: str) -> None:
        while self._goes_on:
            if await pinger.ping_once(address, PATIENCE) is None:
                self.lost += 1
            else:
                self.answered += 1
            await deferLater(reactor, 0.1)

    async def stop(self) -> None:
        self._goes_on = False
        for way in self._ways:
            await way


class RotationTests(MeshCase):
    """A mesh of five."""

    nodes = 5

    async def rotate(self, *options: str) -> str:
        """The output of the command next to the first node."""
        plan = self.ground.plans[0]
        line = ["secret", "rotate", "--config", str(self.ground.config(1)), *options]
        line += ["--socket", str(self.ground.directory / plan.socket)]
        result = await deferToThread(CliRunner().invoke, main, line)
        self.assertEqual(result.exit_code, 0, result.output)
        said: str = result.output
        self.assertLessEqual(max(map(len, said.splitlines())), 80, said)
        for file in self.ground.directory.glob("secret*"):
            self.assertNotIn(file.read_text().strip(), said)
        return said

    async def until(self, text: str) -> str:
        """Wait until its output contains this; returns the output."""
        while text not in (said := await self.rotate()):
            await deferLater(reactor, 0.2)
        return said

    def configure(self, number: int, **auth: object) -> None:
        self.ground.change(number, clustering__auth=auth, **SHORT_SESSIONS)

    async def test_throw_out(self) -> None:
        """Following the steps of the command, no ping among the four remaining nodes is lost; in
        the end they are linked by the new secret, and the fifth is expelled."""
        kept = self.ground.directory / "kept"
        kept.write_text(self.ground.secret)
        for number in STAYING:
            self.configure(number, secret_file="secret")
        self.configure(OUT, secret_file="kept")
        nodes = await self.ground.linked(5, PYTHONPATH=HASTY)
        traffic = Traffic(self)
        self.addCleanup(traffic.stop)
        self.assertIn("This node is linked with 4 peers, all by", await self.rotate())

        said = await self.rotate("--make")
        new = self.ground.directory / "secret-2"
        self.assertIn(f"made {new}", said)
        self.assertIn("    - secret-2  # the new one\n    - secret  # accepted", said)
        self.assertEqual((new.stat().st_uid, new.stat().st_mode & 0o777), (OWNER.uid, 0o600))
        self.assertIn("Step 1 of 4", await self.rotate())

        self.configure(1, secret_files=["secret-2", "secret"])
        self.assertIn("has 2 secrets, and this node goes by 1", await self.rotate())
        said = await self.until("Step 2 of 4")
        self.assertIn("By the new one, secret-2 (place 1): 0 peers.", said)
        for number in STAYING[1:]:
            self.configure(number, secret_files=["secret-2", "secret"])
        said = await self.until("By the new one, secret-2 (place 1): 3 peers.")
        listed = [line.split()[0] for line in said.splitlines() if line.startswith("  node")]
        self.assertEqual(listed, ["node5"], said)
        await self.until("* linked after the change here")
        self.assertIn("  secret_file: secret-2\n", said)

        for number in STAYING:
            self.configure(number, secret_file="secret-2")
        said = await self.until("Step 4 of 4")
        self.assertIn("node5", said)
        reasons = {(await node.logged("unlinked", peer="node5"))["reason"] for node in nodes[:4]}
        # Or a probe was answered too late, on a busy machine, while the link was being renewed.
        self.assertLessEqual(reasons, {"revoked", "silent"})
        self.assertIn("This node is linked with 3 peers, all by", await self.rotate())

        while traffic.answered < 1000:
            await deferLater(reactor, 0.1)
        await traffic.stop()
        self.assertEqual(traffic.lost, 0)
        for number in STAYING:
            status = await self.ground.status(number)
            self.assertEqual(status["links_by_key"], {"1": 3})
            gone = {event["peer"] for event in nodes[number - 1].all_logged("unlinked")}
            self.assertEqual(gone, {"node5"})
        self.assertEqual((await self.ground.status(OUT))["peers"], [])


class VolumeTests(MeshCase):
    """A mesh of two whose links are renewed after 4 MB."""

    nodes = 2

    def start(self, number: int) -> RealNode:
        self.ground.change(number, process__timing={"registrations": {"groom_interval": 0.25}})
        through = (sys.executable, "-c", SMALL_LINKS)
        return self.ground.run(number, "--config", str(self.ground.config(number)), through=through)

    async def linked_since(self) -> set[float]:
        """When the link came up, in seconds of the node's clock, rounded; measured at one end."""
        status = await self.ground.status(1)
        return {round(status["node"]["uptime"] - peer["linked_for"], 1) for peer in status["peers"]}

    async def test_under_load(self) -> None:
        """The link is renewed again and again while megabytes are sent, whichever end sends: all of
        them arrive intact, no ping beside them is lost, and no node notices."""
        nodes = [self.start(1), self.start(2)]
        await nodes[0].logged("linked", peer="node2")
        await nodes[1].logged("linked", peer="node1")
        traffic = Traffic(self, (1, 2))
        self.addCleanup(traffic.stop)
        for sender, receiver in ((1, 2), (2, 1)):
            links = await self.linked_since()
            while len(links) < 3:
                await self.upload(sender, receiver, os.urandom(8 * MEGABYTE), IPV4)
                links |= await self.linked_since()
        await traffic.stop()
        self.assertEqual(traffic.lost, 0)
        self.assertGreater(traffic.answered, 0)
        for node in nodes:
            self.assertEqual(len(node.all_logged("linked")), 1)
            self.assertEqual(node.all_logged("unlinked"), [])
