"""The generated part of docs/performance.md, between two markers.

The results are stored next to the plots, so that a test can check that the page matches them, and
the page can be generated again without measuring.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.plots import save_plots
from bench.report import cell, sections, verdict_cells
from bench.results import Results
from bench.targets import US, Verdict, verdicts

DOCS = Path(__file__).parent.parent / "docs"
PAGE, KEPT = DOCS / "performance.md", DOCS / "performance"
RESULTS = KEPT / "results.json"
BEGIN, END = "<!-- made by make bench SAVE=1: begin -->", "<!-- made by make bench SAVE=1: end -->"


def save(results: Results) -> None:
    """Write results, plots and page. Raises ImportError without matplotlib."""
    save_plots(results, KEPT)
    results.save(RESULTS)
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


def renewed(page: str, results: Results) -> str:
    """The page with the part between the markers generated from these results."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{figures(results)}\n{END}{rest.partition(END)[2]}"


def figures(results: Results) -> str:
    """Markdown: the machine, the contenders, every table, the targets."""
    lines = [" · ".join(f"{what} {value}" for what, value in results.machine.items()), ""]
    who = ((name, results.versions.get(name, ""), about) for name, about in results.about.items())
    lines += _table(("contender", "version", "what it is"), who)
    for title, columns, names in sections(results):
        headings = (title, *(column.heading for column in columns))
        rows = (
            (results.label(name), *(cell(results, name, column) for column in columns))
            for name in names
        )
        lines += _table(headings, rows)
    lines += [f"* not measured: {what}: {why}" for what, why in results.skipped.items()]
    targets = (_target(results, verdict) for verdict in verdicts(results))
    return "\n".join([*lines, "", *_table(("target", "limit", "measured", ""), targets)])


def _target(results: Results, verdict: Verdict) -> tuple[str, ...]:
    """The table cells of a target, with the version of the program that it compares with."""
    text, *cells = verdict_cells(verdict)
    other = verdict.target.other[0] if verdict.target.other else US
    return (text if other == US else text.replace(other, results.label(other)), *cells)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    headings = tuple(headings)
    lines = [headings, ("---",) * len(headings), *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]
