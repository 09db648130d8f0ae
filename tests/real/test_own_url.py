"""Real nodes that find out where others reach them, and are told if nobody does."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from pyroute2 import IPRoute
from twisted.internet import task
from twisted.internet.utils import getProcessOutputAndValue

from tests.real.test_mesh import MeshCase
from tests.real.test_nat import CLOSED, FORWARD, PUBLIC_PORT, RouterCase
from tests.support.realnode import HASTY, RealNode, reactor

TUNMESH = str(Path(sys.executable).with_name("tunmesh"))


class AutoTests(MeshCase):
    """`control_api_advertise_url: auto`, the same line on all nodes."""

    nodes = 3

    async def test_found(self) -> None:
        """Nodes without a default route, one of them with a second network, tell each other the
        address on the network that they share. Each can be dialed there, so all are linked."""
        for plan in self.ground.plans:
            self.ground.change(plan.number, clustering__control_api_advertise_url="auto")
        with self.ground.namespace(2), IPRoute() as ip:
            ip.link("add", ifname="second", kind="veth", peer={"ifname": "there"})
            second, there = ip.link_lookup(ifname="second")[0], ip.link_lookup(ifname="there")[0]
            ip.addr("add", index=second, address="203.0.113.9", prefixlen=24)
            for index in (second, there):
                ip.link("set", index=index, state="up")
            ip.route("add", dst="default", gateway="203.0.113.1")
        nodes = await self.ground.linked(3)
        for plan, node in zip(self.ground.plans, nodes, strict=True):
            url = f"https://{plan.underlay}:4567"
            self.assertEqual((await self.ground.status(plan.number))["node"]["url"], url)
            self.assertEqual(node.all_logged("url_found")[-1]["url"], url)
            self.assertEqual(node.all_logged("url_conflict"), [])
            for other in nodes:
                if other is not node:
                    urls = {e["url"] for e in other.all_logged("linked") if e["peer"] == plan.name}
                    self.assertEqual(urls, {url})

    async def test_ipv6_only(self) -> None:
        """The bootstrap URL has an IPv6 address, and so have the URLs that are found."""
        for plan in self.ground.plans:
            address = f"fd99::{plan.number}"
            with self.ground.namespace(plan.number), IPRoute() as ip:
                cable = ip.link_lookup(ifname="eth0")[0]
                ip.flush_addr(index=cable, family=socket.AF_INET)
                ip.addr("add", index=cable, address=address, prefixlen=64, flags=2)
            known = ["https://[fd99::1]:4567"] if plan.number > 1 else []
            self.ground.change(
                plan.number,
                clustering__control_api_advertise_url="https://auto:4567",
                clustering__bootstrap_groups={"first": {"bootstrap_node_urls": known}},
            )
        await self.ground.linked(3)
        for plan in self.ground.plans:
            status = await self.ground.status(plan.number)
            self.assertEqual(status["node"]["url"], f"https://[fd99::{plan.number}]:4567")


class ToldTests(RouterCase):
    """Nodes whose peers try their URLs soon."""

    nodes = 3

    def start_hastily(self) -> list[RealNode]:
        return [self.ground.start(plan.number, PYTHONPATH=HASTY) for plan in self.ground.plans]

    async def says(self, number: int) -> str:
        """What the doctor says of a running node."""
        plan = self.ground.plans[number - 1]
        arguments = ["doctor", "--socket", str(self.ground.directory / plan.socket)]
        with self.ground.namespace(number):
            running = getProcessOutputAndValue(
                TUNMESH, [*arguments, str(self.ground.config(number))], os.environ, reactor=reactor
            )
        out, err, _ = await running
        self.assertEqual(err, b"")
        text: str = out.decode()
        return text

    async def test_wrong_url(self) -> None:
        """A node with a wrong port in its URL is told by its peers, stays ready, and shows it; the
        others are told nothing, and no handshake fails anywhere."""
        wrong = "https://10.99.0.3:4599"
        self.ground.change(3, clustering__control_api_advertise_url=wrong)
        *others, node = self.start_hastily()
        event = await node.logged("url_unreached")
        self.assertIn(f"no node reaches this node's URL {wrong}", event["note"])
        self.assertIn("the connection was refused (tried by node", event["note"])
        status = await self.ground.status(3)
        self.assertTrue(status["ready"])
        self.assertEqual(status["node"]["url_reached"], 0)
        self.assertIn("no node reaches this node's URL", str(status["problems"]))
        self.assertIn("refused", {peer["url_tried"] for peer in status["peers"]})
        while (await self.ground.status(1))["node"]["url_reached"] == 0:
            await task.deferLater(reactor, 0.2)
        for number, other in enumerate(others, 1):
            self.assertEqual(other.all_logged("url_unreached"), [])
            self.assertEqual((await self.ground.status(number))["handshake_failures"], {})
        self.assertEqual(status["handshake_failures"], {})
        self.assertIn(f"?   no node reaches this node's URL {wrong}", await self.says(3))
        self.assertIn("ok  others reach its URL https://10.99.0.1:4567", await self.says(1))

    async def test_behind_nat(self) -> None:
        """Behind a NAT that lets nothing in, a node that finds out its own address advertises one
        that nobody can reach, and is told so. One whose router forwards a port is not."""
        self.behind_router(2, FORWARD.format(number=2))
        self.tell(2, PUBLIC_PORT)
        self.behind_router(3, CLOSED)
        self.tell(3, 4567)
        self.ground.change(
            3,
            clustering__control_api_advertise_url="auto",
            clustering__bootstrap_groups={
                "first": {"bootstrap_node_urls": ["https://10.99.0.1:4567"]}
            },
        )
        first, second, node = self.start_hastily()
        event = await node.logged("url_unreached")
        self.assertIn("no node reaches this node's URL https://192.168.3.2:4567", event["note"])
        self.assertIn("Expected behind NAT", event["note"])
        self.assertTrue((await self.ground.status(3))["ready"])
        await self.exchange(3, 1)
        self.assertEqual(first.all_logged("url_unreached"), [])
        self.assertEqual(second.all_logged("url_unreached"), [])
