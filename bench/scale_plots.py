"""Draws what bench.scale and bench.packet_sizes have measured.

    python -m bench.scale_plots DIRECTORY

Reads scale.json and packet_sizes.json there, where they are, and writes an SVG beside each. Needs
matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

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


def packet_sizes(rows: list[dict[str, Any]], pyplot: Any, target: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for protocol in ("udp", "tcp"):
        points = [(row["size"], row["bits"] / 1e6) for row in rows if row["protocol"] == protocol]
        axis.loglog(*zip(*points, strict=True), marker="o", label=protocol)
    axis.set(xlabel="bytes of a datagram, or at most of a segment", ylabel="Mbit/s received")
    axis.grid(alpha=0.3, which="both")
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
