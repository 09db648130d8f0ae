"""What is measured of a contender, one function each: a running contender in, figures out.

Rates are bits per second, times seconds, memory bytes. A scenario may return several figures; their
names are what results, report and targets know them by.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from bench.blast import Blast
from bench.contender import Contender
from bench.iperf import Iperf, await_line
from bench.lab import Lab, Pair
from bench.ping import parse_ping, percentile
from bench.probe import await_first_packet

Figures = dict[str, float]
WEB_PORT = "8000"
BESIDE = 0.3  # seconds that streams get to settle before a ping beside them, and have after it


@dataclass
class Running:
    """A contender that is up, on its pair."""

    contender: Contender
    pair: Pair
    lab: Lab
    blasts: dict[int, Blast] = field(default_factory=dict)
    """By size of datagram: remembers the offered rate that suits this contender."""

    def iperf(self, seconds: float, *how: str) -> Iperf:
        return Iperf(*self.pair.hosts, self.contender.right, seconds, *how)

    def cpu_seconds(self) -> float:
        """Of both ends."""
        return sum(host.cpu_seconds() for host in self.pair.hosts)


def bring_up(contender: Contender, pair: Pair) -> float:
    """Start a contender on a fresh pair: seconds until the first packet came through."""
    contender.prepare(pair)
    began = time.monotonic()
    contender.start(pair)
    await_first_packet(pair, contender.right)
    return time.monotonic() - began


def tcp1(running: Running, seconds: float) -> Figures:
    """One TCP stream, one way and then the other; processor time of both ends for each GB."""
    cpu = -running.cpu_seconds()
    there = running.iperf(seconds).result()
    back = running.iperf(seconds, "-R").result()
    cpu += running.cpu_seconds()
    gigabytes = (there.bytes + back.bytes) / 1e9
    return {"tcp1_there": there.rate, "tcp1_back": back.rate, "cpu_per_gb": cpu / gigabytes}


def tcp4(running: Running, seconds: float) -> Figures:
    """Four TCP streams, one way and then the other."""
    there = running.iperf(seconds, "-P4").result()
    back = running.iperf(seconds, "-P4", "-R").result()
    return {"tcp4_there": there.rate, "tcp4_back": back.rate}


def both(running: Running, seconds: float) -> Figures:
    """TCP both ways at once, one stream each and four streams each: the sum of both ways."""
    one = running.iperf(seconds, "--bidir").result()
    four = running.iperf(seconds, "--bidir", "-P4").result()
    return {"tcp1_both": one.rate, "tcp4_both": four.rate}


def udp1200(running: Running, seconds: float) -> Figures:
    """Datagrams of 1,200 bytes delivered per second."""
    return {"udp1200": _delivered(running, 1200, seconds)}


def udp64(running: Running, seconds: float) -> Figures:
    """Datagrams of 64 bytes delivered per second."""
    return {"udp64": _delivered(running, 64, seconds)}


def _delivered(running: Running, size: int, seconds: float) -> float:
    if size not in running.blasts:
        running.blasts[size] = Blast(running.pair, running.contender, size)
    return running.blasts[size].delivered(seconds)


def rtt(running: Running, seconds: float) -> Figures:
    """Round-trip time while nothing else happens, the next request when the answer is there."""
    flood = ("-i", "0", "-w", f"{max(1, round(seconds))}")
    times = parse_ping(running.pair.left.run("ping", *flood, running.contender.right))
    return {"rtt_median": median(times), "rtt_p99": percentile(times, 0.99)}


def loaded(running: Running, seconds: float) -> Figures:
    """Round-trip time while four TCP streams run, and what these still get."""
    streams = running.iperf(seconds + 2 * BESIDE, "-P4")
    time.sleep(BESIDE)  # the streams shall be at full speed: nothing tells when they are
    count = max(1, round(seconds / 0.005))
    how = ("-i", "0.005", "-c", str(count), "-W", "1")
    output = running.pair.left.run("ping", *how, running.contender.right, accept=(0, 1))
    rate = streams.result().rate
    times = parse_ping(output)
    return {
        "loaded_median": median(times),
        "loaded_p99": percentile(times, 0.99),
        "loaded_lost": 1 - len(times) / count,
        "loaded_tcp4": rate,
    }


def http(running: Running, seconds: float) -> Figures:
    """Requests answered per second by an HTTP server, each on a connection of its own."""
    where = (running.contender.right, WEB_PORT)
    web = (sys.executable, "-m", "bench.web")
    server = running.pair.right.start_tool(*web, "serve", *where)
    try:
        await_line(server, "ready")
        answered = int(running.pair.left.run(*web, "ask", *where, f"{seconds}"))
    finally:
        server.kill()
        server.communicate()
    return {"http": answered / seconds}


def start(running: Running, seconds: float) -> Figures:
    """Seconds from the start of both ends, on a fresh pair, to the first packet."""
    pair = running.lab.pair(running.contender.name)
    try:
        return {"start": bring_up(running.contender, pair)}
    finally:
        running.lab.close_pair(pair)


def memory(running: Running, seconds: float) -> Figures:
    """Resident memory of a node after all this traffic: the larger of both ends."""
    return {"memory": float(max(host.memory() for host in running.pair.hosts))}


Scenario = Callable[[Running, float], Figures]
SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (tcp1, tcp4, both, udp1200, udp64, rtt, loaded, http, start, memory)
}
