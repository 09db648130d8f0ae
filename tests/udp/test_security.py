"""What a session accepts from the network: keys, epochs, replays, forged datagrams, and nonsense of
a member."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.support.datagrams import Ledger, datagram_of, export, received, sealed, two_ends
from tests.udp.test_session import BULK, JOINED, PING, PLAIN
from tunmesh.packets import virtio
from tunmesh.udp.session import Session
from tunmesh.udp.window import SIZE
from tunmesh.wire.datagrams import (
    CONTROL_TRAILER,
    EPOCH_BITS,
    HEAD,
    MAX_DATAGRAM,
    MIN_DATAGRAM,
    TCP,
    TRAILER,
    UDP,
    WHOLE,
    key_context,
)

EPOCH = 1 << EPOCH_BITS


class Keys(unittest.SynchronousTestCase):
    """Which keys there are."""

    def test_contexts(self) -> None:
        """Each direction and each epoch has a key of its own, and both ends agree on them."""
        asked: list[bytes] = []

        def noting(context: bytes) -> bytes:
            asked.append(context)
            return export(context)

        Session(noting, True, 7)
        self.assertEqual(sorted(asked), [b"c\0\0\0\0", b"s\0\0\0\0"])
        asked.clear()
        Session(noting, False, 9)
        self.assertEqual(sorted(asked), [b"c\0\0\0\0", b"s\0\0\0\0"])

    def test_reflected(self) -> None:
        """What a node has sent is not accepted when it comes back."""
        client, _ = two_ends()
        self.assertEqual(received(client, sealed(client, [PING, BULK], 1472)), [])
        self.assertEqual(client.received, 0)
        self.assertGreater(client.undecryptable, 40)

    def test_other_index(self) -> None:
        """The index is authenticated, too."""
        client, server = two_ends()
        (sent,) = sealed(client, [PING], 1472)
        self.assertEqual(received(server, [b"\1" + sent[1:]]), [])
        self.assertEqual(received(server, [sent]), [PING])


class Epochs(unittest.SynchronousTestCase):
    """A key is used for 2^23 datagrams."""

    def test_change(self) -> None:
        """At the end of an epoch the next one begins, without a gap for those who talk, and what
        is late is still accepted."""
        client, server = two_ends()
        client._counter = EPOCH - 3
        received(server, sealed(client, [PING], 1472))
        late = sealed(client, [PING], 1472)
        across = sealed(client, [PLAIN, PING, PLAIN], 1472)
        counters = [HEAD.unpack_from(each)[1] for each in across]
        self.assertEqual(counters[0], EPOCH)  # a frame is of one epoch
        self.assertEqual(received(server, across), [PLAIN, PING, PLAIN])
        self.assertEqual(received(server, late), [PING])
        self.assertEqual(received(server, late), [])
        self.assertEqual((server.undecryptable, server.replayed), (0, 1))

    def test_each_counter(self) -> None:
        """The last counter of an epoch has its key, and the first of the next one the next."""
        client, server = two_ends()
        client._counter = EPOCH - 1
        last, first = sealed(client, [PING, PING], 1472)
        self.assertEqual(last, datagram_of(PING[10:] + PING[:10] + _whole(PING), EPOCH - 1))
        self.assertEqual(first, datagram_of(PING[10:] + PING[:10] + _whole(PING), EPOCH))
        self.assertEqual(received(server, [first, last]), [PING, PING])

    def test_small(self) -> None:
        """What is sealed the short way is what is sealed otherwise: with the next counter, whatever
        was sealed before or in between, and with the key of its epoch."""
        (short, _), (long, _) = two_ends(), two_ends()
        short._counter = long._counter = EPOCH - 2
        for frame in PING, PLAIN[:1400], PING, PING + bytes(3):
            data, size = short.seal_small(frame)
            self.assertEqual([bytes(data)], sealed(long, [frame], 1472))
            self.assertEqual(size, len(data))
        self.assertEqual(short.seal_control(b"a"), long.seal_control(b"a"))
        self.assertEqual(sealed(short, [BULK], 1472), sealed(long, [BULK], 1472))
        self.assertEqual(bytes(short.seal_small(PING)[0]), *sealed(long, [PING], 1472))
        self.assertEqual(short.sent, long.sent)

    def test_interrupted(self) -> None:
        """What was counted before the end of an epoch, and is sealed after it, has its key."""
        client, server = two_ends()
        client._counter = EPOCH - 2
        frames = PING, PING + bytes(100)
        sends = client.seal(frames, 1472)
        datagrams = [bytes(next(sends)[0])]
        datagrams += sealed(client, [BULK], 1472)
        datagrams += [bytes(data) for data, _ in sends]
        self.assertEqual(HEAD.unpack_from(datagrams[-1])[1], EPOCH - 1)
        self.assertEqual(received(server, datagrams), [PING, BULK, frames[1]])

    def test_leap(self) -> None:
        """The epoch after the next one is refused without asking for a key, and so is one that is
        over."""
        asked: list[bytes] = []

        def noting(context: bytes) -> bytes:
            asked.append(context)
            return export(context)

        server = Session(noting, False, 9)
        asked.clear()
        for counter in (2 * EPOCH, 3 * EPOCH + 5, (1 << 64) - 1):
            datagram = HEAD.pack(9, counter) + bytes(50)
            self.assertEqual(received(server, [datagram]), [])
        self.assertEqual((server.undecryptable, server.highest, asked), (3, 0, []))
        whole = PING[10:] + PING[:10] + _whole(PING)
        for epoch in (1, 2, 3):
            counter = epoch * EPOCH + 9000
            self.assertEqual(received(server, [datagram_of(whole, counter)]), [PING])
        self.assertEqual(asked, [key_context(b"c", epoch) for epoch in (1, 2, 3)])
        self.assertEqual(received(server, [datagram_of(whole, 2 * EPOCH)]), [])
        self.assertEqual(server.replayed, 1)
        self.assertEqual(len(server._open), 2)


class Replays(unittest.SynchronousTestCase):
    """A datagram counts once."""

    def test_replayed(self) -> None:
        """Datagrams that come twice deliver nothing the second time, alone or in bulk."""
        client, server = two_ends()
        sent = sealed(client, [BULK, JOINED, PING, PLAIN], 1472)
        self.assertEqual(received(server, sent), [BULK, JOINED, PING, PLAIN])
        self.assertEqual(received(server, sent), [])
        self.assertEqual(received(server, sent[::-1], 1), [])
        self.assertEqual(server.replayed, 2 * len(sent))

    def test_twice_in_a_buffer(self) -> None:
        """The same in one buffer of the kernel's."""
        client, server = two_ends()
        sent = sealed(client, [PING] * 3, 1472)
        self.assertEqual(
            received(server, [sent[0], sent[1], sent[1], sent[2], sent[0]]), [PING] * 3
        )

    def test_too_old(self) -> None:
        """What is older than the window is refused, what is within it is not."""
        client, server = two_ends()
        sent = sealed(client, [PING] * (SIZE + 1), 1472)
        received(server, sent[2:])
        self.assertEqual(received(server, sent[:2]), [PING])

    def test_forged_counter(self) -> None:
        """A forged datagram does not move the window."""
        client, server = two_ends()
        sent = sealed(client, [PING] * 2, 1472)
        received(server, [HEAD.pack(9, EPOCH - 1) + sent[0][HEAD.size :]])
        self.assertEqual(server.highest, 0)
        self.assertEqual(received(server, sent), [PING] * 2)
        self.assertTrue(server.is_newest)

    def test_newest(self) -> None:
        """An old datagram, or a replayed one, says nothing about where its sender is now."""
        client, server = two_ends()
        sent = sealed(client, [PING] * 3, 1472)
        for index, newest in ((1, True), (0, False), (1, False), (2, True)):
            received(server, [sent[index]])
            self.assertEqual(server.is_newest, newest)


