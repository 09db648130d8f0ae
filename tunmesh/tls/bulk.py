"""The TLS transport of links: Twisted's, with a shorter path for bulk data.

Twisted's `TLSMemoryBIOProtocol` moves one record of 16 KB at a time through Python, and leaves it
to a later iteration of the reactor to send what was encrypted. Here a whole write is encrypted in
one call, its ciphertext is sent at once when nothing is queued before it, and all records that have
arrived are decrypted before any of them is delivered. Two buffers are allocated once for all
connections: nothing in them outlives a call. What the socket does not take is buffered where
Twisted buffers it, and the link is paused from the first byte on, so that packets wait in the
link's own queue instead.

Handshakes, shutdowns and errors are left to Twisted's own methods.

TLS itself answers some of what arrives: a KeyUpdate may request another one (RFC 8446, section
4.6.3). A peer that keeps asking and does not read the answers is disconnected at MAX_UNREAD.

This module uses names which Twisted and pyOpenSSL do not promise to keep; none else does, but
host.iterations. NEEDED lists all of them, and a test compares the list with the code of the whole
package. If a release lacks one of them, `transport_class` is the stock class: slower, but just as
correct; `why_stock` then says what is missing. Figures are in docs/performance.md.
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
from tunmesh.errors import FailureReason, PeerError

_RECORD = 16_384  # the plaintext of one TLS record, at most
_ROOM = 1 << 18  # bytes decrypted before they are delivered, ciphertext sent in one call
_SEAL_AT = 1 << 13  # bytes of small writes that the kernel may put into one skb
# Bytes of TLS itself that the other end has not read; a handshake has 10 KB.
MAX_UNREAD = 1 << 16


@dataclass(frozen=True)
class Needed:
    """Names on the object that `find` returns: a class or module, or an instance if the names are
    set in its constructor. `what` is what that object is called."""

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
    """Encrypts and sends each write as a whole, and decrypts all that has arrived at once."""

    transport: Any
    _is_tcp = False
    _waits: Callable[[Any], bool]  # whether bytes are buffered below
    _unsealed = 0  # bytes sent since an skb was sealed
    _unread = 0  # bytes of TLS itself that were buffered since the buffer was last empty

    def makeConnection(self, transport: Any) -> None:
        self._is_tcp = isinstance(transport, tcp.Connection)
        self._waits = _is_waiting if self._is_tcp else _is_held
        super().makeConnection(transport)
        # pyOpenSSL makes OpenSSL return after each record.
        _lib.SSL_clear_mode(self.getHandle()._ssl, _lib.SSL_MODE_ENABLE_PARTIAL_WRITE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        below = self.transport
        super().connectionLost(reason)
        if self._is_tcp:  # it is kept alive until the next garbage collection
            below.dataBuffer, below._tempDataBuffer = b"", []

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection or not data:
            return
        written = _lib.SSL_write(self.getHandle()._ssl, _ffi.from_buffer(data), len(data))
        if written <= 0:
            super()._write(data)  # it tries again, and handles the error
            return
        self._flushSendBIO()

    def _flushSendBIO(self) -> int:
        """Send all ciphertext; how many bytes it was."""
        bio, read, total = self.getHandle()._from_ssl, _lib.BIO_read, 0
        count = read(bio, _outgoing, _ROOM)
        while count > 0:
            total += count
            self._send(_outgoing_view[:count])
            count = read(bio, _outgoing, _ROOM)
        return total

    def _flush_own(self) -> None:
        """Send what TLS itself has to send after a read. The other end determines how much that
        is, so it is limited."""
        if not self._waits(self.transport):
            self._unread = 0
        count = self._flushSendBIO()
        if count and self._waits(self.transport):
            self._unread += count
            if self._unread > MAX_UNREAD:
                why = PeerError(FailureReason.UNREAD, "it does not read what TLS answers it")
                self._reason = self._reason or Failure(why)
                self.abortConnection()

    def _send(self, ciphertext: memoryview) -> None:
        """To the socket if nothing is buffered, otherwise behind what is."""
        transport = self.transport
        if self._is_tcp and transport.connected and not _is_waiting(transport):
            self._unsealed += len(ciphertext)
            seals = self._unsealed >= _SEAL_AT
            if seals:
                self._unsealed = 0
            sent = _sent(transport.getHandle(), ciphertext, seals)
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
                    why = _lib.SSL_get_error(ssl, count)  # before any other call of OpenSSL
                    break
                got += count
            if got and not self._aborted:
                ProtocolWrapper.dataReceived(self, _ffi.buffer(_incoming, got)[:])
        if why in (_lib.SSL_ERROR_NONE, _lib.SSL_ERROR_WANT_READ):
            self._flush_own()
        else:
            super()._flushReceiveBIO()  # it reads again, and handles the error


def _sent(socket: Any, ciphertext: memoryview, seals: bool) -> int:
    """How many bytes the kernel takes. An error other than a full buffer occurs again when the
    reactor tries to send the rest, which handles it.

    MSG_EOR (`seals`) seals the skb: what is sent next goes into another one. One that is not sealed
    takes up to 64 KB more, whatever TCP_NOTSENT_LOWAT says, which is only checked for new ones
    (tcp_sendmsg_locked in net/ipv4/tcp.c). But data in different skbs is never sent in one segment,
    and a congestion window counts segments: if each small packet had an skb of its own, packets
    that have to wait on a long-distance, lossy path would wait twice as long.
    """
    try:
        sent: int = socket.send(ciphertext, MSG_EOR if seals else 0)
    except OSError:
        return 0
    return sent


def _is_waiting(transport: Any) -> bool:
    """Whether bytes are buffered in a TCP transport of Twisted's."""
    return bool(transport.dataBuffer or transport._tempDataBuffer)


def _is_held(transport: Any) -> bool:
    """The same for another transport, if that says so: a relayed link's does (relay.transport)."""
    return getattr(transport, "is_waiting", False)


def _pause(transport: Any) -> None:
    """Pause the producer as a TCP transport of Twisted's does when its buffer is full. It resumes
    as usual."""
    if transport.producer is not None and not transport.producerPaused:
        transport.producerPaused = True
        transport.producer.pauseProducing()


def missing(needed: Iterable[Needed]) -> Iterator[str]:
    """The names that these releases lack."""
    for each in needed:
        try:
            owner = each.find()
        except AttributeError:
            continue  # the name on the path to it is in the list
        yield from (f"{each.what}.{name}" for name in each.names if not hasattr(owner, name))


def choose(needed: Iterable[Needed]) -> tuple[type[TLSMemoryBIOProtocol], str]:
    """The transport to use, and why, if it is the stock one."""
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
