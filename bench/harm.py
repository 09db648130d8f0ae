"""The faults: what is done to node 2 of three, and what is measured."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bench.realmesh import TUN, RealMesh, cpu_seconds
from bench.watch import Watch
from tunmesh.localmesh.plan import LISTEN_PORT, NodePlan
from tunmesh.localmesh.processes import MeshError
from tunmesh.localmesh.transfers import transfer

# The limits that docs/reliability.md promises, in seconds. A cut is noticed sooner by who sends
# packets.
CUT, SENDING, AT_ONCE = 20.0, 5.0, 0.5
MESH = 0.5  # of a restart, the mesh's part: from when the node listens
ANOTHER_LINK = 2.0  # from when the other node listens, for one without a free descriptor
PINGED = 5.0  # between two pings of a node that hears nobody, and that others hear
PATIENCE = 60.0
POLL = 0.02
VICTIM = 2
MOVED = "10.99.0.102"
AS_ITS_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NOT_THERE = 0.001  # the limit for figures that are counts and must be zero


class Scene:
    """One mesh, in which node 2 is watched from node 1."""

    hosts: ClassVar[Path]
    """The nodes' /etc/hosts."""

    def __init__(
        self, mesh: RealMesh, watch: Watch, enter: Callable[[str, float, float | None], None]
    ) -> None:
        self.mesh = mesh
        self.watch = watch
        self.enter = enter
        self.has_bystander = True

    async def begin(self) -> None:
        """All nodes are linked, and pings to node 2 are answered."""
        await self.mesh.start_all()
        await self.until_flows(self.watch)

    async def until_flows(self, watch: Watch) -> None:
        since, end = time.monotonic(), time.monotonic() + PATIENCE
        while watch.first_after(since) is None:
            if time.monotonic() > end:
                raise MeshError(f"no traffic within {PATIENCE:.0f} s")
            await self.mesh.rest(POLL)

    async def flows_again(self, since: float, limit: float | None, what: str = "traffic") -> None:
        """Wait for the first ping that is answered from now on."""
        await self.until_flows(self.watch)
        self.enter(what, self.watch.first_after(since) or 0.0, limit)

    async def noticed(self, since: float, limits: Mapping[int, float]) -> None:
        """Wait until these nodes report that their link with node 2 is lost. Node 1 pings it, node
        3 sends it nothing."""
        for number, limit in limits.items():
            await self.mesh.until(partial(self._unlinked, number), "nobody notices", PATIENCE)
            self.enter(f"node {number} withdraws it", time.monotonic() - since, limit)

    def _unlinked(self, number: int) -> bool:
        names = [plan.name for plan in self.mesh.plans]
        return (names[number - 1], names[VICTIM - 1]) not in self.mesh.nodes.links()

    async def kill(self) -> None:
        self.mesh.signal(VICTIM, "KILL")
        await self.mesh.ended(VICTIM)

    async def restart(self) -> None:
        since = time.monotonic()
        self.mesh.start(VICTIM)
        await self.mesh.until(lambda: self.mesh.process(VICTIM).listening, "it does not start")
        started = time.monotonic()
        # Most of it is Python's startup, which takes as long as the machine is busy.
        await self.flows_again(since, None, "(traffic after start)")
        await self.flows_again(started, MESH, "… after it listens")

    def said(self, number: int, event: str) -> int:
        """How often a node has logged this event."""
        log = self.mesh.directory / self.mesh.plans[number - 1].log_file
        lines = log.read_text().splitlines()
        return sum(json.loads(line)["event"] == event for line in lines if line.startswith("{"))


async def kill(scene: Scene) -> None:
    await scene.kill()
    await scene.restart()


async def power(scene: Scene) -> None:
    """As `kill`, but no connection is closed: the others still hold their links when it comes
    back."""
    scene.mesh.firewall(VICTIM, 'oifname "eth0" drop', 'iifname "eth0" drop')
    await scene.kill()
    scene.mesh.firewall(VICTIM)
    await scene.restart()


async def other_inner(scene: Scene) -> None:
    await scene.kill()
    new = {"network_cidr": "10.77.0.0/16", "node_address_cidr": "10.77.0.102/16"}
    scene.mesh.configure(VICTIM, {"networking__ipv4": new})
    scene.watch.move("10.77.0.102")
    await scene.restart()


async def other_outer(scene: Scene) -> None:
    await scene.kill()
    scene.mesh.readdress(VICTIM, MOVED)
    url = f"https://{MOVED}:{LISTEN_PORT}"
    scene.mesh.configure(VICTIM, {"clustering__control_api_advertise_url": url})
    await scene.restart()


