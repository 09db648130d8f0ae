"""The handshake against a man in the middle, against a stranger, and against a lying member.

The first byte selects the kind of scenario. In a conversation each of the four messages is passed
on or changed; if an end is authentic afterwards, no change may have gone unnoticed. In the others a
machine gets unrelated messages, or a peer that holds the secret proves a strange record, or seals
nonsense.
"""

from __future__ import annotations

from fuzz.choices import Choices
from tests.auth.test_handshake import (
    BINDING,
    DIALER,
    HONEST,
    KEY,
    KEY_D,
    KNOWN,
    LISTENER,
    NEW_KEY,
    NONCE_D,
    OTHER_BINDING,
    REASONS,
    STRANGER,
    dialer,
    listener,
    tell,
)
from tunmesh.auth.handshake import Dialer, Listener
from tunmesh.errors import FailureReason, PeerError
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

_KEYS = ((KEY,), (NEW_KEY, KEY), (KEY, NEW_KEY))
_FRESH = b"x" * 32  # a nonce that no recorded message was made for


def check(data: bytes) -> None:
    choices = Choices(data)
    choices.pick((_conversation, _conversation, _garbage, _liar, _sealed))(choices)


def _conversation(choices: Choices) -> None:
    """Two honest nodes, and a man in the middle."""
    keys = choices.pick(_KEYS), choices.pick(_KEYS)
    is_spliced = choices.number(8) == 7
    one = dialer(keys[0], nonce=_FRESH)
    other = listener(keys[1], OTHER_BINDING if is_spliced else BINDING, _FRESH)
    honest: list[bytes] = []
    intact: list[bool] = []

    def tamper(number: int, message: bytes) -> bytes:
        honest.append(message)
        changed = _changed(choices, message, honest)
        intact.append(changed == message)
        return changed

    story = tell(one, other, tamper)
    assert story.reason is None or story.reason in REASONS
    is_whole = all(intact) and not is_spliced
    assert (story.listener_seen == LISTENER) == is_whole
    assert (story.dialer_seen == DIALER) == (
        all(intact[:3]) and len(intact) == 4 and not is_spliced
    )
    assert story.listener_seen in (None, LISTENER)
    assert story.dialer_seen in (None, DIALER)
    assert (story.reason is None) == is_whole
    # A machine that refused refuses everything from then on; one that has finished accepts no more.
    refuser = other if len(intact) % 2 else one
    for message in (*honest, *HONEST.carried):
        _refuses(refuser, message)


def _changed(choices: Choices, message: bytes, before: list[bytes]) -> bytes:
    """The message that arrives instead."""
    match choices.number(8):
        case 1:
            return choices.take(choices.number())
        case 2:
            changed = bytearray(message)
            changed[int.from_bytes(choices.take(2)) % len(message)] ^= choices.number()
            return bytes(changed)
        case 3:
            return message[: int.from_bytes(choices.take(2))]
        case 4:
            return message + choices.take(choices.number())
        case 5:
            return choices.pick(HONEST.carried)
        case 6:
            return choices.pick(before)
        case 7:
            return dialer((STRANGER,)).hello
    return message


def _garbage(choices: Choices) -> None:
    """Without the secret, and without relaying to a member, no end is authentic."""
    machine = (dialer if choices.number(2) else listener)(nonce=_FRESH)
    while choices:
        message = _changed(choices, choices.pick(HONEST.carried), HONEST.carried)
        try:
            assert machine.receive(message).peer is None
        except PeerError as error:
            assert error.reason in REASONS
            _refuses(machine, message)
            return


def _liar(choices: Choices) -> None:
    """A member may claim anything in a valid record with its own id: otherwise the proof is bad, or
    the record malformed."""
    record = choices.rest()
    signature = KEY_D.sign(b"tunmesh/1 record" + record)
    shown = encode_shown(SignedRecord(KEY_D.public, signature, record), False)
    story = tell(Dialer((KEY,), KEY_D, shown, NONCE_D, BINDING), listener())
    try:
        expected = NodeRecord.decode(record) if record else None
    except PeerError as error:
        assert (error.reason, story.dialer_seen) == ("malformed", None)
        assert story.reason == FailureReason.MALFORMED
    else:
        is_own = expected is not None and expected.id == KEY_D.id
        assert story.dialer_seen == (expected if is_own else None)
        assert is_own == (story.reason is None) or expected is None


def _sealed(choices: Choices) -> None:
    """A member may seal anything, in either role: only data signed by that node counts."""
    number = choices.pick((3, 4))
    honest = KNOWN.open(number, HONEST.carried[number - 1]).encode()
    claim = _changed(choices, honest, [honest])
    machine: Dialer | Listener = listener() if number == 3 else dialer()
    machine.receive(HONEST.carried[number - 3])
    try:
        peer = machine.receive(KNOWN.proof(number, claim)).peer
    except PeerError as error:
        assert error.reason in ("malformed", "bad_proof")
        assert claim != honest
        _refuses(machine, HONEST.carried[number - 1])
    else:
        assert claim == honest
        assert peer == (DIALER if number == 3 else LISTENER)


def _refuses(machine: Dialer | Listener, message: bytes) -> None:
    try:
        machine.receive(message)
    except PeerError as error:
        assert error.reason == FailureReason.UNEXPECTED
    else:
        raise AssertionError("a machine that refused takes messages again")
