"""Two ends of a handshake, and a wire between them on which messages may be changed."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.auth.handshake import Dialer, Key, Listener
from tunmesh.auth.node_key import SEED_SIZE, NodeKey, id_of
from tunmesh.auth.signing import show, sign
from tunmesh.errors import PeerError
from tunmesh.wire import sizes
from tunmesh.wire.proofs import Claim
from tunmesh.wire.records import NodeRecord

SECRET = b"correct-horse-battery-staple-0123456789"
KEY = Key.derive(SECRET)
NEW_KEY = Key.derive(b"the secret that follows it, some day later")
STRANGER = Key.derive(b"the secret of quite another mesh over there")
BINDING = b"\xb1" * 32  # the exporter value at both ends of one TLS connection
OTHER_BINDING = b"\xb2" * 32
NONCE_D, NONCE_L = b"d" * 32, b"l" * 32
KEY_D, KEY_L, KEY_M = (NodeKey.of(bytes((number,)) * SEED_SIZE) for number in (1, 2, 3))
REASONS = {"unexpected", "malformed", "version", "unknown_key", "bad_proof"}


def record_of(name: str, me: NodeKey) -> NodeRecord:
    address = ip_interface(f"10.77.1.{len(name)}/24")
    return NodeRecord(me.id, name, 1795644308123, f"https://{name}:4567", (address,), "0.1.0")


DIALER, LISTENER = record_of("dialer", KEY_D), record_of("listener", KEY_L)


def dialer(
    keys: Sequence[Key] = (KEY,),
    binding: bytes = BINDING,
    nonce: bytes = NONCE_D,
    me: NodeKey = KEY_D,
) -> Dialer:
    return Dialer(keys, me, show(DIALER, me), nonce, binding)


def listener(
    keys: Sequence[Key] = (KEY,),
    binding: bytes = BINDING,
    nonce: bytes = NONCE_L,
    me: NodeKey = KEY_L,
) -> Listener:
    return Listener(keys, me, show(LISTENER, me), nonce, binding)


def scrypt(secret: bytes) -> bytes:
    """The stretched secret, by another implementation."""
    return hashlib.scrypt(secret, salt=b"tunmesh/1", n=1 << 14, r=8, p=1, dklen=32)


@dataclass
class Story:
    """The course of a handshake: the messages delivered, the authentic peers, and the error."""

    carried: list[bytes] = field(default_factory=list)
    dialer_seen: NodeRecord | None = None  # the peer that the listener has authenticated
    listener_seen: NodeRecord | None = None
    reason: str | None = None

    @property
    def neither_was_authentic(self) -> bool:
        return self.dialer_seen is None and self.listener_seen is None


def tell(
    one: Dialer, other: Listener, tamper: Callable[[int, bytes], bytes] = lambda _, message: message
) -> Story:
    """Run both ends. `tamper` is given the number of each message, from 1, and may change it."""
    story = Story()

    def carry(message: bytes | None) -> bytes:
        assert message is not None
        story.carried.append(tamper(len(story.carried) + 1, message))
        return story.carried[-1]

    try:
        challenge = other.receive(carry(one.hello)).send
        proof = one.receive(carry(challenge)).send
        answer = other.receive(carry(proof))
        story.dialer_seen = answer.peer
        story.listener_seen = one.receive(carry(answer.send)).peer
    except PeerError as error:
        story.reason = error.reason
    return story


def instead(number: int, replacement: bytes) -> Callable[[int, bytes], bytes]:
    """A `tamper` that delivers this instead of that message."""
    return lambda current, message: replacement if current == number else message


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 for up to one block: extract with a salt of zeros, then expand once."""
    return hmac_sha256(hmac_sha256(bytes(32), secret), info + b"\x01")[:length]


def signed(seed: int, statement: bytes, with_key: bool = False) -> bytes:
    """The signature, optionally preceded by the public key, as in a signed record."""
    private = Ed25519PrivateKey.from_private_bytes(bytes((seed,)) * 32)
    public = private.public_key().public_bytes_raw() if with_key else b""
    return public + private.sign(statement)


