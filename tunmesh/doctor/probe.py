"""Connects to another node's port step by step, to find out which step fails.

    resolve ── TCP ── TLS ── certificate ── handshake

The handshake goes only far enough to show whether both ends hold the same secret: hello, and the
challenge that only a holder of one of our keys can send. No proof is sent, so nobody becomes a
member; the other end counts an aborted handshake.

It blocks; it is for the command line.
"""

from __future__ import annotations

import errno
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from OpenSSL import SSL

from tunmesh.auth import handshake
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.segments import LIMITS
from tunmesh.errors import FailureReason, PeerError
from tunmesh.host import access
from tunmesh.tls.binding import Channel, error_of
from tunmesh.tls.credentials import Credentials
from tunmesh.tls.underlay import Outside
from tunmesh.wire import sizes
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.proofs import Challenge

TIMEOUT = 5.0  # seconds for each step
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: its name, whether it succeeded, and how it went or what would help."""

    name: str
    ok: bool
    text: str


def addresses_of(host: str, port: int) -> list[str]:
    """All distinct addresses of a host. Raises OSError if its name does not resolve."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def reach(
    host: str, port: int, credentials: Credentials, keys: Sequence[Key], outside: Outside
) -> Iterator[Stage]:
    """The steps, up to the first that fails. Of several addresses the first that answers counts;
    addresses inside the mesh are not tried (`outside`)."""
    try:
        found = addresses_of(host, port)
    except OSError as error:
        why = access.names_are_locked() or "is the name right?"
        text = f"{host} does not resolve ({error.strerror}): {why}"
        yield Stage("resolve", False, text)
        return
    if found != [host]:
        yield Stage("resolve", True, f"{host} is {', '.join(found)}")
    addresses = [address for address in found if not outside.why_not(address)]
    for address in found:
        if address not in addresses:
            yield Stage("resolve", False, outside.why_not(address))
    if not addresses:
        return
    connection, failures = _connect(addresses, port)
    if connection is None:
        yield Stage("TCP", False, f"{'; '.join(failures)}")
        return
    with connection:
        why = outside.why_not(connection.getsockname()[0])
        if why:
            yield Stage("TCP", False, f"the connection runs through the mesh: its end {why}")
            return
        there, large_are_lost = connection.getpeername(), False
        yield Stage("TCP", True, f"connected to {there[0]} port {port}")
        for stage in _over_tls(connection, host, credentials, keys):
            yield stage
            large_are_lost = stage.text.endswith(_LARGE)
    if large_are_lost:
        yield from _in_small_segments(there, host, credentials, keys)


def _in_small_segments(
    there: tuple[Any, ...], host: str, credentials: Credentials, keys: Sequence[Key]
) -> Iterator[Stage]:
    """The same again, as a node does (dialing.segments), if that is of any use."""
    for size in LIMITS:
        with socket.socket(socket.AF_INET6 if len(there) == 4 else socket.AF_INET) as connection:
            connection.settimeout(TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, size)
            try:
                connection.connect(there)
            except OSError:
                return  # the node is gone meanwhile
            first, *others = _over_tls(connection, host, credentials, keys)
        if first.ok:
            text = f"with TCP segments of at most {size} bytes the same goes well: {_NARROW}"
            yield from (Stage("small segments", True, text), first, *others)
            return


_TCP_HINTS = {
    errno.EHOSTUNREACH: "; is that host up, its address right, and the cable or interface in?",
    errno.ENETUNREACH: "; this machine has no route there",
}


def _connect(addresses: Sequence[str], port: int) -> tuple[socket.socket | None, list[str]]:
    failures: list[str] = []
    for address in addresses:
        try:
            return socket.create_connection((address, port), TIMEOUT), failures
        except TimeoutError:
            hint = "a firewall that drops, or a wrong address?"
            failures.append(f"{address} port {port}: no answer within {TIMEOUT:.0f} s; {hint}")
        except ConnectionRefusedError:
            hint = "is the node up, and is this the port that it is published at?"
            failures.append(f"{address} port {port}: refused; {hint}")
        except OSError as error:
            hint = _TCP_HINTS.get(error.errno or 0, "")
            failures.append(f"{address} port {port}: {error.strerror or error}{hint}")
    return None, failures


