"""`tunmesh guard`: refuses packets to the mesh while no node runs."""

from __future__ import annotations

import os
import random

import click

from tunmesh.cli.base import OneLineErrors

_draw = random.SystemRandom().uniform


@click.command(cls=OneLineErrors, short_help="Refuse packets to the mesh while no node runs.")
@click.argument("file", required=False)
@click.option("--remove", is_flag=True, help="Take the guard away.")
@click.option("--show", is_flag=True, help="Only say which networks have one.")
def guard(file: str | None, remove: bool, show: bool) -> None:
    """Have the kernel refuse packets to the mesh while no node runs here.

    Without it they leave by the default route then, in clear text. It is an unreachable route to
    each of the mesh's networks, which the tun's own routes win over. It belongs to the network
    namespace: run it there, with NET_ADMIN, before the node starts (in an init container), or have
    the node do it at each start: `networking.guard: true`.

    FILE is $TUNMESH_CONFIG_PATH or /etc/tunmesh/config.yaml when it is not given.
    """
    # Importing it takes netlink, which few commands need.
    from tunmesh.config import loading
    from tunmesh.netlink import setup

    networking = loading.load(loading.path_of(file, os.environ), os.environ, _draw).networking
    networks = [*networking.networks, *(route.network for route in networking.accept_routes)]
    if remove:
        removed = setup.remove_guard(networks)
        click.echo(f"removed: {', '.join(removed)}" if removed else "there was none")
        return
    if not show:
        setup.put_guard(networks)
    there = setup.guarded(networks)
    for network in networks:
        click.echo(f"{network} {'is guarded' if network in there else 'has no guard'}")