@dataclass
class Conversation:
    """The proofs of one handshake, made and opened by a holder of the secret, implemented from the
    RFCs and the protocol's description. Numbers are those of the messages."""

    hello: bytes
    challenge: bytes
    message_3: bytes = b""
    binding: bytes = BINDING
    secret: bytes = SECRET

    def __post_init__(self) -> None:
        stretched = scrypt(self.secret)
        self.key, self.record_key = (
            hkdf(stretched, b"tunmesh/1 " + purpose, 32) for purpose in (b"handshake", b"record")
        )

    def about(self, number: int) -> bytes:
        transcript = hashlib.sha256(self.binding + self.hello + self.challenge).digest()
        return b"dialer" + transcript if number == 3 else b"listener" + transcript + self.message_3

    def proof(self, number: int, claim: bytes) -> bytes:
        encryptor = self._cipher(number).encryptor()
        sealed = encryptor.update(claim) + encryptor.finalize() + encryptor.tag
        return b"P" + hmac_sha256(self.key, self.about(number) + sealed) + sealed

    def open(self, number: int, proof: bytes) -> Claim:
        sealed = proof[1 + 32 : -16]
        return Claim.decode(self._cipher(number, proof[-16:]).decryptor().update(sealed))

    def _cipher(self, number: int, tag: bytes | None = None) -> Cipher[GCM]:
        role = b"dialer" if number == 3 else b"listener"
        transcript = self.about(3).removeprefix(b"dialer")
        return Cipher(AES256(hmac_sha256(self.record_key, role + transcript)), GCM(bytes(12), tag))


HONEST = tell(dialer(), listener())
KNOWN = Conversation(*HONEST.carried[:3])


class Case(unittest.SynchronousTestCase):
    """Assertions about a story or a machine."""

    def refuses(self, machine: Dialer | Listener, message: bytes, reason: str) -> None:
        """The machine refuses this message, and everything after it."""
        error = self.assertRaises(PeerError, machine.receive, message)
        self.assertEqual(error.reason, reason, message)
        for message in (*HONEST.carried, b"", b"x"):
            error = self.assertRaises(PeerError, machine.receive, message)
            self.assertEqual(error.reason, "unexpected")

    def fails_at(self, number: int, reason: str, story: Story) -> None:
        """The story ended with the refusal of that message, and neither end was authentic
        before."""
        self.assertEqual((len(story.carried), story.reason), (number, reason))
        self.assertIsNone(story.listener_seen)
        if number < 4:
            self.assertTrue(story.neither_was_authentic)

    def succeeds(self, story: Story) -> None:
        self.assertEqual(
            (story.reason, story.dialer_seen, story.listener_seen), (None, DIALER, LISTENER)
        )


