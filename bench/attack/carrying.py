"""Attacks by members over streams through a neighbour (tunmesh.relay): the node under attack is the
carrier, or the end of a stream that the other node carries."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_interface
from typing import Any

from OpenSSL import SSL

from bench.attack.target import CHUNK, GONE, OWN_URL, Attack, Target, end, stream
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.wire import sizes
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.streams import (
    BROKEN,
    CREDIT,
    END,
    INCOMING,
    MAX_PIECE,
    OPEN,
    OPENED,
    PIECE,
    REFUSED,
    WINDOW,
    Message,
    decode,
)

STREAMS = 8
_OVER = {REFUSED, END, BROKEN}


class Neighbour:
    """A link with a node that carries streams. Answers its pings."""

    def __init__(self, target: Target, number: int) -> None:
        key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
        address = ip_interface(f"10.77.0.{66 + number}/16")
        now = int(time.time() * 1000)
        record = NodeRecord(key.id, f"mallory{number}", now, OWN_URL, (address,), "bench")
        self.id = key.id
        self.link, signed = target.join_as(record, key)
        self.carrier = NodeRecord.decode(signed.record).id
        self.linked: list[str] = []  # the ids of the nodes that the carrier is linked with
        self._decoder = Decoder(sizes.MAX_FRAME)
        self._number = 2 * secrets.randbelow(1 << 20) + (self.id < self.carrier)

    def new_number(self) -> int:
        """Of a stream that this end asks for."""
        self._number += 2
        return self._number

    def say(self, *messages: Message) -> None:
        self.link.sendall(b"".join(encode(each.encode()) for each in messages))

    def hear(self) -> list[Message]:
        """What is said of streams next."""
        found: list[Message] = []
        for payload in map(bytes, self._decoder.feed(self.link.recv(CHUNK))):
            match payload[:1]:
                case b"S":
                    found.append(decode(payload))
                case b"i":
                    self.link.sendall(encode(b"o" + payload[1:]))
                case b"G":
                    self.linked += Gossip.decode(payload).linked
        return found

    def other(self) -> str:
        """The id of a node that the carrier is linked with, and that is none of ours."""
        while not self.linked:
            self.hear()
        return self.linked[0]

    def open(self, target: str) -> int:
        """A stream to this node: its number, once it is open."""
        number = self.new_number()
        self.say(Message(OPEN, number, body=bytes.fromhex(target)))
        while True:
            for message in self.hear():
                if message.kind == OPENED:
                    return number
                if message.kind in _OVER:
                    raise ConnectionError("no stream")


class Carried:
    """A TLS connection over a stream, as Target.join_as uses one."""

    def __init__(self, neighbour: Neighbour, number: int, context: SSL.Context) -> None:
        self._neighbour, self._number = neighbour, number
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self._sent, self._granted, self._received = 0, WINDOW, 0
        self._out = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except SSL.WantReadError:
                self._pump()
        self._flush()

    def export_keying_material(self, label: bytes, size: int, context: bytes) -> bytes:
        return bytes(self._tls.export_keying_material(label, size, context))

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), 1 << 14):
            self._tls.send(data[at : at + (1 << 14)])
        while self._flush():
            self._hear()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return bytes(self._tls.recv(size))
            except SSL.WantReadError:
                self._pump()

    def close(self) -> None:
        end(self._neighbour.link)

    def _pump(self) -> None:
        self._flush()
        self._hear()

    def _flush(self) -> bool:
        """Send what may be sent. Whether something is left."""
        with suppress(SSL.WantReadError):
            while True:
                self._out += self._tls.bio_read(CHUNK)
        while self._out and self._sent < self._granted:
            piece = self._out[: min(MAX_PIECE, self._granted - self._sent)]
            self._neighbour.say(Message(PIECE, self._number, self._sent, piece))
            self._sent += len(piece)
            self._out = self._out[len(piece) :]
        return bool(self._out)

    def _hear(self) -> None:
        for message in self._neighbour.hear():
            if message.stream != self._number:
                continue
            if message.kind in _OVER:
                raise ConnectionError("the stream is over")
            if message.kind == CREDIT:
                self._granted = message.value
            if message.kind == PIECE:
                self._tls.bio_write(message.body)
                self._received += len(message.body)
                self._neighbour.say(Message(CREDIT, self._number, self._received + WINDOW))


def openings(target: Target) -> Iterator[int]:
    """Has the node open streams to the other one, and reads the answers, but nothing else."""
    while True:
        with suppress(*GONE):
            neighbour = Neighbour(target, 0)
            other = bytes.fromhex(neighbour.other())
            while True:
                asked = [Message(OPEN, neighbour.new_number(), body=other) for _ in range(200)]
                neighbour.say(*asked)
                answered = 0
                while answered < len(asked) // 2:
                    answered += len(neighbour.hear())
                    yield len(asked)
        yield 0


def carried(target: Target) -> Iterator[int]:
    """Has the node carry as much as it can, by streams between two identities."""
    while True:
        with suppress(*GONE):
            yield from _carry(Neighbour(target, 0), Neighbour(target, 1))
        yield 0


def _carry(sender: Neighbour, receiver: Neighbour) -> Iterator[int]:
    numbers: dict[int, int] = {}  # of the receiver's side, by those of the sender's
    for _ in range(STREAMS):
        number = sender.new_number()
        sender.say(Message(OPEN, number, body=bytes.fromhex(receiver.id)))
        while number not in numbers:
            for message in receiver.hear():
                if message.kind == INCOMING:
                    numbers[number] = message.stream
                    receiver.say(Message(OPENED, message.stream))
    offset, piece = 0, bytes(MAX_PIECE)
    while True:
        for at in range(offset, offset + WINDOW, MAX_PIECE):
            sender.say(*(Message(PIECE, number, at, piece) for number in numbers))
        left = WINDOW * STREAMS
        while left:
            left -= sum(len(each.body) for each in receiver.hear() if each.kind == PIECE)
        offset += WINDOW
        receiver.say(*(Message(CREDIT, each, offset + WINDOW) for each in numbers.values()))
        grants = 0
        while grants < STREAMS:
            grants += sum(each.kind == CREDIT for each in sender.hear())
        yield STREAMS


def relayed_pings(target: Target) -> Iterator[int]:
    """Pings over a link that the other node carries, whose own packets come by the same link."""

    def begin() -> Any:
        neighbour = Neighbour(target.at(_other_host(target)), 0)
        number = neighbour.open(neighbour.other())
        return target.join("mallory9", "10.77.0.99", Carried(neighbour, number, target.context))

    message = encode(b"i" + bytes(8))

    def pings() -> Iterator[bytes]:
        while True:
            yield message * (CHUNK // len(message))

    return stream(begin, pings())


def _other_host(target: Target) -> str:
    """The hosts of a ground count upwards from the first node's."""
    before, last = target.place[0].rsplit(".", 1)
    return f"{before}.{int(last) + 1}"


CARRIERS: tuple[Attack, ...] = (openings, carried, relayed_pings)
