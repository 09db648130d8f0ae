"""`tunmesh secret` and `tunmesh certificate`: what nodes need before they can start; and
`tunmesh secret rotate`, which changes the secret of a mesh that is at work."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import Group, OneLineErrors
from tunmesh.cli.client import Client, node_of, node_option

if TYPE_CHECKING:
    from tunmesh.cli.rotation import Configured
    from tunmesh.pki.issue import Issued

_path = click.Path(path_type=Path)
_group = click.option(
    "--group", help="Let this group, a name or number, read it too (mode 0640): process/gid."
)
_force = click.option("--force", is_flag=True, help="Replace files that are there.")


@click.group(
    cls=Group, invoke_without_command=True, short_help="Make a secret, or change that of a mesh."
)
@click.option("--out", type=_path, help="Write it to this file, which must not be there yet.")
@_group
@_force
@click.pass_context
def secret(ctx: click.Context, out: Path | None, group: str | None, force: bool) -> None:
    """Make a secret for a mesh: 256 random bits, as 64 hexadecimal digits.

    `tunmesh secret rotate` changes the one that a mesh has.
    """
    from tunmesh.pki import write

    if ctx.invoked_subcommand is not None:
        return
    if out is None:
        click.echo(write.new_secret())
        return
    gid = None if group is None else write.group_number(group)
    write.write(out, f"{write.new_secret()}\n".encode(), write.SECRET, gid, force)


@secret.command(cls=OneLineErrors, short_help="Walk through a change of the secret.")
@node_option
@click.option("--config", "config_path", help="The node's config; default as of a node.")
@click.option("--make", is_flag=True, help="Make the new secret, in a file beside the old one.")
@click.pass_context
def rotate(ctx: click.Context, node: Client, config_path: str | None, make: bool) -> None:
    """Walk through a change of the secret, without a restart and without a lost packet.

    Says which step the change is at, by the config and by the links of the node on this machine;
    what to do next, and who has not done it yet. Nothing is changed but for --make: run it again
    as often as you like, on any node. No secret is shown.
    """
    from tunmesh.cli import rotation
    from tunmesh.config import loading

    path = loading.path_of(config_path, os.environ).absolute()
    loaded = loading.load(path, os.environ, lambda _low, high: high)
    configured = rotation.Configured.of(path, loaded)
    if make:
        click.echo(f"made {_make_next(configured)}: on this node; do not make another one")
        click.echo("\n".join(rotation.to_deploy(configured)))
        return
    tree = node_of(ctx, node, config_path).get("/v1/status")
    click.echo("\n".join(rotation.steps(configured, tree)))


def _make_next(configured: Configured) -> Path:
    """Create the next secret, with the same owner and mode. Raises OperatorError."""
    from tunmesh.errors import OperatorError
    from tunmesh.pki import write

    if configured.count > 1:
        raise OperatorError(
            f"{configured.path}: has {configured.count} secrets, so a change is under way: "
            "tunmesh secret rotate says at which step"
        )
    path = configured.next_file
    if os.path.lexists(path):
        raise OperatorError(f"{path}: is made already; tunmesh secret rotate says what comes next")
    old = (configured.files or (configured.path,))[0].stat()
    gid = old.st_gid if old.st_mode & stat.S_IRGRP else None
    write.write(path, f"{write.new_secret()}\n".encode(), write.SECRET, gid, replace=False)
    if os.geteuid() == 0:
        os.chown(path, old.st_uid, -1)
    return path


@click.command(cls=OneLineErrors)
@click.option("--name", "names", multiple=True, help="A DNS name that it is for; may be repeated.")
@click.option(
    "--address", "addresses", multiple=True, help="An IP address that it is for; as well."
)
@click.option("--days", type=click.IntRange(1, 36500), default=365, show_default=True)
@click.option("--dir", "directory", type=_path, default=Path(), help="Where to; default: here.")
@click.option("--out-cert", type=_path, help="Default: cert.pem, with --ca ca.pem.")
@click.option("--out-key", type=_path, help="Default: key.pem, with --ca ca-key.pem.")
@click.option("--ca", is_flag=True, help="Make an authority, which signs those of the nodes.")
@click.option("--ca-cert", type=_path, help="The authority that signs it; default: itself.")
@click.option("--ca-key", type=_path, help="The private key of the authority.")
@_group
@_force
def certificate(
    names: tuple[str, ...],
    addresses: tuple[str, ...],
    days: int,
    directory: Path,
    out_cert: Path | None,
    out_key: Path | None,
    ca: bool,
    ca_cert: Path | None,
    ca_key: Path | None,
    group: str | None,
    force: bool,
) -> None:
    """Make a certificate and its private key (EC, P-256).

    By itself it makes one that all nodes can share. For verify_hostname: true, make an authority
    once (--ca), keep its key off the nodes, and sign one for each node with it (--ca-cert and
    --ca-key), for the names and addresses of the URLs that others reach the node at.
    """
    from tunmesh.pki import issue, write

    if (ca_cert is None) != (ca_key is None):
        raise click.UsageError("--ca-cert and --ca-key go together")
    if ca and (ca_cert is not None or names or addresses):
        raise click.UsageError("--ca makes an authority of its own, which is for no host")
    hosts = issue.host_names(names, addresses)
    cert_path = out_cert or directory / ("ca.pem" if ca else "cert.pem")
    key_path = out_key or directory / ("ca-key.pem" if ca else "key.pem")
    gid = None if group is None else write.group_number(group)
    if not force:
        write.insist_on_free(key_path, cert_path)
    now = datetime.datetime.now(datetime.UTC)
    authority = _authority(ca_cert, ca_key)
    made = issue.issue(hosts, days, now, authority, is_authority=ca)
    if authority is not None:
        _prove(made, authority, cert_path, ca_cert)
    write.write(key_path, made.key_pem, write.SECRET, gid, force)
    write.write(cert_path, made.certificate_pem, write.PUBLIC, gid, force)
    until = made.certificate.not_valid_after_utc
    click.echo(f"{cert_path} and {key_path}: valid until {until:%Y-%m-%d}")


def _prove(made: Issued, authority: Issued, cert: Path, ca: Path | None) -> None:
    """Check that peers that trust the authority will accept it. Raises OperatorError."""
    from tunmesh.tls import certificates
    from tunmesh.tls.credentials import Credentials

    trusted = (authority.certificate,)
    shown = Credentials((made.certificate,), made.key, trusted, verify_hostname=False)
    certificates.prove(shown, cert, ca)


def _authority(cert: Path | None, key: Path | None) -> Issued | None:
    from tunmesh.pki import issue, pem

    if cert is None or key is None:
        return None
    chain, private = pem.read_pair(cert, key)
    return issue.Issued(chain[0], private)
