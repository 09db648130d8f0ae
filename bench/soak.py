"""A mesh of real nodes under mixed traffic and churn, for any length of time: `make soak`.

    python -m bench.soak [--minutes 60] [--nodes 5] [--seed N] [--out FILE]

TCP transfers, datagrams, pings and HTTP pages cross the mesh all the time and are checked to the
last byte, while nodes are killed, restarted, disconnected and given new secrets, and while UDP is
blocked or lost (bench.churn). Packets go over UDP between most nodes; one chooses, and one has TCP
only. Sessions are short, so that links are renewed constantly too. Nodes 1 and 2 are never
restarted: their memory, open files and delayed calls must not grow. The exit code is 0 if every
verdict is good. The file has all readings and is rewritten every minute, so that an interrupted
soak leaves its data.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bench.churn import STEADY, Churn
from bench.conversations import KINDS, Conversations, Harm, Tally
from bench.gauges import GAUGES, WARM, Reading, growth, read_node
from bench.realmesh import Changes, RealMesh, cpu_seconds, numbers, run_reactor
from tunmesh.errors import OperatorError
from tunmesh.localmesh.processes import MeshError

TRANSPORTS = {4: "auto", 5: "tcp"}  # by node; all others: udp
STREAMS = 4  # concurrent transfers
READ_PAUSE = 5.0  # seconds between two readings
SAVE_PAUSE = 60.0
LEAVE_PATIENCE = 10.0
# Losses of datagrams and pings between unharmed nodes that a busy machine may cause.
TOLERATED_LOSS = 0.01


def settings_of(number: int) -> Changes:
    """The settings of a node."""
    return {
        "process__timing": {"auth": {"session_max_age": 60}},
        "networking__transport": TRANSPORTS.get(number, "udp"),
    }


@dataclass(frozen=True)
class Verdict:
    """One line of the final table."""

    what: str
    found: str
    limit: str
    good: bool


class Soak:
    """One run. `run` returns when the time is over; `verdicts` and `summary` work at any time."""

    def __init__(self, mesh: RealMesh, draw: random.Random, minutes: float, out: Path) -> None:
        self._mesh = mesh
        self._seconds = minutes * 60
        self._out = out
        self._harm = Harm()
        self.tally = Tally(self._harm)
        self._conversations = Conversations(mesh, self.tally, draw)
        self._churn = Churn(mesh, self._harm, draw, settings_of, self.tally.note)
        self._readings: list[Reading] = []
        self._began = time.monotonic()
        self._busy = 0.0  # CPU seconds of the steady nodes at the last reading

    @property
    def _at(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        """Raises MeshError if the mesh cannot even be started."""
        for number in numbers(self._mesh):
            self._mesh.configure(number, settings_of(number))
        await self._mesh.start_all()
        await self._conversations.serve()
        talk = self._conversations
        workers: list[Callable[[], Awaitable[None]]] = [talk.streams] * STREAMS
        workers += [talk.datagrams, talk.pings, talk.pages]
        workers += [self._churn.go_on, self._read_on, self._report_on]
        self._began = time.monotonic()
        running = [self._work(worker) for worker in workers]
        try:
            await self._mesh.rest(self._seconds)
        finally:
            for work in running:
                work.cancel()
        await self._leave()

    def _work(self, worker: Callable[[], Awaitable[None]]) -> Deferred[None]:
        """A worker that runs until it is cancelled; a bug in it counts as an error like any
        other."""

        def ended(failure: Failure) -> None:
            if not failure.check(CancelledError):
                self.tally.note(f"{worker.__name__} ended: {failure.getTraceback()}")

        work: Deferred[None] = Deferred.fromCoroutine(worker())  # type: ignore[arg-type]
        return work.addErrback(ended)

    async def _leave(self) -> None:
        """Every node leaves cleanly."""
        for number in numbers(self._mesh):
            self._mesh.signal(number, "TERM")
        processes = [self._mesh.process(number) for number in numbers(self._mesh)]
        with suppress(MeshError):
            await self._mesh.until(
                lambda: not any(one.running for one in processes), "", LEAVE_PATIENCE
            )
        for one in processes:
            if one.status != 0:
                self.tally.note(f"{one.name} ended with {one.status} after the last TERM")

    async def _read_on(self) -> None:
        while True:
            for number in STEADY:
                try:
                    self._readings.append(await read_node(self._mesh, number, self._at))
                except CancelledError:
                    raise
                except Exception as error:  # a busy machine may make it fail once, too
                    self.tally.counts["unread"] += 1
                    self.tally.note(f"node{number} could not be read: {error!r}")
            self._busy = sum(cpu_seconds(self._mesh.pid(number)) for number in STEADY)
            await self._mesh.rest(READ_PAUSE)

    async def _report_on(self) -> None:
        while True:
            await self._mesh.rest(min(SAVE_PAUSE, self._seconds / 4))
            self.save()
            print(self._line(), flush=True)  # noqa: T201

    def _line(self) -> str:
        counts, last = self.tally.counts, self._readings[-1]
        events = sum(map(len, self._churn.healed.values()))
        return (
            f"{self._at / 60:6.1f} min  {counts['tcp_bytes'] / 1e6:8.0f} MB TCP"
            f"  {counts['udp']:8} datagrams  {events:4} events  {counts['errors']:3} errors"
            f"  RSS {last.rss / 2**20:.1f} MiB"
        )

    def verdicts(self) -> Iterator[Verdict]:
        counts = self.tally.counts
        checked = (counts["tcp_bytes"] + counts["udp_bytes"]) / 1e6
        yield Verdict("bytes checked", f"{checked:.0f} MB", "some", checked > 0)
        yield _at_most("of them wrong", counts["wrong"], 0)
        for kind in KINDS:
            good, lost = counts[kind], counts[f"{kind}_lost"]
            limit = int(good * TOLERATED_LOSS) if kind in ("udp", "ping") else 0
            yield _at_most(f"{kind}: {good} good; lost without an excuse", lost, limit)
        switches = sum(self._switches(number) for number in numbers(self._mesh))
        yield Verdict("switches between UDP and TCP", str(switches), "some", switches > 0)
        for name, times in sorted(self._churn.healed.items()):
            what = f"{name}, {len(times)} times; slowest to be whole"
            yield Verdict(what, f"{max(times):.1f} s", "whole", True)
        for number in STEADY:
            node = f"node{number}"
            for gauge, usual in GAUGES.items():
                limit = usual if self._seconds >= WARM else 2 * usual
                rise, unit = growth(self._readings, node, gauge), 2**20 if gauge == "rss" else 1
                what = f"{node}: growth of {gauge}{', MiB' if gauge == 'rss' else ''}"
                yield Verdict(what, f"{rise / unit:.2f}", f"≤ {limit / unit:g}", rise <= limit)
        yield _at_most("errors in all", counts["errors"], sum(self._tolerated()))

    def _switches(self, number: int) -> int:
        """How often a node has logged that packets to a peer go another way."""
        log = self._mesh.directory / self._mesh.plans[number - 1].log_file
        return log.read_bytes().count(b'"event": "transport"')

    def _tolerated(self) -> Iterator[int]:
        """The number of errors that are losses within their limits."""
        for kind in ("udp", "ping"):
            lost = self.tally.counts[f"{kind}_lost"]
            yield min(lost, int(self.tally.counts[kind] * TOLERATED_LOSS))

    def summary(self) -> dict[str, Any]:
        return {
            "when": time.strftime("%Y-%m-%d %H:%M:%S"),
            "minutes": round(self._at / 60, 2),
            "nodes": len(self._mesh.plans),
            "cpu_of_a_steady_node": round(self._busy / len(STEADY) / max(self._at, 1), 4),
            "cpu_of_the_harness": round(time.process_time() / max(self._at, 1), 4),
            "counts": dict(self.tally.counts),
            "errors": self.tally.errors,
            "healed_median": {name: median(all_) for name, all_ in self._churn.healed.items()},
            "healed": self._churn.healed,
            "verdicts": [asdict(verdict) for verdict in self.verdicts()],
            "readings": [asdict(reading) for reading in self._readings],
        }

    def save(self) -> None:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        new = self._out.with_suffix(".new")
        new.write_text(json.dumps(self.summary(), indent=1) + "\n")
        new.replace(self._out)


def _at_most(what: str, found: int, limit: int) -> Verdict:
    return Verdict(what, str(found), f"≤ {limit}", found <= limit)


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """The table for a terminal of 80 columns."""
    return [
        f"{'ok' if one.good else 'FAILED':<7} {one.what:<48} {one.found:>11} {one.limit:>10}"
        for one in verdicts
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=5, help="at least 3")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311
    parser.add_argument("--out", type=Path, default=Path("bench/results/soak.json"))
    options = parser.parse_args()
    if options.nodes <= len(STEADY):
        parser.error(f"--nodes must be at least {len(STEADY) + 1}: two of them are never restarted")
    from twisted.internet import reactor

    draw = random.Random(options.seed)  # noqa: S311
    print(f"{options.nodes} nodes, {options.minutes:g} minutes, seed {options.seed}", flush=True)  # noqa: T201
    try:
        with RealMesh.make(reactor, options.nodes) as mesh:
            soak = Soak(mesh, draw, options.minutes, options.out)

            async def story() -> int:
                try:
                    await soak.run()
                finally:
                    soak.save()
                verdicts = list(soak.verdicts())
                print("\n".join(table(verdicts)))  # noqa: T201
                print("\n".join(soak.tally.errors[:10]))  # noqa: T201
                return 0 if all(verdict.good for verdict in verdicts) else 1

            return run_reactor(reactor, story)
    except (OperatorError, MeshError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
