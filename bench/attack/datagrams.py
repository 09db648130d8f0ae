"""Attacks by strangers with UDP datagrams, from many sources or from that of another node.

What can be seen on the way to the node, the attacker sees: the bridge sends it a copy of that
(`see_all`).

    u32 index | u64 counter | ciphertext and tag     (docs/protocol.md)
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from bench.attack.target import Attack, Target
from bench.lab import Ground
from tunmesh.localmesh import plan

OTHER = plan.NodePlan(2)
SIZE = 1400  # bytes of a datagram
KEPT = 1000  # datagrams that were seen
AHEAD = 1 << 20  # of the counters that were seen: they are not used so soon
SOURCES = [f"10.99.0.{number}" for number in range(10, 250)]  # nobody has these addresses
_VIRTIO, _ETHERNET, _IP, _UDP = 10, 14, 20, 8  # bytes of headers
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PROMISCUOUS = 263, 1, 15, 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A datagram on its way to the node."""

    source: str
    port: int
    payload: bytes


class Tap:
    """What is sent to the node's UDP port, as it is seen on the attacker's cable."""

    def __init__(self, target: Target) -> None:
        self._to = socket.inet_aton(target.place[0]), target.place[1]
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._socket.bind(("eth0", 0x0800))
        wish = struct.pack("iHH8s", socket.if_nametoindex("eth0"), _PROMISCUOUS, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, wish)
        self._socket.setblocking(False)
        self.seen: deque[Seen] = deque(maxlen=KEPT)

    def look(self) -> None:
        """Keep some of what came since the last time."""
        for _ in range(8):
            try:
                self._read(self._socket.recv(1 << 17))
            except BlockingIOError:
                return

    def close(self) -> None:
        """See no more."""
        self._socket.close()

    def _read(self, frame: bytes) -> None:
        (size,) = struct.unpack_from("=H", frame, 4)  # of a segment, if it is many
        packet = frame[_VIRTIO + _ETHERNET :]
        udp = packet[_IP:]
        if packet[9] != socket.IPPROTO_UDP or len(udp) < _UDP:
            return
        port, to = struct.unpack_from("!HH", udp)
        if (packet[16:20], to) != self._to:
            return
        source, payload = socket.inet_ntoa(packet[12:16]), udp[_UDP:]
        self.seen.append(Seen(source, port, payload[: size or len(payload)]))


class Forger:
    """Sends datagrams to the node that seem to come from anywhere."""

    def __init__(self, target: Target) -> None:
        self._address, self._port = target.place
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, source: str, port: int, payload: bytes) -> None:
        """Without a checksum, which UDP over IPv4 may omit."""
        length = _UDP + len(payload)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, _IP + length, 0, 0, 64, socket.IPPROTO_UDP, 0)
        udp = struct.pack("!HHHH", port, self._port, length, 0)
        addresses = socket.inet_aton(source) + socket.inet_aton(self._address)
        try:
            self._raw.sendto(ip + addresses + udp + payload, (self._address, 0))
        except OSError:
            time.sleep(0.001)  # the queue is full


def udp_junk(target: Target) -> Iterator[int]:
    """Datagrams of noise, each from another source address and port."""
    forger, noise = Forger(target), os.urandom(SIZE)
    while True:
        begin = random.randbytes(12)  # noqa: S311 (speed counts here)
        source, port = random.choice(SOURCES), random.randrange(1024, 65536)  # noqa: S311
        forger.send(source, port, begin + noise)
        yield 0


def udp_replay(target: Target) -> Iterator[int]:
    """Datagrams that were seen, again and again, from where they came and from elsewhere."""
    forger = Forger(target)
    seen = yield from _watch(target, KEPT)
    while True:
        for each in seen:
            forger.send(each.source, each.port, each.payload)
            yield 0
            forger.send(secrets.choice(SOURCES), each.port, each.payload)
            yield 0


def udp_spoofed_peer(target: Target) -> Iterator[int]:
    """Noise that seems to come from the other node: from its address and port, with the index that
    was seen on the way, and with counters that are yet to come."""
    forger, noise = Forger(target), os.urandom(SIZE)
    last = (yield from _watch(target, 1))[-1]
    index, counter = struct.unpack_from("!IQ", last.payload)
    for number in itertools.count(counter + AHEAD):
        forger.send(last.source, last.port, struct.pack("!IQ", index, number) + noise)
        yield 0


def _watch(target: Target, count: int) -> Generator[int, None, list[Seen]]:
    """Wait until so many datagrams were seen, and look at no more: the copies cost the sender's
    processor more than the attack does."""
    tap = Tap(target)
    while len(tap.seen) < count:
        yield 0
        tap.look()
        time.sleep(0.001)
    tap.close()
    return list(tap.seen)


def see_all(ground: Ground) -> None:
    """Have the bridge send all frames to all hosts, as it does when it does not know who is
    where."""
    for number in range(1, len(ground.hosts) + 1):
        ground.in_hub(
            "ip", "link", "set", f"port{number}", "type", "bridge_slave", "learning", "off"
        )
        ground.in_hub("ip", "link", "set", f"port{number}", "type", "bridge_slave", "fdb_flush")


DATAGRAMS: tuple[Attack, ...] = (udp_junk, udp_replay, udp_spoofed_peer)
