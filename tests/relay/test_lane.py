"""What waits for its turn on a link."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.relay.lane import Lane, Numbers
from tunmesh.wire.streams import (
    BROKEN,
    CREDIT,
    END,
    MAX_PIECE,
    MOST_NUMBER,
    OPENED,
    PIECE,
    Message,
    decode,
)


def taken(lane: Lane, most: int = MAX_PIECE) -> list[Message]:
    messages = []
    while payload := lane.take(most):
        messages.append(decode(payload))
    return messages


class LaneTests(SynchronousTestCase):
    """One lane."""

    def test_order(self) -> None:
        """Answers and credit go before bytes, of several credits only the last; the end goes behind
        the bytes."""
        calls: list[int] = []
        lane = Lane(3, lambda: calls.append(lane.held))
        lane.end(4)
        lane.push(0, b"abcd")
        lane.grant(5)
        lane.grant(6)
        lane.say(Message(OPENED, 3))
        self.assertEqual(lane.held, 4)
        self.assertEqual(
            taken(lane),
            [
                Message(OPENED, 3),
                Message(CREDIT, 3, 6),
                Message(PIECE, 3, 0, b"abcd"),
                Message(END, 3, 4),
            ],
        )
        self.assertEqual((calls, lane.is_over, lane.held), ([0, 0], True, 0))

    def test_cut_and_joined(self) -> None:
        """Pieces are cut where the link has little room; small ones are joined while they wait, but
        not over a gap."""
        lane = Lane(1)
        for at, each in enumerate(b"abcdef"):
            lane.push(at, bytes((each,)))
        lane.push(9, b"j")
        self.assertEqual(
            [(each.value, each.body) for each in taken(lane, 4)],
            [(0, b"abcd"), (4, b"ef"), (9, b"j")],
        )
        lane.push(0, bytes(MAX_PIECE))
        lane.push(MAX_PIECE, b"x")
        self.assertEqual(len(taken(lane)), 2)

    def test_broken(self) -> None:
        """A stream that is over says so, and nothing else."""
        lane = Lane(1)
        lane.push(0, b"abc")
        lane.end(3)
        lane.break_off()
        self.assertEqual((lane.held, taken(lane)), (0, [Message(BROKEN, 1)]))

    def test_numbers(self) -> None:
        """Two nodes never choose the same number for a link between them."""
        one, other = "1" * 32, "2" * 32
        here, there = Numbers(one), Numbers(other)
        ours = {here.new(other) for _ in range(9)}
        theirs = {there.new(one) for _ in range(9)}
        self.assertEqual(len(ours | theirs), 18)
        self.assertTrue(all(there.is_theirs(one, number) for number in ours))
        self.assertFalse(any(there.is_theirs(one, number) for number in theirs))

    def test_numbers_begin_anew(self) -> None:
        """Members may have used up all numbers: then they begin anew, without those in use."""
        used = {2, 3, 4, 5}
        for one, other in (("1" * 32, "2" * 32), ("2" * 32, "1" * 32)):
            numbers = Numbers(one, lambda _, number: number in used)
            numbers._count = MOST_NUMBER // 2 - 2
            new = [numbers.new(other) for _ in range(4)]
            self.assertEqual(len({*new} - used), 4)
            for number in new:
                self.assertEqual(decode(Message(BROKEN, number).encode()).stream, number)
