"""The replacement for TLS in a simulation: the only part above the wires that is not real.

With TLS a link would take 6 to 7 ms of CPU time to set up instead of 2.5, and its bytes would
depend on OpenSSL's randomness. Here both ends send a greeting of about the size of a TLS handshake,
and share a channel binding that is unique to the connection: its number. So are the other secrets
that they export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.protocols.policies import ProtocolWrapper

from tunmesh.tls.credentials import ALPN
from tunmesh.tls.read_quota import ReadQuota

GREETING = bytes(800)  # a TLS 1.3 handshake is about twice as much, both ways together


class PlainTransport(ProtocolWrapper):
    """As much of `tls.transport.TunedTransport` as a link sees. It is its own handle."""

    transport: Any
    negotiatedProtocol = ALPN
    _is_greeted = False

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._after_reads: Callable[[], None] = lambda: None

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.write(GREETING)

    def dataReceived(self, data: bytes) -> None:
        if self._is_greeted:
            super().dataReceived(data)
            self._after_reads()
            return
        self._is_greeted = True
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()

    def call_after_reads(self, call: Callable[[], None]) -> None:
        self._after_reads = call

    def share(self, quota: ReadQuota) -> None:
        """As often as it likes."""

    def getHandle(self) -> PlainTransport:
        return self

    # OpenSSL.SSL.Connection

    def get_alpn_proto_negotiated(self) -> bytes:
        return ALPN

    def get_protocol_version(self) -> int:
        return SSL.TLS1_3_VERSION

    def export_keying_material(self, label: bytes, size: int, context: bytes) -> bytes:
        number: int = self.transport.number
        if not context:
            return number.to_bytes(size, "big")
        return hashlib.shake_128(b"%b %d %b" % (label, number, context)).digest(size)
