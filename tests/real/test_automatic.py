"""Nodes that choose their addresses themselves, as real processes with real tun devices."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import yaml
from pyroute2 import IPRoute
from twisted.trial import unittest

from tests.support import netns
from tests.support.control import command
from tests.support.realnode import TUN, Ground, RealNode, reactor
from tunmesh.localmesh.pinger import Pinger

PATIENCE = 0.5  # seconds for the answer to a ping

AUTOMATIC: Any = {
    "networking__ipv4__node_address_cidr": "auto",
    "networking__ipv6__node_address_cidr": "auto/64",
}


class AutomaticCase(unittest.TestCase):
    skip = netns.skip_reason()

    def helper_of(self, node: RealNode) -> int:
        """The process beside a node that keeps NET_ADMIN."""
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        (helper,) = (
            pid
            for pid in children
            if b"tunmesh/assigner" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return int(helper)


class Addresses(AutomaticCase):
    """Nodes that choose their addresses, and what becomes of these."""

    def begin(self, count: int, **changes: Any) -> Ground:
        """So many nodes with one config."""
        self.ground = Ground(self, count, automatic=True)
        self.ground.change(1, **changes)
        return self.ground

    async def has(self, node: RealNode, *addresses: str) -> None:
        """The node holds these addresses, in any order."""
        held = {(await node.logged("address_held"))["address"] for _ in addresses}
        self.assertEqual({each.partition("/")[0] for each in held}, set(addresses))

    def on_device(self, number: int) -> set[str]:
        """What the tun of that node has."""
        with self.ground.namespace(number), IPRoute() as ip:
            found = ip.get_addr(index=socket.if_nametoindex(TUN))
            return {message.get_attr("IFA_ADDRESS") for message in found}

    async def ping(self, sender: int, address: str) -> None:
        """Wait until a ping from that node is answered: it may hear of the address later than its
        owner logs it."""
        version = 6 if ":" in address else 4
        pinger = Pinger(reactor, self.ground.namespace(sender), version)
        self.addCleanup(pinger.close)
        while await pinger.ping_once(address, PATIENCE) is None:
            pass

    async def command(self, number: int, *arguments: str, code: int = 0) -> str:
        path = self.ground.directory / self.ground.plans[number - 1].socket
        result = await command(path, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        return str(result.output)

    async def test_one_config(self) -> None:
        """Three nodes of one config, which differ in their names only, have the addresses of their
        names on their tuns, and reach each other by them."""
        ground = self.begin(3)
        nodes = [ground.start(number) for number in (1, 2, 3)]
        for plan, node in zip(ground.plans, nodes, strict=True):
            await self.has(node, plan.ipv4, plan.ipv6)
            await node.logged("ready")
            self.assertEqual(self.on_device(plan.number), {plan.ipv4, plan.ipv6})
        for sender in ground.plans:
            for receiver in ground.plans:
                if sender is not receiver:
                    await self.ping(sender.number, receiver.ipv4)
                    await self.ping(sender.number, receiver.ipv6)
        shown = await self.command(2, "address")
        self.assertIn(f"{ground.plans[1].ipv4}/16", shown)
        await self.command(2, "wait", "--for", "address", "--timeout", "0")

    async def test_restart(self) -> None:
        """A node that was killed has the same addresses again when it is back."""
        ground = self.begin(2)
        first, second = ground.start(1), ground.start(2)
        mine = (ground.plans[1].ipv4, ground.plans[1].ipv6)
        await self.has(first, ground.plans[0].ipv4, ground.plans[0].ipv6)
        await self.has(second, *mine)
        second.signal("KILL")
        await second.ended
        again = ground.start(2)
        await self.has(again, *mine)
        await again.logged("ready")
        await self.ping(1, mine[0])

    async def test_two_of_one_name(self) -> None:
        """Two nodes of one name have an address each."""
        ground = self.begin(3)
        nodes = [ground.start(1), ground.start(2), ground.start(3, NODE_NAME="node2")]
        for node in nodes:
            await node.logged("address_held")
            await node.logged("address_held")
            await node.logged("ready")
        self.assertFalse(self.on_device(2) & self.on_device(3))
        for address in self.on_device(3):
            await self.ping(2, address)

    async def test_beside_a_static_node(self) -> None:
        """A node whose first choice is the static address of another takes its next choice, and
        says who has the first one."""
        ground = self.begin(2)
        wanted = ground.plans[1].ipv4
        ground.change(1, networking__ipv4__node_address_cidr=f"{wanted}/16")
        static = ground.directory / "static.yaml"
        static.write_text(ground.config(1).read_text())
        static.chmod(0o644)
        ground.change(1)
        first = ground.run(
            1, "--config", str(static), environ={**os.environ, **ground.plans[0].environ}
        )
        await first.logged("ready")
        second = ground.start(2)
        held = {(await second.logged("address_held"))["address"] for _ in range(2)}
        self.assertNotIn(f"{wanted}/16", held)
        await second.logged("ready")
        self.assertIn(f"{wanted} was passed over: node1 has it", await self.command(2, "address"))
        await self.ping(2, wanted)

    async def test_kernel_refuses(self) -> None:
        """A node whose device cannot be given the address that it holds says why, and exits with
        1."""
        ground = self.begin(2)
        second = ground.start(2)
        await second.logged("privileges")
        with ground.namespace(2):
            Path(f"/proc/sys/net/ipv6/conf/{TUN}/disable_ipv6").write_text("1")
        ground.start(1)
        failed = await second.logged("address_failed")
        self.assertEqual(
            failed["why"],
            f"cannot put {ground.plans[1].ipv6}/64 on the device: Permission denied",
        )
        self.assertEqual(await second.ended, 1)

    async def test_full(self) -> None:
        """In a network of two hosts the third node has no address: it says so, with the numbers,
        and is not ready. When another one leaves it gets that one's address."""
        ground = self.begin(3)
        config: Any = yaml.safe_load(ground.config(1).read_text())
        config["tun_mesh"]["networking"] = {
            "ipv4": {"network_cidr": "10.77.0.0/30", "node_address_cidr": "auto"}
        }
        ground.config(1).write_text(yaml.safe_dump(config))
        two = [ground.start(number) for number in (1, 2)]
        for node in two:
            await node.logged("ready")
        held = [address for number in (1, 2) for address in self.on_device(number)]
        self.assertEqual(set(held), {"10.77.0.1", "10.77.0.2"})
        last = ground.start(3)
        full = await last.logged("network_full")
        self.assertEqual((full["network"], full["hosts"]), ("10.77.0.0/30", 2))
        shown = await self.command(3, "status", code=2)
        self.assertIn("the network 10.77.0.0/30 is full", shown)
        self.assertIn("full", await self.command(3, "address", code=2))
        self.assertEqual(last.all_logged("ready"), [])
        two[1].signal("TERM")
        await two[1].ended
        await self.has(last, held[1])
        await last.logged("ready")
        await self.ping(1, held[1])


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
        self.assertEqual(lost["why"], "the helper process for the device is gone")
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
