"""How a node proves and presents itself: hello, challenge and proof, each sent once before
authentication; and, later, an update of what it presented."""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.wire.fields import malformed
from tunmesh.wire.records import SignedRecord
from tunmesh.wire.sizes import (
    KEY_ID_SIZE,
    MAC_SIZE,
    MAX_OFFERS,
    MAX_SIGNED,
    NONCE_SIZE,
    PROOF_SIZE,
    SIGNATURE_SIZE,
)


@dataclass(frozen=True, slots=True)
class Hello:
    versions: tuple[int, ...]
    key_ids: tuple[bytes, ...]
    nonce: bytes

    def encode(self) -> bytes:
        return b"".join(
            (
                b"H",
                bytes((len(self.versions), *self.versions)),
                bytes((len(self.key_ids),)),
                *self.key_ids,
                self.nonce,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        versions, rest = _counted(payload[1:], 1)
        key_ids, nonce = _counted(rest, KEY_ID_SIZE)
        if len(nonce) != NONCE_SIZE:
            raise malformed("a hello of a wrong size")
        return cls(tuple(version[0] for version in versions), tuple(key_ids), nonce)


@dataclass(frozen=True, slots=True)
class Challenge:
    version: int
    key_id: bytes
    nonce: bytes

    def encode(self) -> bytes:
        return b"C" + bytes((self.version,)) + self.key_id + self.nonce

    @classmethod
    def decode(cls, payload: bytes) -> Challenge:
        if len(payload) != 2 + KEY_ID_SIZE + NONCE_SIZE:
            raise malformed("a challenge of a wrong size")
        return cls(payload[1], payload[2 : 2 + KEY_ID_SIZE], payload[2 + KEY_ID_SIZE :])


@dataclass(frozen=True, slots=True)
class Proof:
    mac: bytes
    sealed: bytes  # a sealed claim, not opened until the MAC has been verified

    def encode(self) -> bytes:
        return b"P" + self.mac + self.sealed

    @classmethod
    def decode(cls, payload: bytes) -> Proof:
        if len(payload) <= PROOF_SIZE:
            raise malformed("a proof of a wrong size")
        return cls(payload[1 : 1 + MAC_SIZE], payload[1 + MAC_SIZE :])


@dataclass(frozen=True, slots=True)
class Claim:
    """A node's claim of its identity on one connection."""

    signature: bytes
    shown: bytes  # settled ‖ signed record; not parsed until the signature has been verified

    def encode(self) -> bytes:
        return self.signature + self.shown

    @classmethod
    def decode(cls, opened: bytes) -> Claim:
        if len(opened) <= SIGNATURE_SIZE:
            raise malformed("a claim of a wrong size")
        return cls(opened[:SIGNATURE_SIZE], opened[SIGNATURE_SIZE:])


def encode_shown(signed: SignedRecord, settled: bool) -> bytes:
    """Encode what a node presents in a handshake."""
    return bytes((settled,)) + signed.encode()


def decode_shown(shown: bytes) -> tuple[SignedRecord, bool]:
    if not shown or shown[0] > 1:
        raise malformed("a node that is settled neither true nor false")
    return SignedRecord.decode(shown[1:]), shown[0] == 1


def encode_update(shown: bytes) -> bytes:
    """`shown`: what the node presents from now on."""
    return b"U" + shown


def decode_update(payload: bytes) -> tuple[SignedRecord, bool]:
    """The record, not verified yet, and whether its node is settled."""
    if len(payload) > 2 + MAX_SIGNED:
        raise malformed("an update of a wrong size")
    return decode_shown(payload[1:])


def _counted(data: bytes, size: int) -> tuple[list[bytes], bytes]:
    """A list of `size`-byte items preceded by a one-byte count, and the bytes after it."""
    count = data[0] if data else 0
    end = 1 + count * size
    if not 1 <= count <= MAX_OFFERS or len(data) < end:
        raise malformed("a hello of a wrong size")
    return [data[start : start + size] for start in range(1, end, size)], data[end:]
