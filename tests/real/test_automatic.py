"""Nodes that choose their addresses themselves, as real processes with real tun devices."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.trial import unittest

from tests.support import netns
from tests.support.realnode import Ground, RealNode

AUTOMATIC: Any = {
    "networking__ipv4__node_address_cidr": "auto",
    "networking__ipv6__node_address_cidr": "auto/64",
}


class AutomaticCase(unittest.TestCase):
    skip = netns.skip_reason()
    timeout = 90

    def helper_of(self, node: RealNode) -> int:
        """The process beside a node that keeps NET_ADMIN."""
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        (helper,) = (
            pid
            for pid in children
            if b"tunmesh.assigner" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return int(helper)


class Helper(AutomaticCase):
    """The process that keeps NET_ADMIN."""

    async def test_killed(self) -> None:
        """Without its helper a node cannot go on: it says so, leaves, and exits with 1."""
        ground = Ground(self)
        ground.change(**AUTOMATIC)
        node = ground.start()
        self.assertEqual((await node.logged("helper_started"))["calls"], "filtered")
        await node.logged("listening")
        await node.logged("privileges", capabilities=0)
        os.kill(self.helper_of(node), signal.SIGKILL)
        lost = await node.logged("helper_lost")
        self.assertEqual(
            lost["why"], "the helper process that puts addresses on the device is gone"
        )
        await node.logged("leaving")
        self.assertEqual(await node.ended, 1)
        self.assertEqual(len(node.all_logged("helper_lost")), 1)

    async def test_ends_with_its_node(self) -> None:
        """It is gone when the node is, however that ended."""
        ground = Ground(self)
        ground.change(**AUTOMATIC)
        for name, code in (("TERM", 0), ("KILL", -signal.SIGKILL)):
            node = ground.start()
            await node.logged("privileges")
            helper = self.helper_of(node)
            ended = os.pidfd_open(helper)
            self.addCleanup(os.close, ended)
            node.signal(name)
            self.assertEqual(await node.ended, code)
            self.assertEqual(node.all_logged("helper_lost"), [])
            await netns.readable(ended)

    async def test_none_for_static_addresses(self) -> None:
        """A node whose addresses are all static has no other process."""
        node = Ground(self).start()
        await node.logged("ready")
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text()
        self.assertEqual((children, node.all_logged("helper_started")), ("", []))
