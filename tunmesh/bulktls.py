"""The TLS transport of links: Twisted's, but a whole batch is encrypted before any of it moves on.

Twisted's `TLSMemoryBIOProtocol` copies 16 KB out of a write, encrypts it, takes the ciphertext out
of the BIO and hands it to the socket, again and again. Here the records of one write are encrypted
one after the other straight from the caller's bytes, and their ciphertext is taken out and handed
over once. A batch of 128 KB then costs one copy and one call where it cost eight.

This is the only module that knows private names of Twisted's. Where a Twisted release lacks one of
them, `transport_class` is the stock class: slower, and just as correct.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error, WantReadError
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

_NEEDED = ("_bufferedWrite", "_flushSendBIO", "_tlsShutdownFinished", "_write")
# What TLS 1.3 adds to each record of up to 16 KB (5 of header, 1 of type, 16 of tag), and room for
# a handshake message or an alert that is waiting.
_RECORD = 16_384
_OVERHEAD = 22
_SLACK = 4096


class BatchingTransport(TLSMemoryBIOProtocol):
    """Encrypts a write as a whole."""

    transport: Any

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection:
            return
        view = memoryview(data)
        send = self._tlsConnection.send
        sent = 0
        try:
            while sent < len(view):
                sent += send(view[sent:])  # one record at a time
        except WantReadError:
            self._bufferedWrite(view[sent:].tobytes())
        except Error:
            self._tlsShutdownFinished(Failure())
            return
        self._move_ciphertext(sent + (sent // _RECORD + 1) * _OVERHEAD + _SLACK)

    def _flushSendBIO(self) -> None:
        self._move_ciphertext(_RECORD * 2)

    def _move_ciphertext(self, most: int) -> None:
        """Hand what is encrypted to the socket, in pieces of at most `most` bytes."""
        read, write = self._tlsConnection.bio_read, self.transport.write
        try:
            ciphertext = read(most)
            while len(ciphertext) == most:
                write(ciphertext)
                ciphertext = read(most)
            write(ciphertext)
        except WantReadError:
            return  # nothing is left


transport_class: type[TLSMemoryBIOProtocol] = (
    BatchingTransport
    if all(hasattr(TLSMemoryBIOProtocol, name) for name in _NEEDED)
    else TLSMemoryBIOProtocol
)
