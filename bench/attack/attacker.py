"""Who does harm to one node, for `bench.attack`: one attack, as fast as one process can.

    python -m bench.attack.attacker ATTACK DIRECTORY HOST

`DIRECTORY` holds the mesh's certificate, key and secret; strangers take no more of it than they
could get over the wire, members all. An attack is a generator: each step is one blow. It goes on
until standard input ends; then what it did is said on standard output, as JSON.

It is written with blocking sockets, since an attacker waits for nobody: TLS by pyOpenSSL, the
messages by the node's own codecs.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from bench.attack.hoarding import HOARDERS, OwnTls
from tunmesh import certificates, messages, signing, tls
from tunmesh.handshake import Dialer, Key
from tunmesh.localmesh import plan
from tunmesh.messages import Gossip, NodeRecord, Refusal
from tunmesh.netstring import Decoder, encode
from tunmesh.nodekey import SEED_SIZE, NodeKey
from tunmesh.testing import frame

PATIENCE = 2.0  # seconds that a blow may take
VICTIM, OTHER = plan.NodePlan(1), plan.NodePlan(2)
OWN = "10.77.0.66"
GONE = (OSError, SSL.Error)
CROWD = 2000
CLAIM_INTERVAL = 1.5  # seconds
CHUNK = 1 << 16


class Target:
    """Where to strike, and what is known."""

    def __init__(self, directory: Path, host: str) -> None:
        self.place = (host, plan.LISTEN_PORT)
        certificate, key = directory / plan.CERTIFICATE, directory / plan.KEY
        self.context = tls.Identity(certificates.load(certificate, key, None, False)).client
        self.key = Key.derive((directory / plan.SECRET).read_bytes())

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, PATIENCE)

    def secure(self, context: SSL.Context | None = None) -> SSL.Connection:
        """TLS is up; by default as for a link."""
        plain = self.connect()
        plain.settimeout(None)  # pyOpenSSL has no time limits: the kernel's do
        limit = b"\2\0\0\0\0\0\0\0" + bytes(8)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            plain.setsockopt(socket.SOL_SOCKET, option, limit)
        connection = SSL.Connection(context or self.context, plain)
        connection.set_connect_state()
        try:
            connection.do_handshake()
        except SSL.Error:
            plain.close()
            raise
        return connection

    def browser(self) -> SSL.Connection:
        return self.secure(SSL.Context(SSL.TLS_METHOD))

    def join(
        self,
        name: str = "mallory",
        address: str = OWN,
        connection: SSL.Connection | OwnTls | None = None,
    ) -> Any:
        """A link that is up: he knows the secret. It is made over this connection, or a new one."""
        connection = connection or self.secure()
        node_key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
        record = NodeRecord(
            id=node_key.id,
            name=name,
            started=int(time.time() * 1000),
            url="https://10.99.0.3:1",
            addresses=(ip_interface(f"{address}/16"),),
            version="bench",
        )
        binding = connection.export_keying_material(tls.EXPORTER, 32, b"")
        shown, nonce = signing.show(record, node_key), secrets.token_bytes(32)
        machine = Dialer((self.key,), node_key, shown, nonce, binding)
        decoder = Decoder(messages.MAX_FRAME)
        connection.sendall(encode(machine.hello))
        while True:
            for payload in decoder.feed(connection.recv(CHUNK)):
                step = machine.receive(bytes(payload))
                if step.send is not None:
                    connection.sendall(encode(step.send))
                if step.peer is not None:
                    return connection


def end(connection: socket.socket | SSL.Connection) -> None:
    """Go without a word."""
    with suppress(*GONE):
        connection.close()


Attack = Callable[[Target], Iterator[int]]  # what it yields are the sockets that it holds


# --- strangers ---


def nothing(target: Target) -> Iterator[int]:
    """To compare with: nobody attacks."""
    while True:
        time.sleep(0.1)
        yield 0


def half_open(target: Target) -> Iterator[int]:
    """Connects as often as it can, says nothing, and keeps what it gets."""
    return _hoard(lambda _: target.connect())


def drip(target: Target) -> Iterator[int]:
    """The same, and a byte of a TLS record each second."""

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
    """Connects, sends noise and goes."""
    noise = secrets.token_bytes(CHUNK)
    while True:
        with suppress(OSError):
            connection = target.connect()
            with connection:
                connection.sendall(noise)
        yield 1


def handshakes(target: Target) -> Iterator[int]:
    """Whole TLS handshakes, one after the other, and nothing behind them."""
    return _repeat(target, b"")


def client_hellos(target: Target) -> Iterator[int]:
    """A recorded first flight of TLS, which costs its sender nothing and the node a signature."""
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
    """TLS, then a hello with a key that is not the mesh's."""
    hello = messages.Hello((messages.VERSION,), (bytes(8),), bytes(32))
    return _repeat(target, encode(messages.encode_hello(hello)))


