"""Real nodes with real faults: what the other nodes notice, in which order, and that the mesh
recovers.

How long it takes is measured elsewhere (`make faults`).
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.defer import gatherResults

from tests.real.test_mesh import MUST_FAIL_PATIENCE, MeshCase
from tests.support.places import short_directory
from tests.support.realnode import TUN, RealNode
from tunmesh.localmesh.plan import LISTEN_PORT
from tunmesh.localmesh.underlay import CABLE, PREFIX_LENGTH

QUICK_DEATH: dict[str, Any] = {
    "process__timing": {
        "registrations": {
            "bootstrap_retry_interval": 0.5,
            "local": {"reregistration_interval": 0.3, "stale_threshold": 1.0},
        }
    }
}
# A full pipe without a reader.
UNREAD_LOG = """
import fcntl, os
reader, writer = os.pipe()
os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
os.set_inheritable(reader, True)
os.dup2(writer, 1)
"""
FULL_DISK = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
# Python's time of day is one hour behind.
CLOCK_BEHIND = "import time; now = time.time; time.time = lambda: now() - 3600\n"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"

UNDERLAY = "10.99.0.0/24"
LOCAL_TABLE = 255  # RT_TABLE_LOCAL of include/uapi/linux/rtnetlink.h
LOCAL_LATER = 10  # a priority after the rules of these tests


class FaultCase(MeshCase):
    """Three nodes that give each other up after a second of silence."""

    nodes = 3

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.ground.change(number, **QUICK_DEATH)

    async def given_up(self, victim: int, others: dict[int, RealNode]) -> None:
        """All others report that they are no longer linked with it."""
        name = self.ground.plans[victim - 1].name
        await gatherResults([node.logged("unlinked", peer=name) for node in others.values()])

    async def linked_again(self, victim: int, others: dict[int, RealNode]) -> None:
        """All others are linked with it, and one of them can reach it."""
        name = self.ground.plans[victim - 1].name
        await gatherResults([node.logged("linked", peer=name) for node in others.values()])
        await self.exchange(1, victim)
        await self.exchange(victim, 1)

    def cable(self, number: int, state: str) -> None:
        with self.ground.namespace(number), IPRoute() as ip:
            ip.link("set", index=socket.if_nametoindex(CABLE), state=state)

    def readdress(self, number: int, address: str) -> None:
        """Give a node's host this address, and no other."""
        with self.ground.namespace(number), IPRoute() as ip:
            index = socket.if_nametoindex(CABLE)
            ip.flush_addr(index=index, family=socket.AF_INET)
            ip.addr("add", index=index, address=address, prefixlen=PREFIX_LENGTH)

    def drop(self, number: int, enters_by: str, verb: str = "add") -> None:
        """Drop the underlay's packets that enter that node's routing by this device: the cable for
        incoming packets, "lo" for outgoing ones. "del" ends that. It uses policy rules
        (ip-rule(8)), for which no program needs to be installed."""
        # Rules are evaluated in the order of their priority, and the local table's is 0.
        local = {"add": (LOCAL_LATER, 0), "del": (0, LOCAL_LATER)}[verb]
        with self.ground.namespace(number), IPRoute() as ip:
            ip.rule("add", priority=local[0], table=LOCAL_TABLE)
            ip.rule("del", priority=local[1], table=LOCAL_TABLE)
            ip.rule(verb, priority=0, iifname=enters_by, dst=UNDERLAY, action="FR_ACT_BLACKHOLE")


