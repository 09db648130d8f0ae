"""The handshake in which two nodes prove to each other that they hold the mesh's secret, and which
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

The channel binding is the TLS exporter value of the connection (RFC 9266, RFC 5705). It makes a
proof invalid on any other connection: a man in the middle who has the certificate and its private
key holds two TLS sessions, with two different exporter values. The role prevents reflection, the
nonces prevent replay.

The MAC proves membership, the signature proves which member: it is made with the node's own key,
from which the id in the record is derived (auth.node_key), and is bound to this connection. The
record carries a second signature by the same key that is independent of any connection
(auth.signing), so that others can pass it on.

A node record has a name, addresses and a version, and the dialer sends its own before the listener
has proved anything. So everything behind the MAC is encrypted with a key derived from the secret:
an attacker who has the certificate's key, and poses as a node, learns nothing. That key is specific
to one role on one connection and encrypts one message, so its nonce may be zero. Hello and
challenge reveal nothing about a node either.

A proof is checked from the outside in: the MAC, the AEAD, the signature, the record's own
signature, and finally the record. So a stranger cannot make a node decrypt, verify or parse
anything. The MAC also commits to the key: with AES-GCM alone, a message can be crafted that
decrypts under many keys, which would test many guesses at once.

Key ids allow several secrets to be valid during a rotation. The id of a key is different in each
handshake, so it cannot be used to correlate connections or nodes. The receiver of an id or a proof
can test guesses of the secret against it, which only a PAKE would avoid. So they are sent only to a
listener whose certificate the dialer trusts, and each guess costs an scrypt (16 MiB, some 45 ms)
and not just an HMAC.

To a stranger, a listener sends nothing but message 2. If no key or version is shared, it closes the
connection without an answer.

The machine does no I/O, reads no clock and uses no randomness of its own. It is a table: each state
names the one tag that may come next. After an error it refuses everything.
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
from tunmesh.errors import FailureReason, PeerError
from tunmesh.wire import messages, sizes
from tunmesh.wire.proofs import Challenge, Claim, Hello, Proof, decode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

_PROTOCOL = sizes.PROTOCOL.encode("ascii")
_KEY_SIZE = 32
_SEAL_NONCE = bytes(12)  # each key encrypts one message
_MAX_KEYS = 16  # derived keys that are cached; more than a config can have


@dataclass(frozen=True, slots=True)
class Key:
    """The keys derived from one secret."""

    id_key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    record_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes) -> Key:
        """Derive the keys of a mesh secret. This takes some 45 ms and 16 MiB, so the result is
        cached: a reload without a new secret must not cost that."""
        stretched = _stretched(secret)
        return cls(*(_hkdf(stretched, purpose) for purpose in (b"key id", b"handshake", b"record")))

    def id_for(self, nonce: bytes) -> bytes:
        """The id of this key in a handshake with this nonce of the dialer."""
        return hmac.digest(self.id_key, nonce, "sha256")[: sizes.KEY_ID_SIZE]


@lru_cache(_MAX_KEYS)
def _stretched(secret: bytes) -> bytes:
    """The secret, stretched to make guesses expensive (RFC 7914)."""
    scrypt = Scrypt(salt=_PROTOCOL, length=_KEY_SIZE, n=1 << 14, r=8, p=1)
    return scrypt.derive(secret)


def _hkdf(key: bytes, purpose: bytes) -> bytes:
    """RFC 5869, without salt."""
    info = _PROTOCOL + b" " + purpose
    return HKDF(algorithm=SHA256(), length=_KEY_SIZE, salt=None, info=info).derive(key)


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a message: bytes to send, and the peer once it is authentic, also with its
    signed record, by which it may be introduced to others."""

    send: bytes | None = None
    peer: NodeRecord | None = None
    signed: SignedRecord | None = None


