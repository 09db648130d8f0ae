"""Measures the effects of real faults on three real nodes: `make faults`.

    python -m bench.faults [--rounds 3] [--only WORD,…] [--out FILE]

Each fault is a function on a fresh mesh. Node 2 is the victim; pings every 10 ms from node 1 to it
and to node 3, the bystander, show when traffic stopped and when it resumed. A figure is in seconds
unless its name says otherwise, and has a limit if the documentation promises one. The table has the
median and the worst of the rounds; the worst is compared with the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import BenchError
from bench.harm import FAULTS, Scene
from bench.realmesh import RealMesh, run_reactor
from bench.tools import insist_on
from bench.watch import Watch
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
from tunmesh.localmesh.plan import NodePlan
from tunmesh.localmesh.processes import MeshError
from tunmesh.localmesh.transfers import TrafficError

BYSTANDER_LIMIT = 1.0


@dataclass
class Figure:
    """One measurement of one fault, in all rounds."""

    fault: str
    what: str
    limit: float | None
    values: list[float] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.limit is None or max(self.values) <= self.limit

    def row(self) -> tuple[str, ...]:
        limit = "" if self.limit is None else f"≤ {self.limit:g}"
        verdict = "" if self.limit is None else "ok" if self.good else "FAILED"
        return (
            self.fault,
            self.what,
            f"{median(self.values):.2f}",
            f"{max(self.values):.2f}",
            limit,
            verdict,
        )


class Book:
    """All figures."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], Figure] = {}
        self.failures: list[str] = []

    def enter(self, fault: str, what: str, value: float, limit: float | None) -> None:
        figure = self.figures.setdefault((fault, what), Figure(fault, what, limit))
        figure.values.append(value)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = [vars(figure) for figure in self.figures.values()]
        told = {"when": time.strftime("%Y-%m-%d"), "figures": figures, "failures": self.failures}
        path.write_text(json.dumps(told, indent=1) + "\n")

    def table(self) -> list[str]:
        """The table for a terminal of 80 columns; each fault is named once."""
        lines = [_line("fault", "seconds until", "median", "worst", "limit", "")]
        before = ""
        for figure in self.figures.values():
            fault, *rest = figure.row()
            lines.append(_line("" if fault == before else fault, *rest))
            before = fault
        return lines + [f"FAILED  {failure}" for failure in self.failures]


def _line(fault: str, what: str, *cells: str) -> str:
    middle, worst, limit, verdict = cells
    return f"{fault:<22}{what:<28}{middle:>8}{worst:>8} {limit:>7} {verdict}".rstrip()


async def _play(
    mesh: RealMesh, fault: str, act: Callable[[Scene], Awaitable[None]], book: Book
) -> None:
    """Run one fault, once."""
    with (
        closing(Watch(mesh.reactor, mesh.namespace(1), mesh.plans[1].ipv4)) as victim,
        closing(Watch(mesh.reactor, mesh.namespace(1), mesh.plans[2].ipv4)) as bystander,
    ):
        scene = Scene(mesh, victim, lambda *figure: book.enter(fault, *figure))
        await scene.begin()
        await scene.until_flows(bystander)
        began = time.monotonic()
        await act(scene)
        outage = bystander.outage(began)
        if scene.has_bystander:
            book.enter(fault, "outage of a bystander", outage, BYSTANDER_LIMIT)


async def _play_all(reactor: Any, names: Iterable[str], rounds: int, book: Book) -> int:
    for name in names:
        fault = FAULTS[name]
        for _ in range(rounds if fault.quick else 1):
            with RealMesh.make(reactor, 3) as mesh:
                try:
                    await _play(mesh, name, fault.act, book)
                except (MeshError, TrafficError, BenchError, OSError) as error:
                    book.failures.append(f"{name}: {error}{mesh.last_lines(error)}")
        print(f"{name}: done", file=sys.stderr, flush=True)  # noqa: T201
    return 0 if not book.failures and all(one.good for one in book.figures.values()) else 1


def own_hosts_file(directory: Path) -> Path:
    """From now on this file is /etc/hosts for this process and its children, and for no other."""
    hosts = directory / "hosts"
    hosts.write_text("".join(f"{one.underlay} {one.name}\n" for one in map(NodePlan, (1, 2, 3))))
    hosts.chmod(0o644)
    directory.chmod(0o755)
    unshare(CLONE_NEWNS)
    for command in ("mount --make-rprivate /", f"mount --bind {hosts} /etc/hosts"):
        if os.system(command):  # noqa: S605
            raise OperatorError(f"cannot have a hosts file of its own: {command} failed")
    return hosts


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.faults", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the quick faults")
    parser.add_argument("--only", default="", help="faults whose names have one of these words")
    parser.add_argument("--out", type=Path, default=Path("bench/results/faults.json"))
    options = parser.parse_args()
    words = options.only.split(",")
    names = [name for name in FAULTS if any(word in name for word in words)]
    from twisted.internet import reactor

    book = Book()
    try:
        insist_on({"nft": "nftables", "mount": "mount"})
        with tempfile.TemporaryDirectory() as directory:
            Scene.hosts = own_hosts_file(Path(directory))
            code = run_reactor(reactor, lambda: _play_all(reactor, names, options.rounds, book))
    except (OperatorError, BenchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    book.save(options.out)
    print("\n".join(book.table()))  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
