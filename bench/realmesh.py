"""Real nodes in network namespaces, with faults for them and for the network between them.

    node1 … nodeN, `twistd tunmesh` processes, each on a port of one bridge (tunmesh.localmesh);
    node K is reached at 10.99.0.K, and at 10.77.0.K through the mesh

The harness reads the nodes' logs, so it waits for events instead of sleeping. Everything ends with
this process, however that ends.
"""

from __future__ import annotations

import os
import signal as signals
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from pyroute2 import IPRoute
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from bench.errors import BenchError
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh import machine
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.plan import NodePlan, Owner, node_config, write_files
from tunmesh.localmesh.processes import MeshError, NodeProcess, Nodes
from tunmesh.localmesh.transfers import Place
from tunmesh.localmesh.underlay import CABLE, PREFIX_LENGTH, Underlay

PATIENCE = 60.0  # seconds until an expected event is given up
TUN = "tun1"
Changes = Mapping[str, Any]


class RealMesh:
    """A group of nodes, numbered from 1. `make` creates it; none of its nodes runs yet."""

    def __init__(
        self, reactor: Any, underlay: Underlay, nodes: Nodes, directory: Path, owner: Owner
    ) -> None:
        self.directory = directory
        self.nodes = nodes
        self.reactor = reactor
        self._underlay = underlay
        self._owner = owner
        self.plans = [NodePlan(1 + index) for index in range(len(underlay.namespaces))]

    @classmethod
    @contextmanager
    def make(cls, reactor: Any, count: int) -> Iterator[RealMesh]:
        """Create the mesh. Raises OperatorError for what this machine lacks."""
        owner = machine.prepare()
        plans = [NodePlan(1 + index) for index in range(count)]
        directory = Path(tempfile.mkdtemp(prefix="tunmesh-mesh-"))
        with (
            closing(Janitor(directory)) as janitor,
            closing(Underlay.create([plan.underlay for plan in plans])) as underlay,
        ):
            write_files(directory, plans, owner)
            yield cls(reactor, underlay, Nodes(reactor, janitor, directory), directory, owner)

    # --- the nodes ---

    def namespace(self, number: int) -> Namespace:
        return self._underlay.namespaces[number - 1]

    def place(self, number: int) -> Place:
        """The host and port at which other nodes reach it."""
        return Place(self.namespace(number), self.plans[number - 1].ipv4)

    def process(self, number: int) -> NodeProcess:
        return self.nodes.processes[self.plans[number - 1].name]

    def pid(self, number: int) -> int:
        transport: Any = self.process(number).transport
        pid: int = transport.pid
        return pid

    def configure(self, number: int, changes: Changes) -> None:
        """Write its config again: the plan's, with other values at paths like `logging__level`."""
        plan = self.plans[number - 1]
        config: Any = node_config(plan, self.plans[0], self._owner)
        for path, value in changes.items():
            *sections, key = path.split("__")
            section = config["tun_mesh"]
            for name in sections:
                section = section.setdefault(name, {})
            section[key] = value
        (self.directory / plan.config_file).write_text(yaml.safe_dump(config))

    def start(self, number: int) -> None:
        self.nodes.start(self.plans[number - 1], self.namespace(number))

    def signal(self, number: int, name: str) -> None:
        """TERM, KILL, STOP, CONT, …; from then on its exit is expected."""
        self.process(number).may_end = True
        os.kill(self.pid(number), getattr(signals, f"SIG{name}"))

    async def ended(self, number: int) -> None:
        process = self.process(number)
        process.may_end = True
        await self.until(lambda: not process.running, f"{process.name} does not end")

    def is_linked(self, one: int, other: int) -> bool:
        """Whether both report that they are linked with each other."""
        a, b = self.plans[one - 1].name, self.plans[other - 1].name
        return {(a, b), (b, a)} <= self.nodes.links()

    def is_whole(self) -> bool:
        """Whether every node is linked with every other one."""
        pairs = len(self.plans) * (len(self.plans) - 1)
        return len(self.nodes.links()) == pairs

    async def start_all(self) -> None:
        for number in range(1, 1 + len(self.plans)):
            self.start(number)
        await self.until(self.is_whole, "the mesh does not become whole")

    async def until(
        self, holds: Callable[[], bool], missing: str, patience: float = PATIENCE
    ) -> float:
        """Wait until the nodes' logs make this true; returns the seconds it took. Raises
        MeshError."""
        began = time.monotonic()
        await self.nodes.until(holds, lambda: MeshError(missing), patience)
        return time.monotonic() - began

    def last_lines(self, error: Exception) -> str:
        """What the nodes that an error names have logged last, to be shown below it; "" for other
        errors."""
        names = error.names if isinstance(error, MeshError) else ()
        return "".join(
            f"\n  {name}: {line}" for name in names for line in self.nodes.processes[name].tail
        )

    async def rest(self, seconds: float) -> None:
        """Let time pass, for something to happen in it, or not to happen."""
        await deferLater(self.reactor, seconds)

    # --- the network between them ---

    def pull_cable(self, number: int) -> None:
        """The port of the switch loses its carrier, and so does the node's interface."""
        _set_state(self._underlay.hub, f"port{number}", "down")

    def plug_cable(self, number: int) -> None:
        _set_state(self._underlay.hub, f"port{number}", "up")

    def firewall(self, number: int, *rules: str) -> None:
        """From now on exactly these rules apply at this node; see nft(8). Rules for incoming
        packets begin with `iifname`."""
        script = ["table inet faults", "delete table inet faults", "table inet faults {"]
        for hook in ("input", "output"):
            script.append(f"chain {hook} {{ type filter hook {hook} priority 0;")
            script += [rule for rule in rules if ("iifname" in rule) == (hook == "input")]
            script.append("}")
        self.run(number, "nft", "\n".join([*script, "}"]))

    def readdress(self, number: int, address: str) -> None:
        """Give the node's end of the cable another address, as a DHCP server or a scheduler
        does."""
        with self.namespace(number), IPRoute() as ip:
            cable = socket.if_nametoindex(CABLE)
            ip.flush_addr(index=cable)
            ip.addr("add", index=cable, address=address, prefixlen=PREFIX_LENGTH)

    def run(self, number: int, *command: str) -> str:
        """Run a program in the namespace of a node; its output. Raises BenchError if it fails."""
        with self.namespace(number):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout


def _set_state(namespace: Namespace, device: str, state: str) -> None:
    with namespace, IPRoute() as ip:
        ip.link("set", index=socket.if_nametoindex(device), state=state)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """The number of files it has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def run_reactor(reactor: Any, story: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run the reactor until the coroutine ends; returns its result. Ctrl-C cancels it."""
    outcome: list[int | Failure] = []

    def begin() -> None:
        told = Deferred.fromCoroutine(story())
        reactor.addSystemEventTrigger("before", "shutdown", told.cancel)
        told.addBoth(outcome.append)
        told.addBoth(lambda _: reactor.callLater(0, _stop, reactor))

    reactor.callWhenRunning(begin)
    reactor.run()
    [code] = outcome
    if isinstance(code, Failure):
        code.raiseException()
    return code


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()


def numbers(mesh: RealMesh) -> Sequence[int]:
    return range(1, 1 + len(mesh.plans))
