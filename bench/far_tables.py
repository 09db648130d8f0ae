"""Tables of `bench.far`: rates relative to no VPN, on each path, and what is worse than without.

40 ms, 1 % lost       reno 1         reno 8          bbr 1          bbr 8
  no VPN           2.8           30.7           87.7           92.0
  tunmesh udp      3.1   1.11    27.9   0.91    64.8   0.74    83.6   0.91
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean
from textwrap import wrap

from bench.results import Results

BARE = "no VPN"
NAME, CELL = 20, 15
AT_LEAST = 0.9  # of what there is without a VPN
PING_AT_MOST = 1.3  # times what it is without one
LOSS_AT_MOST = 1.2  # times what the path loses
PINGS = 5000  # of which those are counted that are lost
FULL = 0.8  # share of the processors' time: from here on they may be what is measured
DOCS = pathlib.Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance-far.md"
BEGIN, END = "<!-- made by bench.far: begin -->", "<!-- made by bench.far: end -->"


@dataclass(frozen=True, slots=True)
class Path:
    """A path: seconds of a round trip, and the share of packets that is lost in each direction."""

    rtt: float
    loss: float

    @property
    def title(self) -> str:
        return f"{self.rtt * 1e3:g} ms, {self.loss * 1e2:g} % lost"

    def figure(self, name: str) -> str:
        """The name of a figure that was measured on this path."""
        return f"{self.title}: {name}"


@dataclass(frozen=True, slots=True)
class Streams:
    """How many, and with which congestion control."""

    inner: str
    count: int

    @property
    def name(self) -> str:
        return f"{self.inner} {self.count}"


Say = Callable[[Path], None]


def busy(name: str) -> str:
    """The name of the figure that says how busy the processors were meanwhile: a share."""
    return f"{name}, processors"


@dataclass(frozen=True)
class _Column:
    """`what`: a figure; `unit`: what it is divided by; `best`: 1 if more of it is better, -1 if
    less is."""

    heading: str
    what: str
    unit: float
    digits: int


def of_path(results: Results, path: Path) -> list[str]:
    """What was measured on one path."""
    names = _streams(results, path.title)
    rates = [_Column(name, name, 1e6, 1) for name in names]
    pings = [_Column(name, f"{name}, ping p50", 1e-3, 0) for name in names]
    late = [_Column(name, f"{name}, ping p99", 1e-3, 0) for name in names]
    idle = [
        _Column("lost %", "idle lost", 1e-2, 2),
        _Column("p50 ms", "idle p50", 1e-3, 1),
        _Column("p99 ms", "idle p99", 1e-3, 1),
    ]
    return [
        *_table(results, path, f"{path.title}", rates),
        *_table(results, path, "  ping beside, p50", pings),
        *_table(results, path, "  ping beside, p99", late),
        *_table(results, path, "  ping alone", idle),
        "",
    ]


def _table(results: Results, path: Path, title: str, columns: Sequence[_Column]) -> Iterator[str]:
    yield f"{title:<{NAME}}" + "".join(f"{one.heading:>{CELL}}" for one in columns)
    for who in _names(results, path.title):
        cells = (_cell(results, who, path.figure(one.what), one) for one in columns)
        yield f"  {who:<{NAME - 2}}" + "".join(cells)


def _cell(results: Results, who: str, figure: str, column: _Column) -> str:
    """The median, and its ratio to no VPN."""
    found = results.summary(who, figure)
    if found is None:
        return f"{'–':>{CELL}}"
    ratio = None if who == BARE else results.ratio((who, figure), (BARE, figure))
    beside = "" if ratio is None else f"{ratio:.2f}"
    return f"{found.median / column.unit:>{CELL - 6}.{column.digits}f}{beside:>6}"


def _names(results: Results, title: str) -> list[str]:
    """The contenders that were measured on a path."""
    return list(
        dict.fromkeys(
            each.contender for each in results.samples if each.figure.startswith(f"{title}: ")
        )
    )


def _streams(results: Results, title: str) -> list[str]:
    """The kinds of streams that were measured on a path."""
    figures = (each.figure.removeprefix(f"{title}: ") for each in results.samples)
    return list(
        dict.fromkeys(
            each for each in figures if ":" not in each and "," not in each and "idle" not in each
        )
    )


def paths(results: Results) -> list[Path]:
    """The paths that there are figures of."""
    titles = dict.fromkeys(each.figure.partition(": ")[0] for each in results.samples)
    found = []
    for title in titles:
        words = title.split()
        found.append(Path(float(words[0]) / 1e3, float(words[2]) / 1e2))
    return found


def summary(results: Results) -> Iterator[str]:
    """The versions, what was not measured, and where `auto` is worse than it should be."""
    for who, number in results.versions.items():
        yield f"{who} is {number}"
    for what, why in results.skipped.items():
        yield f"not measured: {what}: {why}"
    worse = list(_worse(results))
    yield from worse or ["auto is nowhere worse than it should be"]


def _worse(results: Results) -> Iterator[str]:
    """A line for each figure of a contender with `auto` that misses its target."""
    for path in paths(results):
        for who in _names(results, path.title):
            if "auto" not in who:
                continue
            for name in _streams(results, path.title):
                full = _full(results, who, path.figure(busy(name)))
                yield from _missed(results, who, path.figure(name), AT_LEAST, True, full)
                beside = path.figure(f"{name}, ping p50")
                yield from _missed(results, who, beside, PING_AT_MOST, False, full)
            if path.loss:
                yield from _lost(results, who, path)


def _missed(
    results: Results, who: str, figure: str, limit: float, at_least: bool, full: str
) -> Iterator[str]:
    ratio = results.ratio((who, figure), (BARE, figure))
    if ratio is not None and (ratio < limit if at_least else ratio > limit):
        sign = "≥" if at_least else "≤"
        yield f"NOT MET  {who:<20} {figure:<44} {sign} {limit} {ratio:.2f}{full}"


def _lost(results: Results, who: str, path: Path) -> Iterator[str]:
    """What the path loses of pings is known; of so few, chance may take some more."""
    figure = path.figure("idle lost")
    values = list(results.values(who, figure).values())
    if not values:
        return
    lost, expected = mean(values), 1 - (1 - path.loss) ** 2
    by_chance = 2 * sqrt(expected * (1 - expected) / (PINGS * len(values)))
    if lost > max(LOSS_AT_MOST * expected, expected + by_chance):
        full = _full(results, who, path.figure(busy("idle")))
        ratio = lost / expected
        yield f"NOT MET  {who:<20} {figure:<44} ≤ {LOSS_AT_MOST} {ratio:.2f}{full}"


def _full(results: Results, who: str, figure: str) -> str:
    """That the processors were so busy that a figure may be theirs."""
    found = results.summary(who, figure)
    return "" if found is None or found.median < FULL else f" (CPU {found.median:.0%} busy)"


def report(results: Results) -> Iterator[str]:
    """All tables, and the summary."""
    for path in paths(results):
        yield from of_path(results, path)
    yield from summary(results)


def save(results: Results) -> None:
    """Write the tables into the page, between its markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    machine = " · ".join(f"{what} {value}" for what, value in results.machine.items())
    text = "\n".join([*wrap(machine, 100), "", "```", *report(results), "```"])
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