def wrong_version(target: Target) -> Iterator[int]:
    """TLS, then a hello of a version that nobody speaks."""
    return _repeat(target, encode(_hello(target, version=99)))


def huge_length(target: Target) -> Iterator[int]:
    """TLS, then a frame of a gigabyte is announced."""
    return _repeat(target, b"999999999:" + bytes(1024))


def replay(target: Target) -> Iterator[int]:
    """TLS, then the hello and a proof of somebody else."""
    hello = _hello(target, version=messages.VERSION)
    proof = messages.encode_proof(messages.Proof(bytes(32), bytes(114)))
    return _repeat(target, encode(hello) + encode(proof))


def _hello(target: Target, version: int) -> bytes:
    """A hello by somebody who knows the secret."""
    nonce = bytes(messages.NONCE_SIZE)
    return messages.encode_hello(messages.Hello((version,), (target.key.id_for(nonce),), nonce))


def tls12(target: Target) -> Iterator[int]:
    """A link over TLS 1.2."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([tls.ALPN])
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
    """A page over HTTPS, on a new connection each time."""
    return _repeat(target, REQUEST, SSL.Context(SSL.TLS_METHOD))


def pipeline(target: Target) -> Iterator[int]:
    """Requests without end on one connection, and no answer is read."""
    return _pour(target.browser, REQUEST * 1000)


def endless_head(target: Target) -> Iterator[int]:
    """A request whose head does not end."""
    return _pour(target.browser, b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)


def _pour(begin: Callable[[], SSL.Connection], data: bytes) -> Iterator[int]:
    """The same data again and again over one connection; a new one when that is closed."""
    while True:
        with suppress(*GONE):
            connection = begin()
            try:
                while True:
                    connection.sendall(data)
                    yield 1
            finally:
                end(connection)
        yield 0


# --- members ---


def _tell(target: Target, *payloads: bytes) -> Iterator[int]:
    batch = b"".join(map(encode, payloads))
    return _pour(target.join, batch * max(1, CHUNK // len(batch)))


def small_packets(target: Target) -> Iterator[int]:
    """Packets of his own, which nobody can tell from honest ones, as small as they can be."""
    return _tell(target, b"D" + frame(OWN, VICTIM.ipv4))


def spoofed(target: Target) -> Iterator[int]:
    """Packets from an address that is another node's."""
    return _tell(target, b"D" + frame(OTHER.ipv4, VICTIM.ipv4, bytes(64)))


def malformed(target: Target) -> Iterator[int]:
    """Frames that are no packets, as small as they can be."""
    return _tell(target, b"D")


def pings(target: Target) -> Iterator[int]:
    """Pings; no pong is read."""
    return _tell(target, b"i" + bytes(8))


def gossip(target: Target) -> Iterator[int]:
    """Vouches for other nodes each time, none of which exists; no question is read."""

    def lies() -> Iterator[bytes]:
        for telling in itertools.count(1):
            ids = tuple(secrets.token_hex(16) for _ in range(1000))
            yield encode(messages.encode_gossip(Gossip(telling, ids)))

    return _lie(target, lies())


