"""What attacks cost those who are not attackers.

    python -m bench.attack [--seconds 4] [--rate 300M] [--only pings,http] [--out DIRECTORY]

Two real nodes, each in a network namespace of its own, with a TCP stream of a fixed rate and pings
between them; in a third namespace somebody who attacks the first node (bench.attack.attacker). The
attacked node has one processor to itself, and everybody else shares the other: so what is lost is
lost to the attack and not to the attacker's own use of the machine. At a rate that it can just
carry, everything that it does for the attacker is missing from the stream.

    kept     what the stream got, of what it got without an attack
    p99      of the pings' round trips, in ms; 100 a second
    livez    until /livez is answered to the other node's host, median in ms; - if it is not
    grown    the most that the node's memory grew, in MB; what is freed may stay with the process
    fds      the most file descriptors that the node had beyond those it had before
    lines    that the node logged;  failed: handshake failures that it counted
    blows    of the attacker, a second;  held: the most sockets that it held
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from bench.attack.attacker import ATTACKS
from bench.contenders.tunmesh import contender
from bench.errors import BenchError
from bench.iperf import Iperf, await_line
from bench.lab import Ground, Host, Lab
from bench.ping import parse_ping, percentile
from bench.probe import await_first_packet
from bench.scale import save
from bench.tools import COMPILER, TOOLS, insist_on
from tunmesh.localmesh import plan

LEAD = 1.0  # seconds that an attack has before it is measured
PING_INTERVAL = 0.01
PATIENCE = 2.0  # seconds that an orchestrator waits for an answer


@dataclass(frozen=True)
class Row:
    """What one attack did."""

    attack: str
    rate: float  # bits a second that the stream got
    p99: float  # seconds; infinite when no ping came back
    livez: float  # seconds; infinite when it is not answered
    grown: int  # bytes
    fds: int
    lines: int
    failed: int
    blows: float  # a second
    held: int


class Watch:
    """Looks at a process ten times a second, and remembers the most."""

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
        """How many bytes and file descriptors it had, at most, beyond those at first."""
        self._over.set()
        self._thread.join()
        return self._most[0] - self._before[0], self._most[1] - self._before[1]


class Orchestrator:
    """Asks for the node's health now and then, from another host."""

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
        """How long an answer took: the median."""
        self._over.set()
        self._thread.join()
        return percentile(self._times, 0.5)


def fetch(host: Host, address: str, path: str) -> str:
    """A page of the node, empty if it is not to be had."""
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
    """The handshake failures that a node has counted so far, as its metrics have it."""
    name = "tunmesh_handshake_failures_total"
    for _ in range(20):  # strangers may have taken all places
        words = [line.split() for line in fetch(host, "127.0.0.1", "/metrics").splitlines()]
        if words:
            return sum(int(float(value)) for key, value, *_ in words if key.startswith(name + "{"))
        time.sleep(0.5)
    raise BenchError("the node's metrics are not to be had")


@contextmanager
def attacking(name: str, ground: Ground) -> Iterator[list[str]]:
    """The attack goes on within; afterwards what the attacker said is in the list."""
    said: list[str] = []
    command = (sys.executable, "-m", "bench.attack.attacker", name, str(ground.directory / "mesh"))
    attacker = ground.hosts[2]
    with attacker.namespace:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command, ground.left.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        await_line(child, "ready")
        yield said
        said.append(child.communicate(timeout=10)[0])
    finally:
        child.kill()
        child.wait()


def measure(ground: Ground, name: str, seconds: int, rate: str) -> Row:
    """One attack."""
    victim = ground.left
    failed, lines = -failures(victim), -victim.log.read_bytes().count(b"\n")
    watch = Watch(victim)
    try:
        with attacking(name, ground) as said:
            time.sleep(LEAD)
            how = ("-b", rate, "-R")
            stream = Iperf(victim, ground.right, plan.NodePlan(2).ipv4, seconds, *how)
            orchestrator = Orchestrator(ground.right, victim.address)
            count = str(round(seconds / PING_INTERVAL))
            ping = ("ping", "-i", f"{PING_INTERVAL}", "-c", count, "-W", "1")
            output = ground.right.run(*ping, plan.NodePlan(1).ipv4, accept=(0, 1))
            got, livez = _rate(stream), orchestrator.end()
    finally:
        grown, fds = watch.end()
    told = json.loads(said[0])
    ground.check_daemons()
    return Row(
        attack=name,
        rate=got,
        p99=_p99(output),
        livez=livez,
        grown=grown,
        fds=fds,
        lines=lines + victim.log.read_bytes().count(b"\n"),
        failed=failed + failures(victim),
        blows=told["blows"] / (LEAD + seconds),
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


HEAD = "attack          kept   p99 ms livez ms grown MB  fds lines  failed   blows held"


def line(row: Row, alone: Row) -> str:
    return (
        f"{row.attack:<14}{row.rate / alone.rate:6.0%}{_milliseconds(row.p99):>9}"
        f"{_milliseconds(row.livez):>9}{row.grown / 1e6:9.1f}"
        f"{row.fds:5}{row.lines:6}{row.failed:8}{row.blows:8.0f}{row.held:5}"
    )


def _milliseconds(seconds: float) -> str:
    return "-" if seconds == float("inf") else f"{seconds * 1e3:.1f}"


@contextmanager
def two_nodes() -> Iterator[Ground]:
    """Two nodes that are linked, and a third host where none runs; the first node has a processor
    of its own."""
    ours, theirs = 0, 1
    with Lab() as lab:
        ground = lab.ground("attack", hosts=3)
        subject = contender("tunmesh")
        subject.prepare(ground)
        os.sched_setaffinity(0, {ours})
        subject.start(Ground(ground.hosts[:2], ground.directory, ground.hub))
        assert ground.left.daemon  # noqa: S101
        os.sched_setaffinity(ground.left.daemon.pid, {theirs})
        await_first_packet(ground, plan.NodePlan(2).ipv4)
        yield ground


def run(names: Sequence[str], seconds: int, rate: str) -> list[Row]:
    rows: list[Row] = []
    with two_nodes() as ground:
        print(HEAD)  # noqa: T201
        for name in ("nothing", *names):
            try:
                rows.append(measure(ground, name, seconds, rate))
            except BenchError as error:
                print(f"{name:<15} {error}", flush=True)  # noqa: T201
                continue
            print(line(rows[-1], rows[0]), flush=True)  # noqa: T201
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.attack")
    parser.add_argument("--seconds", type=int, default=4, help="for each attack")
    parser.add_argument("--rate", default="300M", help="of the stream, in bits a second")
    parser.add_argument("--only", help="these attacks, by their names in bench.attack.attacker")
    parser.add_argument("--out", type=Path, help="directory for attack.json")
    options = parser.parse_args()
    try:
        insist_on(TOOLS | COMPILER)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    names = options.only.split(",") if options.only else [n for n in ATTACKS if n != "nothing"]
    rows = run(names, options.seconds, options.rate)
    if options.out is not None:
        save(rows, options.out / "attack.json")
    return 0
