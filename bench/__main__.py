"""The command line: python -m bench [options]; usually run as `make bench`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from bench import contenders, page, report
from bench.contender import Contender
from bench.contenders.tunmesh import contender as tunmesh
from bench.results import Results
from bench.run import run
from bench.scenarios import QUICK, SCENARIOS
from bench.tools import TOOLS, machine_facts, missing
from tunmesh.errors import OperatorError
from tunmesh.localmesh import machine

RESULTS = Path(__file__).parent / "results"
# By option: everything that exists, and the subset for `--quick`.
_CHOICES = {
    "only": (contenders.NAMES, contenders.QUICK),
    "scenario": (tuple(SCENARIOS), QUICK),
}
_PATH = click.Path(path_type=Path)
_PROGRAM = click.Path(exists=True, dir_okay=False, executable=True, resolve_path=True)


def _names(context: click.Context, option: click.Parameter, value: str | None) -> list[str]:
    """A comma-separated list of names that the option knows."""
    known, few = _CHOICES[str(option.name)]
    names = value.split(",") if value else list(few if context.params["quick"] else known)
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name}: choose from {', '.join(known)}")
    return names


def _checkouts(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> list[Contender]:
    """NAME=DIRECTORY, each a checkout with its own .venv."""
    made = []
    for value in values:
        name, _, directory = value.partition("=")
        if not (Path(directory) / ".venv" / "bin" / "twistd").exists():
            raise click.BadParameter(f"{value}: NAME=DIRECTORY of a checkout with a .venv")
        made.append(tunmesh(name, Path(directory).absolute()))
    return made


def _binaries(paths: Mapping[str, Sequence[str]]) -> list[Contender]:
    """Contenders with other binaries, named after their option: name#2, name#3 and so on."""
    return [
        make(f"{name}#{number}", path)
        for name, make in contenders.BY_PATH.items()
        for number, path in enumerate(paths[name.replace("-", "_")], start=2)
    ]


def _options_for_binaries(command: Callable[..., None]) -> Callable[..., None]:
    for name in reversed(list(contenders.BY_PATH)):
        text = f"Another binary of {name} as one more contender; may be repeated."
        option = click.option(f"--{name}", multiple=True, metavar="PATH", type=_PROGRAM, help=text)
        command = option(command)
    return command


@click.command()
@click.option("--quick", is_flag=True, is_eager=True, help="A short run, in less than a minute.")
@click.option("--only", callback=_names, help="These contenders, comma-separated.")
@click.option("--scenario", callback=_names, help="These scenarios, comma-separated.")
@click.option("--rounds", type=int, help="Number of rounds: 3, or 1 with --quick.")
@click.option("--seconds", default=1, show_default=True, help="Duration of each measurement.")
@click.option(
    "--tunmesh",
    "checkouts",
    multiple=True,
    metavar="NAME=DIR",
    callback=_checkouts,
    help="tunmesh in another checkout, as an additional contender; may be repeated.",
)
@_options_for_binaries
@click.option("--output", type=_PATH, help="Where to write the figures; a JSON file.")
@click.option("--load", type=_PATH, help="Show the figures in this file, without measuring.")
@click.option("--save", is_flag=True, help="Update docs/performance.md and its plots.")
def main(
    quick: bool,
    only: list[str],
    scenario: list[str],
    rounds: int | None,
    seconds: int,
    checkouts: list[Contender],
    output: Path | None,
    load: Path | None,
    save: bool,
    **binaries: tuple[str, ...],
) -> None:
    """Compare tunmesh with no VPN, a minimal relay, and other VPNs. Must be run as root."""
    if load:
        results = Results.load(load)
    else:
        chosen = [one for one in contenders.ALL if one.name in only]
        chosen += checkouts + _binaries(binaries)
        try:
            _check_machine()
            results = _measure(chosen, scenario, rounds or (1 if quick else 3), seconds, output)
        except OperatorError as error:
            raise click.ClickException(str(error)) from None
    click.echo("\n".join(["", *report.table(results)]))
    if save:
        page.save(results)
        click.echo(f"made anew: {page.PAGE}")


def _measure(
    chosen: list[Contender], scenario: list[str], rounds: int, seconds: int, output: Path | None
) -> Results:
    """Run the benchmark; the results are written to a file, even if the run is interrupted."""
    results = Results(machine=machine_facts())
    began = time.monotonic()
    try:
        scenarios = {name: SCENARIOS[name] for name in scenario}
        run(chosen, scenarios, rounds, seconds, results, lambda text: _say(began, text))
    except KeyboardInterrupt:
        click.echo("interrupted")
        sys.exit(130)
    finally:
        path = output or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
        results.save(path)
        click.echo(f"figures: {path}")
    return results


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise OperatorError("the benchmark makes network namespaces: run it as root")
    if packages := missing(TOOLS):
        raise OperatorError(f"not installed: apt install {' '.join(packages)}")
    machine.prepare()
    # A process started in the background may have Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))


def _say(began: float, text: str) -> None:
    click.echo(f"{time.monotonic() - began:7.1f} s  {text}")


if __name__ == "__main__":
    main()
