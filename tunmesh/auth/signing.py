"""Node records, signed by the node itself.

    signed record = public key ‖ Ed25519("tunmesh/1 record" ‖ node record) ‖ node record

Nodes learn about each other through third nodes, so a record that is passed on must authenticate
itself. The id of a node is derived from its key (auth.node_key): given the id, a receiver can check
that the record is that node's own, no matter who delivered it. A node that changes its record signs
a higher revision, and receivers keep the highest that they have seen: an older one that is replayed
reaches only nodes that are not linked with it, and tells them where it was. If two records of one
revision are signed by the same key, the fault is its owner's, and the two signatures prove it.

The data signed in a handshake begins with a role, so neither kind of signature can be used as the
other.
"""

from __future__ import annotations

from tunmesh.auth.node_key import NodeKey, id_of, is_signed
from tunmesh.errors import FailureReason, PeerError
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord
from tunmesh.wire.sizes import PROTOCOL

_LABEL = PROTOCOL.encode("ascii") + b" record"


def sign(record: NodeRecord, node_key: NodeKey) -> SignedRecord:
    """Sign this node's record, for others to pass on."""
    data = record.encode()
    return SignedRecord(node_key.public, node_key.sign(_LABEL + data), data)


def show(record: NodeRecord, node_key: NodeKey) -> bytes:
    """What this node presents in a handshake."""
    return encode_shown(sign(record, node_key), record.settled)


def verify(signed: SignedRecord) -> NodeRecord:
    """The record, if it is signed by the node with its id; otherwise raises PeerError("bad_proof"),
    or "malformed" if the record is signed correctly and not valid."""
    if not is_signed(_LABEL + signed.record, signed.signature, signed.public_key):
        raise PeerError(
            FailureReason.BAD_PROOF, "its record is not signed by the key that comes with it"
        )
    record = NodeRecord.decode(signed.record)
    if record.id != id_of(signed.public_key):
        raise PeerError(
            FailureReason.BAD_PROOF, "its id is not of its key: it claims to be another node"
        )
    return record
