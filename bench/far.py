"""Long-distance links: streams and pings over paths with latency, limited bandwidth and loss
(`bench.way`), compared with the bare path and with wireguard-go.

    python -m bench.far [--rtt 20,40,80] [--loss 0,0.1,1,3] [--outer reno,cubic,bbr]
                        [--inner reno,bbr] [--streams 1,8] [--only NAMES] [--seconds 5]
                        [--rounds 1] [--at-once 2] [--output FILE | --load FILE] [--save]

The congestion control of the streams inside is chosen by iperf3 (`inner`), that of tunmesh's own
TCP connections by the route to the other host (`outer`). What the kernel refuses is named and left
out. tunmesh is measured with each `transport`; the other contenders do not use TCP themselves.

On each path all contenders are up all the time, and every figure is measured with all of them, as
many at a time as `--at-once` says, before the next figure is. So ratios are between measurements
that are seconds apart, over paths that lose the same packets (`bench/way.c` has fixed seeds).

A contender that waits for a processor makes the path longer, by as much in each node on the way.
Streams of Reno slow down by that, and those of BBR fill the path's queue, since acknowledgements
come several at a time. So how busy the processors were is said with each figure that is worse than
it should be. With `--at-once 3`, three nodes that sent 100 Mbit/s used 1.8 of two processors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from subprocess import Popen

from bench import contenders, far_tables
from bench.contender import Contender
from bench.contenders import tunmesh, wireguard
from bench.errors import BenchError
from bench.far_tables import Path as FarPath
from bench.far_tables import Streams
from bench.iperf import Iperf
from bench.lab import Host, Lab, finish
from bench.ping import parse_ping, percentile
from bench.results import Results, Sample
from bench.running import Figures, Running, bring_up
from bench.tools import COMPILER, TOOLS, dated, insist_on, machine_facts, missing, version
from bench.way import Way
from tunmesh.errors import OperatorError
from tunmesh.localmesh.underlay import CABLE

RATE = 100e6  # bits a second; the queue holds 50 ms of traffic
RTTS = (0.02, 0.04, 0.08)
LOSSES = (0.0, 0.001, 0.01, 0.03)  # in each direction
CONGESTION_CONTROLS = ("reno", "cubic", "bbr")
INNER = ("reno", "bbr")
STREAMS = (1, 8)
TRANSPORTS = ("tcp", "udp", "auto")
SETTLE = 3.0  # seconds after the first packet: a path is found, and chosen
BESIDE = 0.05  # seconds between pings beside bulk
IDLE_SECONDS = 10  # of pings when nothing else is sent
RAMP = 1.0  # seconds that streams run before the pings beside them start
TOOL_GRACE = 30.0
INSIDE_THE_WAY = "10.99.0.0/25"  # both ends of the path; the cable's own route is a /24
STAT = Path("/proc/stat")
FAULTS = (BenchError, OperatorError, OSError)


@dataclass(frozen=True, slots=True)
class Taker:
    """A contender on hosts with one congestion control."""

    name: str
    contender: Contender
    outer: str = ""
    """Congestion control of the hosts; "": it makes no difference."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    paths: Sequence[FarPath]
    takers: Sequence[Taker]
    streams: Sequence[Streams]
    seconds: int
    rounds: int
    at_once: int

    @property
    def minutes(self) -> float:
        """How long it takes, about."""
        turns = _turns(len(self.takers), self.at_once)
        figures = len(self.streams) * (self.seconds + RAMP + 1) + IDLE_SECONDS + 3
        return len(self.paths) * self.rounds * (turns * figures + SETTLE + 4) / 60


def takers(
    outer: Sequence[str], transports: Sequence[str] = TRANSPORTS, program: str = "wireguard-go"
) -> Iterator[Taker]:
    """No VPN, wireguard-go, and tunmesh with each transport. `outer`: the congestion controls for
    hosts on which it makes a difference."""
    bare = next(one for one in contenders.ALL if one.name == "veth")
    yield Taker(far_tables.BARE, replace(bare, name=far_tables.BARE))
    yield Taker("wireguard-go", wireguard.contender("wireguard-go", program))
    for transport in transports:
        subject = tunmesh.contender(f"tunmesh-{transport}", transport=transport)
        if transport == "udp":
            yield Taker("tunmesh udp", subject)
        else:
            for each in outer:
                yield Taker(f"tunmesh {transport}, {each}", subject, each)


