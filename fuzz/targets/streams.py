"""A node that carries streams between neighbours who hold the secret and may say anything.

The bytes decide who opens what to whom, what is said of it, which links take nothing, and which
break. Whatever they say, a message of a stream goes to its two ends only; no more waits than the
window allows, and it is counted; nothing is left when all have parted.
"""

from __future__ import annotations

from fuzz.choices import Choices
from tunmesh.errors import PeerError
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.relay.flow import BrokenStreamError, Incoming
from tunmesh.relay.lane import Lane, Numbers
from tunmesh.relay.switchboard import Switchboard
from tunmesh.wire.streams import (
    BROKEN,
    CREDIT,
    END,
    INCOMING,
    MAX_PIECE,
    OPENED,
    PIECE,
    REFUSED,
    WINDOW,
    Message,
    Refused,
    decode,
)

OWN = f"{9:032x}"
NODES = tuple(f"{number:032x}" for number in (1, 5, 20, 21))
KINDS = (PIECE, PIECE, CREDIT, END, BROKEN, OPENED, REFUSED)
OFFSETS = (0, 1, 100, WINDOW - 1, WINDOW, WINDOW + MAX_PIECE, 2 * WINDOW)
SIZES = (1, 100, MAX_PIECE)


class World:
    """The carrier, and what its links have been given."""

    def __init__(self) -> None:
        self.memory = MemoryBudget(4 * WINDOW)
        self.direct = set(NODES[:3])
        self.slow: set[str] = set()
        self.lanes: dict[str, dict[Lane, None]] = {each: {} for each in NODES}
        self.known: set[tuple[str, int]] = set()  # streams that a node has to do with
        self.now = 0.0
        self.board = Switchboard(Numbers(OWN), self.source, self.offer, self.memory)

    def source(self, node_id: str) -> str | None:
        return node_id[-1] if node_id in self.direct else None

    def offer(self, node_id: str, lane: Lane) -> None:
        self.lanes[node_id][lane] = None
        if node_id not in self.slow:
            self.flow(node_id)

    def flow(self, node_id: str) -> None:
        for lane in tuple(self.lanes[node_id]):
            while payload := lane.take(MAX_PIECE):
                message = decode(payload)
                if message.kind == INCOMING:
                    self.known.add((node_id, message.stream))
                # A stream may be over before it was offered.
                assert message.kind == BROKEN or (node_id, message.stream) in self.known
        self.lanes[node_id].clear()


def check(data: bytes) -> None:
    choices = Choices(data)
    world, incoming = World(), Incoming()
    received: dict[int, int] = {}
    while choices:
        node_id = choices.pick(NODES)
        match choices.number(8):
            case 0:
                number, target = choices.number(12), choices.pick(NODES)
                known = (node_id, number) in world.known
                world.known.add((node_id, number))
                try:
                    why = world.board.opening(node_id, number, target, world.now)
                except PeerError:
                    why = Refused.BUSY
                if why is not None and not known:
                    world.known.discard((node_id, number))
            case 1:
                world.slow ^= {node_id}
                if node_id not in world.slow:
                    world.flow(node_id)
            case 2:
                world.board.parted(node_id)
                world.direct ^= {node_id}
                world.lanes[node_id].clear()
            case 3:
                world.now += choices.number() / 2
                world.board.expire(world.now)
            case 4:
                _receive(incoming, received, choices)
            case _:
                body = bytes(choices.pick(SIZES))
                kind, value = choices.pick(KINDS), choices.pick(OFFSETS)
                if kind == REFUSED:
                    value = Refused.BUSY
                message = Message(kind, choices.number(12), value, body * (kind == PIECE))
                world.board.received(node_id, message, world.now)
        assert world.memory.held <= 4 * WINDOW + MAX_PIECE
        for one, other in world.board.counts.links:
            assert {one, other} <= world.direct
            assert one != other
    for node_id in NODES:
        world.board.parted(node_id)
    assert not len(world.board)
    assert not world.memory.held


def _receive(incoming: Incoming, received: dict[int, int], choices: Choices) -> None:
    """An end that is sent pieces in any order delivers each byte once."""
    offset, size = choices.number(16), 1 + choices.number(4)
    try:
        got = incoming.receive(offset, bytes(range(offset, offset + size)))
    except BrokenStreamError:
        return
    for byte in got:
        assert byte == len(received)
        received[byte] = 1
