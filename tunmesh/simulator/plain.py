"""The replacement for TLS in a simulation: the only part above the wires that is not real.

With TLS a link would take 6 to 7 ms of CPU time to set up instead of 2.5, and its bytes would
depend on OpenSSL's randomness. Here both ends send a greeting of about the size of a TLS handshake,
and share a channel binding that is unique to the connection: the numbers in both greetings. So are
the other secrets that they export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.protocols.policies import ProtocolWrapper

from tunmesh.tls.credentials import ALPN
from tunmesh.tls.read_quota import ReadQuota

GREETING = bytes(792)  # a TLS 1.3 handshake is about twice as much, both ways together
_numbers = count(1)


class PlainTransport(ProtocolWrapper):
    """As much of `tls.transport.TunedTransport` as a link sees. It is its own handle."""

    transport: Any
    negotiatedProtocol = ALPN

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._after_reads: Callable[[], None] = lambda: None
        self._number = next(_numbers)
        self._both = 0  # the sum of both numbers
        self._greeting: bytes | None = b""  # as much of it as has come; None: all

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.write(self._number.to_bytes(8, "big") + GREETING)

    def dataReceived(self, data: bytes) -> None:
        if self._greeting is not None:
            data = self._greet(self._greeting + data)
        if data:
            super().dataReceived(data)
            self._after_reads()

    def _greet(self, data: bytes) -> bytes:
        """What comes behind the greeting."""
        if len(data) < 8 + len(GREETING):
            self._greeting = data
            return b""
        self._greeting = None
        self._both = self._number + int.from_bytes(data[:8], "big")
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()
        return data[8 + len(GREETING) :]

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
        if not context:
            return self._both.to_bytes(size, "big")
        return hashlib.shake_128(b"%b %d %b" % (label, self._both, context)).digest(size)
