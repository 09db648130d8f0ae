"""Certificates and private keys in files, in PEM form (RFC 7468).

An error names the file, what it holds instead, and what would be right: people have keys with a
passphrase, swapped files, DER, signing requests and public keys there by mistake.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tunmesh.errors import OperatorError

_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_RSA_PSS = "1.2.840.113549.1.1.10"  # RFC 4055; cryptography takes such a key for a plain RSA one
_DER = b"\x30"  # the first byte of every certificate and key in DER form

# Markers of what a file holds instead; the first one found counts.
_NO_CERTIFICATE = {
    b"PRIVATE KEY-----": "a private key, not a certificate: are the two files swapped?",
    b"BEGIN CERTIFICATE REQUEST": "a request; an authority makes the certificate of it",
    b"BEGIN NEW CERTIFICATE REQUEST": "a request; an authority makes the certificate of it",
    b"BEGIN PUBLIC KEY": "a public key, not a certificate",
    b"BEGIN CERTIFICATE": "a certificate that cannot be read: it is damaged or cut off",
}
_NO_KEY = {
    b"ENCRYPTED": "a private key with a passphrase, which nobody is there to type; `openssl pkey` "
    "takes it off",
    b"BEGIN OPENSSH PRIVATE KEY": "a key of OpenSSH; the certificate needs one of its own",
    b"PRIVATE KEY-----": "a private key that cannot be read: it is damaged, cut off, or of a kind "
    "that is not known here",
    b"BEGIN CERTIFICATE": "a certificate, not a private key: are the two files swapped?",
    b"BEGIN PUBLIC KEY": "a public key, not the private one",
}


def read_pair(cert: Path, key: Path) -> tuple[tuple[x509.Certificate, ...], PrivateKeyTypes]:
    """The certificates of one file and the private key of the first of them. Raises OperatorError
    naming the file that is missing or wrong."""
    chain = read_certificates(cert)
    private = _read_private_key(key)
    if _public_key(chain[0]) is None:
        kind = kind_of_key(chain[0])
        raise OperatorError(
            f"{cert}: its key is damaged, or of a kind that is not known here ({kind})"
        )
    place = next((at for at, each in enumerate(chain) if _is_pair(each, private)), None)
    if place is None:
        raise OperatorError(f"{key}: is not the private key of the certificate in {cert}")
    if place > 0:
        raise OperatorError(
            f"{cert}: has the certificate of the key in {key} at place {place + 1}; it must be the "
            "first, and its issuers behind it"
        )
    return chain, private


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a file, at least one. Raises OperatorError."""
    data = _read(path)
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
        for each in found:  # these parts are not parsed before somebody asks for them
            _ = each.subject, each.issuer, each.not_valid_before_utc, each.not_valid_after_utc
        return found
    except (ValueError, KeyError, x509.InvalidVersion):  # KeyError: cryptography 43, damaged names
        held = _held(data, "certificate", "x509", _NO_CERTIFICATE)
        raise OperatorError(f"{path}: {held}") from None


def kind_of_key(certificate: x509.Certificate) -> str:
    """The usual name of a certificate's key type: `EC secp256r1`, `RSA, 2048 bits`; the OID if the
    type is unknown."""
    oid = certificate.public_key_algorithm_oid.dotted_string
    if oid == _RSA_PSS:
        return "RSA-PSS"
    match _public_key(certificate):
        case None:
            return oid
        case rsa.RSAPublicKey() as key:
            return f"RSA, {key.key_size} bits"
        case ec.EllipticCurvePublicKey() as key:
            return f"EC {key.curve.name}"
        case key:
            return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def _is_pair(certificate: x509.Certificate, private: PrivateKeyTypes) -> bool:
    public = _public_key(certificate)
    own = private.public_key()
    return public is not None and public.public_bytes(*_PUBLIC) == own.public_bytes(*_PUBLIC)


def _public_key(certificate: x509.Certificate) -> PublicKeyTypes | None:
    """The certified key; None if its type is not supported."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _read_private_key(path: Path) -> PrivateKeyTypes:
    data = _read(path)
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        held = _held(data, "private key", "pkey", _NO_KEY)
        raise OperatorError(f"{path}: {held}") from None


def _held(data: bytes, wanted: str, command: str, marks: dict[bytes, str]) -> str:
    """What a file holds instead of what is wanted."""
    if not data.strip():
        return f"is empty; it must hold a {wanted} in PEM form"
    if data.startswith(_DER):
        return f"is in DER form, not in PEM; `openssl {command} -inform der` converts it"
    found = next((text for mark, text in marks.items() if mark in data), None)
    return f"holds {found}" if found else f"holds no {wanted} in PEM form"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from None
