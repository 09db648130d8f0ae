"""`tunmesh address claim` and `release`, as hooks use them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

from tests.support.control import FakeNode, command
from tunmesh.status.node import FloatingAddress

reactor: Any = trial_reactor
VIP = "10.77.0.100"


class Commands(unittest.TestCase):
    """What they say, and their exit codes."""

    def setUp(self) -> None:
        self.node = FakeNode(self)

    async def says(self, *words: str, code: int = 0) -> str:
        result = await command(self.node.path, "address", *words)
        self.assertEqual(result.exit_code, code, result.output)
        return str(result.output).strip()

    async def test_claim(self) -> None:
        """A claim succeeds, whoever has the address, and can be repeated."""
        for _ in range(2):
            self.assertEqual(await self.says("claim", VIP), f"{VIP} is this node's")
        self.node.holder = "bravo"
        self.assertEqual(await self.says("claim", VIP), f"{VIP} is claimed: bravo has it")

    async def test_with_prefix(self) -> None:
        """An address may be given as programs have it: with its prefix, in any notation."""
        self.assertEqual(await self.says("claim", f"{VIP}/24"), f"{VIP} is this node's")
        self.assertIn("fd77::100", await self.says("claim", "FD77:0::100"))

    async def test_wait(self) -> None:
        """With --wait the exit code says whether it is this node's by then."""
        self.assertEqual(await self.says("claim", VIP, "--wait", "5"), f"{VIP} is this node's")
        self.node.holder = "bravo"
        said = await self.says("claim", VIP, "--wait", "0.2", code=2)
        self.assertEqual(said, f"{VIP} is claimed: bravo has it")

    async def test_wait_for_the_holder(self) -> None:
        """It ends as soon as the other node has released it."""
        self.node.holder = "bravo"

        def released() -> None:
            [own] = self.node.now.floating
            held = replace(own, state="held", is_on_device=True)
            self.node.now = replace(self.node.now, floating=(held,))
            self.node.log.info("this node holds it", event="floating_held")

        reactor.callLater(0.3, released)
        said = await self.says("claim", VIP, "--wait", "20")
        self.assertEqual(said, f"{VIP} is this node's")

    async def test_release(self) -> None:
        """A release succeeds, also if there was no claim."""
        await self.says("claim", VIP)
        self.assertEqual(await self.says("release", VIP), f"{VIP} is released")
        self.assertEqual(await self.says("release", VIP), f"{VIP} was not claimed")

    async def test_refused(self) -> None:
        """What may not be claimed, what is no address, and a node that does not answer."""
        said = await self.says("claim", "10.77.0.9", code=1)
        self.assertIn("10.77.0.9 may not be claimed here: networking/floating is empty", said)
        self.assertIn("'ten' is not an IP address", await self.says("claim", "ten", code=2))
        for word in ("claim", "release"):
            result = await command(self.node.directory / "none.sock", "address", word, VIP)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("no node answers", result.output)

    async def test_shown(self) -> None:
        """`tunmesh address` and `status` show what this node claims, and peers what they hold."""
        waiting = FloatingAddress("fd77::100", "waiting", 40.0, 1, "bravo", False)
        await self.says("claim", VIP)
        self.node.now = replace(self.node.now, floating=(*self.node.now.floating, waiting))
        lines = [line.split(maxsplit=4) for line in (await self.says()).splitlines()]
        self.assertIn([VIP, "floating", "held", "1m"], lines)
        self.assertIn(["fd77::100", "floating", "waiting", "1m", "bravo has it"], lines)
        tree = json.loads(await self.says("-o", "json"))
        self.assertEqual([each["usable"] for each in tree["floating"]], [True, False])
        status = await command(self.node.path, "status")
        self.assertIn(f"10.77.1.1/24, {VIP}", status.output)
        self.assertNotIn("fd77::100", status.output)
