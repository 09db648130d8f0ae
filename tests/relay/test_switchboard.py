"""Streams carried for others: what may be opened, what is passed on, and what is not.

Hypothesis makes random topologies: links come and go, direct and relayed, between nodes that open
streams through each other, send, grant, end and break them, and lie about all of it. Whatever they
do, no byte gets to a node that the stream does not lead to, or goes over more than one carrier.
"""

from __future__ import annotations

import os
import tracemalloc
from collections import deque
from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.errors import PeerError
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.relay.flow import MIN_GRANT, PIECE_COST
from tunmesh.relay.lane import Lane, Numbers
from tunmesh.relay.openings import ARRIVALS_RATE
from tunmesh.relay.switchboard import (
    HALF_OPEN,
    IDLE,
    MAX_PER_TARGET,
    Switchboard,
)
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

A, B, C, D = (digit * 32 for digit in "abcd")
FULL = WINDOW // MAX_PIECE  # pieces of the largest size in a window
EXAMPLES = int(os.environ.get("TUNMESH_EXAMPLES", "100"))


class SwitchboardTests(SynchronousTestCase):
    """Node C, which is linked directly with A, B and D."""

    def setUp(self) -> None:
        self.direct = {A: "192.0.2.1", B: "192.0.2.2", D: "192.0.2.4"}
        self.said: dict[str, list[Message]] = {A: [], B: [], D: []}
        self.blocked: set[str] = set()  # whose links take nothing
        self.lanes: dict[str, dict[Lane, None]] = {A: {}, B: {}, D: {}}
        self.memory = MemoryBudget()
        self.numbers = {each: Numbers(each) for each in (A, B, D)}
        self.board = self.make()

    def make(self, carries: bool = True) -> Switchboard:
        return Switchboard(Numbers(C), self.direct.get, self.offer, self.memory, carries)

    def offer(self, node_id: str, lane: Lane) -> None:
        self.lanes[node_id][lane] = None
        if node_id not in self.blocked:
            self.flow(node_id)

    def flow(self, node_id: str) -> None:
        """The link of this node takes all there is."""
        for lane in tuple(self.lanes[node_id]):
            while payload := lane.take(MAX_PIECE):
                self.said[node_id].append(decode(payload))
        self.lanes[node_id].clear()

    def open(self, opener: str = A, target: str = B) -> tuple[int, int]:
        """A stream between them: its number on the opener's link, and on the target's."""
        here = self.numbers[opener].new(C)
        self.assertIsNone(self.board.opening(opener, here, target, 0.0))
        [*_, incoming] = self.said[target]
        self.assertEqual((incoming.kind, incoming.body.hex()), (INCOMING, opener))
        self.board.received(target, Message(OPENED, incoming.stream), 0.0)
        self.assertEqual(self.said[opener].pop(), Message(OPENED, here))
        self.said[target].pop()
        return here, incoming.stream

    def test_both_ways(self) -> None:
        """Pieces, credit and the end are passed on as they are, under the other number."""
        here, there = self.open()
        self.board.received(A, Message(PIECE, here, 0, b"hello"), 0.0)
        self.board.received(B, Message(PIECE, there, 0, b"x" * MIN_GRANT), 0.0)
        self.board.received(A, Message(CREDIT, here, WINDOW + MIN_GRANT), 0.0)
        self.board.received(A, Message(END, here, 5), 0.0)
        self.assertEqual(
            self.said[B],
            [
                Message(PIECE, there, 0, b"hello"),
                Message(CREDIT, there, WINDOW + MIN_GRANT),
                Message(END, there, 5),
            ],
        )
        self.assertEqual(self.said[A], [Message(PIECE, here, 0, b"x" * MIN_GRANT)])
        counts = self.board.counts
        self.assertEqual((counts.streams, counts.opened, counts.bytes), (0, 1, 5 + MIN_GRANT))
        self.assertEqual(self.memory.held, 0)

    def test_end_comes_early(self) -> None:
        """When links are replaced an end may overtake bytes: these still come through."""
        here, _there = self.open()
        self.board.received(A, Message(END, here, 4), 0.0)
        self.board.received(A, Message(PIECE, here, 2, b"lo"), 0.0)
        self.assertEqual(len(self.board), 1)
        self.board.received(A, Message(PIECE, here, 0, b"he"), 0.0)
        self.assertEqual([each.kind for each in self.said[B]], [PIECE, PIECE, END])
        self.assertEqual(len(self.board), 0)

    def test_refused(self) -> None:
        """A node that declines, one that is not linked or only by a relay, oneself; and a target
        that refuses."""
        number = self.numbers[A].new(C)
        self.assertIs(self.make(False).opening(A, number, B, 0.0), Refused.DECLINED)
        for target in (A, C, "e" * 32):
            self.assertIs(self.board.opening(A, number, target, 0.0), Refused.NOT_LINKED)
        source = self.direct.pop(A)
        self.assertIs(self.board.opening(A, number, B, 0.0), Refused.NOT_DIRECT)
        self.direct[A] = source
        self.board.opening(A, number, B, 0.0)
        there = self.said[B][-1].stream
        self.board.received(B, Message(REFUSED, there, Refused.BUSY), 0.0)
        self.assertEqual(self.said[A], [Message(REFUSED, number, Refused.BUSY)])
        self.assertEqual((len(self.board), self.board.counts.refused), (0, 5))

    def test_wrong_number(self) -> None:
        """A number that is in use, or that is not the opener's to choose, is its error."""
        here, _there = self.open()
        for number in (here, here + 1):
            self.assertRaises(PeerError, self.board.opening, A, number, B, 0.0)

    def test_too_many(self) -> None:
        """So many streams of one peer to one target, and so many openings a second; others are not
        affected."""
        now, opened = 0.0, 0
        for _ in range(MAX_PER_TARGET):
            now += 1 / ARRIVALS_RATE
            opened += self.board.opening(A, self.numbers[A].new(C), B, now) is None
        self.assertEqual(opened, MAX_PER_TARGET // 2)
        self.assertIsNone(self.board.opening(D, self.numbers[D].new(C), B, now))

    def test_silence(self) -> None:
        """A target that does not answer, and streams on which nothing moves."""
        number = self.numbers[A].new(C)
        self.board.opening(A, number, B, 0.0)
        self.board.expire(HALF_OPEN)
        self.assertEqual(len(self.board), 1)
        self.board.expire(HALF_OPEN + 0.1)
        self.assertEqual(self.said[A], [Message(REFUSED, number, Refused.NO_ANSWER)])
        self.assertEqual(self.said[B][-1].kind, BROKEN)
        self.open()
        self.board.expire(IDLE + 0.1)
        self.assertEqual((len(self.board), self.said[A][-1].kind), (0, BROKEN))

    def test_gives_up(self) -> None:
        """An opener that does not wait for the answer."""
        number = self.numbers[A].new(C)
        self.board.opening(A, number, B, 0.0)
        self.board.received(A, Message(BROKEN, number), 0.0)
        self.assertEqual((len(self.board), self.said[B][-1].kind), (0, BROKEN))

    def test_lost_link(self) -> None:
        """With the link of an end its streams end, and no others."""
        self.open()
        here, _ = self.open(D, A)
        self.board.parted(B)
        self.assertEqual((len(self.board), self.said[A][-1].kind), (1, BROKEN))
        self.assertTrue(self.board.received(D, Message(PIECE, here, 0, bytes(99)), 0.0))

    def test_strangers_number(self) -> None:
        """A node cannot speak for a stream of others."""
        here, there = self.open()
        for number in (here, there):
            self.assertFalse(self.board.received(D, Message(PIECE, number, 0, b"x"), 0.0))
        self.assertEqual(self.said[B], [])

    def test_slow_target(self) -> None:
        """What waits for a slow node is bounded by the window, and counted; who sends more, or
        grants what was not passed on, has the stream broken."""
        here, there = self.open()
        self.blocked.add(B)
        for at in range(0, WINDOW, MAX_PIECE):
            self.board.received(A, Message(PIECE, here, at, bytes(MAX_PIECE)), 0.0)
        self.assertEqual(self.memory.pinned_by("192.0.2.1"), WINDOW + PIECE_COST * FULL)
        self.board.received(B, Message(CREDIT, there, WINDOW + 1), 0.0)
        self.assertEqual((len(self.board), self.memory.held), (0, 0))
        self.flow(B)
        self.assertEqual([each.kind for each in self.said[B]], [BROKEN])
        self.blocked.clear()
        here, there = self.open()
        self.board.received(A, Message(PIECE, here, WINDOW, b"x"), 0.0)
        self.assertEqual(len(self.board), 0)

    def test_memory(self) -> None:
        """A source that fills the memory budget with what is not read loses streams, and no
        link."""
        limit = 2 * (WINDOW + PIECE_COST * FULL)
        self.memory = MemoryBudget(limit)
        self.board = self.make()
        streams = [self.open()[0] for _ in range(3)]
        self.blocked.add(B)
        for here in streams:
            for at in range(0, WINDOW, MAX_PIECE):
                self.board.received(A, Message(PIECE, here, at, bytes(MAX_PIECE)), 0.0)
        self.assertLessEqual(self.memory.held, limit)
        self.assertEqual(len(self.board), 1)

    def test_memory_of_small_pieces(self) -> None:
        """Single bytes that do not follow each other cost what they take: streams end when that is
        too much, long before their windows are full."""
        self.memory = MemoryBudget(WINDOW)
        self.board = self.make()
        here, _ = self.open()
        self.blocked.add(B)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, most, sent = tracemalloc.get_traced_memory()[0], 0, 0
        while len(self.board):
            self.board.received(A, Message(PIECE, here, 2 * sent, b"x"), 0.0)
            most, sent = max(most, self.memory.held), sent + 1
        peak = tracemalloc.get_traced_memory()[1] - before
        self.assertLess(peak, 1.5 * most)
        self.assertLess(sent, WINDOW / 200)

    def test_small_credits(self) -> None:
        """Credit that is not worth a message is useless, and not passed on."""
        _here, there = self.open()
        self.assertFalse(self.board.received(B, Message(CREDIT, there, WINDOW), 0.0))
        self.assertEqual(self.said[A], [])

    def test_stop(self) -> None:
        """A node that leaves ends its streams, and carries no more."""
        self.open()
        self.board.carry(False)
        self.assertEqual((len(self.board), self.said[A][-1].kind), (0, BROKEN))
        self.assertIs(self.board.opening(A, 999, B, 0.0), Refused.DECLINED)


NODES = [A, B, C, D]
node = st.sampled_from(NODES)


class Topology(RuleBasedStateMachine):
    """Nodes that carry streams for each other, over links that come and go. A node is either honest
    or says anything; what arrives where is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: set[frozenset[str]] = set()
        self.relayed: set[frozenset[str]] = set()
        self.wires: dict[tuple[str, str], deque[Message]] = {}  # from and to, in order
        self.numbers = {each: Numbers(each) for each in NODES}
        self.memory = {each: MemoryBudget() for each in NODES}
        self.boards = {each: self.board(each) for each in NODES}
        self.opened: dict[tuple[str, str, int], str] = {}  # opener, carrier, number: the target
        self.incoming: dict[tuple[str, str, int], str] = {}  # target, carrier, number: the opener
        self.sent: dict[tuple[str, str, int], int] = {}  # bytes that an end has sent
        self.now = 0.0

    def board(self, own: str) -> Switchboard:
        def source(other: str) -> str | None:
            return other if frozenset((own, other)) in self.direct else None

        def offer(other: str, lane: Lane) -> None:
            if source(other) is not None:
                while payload := lane.take(MAX_PIECE):
                    self.say(own, other, decode(payload))

        return Switchboard(self.numbers[own], source, offer, self.memory[own])

    def say(self, sender: str, receiver: str, message: Message) -> None:
        self.wires.setdefault((sender, receiver), deque()).append(message)

    @rule(one=node, other=node, is_direct=st.booleans())
    def link(self, one: str, other: str, is_direct: bool) -> None:
        if one != other and frozenset((one, other)) not in self.direct | self.relayed:
            (self.direct if is_direct else self.relayed).add(frozenset((one, other)))

    @rule(one=node, other=node)
    def unlink(self, one: str, other: str) -> None:
        way = frozenset((one, other))
        self.direct.discard(way)
        self.relayed.discard(way)
        for here, there in ((one, other), (other, one)):
            self.wires.pop((here, there), None)
            self.boards[here].parted(there)

    @rule(opener=node, carrier=node, to=node)
    def open(self, opener: str, carrier: str, to: str) -> None:
        """An honest node asks only over direct links; a liar asks anybody it is linked with."""
        if frozenset((opener, carrier)) not in self.direct | self.relayed or opener == carrier:
            return
        number = self.numbers[opener].new(carrier)
        self.opened[opener, carrier, number] = to
        why = self.boards[carrier].opening(opener, number, to, self.now)
        is_possible = {frozenset((opener, carrier)), frozenset((carrier, to))} <= self.direct
        if not is_possible or to in (opener, carrier):
            assert why is not None
        if why is not None:
            del self.opened[opener, carrier, number]

    @rule(data=st.data())
    def speak(self, data: st.DataObject) -> None:
        """An end says something of its stream, right or wrong."""
        ends = sorted(self.opened) + sorted(self.incoming)
        if not ends:
            return
        own, carrier, number = data.draw(st.sampled_from(ends))
        kind = data.draw(st.sampled_from([OPENED, PIECE, PIECE, PIECE, CREDIT, END, BROKEN]))
        sent = self.sent.get((own, carrier, number), 0)
        body = data.draw(st.binary(min_size=1, max_size=9)) if kind == PIECE else b""
        wrong = data.draw(st.sampled_from([0, 0, 0, 1, WINDOW]))
        value = {PIECE: sent + wrong, CREDIT: WINDOW + wrong, END: sent + wrong}.get(kind, 0)
        self.sent[own, carrier, number] = sent + len(body)
        if frozenset((own, carrier)) in self.direct:
            self.say(own, carrier, Message(kind, number, value, body))

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """The next message of one way arrives."""
        ways = sorted(way for way, messages in self.wires.items() if messages)
        if not ways:
            return
        sender, receiver = data.draw(st.sampled_from(ways))
        message = self.wires[sender, receiver].popleft()
        key = (receiver, sender, message.stream)
        if message.kind == INCOMING:
            opener = message.body.hex()
            # One hop: the carrier, which says this, is linked directly with both.
            assert (opener, sender) in {(o, c) for o, c, _ in self.opened}
            assert self.numbers[receiver].is_theirs(sender, message.stream)
            self.incoming[key] = opener
        elif key in self.opened or key in self.incoming:
            # What an end hears is of a stream of its own, from a node that carries it directly.
            assert message.kind in (OPENED, REFUSED, PIECE, CREDIT, END, BROKEN)
        else:
            self.boards[receiver].received(sender, message, self.now)

    @rule(seconds=st.sampled_from([1.0, HALF_OPEN + 1, IDLE + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for board in self.boards.values():
            board.expire(self.now)

    @invariant()
    def one_hop(self) -> None:
        """A carrier is linked directly with both ends of each stream, and is neither of them."""
        for carrier, board in self.boards.items():
            for one, other in board.counts.links:
                assert carrier not in (one, other) and one != other
                assert {frozenset((carrier, one)), frozenset((carrier, other))} <= self.direct

    @invariant()
    def bounded(self) -> None:
        """Nothing waits at a carrier whose links take all, and the ends of lost links are gone."""
        for own, board in self.boards.items():
            assert self.memory[own].held == 0
            assert len(board) == len(board.counts.links)

    def teardown(self) -> None:
        for one, other in combinations(NODES, 2):
            self.unlink(one, other)
        for board in self.boards.values():
            assert not len(board)


class TopologyTests(SynchronousTestCase):
    """Streams over random topologies."""

    def test_machine(self) -> None:
        """Whatever nodes do, a stream takes one hop."""
        run_state_machine_as_test(
            Topology,
            settings=settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None),
        )