class Strangers(unittest.SynchronousTestCase):
    """Datagrams of somebody who has seen an index."""

    def test_among_good_ones(self) -> None:
        """A damaged datagram is lost, and the others of its buffer are not."""
        client, server = two_ends()
        sent = sealed(client, [PING] * 9, 1472)
        for index in (0, 4, 8):
            sent[index] = sent[index][:-1] + bytes((sent[index][-1] ^ 1,))
        self.assertEqual(received(server, sent), [PING] * 6)
        self.assertEqual((server.undecryptable, server.received), (3, 6))

    def test_cost(self) -> None:
        """Those among good ones cost no more than that all are decrypted twice."""
        client, server = two_ends()
        sent = sealed(client, [BULK], 1472)[:40]
        for index in range(20, 40, 2):
            sent[index] = sent[index][:-1] + bytes((sent[index][-1] ^ 1,))
        decrypt, calls = server._open[0], []

        def counting(*arguments: Any) -> object:
            calls.append(1)
            return decrypt(*arguments)

        server._open[0] = counting
        Ledger([BULK]).check(received(server, sent))
        self.assertEqual((server.received, server.undecryptable), (30, 10))
        self.assertLess(len(calls), 80)

    def test_holes(self) -> None:
        """Nothing is decrypted twice because others were lost."""
        client, server = two_ends()
        sent = sealed(client, [BULK], 1472)
        decrypt, calls = server._open[0], []

        def counting(*arguments: Any) -> object:
            calls.append(1)
            return decrypt(*arguments)

        server._open[0] = counting
        arriving = [each for at, each in enumerate(sent) if at not in (3, 4, 9, 30)]
        Ledger([BULK]).check(received(server, arriving))
        self.assertEqual(len(calls), len(arriving))

    def test_memory(self) -> None:
        """They cost no memory."""
        _, server = two_ends()
        junk = [HEAD.pack(9, 1 + n) + bytes(16 + n % 1400) for n in range(3000)]
        received(server, junk[:1500], 1)
        tracemalloc.start()
        received(server, junk[1500:], 1)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(used, 5000)
        self.assertEqual(server.undecryptable, 3000)

    def test_short(self) -> None:
        """What is too short to be a datagram is no datagram."""
        _, server = two_ends()
        for size in range(1, MIN_DATAGRAM):
            self.assertEqual(received(server, [bytes(size)]), [])
        self.assertEqual(server.received, 0)


