"""The streams of a node: which links they go by, who may lead them here, and how they end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet import error
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.errors import PeerError
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.relay.lane import Lane, Numbers
from tunmesh.relay.openings import ARRIVALS_BURST, ARRIVALS_RATE
from tunmesh.relay.streams import MAX_FROM_OPENER, NotRelayed, Streams
from tunmesh.wire.streams import (
    BROKEN,
    CREDIT,
    INCOMING,
    MAX_PIECE,
    OPEN,
    OPENED,
    PIECE,
    REFUSED,
    WINDOW,
    Message,
    Refused,
    decode,
)

A, B, C, D = (digit * 32 for digit in "abcd")


class Wire:
    """A link with a node, as streams see one: all that they give it has been sent at once."""

    via = ""

    def __init__(self, node_id: str) -> None:
        self.node = SimpleNamespace(id=node_id)
        self.source = "192.0.2.1"
        self.said: list[Message] = []
        address = SimpleNamespace(host=self.source, port=4567)
        self.transport = SimpleNamespace(getPeer=lambda: address, getHost=lambda: address)
        self.conversation = self

    def carry(self, lane: Lane) -> None:
        while payload := lane.take(MAX_PIECE):
            self.said.append(decode(payload))

    def answer_stream(self, message: Message) -> None:
        self.said.append(message)


class End(Protocol):
    """What runs over a stream that ends here."""

    lost: type[BaseException] | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason.type


class StreamsCase(SynchronousTestCase):
    """Node C, which is linked directly with A and B."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.links: dict[str, Any] = {A: Wire(A), B: Wire(B)}
        self.memory = MemoryBudget()
        self.streams = Streams(C, self.clock, self.links.get, self.memory, carries=True)
        self.theirs = {each: Numbers(each) for each in (A, B)}
        self.ends: list[End] = []
        listener = Factory()
        listener.buildProtocol = self.built  # type: ignore[method-assign]
        self.streams.accept_with(listener)

    def built(self, addr: object) -> End:
        self.ends.append(End())
        return self.ends[-1]

    def said(self, node_id: str) -> list[int]:
        """The kinds of what was said to it, on the link in use."""
        return [each.kind for each in self.links[node_id].said]

    def arrive(self, opener: str, carrier: str = A) -> Message:
        """A stream that this node has opened is led here; what is answered."""
        number = self.theirs[carrier].new(C)
        message = Message(INCOMING, number, body=bytes.fromhex(opener))
        self.streams.received(self.links[carrier], message)
        return self.links[carrier].said[-1]  # type: ignore[no-any-return]

    def open(self) -> tuple[int, list[Any]]:
        """This node asks A for a stream to D: its number, and what comes of it."""
        came: list[Any] = []
        factory = Factory()
        factory.buildProtocol = self.built  # type: ignore[method-assign]
        self.streams.open(A, D, factory).addBoth(came.append)
        [*_, message] = self.links[A].said
        self.assertEqual((message.kind, message.body.hex()), (OPEN, D))
        return message.stream, came

    def carried(self) -> tuple[int, int]:
        """The numbers of a stream that is carried from A to B, and is open."""
        number = self.theirs[A].new(C)
        self.streams.received(self.links[A], Message(OPEN, number, body=bytes.fromhex(B)))
        [*_, incoming] = self.links[B].said
        self.streams.received(self.links[B], Message(OPENED, incoming.stream))
        return number, incoming.stream


class LinkTests(StreamsCase):
    """Links that end."""

    def test_spare_fails(self) -> None:
        """A link that never carried anything, since another one won the race, breaks no stream."""
        here, there = self.carried()
        self.arrive(D, B)
        for spare in (Wire(A), Wire(B)):
            self.streams.link_lost(spare, False)  # type: ignore[arg-type]
        self.assertNotIn(BROKEN, self.said(A) + self.said(B))
        self.assertTrue(self.streams.received(self.links[A], Message(PIECE, here, 0, bytes(99))))
        self.assertEqual(self.links[B].said[-1], Message(PIECE, there, 0, bytes(99)))
        self.clock.advance(0)
        self.assertIsNone(self.ends[0].lost)

    def test_link_fails(self) -> None:
        """What was under way on a link that fails is lost: the streams that went by it are over,
        and the other ends hear of it by the link that took its place."""
        self.carried()
        self.arrive(D)
        _, came = self.open()
        old, self.links[A] = self.links[A], Wire(A)
        self.streams.link_lost(old, False)
        self.clock.advance(0)
        self.assertEqual(self.said(A), [BROKEN] * 3)
        self.assertEqual(self.said(B)[-1], BROKEN)
        self.assertIs(self.ends[0].lost, error.ConnectionLost)
        came[0].trap(error.ConnectionLost)

    def test_link_is_replaced(self) -> None:
        """A link that was replaced has delivered all: its streams go on by the other one, which
        only then is the one that they may not lose."""
        self.carried()
        self.arrive(D)
        old, self.links[A] = self.links[A], Wire(A)
        self.streams.link_lost(old, True)
        self.streams.link_lost(old, False)
        self.clock.advance(0)
        self.assertEqual((self.said(A), self.ends[0].lost), ([], None))


