"""What every command of `tunmesh` shares: how errors are told."""

from __future__ import annotations

from typing import Any

import click

from tunmesh.config import ConfigError
from tunmesh.errors import OperatorError


class OneLineErrors(click.Command):
    """A command that may raise OperatorError: one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for line in error.report():
                click.echo(line, err=True)
        except OperatorError as error:
            click.echo(f"tunmesh: {error}", err=True)
        return ctx.exit(1)


class Group(OneLineErrors, click.Group):
    """Commands of which each may raise OperatorError."""
