"""`tunmesh completion`: the shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tunmesh.cli.base import OneLineErrors

KINDS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
VARIABLE = "_TUNMESH_COMPLETE"  # the variable by which the shell asks click for completions


@click.command(cls=OneLineErrors, short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(tuple(KINDS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options, for a shell to read.

    \b
    eval "$(tunmesh completion bash)"       in ~/.bashrc
    eval "$(tunmesh completion zsh)"        in ~/.zshrc
    tunmesh completion fish | source        in ~/.config/fish/config.fish
    """
    made = KINDS[shell](ctx.find_root().command, {}, "tunmesh", VARIABLE)
    # Not made.source(), which runs the bash of this machine to check its version.
    click.echo(ShellComplete.source(made))
