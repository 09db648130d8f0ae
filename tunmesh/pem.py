"""Certificates and private keys in files, in PEM form (RFC 7468)."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tunmesh.errors import OperatorError

_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_pair(cert: Path, key: Path) -> tuple[tuple[x509.Certificate, ...], PrivateKeyTypes]:
    """The certificates of one file and the private key of the first of them. Raises OperatorError
    naming the file that is missing or wrong."""
    chain = read_certificates(cert)
    private = _read_private_key(key)
    if chain[0].public_key().public_bytes(*_PUBLIC) != private.public_key().public_bytes(*_PUBLIC):
        raise OperatorError(f"{key}: is not the private key of the certificate in {cert}")
    return chain, private


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a file, at least one. Raises OperatorError."""
    try:
        return tuple(x509.load_pem_x509_certificates(_read(path)))
    except ValueError:
        raise OperatorError(f"{path}: holds no certificate in PEM form") from None


def _read_private_key(path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OperatorError(
            f"{path}: holds no private key in PEM form without a passphrase"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from None
