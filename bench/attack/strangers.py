"""Attacks by strangers, who have only what they can see at the port."""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from OpenSSL import SSL

from bench.attack.target import CHUNK, CROWD, GONE, Attack, Target, end, pour
from tunmesh.tls.credentials import ALPN
from tunmesh.wire import sizes
from tunmesh.wire.netstring import encode
from tunmesh.wire.proofs import Hello, Proof


def nothing(target: Target) -> Iterator[int]:
    """The baseline: no attack."""
    while True:
        time.sleep(0.1)
        yield 0


def half_open(target: Target) -> Iterator[int]:
    """Connects as often as possible, sends nothing, and holds the connections."""
    return _hoard(lambda _: target.connect())


def drip(target: Target) -> Iterator[int]:
    """The same, with one byte of a TLS record per second."""

    def again(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.send(b"\1")

    def begin(_: int) -> socket.socket:
        connection = target.connect()
        connection.send(b"\x16\x03\x01\x02\x00\x01")
        return connection

    return _hoard(begin, again)


def _hoard(
    begin: Callable[[int], socket.socket], again: Callable[[socket.socket], None] | None = None
) -> Iterator[int]:
    held: dict[int, socket.socket] = {}
    looked = time.monotonic()
    for number in itertools.count():
        if len(held) < CROWD:
            with suppress(OSError):
                connection = begin(number)
                connection.setblocking(False)
                held[connection.fileno()] = connection
        else:
            time.sleep(0.001)
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            for fd, connection in list(held.items()):
                if again is not None:
                    again(connection)
                if _has_ended(connection):
                    end(held.pop(fd))
            yield len(held)


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def garbage(target: Target) -> Iterator[int]:
    """Connects, sends noise and disconnects."""
    noise = secrets.token_bytes(CHUNK)
    while True:
        with suppress(OSError):
            connection = target.connect()
            with connection:
                connection.sendall(noise)
        yield 1


def handshakes(target: Target) -> Iterator[int]:
    """Complete TLS handshakes, one after another, and nothing after them."""
    return _repeat(target, b"")


def client_hellos(target: Target) -> Iterator[int]:
    """A recorded first TLS flight, which costs its sender nothing and the node a signature."""
    recorder = SSL.Connection(target.context, None)
    recorder.set_connect_state()
    with suppress(SSL.WantReadError):
        recorder.do_handshake()
    flight = recorder.bio_read(CHUNK)
    held: deque[socket.socket] = deque()
    while True:
        with suppress(OSError):
            connection = target.connect()
            connection.sendall(flight)
            held.append(connection)
        if len(held) > 100:
            end(held.popleft())
        yield len(held)


def unknown_key(target: Target) -> Iterator[int]:
    """TLS, then a hello with a key id that is not the mesh's."""
    hello = Hello((sizes.VERSION,), (bytes(8),), bytes(32))
    return _repeat(target, encode(hello.encode()))


def wrong_version(target: Target) -> Iterator[int]:
    """TLS, then a hello with an unknown version."""
    return _repeat(target, encode(_hello(target, version=99)))


def huge_length(target: Target) -> Iterator[int]:
    """TLS, then the announcement of a frame of a gigabyte."""
    return _repeat(target, b"999999999:" + bytes(1024))


def replay(target: Target) -> Iterator[int]:
    """TLS, then another node's hello and proof."""
    hello = _hello(target, version=sizes.VERSION)
    proof = Proof(bytes(32), bytes(114)).encode()
    return _repeat(target, encode(hello) + encode(proof))


def _hello(target: Target, version: int) -> bytes:
    """A hello made with the secret."""
    nonce = bytes(sizes.NONCE_SIZE)
    return Hello((version,), (target.key.id_for(nonce),), nonce).encode()


def tls12(target: Target) -> Iterator[int]:
    """A link over TLS 1.2."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([ALPN])
    return _repeat(target, b"", context)


def _repeat(target: Target, opening: bytes, context: SSL.Context | None = None) -> Iterator[int]:
    while True:
        with suppress(*GONE):
            connection = target.secure(context)
            with suppress(*GONE):
                connection.send(opening)
                if opening:
                    connection.recv(CHUNK)
            end(connection)
        yield 1


REQUEST = b"GET /metrics HTTP/1.1\r\nHost: victim\r\n\r\n"


def http(target: Target) -> Iterator[int]:
    """An HTTPS page, on a new connection each time."""
    return _repeat(target, REQUEST, SSL.Context(SSL.TLS_METHOD))


def pipeline(target: Target) -> Iterator[int]:
    """Endless requests on one connection, with no answer read."""
    return pour(target.browser, REQUEST * 1000)


def endless_head(target: Target) -> Iterator[int]:
    """A request with an endless header."""
    return pour(target.browser, b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)


STRANGERS: tuple[Attack, ...] = (
    half_open,
    drip,
    garbage,
    handshakes,
    client_hellos,
    unknown_key,
    wrong_version,
    huge_length,
    replay,
    tls12,
    http,
    pipeline,
    endless_head,
)
