"""The handshake by which two nodes prove to each other that they hold the mesh's secret, and which
node they are.

    dialer                                                 listener
      │ hello: versions, key ids, nonce_d                      │
      │───────────────────────────────────────────────────────>│
      │                challenge: version, key id, nonce_l     │
      │<───────────────────────────────────────────────────────│
      │ proof: MAC, sealed (signature, signed record)          │
      │───────────────────────────────────────────────────────>│  the dialer is authentic
      │          proof: MAC, sealed (signature, signed record) │
      │<───────────────────────────────────────────────────────│
      │  the listener is authentic

    MAC = HMAC-SHA256(K, about ‖ sealed)
    sealed = AES-256-GCM(HMAC-SHA256(R, role ‖ T), nonce 0, signature ‖ shown)
    signature = Ed25519(about ‖ shown)
    shown = settled ‖ signed record: public key ‖ signature ‖ record
    about = role ‖ T for the dialer, role ‖ T ‖ message 3 for the listener
    role = "dialer" or "listener"
    S = scrypt(secret, salt = "tunmesh/1", N = 2^14, r = 8, p = 1)
    K = HKDF-SHA256(S, info = "tunmesh/1 handshake")
    R = HKDF-SHA256(S, info = "tunmesh/1 record")
    T = SHA-256(channel binding ‖ hello ‖ challenge)
    key id = the first 8 bytes of HMAC-SHA256(HKDF-SHA256(S, info = "tunmesh/1 key id"), nonce_d)

The channel binding is the TLS exporter value of this very connection (RFC 9266, RFC 5705). It makes
a proof worthless on any other connection: somebody who has the certificate and its private key and
puts himself between two honest nodes holds two TLS sessions, with two exporter values. The role in
what is proved makes reflection worthless, the nonces make repetition worthless.

The MAC says "a member", the signature says which one: it is by the node's own key, of which the id
in the record is made (auth.node_key). It is of this connection. The record is signed by the same
key once more, and for itself (auth.signing), for others to pass on.

A node record has a name, addresses and a version, and the dialer has to send its own before the
listener has proved anything. So everything behind the MAC is sealed by the secret: somebody who has
the certificate's key, and poses as a node, learns nothing. The key of a seal is of one role on one
connection and seals once, so its nonce may be zero. Hello and challenge say nothing of a node
either.

A proof is checked from the outside to the inside: the MAC, then the seal, the signature, the
record's own one, and the record last. So a stranger cannot make a node decrypt, verify or parse
anything. The MAC also says which secret it is: under AES-GCM alone a message can be made that opens
under many keys, and would test many guesses at once.

A key is named by its id, so that several secrets can be valid while one replaces the other. The id
is another one in each handshake: it links neither two connections nor two nodes. Whoever receives
an id or a proof can test guesses of the secret against it, and no handshake but a PAKE avoids that.
So they go only to a listener whose certificate the dialer trusts, and each guess costs an scrypt
(16 MiB, some 45 ms) and not only an HMAC.

A listener says nothing to a stranger but message 2. When no key or version is shared it says
nothing at all, and the closed connection is the answer.

The machine does no I/O, reads no clock and draws no numbers. It is a table: the state names the one
tag that may come next. After an error it refuses everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tunmesh.auth import signing
from tunmesh.auth.node_key import NodeKey, is_signed
from tunmesh.errors import PeerError
from tunmesh.wire import messages, sizes
from tunmesh.wire.proofs import Challenge, Claim, Hello, Proof, decode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

_PROTOCOL = sizes.PROTOCOL.encode("ascii")
_KEY_SIZE = 32
_SEAL_NONCE = bytes(12)  # each key seals once
MAX_KEYS = 16  # derived and remembered; more than a config can have


@dataclass(frozen=True, slots=True)
class Key:
    """What one secret amounts to on the wire."""

    id_key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    record_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes) -> Key:
        """The key of a mesh secret. It takes some 45 ms and 16 MiB the first time: a reload that
        brings no new secret must not cost that."""
        stretched = _stretched(secret)
        return cls(*(_hkdf(stretched, purpose) for purpose in (b"key id", b"handshake", b"record")))

    def id_for(self, nonce: bytes) -> bytes:
        """The id of this key in a handshake whose dialer chose this nonce."""
        return hmac.digest(self.id_key, nonce, "sha256")[: sizes.KEY_ID_SIZE]


@lru_cache(MAX_KEYS)
def _stretched(secret: bytes) -> bytes:
    """The secret, made expensive to guess (RFC 7914)."""
    scrypt = Scrypt(salt=_PROTOCOL, length=_KEY_SIZE, n=1 << 14, r=8, p=1)
    return scrypt.derive(secret)


def _hkdf(key: bytes, purpose: bytes) -> bytes:
    """RFC 5869, without salt."""
    info = _PROTOCOL + b" " + purpose
    return HKDF(algorithm=SHA256(), length=_KEY_SIZE, salt=None, info=info).derive(key)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a message: bytes to send, and the peer once it is authentic, also as it
    may be introduced to others."""

    send: bytes | None = None
    peer: NodeRecord | None = None
    signed: SignedRecord | None = None


