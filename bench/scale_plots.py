"""Plots the results of bench.scale and bench.packet_sizes.

    python -m bench.scale_plots DIRECTORY

Reads scale.json and packet_sizes.json in that directory, if they exist, and writes an SVG next to
each. Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.packet_sizes import SWEEP, ratios
from bench.results import Results, Sample

PANELS = (
    ("join_seconds", "join: seconds until all links are up", 1.0),
    ("join_cpu", "join: CPU seconds of the node", 1.0),
    ("join_bytes", "join: MB of control traffic", 1e-6),
    ("idle_cpu", "idle: % of one core", 100.0),
    ("idle_bytes", "idle: kB/s of control traffic", 1e-3),
    ("rss", "resident memory, MB", 1e-6),
)


def scale(rows: list[dict[str, Any]], pyplot: Any, target: Path) -> None:
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), layout="constrained")
    for (field, title, factor), axis in zip(PANELS, axes.flat, strict=True):
        for mode in sorted({row["mode"] for row in rows}):
            points = [(row["peers"], row[field] * factor) for row in rows if row["mode"] == mode]
            axis.plot(*zip(*points, strict=True), marker="o", label=mode)
        axis.set(title=title, xlabel="peers")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    figure.savefig(target)


def packet_sizes(fields: dict[str, Any], pyplot: Any, target: Path) -> None:
    """The ratio to the relay by size: the median of the rounds, and each round as a dot."""
    samples = [Sample(**sample) for sample in fields["samples"]]
    results = Results(machine={}, samples=samples)
    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for protocol, label in (("udp", "datagrams"), ("tcp", "one TCP stream, by its segments")):
        by_size = {
            int(name.split()[1]): ratios(results, name) for name in SWEEP if protocol in name
        }
        sizes = [size for size, found in by_size.items() if found]
        (line,) = axis.plot(sizes, [median(by_size[size]) for size in sizes], "o-", label=label)
        for size in sizes:
            found = by_size[size]
            axis.plot([size] * len(found), found, "o", color=line.get_color(), ms=3, alpha=0.4)
    axis.axhline(1, color="gray", linewidth=1)
    axis.set_xscale("log", base=2)
    axis.set_xticks([64, 128, 256, 512, 1024], ["64", "128", "256", "512", "1024"])
    axis.set(xlabel="bytes of payload", ylabel="tunmesh by the relay", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(target)


def main(directory: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    for name, draw in (("scale", scale), ("packet_sizes", packet_sizes)):
        source = directory / f"{name}.json"
        if source.exists():
            draw(json.loads(source.read_text()), pyplot, directory / f"{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