class SilenceTests(FaultCase):
    """A node that falls silent, with nothing to show that it is gone."""

    async def test_stopped(self) -> None:
        """A stopped node is given up, while the others go on; when it continues, it is linked with
        all of them again."""
        first, second, third = await self.ground.linked(3)
        others = {1: first, 3: third}
        second.signal("STOP")
        await self.given_up(2, others)
        await self.exchange(1, 3)
        self.assertFalse(await self.ping(1, 2, patience=MUST_FAIL_PATIENCE))
        os.kill(second.pid, signal.SIGCONT)
        await self.linked_again(2, others)

    async def test_cable_and_one_way(self) -> None:
        """A node whose cable is pulled, or which cannot receive or cannot send, is given up; its
        links come back with the network, without a restart."""
        first, second, third = await self.ground.linked(3)
        others = {1: first, 3: third}
        for enters_by in ("", CABLE, "lo"):
            if enters_by:
                self.drop(2, enters_by)
            else:
                self.cable(2, "down")
            await self.given_up(2, others)
            await second.logged("unlinked", peer="node1")
            if enters_by:
                self.drop(2, enters_by, "del")
            else:
                self.cable(2, "up")
            await self.linked_again(2, others)
            self.assertTrue(second.is_running)


class WithoutBootstrapTests(FaultCase):
    """The bootstrap node of all others is of no more help."""

    async def test_it_is_dead(self) -> None:
        """Two other nodes find each other again after a network outage, and after one of them was
        killed, or left, and was restarted."""
        first, second, third = await self.ground.linked(3)
        first.signal("KILL")
        await self.given_up(1, {2: second, 3: third})
        self.cable(2, "down")
        await self.given_up(2, {3: third})
        await second.logged("unlinked", peer="node3")
        self.cable(2, "up")
        await self.found_again(second)
        for how in ("KILL", "TERM"):
            third.signal(how)
            await third.ended
            await self.given_up(3, {2: second})
            third = self.ground.start(3)
            await self.found_again(second)

    async def found_again(self, second: RealNode) -> None:
        await second.logged("linked", peer="node3")
        await self.exchange(2, 3)
        await self.exchange(3, 2)

    async def test_it_has_another_address(self) -> None:
        """A bootstrap node whose host has another address after a network outage dials the others,
        which do not know its new address."""
        first, second, third = await self.ground.linked(3)
        others = {2: second, 3: third}
        self.cable(1, "down")
        await self.given_up(1, others)
        self.readdress(1, "10.99.0.101")
        self.cable(1, "up")
        await self.linked_again(1, others)
        self.assertTrue(first.is_running)


class PowerTests(FaultCase):
    """A machine that loses power closes no connection, and may come back with a wrong clock."""

    def setUp(self) -> None:
        MeshCase.setUp(self)  # silent links are given up after 15 s, not earlier

    async def test_clock_is_behind(self) -> None:
        """A restarted node whose clock is an hour behind is reachable at its address as soon as it
        is linked, since its previous life does not answer. No node reports a duplicate address."""
        first, second = await self.ground.linked(2)
        self.cable(2, "down")
        second.signal("KILL")
        await second.ended
        self.ground.move(2, self.ground.namespace(3))
        self.readdress(2, self.ground.plans[1].underlay)
        wrong = short_directory(self)
        (wrong / "sitecustomize.py").write_text(CLOCK_BEHIND)
        second = self.ground.run(
            2,
            "--config",
            str(self.ground.config(2)),
            environ={**os.environ, "PYTHONPATH": str(wrong)},
        )
        await first.logged("linked", peer="node2")
        gone = await first.logged("unlinked", peer="node2")
        self.assertNotIn("silent for", gone["reason"])  # it was asked: nobody waited for silence
        await self.exchange(1, 2)
        await self.exchange(2, 1)
        for node in (first, second):
            self.assertEqual(node.all_logged("address_conflict"), [], node.text)
            self.assertEqual(node.all_logged("address_refused"), [], node.text)