class Control(unittest.SynchronousTestCase):
    """Messages beside the frames."""

    def test_padded(self) -> None:
        """They arrive without their padding, with the size of the datagram that carried them."""
        client, server = two_ends()
        for message, pad in ((b"", 0), (b"ping", 0), (b"ping", 1472), (bytes(300), 9000)):
            datagram = client.seal_control(message, pad)
            self.assertEqual(len(datagram), max(pad, len(message) + 31))
            got = server.open(memoryview(datagram), len(datagram))
            self.assertEqual(list(got), [(message, len(datagram))])
        self.assertEqual(server.open(memoryview(datagram), len(datagram)), ())
        self.assertEqual(server.frames(), [])

    def test_between_slices(self) -> None:
        """A message between two frames disturbs neither."""
        client, server = two_ends()
        sent = sealed(client, [BULK], 1472)
        ping = client.seal_control(b"ping", 1472)
        sent += [ping, *sealed(client, [BULK], 1472)]
        self.assertEqual(received(server, sent), [BULK, BULK])


class Nonsense(unittest.SynchronousTestCase):
    """A member may say anything. It is counted, or it is a frame that the table will refuse."""

    def check(self, *plaintexts: bytes) -> list[bytes]:
        _, server = two_ends()
        got = received(
            server, [datagram_of(text, 1 + counter) for counter, text in enumerate(plaintexts)]
        )
        self.assertEqual(server.received, len(plaintexts))
        self.assertTrue(all(len(frame) <= 65_535 + 255 for frame in got))
        return got

    def test_malformed(self) -> None:
        """Trailers that contradict the datagram or themselves."""
        for text in (
            b"",
            b"\1",
            b"\0",
            CONTROL_TRAILER.pack(1, 0),
            bytes(5) + TRAILER.pack(0, 0, 5, 6, TCP),
            bytes(5) + TRAILER.pack(0, 0, 0, 0, WHOLE),
            bytes(5) + TRAILER.pack(0, 5, 5, 0, WHOLE),
            bytes(5) + TRAILER.pack(1, 0, 5, 0, WHOLE),
            bytes(5) + TRAILER.pack(0, 0, 5, 0, 4),
            bytes(5) + TRAILER.pack(0, 0, 5, 0, 255),
        ):
            self.assertEqual(self.check(text), [], text)

    def test_headers(self) -> None:
        """Headers that are none, in parts of frames."""
        for kind in (TCP, UDP):
            for head in (b"", bytes(10), b"\1" + bytes(9), BULK[:30], BULK[:62], JOINED[:38]):
                for total in (2000, 65_535):
                    slices = [
                        bytes(1000) + head + TRAILER.pack(n, offset, total, len(head), kind)
                        for n, offset in enumerate((0, 64_535, 1000))
                    ]
                    for frame in self.check(*slices):
                        self.assertIn(virtio.well_formed(frame), (True, False))

    def test_whole_that_is_never_complete(self) -> None:
        """Of a frame that is said to be large, no more is held than came, and in few pieces."""
        _, server = two_ends()
        received(server, [datagram_of(PING, 1)])  # what a session needs is there
        tracemalloc.start()
        begin, _ = tracemalloc.get_traced_memory()
        for n in range(1, 1000):
            text = b"x" + TRAILER.pack(n, n, 65_535, 0, WHOLE)
            self.assertEqual(received(server, [datagram_of(text, 1 + n)]), [])
        end, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertEqual(server.received, 1000)
        self.assertLess(end - begin, 40_000)

    def test_whole_that_overlaps(self) -> None:
        """Slices of a frame that overlap end up in a frame of the size that they state."""
        slices = [
            bytes((n,)) * 100 + TRAILER.pack(n, offset, 200, 0, WHOLE)
            for n, offset in enumerate((50, 0))
        ]
        self.assertEqual(self.check(*slices), [b"\1" * 100 + b"\0" * 50 + bytes(50)])

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((1, 2, 3, 4, 9)),
                st.sampled_from((0, 1, 100, 1400, MAX_DATAGRAM - MIN_DATAGRAM - 300)),
                st.one_of(st.binary(max_size=255), st.sampled_from((BULK[:62], JOINED[:38]))),
                st.tuples(
                    st.integers(0, 3),
                    st.sampled_from((0, 1, 100, 1400, 2800, 65_535)),
                    st.sampled_from((0, 1, 100, 1400, 2000, 65_535)),
                    st.sampled_from((0, 10, 38, 62, 255)),
                    st.integers(0, 5),
                ),
            ),
            max_size=12,
        )
    )
    def test_anything(
        self, datagrams: list[tuple[int, int, bytes, tuple[int, int, int, int, int]]]
    ) -> None:
        """Nothing raises, and no frame is longer than a packet and headers can be."""
        _, server = two_ends()
        counter = 0
        for ahead, size, head, trailer in datagrams:
            counter += ahead
            text = bytes(size) + head + TRAILER.pack(*trailer)
            for frame in received(server, [datagram_of(text, counter)]):
                virtio.well_formed(frame)
                self.assertLessEqual(len(frame), 65_535 + 255)


def _whole(frame: bytes) -> bytes:
    return struct.pack(">HHHBB", 0, 0, len(frame) - 10, 10, WHOLE)
