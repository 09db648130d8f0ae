"""What all commands of `tunmesh` share: error messages, output, and imports on demand."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tunmesh.errors import OperatorError
from tunmesh.host import stdio
from tunmesh.units import closest

Command = TypeVar("Command", bound=Callable[..., Any])

MOST_NAMES = 8  # of nodes, in an error message

# Why writing to standard output fails. Not EPIPE: click then exits silently.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class OneLineErrors(click.Command):
    """A command that may raise OperatorError: what is wrong on stderr, and exit code 1. The same
    goes for standard output that cannot be written; if it is closed, nothing is printed."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        stdio.open_closed()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None or error.errno not in _UNWRITABLE:
                raise
            stdio.discard()
            click.echo(f"tunmesh: standard output: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            for line in error.report():
                click.echo(line, err=True)
            return ctx.exit(1)


class Group(OneLineErrors, click.Group):
    """A group of commands that may raise OperatorError. Of an unknown one it says which was meant,
    if one is close: click does so only from 8.4 on, and of commands that are already imported."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            meant = closest(args[0], self.list_commands(ctx))
            if args[0].startswith("-") or not meant:
                raise
            raise click.UsageError(
                f"No such command {args[0]!r}. Did you mean {meant!r}?", ctx
            ) from None


class Front(Group):
    """Commands that are imported on first use: `tunmesh status` must not take half a second of
    imports. `places` says where each is, as `module:name`."""

    places: Mapping[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As in the base class, without importing every command for its help text."""
        names = [CompletionItem(name) for name in self.list_commands(ctx)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [item for item in names if item.value.startswith(incomplete)] + options

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, name = self.places.get(cmd_name, "").partition(":")
        return getattr(import_module(module), name) if module else None


def instead(given: str, names: Iterable[str]) -> str:
    """What to say of linked nodes, whose names these are, when none of them is called `given`."""
    known = sorted(set(names))
    meant = closest(given, known)
    if meant:
        return f"did you mean {meant}?"
    more = f" and {len(known) - MOST_NAMES} others" if len(known) > MOST_NAMES else ""
    return f"linked: {', '.join(known[:MOST_NAMES]) or 'nobody'}{more}"


def output_option(*forms: str) -> Callable[[Command], Command]:
    """The -o option, the first of these forms by default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="In which form.",
    )


def say(lines: Iterable[str]) -> None:
    """Print these lines."""
    click.echo("\n".join(lines))


def say_json(tree: object) -> None:
    """Print this as JSON, for people to read as well."""
    click.echo(json.dumps(tree, indent=2))
