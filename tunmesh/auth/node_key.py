"""The key of one node, and the id that is made of it.

All members of a mesh hold the same secret, so it tells members from strangers and not from each
other. What tells them from each other is a key pair that each node draws when it starts and keeps
in its memory: nothing of it is configured, stored or handed out.

    id = the first 16 bytes of SHA-256("tunmesh/1 node id" ‖ public key)

To be taken for another node is then to find a second key for the same 128 bits. (Two keys of one's
own with one id are found in 2^64 tries, and deceive nobody: both are oneself.)
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
    """What a node signs with (Ed25519, RFC 8032)."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, seed: bytes) -> NodeKey:
        """The key pair of 32 random bytes."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private.public_key().public_bytes_raw(), private)

    @property
    def id(self) -> str:
        """The id of the node whose key this is."""
        return id_of(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def id_of(public: bytes) -> str:
    """The id of the node with this public key, in hexadecimal."""
    return hashlib.sha256(_LABEL + public).digest()[:NODE_ID_SIZE].hex()


def is_signed(data: bytes, signature: bytes, public: bytes) -> bool:
    """Whether this is a signature of the data by the private half of this key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
