"""The cost of a node by the number of its peers.

    python -m bench.scale [--quick] [--star 1,10,50] [--mesh 10,50] [--join 197] [--out DIRECTORY]

One real `twistd tunmesh` process in a network namespace of its own, and a crowd (bench.crowd) in
another. Three tables:

- star: the crowd are light-weight peers in one process. Measures what joining N of them costs the
  real node, and the cost of the idle links.
- mesh: the crowd are N whole nodes, all started at the same moment and knowing only the real node.
  Measures the time until the mesh is full.
- join: three real nodes that already form a mesh, and N nodes that all join at the same moment,
  knowing only the first one. They do not dial each other, as N² links would be too many for one
  machine. Measures the time until each of them is linked with all three.

CPU is the process's CPU time, memory its resident set, traffic the bytes on the node's network
device, including TCP and IP headers; dials are the TCP connections it opened. "per link" is the
number of dials of all nodes together, divided by the number of links in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import crowd
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh import machine, plan
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.plan import NodePlan
from tunmesh.localmesh.underlay import CABLE, Underlay

SETTLE = 8.0  # seconds after the last link until all gossip has been sent and answered
IDLE = 10.0  # seconds that an idle node is watched
PATIENCE = 300.0  # seconds until a mesh is given up
QUICK = {"star": (1, 10, 50), "mesh": (10, 50), "join": (197,)}
FULL = {"star": (1, 3, 10, 50, 100, 200, 500), "mesh": (10, 50, 100, 200), "join": (197,)}


@dataclass(frozen=True)
class Reading:
    """The resource use of a process so far, and the counters of its namespace."""

    at: float
    cpu: float  # seconds
    rss: int  # bytes
    received: int  # bytes
    sent: int
    packets: int  # both ways
    dialed: int  # TCP connections
    accepted: int

    @classmethod
    def of(cls, pid: int) -> Reading:
        proc = Path(f"/proc/{pid}")
        rx, rx_packets, *_, tx, tx_packets = _device(proc / "net/dev")
        tcp = _tcp(proc / "net/snmp")
        return cls(
            time.monotonic(),
            sum(int(t.read_text().split()[0]) for t in proc.glob("task/*/schedstat")) / 1e9,
            int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            rx,
            tx,
            rx_packets + tx_packets,
            tcp["ActiveOpens"],
            tcp["PassiveOpens"],
        )


def _device(path: Path) -> list[int]:
    """Received bytes and packets, …, sent bytes and packets of the cable."""
    line = next(line for line in path.read_text().splitlines() if CABLE in line)
    return [int(word) for word in line.split()[1:11]]


def _tcp(path: Path) -> dict[str, int]:
    names, values = (line.split()[1:] for line in path.read_text().splitlines() if "Tcp:" in line)
    return dict(zip(names, map(int, values), strict=True))


@dataclass(frozen=True)
class Row:
    """The figures of one real node with `peers` others."""

    mode: str
    peers: int
    join_seconds: float  # until all are linked as they should be
    join_cpu: float  # seconds of CPU, of the real node
    join_bytes: int  # over its device, both ways
    join_packets: int
    dials: int  # by the real node
    accepts: int
    dials_per_link: float  # by all nodes
    crowd_cpu: float  # seconds of CPU of all others together
    rss_alone: int
    rss: int
    idle_cpu: float  # share of one core
    idle_bytes: float  # per second, both ways
    idle_packets: float

    @property
    def rss_per_peer(self) -> float:
        return (self.rss - self.rss_alone) / self.peers


class Process:
    """A child process that prints one JSON object a line."""

    def __init__(self, command: Sequence[str], namespace: Namespace, janitor: Janitor) -> None:
        with namespace:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        janitor.watch(self.pid)

    @property
    def pid(self) -> int:
        return self._child.pid

    def tell(self, line: str) -> None:
        assert self._child.stdin is not None  # noqa: S101
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def until(self, event: str, times: int = 1) -> float:
        """Wait until it has printed this event that many times; returns the time of the last one,
        on the monotonic clock."""
        assert self._child.stdout is not None  # noqa: S101
        watchdog = threading.Timer(PATIENCE, self._child.kill)
        watchdog.start()
        try:
            for line in self._child.stdout:
                said = json.loads(line)
                times -= said["event"] == event
                if not times:
                    return float(said.get("at", 0.0))
        finally:
            watchdog.cancel()
        raise SystemExit(f"{event!r} did not come, or not within {PATIENCE:.0f} s")

    def end(self) -> None:
        """Close its standard input and wait for its exit."""
        assert self._child.stdin is not None  # noqa: S101
        self._child.stdin.close()
        self._child.wait()

    def ignore(self) -> None:
        """Keep reading and discard its output, so that it does not block."""
        assert self._child.stdout is not None  # noqa: S101
        threading.Thread(target=list, args=(self._child.stdout,), daemon=True).start()


def node_command(config: Path) -> list[str]:
    twistd = str(Path(sys.executable).with_name("twistd"))
    return [twistd, "--nodaemon", "--pidfile=", "tunmesh", "--config", str(config)]


class Ground:
    """Namespaces joined by a bridge, for the real nodes and for the crowd."""

    def __init__(self, directory: Path, janitor: Janitor, underlay: Underlay) -> None:
        self._directory = directory
        self._janitor = janitor
        *self._reals, self._others = underlay.namespaces

    @classmethod
    @contextmanager
    def make(cls) -> Iterator[Ground]:
        plans = [NodePlan(number) for number in range(1, crowd.REALS + 2)]
        with ExitStack() as stack:
            underlay = Underlay.create([each.underlay for each in plans])
            stack.callback(underlay.close)
            directory = Path(tempfile.mkdtemp(prefix="tunmesh-scale-"))
            janitor = Janitor(directory)
            stack.callback(janitor.close)
            plan.write_files(directory, plans[:-1], machine.prepare())
            yield cls(directory, janitor, underlay)

    def real(self, number: int) -> Process:
        """Start a real node."""
        command = node_command(self._directory / NodePlan(number).config_file)
        process = Process(command, self._reals[number - 1], self._janitor)
        process.until("privileges")
        process.ignore()
        return process

    def crowd(self, mode: str, count: int) -> Process:
        """Start a crowd, which waits for its go."""
        command = [sys.executable, "-m", "bench.crowd", str(self._directory), mode, str(count)]
        return Process(command, self._others, self._janitor)


def measure(mode: str, peers: int, idle: float) -> Row:
    """Measure real nodes and a crowd, from the common start to the end of the idle period."""
    with Ground.make() as ground:
        others = ground.crowd(mode, peers)
        parts = {"star": 1, "mesh": peers, "join": min(peers, crowd.JOIN_PROCESSES)}[mode]
        others.until("ready", parts)
        reals = [ground.real(number + 1) for number in range(crowd.REALS if mode == "join" else 1)]
        real, everybody = reals[0], [*reals, others]
        time.sleep(1.0)
        alone, others_cpu, dialed = Reading.of(real.pid), _cpu(others.pid), _dialed(everybody)
        others.tell("go")
        whole = others.until("whole", parts)
        time.sleep(SETTLE)
        joined, others_cpu = Reading.of(real.pid), _cpu(others.pid) - others_cpu
        dialed = _dialed(everybody) - dialed
        others.ignore()
        time.sleep(idle)
        end = Reading.of(real.pid)
        others.end()
    span = end.at - joined.at
    links = peers * (peers + 1) / 2 if mode == "mesh" else peers * len(reals)
    return Row(
        mode=mode,
        peers=peers,
        join_seconds=whole - alone.at,
        join_cpu=joined.cpu - alone.cpu,
        join_bytes=joined.received + joined.sent - alone.received - alone.sent,
        join_packets=joined.packets - alone.packets,
        dials=joined.dialed - alone.dialed,
        accepts=joined.accepted - alone.accepted,
        dials_per_link=dialed / links,
        crowd_cpu=others_cpu,
        rss_alone=alone.rss,
        rss=end.rss,
        idle_cpu=(end.cpu - joined.cpu) / span,
        idle_bytes=(end.received + end.sent - joined.received - joined.sent) / span,
        idle_packets=(end.packets - joined.packets) / span,
    )


def _dialed(processes: Sequence[Process]) -> int:
    """TCP connections opened in the namespaces of these."""
    return sum(Reading.of(process.pid).dialed for process in processes)


def _cpu(pid: int) -> float:
    """CPU seconds of the children of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(Reading.of(int(child)).cpu for child in children)


