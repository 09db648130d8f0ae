"""`tunmesh secret` and `tunmesh certificate`: what nodes need before they can start."""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunmesh.cli.base import OneLineErrors

if TYPE_CHECKING:
    from tunmesh.issuing import Issued

SECRET_BYTES = 32
_path = click.Path(path_type=Path)
_group = click.option(
    "--group", help="Let this group, a name or number, read it too (mode 0640): process/gid."
)
_force = click.option("--force", is_flag=True, help="Replace files that are there.")


@click.command(cls=OneLineErrors)
@click.option("--out", type=_path, help="Write it to this file, which must not be there yet.")
@_group
@_force
def secret(out: Path | None, group: str | None, force: bool) -> None:
    """Make a secret for a mesh: 256 random bits, as 64 hexadecimal digits."""
    from tunmesh import keyfiles

    made = secrets.token_hex(SECRET_BYTES)
    if out is None:
        click.echo(made)
        return
    gid = None if group is None else keyfiles.group_number(group)
    keyfiles.write(out, f"{made}\n".encode(), keyfiles.SECRET, gid, force)


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
    from tunmesh import issuing, keyfiles

    if (ca_cert is None) != (ca_key is None):
        raise click.UsageError("--ca-cert and --ca-key go together")
    if ca and (ca_cert is not None or names or addresses):
        raise click.UsageError("--ca makes an authority of its own, which is for no host")
    hosts = issuing.host_names(names, addresses)
    cert_path = out_cert or directory / ("ca.pem" if ca else "cert.pem")
    key_path = out_key or directory / ("ca-key.pem" if ca else "key.pem")
    gid = None if group is None else keyfiles.group_number(group)
    if not force:
        keyfiles.insist_on_free(key_path, cert_path)
    now = datetime.datetime.now(datetime.UTC)
    authority = _authority(ca_cert, ca_key)
    made = issuing.issue(hosts, days, now, authority, is_authority=ca)
    if authority is not None:
        _prove(made, authority, cert_path, ca_cert)
    keyfiles.write(key_path, made.key_pem, keyfiles.SECRET, gid, force)
    keyfiles.write(cert_path, made.certificate_pem, keyfiles.PUBLIC, gid, force)
    until = made.certificate.not_valid_after_utc
    click.echo(f"{cert_path} and {key_path}: valid until {until:%Y-%m-%d}")


def _prove(made: Issued, authority: Issued, cert: Path, ca: Path | None) -> None:
    """Peers that trust the authority will accept it. Raises OperatorError."""
    from tunmesh import certificates, tls

    trusted = (authority.certificate,)
    shown = tls.Credentials((made.certificate,), made.key, trusted, verify_hostname=False)
    certificates.prove(shown, cert, ca)


def _authority(cert: Path | None, key: Path | None) -> Issued | None:
    from tunmesh import issuing, pem

    if cert is None or key is None:
        return None
    chain, private = pem.read_pair(cert, key)
    return issuing.Issued(chain[0], private)
