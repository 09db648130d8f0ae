"""How much of the kernel's memory the fragments of peers may use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.dataplane.fragments import LIMIT, OVERHEAD, Reassembly
from tunmesh.packets.ip_headers import Fragment

TIMEOUT = 30.0
PIECE = 1480


def pieces(name: int, size: int, piece: int = PIECE) -> list[Fragment]:
    """A datagram of that size, in fragments."""
    starts = range(0, size, piece)
    key = name.to_bytes(8, "big")
    return [
        Fragment(key, start, min(piece, size - start), start + piece >= size) for start in starts
    ]


class ReassemblyTests(unittest.SynchronousTestCase):
    """What is admitted, and what is held."""

    def setUp(self) -> None:
        self.reassembly = Reassembly(TIMEOUT)

    def hoard(self, peer: str, now: float = 0.0, first: int = 0) -> int:
        """Send first fragments of new datagrams until one is refused; how many went through."""
        count = 0
        while self.reassembly.admit(now, peer, pieces(first + count, 2 * PIECE)[0]):
            count += 1
        return count

    def test_whole_datagrams_hold_nothing(self) -> None:
        """Any number of datagrams that become complete is admitted, in whatever order the fragments
        come."""
        for number in range(3000):
            parts = pieces(number, 8000)
            parts = parts[number % 6 :] + parts[: number % 6]
            self.assertTrue(all(self.reassembly.admit(0, "honest", part) for part in parts))
        self.assertEqual(self.reassembly.held, 0)

    def test_a_hoarder_is_stopped(self) -> None:
        """One peer gets half of the limit, and there is room for another one then."""
        self.hoard("hoarder")
        self.assertLessEqual(self.reassembly.held, LIMIT / 2 + PIECE + OVERHEAD)
        self.assertGreater(self.reassembly.held, LIMIT / 2 - 2 * (PIECE + OVERHEAD))
        parts = pieces(1 << 40, 65_000)
        self.assertTrue(all(self.reassembly.admit(0, "honest", part) for part in parts))

    def test_a_hoarder_beside_its_own_traffic(self) -> None:
        """Complete datagrams do not allow a peer to hold more incomplete ones."""
        for number in range(300):
            self.assertTrue(self.reassembly.admit(0, "hoarder", pieces(number, 2 * PIECE)[0]))
        for part in pieces(1 << 40, 2 * PIECE):
            self.assertTrue(self.reassembly.admit(0, "hoarder", part))
        self.hoard("hoarder", first=1 << 20)
        self.assertLessEqual(self.reassembly.held, LIMIT / 2 + PIECE + OVERHEAD)

    def test_many_hoarders(self) -> None:
        """However many peers hoard, less than the limit is held, and each gets something."""
        counts = [self.hoard(f"hoarder {n}", first=n << 20) for n in range(20)]
        self.assertLess(self.reassembly.held, LIMIT)
        self.assertTrue(all(counts[:5]))

    def test_forgotten_when_the_kernel_forgets(self) -> None:
        """A datagram that is incomplete after the kernel's timeout is no longer held."""
        count = self.hoard("hoarder")
        self.assertEqual(self.hoard("hoarder", TIMEOUT - 0.1, 1 << 20), 0)
        self.assertEqual(self.hoard("hoarder", TIMEOUT, 1 << 20), count)

    def test_overlap(self) -> None:
        """Overlapping fragments are refused, so that no incomplete datagram counts as complete."""
        first, second, _ = pieces(1, 3 * PIECE)
        self.assertTrue(self.reassembly.admit(0, "peer", first))
        self.assertFalse(self.reassembly.admit(0, "peer", first))
        self.assertFalse(self.reassembly.admit(0, "peer", second._replace(start=8)))
        last = Fragment(first.datagram, PIECE - 8, 16, True)
        self.assertFalse(self.reassembly.admit(0, "peer", last))
        self.assertEqual(self.reassembly.held, PIECE + OVERHEAD)

    def test_impossible_sizes(self) -> None:
        """Fragments that are empty, or end beyond 65,535 bytes, are refused."""
        self.assertFalse(self.reassembly.admit(0, "peer", Fragment(b"x", 8, 0, True)))
        self.assertFalse(self.reassembly.admit(0, "peer", Fragment(b"x", 65_528, 8, True)))

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 100),  # eighths of a second since the one before
                st.sampled_from("abc"),
                st.integers(0, 3),  # which datagram
                st.integers(0, 5),
                st.integers(0, 3),
                st.booleans(),
            ),
            max_size=60,
        )
    )
    def test_beside_a_slow_one(self, history: list[tuple[int, str, int, int, int, bool]]) -> None:
        """It admits and holds the same as a naive implementation that scans everything each
        time."""
        limit = 3 * OVERHEAD
        reassembly, now = Reassembly(TIMEOUT, limit), 0.0
        held: dict[bytes, list[tuple[float, str, Fragment]]] = {}
        for wait, peer, name, start, size, is_last in history:
            now += wait / 8  # exact in binary: the two add up in different orders
            fragment = Fragment(bytes((name,)), 8 * start, 8 * size, is_last)
            held = {key: all_ for key, all_ in held.items() if now - all_[0][0] < TIMEOUT}
            cost = fragment.size + OVERHEAD
            everything = [each for all_ in held.values() for each in all_]
            owners = {key: all_[0][1] for key, all_ in held.items()}
            total = sum(each.size + OVERHEAD for _, _, each in everything)
            its = sum(
                each.size + OVERHEAD
                for key, all_ in held.items()
                for _, _, each in all_
                if owners[key] == peer
            )
            others = held.get(fragment.datagram, [])
            overlaps = any(
                set(range(each.start, each.start + each.size))
                & set(range(fragment.start, fragment.start + fragment.size))
                for _, _, each in others
            )
            expected = size > 0 and its + cost <= limit - total and not overlaps
            self.assertEqual(reassembly.admit(now, peer, fragment), expected)
            if expected:
                held.setdefault(fragment.datagram, []).append((now, peer, fragment))
                parts = [each for _, _, each in held[fragment.datagram]]
                ends = [each.start + each.size for each in parts if each.is_last]
                if ends and sum(each.size for each in parts) == ends[-1]:
                    del held[fragment.datagram]
            self.assertEqual(
                reassembly.held,
                sum(each.size + OVERHEAD for all_ in held.values() for _, _, each in all_),
            )
