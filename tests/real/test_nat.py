"""Real nodes behind routers that translate addresses and ports, or block incoming connections.

10.99.0.0/24 ──── router ──── node          a router for each node behind NAT; outside
               .K     192.168.K.0/24        it has the address that the node would have had
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pyroute2 import IPRoute

from tests.real.test_mesh import MeshCase
from tests.support import netns
from tests.support.realnode import RealNode
from tunmesh.host.namespaces import Namespace

PUBLIC_PORT = 14567


class RouterCase(MeshCase):
    """Nodes, some of which are behind routers."""

    skip = netns.skip_reason() or (
        None if shutil.which("nft") else "nft is not installed (Debian: nftables)"
    )
    nodes = 4

    def behind_router(self, number: int, rules: str) -> Namespace:
        """Put a node behind a router with these nftables rules in addition to masquerading; returns
        the router."""
        inside = Namespace.create()
        self.addCleanup(inside.close)
        router = self.ground.move(number, inside)
        with inside, IPRoute() as ip:
            ip.link("add", ifname="lan", kind="veth", peer={"ifname": "eth0"})
            lan = ip.link_lookup(ifname="lan")[0]
            ip.link("set", index=lan, net_ns_fd=router.fd)
            for name in ("lo", "eth0"):
                ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")
            cable = ip.link_lookup(ifname="eth0")[0]
            ip.addr("add", index=cable, address=f"192.168.{number}.2", prefixlen=24)
        with router, IPRoute() as ip:
            lan = ip.link_lookup(ifname="lan")[0]
            ip.link("set", index=lan, state="up")
            ip.addr("add", index=lan, address=f"192.168.{number}.1", prefixlen=24)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            subprocess.run(["nft", "-f", "-"], input=MASQUERADE + rules, text=True, check=True)
        with inside, IPRoute() as ip:
            ip.route("add", dst="default", gateway=f"192.168.{number}.1")
        return router

    def tell(self, number: int, port: int) -> None:
        """Have a node advertise this port of its own or its router's address, and bootstrap from
        the first node."""
        plan = self.ground.plans[number - 1]
        self.ground.change(
            number,
            clustering__control_api_advertise_url=f"https://{plan.underlay}:{port}",
            clustering__bootstrap_groups={
                "first": {"bootstrap_node_urls": [f"https://10.99.0.1:{self.first_port}"]}
            },
        )

    first_port = 4567

    async def linked(self, *pairs: tuple[int, int]) -> list[RealNode]:
        """Start all nodes and wait for these links."""
        nodes = [self.ground.start(plan.number) for plan in self.ground.plans]
        for one, other in pairs:
            await nodes[one - 1].logged("linked", peer=f"node{other}")
            await nodes[other - 1].logged("linked", peer=f"node{one}")
        return nodes


class ForwardedPortTests(RouterCase):
    """Nodes behind NAT whose public port differs from the port that they listen on."""

    nodes = 3
    first_port = PUBLIC_PORT

    async def test_all_behind_nat(self) -> None:
        """Each node advertises the public port; all are linked, and traffic flows between them. A
        node need not reach itself at its public address, and does not complain."""
        for number in (1, 2, 3):
            self.behind_router(number, FORWARD.format(number=number))
            self.tell(number, PUBLIC_PORT)
        nodes = await self.linked((1, 2), (1, 3), (2, 3))
        for sender, receiver in ((1, 2), (2, 3), (3, 1)):
            await self.exchange(sender, receiver)
            self.assertTrue(await self.ping(sender, receiver))
        for plan, node in zip(self.ground.plans, nodes, strict=True):
            vain = [event["host"] for event in node.all_logged("unreachable")]
            self.assertNotIn(plan.underlay, vain)
            for event in node.all_logged("linked"):
                self.assertTrue(event["url"].endswith(f":{PUBLIC_PORT}"))


class DialOutOnlyTests(RouterCase):
    """Nodes that can dial out, but cannot be reached."""

    async def test_linked_with_all_reachable(self) -> None:
        """Two unreachable nodes are linked with both reachable ones, and with each other through
        one of these; all exchange traffic."""
        for number in (3, 4):
            self.behind_router(number, CLOSED)
        for number in (1, 2, 3, 4):
            self.tell(number, 4567)
        nodes = await self.linked((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))
        for number in (3, 4):
            for listener in (1, 2):
                await self.exchange(number, listener)
                await self.exchange(listener, number)
        await self.exchange(3, 4)
        await self.exchange(4, 3)
        for node, other in ((nodes[2], "node4"), (nodes[3], "node3")):
            [linked] = [each for each in node.all_logged("linked") if each["peer"] == other]
            self.assertIn(linked["relay"], ("node1", "node2"))


MASQUERADE = """
table ip nat {
    chain out { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
}
"""
FORWARD = """
table ip nat {{
    chain in {{
        type nat hook prerouting priority -100;
        iifname "eth0" tcp dport 14567 dnat to 192.168.{number}.2:4567
    }}
}}
"""
CLOSED = """
table ip filter {
    chain input { type filter hook input priority 0; iifname "eth0" tcp dport 4567 drop; }
}
"""
