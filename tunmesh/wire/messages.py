"""Encoding and decoding of the messages between two nodes.

Every payload begins with a one-byte tag. Before authentication only the first three occur, each
once; they have a fixed size but for the node record, so that little is parsed on behalf of
strangers. `‖` is concatenation, all integers are unsigned.

    hello      H ‖ count ‖ protocol version (1 byte each) ‖ count ‖ key id (8 each) ‖ nonce (32)
    challenge  C ‖ protocol version (1) ‖ key id (8) ‖ nonce (32)
    proof      P ‖ mac (32) ‖ sealed claim: AES-256-GCM (RFC 5116) of the following, 16 bytes longer
    claim      signature (64) ‖ settled (1) ‖ signed record
    signed record: public key (32) ‖ signature (64) ‖ node record (JSON)

    data       D ‖ virtio_net_hdr (10) ‖ IP packet        see packets.virtio
    ping       i ‖ token (8)
    pong       o ‖ the token of the ping it answers (8)
    gossip     G ‖ generation (8) ‖ count (2) ‖ that many ids of linked nodes (16 each)
                 ‖ ids of lost ones (16 each)
    inquiry    W ‖ node ids (16 each)
    introduction N ‖ as often as there are: size (2) ‖ signed record of that size
    update     U ‖ settled (1) ‖ signed record: the sender's own is this from now on
    tried      T ‖ SHA-256 of a URL of the receiver, its first 8 bytes ‖ outcome (1)
    refusal    R ‖ {"addresses": [address, …], "holder": name}  (JSON)
    offer      O ‖ index (4), not 0: of the datagrams that the sender takes over UDP
    stream     S ‖ …: about bytes that are carried for others, see wire.streams
    interests  M ‖ number (8) ‖ flags (1) ‖ multicast groups: see wire.interests
    bye        B ‖ reason (a word from BYE_REASONS)

Decoding raises nothing but PeerError("malformed").
"""

from __future__ import annotations

from tunmesh.wire.fields import malformed
from tunmesh.wire.sizes import INDEX_SIZE, TOKEN_SIZE

HELLO, CHALLENGE, PROOF, DATA, PING, PONG = b"HCPDio"
GOSSIP, INQUIRY, INTRODUCTION, UPDATE, TRIED, REFUSAL, OFFER, BYE = b"GWNUTROB"
STREAM, INTERESTS = b"SM"

LEAVING = "leaving"  # the node is shutting down: withdraw its addresses now
REPLACED = "replaced"  # replaced by another link between the same two nodes
SILENT = "silent"  # nothing was received for too long
SELF = "self"  # both ends are the same node
CROWDED = "crowded"  # too many nodes are linked from this source address
REVOKED = "revoked"  # the secret that authenticated this link has been revoked
BYE_REASONS = frozenset({LEAVING, REPLACED, SILENT, SELF, CROWDED, REVOKED})


def encode_bye(reason: str) -> bytes:
    return b"B" + reason.encode("ascii")


def decode_bye(payload: bytes) -> str:
    for reason in BYE_REASONS:
        if payload[1:] == reason.encode("ascii"):
            return reason
    raise malformed("a bye for no known reason")


def decode_token(payload: bytes) -> bytes:
    """The token of a ping or pong."""
    if len(payload) != 1 + TOKEN_SIZE:
        raise malformed("a ping or pong of a wrong size")
    return payload[1:]


def encode_offer(index: int) -> bytes:
    """Says that the sender takes packets over UDP as well, under this index."""
    return b"O" + index.to_bytes(INDEX_SIZE, "big")


def decode_offer(payload: bytes) -> int:
    """The index that datagrams to the sender begin with."""
    index = int.from_bytes(payload[1:], "big")
    if len(payload) != 1 + INDEX_SIZE or not index:
        raise malformed("an offer of UDP without an index of 4 bytes that is not 0")
    return index
