"""The plots of docs/performance.md: for each figure a bar per contender with the median, and a
whisker over the range of the rounds.

matplotlib is in the extra `bench`, and used only here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results import Results
from bench.targets import US

OURS, THEIRS, INK = "#2a78b5", "#b9c4cc", "#40484e"


@dataclass(frozen=True)
class Panel:
    """One figure; `unit` is the divisor for display."""

    title: str
    figure: str
    unit: float
    digits: int


# By file name. The bare cable is left out: it would dwarf all other bars of TCP.
PLOTS: Mapping[str, Sequence[Panel]] = {
    "tcp": (
        Panel("TCP, 1 stream, Gbit/s", "tcp1", 1e9, 2),
        Panel("TCP, 4 streams, Gbit/s", "tcp4", 1e9, 2),
    ),
    "datagrams": (
        Panel("UDP, 1200 B, thousands/s", "udp1200", 1e3, 0),
        Panel("UDP, 64 B, thousands/s", "udp64", 1e3, 0),
    ),
    "round-trip": (
        Panel("round trip, idle, ms", "rtt_median", 1e-3, 2),
        Panel("… beside 4 TCP streams, p99, ms", "loaded_p99", 1e-3, 1),
    ),
    "cost": (
        Panel("processor seconds per GB, both ends", "cpu_per_gb", 1, 1),
        Panel("HTTP requests/s, a connection each", "http", 1, 0),
    ),
}


def save_plots(results: Results, directory: Path) -> None:
    """One SVG for each of PLOTS. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    # Deterministic output, so that a diff shows only real changes.
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "tunmesh",
            "svg.fonttype": "none",  # text stays text
            "font.size": 9,
            "text.color": INK,
        }
    )
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    for name, panels in PLOTS.items():
        figure, axes = pyplot.subplots(1, len(panels), figsize=(9, 3), layout="constrained")
        for axis, panel in zip(axes, panels, strict=True):
            _draw(axis, results, panel)
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)


def _draw(axis: Any, results: Results, panel: Panel) -> None:
    names = [
        name for name in results.about if name != "veth" and results.values(name, panel.figure)
    ]
    for row, name in enumerate(names):
        values = [value / panel.unit for value in results.values(name, panel.figure).values()]
        found = results.summary(name, panel.figure)
        assert found  # noqa: S101
        middle = found.median / panel.unit
        axis.barh(row, middle, color=OURS if name == US else THEIRS, height=0.7)
        axis.hlines(row, min(values), max(values), color=INK, linewidth=1)
        axis.text(max(values), row, f" {middle:.{panel.digits}f}", va="center")
    labels = [f"{name}\n{results.versions.get(name, '')}".strip() for name in names]
    axis.set_yticks(range(len(names)), labels)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(panel.title, loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
