"""Packets to the mesh while its node is down: without a guard they leave in plain text, with one
they are rejected."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

from pyroute2 import IPRoute
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.support import netns
from tests.support.realnode import Ground, RealNode, reactor
from tunmesh.localmesh.underlay import CABLE

_TUNMESH = str(Path(sys.executable).with_name("tunmesh"))
_ETH_P_ALL = 3
PEER = {socket.AF_INET: "10.77.0.2", socket.AF_INET6: "fd77::2"}
COUNT = 5


class GuardTests(unittest.TestCase):
    """Two linked nodes, the first with a default route via the second."""

    skip = netns.skip_reason()

    async def begin(self, guard: bool) -> tuple[Ground, RealNode]:
        ground = Ground(self, 2)
        ground.change(1, networking__guard=guard)
        with ground.namespace(1), IPRoute() as ip:
            ip.route("add", dst="default", gateway="10.99.0.2")
        first, _ = await ground.linked(2)
        return ground, first

    async def kill(self, node: RealNode) -> None:
        node.signal("KILL")
        await node.ended

    def send(self, ground: Ground, family: socket.AddressFamily) -> list[int]:
        """Send an application's packets from the first node to the second; returns the errors, 0
        for none."""
        with ground.namespace(1), socket.socket(family, socket.SOCK_DGRAM) as sock:
            results = []
            for _ in range(COUNT):
                try:
                    sock.sendto(b"clear text", (PEER[family], 9))
                    results.append(0)
                except OSError as error:
                    results.append(error.errno or -1)
        return results

    def tap(self, ground: Ground) -> socket.socket:
        """Captures all packets that arrive on the second node's cable."""
        with ground.namespace(2):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            tap.bind((CABLE, _ETH_P_ALL))
        tap.setblocking(False)
        self.addCleanup(tap.close)
        return tap

    def heard(self, tap: socket.socket) -> int:
        count = 0
        while True:
            try:
                packet, (_, _, direction, *_) = tap.recvfrom(65536)
                count += b"clear text" in packet and direction != socket.PACKET_OUTGOING
            except BlockingIOError:
                return count

    async def tunmesh(self, ground: Ground, *arguments: str) -> str:
        """Run a command in the first node's namespace."""
        with ground.namespace(1):
            running = getProcessOutputAndValue(_TUNMESH, arguments, env={}, reactor=reactor)
        out, err, code = await running
        self.assertEqual((err, code), (b"", 0))
        text: str = out.decode()
        return text

    async def test_without(self) -> None:
        """Without a guard, packets to the mesh can be read on the path to the default gateway."""
        ground, node = await self.begin(guard=False)
        await self.kill(node)
        tap = self.tap(ground)
        self.assertEqual(self.send(ground, socket.AF_INET), [0] * COUNT)
        self.assertEqual(self.heard(tap), COUNT)

    async def test_while_it_restarts(self) -> None:
        """With a guard, applications get an error at once, and nothing leaves the machine; the next
        start finds the guard, and packets are carried again."""
        ground, node = await self.begin(guard=True)
        for _ in range(2):
            await self.kill(node)
            tap = self.tap(ground)
            for family in PEER:
                self.assertEqual(self.send(ground, family), [errno.EHOSTUNREACH] * COUNT)
            self.assertEqual(self.heard(tap), 0)
            node = ground.start(1)
            await node.logged("linked", peer="node2")
            self.assertEqual(self.send(ground, socket.AF_INET), [0] * COUNT)

    async def test_drain_removes_it(self) -> None:
        """Draining a node removes its guard, unless it is to be kept."""
        ground, node = await self.begin(guard=True)
        path = str(ground.directory / ground.plans[0].socket)
        said = await self.tunmesh(ground, "drain", "--keep-guard", "--socket", path)
        self.assertEqual(await node.ended, 0)
        self.assertEqual(self.send(ground, socket.AF_INET), [errno.EHOSTUNREACH] * COUNT)
        node = ground.start(1)
        await node.logged("linked", peer="node2")
        said = await self.tunmesh(ground, "drain", "--socket", path)
        removed = said.index("packets to 10.77.0.0/16, fd77::/64 are refused no more")
        # Before the node exits, which in a container may end the command as well.
        self.assertLess(removed, said.index("leaving the mesh"))
        self.assertEqual(await node.ended, 0)
        self.assertEqual(self.send(ground, socket.AF_INET), [0] * COUNT)

    async def test_before_the_node(self) -> None:
        """The command can install the guard before there is a node, show it and remove it."""
        ground = Ground(self, 1)
        config = str(ground.config())
        self.assertIn(
            "fd77::/64 has no guard", await self.tunmesh(ground, "guard", "--show", config)
        )
        for _ in range(2):
            said = await self.tunmesh(ground, "guard", config)
            self.assertEqual(said, "10.77.0.0/16 is guarded\nfd77::/64 is guarded\n")
        self.assertEqual(self.send(ground, socket.AF_INET), [errno.EHOSTUNREACH] * COUNT)
        node = ground.start()
        await node.logged("tun_up")
        said = await self.tunmesh(ground, "guard", "--remove", config)
        self.assertEqual(said, "removed: 10.77.0.0/16, fd77::/64\n")
