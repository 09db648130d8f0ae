"""Real nodes on the first hosts of a ground, and an attacker on the last one, which has no
node.

Nodes are numbered from 1; the others bootstrap from node 1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.contenders.tunmesh import NOBODY, prepare
from bench.errors import BenchError
from bench.iperf import await_line
from bench.lab import Ground, Host, Lab
from tunmesh.localmesh.plan import NodePlan, Owner, node_config

PATIENCE = 30.0  # seconds until an expected event is given up
POLL = 0.01
TWISTD = str(Path(sys.executable).with_name("twistd"))
Figures = Iterator[tuple[str, float]]  # measurements, as they arrive


class Stage:
    """The nodes of one attack."""

    def __init__(self, lab: Lab, nodes: int) -> None:
        self.ground = lab.ground("attack", hosts=nodes + 1)
        prepare(self.ground)
        self.directory = self.ground.directory / "mesh"
        self.numbers = range(1, nodes + 1)

    def host(self, number: int) -> Host:
        """The host of that node. The attacker's is the one after the last node's."""
        return self.ground.hosts[number - 1]

    @property
    def attacker(self) -> Host:
        return self.ground.hosts[-1]

    def configure(self, number: int, changes: Mapping[str, Any]) -> None:
        """Write a node's config: the plan's, with other values at keys like `admin__socket`."""
        plan = NodePlan(number)
        config: Any = node_config(plan, NodePlan(1), Owner(NOBODY, NOBODY))
        for path, value in changes.items():
            *sections, key = path.split("__")
            section = config["tun_mesh"]
            for name in sections:
                section = section.setdefault(name, {})
            section[key] = value
        (self.directory / plan.config_file).write_text(yaml.safe_dump(config))

    def start(self, number: int, *by: str) -> None:
        """Start a node, through a program that starts another one."""
        config = str(self.directory / NodePlan(number).config_file)
        command = (TWISTD, "--nodaemon", "--pidfile=", "tunmesh", "--config", config)
        self.host(number).start_daemon(*by, *command)

    def start_all(self) -> None:
        """Start all nodes, and wait until each is linked with all others."""
        for number in self.numbers:
            self.start(number)
        for number in self.numbers:
            for peer in self.numbers:
                if peer != number:
                    self.until_logged(number, "linked", peer=NodePlan(peer).name)

    def signal(self, number: int, which: signal.Signals) -> None:
        os.kill(self.pid(number), which)

    def kill(self, number: int) -> None:
        """Kill it; the next start begins a new log."""
        daemon = self.host(number).daemon
        assert daemon  # noqa: S101
        daemon.kill()
        daemon.wait()

    def pid(self, number: int) -> int:
        daemon = self.host(number).daemon
        assert daemon  # noqa: S101
        return daemon.pid

    def logged(self, number: int, event: str, **fields: str) -> int:
        """How often a node has logged this event since it was started."""
        lines = self.host(number).log.read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        wanted = {"event": event, **fields}
        return sum(wanted.items() <= each.items() for each in events)

    def until_logged(
        self, number: int, event: str, patience: float = PATIENCE, **fields: str
    ) -> float:
        """Wait until a node has logged this event; returns the seconds it took, infinite after
        `patience`. Raises BenchError if the node ends."""
        began = time.monotonic()
        while not self.logged(number, event, **fields):
            self.host(number).check_daemon()
            if time.monotonic() - began > patience:
                return float("inf")
            time.sleep(POLL)
        return time.monotonic() - began

    def lost(self, number: int, address: str, count: int, *options: str) -> float:
        """The share of unanswered pings out of this many, sent from there to an address every 20
        ms."""
        ping = ("ping", "-i", "0.02", "-c", str(count), "-W", "1", *options, address)
        answers = self.host(number).run(*ping, accept=(0, 1)).count(" time=")
        return 1 - answers / count


@contextmanager
def attacking(name: str, ground: Ground, victim: str) -> Iterator[list[str]]:
    """Run the attack inside the `with` block; afterwards the list has the attacker's report."""
    said: list[str] = []
    command = (sys.executable, "-m", "bench.attack.attacker", name)
    with ground.hosts[-1].namespace:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command, str(ground.directory / "mesh"), victim],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        await_line(child, "ready")
        yield said
        try:
            said.append(child.communicate(timeout=PATIENCE)[0])
        except subprocess.TimeoutExpired:
            raise BenchError(f"the attacker does not end within {PATIENCE:.0f} s") from None
    finally:
        child.kill()
        child.wait()


def connections_opened(pid: int) -> int:
    """The number of TCP connections ever opened from the namespace of a process."""
    tcp = [line.split() for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()]
    names, values = (row for row in tcp if row[0] == "Tcp:")
    return int(values[names.index("ActiveOpens")])