class _Proofs:
    """The two proofs of a connection, once both ends have agreed on a key."""

    def __init__(self, key: Key, binding: bytes, hello: bytes, challenge: bytes) -> None:
        self._key = key
        self._transcript = hashlib.sha256(binding + hello + challenge).digest()

    def make(self, role: bytes, message_3: bytes, me: NodeKey, shown: bytes) -> bytes:
        """Our proof, encoded."""
        about = self._about(role, message_3)
        claim = Claim(me.sign(about + shown), shown).encode()
        sealed = self._seal(role).encrypt(_SEAL_NONCE, claim, None)
        return Proof(self._mac(about + sealed), sealed).encode()

    def check(
        self, payload: bytes, role: bytes, message_3: bytes
    ) -> tuple[NodeRecord, SignedRecord]:
        """The peer's record, which is parsed only if its proof is valid."""
        proof = Proof.decode(payload)
        about = self._about(role, message_3)
        if not hmac.compare_digest(proof.mac, self._mac(about + proof.sealed)):
            raise PeerError(
                FailureReason.BAD_PROOF,
                "its proof is wrong: its secret is another one, or somebody sits in between",
            )
        try:
            opened = self._seal(role).decrypt(_SEAL_NONCE, proof.sealed, None)
        except InvalidTag:
            raise PeerError(
                FailureReason.BAD_PROOF, "what its proof seals cannot be opened"
            ) from None
        claim = Claim.decode(opened)
        signed, is_settled = decode_shown(claim.shown)
        if not is_signed(about + claim.shown, claim.signature, signed.public_key):
            raise PeerError(
                FailureReason.BAD_PROOF, "its signature is wrong: the key it shows is not its own"
            )
        return replace(signing.verify(signed), settled=is_settled), signed

    def _about(self, role: bytes, message_3: bytes) -> bytes:
        """What a proof covers besides the claim that it seals."""
        return role + self._transcript + message_3

    def _mac(self, statement: bytes) -> bytes:
        return hmac.digest(self._key.mac_key, statement, "sha256")

    def _seal(self, role: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._key.record_key, role + self._transcript, "sha256"))


class _Machine:
    """The common part of both roles. `shown` is what this end presents of itself (encode_shown)."""

    _proofs: _Proofs  # set once a key is agreed on

    def __init__(
        self, keys: Sequence[Key], me: NodeKey, shown: bytes, nonce: bytes, binding: bytes
    ) -> None:
        self.key: Key | None = None  # the key in use, once it is chosen
        self._keys = keys
        self._me = me
        self.shown = shown
        self._nonce = nonce
        self._binding = binding
        self._expected: int | None = None

    def receive(self, payload: bytes) -> Step:
        """Process the peer's next message. Raises PeerError, after which every further call
        does."""
        expected, self._expected = self._expected, None
        if not payload or payload[0] != expected:
            raise PeerError(
                FailureReason.UNEXPECTED, "a message that does not belong here in the handshake"
            )
        return self._take(payload)

    def _take(self, payload: bytes) -> Step:
        raise NotImplementedError

    def _agree(self, key: Key, hello: bytes, challenge: bytes) -> None:
        """Both ends now know which key is used and what their proofs cover."""
        self.key, self._proofs = key, _Proofs(key, self._binding, hello, challenge)


class Dialer(_Machine):
    """The end that connected. It speaks first: send `hello`."""

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
        """Whether the other end chose one of our keys and was sent our proof."""
        return bool(self._message_3)

    def _take(self, payload: bytes) -> Step:
        if payload[0] == messages.CHALLENGE:
            return self._challenged(payload)
        return Step(None, *self._proofs.check(payload, b"listener", self._message_3))

    def _challenged(self, payload: bytes) -> Step:
        challenge = Challenge.decode(payload)
        if challenge.version != sizes.VERSION:
            raise PeerError(
                FailureReason.VERSION, f"it chose protocol version {challenge.version}, not ours"
            )
        key = _find(self._keys, (challenge.key_id,), self._nonce)
        if key is None:
            raise PeerError(FailureReason.UNKNOWN_KEY, "it chose a key that was not offered")
        self._agree(key, self.hello, payload)
        self._message_3 = self._proofs.make(b"dialer", b"", self._me, self.shown)
        self._expected = messages.PROOF
        return Step(send=self._message_3)


class Listener(_Machine):
    """The end that accepted. It only answers."""

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
            raise PeerError(
                FailureReason.VERSION, f"it speaks protocol versions {hello.versions}, not ours"
            )
        key = _find(self._keys, hello.key_ids, hello.nonce)
        if key is None:
            raise PeerError(FailureReason.UNKNOWN_KEY, "it holds none of our secrets")
        challenge = Challenge(sizes.VERSION, key.id_for(hello.nonce), self._nonce).encode()
        self._agree(key, payload, challenge)
        self._expected = messages.PROOF
        return Step(send=challenge)


def _find(keys: Sequence[Key], ids: Sequence[bytes], nonce: bytes) -> Key | None:
    """Our most preferred key among those ids. The comparison need not take constant time: an id is
    valid for one handshake, and only the dialer chooses its nonce."""
    return next((key for key in keys if key.id_for(nonce) in ids), None)
