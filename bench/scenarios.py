"""The measurements, one function each: it gets a running contender and returns figures.

Rates are bits per second, times seconds, memory bytes. A scenario may return several figures;
results, report and targets refer to them by name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

from bench import neighbours
from bench.blast import Blast
from bench.iperf import await_line
from bench.ping import parse_ping, percentile
from bench.running import Figures, Running, bring_up

WEB_PORT = "8000"
PING_INTERVAL = 0.005
SETTLE = 0.3  # seconds that the streams run before the pings start


def tcp1(running: Running, seconds: int) -> Figures:
    """One TCP stream, one way and then the other; CPU time of both ends per GB."""
    cpu = -running.cpu_seconds()
    there = running.iperf(seconds).result()
    back = running.iperf(seconds, "-R").result()
    cpu += running.cpu_seconds()
    gigabytes = (there.bytes + back.bytes) / 1e9
    return {
        "tcp1": (there.rate + back.rate) / 2,
        "tcp1_there": there.rate,
        "tcp1_back": back.rate,
        "cpu_per_gb": cpu / gigabytes,
    }


def tcp4(running: Running, seconds: int) -> Figures:
    """Four TCP streams, one way and then the other."""
    there = running.iperf(seconds, "-P4").result()
    back = running.iperf(seconds, "-P4", "-R").result()
    return {
        "tcp4": (there.rate + back.rate) / 2,
        "tcp4_there": there.rate,
        "tcp4_back": back.rate,
    }


def both(running: Running, seconds: int) -> Figures:
    """TCP both ways at once, with one and with four streams each; the sum of both directions."""
    one = running.iperf(seconds, "--bidir").result()
    four = running.iperf(seconds, "--bidir", "-P4").result()
    return {"tcp1_both": one.rate, "tcp4_both": four.rate}


def udp1200(running: Running, seconds: int) -> Figures:
    """Datagrams of 1,200 bytes delivered per second."""
    return {"udp1200": delivered(running, 1200, seconds)}


def udp64(running: Running, seconds: int) -> Figures:
    """Datagrams of 64 bytes delivered per second."""
    return {"udp64": delivered(running, 64, seconds)}


def delivered(running: Running, size: int, seconds: int) -> float:
    """Datagrams of this payload size delivered per second, at the best offered rate."""
    if size not in running.blasts:
        running.blasts[size] = Blast(running.ground, running.contender, size)
    return running.blasts[size].delivered(seconds)


def rtt(running: Running, seconds: int) -> Figures:
    """Round-trip time on an idle link; each request is sent when the previous one is answered."""
    flood = ("-i", "0", "-w", f"{seconds}")
    times = parse_ping(running.ground.left.run("ping", *flood, running.contender.right))
    return {"rtt_median": median(times), "rtt_p99": percentile(times, 0.99)}


def loaded(running: Running, seconds: int) -> Figures:
    """Round-trip time under the load of four TCP streams; their throughput with and without
    pings."""
    alone = running.iperf(seconds, "-P4").result().rate
    streams = running.iperf(seconds + 1, "-P4")
    times, lost = ping_beside(running, seconds, PING_INTERVAL, SETTLE, patience=1)
    return {
        "loaded_median": median(times),
        "loaded_p99": percentile(times, 0.99),
        "loaded_lost": lost,
        "loaded_tcp4": streams.result().rate,
        "loaded_alone": alone,
    }


def ping_beside(
    running: Running, seconds: int, interval: float, settle: float, patience: int
) -> tuple[list[float], float]:
    """Round-trip times beside streams that have just been started, and the share of pings lost.
    `settle`: how long the streams run first; `patience`: how long an answer is waited for."""
    time.sleep(settle)  # the streams must be at full speed, and there is no event for that
    count = round(seconds / interval)
    how = ("-i", f"{interval}", "-c", str(count), "-W", str(patience))
    output = running.ground.left.run("ping", *how, running.contender.right, accept=(0, 1))
    times = parse_ping(output)
    return times, 1 - len(times) / count


def http(running: Running, seconds: int) -> Figures:
    """Requests per second answered by an HTTP server, each on its own connection."""
    where = (running.contender.right, WEB_PORT)
    web = (sys.executable, "-m", "bench.web")
    server = running.ground.right.start_tool(*web, "serve", *where)
    try:
        await_line(server, "ready")
        answered = int(running.ground.left.run(*web, "ask", *where, f"{seconds}"))
    finally:
        server.kill()
        server.communicate()
    return {"http": answered / seconds}


def start(running: Running, seconds: int) -> Figures:
    """Seconds from starting both ends, on a fresh ground, to the first packet."""
    ground = running.lab.ground(running.contender.name)
    try:
        return {"start": bring_up(running.contender, ground)}
    finally:
        running.lab.close_ground(ground)


def memory(running: Running, seconds: int) -> Figures:
    """Resident memory of a node after all this traffic: the larger of the two ends."""
    return {"memory": float(max(host.memory() for host in running.ground.hosts))}


Scenario = Callable[[Running, int], Figures]
_OF_ALL = (tcp1, tcp4, both, udp1200, udp64, rtt, loaded, http, start, memory)
_OF_MESHES = (neighbours.slow, neighbours.dead, neighbours.idle, neighbours.peers)
SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario for scenario in (*_OF_ALL, *_OF_MESHES)
}
OF_MESHES = frozenset(scenario.__name__ for scenario in _OF_MESHES)
"""Scenarios with more than two hosts."""
QUICK = ("tcp1", "tcp4", "udp64", "rtt", "loaded", "start", "memory", "slow")