HEAD = """
 mode  peers |  join   CPU    MB  dials accepts   per others' | idle CPU  kB/s  pkt/s |  RSS    per
             |     s     s                       link   CPU s |        %              |   MB peer kB
""".strip("\n")


def line(row: Row) -> str:
    return (
        f"{row.mode:>5} {row.peers:6} |{row.join_seconds:6.2f}{row.join_cpu:6.2f}"
        f"{row.join_bytes / 1e6:6.1f}{row.dials:7}{row.accepts:8}{row.dials_per_link:6.2f}"
        f"{row.crowd_cpu:8.1f} |"
        f"{row.idle_cpu * 100:9.2f}{row.idle_bytes / 1e3:6.1f}{row.idle_packets:7.1f} |"
        f"{row.rss / 1e6:5.0f}{row.rss_per_peer / 1e3:8.1f}"
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",") if word)


def save(rows: Sequence[Any], target: Path) -> None:
    """Write rows, each a dataclass, for the plots."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller meshes")
    parser.add_argument("--star", type=_numbers, help="numbers of light-weight peers")
    parser.add_argument("--mesh", type=_numbers, help="numbers of whole nodes")
    parser.add_argument("--join", type=_numbers, help="numbers of nodes that join three real ones")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds to watch an idle node")
    parser.add_argument("--out", type=Path, help="directory for scale.json")
    options = parser.parse_args()
    sizes = dict(QUICK if options.quick else FULL)
    chosen = {mode: getattr(options, mode) for mode in sizes}
    if any(counts is not None for counts in chosen.values()):
        sizes = {mode: counts or () for mode, counts in chosen.items()}
    print(HEAD)  # noqa: T201
    rows = []
    for mode, counts in sizes.items():
        for size in counts:
            rows.append(measure(mode, size, options.idle))
            print(line(rows[-1]), flush=True)  # noqa: T201
    if options.out is not None:
        save(rows, options.out / "scale.json")


if __name__ == "__main__":
    main()