def _over_tls(
    connection: socket.socket, host: str, credentials: Credentials, keys: Sequence[Key]
) -> Iterator[Stage]:
    connection.setblocking(False)
    secure = SSL.Connection(credentials.client_context(), connection)
    secure.set_connect_state()
    deadline = time.monotonic() + TIMEOUT
    try:
        _do(secure.do_handshake, connection, deadline)
    except PeerError as error:
        name = "certificate" if error.reason == FailureReason.CERTIFICATE else "TLS"
        yield Stage(name, False, f"{error}{_TLS_HINTS.get(error.reason, '')}")
        return
    version = secure.get_protocol_version_name()
    yield Stage("TLS", True, f"{version}, {secure.get_cipher_name()}")
    channel = Channel(host if credentials.verify_hostname else None)
    try:
        binding = channel.bind(secure)
    except PeerError as error:
        name = "certificate" if error.reason == FailureReason.CERTIFICATE else "TLS"
        yield Stage(name, False, str(error))
        return
    yield Stage("certificate", True, "it is one that this node trusts")
    try:
        version_number = _shake_hands(secure, connection, binding, keys)
    except PeerError as error:
        yield Stage("handshake", False, f"{error}{_HINTS.get(error.reason, '')}")
        return
    yield Stage("handshake", True, f"it holds the same secret; protocol version {version_number}")


_HINTS: dict[str, str] = {
    FailureReason.CLOSED: (
        ": it holds none of this node's secrets, or has too many strangers at its port"
    ),
    FailureReason.TLS: ": is that a tunmesh node, and no proxy that ends TLS before it?",
}
_NARROW = (
    "the path loses larger packets without a word. Nodes find that out, and are linked after some "
    "seconds; mend the path's MTU, or let ICMP pass"
)
_LARGE = ": does the way lose large packets (MTU), or has it too many strangers at its port?"
_TLS_HINTS: dict[str, str] = {
    FailureReason.CLOSED: _LARGE,
    FailureReason.TIMEOUT: _LARGE,
    FailureReason.TLS: _HINTS[FailureReason.TLS],
}


def _shake_hands(
    secure: SSL.Connection, connection: socket.socket, binding: bytes, keys: Sequence[Key]
) -> int:
    """The protocol version that the other end chose. Raises PeerError."""
    nobody = NodeKey.of(secrets.token_bytes(SEED_SIZE))  # the proof that it signs is never sent
    dialer = handshake.Dialer(keys, nobody, b"", secrets.token_bytes(sizes.NONCE_SIZE), binding)
    deadline = time.monotonic() + TIMEOUT
    hello = encode(dialer.hello)
    _do(lambda: secure.send(hello), connection, deadline)
    decoder = Decoder(sizes.MAX_HANDSHAKE_FRAME)
    while True:
        data = _do(lambda: secure.recv(4096), connection, deadline)
        for payload in decoder.feed(data):
            dialer.receive(bytes(payload))  # raises when it is not what it should be
            return Challenge.decode(bytes(payload)).version


def _do(call: Callable[[], Result], connection: socket.socket, deadline: float) -> Result:
    """Retry a TLS operation until the other end has sent what it needs. Raises PeerError."""
    while True:
        try:
            return call()
        except SSL.WantReadError:
            event = select.POLLIN
        except SSL.WantWriteError:
            event = select.POLLOUT
        except (SSL.ZeroReturnError, SSL.SysCallError):
            raise PeerError(FailureReason.CLOSED, "it hung up") from None
        except SSL.Error as error:
            raise error_of(error) from None
        poll = select.poll()
        poll.register(connection, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise PeerError(FailureReason.TIMEOUT, f"it says nothing for {TIMEOUT:.0f} s")
