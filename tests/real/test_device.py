"""Other programs change a running node's device or add conflicting routes: the node notices,
reports it, and reports when it is over."""

from __future__ import annotations

import json
import socket
from typing import Any

from pyroute2 import IPRoute
from twisted.trial import unittest

from tests.support import netns
from tests.support.control import command
from tests.support.realnode import TUN, Ground, RealNode

PEERS = ("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")


class DeviceTests(unittest.TestCase):
    """A node that is linked with another one, on a machine where other programs change the
    network."""

    skip = netns.skip_reason()

    async def begin(self) -> RealNode:
        self.ground = Ground(self, 2)
        node, _ = await self.ground.linked(2)
        await node.logged("ready")
        return node

    def ip(self, what: str, *arguments: Any, **options: Any) -> None:
        with self.ground.namespace(1), IPRoute() as ip:
            if "oif" not in options and what in ("link", "addr"):
                options["index"] = socket.if_nametoindex(options.pop("device", TUN))
            getattr(ip, what)(*arguments, **options)

    async def is_wrong(self, node: RealNode, *pieces: str) -> str:
        """The log, /readyz and status contain these texts; /livez is not affected."""
        why: str = (await node.logged("not_ready"))["why"]
        (status, _), (alive, _) = (
            await self.ground.get("/readyz"),
            await self.ground.get("/livez"),
        )
        self.assertEqual((status, alive), (503, 200))
        shown = await self.command("status", "-o", "json", code=2)
        complaints = "; ".join(json.loads(shown)["device"]["complaints"])
        for piece in pieces:
            self.assertIn(piece, why)
            self.assertIn(piece, complaints)
        return why

    async def is_right_again(self, node: RealNode) -> None:
        await node.logged("device_whole")
        self.assertEqual((await self.ground.get("/readyz"))[0], 200)

    async def command(self, *arguments: str, code: int = 0) -> str:
        result = await command(self.ground.directory / self.ground.plans[0].socket, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        text: str = result.output
        return text

    async def test_down_and_up(self) -> None:
        """`ip link set down` and up removes the IPv6 address and its route, but nothing of IPv4."""
        node = await self.begin()
        self.ip("link", "set", state="down")
        await self.is_wrong(node, "tun1 is down (to mend it: ip link set tun1 up)")
        self.ip("link", "set", state="up")
        event = await node.logged("device_changed")
        while "is down" in event["why"]:
            event = await node.logged("device_changed")
        self.assertIn("the address fd77::1/64 is gone from tun1", event["why"])
        self.assertIn("ip -6 address add fd77::1/64 dev tun1 nodad", event["why"])
        self.assertNotIn("10.77", event["why"])
        steps = await self.command("explain", *PEERS[1], code=2)
        self.assertIn("does not come to tun1", steps)
        await self.command("explain", *PEERS[0])
        self.ip("addr", "add", address="fd77::1", prefixlen=64, flags=2)
        await self.is_right_again(node)
        await self.command("explain", *PEERS[1])

    async def test_taken_away(self) -> None:
        """A removed address or route is named, with the command that restores it."""
        node = await self.begin()
        self.ip("route", "del", dst="10.77.0.0/16", oif=self.index(TUN), scope=253)
        await self.is_wrong(
            node, "the route to 10.77.0.0/16 is gone from tun1 (to mend it: ip route"
        )
        self.ip("route", "add", dst="10.77.0.0/16", oif=self.index(TUN))
        await self.is_right_again(node)
        self.ip("addr", "del", address="10.77.0.1", prefixlen=16)
        await self.is_wrong(node, "the address 10.77.0.1/16 is gone from tun1")
        self.ip("addr", "add", address="10.77.0.1", prefixlen=16)
        await self.is_right_again(node)

    async def test_overlap_that_comes_later(self) -> None:
        """A network inside the mesh's that is added later is named, until it is removed."""
        node = await self.begin()
        self.ip("link", "add", kind="bridge", ifname="docker0", oif=0)
        self.ip("link", "set", device="docker0", state="up")
        self.ip("addr", "add", device="docker0", address="10.77.0.9", prefixlen=28)
        await self.is_wrong(node, "10.77.0.0/28 is sent to docker0, not to tun1")
        steps = await self.command("explain", *PEERS[0], code=2)
        self.assertIn("the kernel sends it to docker0 (routing table main)", steps)
        self.ip("link", "del", device="docker0")
        await self.is_right_again(node)

    async def test_rule_that_comes_later(self) -> None:
        """A policy rule whose table is looked up before the mesh's routes is named, and so is its
        table by `explain`."""
        node = await self.begin()
        self.ip("route", "add", dst="0.0.0.0/0", oif=self.index("eth0"), table=52)
        self.ip("rule", "add", priority=5270, table=52)
        await self.is_wrong(
            node, "0.0.0.0/0 is sent to eth0 by the rule '5270: from all lookup 52', not to tun1"
        )
        steps = await self.command("explain", *PEERS[0], code=2)
        self.assertIn("the kernel sends it to eth0 (routing table 52)", steps)
        self.ip("rule", "del", priority=5270, table=52)
        await self.is_right_again(node)

    async def test_harmless(self) -> None:
        """Unrelated routes, a guard and the node's own restart give no complaint."""
        node = await self.begin()
        for number in range(100):
            self.ip("route", "add", dst=f"198.18.{number}.0/24", oif=self.index("eth0"))
        self.ip("route", "add", dst="10.0.0.0/8", oif=self.index("eth0"))
        self.ip("route", "add", dst="10.77.0.0/16", type="unreachable", priority=0xFFFFFFFF)
        # The checks above happened before this event.
        self.ip("route", "add", dst="10.77.9.0/24", type="blackhole")
        event = await node.logged("device_changed")
        self.assertEqual(event["why"], "10.77.9.0/24 is sent nowhere, not to tun1")
        self.assertEqual(len(node.all_logged("device_changed")), 1)

    def index(self, name: str) -> int:
        with self.ground.namespace(1):
            return socket.if_nametoindex(name)
