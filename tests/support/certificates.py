"""Certificates for tests: made by hand, by any issuer, for any dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tunmesh.tls.credentials import Credentials

DAY = timedelta(days=1)
AnyKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Holder:
    """A key and a certificate, which may issue certificates to others."""

    def __init__(
        self,
        name: str,
        *names: str,
        issuer: Holder | None = None,
        key: Any = None,
        begin: timedelta = -DAY,
        end: timedelta = DAY,
        usage: Sequence[x509.ObjectIdentifier] = (),
    ) -> None:
        """`names`: the DNS names and addresses that it is for. `begin`, `end`: its dates, from now.
        `usage`: its extended key usage."""
        self.key: Any = key or ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
            builder = builder.add_extension(alternatives, critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        algorithm = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else SHA256()
        self.certificate = builder.sign(signer.key, algorithm)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, encryption: KeySerializationEncryption | None = None) -> bytes:
        data: bytes = self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
        )
        return data

    def credentials(
        self, *trusted: Holder, issuers: Sequence[Holder] = (), verify_hostname: bool = False
    ) -> Credentials:
        """The credentials of a node with this certificate and those of its issuers."""
        chain = tuple(holder.certificate for holder in (self, *issuers))
        trust = tuple(holder.certificate for holder in trusted)
        return Credentials(chain, self.key, trust, verify_hostname)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
