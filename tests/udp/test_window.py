"""Anti-replay: which counters were received."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.udp.window import SIZE, Window


class Windows(unittest.SynchronousTestCase):
    """The newest counters are known one by one."""

    def test_replayed(self) -> None:
        """What was received is not fresh, what is missing is, and what is too old is not."""
        window = Window()
        self.assertTrue(window.is_fresh(1))
        window.mark(1)
        window.mark(5)
        self.assertEqual(
            [window.is_fresh(n) for n in range(7)], [n in (2, 3, 4, 6) for n in range(7)]
        )
        window.mark(3)
        self.assertFalse(window.is_fresh(3))
        window.mark(SIZE + 3)
        self.assertEqual([window.is_fresh(n) for n in (2, 3, 4, 5)], [False, False, True, False])
        self.assertEqual(window.highest, SIZE + 3)

    def test_zero(self) -> None:
        """Counters start from 1: 0 is never fresh."""
        window = Window()
        self.assertFalse(window.is_fresh(0))
        window.mark(2)
        self.assertFalse(window.is_fresh(0))

    def test_leap(self) -> None:
        """A leap beyond the window forgets all in it, and nothing of it seems received."""
        window = Window()
        window.mark_run(1, SIZE)
        window.mark(10 * SIZE + 77)
        behind = range(9 * SIZE + 78, 10 * SIZE + 77)
        self.assertTrue(all(map(window.is_fresh, behind)))
        self.assertFalse(window.is_fresh(9 * SIZE + 77))

    def test_idle(self) -> None:
        """A window in which nothing was marked holds no memory."""
        window = Window()
        window.is_fresh(1 << 62)
        self.assertEqual(len(window._ring), 0)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(-SIZE - 9, 3 * SIZE), st.sampled_from((1, 1, 2, 44, 900, SIZE))),
            max_size=30,
        )
    )
    def test_like_a_set(self, steps: list[tuple[int, int]]) -> None:
        """It agrees with a set of all counters that were received."""
        window, received = Window(), {0}
        for ahead, count in steps:
            first = window.highest + ahead
            if ahead > 0 and count > 1:
                window.mark_run(first, count)
                received |= set(range(first, first + count))
            else:
                is_new = first > max(received) - SIZE and first > 0 and first not in received
                self.assertEqual(window.is_fresh(first), is_new)
                if is_new:
                    window.mark(first)
                    received.add(first)
            self.assertEqual(window.highest, max(received))
        for counter in range(max(1, window.highest - SIZE - 2), window.highest + 2):
            is_new = counter > window.highest - SIZE and counter not in received
            self.assertEqual(window.is_fresh(counter), is_new)
