"""Long-distance links: streams and pings over a path with high latency, low bandwidth and loss
(`bench.way`), compared with the bare path and with other VPNs.

    python -m bench.far [--seconds 6] [--rounds 1]

The streams inside the tunnel use CUBIC, as most do. The congestion control of the tunnel's own
connection is that of the host (net.ipv4.tcp_congestion_control), so tunmesh is measured with each
relevant one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from bench import contenders
from bench.contender import Contender
from bench.errors import BenchError
from bench.lab import Host, Lab
from bench.ping import percentile
from bench.running import Running, bring_up
from bench.scenarios import ping_beside
from bench.tools import COMPILER, TOOLS, dated, insist_on, missing, version
from bench.way import Way
from tunmesh.errors import OperatorError
from tunmesh.localmesh.underlay import CABLE

WAYS = {
    "10 Mbit/s, 20 ms": Way(0.01, 10e6, 0.0),
    "100 Mbit/s, 20 ms": Way(0.01, 100e6, 0.0),
    "100 Mbit/s, 80 ms, 0.1 % lost": Way(0.04, 100e6, 0.001),
    "100 Mbit/s, 40 ms, 1 % lost": Way(0.02, 100e6, 0.01),
}
"""By rate, round trip and loss in each direction; the queue holds 50 ms of traffic."""
INNER = "cubic"
CARRIERS = ("cubic", "bbr")
OTHERS = ("veth", "openvpn", "wireguard-go")
PING_INTERVAL = 0.02
SETTLE = 1.0  # seconds that the streams run before the pings start
INSIDE_THE_WAY = "10.99.0.0/25"  # both ends of the path; the cable's own route is a /24


@dataclass(frozen=True, slots=True)
class Figures:
    """The measurements over one path: rates in bits per second, times in seconds."""

    one: float
    four: float
    ping_median: float
    ping_p99: float
    ping_lost: float


def takers() -> Iterator[tuple[Contender, str]]:
    """Each contender, and the congestion control of its host."""
    by_name = {one.name: one for one in contenders.ALL}
    for name in OTHERS:
        yield replace(by_name[name], name="no VPN" if name == "veth" else name), INNER
    for carrier in CARRIERS:
        yield replace(by_name["tunmesh"], name=f"tunmesh, {carrier}"), carrier


def measure(lab: Lab, way: Way, contender: Contender, carrier: str, seconds: int) -> Figures:
    """Measure one contender. Raises BenchError if that is not possible here."""
    insist_on(contender.needs)
    ground = lab.ground("far", way=way)
    try:
        for host in ground.hosts:
            choose(host, carrier)
        bring_up(contender, ground)
        running = Running(contender, ground, lab)
        one = running.iperf(seconds, "-C", INNER).result().rate
        streams = running.iperf(seconds + 1, "-C", INNER, "-P4")
        times, lost = ping_beside(running, seconds, PING_INTERVAL, SETTLE, patience=2)
        return Figures(
            one=one,
            four=streams.result().rate,
            ping_median=median(times),
            ping_p99=percentile(times, 0.99),
            ping_lost=lost,
        )
    finally:
        lab.close_ground(ground)


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


def versions() -> Iterator[str]:
    """A line for each other program that is installed: its version and year."""
    for one in contenders.ALL:
        if one.name in OTHERS and one.released is not None and not missing(one.needs):
            yield f"{one.name} {dated(version(one.version), one.released)}"


def line(name: str, figures: Figures) -> str:
    return (
        f"  {name:16} {figures.one / 1e6:8.1f} {figures.four / 1e6:8.1f} "
        f"{figures.ping_median * 1e3:9.0f} {figures.ping_p99 * 1e3:8.0f} "
        f"{figures.ping_lost * 100:7.1f}"
    )


def middle(rounds: list[Figures]) -> Figures:
    """The median of each figure."""
    return Figures(*(median(getattr(each, name) for each in rounds) for name in Figures.__slots__))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.far")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds")
    parser.add_argument("--seconds", type=int, default=6, help="for each measurement")
    options = parser.parse_args()
    try:
        insist_on(TOOLS | COMPILER)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(f"{'':18} {'1 stream':>8} {'4':>8} {'ping p50':>9} {'p99':>8} {'lost %':>7}")  # noqa: T201
    with Lab() as lab:
        for text in versions():
            print(text)  # noqa: T201
        for title, way in WAYS.items():
            print(title)  # noqa: T201
            for contender, carrier in takers():
                try:
                    rounds = [
                        measure(lab, way, contender, carrier, options.seconds)
                        for _ in range(options.rounds)
                    ]
                except (BenchError, OperatorError) as error:
                    print(f"  {contender.name:16} skipped: {error}", flush=True)  # noqa: T201
                    continue
                print(line(contender.name, middle(rounds)), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
