"""Attacks by a member that makes false claims about other nodes, or about itself."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from itertools import count
from typing import Any

from OpenSSL import SSL

from bench.attack.hoarding import packet
from bench.attack.target import CHUNK, GONE, NAME, OWN_ADDRESS, Attack, Target, end
from tunmesh.auth import signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.localmesh import plan
from tunmesh.packets import icmp, ip_headers
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import Gossip, decode_inquiry, encode_introduction
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.records import NodeRecord, SignedRecord

NAME_SERVER_PORT = 53
MADE_UP = 4000  # a member may vouch for 4,096
REFUSING = "10.99.0.3"  # the attacker's own host, where all but a few ports refuse
BOOTSTRAP = "https://node1:4567"  # the URL that the attacked node bootstraps from
BEHIND_NAT, NEWCOMER = plan.NodePlan(2), plan.NodePlan(3)
BEAT = 0.1  # seconds between two forged packets
MTU = 552  # the smallest MTU that Linux accepts
PING = encode(bytes([messages.PING]) + bytes(8))
_generations = count(1)


class _Link:
    """A link over which the attacker vouches for nodes, and answers pings and inquiries.
    `introduce` makes the records that answer an inquiry."""

    def __init__(self, link: Any, introduce: Callable[[Sequence[str]], list[SignedRecord]]) -> None:
        self._link = link
        self._introduce = introduce
        self._decoder = Decoder(sizes.MAX_FRAME)

    def vouch(self, ids: Sequence[str]) -> None:
        gossip = Gossip(next(_generations), tuple(ids))
        self._link.sendall(encode(gossip.encode()))

    def answer(self) -> int:
        """Read once; returns the number of introduced nodes. Raises one of GONE when the link has
        ended."""
        try:
            data = self._link.recv(CHUNK)
        except SSL.WantReadError:  # nothing was received for a while
            self._link.sendall(PING)
            return 0
        answered = 0
        for payload in map(bytes, self._decoder.feed(data)):
            if payload[0] == messages.PING:
                self._link.sendall(encode(bytes([messages.PONG]) + payload[1:]))
            elif payload[0] == messages.INQUIRY:
                ids = decode_inquiry(payload)
                answered += len(ids)
                for at in range(0, len(ids), sizes.MAX_INTRODUCED):
                    records = self._introduce(ids[at : at + sizes.MAX_INTRODUCED])
                    self._link.sendall(encode(encode_introduction(records)))
        return answered


def _vouch_for(target: Target, url: Callable[[int], str]) -> Iterator[int]:
    """Vouch for MADE_UP nodes; the nth claims to be at `url(n)`."""
    keys = [NodeKey.of(secrets.token_bytes(SEED_SIZE)) for _ in range(MADE_UP)]
    numbers = {key.id: number for number, key in enumerate(keys)}

    def introduce(ids: Sequence[str]) -> list[SignedRecord]:
        return [
            made_up(number, keys[number], url(number))
            for number in map(numbers.get, ids)
            if number is not None
        ]

    while True:
        with suppress(*GONE):
            connection = target.join()
            try:
                link = _Link(connection, introduce)
                link.vouch(tuple(numbers))
                while True:
                    link.answer()
                    yield 1
            finally:
                end(connection)
        yield 0


def made_up(number: int, key: NodeKey, url: str) -> SignedRecord:
    """The record of a node that does not exist."""
    address = ip_interface(f"10.77.{10 + number // 250}.{1 + number % 250}/16")
    return signing.sign(NodeRecord(key.id, f"x{number}", 1, url, (address,), "bench"), key)


def dial_reflector(target: Target) -> Iterator[int]:
    """Vouches for 4,000 made-up nodes, each at a different port of a host that refuses
    connections."""
    return _vouch_for(target, lambda number: f"https://{REFUSING}:{10_000 + number}")


def silent_names(target: Target) -> Iterator[int]:
    """Vouches for 4,000 made-up nodes with names whose name server, at the attacker's host, never
    answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", NAME_SERVER_PORT))
        yield from _vouch_for(target, lambda number: f"https://n{number}.silent.test:1")


def bootstrap_url(target: Target) -> Iterator[int]:
    """Stays linked, and claims the URL of the bootstrap node as its own."""
    while True:
        with suppress(*GONE):
            connection = target.join(url=BOOTSTRAP)
            try:
                link = _Link(connection, lambda ids: [])
                while True:
                    link.answer()
                    yield 1
            finally:
                end(connection)
        yield 0


def false_introductions(target: Target) -> Iterator[int]:
    """Learns a newcomer's id by a link with it, vouches for that id, and introduces it as a
    previous life of the attacker, which no node has a reason to dial."""
    newcomer: Any = None
    while newcomer is None:
        with suppress(*GONE):
            newcomer, genuine = target.at(NEWCOMER.underlay).meet()
        yield 0
    node = NodeRecord.decode(genuine.record)
    own = (ip_interface(f"{OWN_ADDRESS}/16"),)
    past = replace(node, name=NAME, started=1, addresses=own)
    false = replace(genuine, record=past.encode())
    while True:
        with suppress(*GONE):
            connection = target.join()
            try:
                link = _Link(connection, lambda ids: [false])
                link.vouch((node.id,))
                while True:
                    newcomer.sendall(PING)
                    link.answer()
                    yield 1
            finally:
                end(connection)
        yield 0


def icmp_quotes(target: Target) -> Iterator[int]:
    """Sends "fragmentation needed, 552 bytes" about packets between the node's underlay address and
    its peer, and a public name server."""
    underlay = target.place[0]
    forged = b"".join(
        encode(b"D" + _too_big(underlay, destination))
        for destination in (plan.NodePlan(2).underlay, "8.8.8.8")
    )
    while True:
        with suppress(*GONE):
            connection = target.join()
            try:
                while True:
                    connection.sendall(forged + PING)
                    yield 1
                    time.sleep(BEAT)
            finally:
                end(connection)
        yield 0


def _too_big(source: str, destination: str) -> bytes:
    """The ICMP error to the attacked node about a packet that it supposedly sent."""
    # It quotes an echo reply: errors about other packets count only if a socket sent them.
    quoted = packet(source, destination, ip_headers.ICMP, struct.pack("!BBHHH", 0, 0, 0, 1, 1))
    body = struct.pack("!HH", 0, MTU) + quoted[10:]
    message = struct.pack("!BBH", 3, 4, icmp.checksum(b"\3\4\0\0" + body)) + body
    return packet(OWN_ADDRESS, plan.NodePlan(1).ipv4, ip_headers.ICMP, message)


VOUCHERS: tuple[Attack, ...] = (dial_reflector, silent_names, icmp_quotes)
AIMED: tuple[Attack, ...] = (
    bootstrap_url,
    false_introductions,
)  # set by bench.attack.effects
