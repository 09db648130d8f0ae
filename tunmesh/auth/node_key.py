"""A node's key pair, and the id derived from it.

All members of a mesh hold the same secret, so it distinguishes members from strangers but not from
each other. For that each node generates a key pair when it starts. It exists in memory only: it is
never configured, stored or handed out.

    id = the first 16 bytes of SHA-256("tunmesh/1 node id" ‖ public key)

Impersonating a node therefore takes a second preimage of 128 bits. (A collision between two keys of
one's own takes only 2^64 tries, but deceives nobody: both belong to the same node.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tunmesh.wire.sizes import NODE_ID_SIZE, PROTOCOL

SEED_SIZE = 32

_LABEL = PROTOCOL.encode("ascii") + b" node id"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The Ed25519 key pair (RFC 8032) that a node signs with."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, seed: bytes) -> NodeKey:
        """The key pair with these 32 random bytes as its private key."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private.public_key().public_bytes_raw(), private)

    @property
    def id(self) -> str:
        """The id of the node with this key."""
        return id_of(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def id_of(public: bytes) -> str:
    """The id of the node with this public key, in hexadecimal."""
    return hashlib.sha256(_LABEL + public).digest()[:NODE_ID_SIZE].hex()


def is_signed(data: bytes, signature: bytes, public: bytes) -> bool:
    """Whether this is a valid signature of the data by this public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
