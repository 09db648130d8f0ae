"""Messages about other nodes and about addresses: gossip, inquiry, introduction, refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunmesh.wire.fields import (
    dump_json,
    load_json,
    malformed,
    parse_interface,
    parse_word,
)
from tunmesh.wire.records import SignedRecord
from tunmesh.wire.sizes import (
    GENERATION_SIZE,
    MAX_ADDRESSES,
    MAX_FLOATING,
    MAX_INTRODUCED,
    MAX_NAME,
    MAX_SIGNED,
    NODE_ID_SIZE,
)


@dataclass(frozen=True, slots=True)
class Gossip:
    """The ids of the nodes that the sender is linked with."""

    # 0: an incremental update. Otherwise a full sync that replaces the previous list; the number is
    # the sender's generation, which increases with each full sync that it sends to any peer.
    generation: int
    linked: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        return self.generation > 0

    def encode(self) -> bytes:
        ids = "".join(self.linked + self.lost)
        generation = self.generation.to_bytes(GENERATION_SIZE, "big")
        return b"G" + generation + len(self.linked).to_bytes(2, "big") + bytes.fromhex(ids)

    @classmethod
    def decode(cls, payload: bytes) -> Gossip:
        count = 1 + GENERATION_SIZE
        if len(payload) < count + 2:
            raise malformed("gossip without its parts")
        ids = _ids(payload[count + 2 :])
        linked = int.from_bytes(payload[count : count + 2], "big")
        if linked > len(ids):
            raise malformed("gossip that is cut off")
        return cls(int.from_bytes(payload[1:count], "big"), ids[:linked], ids[linked:])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which of the receiver's addresses the sender does not route to it, and the name of the node
    that holds them ("" if they are outside the sender's network). Without addresses: all are routed
    (again)."""

    addresses: tuple[str, ...]
    holder: str

    def encode(self) -> bytes:
        return b"R" + dump_json({"addresses": self.addresses, "holder": self.holder})

    @classmethod
    def decode(cls, payload: bytes) -> Refusal:
        fields = load_json(payload[1:])
        addresses = fields.get("addresses") if isinstance(fields, dict) else None
        most = MAX_ADDRESSES + MAX_FLOATING
        if not isinstance(addresses, list) or len(addresses) > most:
            raise malformed("a refusal without addresses")
        holder = fields.get("holder")
        if holder != "":
            holder = parse_word(holder, MAX_NAME, "a refusal whose holder")
        return cls(tuple(str(parse_interface(address).ip) for address in addresses), holder)


def encode_inquiry(ids: Sequence[str]) -> bytes:
    return b"W" + bytes.fromhex("".join(ids))


def decode_inquiry(payload: bytes) -> tuple[str, ...]:
    """The ids of the nodes that the other end asks about."""
    return _ids(payload[1:])


def encode_introduction(introduced: Sequence[SignedRecord]) -> bytes:
    parts = [signed.encode() for signed in introduced]
    return b"N" + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def decode_introduction(payload: bytes) -> tuple[SignedRecord, ...]:
    """Records that a peer passes on. They are neither verified nor parsed yet."""
    introduced: list[SignedRecord] = []
    at = 1
    if at >= len(payload):
        raise malformed("an introduction of nobody")
    while at < len(payload):
        start = at + 2
        at = start + int.from_bytes(payload[at:start], "big")
        if at > len(payload) or at - start > MAX_SIGNED or len(introduced) == MAX_INTRODUCED:
            raise malformed("an introduction of a wrong size")
        introduced.append(SignedRecord.decode(payload[start:at]))
    return tuple(introduced)


def _ids(data: bytes) -> tuple[str, ...]:
    if len(data) % NODE_ID_SIZE:
        raise malformed("node ids of a wrong size")
    text, size = data.hex(), 2 * NODE_ID_SIZE
    return tuple(text[start : start + size] for start in range(0, len(text), size))
