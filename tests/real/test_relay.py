"""Real nodes of which some cannot connect to each other, and that are linked through another one.

10.99.0.0/24, a bridge      node 1 reaches all; nftables keep nodes 2 and 3 apart
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable

from pyroute2 import IPRoute

from tests.real.test_mesh import IPV4, MEGABYTE, MUST_FAIL_PATIENCE, MeshCase
from tests.support import netns
from tests.support.realnode import RealNode

NODAD = 2  # IFA_F_NODAD, linux/if_addr.h: the address can be used at once
WALL = """
table inet wall {{
    chain in {{ type filter hook input priority 0; ip saddr {{ {others} }} {verdict}; }}
    chain out {{ type filter hook output priority 0; ip daddr {{ {others} }} {verdict}; }}
}}
"""


class WallCase(MeshCase):
    """Nodes, some of which are kept apart."""

    skip = netns.skip_reason() or (
        None if shutil.which("nft") else "nft is not installed (Debian: nftables)"
    )
    nodes = 3

    def nft(self, number: int, rules: str) -> None:
        with self.ground.namespace(number):
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def block(self, number: int, others: Iterable[int], verdict: str = "drop") -> None:
        """Let nothing through between this node and these."""
        places = ", ".join(self.ground.plans[other - 1].underlay for other in others)
        self.nft(number, WALL.format(others=places, verdict=verdict))

    def unblock(self, number: int) -> None:
        self.nft(number, "delete table inet wall")

    def start(self, **networking: object) -> list[RealNode]:
        for plan in self.ground.plans:
            self.ground.change(
                plan.number, **{f"networking__{key}": value for key, value in networking.items()}
            )
        return [self.ground.start(plan.number) for plan in self.ground.plans]


class RelayTests(WallCase):
    """Two nodes that are kept apart, and a third one."""

    async def test_blocked_pair(self) -> None:
        """They are linked through the third one: datagrams, pings and a large transfer arrive,
        each node shows how, and the third one counts what it carries. When the wall is gone the
        link becomes direct, and none of them notices."""
        self.block(2, [3])
        nodes = self.start()
        linked = await nodes[1].logged("linked", peer="node3")
        self.assertEqual(linked["relay"], "node1")
        await nodes[2].logged("linked", peer="node2", relay="node1")
        for one, other in ((2, 3), (3, 2)):
            await self.exchange(one, other)
            self.assertTrue(await self.ping(one, other))
            self.assertTrue(await self.ping(one, other, 6))
        await self.upload(2, 3, os.urandom(16 * MEGABYTE), IPV4)
        [peer] = [each for each in (await self.ground.status(2))["peers"] if each["relay"]]
        self.assertEqual((peer["name"], peer["relay"]["name"]), ("node3", "node1"))
        carried = (await self.ground.status(1))["relaying"]
        self.assertEqual((carried["streams"], carried["links"]), (1, [["node2", "node3"]]))
        self.assertGreater(carried["bytes"], 16 * MEGABYTE)
        self.unblock(2)
        await nodes[1].logged("link_way", peer="node3", relay="")
        self.assertTrue(await self.ping(2, 3))
        self.assertEqual(nodes[1].all_logged("unlinked"), [])

    async def test_direct_link_lost(self) -> None:
        """A direct link that breaks at both ends, while nothing gets through any more, is replaced
        by a relayed one. How soon: tests.node.test_relays."""
        nodes = self.start()
        await nodes[1].logged("linked", peer="node3")
        await nodes[2].logged("linked", peer="node2")
        self.block(2, [3])
        self.reset(2, 3)
        self.reset(3, 2)
        await nodes[1].logged("unlinked", peer="node3")
        await nodes[1].logged("linked", peer="node3", relay="node1")
        await nodes[2].logged("linked", peer="node2", relay="node1")
        self.assertTrue(await self.ping(2, 3))

    def reset(self, number: int, other: int) -> None:
        """End all connections of one machine with another one."""
        there = self.ground.plans[other - 1].underlay
        with self.ground.namespace(number):
            subprocess.run(["ss", "--kill", "dst", there], check=True, capture_output=True)

    async def test_declined(self) -> None:
        """Where no node carries for others, they stay apart."""
        self.block(2, [3])
        nodes = self.start(relay=False)
        for node in nodes[1:]:
            await node.logged("linked", peer="node1")
        refused = 'tunmesh_carried_requests_total{outcome="refused"}'
        while not (await self.ground.metrics(1))[refused]:
            pass
        self.assertFalse(await self.ping(2, 3, patience=MUST_FAIL_PATIENCE))
        self.assertEqual([len(node.all_logged("linked")) for node in nodes[1:]], [1, 1])


class FamiliesTests(WallCase):
    """One node has IPv4 only outside, another one IPv6 only, a third one both."""

    async def test_two_families(self) -> None:
        """They are linked through the third one."""
        nodes = {}
        for number in (1, 3):
            with self.ground.namespace(number), IPRoute() as ip:
                cable = ip.link_lookup(ifname="eth0")[0]
                ip.addr("add", index=cable, address=f"fd99::{number}", prefixlen=64, flags=NODAD)
                if number == 3:
                    ip.flush_addr(index=cable, family=socket.AF_INET)
        self.ground.change(
            3,
            clustering__control_api_advertise_url="https://[fd99::3]:4567",
            clustering__bootstrap_groups={
                "first": {"bootstrap_node_urls": ["https://[fd99::1]:4567"]}
            },
        )
        for number in (1, 2, 3):
            nodes[number] = self.ground.start(number)
        for one, other in ((2, 3), (3, 2)):
            await nodes[one].logged("linked", peer=f"node{other}", relay="node1")
        await self.exchange(2, 3)
        await self.exchange(3, 2)
        direct = [peer["relay"] for peer in (await self.ground.status(1))["peers"]]
        self.assertEqual(direct, [None, None])
