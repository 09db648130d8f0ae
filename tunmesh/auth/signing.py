"""A node's record, signed by the node itself.

    signed record = public key ‖ Ed25519("tunmesh/1 record" ‖ node record) ‖ node record

Others learn of a node by what a third node passes on, so what is passed on proves itself: the id
that everybody knows a node by is made of the key (auth.node_key), and who has the id can tell
whether this is what that node said of itself, whoever brings it. A record holds for the life of its
node and is signed once. So there is no newer one, and no older one that could be played back: a key
that signed two different records is its owner's fault, and both prove it.

What is signed in a handshake begins with a role, so neither signature can be used as the other.
"""

from __future__ import annotations

from tunmesh.auth.node_key import NodeKey, id_of, is_signed
from tunmesh.errors import PeerError
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord
from tunmesh.wire.sizes import PROTOCOL

_LABEL = PROTOCOL.encode("ascii") + b" record"


def sign(record: NodeRecord, node_key: NodeKey) -> SignedRecord:
    """What this node says of itself, for others to pass on."""
    data = record.encode()
    return SignedRecord(node_key.public, node_key.sign(_LABEL + data), data)


def show(record: NodeRecord, node_key: NodeKey) -> bytes:
    """What this node shows in a handshake."""
    return encode_shown(sign(record, node_key), record.settled)


def verify(signed: SignedRecord) -> NodeRecord:
    """The record, if it is by the node whose id it has; else PeerError("bad_proof"), or "malformed"
    when the node itself has made it wrong."""
    if not is_signed(_LABEL + signed.record, signed.signature, signed.public_key):
        raise PeerError("bad_proof", "its record is not signed by the key that comes with it")
    record = NodeRecord.decode(signed.record)
    if record.id != id_of(signed.public_key):
        raise PeerError("bad_proof", "its id is not of its key: it claims to be another node")
    return record
