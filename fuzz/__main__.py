"""The command line: python -m fuzz [options]; usually run as `make fuzz`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from fuzz import corpus, seeds
from fuzz.run import Outcome, fuzz
from fuzz.targets import TARGETS

NEEDED = "fuzzing needs atheris, which is not installed: pip install -e '.[fuzz]'"
_COLUMNS = "{:<12}{:>12}{:>10}{:>8}   {}"


@click.group(invoke_without_command=True)
@click.option("--seconds", default=60, show_default=True, help="For all targets together.")
@click.option("--only", help="These targets, comma-separated.")
@click.pass_context
def main(context: click.Context, seconds: int, only: str | None) -> None:
    """Fuzz every target for its share of the time."""
    if context.invoked_subcommand is not None:
        return
    targets = only.split(",") if only else TARGETS
    for target in targets:
        if target not in TARGETS:
            raise click.BadParameter(f"--only {target}: choose from {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException(NEEDED)
    click.echo(_COLUMNS.format("target", "executions", "per s", "new", "verdict"))
    outcomes = []
    for target in targets:
        outcomes.append(fuzz(target, max(1, seconds // len(targets))))
        click.echo(row(outcomes[-1]))
    for line in complaints(outcomes):
        click.echo(line)
    sys.exit(0 if all(outcome.is_clean for outcome in outcomes) else 1)


def row(outcome: Outcome) -> str:
    return _COLUMNS.format(
        outcome.target,
        f"{outcome.executions:,}",
        f"{outcome.rate:,}",
        outcome.found,
        outcome.verdict,
    )


def complaints(outcomes: Iterable[Outcome]) -> list[str]:
    """For each failed target: where to look, and the command that reproduces the failure."""
    lines = []
    for outcome in outcomes:
        if outcome.culprit is not None:
            again = f"{sys.executable} -m fuzz replay {outcome.target} {outcome.culprit}"
            lines.append(f"{outcome.target}: {outcome.verdict}; to see it again: {again}")
        elif not outcome.is_clean:
            lines.append(f"{outcome.target}: {outcome.verdict}; see {outcome.log}")
    return lines


@main.command()
@click.argument("target", type=click.Choice(TARGETS))
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
def replay(target: str, files: tuple[Path, ...]) -> None:
    """Run a target's check on inputs, without fuzzing; no file: on its corpus."""
    for path in files or corpus.files(target):
        corpus.replay(target, path)
        click.echo(f"{path}: holds")


@main.command()
def shrink() -> None:
    """Add found inputs that reach new code to the corpus."""
    for target in TARGETS:
        before, after = corpus.shrink(target)
        click.echo(f"{target}: {after} of {before} are kept")


@main.command()
def seed() -> None:
    """Write the inputs that are made of real messages again."""
    seeds.write()


if __name__ == "__main__":
    main(prog_name="python -m fuzz")
