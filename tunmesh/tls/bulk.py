"""The TLS transport of links: Twisted's, with the way of the bytes made short.

Twisted's `TLSMemoryBIOProtocol` moves one record of 16 KB at a time through Python, and lets the
reactor send what it has encrypted in another turn. Here a whole write is encrypted in one call, its
ciphertext is sent at once when nothing waits before it, and all the records that have arrived are
decrypted before any of them is delivered. All of it goes through two buffers that are made once:
nothing in them outlives a call. What the socket does not take waits where Twisted keeps it, and the
link is told to pause from the first byte, so that packets wait in the link's own queue instead.

Handshakes, ends and errors are Twisted's: for anything but bulk its own methods are called.

TLS answers some of what arrives by itself: a KeyUpdate asks for another one (RFC 8446, section
4.6.3). Whoever asks again and again and does not read the answers is hung up on at MAX_UNREAD.

This is the only module that uses names which no release of Twisted or pyOpenSSL promises to keep;
NEEDED lists all of them, and a test compares the list with the code of the whole package. Where a
release lacks one, `transport_class` is the stock class: slower, and just as correct; `why_stock`
then names what is missing. The figures are in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socket import MSG_EOR
from typing import Any

import OpenSSL
from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

import twisted
from tunmesh.errors import PeerError

_RECORD = 16_384  # the plaintext of one TLS record, at most
_ROOM = 1 << 18  # bytes decrypted before they are delivered, ciphertext sent in one call
_SEALED = 1 << 13  # bytes of small writes that the kernel may gather in one of its buffers
# Bytes of TLS's own that wait for the other end to read; a handshake has 10 KB.
MAX_UNREAD = 1 << 16


@dataclass(frozen=True)
class Needed:
    """Names that `find` leads to: on a class or module, or on an instance if that is what sets
    them."""

    what: str
    find: Callable[[], object]
    names: tuple[str, ...]


NEEDED = (
    Needed(
        "twisted.protocols.tls.TLSMemoryBIOProtocol",
        lambda: TLSMemoryBIOProtocol,
        (
            "_aborted",
            "_flushReceiveBIO",
            "_flushSendBIO",
            "_lostTLSConnection",
            "_reason",
            "_write",
        ),
    ),
    Needed("twisted.internet.tcp.Connection", lambda: tcp.Connection, ("getHandle",)),
    Needed(
        "twisted.internet.abstract.FileDescriptor",
        lambda: FileDescriptor(object()),  # type: ignore[arg-type]
        ("_tempDataBuffer", "connected", "dataBuffer", "producer", "producerPaused"),
    ),
    Needed("OpenSSL.SSL", lambda: SSL, ("_ffi", "_lib")),
    Needed(
        "OpenSSL.SSL.Connection",
        lambda: SSL.Connection(SSL.Context(SSL.TLS_METHOD), None),
        ("_from_ssl", "_ssl"),
    ),
    Needed(
        "OpenSSL.SSL._ffi",
        lambda: SSL._ffi,  # type: ignore[attr-defined]
        ("buffer", "from_buffer", "new"),
    ),
    Needed(
        "OpenSSL.SSL._lib",
        lambda: SSL._lib,  # type: ignore[attr-defined]
        (
            "BIO_read",
            "SSL_ERROR_NONE",
            "SSL_ERROR_WANT_READ",
            "SSL_MODE_ENABLE_PARTIAL_WRITE",
            "SSL_clear_mode",
            "SSL_get_error",
            "SSL_read",
            "SSL_write",
        ),
    ),
)


class BulkTransport(TLSMemoryBIOProtocol):
    """Encrypts and sends a write as a whole, and decrypts what has arrived as a whole."""

    transport: Any
    _is_tcp = False
    _unsealed = 0  # bytes sent since the last buffer of the kernel's that is to take no more
    _unread = 0  # bytes of TLS's own that had to wait since nothing waited

    def makeConnection(self, transport: Any) -> None:
        self._is_tcp = isinstance(transport, tcp.Connection)
        super().makeConnection(transport)
        # pyOpenSSL asks OpenSSL to return after each record.
        _lib.SSL_clear_mode(self.getHandle()._ssl, _lib.SSL_MODE_ENABLE_PARTIAL_WRITE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        below = self.transport
        super().connectionLost(reason)
        if self._is_tcp:  # which stays until a collection of garbage
            below.dataBuffer, below._tempDataBuffer = b"", []

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection or not data:
            return
        written = _lib.SSL_write(self.getHandle()._ssl, _ffi.from_buffer(data), len(data))
        if written <= 0:
            super()._write(data)  # it tries again, and knows what to do about the reason
            return
        self._flushSendBIO()

    def _flushSendBIO(self) -> int:
        """Send what is encrypted. How many bytes that were."""
        bio, read, total = self.getHandle()._from_ssl, _lib.BIO_read, 0
        count = read(bio, _outgoing, _ROOM)
        while count > 0:
            total += count
            self._send(_outgoing_view[:count])
            count = read(bio, _outgoing, _ROOM)
        return total

    def _flush_own(self) -> None:
        """Send what TLS itself has to say after a read. It is the other end that decides how much
        that is."""
        if not (self._is_tcp and _is_waiting(self.transport)):
            self._unread = 0
        count = self._flushSendBIO()
        if count and self._is_tcp and _is_waiting(self.transport):
            self._unread += count
            if self._unread > MAX_UNREAD:
                why = PeerError("unread", "it does not read what TLS answers it")
                self._reason = self._reason or Failure(why)
                self.abortConnection()

    def _send(self, ciphertext: memoryview) -> None:
        """To the socket when nothing waits before it, else behind what waits."""
        transport = self.transport
        if self._is_tcp and transport.connected and not _is_waiting(transport):
            self._unsealed += len(ciphertext)
            is_full = self._unsealed >= _SEALED
            if is_full:
                self._unsealed = 0
            sent = _sent(transport.getHandle(), ciphertext, is_full)
            if sent == len(ciphertext):
                return
            ciphertext = ciphertext[sent:]
            _pause(transport)
        transport.write(bytes(ciphertext))

    def _flushReceiveBIO(self) -> None:
        ssl, read, why = self.getHandle()._ssl, _lib.SSL_read, _lib.SSL_ERROR_NONE
        while why == _lib.SSL_ERROR_NONE and not self._lostTLSConnection:
            got = 0
            while got <= _ROOM - _RECORD:
                count = read(ssl, _incoming + got, _RECORD)
                if count <= 0:
                    why = _lib.SSL_get_error(ssl, count)  # before anything else is asked of OpenSSL
                    break
                got += count
            if got and not self._aborted:
                ProtocolWrapper.dataReceived(self, _ffi.buffer(_incoming, got)[:])
        if why in (_lib.SSL_ERROR_NONE, _lib.SSL_ERROR_WANT_READ):
            self._flush_own()
        else:
            super()._flushReceiveBIO()  # it asks again, and knows what to do about the answer


def _sent(socket: Any, ciphertext: memoryview, is_full: bool) -> int:
    """How much of it the kernel takes. An error other than that it has no room shows again when the
    reactor tries, which knows what to do about it.

    MSG_EOR (`is_full`) keeps what is sent next out of the same buffer of the kernel's. One that is
    not full takes up to 64 KB more, whatever TCP_NOTSENT_LOWAT says: that is looked at for new ones
    only (tcp_sendmsg_locked in net/ipv4/tcp.c). But what is in different buffers is never sent in
    one segment, and a window counts segments: with a buffer for each, small packets that have to
    wait on a far and lossy way would wait twice as long.
    """
    try:
        sent: int = socket.send(ciphertext, MSG_EOR if is_full else 0)
    except OSError:
        return 0
    return sent


def _is_waiting(transport: Any) -> bool:
    """Whether bytes wait in a TCP transport of Twisted's."""
    return bool(transport.dataBuffer or transport._tempDataBuffer)


