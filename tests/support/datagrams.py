"""Two ends of a UDP session without a network, and how delivered frames compare to those sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from tests.support.segmentation import CWR, FIN, PSH, Packet, parsed, segmented
from tunmesh.packets import virtio
from tunmesh.udp.aead import sealing
from tunmesh.udp.session import Session
from tunmesh.wire.datagrams import (
    CLIENT,
    EPOCH_BITS,
    HEAD,
    MAX_DATAGRAM,
    MAX_SEGMENTS,
    TAG,
    key_context,
)


def export(context: bytes) -> bytes:
    """What a TLS exporter gives at both ends."""
    return hashlib.sha256(b"secret" + context).digest()


def two_ends() -> tuple[Session, Session]:
    """The end that dialed, and the other."""
    client, server = Session(export, True, 7), Session(export, False, 9)
    client.send_index, server.send_index = 9, 7
    return client, server


def datagram_of(plaintext: bytes, counter: int = 1) -> bytes:
    """A datagram of the client's for the server, whatever it says."""
    head = HEAD.pack(9, counter)
    seal = sealing(export(key_context(CLIENT, counter >> EPOCH_BITS)))
    ciphertext = bytearray(len(plaintext) + TAG)
    seal(head, plaintext, None, memoryview(ciphertext))
    return head + ciphertext


def sealed(session: Session, frames: Sequence[bytes], size: int) -> list[bytes]:
    """The datagrams; each send is checked."""
    datagrams = []
    for data, segment in session.seal(frames, size):
        parts = [bytes(data[at : at + segment]) for at in range(0, len(data), segment)]
        assert len(parts) <= MAX_SEGMENTS, "more than the kernel sends at once"
        assert len(data) <= MAX_DATAGRAM, "more than the kernel sends at once"
        assert segment <= size, "too large for the path"
        datagrams += parts
    return datagrams


def received(
    session: Session, datagrams: Iterable[bytes], at_once: int = MAX_SEGMENTS
) -> list[bytes]:
    """The frames that are delivered when these datagrams come in one read, in buffers as UDP_GRO
    makes them."""
    buffer: list[bytes] = []

    def pass_on() -> None:
        if buffer:
            session.open(memoryview(b"".join(buffer)), len(buffer[0]))
            buffer.clear()

    for datagram in datagrams:
        if buffer and (len(datagram) > len(buffer[0]) or len(buffer) == at_once):
            pass_on()
        buffer.append(datagram)
        if len(datagram) < len(buffer[0]):
            pass_on()
    pass_on()
    return [bytes(frame) for frame in session.frames()]


class Ledger:
    """Knows what was sent, and checks what is delivered. Frames whose checksum is to be filled in
    must differ in their source ports."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._plain = [frame for frame in frames if not frame[0]]
        self._flows = {_port(frame): _Flow(frame) for frame in frames if frame[0]}

    def check(self, delivered: Iterable[bytes]) -> None:
        """Raises AssertionError for what was not sent, was changed, or comes a second time."""
        for frame in delivered:
            assert virtio.well_formed(frame), "a frame that the table refuses"
            if frame[0]:
                self._flows[_port(frame)].check(frame)
            else:
                assert frame in self._plain, "not sent, or delivered twice"
                self._plain.remove(frame)


class _Flow:
    """A frame that may be delivered in parts."""

    def __init__(self, whole: bytes) -> None:
        self._start = _transport(whole)
        self._unit = int.from_bytes(whole[4:6], "little") or 65_535
        self._packets = [parsed(packet, self._start) for packet in segmented(whole)]
        assert all(packet.is_sound for packet in self._packets)
        self._is_tcp = whole[8] == 16
        self._payload = b"".join(packet.payload for packet in self._packets)
        self._is_new = bytearray(b"\1" * len(self._payload))

    def check(self, frame: bytes) -> None:
        assert _transport(frame) == self._start
        for packet in segmented(frame):
            piece = parsed(packet, self._start)
            assert piece.is_sound, "a length or checksum is wrong"
            if self._is_tcp:
                self._check_bytes(piece)
            else:
                assert piece in self._packets, "not one of these datagrams, or delivered twice"
                self._packets.remove(piece)

    def _check_bytes(self, piece: Packet) -> None:
        first, last = self._packets[0], self._packets[-1]
        assert (piece.ip, piece.transport) == (first.ip, first.transport)
        assert len(piece.payload) <= self._unit
        start = piece.sequence - first.sequence & 0xFFFFFFFF
        end = start + len(piece.payload)
        assert self._payload[start:end] == piece.payload
        flags = first.flags & CWR if start == 0 else 0
        flags |= last.flags & (FIN | PSH) if end == len(self._payload) else 0
        assert piece.flags == flags | first.flags & ~(CWR | FIN | PSH)
        assert all(self._is_new[start:end]), "delivered twice"
        self._is_new[start:end] = bytes(end - start)


def _transport(frame: bytes) -> int:
    return int.from_bytes(frame[6:8], "little")


def _port(frame: bytes) -> bytes:
    return frame[10 + _transport(frame) :][:2]
