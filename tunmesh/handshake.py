"""The handshake by which two nodes prove to each other that they hold the mesh's secret.

    dialer                                                 listener
      │ hello: versions, key ids, nonce_d                      │
      │───────────────────────────────────────────────────────>│
      │                challenge: version, key id, nonce_l     │
      │<───────────────────────────────────────────────────────│
      │ proof: HMAC(K, "dialer" ‖ T ‖ record_d), record_d      │
      │───────────────────────────────────────────────────────>│  the dialer is authentic
      │   proof: HMAC(K, "listener" ‖ T ‖ message 3 ‖ record_l)│
      │<───────────────────────────────────────────────────────│
      │  the listener is authentic

    K = HKDF-SHA256(secret, info = "tunmesh/1 handshake")
    T = SHA-256(channel binding ‖ hello ‖ challenge)

The channel binding is the TLS exporter value of this very connection (RFC 9266, RFC 5705). It makes
a proof worthless on any other connection: somebody who has the certificate and its private key and
puts himself between two honest nodes holds two TLS sessions, with two exporter values. The role in
the MAC makes reflection worthless, the nonces make repetition worthless.

A key is named by its id, so that several secrets can be valid while one replaces the other. The id
is derived from the secret by the same one-way function and tells nothing about it.

A listener says nothing to a stranger but message 2. When no key or version is shared it says
nothing at all, and the closed connection is the answer.

The machine does no I/O, reads no clock and draws no numbers. It is a table: the state names the one
tag that may come next. After an error it refuses everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tunmesh import messages
from tunmesh.errors import PeerError
from tunmesh.messages import NodeRecord


@dataclass(frozen=True, slots=True)
class Key:
    """What one secret amounts to on the wire."""

    id: bytes
    mac_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes) -> Key:
        """The key of a mesh secret (RFC 5869, without salt)."""
        return cls(
            id=_hkdf(secret, messages.KEY_ID_SIZE, b"key id"),
            mac_key=_hkdf(secret, 32, b"handshake"),
        )


def _hkdf(secret: bytes, length: int, purpose: bytes) -> bytes:
    info = messages.PROTOCOL.encode("ascii") + b" " + purpose
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a message: bytes to send, and the peer once it is authentic."""

    send: bytes | None = None
    peer: NodeRecord | None = None


class _Machine:
    """What both roles share: the transcript and the two MACs."""

    def __init__(self, keys: Sequence[Key], record: bytes, nonce: bytes, binding: bytes) -> None:
        self.key_id = b""  # of the key in use, once one is chosen
        self._mac_key = b""
        self._keys = keys
        self._record = record
        self._nonce = nonce
        self._binding = binding
        self._expected: int | None = None
        self._transcript = b""

    def receive(self, payload: bytes) -> Step:
        """Take the peer's next message. Raises PeerError, after which every call does."""
        expected, self._expected = self._expected, None
        if not payload or payload[0] != expected:
            raise PeerError("unexpected", "a message that does not belong here in the handshake")
        return self._take(payload)

    def _take(self, payload: bytes) -> Step:
        raise NotImplementedError

    def _agree(self, key: Key, hello: bytes, challenge: bytes) -> None:
        """Both know now which key is used and what their proofs are about."""
        self.key_id, self._mac_key = key.id, key.mac_key
        self._transcript = hashlib.sha256(self._binding + hello + challenge).digest()

    def _mac(self, role: bytes, *parts: bytes) -> bytes:
        return hmac.digest(self._mac_key, b"".join((role, self._transcript, *parts)), "sha256")

    def _check(self, proof: messages.Proof, mac: bytes) -> NodeRecord:
        """The peer's record, when its proof is right: only then it is parsed."""
        if not hmac.compare_digest(proof.mac, mac):
            raise PeerError(
                "bad_proof",
                "its proof is wrong: its secret is another one, or somebody sits in between",
            )
        return messages.decode_record(proof.record)


class Dialer(_Machine):
    """The side that connected. It speaks first: send `hello`."""

    def __init__(self, keys: Sequence[Key], record: bytes, nonce: bytes, binding: bytes) -> None:
        super().__init__(keys, record, nonce, binding)
        ids = tuple(key.id for key in keys)
        self.hello = messages.encode_hello(messages.Hello((messages.VERSION,), ids, nonce))
        self._message_3 = b""
        self._expected = messages.CHALLENGE

    def _take(self, payload: bytes) -> Step:
        if payload[0] == messages.CHALLENGE:
            return self._challenged(payload)
        proof = messages.decode_proof(payload)
        mac = self._mac(b"listener", self._message_3, proof.record)
        return Step(peer=self._check(proof, mac))

    def _challenged(self, payload: bytes) -> Step:
        challenge = messages.decode_challenge(payload)
        if challenge.version != messages.VERSION:
            raise PeerError("version", f"it chose protocol version {challenge.version}, not ours")
        key = _find(self._keys, (challenge.key_id,))
        if key is None:
            raise PeerError("unknown_key", "it chose a key that was not offered")
        self._agree(key, self.hello, payload)
        proof = messages.Proof(self._mac(b"dialer", self._record), self._record)
        self._message_3 = messages.encode_proof(proof)
        self._expected = messages.PROOF
        return Step(send=self._message_3)


class Listener(_Machine):
    """The side that accepted. It only answers."""

    def __init__(self, keys: Sequence[Key], record: bytes, nonce: bytes, binding: bytes) -> None:
        super().__init__(keys, record, nonce, binding)
        self._expected = messages.HELLO

    def _take(self, payload: bytes) -> Step:
        if payload[0] == messages.HELLO:
            return self._greeted(payload)
        proof = messages.decode_proof(payload)
        peer = self._check(proof, self._mac(b"dialer", proof.record))
        mac = self._mac(b"listener", payload, self._record)
        return Step(send=messages.encode_proof(messages.Proof(mac, self._record)), peer=peer)

    def _greeted(self, payload: bytes) -> Step:
        hello = messages.decode_hello(payload)
        if messages.VERSION not in hello.versions:
            raise PeerError("version", f"it speaks protocol versions {hello.versions}, not ours")
        key = _find(self._keys, hello.key_ids)
        if key is None:
            raise PeerError("unknown_key", "it holds none of our secrets")
        challenge = messages.encode_challenge(
            messages.Challenge(messages.VERSION, key.id, self._nonce)
        )
        self._agree(key, payload, challenge)
        self._expected = messages.PROOF
        return Step(send=challenge)


def _find(keys: Sequence[Key], ids: Sequence[bytes]) -> Key | None:
    """Our most preferred key among those ids. Ids are public; their comparison need not be
    constant in time."""
    return next((key for key in keys if key.id in ids), None)