def empty_gossip(target: Target) -> Iterator[int]:
    """Vouches for thousands and takes it back, and back, and back."""
    ids = tuple(secrets.token_hex(16) for _ in range(messages.MAX_FRAME // 32))

    def lies() -> Iterator[bytes]:
        yield encode(messages.encode_gossip(Gossip(1, ids)))
        for start in itertools.count(2, 5000):
            empty = (Gossip(telling) for telling in range(start, start + 5000))
            yield b"".join(encode(messages.encode_gossip(each)) for each in empty)

    return _lie(target, lies())


def inquiries(target: Target) -> Iterator[int]:
    """Asks who a node is, and does not read the answer."""
    return _tell(target, messages.encode_inquiry((secrets.token_hex(16),) * 4))


def introductions(target: Target) -> Iterator[int]:
    """Introduces nodes that nobody asked for."""
    me = NodeRecord("0" * 32, "m", 0, "https://m:1", (ip_interface("10.77.0.1/16"),), "m")
    keys = [NodeKey.of(secrets.token_bytes(SEED_SIZE)) for _ in range(messages.MAX_INTRODUCED)]
    crowd = [signing.sign(replace(me, id=key.id), key) for key in keys]
    return _tell(target, messages.encode_introduction(crowd))


def refusals(target: Target) -> Iterator[int]:
    """Says that an address is somebody else's, whose name is another one each time."""
    said = (
        encode(messages.encode_refusal(Refusal((VICTIM.ipv4,), f"holder{number}")))
        for number in itertools.count()
    )
    return _lie(target, said)


def _lie(target: Target, said: Iterator[bytes]) -> Iterator[int]:
    while True:
        with suppress(*GONE):
            connection = target.join()
            try:
                for data in said:
                    connection.sendall(data)
                    yield 1
            finally:
                end(connection)
        yield 0


def comes_and_goes(target: Target) -> Iterator[int]:
    """Joins and leaves, under another name each time."""
    for number in itertools.count():
        with suppress(*GONE):
            end(target.join(f"mallory{number}"))
        yield 1


def many_links(target: Target) -> Iterator[int]:
    """Joins as another node each time, and stays."""
    held: list[SSL.Connection] = []
    for number in itertools.count():
        if len(held) < CROWD:
            with suppress(*GONE):
                held.append(target.join(f"mallory{number}", f"10.77.1.{number % 250 + 1}"))
        else:
            time.sleep(0.01)
        yield len(held)


def claims(target: Target) -> Iterator[int]:
    """Joins with the address of the other node every 1.5 s, as another node each time, and leaves
    when the next one has joined: there is always somebody who waits for the address."""
    waiting: SSL.Connection | None = None
    while True:
        with suppress(*GONE):
            before, waiting = waiting, target.join(address=OTHER.ipv4)
            if before is not None:
                end(before)
        yield 1
        time.sleep(CLAIM_INTERVAL)


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
MEMBERS: tuple[Attack, ...] = (
    small_packets,
    spoofed,
    malformed,
    pings,
    gossip,
    empty_gossip,
    inquiries,
    introductions,
    refusals,
    comes_and_goes,
    many_links,
    claims,
)
ATTACKS = {attack.__name__: attack for attack in (nothing, *STRANGERS, *MEMBERS, *HOARDERS)}


def _await_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main(name: str, directory: str, host: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.nice(19)  # what the processor does for the attacker it does not do for who is measured
    blows = ATTACKS[name](Target(Path(directory), host))
    over = threading.Event()
    threading.Thread(target=_await_end, args=(over,), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    count = held = 0
    while not over.is_set():
        held = max(held, next(blows))
        count += 1
    sys.stdout.write(json.dumps({"blows": count, "held": held}) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
