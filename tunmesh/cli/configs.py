"""`tunmesh config …`, and the original's two commands.

What reads a config is imported by the command that runs, since `tunmesh --help` imports this
module for one line: it would take twice as long.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import Group, OneLineErrors
from tunmesh.config.values import path_of

if TYPE_CHECKING:
    from tunmesh.config.loading import Config

_draw = random.SystemRandom().uniform
_file = click.argument("file", required=False)
_redact = click.option("--redact/--no-redact", default=True, help="Hide secrets (the default).")


@click.group("config", cls=Group)
def config_group() -> None:
    """Write, check and look at config files.

    FILE is $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml when it is not given.
    """


@config_group.command(short_help="Check whether FILE can be used.")
@_file
@click.option("--redact/--no-redact", default=True, help="As of show; no value is printed here.")
def check(file: str | None, redact: bool) -> None:
    """Check whether FILE can be used, and list everything that is wrong with it."""
    _lint(file)
    click.echo(f"{path_of(file, os.environ)}: ok")


@config_group.command()
@_file
@_redact
def show(file: str | None, redact: bool) -> None:
    """Print the effective config of FILE, defaults included."""
    from tunmesh.config import loading

    path = path_of(file, os.environ)
    _print_effective(loading.load(path, os.environ, _draw), redact)


@config_group.command()
def schema() -> None:
    """Print a JSON schema, for editors."""
    from tunmesh.config.docs.schema import schema as json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@config_group.command()
def reference() -> None:
    """Print the documentation of every key, in Markdown."""
    from tunmesh.config.docs.reference import reference as reference_page

    click.echo(reference_page(), nl=False)


@click.command("generate_tun_mesh_example_config", cls=OneLineErrors)
def generate_example() -> None:
    """Print an example config with every key, to fill in."""
    from tunmesh.config.docs.example import example as example_config

    click.echo(example_config(), nl=False)


config_group.add_command(generate_example, "example")


@click.command("parse_tun_mesh_config", cls=OneLineErrors)
@_file
@_redact
def parse(file: str | None, redact: bool) -> None:
    """Check FILE and print its effective config, defaults included.

    FILE is $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml when it is not given.
    """
    _print_effective(_lint(file), redact)


def _lint(file: str | None) -> Config:
    """The config, if it has no errors; warnings are printed."""
    from tunmesh.config import loading
    from tunmesh.config.lint.lint import lint

    path = path_of(file, os.environ)
    findings = lint(path, os.environ, _draw, time.time())
    for warning in findings.warnings:
        click.echo(f"warning: {warning.at(path)}", err=True)
    if findings.config is None:
        raise loading.ConfigError(path, findings.errors)
    return findings.config


def _print_effective(loaded: Config, redact: bool) -> None:
    import yaml

    from tunmesh.config import loading

    tree = loading.dump(loaded, reveal=not redact)
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)
