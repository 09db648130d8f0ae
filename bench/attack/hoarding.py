"""Memory exhaustion: members, and a stranger, make a node buffer data that they do not read or
messages that they do not finish. Each identity uses little, but there are many of them."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from bench.attack.target import GONE, Attack, Target, end, limit_waiting, stream
from tunmesh.localmesh import plan
from tunmesh.packets import icmp, ip_headers
from tunmesh.tls.credentials import ALPN
from tunmesh.wire import messages
from tunmesh.wire.netstring import encode

VICTIM = plan.NodePlan(1)
ANNOUNCERS, ECHOERS = 300, 100
DRIP = 2.0  # seconds between two bytes
ECHO = 60_000  # bytes
FRAGMENT = 1400  # bytes
FRAGMENTS_A_SECOND = 3400
MORE = 0x2000  # more fragments follow


def address_of(number: int) -> str:
    return f"10.77.{1 + number // 250}.{1 + number % 250}"


def _crowd(
    target: Target, count: int, begin: Callable[[Any], None], go_on: Callable[[Any, int], None]
) -> Iterator[int]:
    """That many links at once; one that ends is replaced."""
    links: dict[int, Any] = {}
    while True:
        for number in range(count):
            try:
                if number not in links:
                    links[number] = link = target.join(f"mallory{number}", address_of(number))
                    begin(link)
                go_on(links[number], number)
            except GONE:
                link = links.pop(number, None)
                if link is not None:
                    end(link)
            yield len(links)


def announced(target: Target) -> Iterator[int]:
    """300 nodes each announce a message of 1 MiB, which takes nine bytes, and send one more byte
    every two seconds."""
    turn = DRIP / ANNOUNCERS

    def drip(link: Any, number: int) -> None:
        time.sleep(turn)
        link.sendall(b"x")

    return _crowd(target, ANNOUNCERS, lambda link: link.sendall(b"1048576:G"), drip)


def unfinished(target: Target) -> Iterator[int]:
    """300 nodes each send a message of 1 MiB except for its end, and one more byte every two
    seconds."""
    turn = DRIP / ANNOUNCERS

    def drip(link: Any, number: int) -> None:
        time.sleep(turn)
        link.sendall(b"x")

    body = b"1048576:G" + bytes(1_048_000)
    return _crowd(target, ANNOUNCERS, lambda link: link.sendall(body), drip)


def again(target: Target) -> Iterator[int]:
    """150 nodes each send half a message of 1 MiB, hang up all at once, and come back."""
    body = b"1048576:G" + bytes(1 << 19)
    while True:
        links: list[Any] = []
        for number in range(150):
            with suppress(*GONE):
                links.append(target.join(f"mallory{number}", address_of(number)))
                links[-1].sendall(body)
            yield len(links)
        for link in links:
            end(link)


def echoes(target: Target) -> Iterator[int]:
    """100 nodes ping with 60 KB, over and over, and do not read the answers."""

    def ask(link: Any, number: int) -> None:
        link.sendall(requests[number])

    requests = [encode(b"D" + _echo(address_of(number))) * 4 for number in range(ECHOERS)]
    return _crowd(target, ECHOERS, lambda link: None, ask)


def _echo(source: str) -> bytes:
    message = icmp.echo_request(icmp.IPV4, 1, 1, bytes(ECHO))
    return packet(source, VICTIM.ipv4, ip_headers.ICMP, message)


def packet(
    source: str, destination: str, protocol: int, body: bytes, number: int = 0, field: int = 0
) -> bytes:
    """Preceded by an empty virtio header."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, field, 64, protocol, 0) + ends
    head = head[:10] + icmp.checksum(head).to_bytes(2, "big") + head[12:]
    return bytes(10) + head + body


def fragments(target: Target) -> Iterator[int]:
    """4.8 MB/s of first fragments of datagrams that are never completed."""
    source = address_of(0)

    def pieces() -> Iterator[bytes]:
        began = time.monotonic()
        for number in itertools.count():
            time.sleep(max(0.0, began + number / FRAGMENTS_A_SECOND - time.monotonic()))
            piece = packet(source, VICTIM.ipv4, 17, bytes(FRAGMENT), number & 0xFFFF, MORE)
            yield encode(b"D" + piece)

    return stream(lambda: target.join(address=source), pieces())


# --- KeyUpdates ---


class OwnTls:
    """A TLS 1.3 client on libssl directly, which can request key updates. Blocking."""

    REQUESTED = 1  # SSL_KEY_UPDATE_REQUESTED

    def __init__(self, plain: socket.socket, alpn: bytes) -> None:
        limit_waiting(plain)
        self._plain = plain
        self._lib = lib = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        self._ssl = ctypes.c_void_p(lib.SSL_new(context))
        names = bytes([len(alpn)]) + alpn
        lib.SSL_set_alpn_protos(self._ssl, names, len(names))
        lib.SSL_set_fd(self._ssl, plain.fileno())
        if lib.SSL_connect(self._ssl) != 1:
            raise ConnectionError("no TLS")

    def ask_for_new_keys(self) -> None:
        lib = self._lib
        if (
            lib.SSL_key_update(self._ssl, self.REQUESTED) != 1
            or lib.SSL_do_handshake(self._ssl) != 1
        ):
            raise ConnectionError("ended")

    def sendall(self, data: bytes) -> None:
        if self._lib.SSL_write(self._ssl, data, len(data)) <= 0:
            raise ConnectionError("ended")

    def recv(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        count = self._lib.SSL_read(self._ssl, buffer, size)
        if count <= 0:
            raise ConnectionError("ended")
        return buffer.raw[:count]

    def export_keying_material(self, label: bytes, size: int, context: bytes) -> bytes:
        out = ctypes.create_string_buffer(size)
        self._lib.SSL_export_keying_material(
            self._ssl, out, ctypes.c_size_t(size), label, ctypes.c_size_t(len(label)),
            context, ctypes.c_size_t(len(context)), 1,
        )  # fmt: skip
        return out.raw

    def close(self) -> None:
        self._plain.close()


def key_updates(target: Target) -> Iterator[int]:
    """Requests TLS key updates without end, and reads nothing. An occasional ping keeps the link
    alive."""

    def begin() -> OwnTls:
        link: OwnTls = target.join(connection=OwnTls(target.connect(), ALPN))
        return link

    return _ask_for_keys(begin, encode(bytes([messages.PING]) + bytes(8)))


def web_key_updates(target: Target) -> Iterator[int]:
    """The same from a stranger, over HTTPS."""
    return _ask_for_keys(lambda: OwnTls(target.connect(), b"http/1.1"), b"")


def _ask_for_keys(begin: Callable[[], OwnTls], sign_of_life: bytes) -> Iterator[int]:
    while True:
        with suppress(*GONE):
            connection = begin()
            try:
                while True:
                    for _ in range(1000):
                        connection.ask_for_new_keys()
                    if sign_of_life:
                        connection.sendall(sign_of_life)
                    yield 1
            finally:
                end(connection)
        yield 0


HOARDERS: tuple[Attack, ...] = (
    announced,
    unfinished,
    again,
    echoes,
    fragments,
    key_updates,
    web_key_updates,
)