async def term(scene: Scene) -> None:
    since = time.monotonic()
    scene.mesh.signal(VICTIM, "TERM")
    await scene.noticed(since, {1: AT_ONCE, 3: AT_ONCE})
    await scene.mesh.ended(VICTIM)
    await scene.restart()


def stopped(seconds: float) -> Callable[[Scene], Awaitable[None]]:
    """The process is stopped for that long, and does not notice."""

    async def act(scene: Scene) -> None:
        since = time.monotonic()
        scene.mesh.signal(VICTIM, "STOP")
        await _while_away(scene, since, seconds, CUT)
        since = time.monotonic()
        scene.mesh.signal(VICTIM, "CONT")
        await scene.flows_again(since, CUT, "traffic after CONT")

    return act


def cable(seconds: float) -> Callable[[Scene], Awaitable[None]]:
    async def act(scene: Scene) -> None:
        since = time.monotonic()
        scene.mesh.pull_cable(VICTIM)
        await _while_away(scene, since, seconds, SENDING)
        since = time.monotonic()
        scene.mesh.plug_cable(VICTIM)
        await scene.flows_again(since, CUT, "traffic after plugging")

    return act


def silent(rule: str, limit: float) -> Callable[[Scene], Awaitable[None]]:
    """Packets are dropped in one direction; node 1 is to notice it within `limit` seconds."""

    async def act(scene: Scene) -> None:
        since = time.monotonic()
        scene.mesh.firewall(VICTIM, rule)
        await _while_away(scene, since, 30.0, limit)
        since = time.monotonic()
        scene.mesh.firewall(VICTIM)
        await scene.flows_again(since, CUT, "traffic after its end")

    return act


async def _while_away(scene: Scene, since: float, seconds: float, sending: float) -> None:
    """For that long, in which those notice it for whom it is long enough. `sending`: the limit for
    node 1."""
    limits = {1: sending, 3: CUT}
    await scene.noticed(since, {number: s for number, s in limits.items() if s <= seconds})
    await scene.mesh.rest(since + seconds - time.monotonic())


def lossy(percent: int) -> Callable[[Scene], Awaitable[None]]:
    """Some packets are dropped, in both directions."""

    async def act(scene: Scene) -> None:
        drop = f"numgen random mod 100 < {percent} drop"
        scene.mesh.firewall(VICTIM, f'oifname "eth0" {drop}', f'iifname "eth0" {drop}')
        before = sum(scene.said(number, "unlinked") for number in (1, 2, 3))
        since = time.monotonic()
        payload = os.urandom(4_000_000)
        places = scene.mesh.place(1), scene.mesh.place(VICTIM)
        rate = await transfer(scene.mesh.reactor, *places, payload, 120.0)
        scene.enter("(TCP, Mbit/s)", rate / 1e6, None)
        mesh, underlay = scene.mesh, scene.mesh.plans[VICTIM - 1].underlay
        with closing(Watch(mesh.reactor, mesh.namespace(1), underlay)) as outside:
            await scene.mesh.rest(max(1.0, since + 20.0 - time.monotonic()))
            scene.enter("(pings lost beside it, %)", outside.lost(since) * 100, None)
        scene.enter("(pings lost in the mesh, %)", scene.watch.lost(since) * 100, None)
        scene.enter("longest outage", scene.watch.outage(since), CUT)
        after = sum(scene.said(number, "unlinked") for number in (1, 2, 3))
        scene.enter("(links lost)", after - before, NOT_THERE)

    return act


async def readdressed(scene: Scene) -> None:
    """The machine gets another address while the node runs; its name is updated."""
    await _by_name(scene)
    since = time.monotonic()
    scene.mesh.readdress(VICTIM, MOVED)
    hosts = scene.hosts.read_text()
    scene.hosts.write_text(hosts.replace("10.99.0.2 ", f"{MOVED} "))
    try:
        await scene.mesh.rest(1.0)
        await scene.flows_again(since + 1.0, CUT, "traffic")
    finally:
        scene.hosts.write_text(hosts)


