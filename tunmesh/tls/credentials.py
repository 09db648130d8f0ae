"""What a node shows over TLS and what it trusts, and the OpenSSL contexts made of that.

One TCP port serves two protocols. ALPN tells them apart: `tunmesh/1` is a mesh link (TLS 1.3 only),
anything else, or nothing, is HTTPS (TLS 1.2 as well, for old probes). TLS alone does not say which
node is at the other end, since one certificate may serve all nodes; that is the handshake's task.
Nodes that dial check that the certificate chains to the CA; by default the CA is the node's own
certificate.

Source: RFC 7301 (ALPN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto

from tunmesh.errors import OperatorError
from tunmesh.wire.sizes import PROTOCOL

ALPN = PROTOCOL.encode("ascii")
HTTP = b"http/1.1"
TLS12_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node shows and what it trusts. The first certificate is its own."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False, compare=False)  # of the first certificate
    trusted: tuple[x509.Certificate, ...]
    verify_hostname: bool

    @property
    def expiry(self) -> float:
        """When the node's own certificate expires, in seconds since the epoch."""
        return self.chain[0].not_valid_after_utc.timestamp()

    def server_context(self, protocols: Sequence[bytes] = (ALPN, HTTP)) -> SSL.Context:
        """A context for connections that speak one of these protocols, or none by name."""
        context = self._context()
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(TLS12_CIPHERS)
        context.set_alpn_select_callback(partial(select_protocol, protocols))
        return context

    def client_context(self) -> SSL.Context:
        context = self._context()
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_alpn_protos([ALPN])
        store = context.get_cert_store()
        if store is None:
            raise OperatorError("OpenSSL gave a TLS context without a certificate store")
        for certificate in self.trusted:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # A trusted certificate ends the chain, whether or not its issuer is known.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        context.set_verify(SSL.VERIFY_PEER, _verified)
        return context

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # Without this OpenSSL keeps 34 KB of empty buffers for each connection.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.use_certificate(crypto.X509.from_cryptography(self.chain[0]))
        for issuer in self.chain[1:]:
            context.add_extra_chain_cert(crypto.X509.from_cryptography(issuer))
        context.use_privatekey(crypto.PKey.from_cryptography_key(self.key))  # type: ignore[arg-type]
        return context


# X509_verify_cert_error_string(3) has names for these; here is what to do about them.
_NOT_TRUSTED = (
    "it is not one that this node trusts: all share one, or ca_file_path names who signed theirs"
)
_VERIFY_ERRORS = {
    7: _NOT_TRUSTED,  # signed by an authority with the name of a trusted one
    9: "it is not valid yet: is a clock wrong?",
    10: "it has expired",
    18: _NOT_TRUSTED,  # signed by itself
    19: _NOT_TRUSTED,  # signed by an authority in the chain that was sent
    20: _NOT_TRUSTED,  # signed by an unknown authority
    21: _NOT_TRUSTED,  # likewise, with nothing else in the chain
    25: "an authority on its way may not sign so long a chain (pathlen)",
    26: "it is not for servers: its extended key usage must have serverAuth, or not be there",
    32: "an issuer of it may not sign certificates: its key usage has no keyCertSign",
    34: "it has a critical extension that is not known here",
    66: "its key is too weak: use EC P-256, Ed25519, or RSA of 2048 bits or more",
    67: "the key of an issuer of it is too weak: use EC P-256, or RSA of 2048 bits or more",
    68: "it is signed with a weak hash, such as SHA-1 or MD5: use SHA-256",
    79: "an issuer of it is no authority: its basic constraints must say CA:TRUE",
}


def verify_error(error: int) -> str:
    """What is wrong with a certificate, by OpenSSL's number for it."""
    return _VERIFY_ERRORS.get(error, f"reason {error} of X509_verify_cert_error_string")


def _verified(
    _connection: SSL.Connection, _certificate: crypto.X509, error: int, _depth: int, ok: int
) -> bool:
    """Raise what is wrong, in words: OpenSSL's own error does not say it. The other end is sent the
    same alert in either case."""
    if not ok:
        raise SSL.Error([("", "", f"certificate verify failed: {verify_error(error)}")])
    return True


class Contexts:
    """The TLS contexts of a node's current credentials, one for each role: to make one costs more
    than the rest of a dial. `renew` does not affect existing connections."""

    def __init__(self, credentials: Credentials) -> None:
        self.renew(credentials)

    def renew(self, credentials: Credentials) -> None:
        self.server, self.client = credentials.server_context(), credentials.client_context()
        self.credentials = credentials


def select_protocol(
    ours: Sequence[bytes], _connection: SSL.Connection, offered: list[bytes]
) -> Any:
    """The first of our protocols that was offered, or pyOpenSSL's mark for none."""
    return next((each for each in ours if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