class _Proofs:
    """The two proofs of one connection, once both ends know which key they use."""

    def __init__(self, key: Key, binding: bytes, hello: bytes, challenge: bytes) -> None:
        self._key = key
        self._transcript = hashlib.sha256(binding + hello + challenge).digest()

    def make(self, role: bytes, message_3: bytes, me: NodeKey, shown: bytes) -> bytes:
        """Our proof, as a message."""
        about = self._about(role, message_3)
        claim = Claim(me.sign(about + shown), shown).encode()
        sealed = self._seal(role).encrypt(_SEAL_NONCE, claim, None)
        return Proof(self._mac(about + sealed), sealed).encode()

    def check(
        self, payload: bytes, role: bytes, message_3: bytes
    ) -> tuple[NodeRecord, SignedRecord]:
        """The peer's record, when its proof is right: only then it is parsed."""
        proof = Proof.decode(payload)
        about = self._about(role, message_3)
        if not hmac.compare_digest(proof.mac, self._mac(about + proof.sealed)):
            raise PeerError(
                "bad_proof",
                "its proof is wrong: its secret is another one, or somebody sits in between",
            )
        try:
            opened = self._seal(role).decrypt(_SEAL_NONCE, proof.sealed, None)
        except InvalidTag:
            raise PeerError("bad_proof", "what its proof seals cannot be opened") from None
        claim = Claim.decode(opened)
        signed, is_settled = decode_shown(claim.shown)
        if not is_signed(about + claim.shown, claim.signature, signed.public_key):
            raise PeerError("bad_proof", "its signature is wrong: the key it shows is not its own")
        return replace(signing.verify(signed), settled=is_settled), signed

    def _about(self, role: bytes, message_3: bytes) -> bytes:
        """What a proof is about, beside what it seals."""
        return role + self._transcript + message_3

    def _mac(self, statement: bytes) -> bytes:
        return hmac.digest(self._key.mac_key, statement, "sha256")

    def _seal(self, role: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._key.record_key, role + self._transcript, "sha256"))


class _Machine:
    """What both roles share. `shown` is what this end shows of itself (encode_shown)."""

    _proofs: _Proofs  # once a key is agreed on

    def __init__(
        self, keys: Sequence[Key], me: NodeKey, shown: bytes, nonce: bytes, binding: bytes
    ) -> None:
        self.key: Key | None = None  # the one in use, once it is chosen
        self._keys = keys
        self._me = me
        self.shown = shown
        self._nonce = nonce
        self._binding = binding
        self._expected: int | None = None

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
        self.key, self._proofs = key, _Proofs(key, self._binding, hello, challenge)


class Dialer(_Machine):
    """The side that connected. It speaks first: send `hello`."""

    def __init__(
        self, keys: Sequence[Key], me: NodeKey, shown: bytes, nonce: bytes, binding: bytes
    ) -> None:
        super().__init__(keys, me, shown, nonce, binding)
        ids = tuple(key.id_for(nonce) for key in keys)
        self.hello = Hello((sizes.VERSION,), ids, nonce).encode()
        self._message_3 = b""
        self._expected = messages.CHALLENGE

    @property
    def has_proved(self) -> bool:
        """Whether the other end has chosen one of our keys and was sent our proof."""
        return bool(self._message_3)

    def _take(self, payload: bytes) -> Step:
        if payload[0] == messages.CHALLENGE:
            return self._challenged(payload)
        return Step(None, *self._proofs.check(payload, b"listener", self._message_3))

    def _challenged(self, payload: bytes) -> Step:
        challenge = Challenge.decode(payload)
        if challenge.version != sizes.VERSION:
            raise PeerError("version", f"it chose protocol version {challenge.version}, not ours")
        key = _find(self._keys, (challenge.key_id,), self._nonce)
        if key is None:
            raise PeerError("unknown_key", "it chose a key that was not offered")
        self._agree(key, self.hello, payload)
        self._message_3 = self._proofs.make(b"dialer", b"", self._me, self.shown)
        self._expected = messages.PROOF
        return Step(send=self._message_3)


class Listener(_Machine):
    """The side that accepted. It only answers."""

    def __init__(
        self, keys: Sequence[Key], me: NodeKey, shown: bytes, nonce: bytes, binding: bytes
    ) -> None:
        super().__init__(keys, me, shown, nonce, binding)
        self._expected = messages.HELLO

    def _take(self, payload: bytes) -> Step:
        if payload[0] == messages.HELLO:
            return self._greeted(payload)
        peer, signed = self._proofs.check(payload, b"dialer", b"")
        return Step(self._proofs.make(b"listener", payload, self._me, self.shown), peer, signed)

    def _greeted(self, payload: bytes) -> Step:
        hello = Hello.decode(payload)
        if sizes.VERSION not in hello.versions:
            raise PeerError("version", f"it speaks protocol versions {hello.versions}, not ours")
        key = _find(self._keys, hello.key_ids, hello.nonce)
        if key is None:
            raise PeerError("unknown_key", "it holds none of our secrets")
        challenge = Challenge(sizes.VERSION, key.id_for(hello.nonce), self._nonce).encode()
        self._agree(key, payload, challenge)
        self._expected = messages.PROOF
        return Step(send=challenge)


def _find(keys: Sequence[Key], ids: Sequence[bytes], nonce: bytes) -> Key | None:
    """Our most preferred key among those ids. Their comparison need not be constant in time: an id
    is good for one handshake, and its nonce is the dialer's choice only."""
    return next((key for key in keys if key.id_for(nonce) in ids), None)