class ArrivalTests(StreamsCase):
    """Streams that are led here."""

    def test_one_opener(self) -> None:
        """One that opens streams over and over, and breaks them, does not take the place of others
        behind the same carrier."""
        refused = 0
        for _ in range(4 * ARRIVALS_BURST):
            answer = self.arrive(D)
            if answer.kind == REFUSED:
                refused += 1
            else:
                self.streams.received(self.links[A], Message(BROKEN, answer.stream))
            self.clock.advance(0.1 / ARRIVALS_RATE)
        self.assertGreater(refused, ARRIVALS_BURST)
        self.assertEqual(self.arrive(B).kind, OPENED)

    def test_many_openers(self) -> None:
        """A carrier, which could invent them, does not lead more here than it may."""
        answers = [self.arrive(f"{number:032x}").kind for number in range(2 * ARRIVALS_BURST)]
        self.assertLessEqual(answers.count(OPENED), ARRIVALS_BURST)
        self.assertEqual(self.arrive(D, B).kind, OPENED)

    def test_at_a_time(self) -> None:
        """An opener that does nothing with its streams holds a few; each of them is a place among
        those that have not authenticated. When one is over there is room for another."""
        answers = [self.arrive(D) for _ in range(MAX_FROM_OPENER + 1)]
        self.assertEqual([each.kind for each in answers], [OPENED] * MAX_FROM_OPENER + [REFUSED])
        self.streams.received(self.links[A], Message(BROKEN, answers[0].stream))
        self.assertEqual([self.arrive(each).kind for each in (D, D, B)], [OPENED, REFUSED, OPENED])

    def test_wrong(self) -> None:
        """Numbers that are in use, whatever for, and openers that are one of the two ends."""
        self.assertRaises(PeerError, self.arrive, A)
        self.assertRaises(PeerError, self.arrive, C)
        used = self.arrive(D).stream
        for kind in (OPEN, INCOMING):
            message = Message(kind, used, body=bytes.fromhex(B))
            self.assertRaises(PeerError, self.streams.received, self.links[A], message)


class OpeningTests(StreamsCase):
    """Streams that this node asks for."""

    def test_opened(self) -> None:
        """The other end has answered: a protocol runs over it."""
        number, came = self.open()
        self.assertTrue(self.streams.received(self.links[A], Message(OPENED, number)))
        self.assertEqual(came, self.ends)

    def test_refused(self) -> None:
        """It was refused, or broken before there was an answer."""
        for message, why in (
            (Message(REFUSED, 0, Refused.BUSY), Refused.BUSY),
            (Message(BROKEN, 0), Refused.NO_ANSWER),
        ):
            number, came = self.open()
            self.streams.received(self.links[A], message._replace(stream=number))
            self.assertIs(came[0].trap(NotRelayed) and came[0].value.reason, why)
            self.assertEqual(self.said(A)[-1], OPEN)

    def test_no_answer(self) -> None:
        """Anything else ends it at once, for the carrier as well, which would keep it open for as
        long as streams may be idle."""
        for kind in (PIECE, CREDIT):
            number, came = self.open()
            self.assertFalse(
                self.streams.received(self.links[A], Message(kind, number, 0, b"x" * 99))
            )
            came[0].trap(NotRelayed)
            self.assertEqual(self.links[A].said[-1], Message(BROKEN, number))

    def test_answered_twice(self) -> None:
        """So does a second answer."""
        number, _ = self.open()
        for _ in range(2):
            self.streams.received(self.links[A], Message(OPENED, number))
        self.clock.advance(0)
        self.assertEqual(self.links[A].said[-1], Message(BROKEN, number))
        self.assertIsNotNone(self.ends[0].lost)


class BugTests(StreamsCase):
    """Nothing can be made of a stream. Whose bytes are being read is the carrier, whose link must
    not end; and nothing of the stream stays registered."""

    def built(self, addr: object) -> End:
        raise ZeroDivisionError

    def test_accepted(self) -> None:
        """A stream that leads here is refused."""
        for _ in range(MAX_FROM_OPENER + 1):
            self.assertEqual(self.arrive(D).kind, REFUSED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), MAX_FROM_OPENER + 1)
        self.assertFalse(self.streams._ends or self.streams._from)

    def test_opened(self) -> None:
        """One that this node has asked for is broken, and who asked for it hears why."""
        number, came = self.open()
        self.streams.received(self.links[A], Message(OPENED, number))
        came[0].trap(ZeroDivisionError)
        self.assertEqual(self.links[A].said[-1], Message(BROKEN, number))
        self.assertFalse(self.streams._ends or self.streams._opening)

    def test_protocol(self) -> None:
        """One whose protocol raises when it is connected is broken, too."""

        class Broken(End):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        self.streams.accept_with(Factory.forProtocol(Broken))
        self.assertEqual(self.arrive(D).kind, BROKEN)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertFalse(self.streams._ends or self.streams._from)


class UselessTests(StreamsCase):
    """What counts as useless, so that who sends much of it is not read for a while."""

    def test_bytes_one_by_one(self) -> None:
        """A message for each byte, to an end and to a node that carries; not the sizes in which
        packets come."""
        end = self.arrive(D).stream
        carried, _ = self.carried()
        for number in (end, carried):
            used = [
                self.streams.received(self.links[A], Message(PIECE, number, at, bytes(size)))
                for at, size in ((0, 1), (1, 1), (2, 40), (42, 1))
            ]
            self.assertEqual(used, [False, False, True, False])

    def test_early_bytes(self) -> None:
        """Single bytes that wait at an end for those before them cost what they take."""
        end = self.arrive(D).stream
        for number in range(100):
            self.streams.received(self.links[A], Message(PIECE, end, 1 + 2 * number, b"x"))
        self.assertGreater(self.memory.held, 100 * 100)

    def test_credit(self) -> None:
        """Credit that lets an end send no more than before."""
        end = self.arrive(D).stream
        used = [
            self.streams.received(self.links[A], Message(CREDIT, end, WINDOW + more))
            for more in (0, 1, WINDOW, WINDOW)
        ]
        self.assertEqual(used, [False, False, True, False])
