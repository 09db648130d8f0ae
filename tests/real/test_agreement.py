"""Real meshes with one misconfigured node, which is the one that is not ready."""

from __future__ import annotations

from typing import Any

from tests.real.test_mesh import MeshCase
from tests.support.realnode import HASTY, Event, RealNode

IPV4_ONLY = {"networking__ipv6": None}


class WrongNodeTests(MeshCase):
    """Three correctly configured nodes, and a fourth one."""

    nodes = 4

    async def readyz(self, number: int) -> tuple[int, Any]:
        """The status code, and the checks by name."""
        code, _ = await self.ground.get("/readyz", number)
        checks = (await self.ground.status(number))["checks"]
        return code, {check["name"]: check for check in checks}

    async def join(self, **changes: object) -> tuple[list[RealNode], RealNode, Event]:
        """Start the fourth node with these changes to its config; returns the first event in which
        the first node reports that their networks differ."""
        others = await self.ground.linked(3)
        self.ground.change(4, **changes)
        fourth = self.ground.start(4)
        for plan, node in zip(self.ground.plans, others, strict=False):
            await fourth.logged("linked", peer=plan.name)
            await node.logged("linked", peer="node4")
        return others, fourth, await others[0].logged("networks_differ", peer="node4")

    async def assert_others_ready(self, others: list[RealNode]) -> None:
        for number, node in enumerate(others, 1):
            status, checks = await self.readyz(number)
            self.assertEqual(status, 200, checks)
            self.assertIn("node4", checks["networks"]["reason"])
            self.assertEqual(node.all_logged("not_ready"), [], node.text)
            metrics = await self.ground.metrics(number)
            self.assertEqual(metrics["tunmesh_network_mismatches"], 1)

    async def test_another_network(self) -> None:
        """A node in another network is not ready, and says which network is on how many peers; the
        other nodes are ready, and name it."""
        other = {"network_cidr": "10.78.0.0/16", "node_address_cidr": "10.78.0.4/16"}
        others, _, event = await self.join(networking__ipv4=other, **IPV4_ONLY)
        self.assertEqual(event["ours"], "10.77.0.0/16 and fd77::/64")
        self.assertEqual(event["theirs"], "10.78.0.0/16")
        refused = "10.78.0.4 is not routed to this node by 3 of 3"
        status, checks = await self.readyz(4)
        while refused not in checks["addresses"]["reason"]:  # until all peers have said so
            status, checks = await self.readyz(4)
        self.assertEqual(status, 503)
        self.assertIn(
            "10.78.0.0/16 here, 10.77.0.0/16 and fd77::/64 on 3 peers", checks["networks"]["reason"]
        )
        self.assertEqual((await self.ground.metrics(4))["tunmesh_network_mismatches"], 3)
        await self.assert_others_ready(others)
        await self.exchange(1, 2)

    async def test_part_of_the_network(self) -> None:
        """The same for a node with only a part of the network."""
        part = {"network_cidr": "10.77.0.0/29", "node_address_cidr": "10.77.0.4/29"}
        others, _, _ = await self.join(networking__ipv4=part)
        status, checks = await self.readyz(4)
        self.assertEqual((status, checks["networks"]["ok"]), (503, False))
        self.assertIn("10.77.0.0/29", checks["networks"]["reason"])
        await self.assert_others_ready(others)

    async def test_a_family_less(self) -> None:
        """The same for a node without IPv6 if all others have it."""
        others, _, _ = await self.join(**IPV4_ONLY)
        status, checks = await self.readyz(4)
        self.assertEqual((status, checks["networks"]["ok"]), (503, False))
        await self.assert_others_ready(others)
        await self.exchange(4, 1)

    async def test_ipv6_added_node_by_node(self) -> None:
        """During a rolling update that adds IPv6, each node is ready before the next one is
        restarted, no other node becomes unready meanwhile, and IPv6 works in the end."""
        for number in (1, 2, 3):
            self.ground.change(number, **IPV4_ONLY, logging__level="debug")
        nodes = await self.ground.linked(3, PYTHONPATH=HASTY)
        for node in nodes:
            await node.logged("settled")
        for number in (1, 2, 3):
            before = nodes[number - 1]
            before.signal("TERM")
            self.assertEqual(await before.ended, 0)
            self.ground.change(number)
            nodes[number - 1] = after = self.ground.start(number, PYTHONPATH=HASTY)
            for other in {1, 2, 3} - {number}:
                await nodes[other - 1].logged("linked", peer=f"node{number}")
                await after.logged("linked", peer=f"node{other}")
            await after.logged("ready")
            self.assertEqual([(await self.readyz(n))[0] for n in (1, 2, 3)], [200] * 3)
        for node in nodes:
            self.assertEqual(node.all_logged("not_ready"), [], node.text)
        await self.exchange(3, 1)