class Agreement(Case):
    """Two nodes that share a secret."""

    def test_exchange(self) -> None:
        """After four messages each end knows the identity of the other."""
        story = tell(dialer(), listener())
        self.succeeds(story)
        self.assertEqual([message[:1] for message in story.carried], [b"H", b"C", b"P", b"P"])

    def test_only_then(self) -> None:
        """The listener trusts after the third message, the dialer after the fourth, and not
        earlier."""
        one, other = dialer(), listener()
        challenged = other.receive(one.hello)
        self.assertIsNone(challenged.peer)
        proved = one.receive(challenged.send or b"")
        self.assertIsNone(proved.peer)
        answered = other.receive(proved.send or b"")
        self.assertEqual(answered.peer, DIALER)
        done = one.receive(answered.send or b"")
        self.assertEqual((done.peer, done.send), (LISTENER, None))

    def test_known_answer(self) -> None:
        """Every byte of the four messages equals one computed from the RFCs and the protocol's
        description."""
        stretched = scrypt(SECRET)
        key_id = hmac_sha256(hkdf(stretched, b"tunmesh/1 key id", 32), NONCE_D)[:8]
        hello = b"H\x01\x01\x01" + key_id + NONCE_D
        challenge = b"C\x01" + key_id + NONCE_L
        shown_d, shown_l = (
            b"\0" + signed(seed, b"tunmesh/1 record" + record, with_key=True) + record
            for seed, record in ((1, DIALER.encode()), (2, LISTENER.encode()))
        )
        told = Conversation(hello, challenge)
        proof_d = told.proof(3, signed(1, told.about(3) + shown_d) + shown_d)
        told.message_3 = proof_d
        proof_l = told.proof(4, signed(2, told.about(4) + shown_l) + shown_l)
        self.assertEqual(HONEST.carried, [hello, challenge, proof_d, proof_l])

    def test_key(self) -> None:
        """Keys are derived by scrypt and HKDF-SHA256, from long secrets too. The id of a key is
        different in each handshake."""
        for secret in (SECRET, b"s" * 200):
            key = Key.derive(secret)
            id_key = hkdf(scrypt(secret), b"tunmesh/1 key id", 32)
            self.assertEqual(key.mac_key, hkdf(scrypt(secret), b"tunmesh/1 handshake", 32))
            self.assertEqual(key.record_key, hkdf(scrypt(secret), b"tunmesh/1 record", 32))
            for nonce in (NONCE_D, NONCE_L):
                self.assertEqual(key.id_for(nonce), hmac_sha256(id_key, nonce)[:8])
        self.assertNotEqual(KEY.id_for(NONCE_D), KEY.id_for(NONCE_L))

    def test_guesses_are_expensive(self) -> None:
        """Testing a guess against an id or a proof takes an scrypt: 16 MiB, and at least a hundred
        times the CPU time of an HKDF."""
        began = time.thread_time()
        Key.derive(b"a guess that nobody has made before now")
        guess = time.thread_time() - began
        began = time.thread_time()
        for _ in range(100):
            hkdf(SECRET, b"tunmesh/1 key id", 8)
        self.assertGreater(guess, time.thread_time() - began)

    def test_repr_hides_the_key(self) -> None:
        """The repr of a key does not reveal it."""
        self.assertEqual(repr(KEY), "Key()")

    def test_nothing_follows(self) -> None:
        """After the last message of the handshake neither end accepts another one."""
        for message in (*HONEST.carried, b"", b"D"):
            one, other = dialer(), listener()
            self.succeeds(tell(one, other))
            self.refuses(one, message, "unexpected")
            self.refuses(other, message, "unexpected")


class Rotation(Case):
    """Several secrets, during a rotation."""

    def test_every_overlap(self) -> None:
        """Two nodes that share any secret are linked; the listener's preference decides."""
        old, new = (KEY,), (NEW_KEY,)
        for dialed, listened, chosen in (
            (old, (NEW_KEY, KEY), KEY),
            (new, (KEY, NEW_KEY), NEW_KEY),
            ((KEY, NEW_KEY), old, KEY),
            ((NEW_KEY, KEY), old, KEY),
            ((KEY, NEW_KEY), (NEW_KEY, KEY), NEW_KEY),
            ((NEW_KEY, KEY), (KEY, NEW_KEY), KEY),
            ((STRANGER, KEY), (NEW_KEY, KEY), KEY),
        ):
            one, other = dialer(dialed), listener(listened)
            self.succeeds(tell(one, other))
            self.assertEqual((one.key, other.key), (chosen, chosen))

    def test_downgrade(self) -> None:
        """Removing the new secret from an offer on the wire is detected at the first proof."""
        both = (NEW_KEY, KEY)
        poorer = dialer((KEY,)).hello
        self.fails_at(3, "bad_proof", tell(dialer(both), listener(both), instead(1, poorer)))

    def test_sixteen_offers(self) -> None:
        """Sixteen secrets may be offered, but not seventeen."""
        many = [Key.derive(b"%d" % number) for number in range(16)]
        self.succeeds(tell(dialer([*many[:15], KEY]), listener()))
        self.fails_at(1, "malformed", tell(dialer([*many, KEY]), listener()))


