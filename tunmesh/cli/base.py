"""What every command of `tunmesh` shares: how errors are told, and being imported when needed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tunmesh.errors import OperatorError


class OneLineErrors(click.Command):
    """A command that may raise OperatorError: what is wrong on stderr, and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            for line in error.report():
                click.echo(line, err=True)
            return ctx.exit(1)


class Group(OneLineErrors, click.Group):
    """Commands of which each may raise OperatorError."""


class Front(Group):
    """Commands that are imported when somebody uses them: asking a node how it is must not take
    half a second of imports. `places` says where each is, as `module:name`."""

    places: Mapping[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, name = self.places.get(cmd_name, "").partition(":")
        return getattr(import_module(module), name) if module else None