async def _by_name(scene: Scene) -> None:
    """The same nodes, addressed by name."""
    for number in (1, 2, 3):
        scene.mesh.signal(number, "KILL")
        await scene.mesh.ended(number)
        url = f"https://node{number}:{LISTEN_PORT}"
        known = {"first": {"bootstrap_node_urls": [f"https://node1:{LISTEN_PORT}"]}}
        changes = {
            "clustering__control_api_advertise_url": url,
            "clustering__bootstrap_groups": {} if number == 1 else known,
        }
        scene.mesh.configure(number, changes)
    scene.has_bystander = False
    await scene.begin()


async def tun_deleted(scene: Scene) -> None:
    """Without its tun a node is useless: it must exit, to be restarted by its supervisor."""
    since = time.monotonic()
    scene.mesh.run(VICTIM, "ip", "link", "delete", TUN)
    await scene.mesh.ended(VICTIM)
    scene.enter("its end", time.monotonic() - since, 2.0)
    scene.enter("(exit code)", scene.mesh.process(VICTIM).status or 0, 1.0)
    await scene.restart()


async def no_descriptors(scene: Scene) -> None:
    """Strangers use up all file descriptors that its process may open."""
    pid = scene.mesh.pid(VICTIM)
    scene.mesh.run(VICTIM, *AS_ITS_USER, "prlimit", f"--pid={pid}", "--nofile=40:40")
    since, busy = time.monotonic(), cpu_seconds(pid)
    place = (NodePlan(VICTIM).underlay, LISTEN_PORT)
    with ExitStack() as stack:
        for _ in range(200):
            with scene.mesh.namespace(3):
                stranger = stack.enter_context(socket.socket())
            stranger.setblocking(False)
            with suppress(BlockingIOError):
                stranger.connect(place)
        await scene.mesh.rest(4.0)
        share = (cpu_seconds(pid) - busy) / (time.monotonic() - since)
        scene.enter("(CPU meanwhile, % of a core)", share * 100, 50.0)
        scene.enter("outage of its links", scene.watch.outage(since), 1.0)
        scene.enter("(lines logged)", scene.said(VICTIM, "log"), 10.0)
    await scene.mesh.rest(6.0)
    scene.mesh.signal(1, "KILL")
    await scene.mesh.ended(1)
    scene.mesh.start(1)
    scene.has_bystander = False
    await scene.mesh.until(lambda: scene.mesh.process(1).listening, "it does not start")
    await scene.flows_again(time.monotonic(), ANOTHER_LINK, "a new link afterwards")


async def duplicate(scene: Scene) -> None:
    """Node 3 restarts with the address of node 2, which is alive."""
    scene.mesh.signal(3, "KILL")
    await scene.mesh.ended(3)
    same = {"network_cidr": "10.77.0.0/16", "node_address_cidr": "10.77.0.2/16"}
    scene.mesh.configure(3, {"networking__ipv4": same})
    scene.has_bystander = False
    before = sum(scene.said(number, "unlinked") for number in (1, 2, 3))
    since = time.monotonic()
    scene.mesh.start(3)
    await scene.mesh.until(scene.mesh.is_whole, "the newcomer is not linked")
    await scene.mesh.rest(60.0)
    after = sum(scene.said(number, "unlinked") for number in (1, 2, 3))
    scene.enter("outage of the incumbent", scene.watch.outage(since), 1.0)
    scene.enter("(links lost in a minute)", after - before, NOT_THERE)
    for number, event in ((1, "address_conflict"), (3, "address_refused")):
        scene.enter(f"(node{number} says so, times)", scene.said(number, event), 2.0)


@dataclass(frozen=True)
class Fault:
    act: Callable[[Scene], Awaitable[Any]]
    quick: bool = True


FAULTS: Mapping[str, Fault] = {
    "kill -9": Fault(kill),
    "power cut": Fault(power),
    "new mesh address": Fault(other_inner),
    "new host address": Fault(other_outer),
    "TERM": Fault(term),
    "STOP for 5 s": Fault(stopped(5.0)),
    "STOP for 60 s": Fault(stopped(60.0), False),
    "cable out for 5 s": Fault(cable(5.0)),
    "cable out for 60 s": Fault(cable(60.0), False),
    "deaf (in dropped)": Fault(silent('iifname "eth0" drop', SENDING + PINGED), False),
    "mute (out dropped)": Fault(silent('oifname "eth0" drop', SENDING), False),
    "1 % loss each way": Fault(lossy(1), False),
    "5 % loss each way": Fault(lossy(5), False),
    "host address changes": Fault(readdressed, False),
    "tun deleted": Fault(tun_deleted),
    "no descriptors left": Fault(no_descriptors, False),
    "duplicate address": Fault(duplicate, False),
}
