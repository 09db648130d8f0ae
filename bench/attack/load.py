"""The cost of attacks to everything else: throughput, latency, memory.

Two real nodes, each in a network namespace of its own, with a TCP stream of a fixed rate and pings
between them; in a third namespace an attacker attacks the first node (bench.attack.attacker). The
attacked node has one CPU to itself, and everything else shares the other, so losses are due to the
attack and not to the attacker's own CPU use. At a rate that the node can barely carry, all work
that it does for the attacker is missing from the stream.

    throughput kept    share of the stream's throughput without an attack
    p99 ms             99th percentile of the round trips of 100 pings a second
    livez ms           median time of a /livez request from the other node's host; - if unanswered
    memory MB          peak growth of the node's memory; freed memory may stay with the process
    files              peak growth of the node's number of file descriptors
    lines              lines that the node logged
    failed             failed handshakes in its metrics
    dials              connections that the node opened
    attacks/s          steps of the attack per second
    connections held   peak number of the attacker's connections
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPSConnection

from bench.attack.datagrams import see_all
from bench.attack.stage import attacking, connections_opened
from bench.contenders.tunmesh import contender
from bench.errors import BenchError
from bench.iperf import Iperf
from bench.lab import TOOL_PATIENCE, Ground, Host, Lab, finish
from bench.ping import parse_ping, percentile
from bench.probe import await_first_packet
from tunmesh.localmesh import plan

LEAD = 1.0  # seconds that an attack runs before it is measured
PING_INTERVAL = 0.01
PATIENCE = 2.0  # seconds that an orchestrator waits for an answer
STREAM_CONNECTIONS = 2  # opened by the stream itself: iperf3's control and data


@dataclass(frozen=True)
class Row:
    """The effects of one attack."""

    attack: str
    rate: float  # bits a second that the stream got
    p99: float  # seconds; infinite if no ping was answered
    livez: float  # seconds; infinite if it is not answered
    grown: int  # bytes
    files: int
    lines: int
    failed: int
    dials: int
    attacks: float  # per second
    held: int


class Watch:
    """Samples a process ten times a second, and remembers the peaks."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._over = threading.Event()
        self._before = self._look()
        self._most = self._before
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _look(self) -> tuple[int, int]:
        assert self._host.daemon  # noqa: S101
        return self._host.memory(), len(os.listdir(f"/proc/{self._host.daemon.pid}/fd"))  # noqa: PTH208

    def _run(self) -> None:
        while not self._over.wait(0.1):
            memory, fds = self._look()
            self._most = max(self._most[0], memory), max(self._most[1], fds)

    def end(self) -> tuple[int, int]:
        """The peak numbers of bytes and file descriptors above those at the start."""
        self._over.set()
        self._thread.join()
        return self._most[0] - self._before[0], self._most[1] - self._before[1]


class Orchestrator:
    """Checks the node's health at intervals, from another host."""

    def __init__(self, host: Host, address: str) -> None:
        self._host, self._address = host, address
        self._times: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            began = time.monotonic()
            page = fetch(self._host, self._address, "/livez")
            self._times.append(time.monotonic() - began if page else float("inf"))

    def end(self) -> float:
        """The median time of an answer."""
        self._over.set()
        self._thread.join()
        return percentile(self._times, 0.5)


def fetch(host: Host, address: str, path: str) -> str:
    """A page of the node; empty if it cannot be fetched."""
    context = ssl._create_unverified_context()  # noqa: S323
    with host.namespace:
        page = HTTPSConnection(address, plan.LISTEN_PORT, context=context, timeout=PATIENCE)
        try:
            page.request("GET", path)
            return page.getresponse().read().decode()
        except (OSError, HTTPException):
            return ""
        finally:
            page.close()


def failures(host: Host) -> int:
    """The number of handshake failures in the node's metrics so far."""
    name = "tunmesh_handshake_failures_total"
    for _ in range(20):  # strangers may have taken all slots
        words = [line.split() for line in fetch(host, "127.0.0.1", "/metrics").splitlines()]
        if words:
            return sum(int(float(value)) for key, value, *_ in words if key.startswith(name + "{"))
        time.sleep(0.5)
    raise BenchError("the node's metrics cannot be fetched")