class Strangers(Case):
    """Nodes that do not share a secret or a version."""

    def test_wrong_secret(self) -> None:
        """A stranger gets no answer at all."""
        other = listener((KEY, NEW_KEY))
        self.refuses(other, dialer((STRANGER,)).hello, "unknown_key")

    def test_right_id_wrong_key(self) -> None:
        """An end that knows a key's id but not the key fails at the first proof, in either role."""
        fake = replace(STRANGER, id_key=KEY.id_key)
        self.fails_at(3, "bad_proof", tell(dialer((fake,)), listener()))
        self.fails_at(3, "bad_proof", tell(dialer(), listener((fake,))))

    def test_false_listener(self) -> None:
        """A listener that accepts any proof still cannot make one."""
        guess = b"P" + bytes(96) + show(LISTENER, KEY_L) + bytes(16)
        self.fails_at(4, "bad_proof", tell(dialer(), listener(), instead(4, guess)))

    def test_versions(self) -> None:
        """An unknown version is refused; a known one is found among others."""
        newer = b"H\x01\x02" + HONEST.carried[0][3:]
        self.refuses(listener(), newer, "version")
        both = b"H\x02\x02\x01" + HONEST.carried[0][3:]
        self.assertEqual(listener().receive(both).send, HONEST.carried[1])

    def test_chosen_version(self) -> None:
        """A dialer refuses a version that it did not offer."""
        for version in (0, 2, 255):
            challenge = b"C" + bytes((version,)) + HONEST.carried[1][2:]
            self.refuses(dialer(), challenge, "version")

    def test_chosen_key(self) -> None:
        """A dialer refuses a key that it did not offer."""
        challenge = b"C\x01" + STRANGER.id_for(NONCE_D) + NONCE_L
        self.refuses(dialer(), challenge, "unknown_key")

    def test_counts(self) -> None:
        """A hello with too many items is malformed, whatever follows."""
        hello = HONEST.carried[0]
        for count in (0, 2, 16, 17, 255):
            self.refuses(listener(), b"H" + bytes((count,)) + hello[2:], "malformed")
            self.refuses(listener(), hello[:3] + bytes((count,)) + hello[4:], "malformed")
        self.refuses(listener(), b"H\x11" + b"\x01" * 17 + hello[3:], "malformed")


class Tampering(Case):
    """A man in the middle, or a broken peer."""

    def test_truncated(self) -> None:
        """A truncated message ends the handshake."""
        for number, message in enumerate(HONEST.carried, 1):
            for size in range(len(message)):
                one, other = dialer(), listener()
                story = tell(one, other, instead(number, message[:size]))
                reason = "unexpected" if size == 0 else "malformed"
                if number > 2 and size > sizes.PROOF_SIZE:
                    reason = "bad_proof"
                self.fails_at(number, reason, story)
                self.refuses(other if number % 2 else one, message, "unexpected")

    def test_extended(self) -> None:
        """A message with an extra byte ends the handshake."""
        for number, message in enumerate(HONEST.carried, 1):
            story = tell(dialer(), listener(), instead(number, message + b"\0"))
            self.fails_at(number, "malformed" if number < 3 else "bad_proof", story)

    def test_flipped(self) -> None:
        """One flipped bit anywhere ends the handshake: when it is parsed, or at the next proof."""
        for number, message in enumerate(HONEST.carried, 1):
            for position in range(len(message)):
                for mask in (0x01, 0x80, 0xFF):
                    changed = bytearray(message)
                    changed[position] ^= mask
                    story = tell(dialer(), listener(), instead(number, bytes(changed)))
                    self.assertIn(story.reason, REASONS)
                    self.assertIn(len(story.carried), {number, max(number, 3)})
                    self.assertIsNone(story.listener_seen)
                    self.assertEqual(story.dialer_seen is None, number < 4)

    def test_flipped_nonce(self) -> None:
        """A changed nonce is well formed, but then the key ids do not match, or the first proof
        fails."""
        for number, failing, reason in ((1, 1, "unknown_key"), (2, 3, "bad_proof")):
            message = HONEST.carried[number - 1]
            changed = message[:-1] + bytes((message[-1] ^ 1,))
            self.fails_at(failing, reason, tell(dialer(), listener(), instead(number, changed)))

    def test_out_of_order(self) -> None:
        """Each end accepts exactly one kind of message at a time; any other, or a repeated one,
        ends the handshake."""
        steps: tuple[tuple[Callable[[], Dialer | Listener], tuple[int, ...], int], ...] = (
            (listener, (), 1),
            (listener, (1,), 3),
            (dialer, (), 2),
            (dialer, (2,), 4),
        )
        for make, before, following in steps:
            right = HONEST.carried[following - 1]
            for message in (*HONEST.carried, *(bytes((tag,)) + right[1:] for tag in range(256))):
                if message[:1] == right[:1]:
                    continue
                machine = make()
                for number in before:
                    machine.receive(HONEST.carried[number - 1])
                self.refuses(machine, message, "unexpected")

    def test_record_is_not_read_before_the_proof(self) -> None:
        """A record is parsed only if its proof is valid, and then it must be a valid record."""
        garbage = b"P" + bytes(sizes.PROOF_SIZE - 1) + b"{"
        self.fails_at(3, "bad_proof", tell(dialer(), listener(), instead(3, garbage)))
        shown_d, shown_l = (
            b"\0" + signed(seed, b"tunmesh/1 record{", with_key=True) + b"{" for seed in (1, 2)
        )
        one = Dialer((KEY,), KEY_D, shown_d, NONCE_D, BINDING)
        self.fails_at(3, "malformed", tell(one, listener()))
        other = Listener((KEY,), KEY_L, shown_l, NONCE_L, BINDING)
        self.fails_at(4, "malformed", tell(dialer(), other))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([*HONEST.carried, b""]) | st.binary(max_size=50), max_size=5))
    def test_garbage(self, received: list[bytes]) -> None:
        """Without the secret, no sequence of messages makes a machine with a new nonce trust the
        peer."""
        for machine in (dialer(nonce=b"x" * 32), listener(nonce=b"x" * 32)):
            for message in received:
                try:
                    self.assertIsNone(machine.receive(message).peer)
                except PeerError:
                    break


