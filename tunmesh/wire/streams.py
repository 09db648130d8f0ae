"""Messages about streams: bytes that a node carries between two of its neighbours.

    opener ══ link ══ carrier ══ link ══ target

    stream   S ‖ kind (1) ‖ stream (4) ‖ what its kind has

    open     o ‖ id of the target (16)              opener to carrier
    incoming i ‖ id of the opener (16)              carrier to target
    opened   a                                      target to carrier to opener
    refused  r ‖ reason (1)                         likewise, or by the carrier
    piece    d ‖ offset in the stream (8) ‖ bytes   and all others: in both directions
    credit   c ‖ offset (8): so far the other end may send
    end      e ‖ offset (8): there the stream ends
    broken   x: it is over, whatever is under way

On each link a stream has a number of its own. The end that asks for it chooses the number: odd if
its node id is the smaller one, even otherwise.

Offsets and credits are those of the two ends: the carrier passes them on as they are. So a stream
does not depend on one link of the carrier: when that is replaced, what was sent on the old one and
what is sent on the new one may arrive in any order.

Decoding raises nothing but PeerError("malformed").
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from tunmesh.wire.fields import malformed
from tunmesh.wire.sizes import NODE_ID_SIZE

OPEN, INCOMING, OPENED, REFUSED, PIECE, CREDIT, END, BROKEN = b"oiardcex"
MAX_PIECE = 1 << 15  # bytes of one piece: others do not wait for long behind it
WINDOW = 1 << 18  # bytes that one end may send before the other end grants more
_NUMBER_SIZE, _OFFSET_SIZE = 4, 8
_HEAD = 2 + _NUMBER_SIZE
MOST_NUMBER = (1 << 32) - 1
_SIZES = {
    OPEN: NODE_ID_SIZE,
    INCOMING: NODE_ID_SIZE,
    OPENED: 0,
    REFUSED: 1,
    CREDIT: _OFFSET_SIZE,
    END: _OFFSET_SIZE,
    BROKEN: 0,
}


class Refused(IntEnum):
    """Why a stream is not opened. `words` say it to people, of the node that was asked."""

    words: str
    pause: float  # seconds after which it may be asked again

    def __new__(cls, value: int, words: str = "", pause: float = 0.0) -> Refused:
        reason = int.__new__(cls, value)
        reason._value_ = value
        reason.words, reason.pause = words, pause
        return reason

    DECLINED = 1, "it does not relay (networking/relay)", 60.0
    NOT_LINKED = 2, "it is not linked with that node", 5.0
    NOT_DIRECT = 3, "its own link with that node is relayed", 15.0
    BUSY = 4, "it relays as much as it may", 15.0
    NO_ANSWER = 5, "that node does not answer it", 5.0


class Message(NamedTuple):
    """`value`: an offset, or the reason of a refusal; `body`: a node id as bytes, or a piece."""

    kind: int
    stream: int
    value: int = 0
    body: bytes = b""

    def encode(self) -> bytes:
        head = b"S%c%b" % (self.kind, self.stream.to_bytes(_NUMBER_SIZE, "big"))
        if self.kind == REFUSED:
            return head + bytes((self.value,))
        if self.kind in (PIECE, CREDIT, END):
            head += self.value.to_bytes(_OFFSET_SIZE, "big")
        return head + self.body


def decode(payload: bytes | memoryview) -> Message:
    """A message with the tag S."""
    size = len(payload) - _HEAD
    if size < 0:
        raise malformed("a message about no stream")
    kind = payload[1]
    stream = int.from_bytes(payload[2:_HEAD], "big")
    if kind == PIECE:
        if not _OFFSET_SIZE < size <= _OFFSET_SIZE + MAX_PIECE:
            raise malformed("a piece of a stream that is empty or too long")
        at = _HEAD + _OFFSET_SIZE
        return Message(PIECE, stream, int.from_bytes(payload[_HEAD:at], "big"), bytes(payload[at:]))
    if _SIZES.get(kind) != size:
        raise malformed("a message about a stream of no known kind, or of a wrong size")
    rest = bytes(payload[_HEAD:])
    if kind in (CREDIT, END, REFUSED):
        value = int.from_bytes(rest, "big")
        if kind == REFUSED and value not in [each.value for each in Refused]:
            raise malformed("a stream refused for no known reason")
        return Message(kind, stream, value)
    return Message(kind, stream, body=rest)
