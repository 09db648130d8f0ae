"""A run: all contenders are started, then every scenario measures each in turn, round after
round.

So disturbances of the machine affect all of them alike. A contender that fails in a scenario is
left out of it from then on, and the reason is noted; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bench.contender import Contender
from bench.errors import BenchError
from bench.lab import Lab
from bench.results import Results, Sample
from bench.running import Running, bring_up
from bench.scenarios import OF_MESHES, Scenario
from bench.tools import dated, missing, version
from tunmesh.errors import OperatorError

FAULTS = (BenchError, OperatorError, OSError)
Say = Callable[[str], None]


def run(
    contenders: Iterable[Contender],
    scenarios: Mapping[str, Scenario],
    rounds: int,
    seconds: int,
    results: Results,
    say: Say,
) -> None:
    """Measure; samples are added to the results as they arrive."""
    with Lab() as lab:
        up = [running for one in contenders if (running := _up(lab, one, results, say))]
        for number in range(1, rounds + 1):
            for name, scenario in scenarios.items():
                say(f"round {number} of {rounds}: {name}")
                for running in up:
                    _measure(running, name, scenario, number, seconds, results, say)


def _up(lab: Lab, contender: Contender, results: Results, say: Say) -> Running | None:
    """Start a contender; None, with the reason noted, if that fails."""
    if packages := missing(contender.needs):
        _skip(contender.name, f"not installed: apt install {' '.join(packages)}", results, say)
        return None
    if contender.version:
        number = version(contender.version)
        named = number if contender.released is None else dated(number, contender.released)
        results.versions[contender.name] = named
    ground = lab.ground(contender.name)
    try:
        took = bring_up(contender, ground)
    except FAULTS as error:
        lab.close_ground(ground)
        _skip(results.label(contender.name), str(error), results, say)
        return None
    say(f"{results.label(contender.name)} is up: first packet after {took:.2f} s")
    results.about[contender.name] = contender.about
    return Running(contender, ground, lab)


def _measure(
    running: Running,
    name: str,
    scenario: Scenario,
    number: int,
    seconds: int,
    results: Results,
    say: Say,
) -> None:
    who = running.contender.name
    needs_mesh = name in OF_MESHES and not running.contender.is_mesh
    if needs_mesh or f"{who} {name}" in results.skipped:
        return
    try:
        figures = scenario(running, seconds)
        running.ground.check_daemons()
    except FAULTS as error:
        _skip(f"{who} {name}", str(error), results, say)
        return
    results.samples += [Sample(number, who, figure, value) for figure, value in figures.items()]


def _skip(what: str, why: str, results: Results, say: Say) -> None:
    results.skipped[what] = why
    say(f"skipped: {what}: {why}")
