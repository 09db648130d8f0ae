"""Issues certificates for nodes: one that all of them share, an authority, or one for each node.

    shared      self-signed; all nodes trust it as it is
    authority   signs the nodes' certificates; nodes trust it (`ca_file_path`)
    node        signed by an authority, for the names and addresses at which the node is reached

Keys are on the curve P-256: every TLS stack supports it, and its signatures are the cheapest in a
handshake. Certificates carry as little as possible: a node's cannot sign others and is for servers
only (nodes do not ask for client certificates). Each has key identifiers for itself and its issuer
(RFC 5280, 4.2.1.1), which distinguish a certificate from its successor of the same name while both
are trusted.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunmesh.addresses import literal_address
from tunmesh.errors import OperatorError

_HOST = r"(?=.{1,253}$)(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*"
_HOST += r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# Keys that sign a hash; all newer ones sign what is to be signed.
_WITH_HASH = (rsa.RSAPrivateKey, dsa.DSAPrivateKey, ec.EllipticCurvePrivateKey)
_LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name
# On a machine whose clock is slightly behind, the certificate must be valid already.
_CLOCKS_DIFFER = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKeyTypes

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def host_names(names: Iterable[str], addresses: Iterable[str]) -> list[x509.GeneralName]:
    """The subject alternative names for these hosts. Raises OperatorError for one that is neither
    a name nor an address."""
    return [*map(_dns_name, names), *map(_ip_address, addresses)]


def issue(
    hosts: Sequence[x509.GeneralName],
    days: int,
    now: datetime.datetime,
    issuer: Issued | None = None,
    is_authority: bool = False,
) -> Issued:
    """A certificate for these hosts with a new key, signed by `issuer` or self-signed. It is valid
    for `days`, but not longer than its issuer. Raises OperatorError if the issuer may not sign."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(hosts, is_authority)
    public = key.public_key()
    end = now + datetime.timedelta(days=days)
    if issuer is not None:
        _insist_on_authority(issuer.certificate, now)
        end = min(end, issuer.certificate.not_valid_after_utc)
    signer: PrivateKeyTypes = key if issuer is None else issuer.key
    own_id = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), True)
        .add_extension(_usage(is_authority), True)
        .add_extension(own_id, False)
    )
    issuer_id = own_id if issuer is None else _key_id(issuer.certificate)
    if issuer_id is not None:
        reference = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id)
        builder = builder.add_extension(reference, False)
    if not is_authority:
        servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(servers, False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), False)
    with_hash = isinstance(signer, _WITH_HASH)
    try:
        made = builder.sign(signer, SHA256() if with_hash else None)  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"the key of --ca-key cannot sign certificates: {error}") from None
    return Issued(made, key)


def _subject(hosts: Sequence[x509.GeneralName], is_authority: bool) -> x509.Name:
    """The subject, for people to read: only the hosts are checked."""
    name = "tunmesh authority" if is_authority else str(hosts[0].value) if hosts else "tunmesh"
    short = name if len(name) <= _LONGEST_COMMON_NAME else "tunmesh"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, short)])


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _insist_on_authority(certificate: x509.Certificate, now: datetime.datetime) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(False, None)
    if not constraints.ca:
        raise OperatorError(
            "the certificate of --ca-cert is not that of an authority; `tunmesh certificate --ca` "
            "makes one that is"
        )
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc
        raise OperatorError(f"the authority of --ca-cert has expired on {ended:%Y-%m-%d}")


def _key_id(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier | None:
    """The authority's own key identifier. It need not be derived from the key, nor be present."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def _dns_name(name: str) -> x509.DNSName:
    if literal_address(name) is not None:
        raise OperatorError(f"--name {name}: is an address; give it as --address {name}")
    if not re.fullmatch(_HOST, name):
        raise OperatorError(
            f"--name {name}: must be a host name, such as node1.example or *.mesh.example"
        )
    return x509.DNSName(name.lower())


def _ip_address(text: str) -> x509.IPAddress:
    address = literal_address(text)
    if address is None:
        raise OperatorError(
            f"--address {text}: must be an IP address, such as 192.0.2.1 or 2001:db8::1"
        )
    return x509.IPAddress(address)
