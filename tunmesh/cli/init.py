"""`tunmesh init`: writes a ready deployment into a directory."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunmesh.addresses import Network
from tunmesh.cli.base import Group, OneLineErrors
from tunmesh.deployments.templates import CONTAINER_USER, DEFAULT_NETWORKS, Choices, render

_DEFAULT = Choices()


if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _OneNetwork = click.ParamType[Network]
else:  # generic since click 8.4
    _Text = _OneNetwork = click.ParamType


class _Word(_Text):
    """Text of one form, which can break no file that it is written into."""

    def __init__(self, name: str, pattern: re.Pattern[str], form: str) -> None:
        self.name = name
        self._pattern = pattern
        self._form = form

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is not {self._form}", param, ctx)
        return str(value)


class _Host(_Word):
    """A host name, or an address in its usual form."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        try:
            return str(ip_address(value))
        except ValueError:
            return super().convert(value, param, ctx)


# For Compose, Kubernetes and the DNS.
_LABEL = _Word(
    "name",
    re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"),  # RFC 1035; short, as it is part of others
    "1 to 40 small letters, digits and dashes, the first one a letter",
)
_IMAGE = _Word(
    "image",
    re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}"),
    "an image such as registry.example/tunmesh:1",
)
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_DOMAIN = _Word(
    "domain", _NAME, "a DNS name such as mesh or mesh.example"
)  # checked as in a config
_HOST = _Host("host", _NAME, "a host name or address")


class _Network(_OneNetwork):
    name = "network"

    def convert(self, value: Any, param: Any, ctx: Any) -> Network:
        if isinstance(value, IPv4Network | IPv6Network):
            return value
        try:
            return ip_network(value)
        except ValueError:
            self.fail(f"{value!r} is not a network such as 10.9.0.0/16 or fd09::/64", param, ctx)


def _one_of_each_family(
    ctx: click.Context, param: click.Parameter, value: tuple[Network, ...]
) -> tuple[Network, ...]:
    if len({network.version for network in value}) != len(value):
        raise click.BadParameter("has two networks of one family", ctx, param)
    return value


_SHARED: tuple[Callable[[Any], Any], ...] = (
    click.argument("directory", type=click.Path(path_type=Path), default=Path("tunmesh")),
    click.option(
        "--name",
        type=_LABEL,
        default=_DEFAULT.name,
        show_default=True,
        help="Name of the mesh: of its objects, and of the host that nodes find each other by.",
    ),
    click.option(
        "--service",
        type=_LABEL,
        default=_DEFAULT.service,
        show_default=True,
        help="What the replicas are: the name that all of them answer to, below --domain.",
    ),
    click.option(
        "--domain",
        type=_DOMAIN,
        default=_DEFAULT.domain,
        show_default=True,
        help="DNS domain of the mesh.",
    ),
    click.option(
        "--network",
        "networks",
        type=_Network(),
        multiple=True,
        callback=_one_of_each_family,
        default=DEFAULT_NETWORKS,
        show_default=True,
        help="Network of the mesh; once for IPv4, once for IPv6, or both.",
    ),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=_DEFAULT.port,
        show_default=True,
        help="TCP port of the nodes.",
    ),
    click.option("--without-keys", is_flag=True, help="Write no secret, certificate and key."),
)
_image = click.option(
    "--image",
    type=_IMAGE,
    default=_DEFAULT.image,
    show_default=True,
    help="The image of tunmesh, as it is pulled.",
)
_replicas = click.option(
    "--replicas",
    type=click.IntRange(1),
    default=_DEFAULT.replicas,
    show_default=True,
    help="How many to start with.",
)


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(_SHARED):
        function = decorate(function)
    return function


@click.group(cls=Group)
def init() -> None:
    """Write a ready deployment: config, keys, manifests, a README.

    One config for all replicas: each finds its address, its URL and the others by itself. Nothing
    is overwritten. The defaults work as they are; the README has the next commands.
    """


@init.command(cls=OneLineErrors)
@_shared
@_image
@_replicas
def compose(directory: Path, without_keys: bool, **choices: Any) -> None:
    """Replicas of a service in Docker Compose.

    DIRECTORY is ./tunmesh by default.
    """
    # In the container the node starts as a root that may only read what its groups may read.
    is_fixed = without_keys or os.geteuid() == 0
    group = CONTAINER_USER if is_fixed else os.getegid()
    _write("compose", directory, without_keys, Choices(group=group, **choices), group)


@init.command(cls=OneLineErrors)
@_shared
@_image
@_replicas
@click.option(
    "--namespace",
    type=_LABEL,
    default=_DEFAULT.namespace,
    show_default=True,
    help="Where all of it is to be.",
)
@click.option(
    "--cluster-dns",
    type=_HOST,
    default=_DEFAULT.cluster_dns,
    show_default=True,
    help="Address of the cluster's name server: the Service kube-dns.",
)
@click.option(
    "--cluster-domain",
    type=_HOST,
    default=_DEFAULT.cluster_domain,
    show_default=True,
    help="DNS domain of the cluster.",
)
def kubernetes(directory: Path, without_keys: bool, **choices: Any) -> None:
    """A Deployment and a StatefulSet, and a sidecar for others.

    DIRECTORY is ./tunmesh by default.
    """
    _write("kubernetes", directory, without_keys, Choices(**choices), None)


@init.command(cls=OneLineErrors)
@_shared
@click.option(
    "--bootstrap",
    type=_HOST,
    multiple=True,
    help="A host of the mesh that the others find it by; may be repeated. [default: --name]",
)
def systemd(directory: Path, without_keys: bool, **choices: Any) -> None:
    """A unit for hosts without containers.

    DIRECTORY is ./tunmesh by default.
    """
    _write("systemd", directory, without_keys, Choices(**choices), None)


def _write(
    kind: str, directory: Path, without_keys: bool, choices: Choices, group: int | None
) -> None:
    from tunmesh.deployments.write import write_deployment

    if choices.domain == choices.name:
        raise click.UsageError("--name and --domain must differ: nodes look --name up elsewhere")
    now = None if without_keys else datetime.datetime.now(datetime.UTC)
    write_deployment(directory, render(kind, choices), now, group)
    click.echo(f"{directory}: ready; {directory / 'README.md'} says what comes next")
