"""How one end of a link finds out who is at the other end: the handshake machine (auth.handshake),
bound to the TLS connection, with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.python.failure import Failure

from tunmesh.auth.handshake import Dialer, Key, Listener, Step
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import Channel, Export, LinkTransport
from tunmesh.tls.binding import TcpMeasures
from tunmesh.wire.proofs import decode_shown
from tunmesh.wire.records import NodeRecord


class Authentication:
    """Of one end of one link. `begin(channel binding)` makes the handshake machine; the handshake
    may take `timeout` seconds; `authenticated()` is called when the other end is authentic."""

    def __init__(
        self,
        begin: Callable[[bytes], Dialer | Listener],
        channel: Channel,
        timeout: float,
        authenticated: Callable[[], None] = lambda: None,
    ) -> None:
        self.channel = channel
        self.timeout = timeout
        self.authenticated = authenticated
        self._begin = begin
        self._machine: Dialer | Listener | None = None
        self._transport: LinkTransport | None = None

    @property
    def key(self) -> Key | None:
        """The key that the link was authenticated with."""
        return self._machine.key if self._machine is not None else None

    @property
    def shown(self) -> NodeRecord:
        """The record that this end has sent, on a link that is, or was, authentic."""
        if self._machine is None:
            raise ValueError("the link is not authentic")
        signed, is_settled = decode_shown(self._machine.shown)
        return replace(NodeRecord.decode(signed.record), settled=is_settled)

    def start(self, transport: LinkTransport) -> bytes | None:
        """TLS is up. The hello to send, if this end is the dialer."""
        self._machine = self._begin(self.channel.binding(transport))
        self._transport = transport
        return self._machine.hello if isinstance(self._machine, Dialer) else None

    def exporter(self) -> Export:
        """What gives secrets that only both ends of the connection know."""
        if self._transport is None:
            raise ValueError("the link is not authentic")
        return self.channel.exporter(self._transport)

    def measures(self) -> TcpMeasures:
        """What the kernel has measured of the TCP connection."""
        return self.channel.measures(self._transport) if self._transport else TcpMeasures()

    def receive(self, payload: bytes) -> Step:
        """A message of the other end's, which is not authentic yet."""
        if self._machine is None:
            raise PeerError(FailureReason.UNEXPECTED, "it spoke before the handshake")
        return self._machine.receive(payload)

    def why_failed(self, reason: Failure) -> PeerError:
        """Why the other end did not become a peer. A listener that shares no secret with us says
        nothing and hangs up on our hello (auth.handshake). One that shares it hangs up on our proof
        when it refuses that, or the record that comes with it."""
        error = self.channel.why_lost(reason)
        if error.reason != FailureReason.CLOSED or not isinstance(self._machine, Dialer):
            return error
        if self._machine.has_proved:
            what = "it has the same secret, but refuses this node's record or proof"
            return PeerError(
                FailureReason.CLOSED, f"it hung up on our proof: {what}; its log says why"
            )
        return PeerError(FailureReason.CLOSED, "it hung up on our hello: has it the same secret?")
