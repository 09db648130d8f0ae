"""The table on the terminal: a row per contender, a column per figure, and the verdicts; 80
columns.

    TCP, Gbit/s          1 →          1 ←  …
    veth           9.51 ± 2%    9.48 ± 1%
    relay          3.94 ± 1%    3.90 ± 3%

A cell is the median of the rounds, and half of their range relative to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from bench.results import Results
from bench.targets import TARGETS, Verdict, verdicts

WIDTH = 80
NAME, CELL = 14, 11


@dataclass(frozen=True)
class Column:
    """One figure: its heading, and the divisor for display."""

    heading: str
    figure: str
    unit: float
    digits: int


SECTIONS: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "TCP, Gbit/s",
        (
            Column("1 →", "tcp1_there", 1e9, 2),
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
            Column("load p50", "loaded_median", 1e-3, 2),
            Column("load p99", "loaded_p99", 1e-3, 2),
            Column("lost %", "loaded_lost", 1e-2, 1),
            Column("4 → Gbit/s", "loaded_tcp4", 1e9, 2),
            Column("no ping", "loaded_alone", 1e9, 2),
        ),
    ),
    (
        "beside a slow peer",
        (
            Column("Gbit/s", "slow_beside", 1e9, 2),
            Column("alone", "slow_alone", 1e9, 2),
            Column("RTT p50 ms", "slow_rtt_median", 1e-3, 2),
            Column("p99 ms", "slow_rtt_p99", 1e-3, 2),
        ),
    ),
    (
        "beside a dead peer",
        (
            Column("Gbit/s", "dead_beside", 1e9, 2),
            Column("alone", "dead_alone", 1e9, 2),
            Column("RTT p50 ms", "dead_rtt_median", 1e-3, 2),
            Column("p99 ms", "dead_rtt_p99", 1e-3, 2),
            Column("growth MB", "dead_growth", 1e6, 1),
        ),
    ),
    (
        "doing nothing",
        (
            Column("CPU %", "idle_cpu", 1e-2, 2),
            Column("kB a peer", "memory_per_peer", 1e3, 0),
        ),
    ),
)


def table(results: Results) -> list[str]:
    """All that was measured, what was not, and the verdicts on the targets."""
    lines = [*_contender_lines(results), ""]
    for title, columns, names in sections(results):
        heading = f"{title:<{NAME}}" + "".join(f"{one.heading:>{CELL}}" for one in columns)
        lines += [heading, *(_row(results, name, columns) for name in names), ""]
    for what, why in results.skipped.items():
        lines += wrap(f"not measured: {what}: {why}", WIDTH, subsequent_indent="    ")
    known = [verdict for verdict in verdicts(results) if verdict.met is not None]
    lines += map(verdict_line, known)
    if unknown := len(TARGETS) - len(known):
        lines.append(f"unknown  {unknown} more targets: not measured in this run")
    return lines


def _contender_lines(results: Results) -> Iterator[str]:
    """Each contender, with its version and a description."""
    for name, about in results.about.items():
        version = results.versions.get(name)
        text = ", ".join(filter(None, (version, about)))
        yield from wrap(f"{name:<{NAME}} {text}", WIDTH, subsequent_indent=" " * (NAME + 1))


def sections(results: Results) -> Iterator[tuple[str, Sequence[Column], Sequence[str]]]:
    """Title, columns and contenders of each part of the table that is not empty."""
    for title, columns in SECTIONS:
        figures = {sample.figure for sample in results.samples}
        shown = [column for column in columns if column.figure in figures]
        names = [
            name
            for name in results.about
            if any(results.values(name, column.figure) for column in shown)
        ]
        if names:
            yield title, shown, names


def _row(results: Results, name: str, columns: Sequence[Column]) -> str:
    cells = (cell(results, name, column) for column in columns)
    return f"{name[:NAME]:<{NAME}}" + "".join(f"{text:>{CELL}}" for text in cells)


def cell(results: Results, contender: str, column: Column) -> str:
    """Median and spread; a dash if it was not measured."""
    summary = results.summary(contender, column.figure)
    if summary is None:
        return "–"
    value = summary.median / column.unit
    digits = 0 if value >= 100 else min(column.digits, 2) if value >= 10 else column.digits
    return f"{value:.{digits}f} ±{min(summary.spread, 0.99):3.0%}"


def verdict_line(verdict: Verdict) -> str:
    text, limit, value, outcome = verdict_cells(verdict)
    return f"{outcome:<9}{text:<49}{limit:>11}{value:>10}"


def verdict_cells(verdict: Verdict) -> tuple[str, str, str, str]:
    """The target, its limit, the measured value and the outcome."""
    target = verdict.target
    limit = f"{'≥' if target.at_least else '≤'} {target.limit:g} {target.unit_name}".strip()
    value = "–" if verdict.value is None else f"{verdict.value:.2f}"
    outcome = {True: "met", False: "NOT MET", None: "unknown"}[verdict.met]
    return target.text, limit, value, outcome