def measure(ground: Ground, name: str, seconds: int, rate: str) -> Row:
    """Measure one attack."""
    victim = ground.left
    assert victim.daemon  # noqa: S101
    failed, lines = -failures(victim), -victim.log.read_bytes().count(b"\n")
    dials = -connections_opened(victim.daemon.pid)
    watch = Watch(victim)
    try:
        with attacking(name, ground, victim.address) as said:
            time.sleep(LEAD)
            how = ("-b", rate, "-R")
            stream = Iperf(victim, ground.right, plan.NodePlan(2).ipv4, seconds, *how)
            orchestrator = Orchestrator(ground.right, victim.address)
            count = str(round(seconds / PING_INTERVAL))
            ping = ("ping", "-i", f"{PING_INTERVAL}", "-c", count, "-W", "1")
            try:
                tool = ground.right.start_tool(*ping, plan.NodePlan(1).ipv4)
                output = finish(tool, accept=(0, 1), patience=seconds + TOOL_PATIENCE)
            finally:
                got, livez = _rate(stream), orchestrator.end()
            dials += connections_opened(victim.daemon.pid) - STREAM_CONNECTIONS
    finally:
        grown, files = watch.end()
    told = json.loads(said[0])
    ground.check_daemons()
    return Row(
        attack=name,
        rate=got,
        p99=_p99(output),
        livez=livez,
        grown=grown,
        files=files,
        lines=lines + victim.log.read_bytes().count(b"\n"),
        failed=failed + failures(victim),
        dials=dials,
        attacks=told["attacks"] / (LEAD + seconds),
        held=told["held"],
    )


def _rate(stream: Iperf) -> float:
    try:
        return stream.result().rate
    except BenchError:
        return 0.0


def _p99(output: str) -> float:
    try:
        return percentile(parse_ping(output), 0.99)
    except BenchError:
        return float("inf")


HEAD = """\
                 throughput                  memory                           attacks connections
attack                 kept  p99 ms livez ms     MB files lines failed  dials      /s        held"""


def line(row: Row, alone: Row) -> str:
    return (
        f"{row.attack:<19}{row.rate / alone.rate:8.0%}{_milliseconds(row.p99):>8}"
        f"{_milliseconds(row.livez):>9}{row.grown / 1e6:7.1f}{row.files:6}{row.lines:6}"
        f"{row.failed:7}{row.dials:7}{row.attacks:8.0f}{row.held:12}"
    )


def _milliseconds(seconds: float) -> str:
    return "-" if seconds == float("inf") else f"{seconds * 1e3:.1f}"


@contextmanager
def two_nodes(transport: str = "") -> Iterator[Ground]:
    """Two linked nodes with this `networking.transport`, and a third host without one; the first
    node has a CPU of its own."""
    ours, theirs = 0, 1
    with Lab() as lab:
        ground = lab.ground("attack", hosts=3)
        subject = contender("tunmesh", transport=transport)
        subject.prepare(ground)
        os.sched_setaffinity(0, {ours})
        subject.start(Ground(ground.hosts[:2], ground.directory, ground.hub))
        assert ground.left.daemon  # noqa: S101
        os.sched_setaffinity(ground.left.daemon.pid, {theirs})
        await_first_packet(ground, plan.NodePlan(2).ipv4)
        yield ground


def run(names: Sequence[str], seconds: int, rate: str) -> list[Row]:
    """Measure these attacks; those on UDP between nodes that use UDP, beside the same number of
    ClientHellos."""
    datagrams = [name for name in names if name.startswith("udp_")]
    rows: list[Row] = []
    if others := [name for name in names if name not in datagrams]:
        with two_nodes() as ground:
            rows += _run(ground, others, seconds, rate)
    if datagrams:
        with two_nodes("udp") as ground:
            see_all(ground)
            print("\nnodes that send each other packets over UDP:")  # noqa: T201
            rows += _run(ground, ["client_hellos", *datagrams], seconds, rate, " over UDP")
    return rows


def _run(
    ground: Ground, names: Sequence[str], seconds: int, rate: str, what: str = ""
) -> Iterator[Row]:
    alone: Row | None = None
    print(HEAD)  # noqa: T201
    for name in ("nothing", *names):
        try:
            row = measure(ground, name, seconds, rate)
        except BenchError as error:
            print(f"{name:<19} {error}", flush=True)  # noqa: T201
            continue
        alone = alone or row
        print(line(row, alone), flush=True)  # noqa: T201
        yield replace(row, attack=f"{name}{what}")
