"""More than two nodes: what a slow or a dead peer costs the others, and the cost of being idle.

    1 ---+            +--- 2   fast: its throughput is measured, alone and beside the others
         +-- bridge --+--- 3   slow: its port is shaped to 10 Mbit/s
                      +--- 4   dead: everything that reaches it is dropped

A TCP stream to the slow peer keeps its link full. The dead peer is sent datagrams, since TCP would
soon stop by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import mean, median

from bench import blast, iperf
from bench.errors import BenchError
from bench.lab import Ground
from bench.ping import parse_ping, percentile
from bench.probe import await_first_packet
from bench.running import Figures, Running, bring_up
from bench.tools import compile_program

FAST, SLOW, DEAD = 2, 3, 4
SHAPED = ("tbf", "rate", "10mbit", "burst", "32kb", "latency", "50ms")
DROPPED = (
    "add table ip dead; add chain ip dead input { type filter hook input priority 0; policy drop; }"
)
BULK_SIZE, BULK_RATE = "1200", "5000"
MANY = 8
IDLE_SECONDS = 5
SETTLE = 0.5


def slow(running: Running, seconds: int) -> Figures:
    """A TCP stream to a peer behind 10 Mbit/s: the fast peer's share of its throughput, and its
    RTT."""
    mesh = _mesh(running)
    alone = mesh.iperf(seconds).result().rate
    with _stream_into_slow(mesh.ground, seconds):
        return {"slow_alone": alone, **_beside(mesh, "slow", seconds)}


def dead(running: Running, seconds: int) -> Figures:
    """Datagrams to a peer that has vanished: the same figures, and the memory they take."""
    mesh = _mesh(running)
    alone = mesh.iperf(seconds).result().rate
    before = mesh.ground.left.memory()
    with _datagrams_into_dead(mesh.ground, seconds):
        figures = _beside(mesh, "dead", seconds)
        figures["dead_growth"] = float(mesh.ground.left.memory() - before)
    return {"dead_alone": alone, **figures}


def idle(running: Running, seconds: int) -> Figures:
    """The average share of a core that an idle node with three peers uses."""
    mesh = _mesh(running)
    spent = -mesh.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    spent += mesh.cpu_seconds()
    return {"idle_cpu": spent / IDLE_SECONDS / len(mesh.ground.hosts)}


def peers(running: Running, seconds: int) -> Figures:
    """How much resident memory each further peer adds to a node, without traffic."""
    few, many = (_fresh_memory(running, hosts) for hosts in (2, MANY))
    return {"memory_per_peer": (many - few) / (MANY - 2)}


def _fresh_memory(running: Running, hosts: int) -> float:
    """The average of all nodes; that of a single node varies by more than a peer adds."""
    ground = running.lab.ground(running.contender.name, hosts)
    try:
        _join(running, ground)
        return mean(host.memory() for host in ground.hosts)
    finally:
        running.lab.close_ground(ground)


def _mesh(running: Running) -> Running:
    """Four hosts with the same contender, started on first use."""
    if running.mesh is None:
        ground = running.lab.ground(running.contender.name, DEAD)
        try:
            _join(running, ground)
        except BenchError:
            running.lab.close_ground(ground)
            raise
        running.mesh = Running(running.contender, ground, running.lab)
    return running.mesh


def _join(running: Running, ground: Ground) -> None:
    """Start the contender on the ground, and wait until every host reaches every other one."""
    bring_up(running.contender, ground)
    for host in range(len(ground.hosts)):
        for number in range(1, len(ground.hosts) + 1):
            await_first_packet(ground, _inner(number), host)


def _inner(number: int) -> str:
    return f"10.77.0.{number}"


def _beside(mesh: Running, neighbour: str, seconds: int) -> Figures:
    """The fast peer's throughput and RTT while something happens to another peer."""
    rate = mesh.iperf(seconds).result().rate
    count = ("-c", str(seconds * 100), "-i", "0.01", "-W", "1")
    times = parse_ping(mesh.ground.left.run("ping", *count, _inner(FAST), accept=(0, 1)))
    return {
        f"{neighbour}_beside": rate,
        f"{neighbour}_rtt_median": median(times),
        f"{neighbour}_rtt_p99": percentile(times, 0.99),
    }


@contextmanager
def _stream_into_slow(ground: Ground, seconds: int) -> Iterator[None]:
    port = f"port{SLOW}"
    ground.in_hub("tc", "qdisc", "add", "dev", port, "root", *SHAPED)
    try:
        target = ground.hosts[SLOW - 1]
        stream = iperf.Iperf(ground.left, target, _inner(SLOW), 2 * seconds + 10)
        try:
            time.sleep(SETTLE)
            yield
        finally:
            stream.close()
    finally:
        ground.in_hub("tc", "qdisc", "del", "dev", port, "root")


@contextmanager
def _datagrams_into_dead(ground: Ground, seconds: int) -> Iterator[None]:
    program = compile_program("blast", ground.directory.parent)
    target = ground.hosts[DEAD - 1]
    target.run("nft", DROPPED)
    to = (_inner(DEAD), blast.PORT, BULK_SIZE, BULK_RATE, f"{2 * seconds + 10}")
    sender = ground.left.start_tool(program, "send", *to)
    try:
        time.sleep(SETTLE)
        yield
    finally:
        sender.kill()
        sender.communicate()
        target.run("nft", "delete table ip dead")
        with suppress(BenchError):  # the next scenario will notice and report it
            await_first_packet(ground, _inner(DEAD))
