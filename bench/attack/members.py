"""Attacks by a member over its own links: floods, forged messages, false claims."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface

from OpenSSL import SSL

from bench.attack.target import CHUNK, CROWD, GONE, OWN_ADDRESS, Attack, Target, end, pour, stream
from tunmesh.auth import signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.localmesh import plan
from tunmesh.testing.tun import frame
from tunmesh.wire import sizes
from tunmesh.wire.gossip import Gossip, Refusal, encode_inquiry, encode_introduction
from tunmesh.wire.netstring import encode
from tunmesh.wire.proofs import encode_update
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.tried import Outcome, Tried

VICTIM, OTHER = plan.NodePlan(1), plan.NodePlan(2)
CLAIM_INTERVAL = 1.5  # seconds


def _tell(target: Target, *payloads: bytes) -> Iterator[int]:
    batch = b"".join(map(encode, payloads))
    return pour(target.join, batch * max(1, CHUNK // len(batch)))


def small_packets(target: Target) -> Iterator[int]:
    """The smallest packets with its own source address, which look like honest ones."""
    return _tell(target, b"D" + frame(OWN_ADDRESS, VICTIM.ipv4))


def spoofed(target: Target) -> Iterator[int]:
    """Packets with another node's source address."""
    return _tell(target, b"D" + frame(OTHER.ipv4, VICTIM.ipv4, bytes(64)))


def malformed(target: Target) -> Iterator[int]:
    """The smallest frames that are not packets."""
    return _tell(target, b"D")


def pings(target: Target) -> Iterator[int]:
    """Pings, whose pongs are not read."""
    return _tell(target, b"i" + bytes(8))


def gossip(target: Target) -> Iterator[int]:
    """Vouches for other, non-existent nodes each time; does not read the inquiries."""

    def lies() -> Iterator[bytes]:
        for generation in itertools.count(1):
            ids = tuple(secrets.token_hex(16) for _ in range(1000))
            yield encode(Gossip(generation, ids).encode())

    return stream(target.join, lies())


def empty_gossip(target: Target) -> Iterator[int]:
    """Vouches for thousands of nodes and takes it back, over and over."""
    ids = tuple(secrets.token_hex(16) for _ in range(sizes.MAX_FRAME // 32))

    def lies() -> Iterator[bytes]:
        yield encode(Gossip(1, ids).encode())
        for start in itertools.count(2, 5000):
            empty = (Gossip(generation) for generation in range(start, start + 5000))
            yield b"".join(encode(each.encode()) for each in empty)

    return stream(target.join, lies())


def inquiries(target: Target) -> Iterator[int]:
    """Asks for a node's record, and does not read the answer."""
    return _tell(target, encode_inquiry((secrets.token_hex(16),) * 4))


def introductions(target: Target) -> Iterator[int]:
    """Introduces nodes that were not asked for."""
    me = NodeRecord("0" * 32, "m", 0, "https://m:1", (ip_interface("10.77.0.1/16"),), "m")
    keys = [NodeKey.of(secrets.token_bytes(SEED_SIZE)) for _ in range(sizes.MAX_INTRODUCED)]
    crowd = [signing.sign(replace(me, id=key.id), key) for key in keys]
    return _tell(target, encode_introduction(crowd))


def revisions(target: Target) -> Iterator[int]:
    """Signs its record anew, with another URL each time; says that nobody reaches the victim."""
    key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
    me = NodeRecord(key.id, "m", 0, "https://m:1", (ip_interface(f"{OWN_ADDRESS}/16"),), "m")
    tried = encode(Tried.of(VICTIM.url, Outcome.NO_ANSWER).encode())

    def said() -> Iterator[bytes]:
        for number in itertools.count(1):
            record = replace(me, revision=number, url=f"https://198.51.100.1:{number % 65535 + 1}")
            yield encode(encode_update(signing.show(record, key))) + tried

    return stream(lambda: target.join_as(me, key)[0], said())


def refusals(target: Target) -> Iterator[int]:
    """Refuses an address in favour of another node, with a different name each time."""
    said = (
        encode(Refusal((VICTIM.ipv4,), f"holder{number}").encode()) for number in itertools.count()
    )
    return stream(target.join, said)


def comes_and_goes(target: Target) -> Iterator[int]:
    """Joins and leaves, under a new name each time."""
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
    """Joins with the address of the other node every 1.5 s, each time as a new node, and leaves
    when the next one has joined: there is always a waiting claimant for the address."""
    waiting: SSL.Connection | None = None
    while True:
        with suppress(*GONE):
            before, waiting = waiting, target.join(address=OTHER.ipv4)
            if before is not None:
                end(before)
        yield 1
        time.sleep(CLAIM_INTERVAL)


MEMBERS: tuple[Attack, ...] = (
    small_packets,
    spoofed,
    malformed,
    pings,
    gossip,
    empty_gossip,
    inquiries,
    introductions,
    revisions,
    refusals,
    comes_and_goes,
    many_links,
    claims,
)
