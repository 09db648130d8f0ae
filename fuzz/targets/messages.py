"""Every wire message: it is refused as malformed, or decoded to a value that encodes to the same
bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunmesh.errors import FailureReason, PeerError
from tunmesh.wire import messages, sizes, streams
from tunmesh.wire.gossip import (
    Gossip,
    Refusal,
    decode_inquiry,
    decode_introduction,
    encode_inquiry,
    encode_introduction,
)
from tunmesh.wire.interests import Interests
from tunmesh.wire.proofs import (
    Challenge,
    Hello,
    Proof,
    decode_update,
    encode_shown,
    encode_update,
)
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True)
class Codec:
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    # The largest size that an accepted message may be encoded to; 0: exactly the input.
    longest: int = 0


# By tag. A bare record has none; it begins like this.
CODECS = {
    b"H": Codec(Hello.decode, Hello.encode),
    b"C": Codec(Challenge.decode, Challenge.encode),
    b"P": Codec(Proof.decode, Proof.encode),
    b"i": Codec(messages.decode_token, lambda token: b"i" + token),
    b"o": Codec(messages.decode_token, lambda token: b"o" + token),
    b"G": Codec(Gossip.decode, Gossip.encode),
    b"W": Codec(decode_inquiry, encode_inquiry),
    b"N": Codec(decode_introduction, encode_introduction),
    b"U": Codec(decode_update, lambda value: encode_update(encode_shown(*value))),
    b"R": Codec(Refusal.decode, Refusal.encode, sizes.MAX_RECORD),
    b"O": Codec(messages.decode_offer, messages.encode_offer),
    b"M": Codec(Interests.decode, Interests.encode, sizes.MAX_INTERESTS),
    b"S": Codec(streams.decode, streams.Message.encode),
    b"B": Codec(messages.decode_bye, messages.encode_bye),
    b"{": Codec(NodeRecord.decode, NodeRecord.encode, sizes.MAX_RECORD),
}


def check(data: bytes) -> None:
    codec = CODECS.get(data[:1])
    if codec is None:
        return
    try:
        value = codec.decode(data)
    except PeerError as error:
        assert error.reason == FailureReason.MALFORMED
        assert str(error).isprintable(), "it goes into the log"
        assert len(str(error)) < 500
        return
    written = codec.encode(value)
    assert codec.decode(written) == value
    assert len(written) <= codec.longest if codec.longest else written == data
    for record in _records(value):
        _check_record(record)


def _records(value: object) -> list[NodeRecord]:
    items = value if isinstance(value, tuple) else (value,)
    return [item for item in items if isinstance(item, NodeRecord)]


def _check_record(record: NodeRecord) -> None:
    """What all users of a record rely on."""
    host, port = record.host_port
    assert host and 0 < port < 1 << 16
    assert bytes.fromhex(record.id).hex() == record.id
    assert (record.name + record.version + record.url).isascii()
    assert (record.name + record.version + record.url).isprintable()
    assert bool(record.addresses or record.automatic)
    assert len(record.addresses) <= sizes.MAX_ADDRESSES
    assert len(record.groups) <= sizes.MAX_GROUPS
    assert len(record.floating) <= sizes.MAX_FLOATING
    assert len(record.routes) <= sizes.MAX_ROUTES
    assert len(record.encode()) <= sizes.MAX_RECORD
