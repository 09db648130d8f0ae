"""What a link must know of its TLS connection: whether it will do, its binding, why it ended.

Sources: RFC 9266 (channel binding), RFC 8446, section 7.5 (exporters).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.python.failure import Failure

from tunmesh.addresses import literal_address
from tunmesh.errors import FailureReason, PeerError
from tunmesh.tls.credentials import ALPN
from tunmesh.tls.transport import TCP_NOTSENT_LOWAT, socket_of
from tunmesh.tls.underlay import Outside
from tunmesh.wire.sizes import PROTOCOL

EXPORTER = b"EXPORTER-Channel-Binding"
UDP_EXPORTER = b"EXPORTER-tunmesh-udp"
UDP_SECRET = 32  # bytes

# Offsets in struct tcp_info (linux/tcp.h); dsack_dups is the last of those that must be there,
# since Linux 4.19. The two after it are there since Linux 5.4.
_RETRANSMITS, _SND_MSS, _UNACKED, _LAST_DATA_RECV, _LAST_ACK_RECV = 2, 16, 24, 52, 56
_TOTAL_RETRANS, _MIN_RTT, _DATA_SEGS_OUT, _DSACK_DUPS = 100, 148, 156, 216
_RCV_OOOPACK, _SND_WND = 224, 228
_LEAST_TCP_INFO, _TCP_INFO_SIZE = 220, 232
_NO_RTT = 0xFFFFFFFF  # not measured yet


@dataclass(frozen=True, slots=True)
class TcpMeasures:
    """What the kernel has measured of a TCP connection."""

    segments: int = 0  # with data that were sent, retransmissions included
    retransmitted: int = 0  # of those, because they were lost
    round_trip: float | None = None  # the shortest of the last minutes, in seconds
    unacknowledged: int = 0  # segments that are under way
    retries: int = 0  # of the oldest of those, which got longer and longer, without any progress
    heard_ago: float | None = None  # seconds since the other kernel sent anything; None: not known
    out_of_order: int = 0  # segments that came behind one that had not come
    segment: int = 0  # bytes of data in the largest segment that is sent; 0: not known
    window: int | None = None  # bytes that the other kernel has room for; None: not known

    @property
    def is_full(self) -> bool:
        """Whether the other kernel has acknowledged all that was sent, and has no room for more, as
        that of a machine whose process is stopped. If it has room, this machine sends nothing: it
        has no route, or its firewall refuses it."""
        return not self.unacknowledged and (self.window is None or self.window < self.segment)


class Channel:
    """What a link asks about its TLS connection. With `host`, the certificate of the other end must
    be for that name or address. Both ends must be `outside` the mesh."""

    def __init__(self, host: str | None = None, outside: Outside | None = None) -> None:
        self._host = host
        self._outside = outside or Outside()

    def admit(self, transport: Any) -> None:
        """Raises PeerError("through_mesh") for a connection that runs through the mesh itself."""
        why = self._outside.why_not(transport.getPeer().host)
        if why:
            raise PeerError(FailureReason.THROUGH_MESH, why)
        why = self._outside.why_not(transport.getHost().host)
        if why:
            raise PeerError(
                FailureReason.THROUGH_MESH, f"the connection runs through the mesh: its end {why}"
            )

    def binding(self, transport: object) -> bytes:
        """The channel binding of a connection, 32 bytes.

        Raises PeerError("tls") or PeerError("certificate") if it will not do for a link.
        """
        return self.bind(transport.getHandle())  # type: ignore[attr-defined]

    def bind(self, connection: SSL.Connection) -> bytes:
        """The same for a connection of pyOpenSSL."""
        if connection.get_alpn_proto_negotiated() != ALPN:
            else_what = "something else answers, or a proxy that ends TLS on the way"
            raise PeerError(
                FailureReason.TLS, f"it does not speak {PROTOCOL} on that port: {else_what}"
            )
        if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
            raise PeerError(FailureReason.TLS, "it does not speak TLS 1.3")
        if self._host is not None:
            _check_host(connection, self._host)
        return connection.export_keying_material(EXPORTER, 32, b"")

    def exporter(self, transport: object) -> Callable[[bytes], bytes]:
        """Gives keying material for datagrams beside a connection that is open: UDP_SECRET bytes,
        others for each context. It holds the state of OpenSSL, which the transport lets go when the
        connection is closed."""
        connection: SSL.Connection = transport.getHandle()  # type: ignore[attr-defined]
        return partial(connection.export_keying_material, UDP_EXPORTER, UDP_SECRET)

    def why_lost(self, reason: Failure) -> PeerError:
        """Why a connection ended before the other end had authenticated."""
        error = reason.value
        if isinstance(error, PeerError):
            return PeerError(FailureReason.UNEXPECTED, str(error))
        if isinstance(error, SSL.SysCallError):
            return PeerError(FailureReason.TLS, f"TLS: {error.args[-1]}")
        if isinstance(error, SSL.Error) and error.args and error.args[0]:
            return error_of(error)
        return PeerError(FailureReason.CLOSED, "it closed the connection during the handshake")

    def measures(self, transport: object) -> TcpMeasures:
        """What the kernel has measured; nothing if it is no TCP connection, or closed."""
        below = getattr(transport, "transport", None)
        handle = socket_of(below) if below is not None and below.connected else None
        return measures_of(handle) if handle is not None else TcpMeasures()

    def limit_unsent(self, transport: object, size: int) -> None:
        """Have the kernel keep at most so many bytes of ciphertext unsent."""
        below = transport.transport  # type: ignore[attr-defined]
        handle = socket_of(below) if below.connected else None
        if handle is not None:
            handle.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)


def measures_of(handle: socket.socket) -> TcpMeasures:
    """What the kernel has measured of this connection."""
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    if len(info) < _LEAST_TCP_INFO:
        return TcpMeasures()  # an older kernel

    def number(at: int) -> int:
        return int.from_bytes(info[at : at + 4], sys.byteorder)

    min_rtt = number(_MIN_RTT)
    return TcpMeasures(
        segments=number(_DATA_SEGS_OUT),
        # A busy machine sends again what was acknowledged late (RFC 8985, section 7), and is told
        # so (RFC 2883). Nothing was lost.
        retransmitted=max(0, number(_TOTAL_RETRANS) - number(_DSACK_DUPS)),
        round_trip=min_rtt / 1e6 if min_rtt < _NO_RTT else None,
        unacknowledged=number(_UNACKED),
        retries=info[_RETRANSMITS],
        heard_ago=min(number(_LAST_DATA_RECV), number(_LAST_ACK_RECV)) / 1e3,
        out_of_order=number(_RCV_OOOPACK),
        segment=number(_SND_MSS),
        window=number(_SND_WND) if len(info) == _TCP_INFO_SIZE else None,
    )


def error_of(error: SSL.Error) -> PeerError:
    """What OpenSSL found wrong with the other end."""
    text = _words(error)
    for alert, meaning in _ALERTS.items():
        if text.endswith(alert):
            text = f"{meaning} ({text})"
    return PeerError("certificate" if "certificate" in text else "tls", f"TLS: {text}")


_ALERTS = {  # RFC 8446, 6.2; the words before these depend on the release of OpenSSL
    "alert unknown ca": "it does not trust this node's certificate",
    "alert certificate expired": "this node's certificate has expired, it says",
    "alert unsupported certificate": "this node's certificate is not for servers, it says",
    "alert bad certificate": "it refuses this node's certificate; its log says why",
}


def _words(error: SSL.Error) -> str:
    """What OpenSSL says of its latest error."""
    return str(error.args[0][-1][-1])


def _check_host(connection: SSL.Connection, host: str) -> None:
    try:
        if literal_address(host) is not None:
            verify_ip_address(connection, host)
        else:
            # The final dot is for the resolver; no certificate has it.
            verify_hostname(connection, host.removesuffix("."))
    except (VerificationError, CertificateError, ValueError):
        # It names another host or none; or no certificate can have this name.
        raise PeerError(FailureReason.CERTIFICATE, f"its certificate is not for {host}") from None
