"""The table on the terminal: contenders down, figures across, nothing wider than 80 columns.

TCP, Gbit/s      1 there ±   1 back ±  …
veth             9.51  2%   9.48  1%
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.results import Results

WIDTH = 80
NAME, CELL = 14, 11


@dataclass(frozen=True)
class Column:
    """One figure: its heading, and what a value is divided by to be shown."""

    heading: str
    figure: str
    unit: float
    digits: int


SECTIONS: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "TCP, Gbit/s",
        (
            Column("1 stream →", "tcp1_there", 1e9, 2),
            Column("1 ←", "tcp1_back", 1e9, 2),
            Column("4 →", "tcp4_there", 1e9, 2),
            Column("4 ←", "tcp4_back", 1e9, 2),
            Column("1 ⇄", "tcp1_both", 1e9, 2),
            Column("4 ⇄", "tcp4_both", 1e9, 2),
        ),
    ),
    (
        "packets",
        (
            Column("1200 B k/s", "udp1200", 1e3, 1),
            Column("64 B k/s", "udp64", 1e3, 1),
            Column("http /s", "http", 1, 0),
            Column("CPU s/GB", "cpu_per_gb", 1, 2),
            Column("memory MB", "memory", 1e6, 1),
            Column("start s", "start", 1, 2),
        ),
    ),
    (
        "round trip, ms",
        (
            Column("idle p50", "rtt_median", 1e-3, 3),
            Column("idle p99", "rtt_p99", 1e-3, 3),
            Column("load p50", "loaded_median", 1e-3, 2),
            Column("load p99", "loaded_p99", 1e-3, 2),
            Column("lost %", "loaded_lost", 1e-2, 1),
            Column("TCP Gbit/s", "loaded_tcp4", 1e9, 2),
        ),
    ),
)


def table(results: Results) -> list[str]:
    """Lines of at most 80 columns."""
    lines = []
    for title, columns in SECTIONS:
        shown = [column for column in columns if _measured(results, column)]
        if shown:
            lines += _section(results, title, shown)
    lines += [f"  {name}: {reason}"[:WIDTH] for name, reason in results.skipped.items()]
    return lines


def _measured(results: Results, column: Column) -> bool:
    return any(sample.figure == column.figure for sample in results.samples)


def _section(results: Results, title: str, columns: Sequence[Column]) -> list[str]:
    heading = f"{title:<{NAME}}" + "".join(f"{column.heading:>{CELL}}" for column in columns)
    rows = [
        f"{name[:NAME]:<{NAME}}"
        + "".join(f"{_cell(results, name, column):>{CELL}}" for column in columns)
        for name in results.about
    ]
    return [heading, *rows, ""]


def _cell(results: Results, contender: str, column: Column) -> str:
    summary = results.summary(contender, column.figure)
    if summary is None:
        return "–"
    return f"{summary.median / column.unit:.{column.digits}f} ±{summary.spread:3.0%}"