class MachineTests(FaultCase):
    """Faults of the machine."""

    nodes = 2

    def setUp(self) -> None:
        MeshCase.setUp(self)

    async def test_tun_deleted(self) -> None:
        """A node whose tun is deleted exits with 1 and one line; its peer is told at once, and the
        next start works."""
        first, second = await self.ground.linked(2)
        with self.ground.namespace(2), IPRoute() as ip:
            ip.link("del", index=socket.if_nametoindex(TUN))
        self.assertEqual(await second.ended, 1)
        self.assertIn("deleted the interface", (await second.logged("tun_lost"))["text"])
        await first.logged("unlinked", peer="node2")
        self.ground.start(2)
        await first.logged("linked", peer="node2")
        await self.exchange(1, 2)

    async def test_unread_log(self) -> None:
        """A node goes on when its log is not read, and when the disk of its log is full."""
        first = self.ground.start(1)
        await first.logged("ready")
        for before in (UNREAD_LOG, FULL_DISK):
            second = self.ground.start(2, before=before)
            await first.logged("linked", peer="node2")
            await self.exchange(1, 2)
            await self.exchange(2, 1)
            second.signal("TERM")
            self.assertEqual(await second.ended, 0)
            await first.logged("unlinked", peer="node2")

    async def test_no_descriptors_left(self) -> None:
        """Strangers who use up all of a node's file descriptors cannot take its links; when they
        are gone, it accepts new nodes again."""
        second = self.ground.start(2, before=FEW_FILES)
        first = self.ground.start(1)
        await second.logged("linked", peer="node1")
        answer, strangers = (200, ""), [self.stranger(2) for _ in range(80)]
        while answer != (0, ""):
            # They are dismissed after 5 s, which a slow machine may take for all of this.
            strangers += [self.stranger(2) for _ in range(80)]
            self.assertTrue(await self.ping(1, 2))
            answer = await self.ground.get("/livez", 2)
        await self.exchange(1, 2)
        for one in strangers:
            one.close()
        while (await self.ground.get("/livez", 2))[0] != 200:
            self.assertTrue(second.is_running)
        first.signal("KILL")
        await second.logged("unlinked", peer="node1")
        self.ground.start(1)
        await second.logged("linked", peer="node1")
        await self.exchange(1, 2)

    async def test_soft_limit_of_descriptors(self) -> None:
        """A node raises its limit of file descriptors as far as it may: the members of a mesh can
        need more than the usual 1,024."""
        limits = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))\n"
        node = self.ground.start(1, before=limits)
        await node.logged("listening")
        said = Path(f"/proc/{node.pid}/limits").read_text().splitlines()
        (files,) = [line.split() for line in said if line.startswith("Max open files")]
        self.assertEqual(files[3:5], ["2048", "2048"])

    def stranger(self, number: int) -> socket.socket:
        """Connects and sends nothing."""
        with self.ground.namespace(1):
            one = socket.socket()
        self.addCleanup(one.close)
        one.connect((self.ground.plans[number - 1].underlay, LISTEN_PORT))
        return one


class DuplicateTests(FaultCase):
    """Two live nodes with one address."""

    def setUp(self) -> None:
        MeshCase.setUp(self)  # a node that is silent because the machine is busy is not given up

    async def test_incumbent_keeps_it(self) -> None:
        """The node that was there first keeps the address; the newcomer is linked, not ready, and
        counts it; both report it once, and no link is closed for it. When the incumbent leaves, the
        newcomer gets the address."""
        first, second = await self.ground.linked(2)
        shared = {"network_cidr": "10.77.0.0/16", "node_address_cidr": "10.77.0.2/16"}
        self.ground.change(3, networking__ipv4=shared)
        third = self.ground.start(3)
        refused = await third.logged("address_refused", peer="node1")
        self.assertEqual(refused["addresses"], "10.77.0.2")
        conflict = await first.logged("address_conflict", peer="node3")
        self.assertIn("node2 holds it", conflict["text"])
        self.assertEqual((await self.ground.get("/readyz", 3))[0], 503)
        await third.logged("linked", peer="node2")
        both = "two nodes have the address 10.77.0.2: this node and node2"
        self.assertIn(both, await self.ground.reasons(3))
        self.assertEqual((await self.ground.get("/readyz", 2))[0], 200)
        self.assertEqual((await self.ground.metrics(3))["tunmesh_addresses_refused"], 1)
        await self.exchange(1, 2)
        for node in (first, second, third):
            self.assertEqual(node.all_logged("unlinked"), [], node.text)
        self.assertEqual(len(first.all_logged("address_conflict")), 1, first.text)
        second.signal("TERM")
        await second.ended
        await third.logged("ready")
        self.assertTrue(await self.ping(1, 2))