class Replay(Case):
    """A recorded handshake, replayed."""

    def test_against_a_listener(self) -> None:
        """A recorded dialer fails against a listener with a new nonce."""
        hello, _, proof, _ = HONEST.carried
        other = listener(nonce=b"x" * 32)
        other.receive(hello)
        self.refuses(other, proof, "bad_proof")

    def test_against_a_dialer(self) -> None:
        """A recorded listener fails against a dialer with a new nonce: the key's id is different
        now, and an attacker who knows it has no proof."""
        _, challenge, _, proof = HONEST.carried
        nonce = b"x" * 32
        self.refuses(dialer(nonce=nonce), challenge, "unknown_key")
        one = dialer(nonce=nonce)
        one.receive(b"C\x01" + KEY.id_for(nonce) + NONCE_L)
        self.refuses(one, proof, "bad_proof")

    def test_on_another_connection(self) -> None:
        """Even with the same nonces, a recorded handshake fails on another TLS connection."""
        hello, challenge, proof_d, proof_l = HONEST.carried
        other, one = listener(binding=OTHER_BINDING), dialer(binding=OTHER_BINDING)
        other.receive(hello)
        self.refuses(other, proof_d, "bad_proof")
        one.receive(challenge)
        self.refuses(one, proof_l, "bad_proof")


class Splice(Case):
    """A man in the middle with the certificate and its key, between two honest nodes."""

    def test_relayed(self) -> None:
        """Messages forwarded between two TLS connections fail at the first proof."""
        story = tell(dialer(), listener(binding=OTHER_BINDING))
        self.fails_at(3, "bad_proof", story)

    def test_relayed_to_itself(self) -> None:
        """The same holds if both ends are one node, which was dialed while it dialed."""
        one = dialer()
        other = Listener((KEY,), KEY_D, show(DIALER, KEY_D), NONCE_L, OTHER_BINDING)
        self.fails_at(3, "bad_proof", tell(one, other))


class Reflection(Case):
    """Messages sent back to their sender."""

    def test_proof(self) -> None:
        """A dialer's own proof is not valid for the dialer."""
        story = tell(dialer(), listener(), instead(4, HONEST.carried[2]))
        self.fails_at(4, "bad_proof", story)

    def test_listeners_proof(self) -> None:
        """A listener's proof is not valid for a listener."""
        story = tell(dialer(), listener(), instead(3, HONEST.carried[3]))
        self.fails_at(3, "bad_proof", story)

    def test_two_dialers(self) -> None:
        """Two dialers refuse each other's messages."""
        self.refuses(dialer(), dialer(nonce=b"x" * 32).hello, "unexpected")
        self.refuses(dialer(), dialer().hello, "unexpected")

    def test_two_listeners(self) -> None:
        """Two listeners refuse each other's messages."""
        self.refuses(listener(), HONEST.carried[1], "unexpected")
        challenged = listener()
        challenged.receive(HONEST.carried[0])
        self.refuses(challenged, HONEST.carried[1], "unexpected")


