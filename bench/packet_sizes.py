"""Throughput by packet size, compared with the relay.

    python -m bench.packet_sizes [--rounds 3] [--seconds 1] [--out DIRECTORY]

Measured are datagrams by payload size, up to the largest packet, offered at each contender's best
rate, which is searched for in each round; and one TCP stream by segment size (with offload, it is
handed over 64 KB at a time in any case). The absolute figures depend on the machine and on the time
of day. What can be reproduced is the ratio to the relay, measured within seconds of it, as the
median of the rounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from bench import contenders
from bench.errors import BenchError
from bench.results import Results
from bench.run import run
from bench.running import Figures, Running
from bench.scenarios import Scenario, delivered
from bench.tools import TOOLS, insist_on

US, YARDSTICK = "tunmesh", "relay"
DATAGRAMS = (64, 256, 512, 1024, 1400)
SEGMENTS = (88, 256, 512, 1024, 1400)


def _datagrams(size: int) -> Scenario:
    def measure(running: Running, seconds: int) -> Figures:
        running.blasts.pop(size, None)  # a rate found at a bad moment would spoil all rounds
        return {f"udp {size}": delivered(running, size, seconds) * size * 8}

    return measure


def _stream(size: int) -> Scenario:
    def measure(running: Running, seconds: int) -> Figures:
        return {f"tcp {size}": running.iperf(seconds, "-M", str(size)).result().rate}

    return measure


SWEEP: dict[str, Scenario] = {
    **{f"udp {size}": _datagrams(size) for size in DATAGRAMS},
    **{f"tcp {size}": _stream(size) for size in SEGMENTS},
}
"""Scenarios by the name of their figure, the payload's bits per second."""


def ratios(results: Results, figure: str) -> list[float]:
    """Our figure divided by the relay's, for each round."""
    return results.ratios((US, figure), (YARDSTICK, figure))


def table(results: Results) -> Iterator[str]:
    """Medians in Mbit/s; the ratio, and its interquartile range."""
    yield f"{'':8} {US:>9} {YARDSTICK:>9} {'ratio':>6}  middle half"
    for figure in SWEEP:
        ours, theirs = results.summary(US, figure), results.summary(YARDSTICK, figure)
        if ours and theirs and len(of_rounds := ratios(results, figure)) > 1:
            low, middle, high = quantiles(of_rounds, n=4, method="inclusive")
            yield (
                f"{figure:8} {ours.median / 1e6:9.1f} {theirs.median / 1e6:9.1f} "
                f"{middle:6.2f}  {low:.2f} to {high:.2f}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.packet_sizes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each size is measured")
    parser.add_argument("--seconds", type=int, default=1, help="for each measurement")
    parser.add_argument("--out", type=Path, help="directory for packet_sizes.json")
    options = parser.parse_args()
    try:
        insist_on(TOOLS)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    both = [one for one in contenders.ALL if one.name in (US, YARDSTICK)]
    results = Results(machine={})
    run(both, SWEEP, options.rounds, options.seconds, results, lambda text: print(text, flush=True))  # noqa: T201
    if options.out is not None:
        results.save(options.out / "packet_sizes.json")
    print("\n".join(table(results)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