def allowed(lab: Lab, wanted: Sequence[str], results: Results) -> list[str]:
    """Those congestion controls that the kernel lets a namespace's routes and sockets use. Why it
    refuses others is noted."""
    ground = lab.ground("allowed", way=Way(0.0, RATE, 0.0))
    found = []
    try:
        for name in wanted:
            try:
                choose(ground.left, name)
                server = (sys.executable, "-c", _TRY, name)
                ground.left.run(*server)
            except BenchError as error:
                results.skipped[f"congestion control {name}"] = str(error)
            else:
                found.append(name)
    finally:
        lab.close_ground(ground)
    return found


_TRY = """
import socket, sys
socket.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[1].encode())
"""


def choose(host: Host, carrier: str) -> None:
    """Have the host's connections over the path use this congestion control.

    It is set per route (`congctl`, ip-route(8)). net.ipv4.tcp_congestion_control of a namespace
    accepts only what net.ipv4.tcp_allowed_congestion_control of the whole machine lists, which may
    not even include cubic.
    """
    try:
        host.run("ip", "route", "replace", INSIDE_THE_WAY, "dev", CABLE, "congctl", carrier)
    except BenchError as error:
        raise BenchError(f"no {carrier} in this kernel (modprobe tcp_{carrier}): {error}") from None


def measure(plan: Plan, lab: Lab, results: Results, say: far_tables.Say) -> None:
    """Measure everything; samples are added to the results as they arrive."""
    for number in range(1, plan.rounds + 1):
        for path in plan.paths:
            with ExitStack() as stack:
                up = [
                    (taker, running)
                    for taker in plan.takers
                    if (running := _up(lab, stack, path, taker, results))
                ]
                time.sleep(SETTLE)
                for streams in plan.streams:
                    for batch in _batches(up, plan.at_once):
                        _measured(batch, path, number, results, _Bulk(streams, plan.seconds))
                for batch in _batches(up, plan.at_once):
                    _measured(batch, path, number, results, _Idle())
            say(path)


def _up(
    lab: Lab, stack: ExitStack, path: FarPath, taker: Taker, results: Results
) -> Running | None:
    """Start a contender on a path of its own; None, with the reason noted, if that fails."""
    if taker.name in results.skipped:
        return None
    try:
        insist_on(taker.contender.needs)
        ground = lab.ground("far", way=Way(path.rtt / 2, RATE, path.loss))
        stack.callback(lab.close_ground, ground)
        if taker.outer:
            for host in ground.hosts:
                choose(host, taker.outer)
        bring_up(taker.contender, ground)
    except FAULTS as error:
        results.skipped[taker.name] = str(error)
        return None
    results.about.setdefault(taker.name, taker.contender.about)
    return Running(taker.contender, ground, lab)


Batch = Sequence[tuple[Taker, Running]]