class Impersonation(Case):
    """A member, who holds the secret, claims to be another node. The MACs of these proofs are
    valid, except in two tests."""

    WHOSE_ID = "its id is not of its key: it claims to be another node"
    WHOSE_KEY = "its signature is wrong: the key it shows is not its own"

    def forged(self, number: int, **fields: bytes) -> bytes:
        """The honest proof with other contents, sealed and with a MAC as required."""
        claim = KNOWN.open(number, HONEST.carried[number - 1])
        return KNOWN.proof(number, replace(claim, **fields).encode())

    def refused(self, number: int, message: bytes, why: str) -> None:
        """The machine that gets this as the third or fourth message refuses it for this reason."""
        machine: Dialer | Listener = listener() if number == 3 else dialer()
        machine.receive(HONEST.carried[number - 3])
        error = self.assertRaises(PeerError, machine.receive, message)
        self.assertEqual((error.reason, str(error)), ("bad_proof", why))
        self.refuses(machine, message, "unexpected")

    def test_record_of_another_node(self) -> None:
        """Another node's whole record with the attacker's own key is refused, in both roles."""
        story = tell(dialer(me=KEY_M), listener())
        self.fails_at(3, "bad_proof", story)
        self.refused(3, story.carried[2], self.WHOSE_ID)
        story = tell(dialer(), listener(me=KEY_M))
        self.fails_at(4, "bad_proof", story)
        self.refused(4, story.carried[3], self.WHOSE_ID)

    def test_key_of_another_node(self) -> None:
        """With another node's record and public key the signature is missing: the attacker's own is
        invalid, and so is a made-up one."""
        own = KNOWN.open(3, tell(dialer(me=KEY_M), listener()).carried[2]).signature
        for number in (3, 4):
            for signature in (own, bytes(64), b"\xff" * 64):
                self.refused(number, self.forged(number, signature=signature), self.WHOSE_KEY)

    def test_no_keys(self) -> None:
        """Bytes that are no public key are refused like a wrong key."""
        for public_key in (b"\x02" + bytes(31), b"\xff" * 32, KEY_M.public):
            for number in (3, 4):
                shown = KNOWN.open(number, HONEST.carried[number - 1]).shown
                message = self.forged(number, shown=shown[:1] + public_key + shown[33:])
                self.refused(number, message, self.WHOSE_KEY)

    def test_another_connection(self) -> None:
        """A signature from another connection, or from another handshake on this one, is invalid
        here, even under a valid MAC."""
        for binding, nonce in ((OTHER_BINDING, NONCE_D), (BINDING, b"x" * 32)):
            story = tell(dialer(binding=binding, nonce=nonce), listener(binding=binding))
            self.succeeds(story)
            hello, challenge, proof, _ = story.carried
            told = Conversation(hello, challenge, proof, binding)
            for number in (3, 4):
                signature = told.open(number, story.carried[number - 1]).signature
                self.refused(number, self.forged(number, signature=signature), self.WHOSE_KEY)

    def test_another_role(self) -> None:
        """A signature made as a dialer is invalid for a listener, and vice versa, even with the
        same record, nonces and binding."""
        hello, challenge, proof, _ = HONEST.carried
        transcript = hashlib.sha256(BINDING + hello + challenge).digest()
        for number, seed, said in (
            (3, 1, b"listener" + transcript + show(DIALER, KEY_D)),
            (3, 1, b"listener" + transcript + proof + show(DIALER, KEY_D)),
            (4, 2, b"dialer" + transcript + show(LISTENER, KEY_L)),
            (4, 2, b"dialer" + transcript + proof + show(LISTENER, KEY_L)),
        ):
            signature = signed(seed, said)
            self.refused(number, self.forged(number, signature=signature), self.WHOSE_KEY)

    def test_changed_record(self) -> None:
        """The signature covers the whole record: that of a record with another name is invalid."""
        changed = show(replace(DIALER, name="other"), KEY_D)
        one = Dialer((KEY,), KEY_D, changed, NONCE_D, BINDING)
        signature = KNOWN.open(3, tell(one, listener()).carried[2]).signature
        self.refused(3, self.forged(3, signature=signature), self.WHOSE_KEY)

    def test_settled(self) -> None:
        """The signature also covers `settled`, which is not part of the record."""
        said = Dialer((KEY,), KEY_D, show(replace(DIALER, settled=True), KEY_D), NONCE_D, BINDING)
        story = tell(said, listener())
        self.assertEqual(story.dialer_seen, replace(DIALER, settled=True))
        claim = KNOWN.open(3, story.carried[2])
        self.refused(3, self.forged(3, shown=b"\1" + claim.shown[1:]), self.WHOSE_KEY)

    def test_an_introduction(self) -> None:
        """A record that was passed on by a third node does not prove its identity: the permanent
        signature is not enough on a connection."""
        for number, known, node_key in ((3, DIALER, KEY_D), (4, LISTENER, KEY_L)):
            signature = sign(known, node_key).signature
            self.refused(number, self.forged(number, signature=signature), self.WHOSE_KEY)

    def test_record_signature_is_checked(self) -> None:
        """A node is not linked if its record would not convince others: it must also be signed
        independently of the connection, and by the same key."""
        record = DIALER.encode()
        about = KNOWN.about(3)
        for signature in (KEY_D.sign(about + record), KEY_D.sign(record), bytes(64)):
            shown = b"\0" + KEY_D.public + signature + record
            claim = Claim(KEY_D.sign(about + shown), shown)
            message = KNOWN.proof(3, claim.encode())
            why = "its record is not signed by the key that comes with it"
            self.refused(3, message, why)

    def test_mac_first(self) -> None:
        """A stranger cannot make a node verify a signature: the MAC fails before that."""
        wrong = "its proof is wrong: its secret is another one, or somebody sits in between"
        for fields in ({}, {"signature": bytes(64)}):
            message = self.forged(3, **fields)
            self.refused(3, b"P" + bytes(32) + message[33:], wrong)
            self.refused(3, message[:-1] + bytes((message[-1] ^ 1,)), wrong)

    def test_broken_seal(self) -> None:
        """A member that seals nonsense, or with a key of another role or secret, is refused."""
        for number in (3, 4):
            sealed = HONEST.carried[number - 1][33:]
            other = HONEST.carried[6 - number][33:]
            for wrong in (sealed[:-1] + bytes((sealed[-1] ^ 1,)), bytes(200), other):
                mac = hmac_sha256(KNOWN.key, KNOWN.about(number) + wrong)
                self.refused(number, b"P" + mac + wrong, "what its proof seals cannot be opened")

    def test_id(self) -> None:
        """An id is 16 bytes of SHA-256 over a label and the public key; different keys have
        different ids."""
        digest = hashlib.sha256(b"tunmesh/1 node id" + KEY_D.public).hexdigest()
        self.assertEqual((KEY_D.id, id_of(KEY_D.public)), (digest[:32], digest[:32]))
        self.assertEqual(len({KEY_D.id, KEY_L.id, KEY_M.id}), 3)


class Secrecy(Case):
    """What must not end up in a log."""

    def test_repr(self) -> None:
        """Neither a secret nor a key derived from it is in the repr of any object."""
        one, other = dialer(), listener()
        story = tell(one, other)
        for shown in (KEY, [KEY], KEY_D, one, other, story):
            for text in (repr(shown), str(shown)):
                for key in (KEY.mac_key, KEY.record_key):
                    self.assertNotIn(repr(key)[2:-1], text)
                    self.assertNotIn(key.hex(), text)
                self.assertNotIn(SECRET.decode(), text)
                self.assertNotIn("PrivateKey", text)

    def test_wire(self) -> None:
        """Neither of them is sent on the wire."""
        wire = b"".join(HONEST.carried)
        self.assertNotIn(SECRET, wire)
        self.assertNotIn(KEY.mac_key, wire)
        self.assertNotIn(KEY.record_key, wire)

    def test_errors(self) -> None:
        """Neither of them is in an error."""
        other = listener()
        other.receive(HONEST.carried[0])
        error = self.assertRaises(PeerError, other.receive, b"P" + bytes(sizes.PROOF_SIZE))
        self.assertEqual(
            str(error), "its proof is wrong: its secret is another one, or somebody sits in between"
        )