def _pause(transport: Any) -> None:
    """Do what a TCP transport of Twisted's does when too much waits in it. It resumes as usual."""
    if transport.producer is not None and not transport.producerPaused:
        transport.producerPaused = True
        transport.producer.pauseProducing()


def missing(needed: Iterable[Needed]) -> Iterator[str]:
    """What these releases lack of the names that are needed."""
    for each in needed:
        try:
            owner = each.find()
        except AttributeError:
            continue  # the name that leads to it is in the list
        yield from (f"{each.what}.{name}" for name in each.names if not hasattr(owner, name))


def choose(needed: Iterable[Needed]) -> tuple[type[TLSMemoryBIOProtocol], str]:
    """The transport to use, and if it is the stock one, why."""
    lacking = ", ".join(missing(needed))
    if not lacking:
        return BulkTransport, ""
    releases = f"Twisted {twisted.__version__} with pyOpenSSL {OpenSSL.__version__}"
    return TLSMemoryBIOProtocol, f"{releases} has no {lacking}"


transport_class, why_stock = choose(NEEDED)
if not why_stock:
    _ffi, _lib = SSL._ffi, SSL._lib  # type: ignore[attr-defined]
    _outgoing, _incoming = _ffi.new("char[]", _ROOM), _ffi.new("char[]", _ROOM)
    _outgoing_view = memoryview(_ffi.buffer(_outgoing))
