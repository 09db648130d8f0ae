"""Clients of a listening port that are no nodes, and a server that is none."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure

from tunmesh.testing.mesh import Mesh
from tunmesh.tls.credentials import Credentials

CLIENT = "198.51.100.1"  # where they connect from


class Client(Protocol):
    """Connects, sends something at first, and notes when the connection ends."""

    transport: Any

    def __init__(self, mesh: Mesh, opening: bytes = b"") -> None:
        self.mesh = mesh
        self.opening = opening
        self.received = b""
        self.ended: float | None = None

    def connectionMade(self) -> None:
        if self.opening:
            self.transport.write(self.opening)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = self.mesh.clock.seconds()


def web_server(shown: Credentials) -> CertificateOptions:
    """TLS of a server that knows none of our protocols."""
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(shown.key),  # type: ignore[arg-type]
        certificate=crypto.X509.from_cryptography(shown.chain[0]),
    )
    # Twisted's own way to choose none is an error to newer OpenSSLs.
    options.getContext().set_alpn_select_callback(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
    return options
