"""The node under attack, as its attacker reaches it: plain TCP, TLS, or a link.

Blocking sockets, since an attacker has nothing else to wait for: TLS by pyOpenSSL, messages by the
node's own codecs.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tunmesh.auth import signing
from tunmesh.auth.handshake import Dialer, Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.localmesh import plan
from tunmesh.tls import certificates
from tunmesh.tls.binding import EXPORTER
from tunmesh.tls.credentials import Contexts
from tunmesh.wire import sizes
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.records import NodeRecord, SignedRecord

TIMEOUT = 2.0  # seconds, for a connect, a read or a write
OWN_ADDRESS = "10.77.0.66"
OWN_URL = "https://10.99.0.3:1"
NAME = "mallory"
GONE = (OSError, SSL.Error)
CHUNK = 1 << 16
CROWD = 2000  # connections

Attack = Callable[["Target"], Iterator[int]]
"""Each step is one attack, and yields the number of connections held by the attacker."""


class Target:
    """The attacked node's port, and what the attacker has of the mesh: its certificate, key and
    secret."""

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory
        self.place = (host, plan.LISTEN_PORT)
        certificate, key = directory / plan.CERTIFICATE, directory / plan.KEY
        self.context = Contexts(certificates.load(certificate, key, None, False)).client
        self.key = Key.derive((directory / plan.SECRET).read_bytes())

    def at(self, host: str) -> Target:
        """Another node of the same mesh."""
        return Target(self._directory, host)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, TIMEOUT)

    def secure(self, context: SSL.Context | None = None) -> SSL.Connection:
        """A TLS connection; by default one as for a link."""
        plain = self.connect()
        limit_waiting(plain)
        connection = SSL.Connection(context or self.context, plain)
        connection.set_connect_state()
        try:
            connection.do_handshake()
        except SSL.Error:
            plain.close()
            raise
        return connection

    def browser(self) -> SSL.Connection:
        """A TLS connection for HTTP."""
        return self.secure(SSL.Context(SSL.TLS_METHOD))

    def join(
        self,
        name: str = NAME,
        address: str = OWN_ADDRESS,
        connection: Any = None,
        url: str = OWN_URL,
    ) -> Any:
        """Link with the node, over this connection or a new one, as a member."""
        return self.meet(name, address, connection, url)[0]

    def meet(
        self,
        name: str = NAME,
        address: str = OWN_ADDRESS,
        connection: Any = None,
        url: str = OWN_URL,
    ) -> tuple[Any, SignedRecord]:
        """A link, and the record that the node at its other end signed."""
        node_key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
        record = NodeRecord(
            id=node_key.id,
            name=name,
            started=int(time.time() * 1000),
            url=url,
            addresses=(ip_interface(f"{address}/16"),),
            version="bench",
        )
        return self.join_as(record, node_key, connection)

    def join_as(
        self, record: NodeRecord, node_key: NodeKey, connection: Any = None
    ) -> tuple[Any, SignedRecord]:
        """The same, as the member with this record and key."""
        connection = connection or self.secure()
        binding = connection.export_keying_material(EXPORTER, 32, b"")
        shown, nonce = signing.show(record, node_key), secrets.token_bytes(32)
        machine = Dialer((self.key,), node_key, shown, nonce, binding)
        decoder = Decoder(sizes.MAX_FRAME)
        connection.sendall(encode(machine.hello))
        while True:
            for payload in decoder.feed(connection.recv(CHUNK)):
                step = machine.receive(bytes(payload))
                if step.send is not None:
                    connection.sendall(encode(step.send))
                if step.signed is not None:
                    return connection, step.signed


def limit_waiting(plain: socket.socket) -> None:
    """Have the kernel limit each read and write to TIMEOUT: the TLS library has no timeouts."""
    plain.settimeout(None)
    limit = int(TIMEOUT).to_bytes(8, "little") + bytes(8)  # a struct timeval
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        plain.setsockopt(socket.SOL_SOCKET, option, limit)


def end(connection: Any) -> None:
    """Close it without a goodbye."""
    with suppress(*GONE):
        connection.close()


def pour(begin: Callable[[], Any], data: bytes) -> Iterator[int]:
    """Send the same data over and over on one connection; on a new one if that is closed."""

    def forever() -> Iterator[bytes]:
        while True:
            yield data

    return stream(begin, forever())


def stream(begin: Callable[[], Any], data: Iterator[bytes]) -> Iterator[int]:
    """Send this data on one connection; on a new one if that is closed."""
    while True:
        with suppress(*GONE):
            connection = begin()
            try:
                for piece in data:
                    connection.sendall(piece)
                    yield 1
            finally:
                end(connection)
        yield 0
