"""Real nodes with a config that was copied from another node: they and the other nodes report
it."""

from __future__ import annotations

import os
import sys

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.doctor.test_doctor import TUNMESH
from tests.support import netns
from tests.support.control import command
from tests.support.realnode import Ground, reactor


class ConflictTests(unittest.TestCase):
    """Two nodes with the same name or URL, and a node whose bootstrap list has only itself."""

    skip = netns.skip_reason()

    async def asked(self, ground: Ground, *arguments: str, code: int = 0) -> str:
        """A command's output about node 1."""
        result = await command(ground.directory / ground.plans[0].socket, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        output: str = result.output
        return output

    async def doctor(self, ground: Ground, number: int, code: int, socket: str = "") -> str:
        socket = socket or str(ground.directory / ground.plans[number - 1].socket)
        arguments = [TUNMESH, "doctor", "--socket", socket, str(ground.config(number))]
        with ground.namespace(number):
            running = getProcessOutputAndValue(
                sys.executable, arguments, os.environ, reactor=reactor
            )
        out, err, exit_code = await running
        self.assertEqual((err, exit_code), (b"", code), out.decode())
        text: str = out.decode()
        return text

    async def test_one_name(self) -> None:
        """Two nodes with the same name: all nodes report it, and a command that takes a name
        refuses it and shows both addresses; with an address or an id it works."""
        ground = Ground(self, 3)
        ground.change(3, clustering__node_name="node2")
        nodes = [ground.start(number) for number in (1, 2, 3)]
        for node in nodes:
            event = await node.logged("name_conflict", name="node2")
            self.assertIn("two nodes have the name node2: ", event["text"])
        self.assertIn("two nodes have the name node2: 10.77.0.", await self.asked(ground, "status"))
        for arguments in (("ping", "node2"), ("capture", "-w", "/dev/null", "--peer", "node2")):
            said = await self.asked(ground, *arguments, code=1)
            self.assertIn("node2: 2 nodes have this name, ", said)
            for address in ("10.77.0.2, fd77::2", "10.77.0.3, fd77::3"):
                self.assertIn(address, said)
        self.assertEqual((await ground.metrics(1))["tunmesh_name_conflicts"], 1)
        self.assertEqual((await ground.get("/readyz", 1))[0], 200)

    async def test_copied_url(self) -> None:
        """A node that advertises the URL of another one is linked, and all three nodes report
        it."""
        ground = Ground(self, 3)
        url = ground.plans[0].url
        ground.change(3, clustering__control_api_advertise_url=url)
        first, second = ground.start(1), ground.start(2)
        await first.logged("linked", peer="node2")
        text = await self.doctor(ground, 3, 2, "/nowhere/control.sock")
        self.assertIn("NO  it is what this node advertises, but no node runs here and one", text)
        third = ground.start(3)
        for node in (first, second, third):
            event = await node.logged("url_conflict", url=url)
            self.assertIn("node3", event["text"].replace("this node", "node3"))
        self.assertIn(f"two nodes advertise the URL {url}", await self.asked(ground, "status"))
        self.assertEqual((await ground.metrics(3))["tunmesh_url_conflicts"], 1)
        self.assertEqual((await ground.get("/readyz", 1))[0], 200)

    async def test_only_own_url(self) -> None:
        """A node whose bootstrap list has only its own URL is not ready, logs a line, and the
        doctor finds it; when another node joins it is ready."""
        ground = Ground(self, 2)
        url = ground.plans[0].url
        groups = {"first": {"bootstrap_node_urls": [url]}}
        ground.change(1, clustering__bootstrap_groups=groups, monitoring__expected_nodes=3)
        node = ground.start(1)
        event = await node.logged("leads_back")
        self.assertEqual(event["urls"], url)
        self.assertEqual((await ground.get("/readyz", 1))[0], 503)
        self.assertEqual(node.all_logged("ready"), [])
        self.assertIn("the bootstrap URLs lead only to this node", await ground.reasons(1))
        text = await self.doctor(ground, 1, 2)
        self.assertIn("NO  it is what this node advertises, and no other node is", text)
        ground.start(2)
        await node.logged("ready")
        said = await self.asked(ground, "status")
        self.assertIn("linked 1 of 2 expected", said)
        self.assertIn("linked with 1 of 2 other nodes (monitoring/expected_nodes: 3)", said)
        self.assertEqual((await ground.metrics(1))["tunmesh_expected_nodes"], 3)