def _turns(count: int, at_once: int) -> int:
    return -(-count // at_once)


def _batches(up: Batch, size: int) -> Iterator[Batch]:
    """Neighbours in the list are much alike, and equally fast: they are not measured together."""
    turns = _turns(len(up), size)
    return (up[at::turns] for at in range(turns))


def _processor_time() -> tuple[int, int]:
    """Of all processors, since the machine started: idle, and altogether (proc_stat(5))."""
    times = [int(each) for each in STAT.read_text().partition("\n")[0].split()[1:9]]
    return times[3] + times[4], sum(times)


class _Bulk:
    """Streams, with a ping beside them."""

    def __init__(self, streams: Streams, seconds: int) -> None:
        self._streams, self._seconds = streams, seconds
        self.name = streams.name

    def begin(self, running: Running) -> tuple[Iperf, Popen[str]]:
        how = ("-C", self._streams.inner, "-P", f"{self._streams.count}")
        bulk = running.iperf(self._seconds, *how, "-O", f"{RAMP:.0f}")  # seconds left out
        ping = f"ping -i {BESIDE} -c {self._seconds / BESIDE:.0f} -W 2 {running.contender.right}"
        line = f"sleep {RAMP}; exec {ping}"
        return bulk, running.ground.left.start_tool("sh", "-c", line)

    def end(self, running: Running, begun: tuple[Iperf, Popen[str]]) -> Figures:
        bulk, tool = begun
        try:
            output = finish(tool, accept=(0, 1), patience=self._seconds + TOOL_GRACE)
        finally:
            rate = bulk.result().rate
        times = parse_ping(output)
        name = self.name
        return {
            name: rate,
            f"{name}, ping p50": median(times),
            f"{name}, ping p99": percentile(times, 0.99),
        }


class _Idle:
    """Many pings and nothing else: how many are lost, and how late the others are."""

    name = "idle"

    def begin(self, running: Running) -> Popen[str]:
        where = (
            running.contender.right,
            f"{far_tables.PINGS}",
            f"{IDLE_SECONDS / far_tables.PINGS}",
        )
        return running.ground.left.start_tool(sys.executable, "-m", "bench.echoes", *where)

    def end(self, running: Running, begun: Popen[str]) -> Figures:
        times = json.loads(finish(begun, patience=IDLE_SECONDS + TOOL_GRACE))
        if not times:
            raise BenchError("no ping was answered")
        return {
            "idle lost": 1 - len(times) / far_tables.PINGS,
            "idle p50": median(times),
            "idle p99": percentile(times, 0.99),
        }


def _measured(
    batch: Batch, path: FarPath, number: int, results: Results, what: _Bulk | _Idle
) -> None:
    """Measure one figure of some contenders at the same time. One that fails is noted, and the
    others go on."""
    begun = []
    idle_before, all_before = _processor_time()
    for taker, running in batch:
        try:
            begun.append((taker, running, what.begin(running)))
        except FAULTS as error:
            results.skipped[f"{taker.name}, {path.title}"] = str(error)
    for taker, running, test in begun:
        try:
            figures = what.end(running, test)  # type: ignore[arg-type]
            running.ground.check_daemons()
        except FAULTS as error:
            results.skipped[f"{taker.name}, {path.title}"] = str(error)
            continue
        idle, altogether = _processor_time()
        share = 1 - (idle - idle_before) / (altogether - all_before)
        figures[far_tables.busy(what.name)] = share
        results.samples += [
            Sample(number, taker.name, path.figure(name), value) for name, value in figures.items()
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.load:
        results = Results.load(options.load)
        _print(far_tables.report(results))
    else:
        results = Results(machine=machine_facts())
        try:
            insist_on(TOOLS | COMPILER)
            _run(options, results)
        except FAULTS as error:
            sys.stderr.write(f"{error}\n")
            return 1
        finally:
            if options.output:
                results.save(options.output)
        _print(far_tables.summary(results))
    if options.save:
        far_tables.save(results)
    return 0


def _run(options: argparse.Namespace, results: Results) -> None:
    with Lab() as lab:
        outer = allowed(lab, options.outer, results)
        inner = allowed(lab, options.inner, results)
        every = takers(outer, program=options.wireguard_go)
        chosen = [one for one in every if any(name in one.name for name in options.only)]
        for one in chosen:
            _note_version(one, results)
        plan = Plan(
            [FarPath(rtt, loss) for rtt in options.rtt for loss in options.loss],
            chosen,
            [Streams(each, count) for each in inner for count in options.streams],
            options.seconds,
            options.rounds,
            options.at_once,
        )
        _print([f"about {plan.minutes:.0f} minutes"])
        measure(plan, lab, results, lambda path: _print(far_tables.of_path(results, path)))


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), flush=True)  # noqa: T201


def _note_version(taker: Taker, results: Results) -> None:
    one = taker.contender
    if one.version and not missing(one.needs):
        number = version(one.version)
        results.versions[taker.name] = (
            number if one.released is None else dated(number, one.released)
        )


def _numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.far", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rtt", type=lambda text: [each / 1e3 for each in _numbers(text)], default=RTTS, help="ms")
    add(
        "--loss",
        type=lambda text: [each / 1e2 for each in _numbers(text)],
        default=LOSSES,
        help="percent each way",
    )
    add(
        "--outer",
        type=lambda text: text.split(","),
        default=CONGESTION_CONTROLS,
        help="congestion controls of the hosts",
    )
    add(
        "--inner",
        type=lambda text: text.split(","),
        default=INNER,
        help="congestion controls of the streams",
    )
    add(
        "--streams",
        type=lambda text: [int(each) for each in text.split(",")],
        default=STREAMS,
        help="how many at a time",
    )
    add(
        "--only",
        type=lambda text: text.split(","),
        default=[""],
        help="contenders with one of these in their names",
    )
    add(
        "--wireguard-go",
        default="wireguard-go",
        metavar="PATH",
        help="another one than the installed one",
    )
    add("--seconds", type=int, default=5, help="for each measurement")
    add("--rounds", type=int, default=1, help="number of rounds")
    add("--at-once", type=int, default=2, help="contenders measured at the same time")
    add("--output", type=Path, help="where to write the figures; a JSON file")
    add("--load", type=Path, help="show the figures in this file, without measuring")
    add("--save", action="store_true", help=f"update {far_tables.PAGE}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
