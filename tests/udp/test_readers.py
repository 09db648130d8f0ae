"""Whose datagrams are, checked against a slow oracle."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.udp.port import Place, Reader
from tunmesh.udp.readers import Readers
from tunmesh.wire.datagrams import MIN_DATAGRAM
from tunmesh.wire.sizes import INDEX_SIZE

SOURCE = ("192.0.2.1", 4567)


class Pile:
    """Keeps the datagrams that it is given."""

    def __init__(self) -> None:
        self.datagrams_: list[bytes] = []
        self.turns = 0

    def datagrams(self, data: memoryview, size: int, source: Place) -> bool:
        assert source == SOURCE
        whole = bytes(data)
        self.datagrams_ += [whole[at : at + size] for at in range(0, len(whole), size)]
        return len(whole) % 2 == 1

    def read_ended(self) -> None:
        self.turns += 1


class ReadersTests(unittest.SynchronousTestCase):
    """What the kernel has joined."""

    @given(
        st.integers(1, 90),
        st.lists(st.integers(0, 3), min_size=1, max_size=64),
        st.integers(0, 89),
        st.binary(max_size=200),
    )
    def test_sorted(self, size: int, whose: list[int], last: int, behind: bytes) -> None:
        """Each datagram comes to whoever has its index, whole and in order; what is too short, or
        nobody's, is counted; whatever the buffer still has behind them."""
        readers = Readers(random.Random(1).randbytes)
        piles = [Pile() for _ in range(3)]
        indexes = [readers.open(pile) for pile in piles]
        heads = [index.to_bytes(INDEX_SIZE, "big") for index in (*indexes, 0)]
        sent = [
            (heads[index] + bytes([number]) * size)[:size] for number, index in enumerate(whose)
        ]
        sent[-1] = sent[-1][: max(1, size - last)]
        expected: list[list[bytes]] = [[] for _ in piles]
        strangers = 0
        for datagram in sent:
            if len(datagram) >= MIN_DATAGRAM and datagram[:INDEX_SIZE] in heads[:3]:
                expected[heads.index(datagram[:INDEX_SIZE])].append(datagram)
            else:
                strangers += 1
        buffer = b"".join(sent)
        served: dict[Reader, None] = {}
        readers.sort(bytearray(buffer + behind), len(buffer), size, SOURCE, served)
        readers.end_turn(served)
        self.assertEqual([pile.datagrams_ for pile in piles], expected)
        self.assertEqual(readers.strangers, strangers)
        self.assertEqual([pile.turns for pile in piles], [bool(each) for each in expected])

    def test_nothing(self) -> None:
        """An empty datagram is one, too."""
        readers = Readers(random.Random(1).randbytes)
        self.assertFalse(readers.sort(bytearray(100), 0, 0, SOURCE, {}))
        self.assertEqual(readers.strangers, 1)
