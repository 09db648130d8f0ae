"""Frames over UDP: sealed as datagrams at one end, opened and joined at the other."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.packets.test_udp_segments import datagram
from tests.packets.test_virtio import ip_packet
from tests.support.datagrams import Ledger, received, sealed, two_ends
from tests.support.segmentation import ACK, CWR, ECE, FIN, PSH, tcp_frame, udp_frame
from tunmesh.packets import virtio
from tunmesh.udp.slices import fitting
from tunmesh.wire.datagrams import (
    SLICE_OVERHEAD,
)

PING = bytes(10) + ip_packet("10.77.0.2", "10.77.0.1", bytes(64), 1)
PLAIN = bytes(10) + ip_packet("fd77::2", "fd77::1", bytes(range(256)) * 30, 50)
BULK = tcp_frame(bytes(range(256)) * 254, flags=ACK | PSH | CWR)
JOINED = udp_frame(bytes(range(200)) * 64, unit=200)


class WholeFrames(unittest.SynchronousTestCase):
    """Nothing is lost on the way."""

    def test_identical(self) -> None:
        """What arrives is what was sent, byte for byte, both ways and in any size of datagrams."""
        frames = [PING, BULK, PLAIN, JOINED, PING, BULK, BULK]
        for sender, receiver in (two_ends(), two_ends()[::-1]):
            for size in (9000, 1472, 1200, 512):
                got = received(receiver, sealed(sender, frames, size))
                self.assertEqual(got, frames)
            self.assertEqual(receiver.received, sender.sent)
            self.assertEqual(receiver.highest, sender.sent)
            self.assertEqual((receiver.replayed, receiver.undecryptable), (0, 0))

    def test_few_sends(self) -> None:
        """Datagrams of many frames leave in few sends: those that are equally long in one."""
        client, _ = two_ends()
        sends = [len(data) // size for data, size in client.seal([PING] * 100, 1472)]
        self.assertEqual(sends, [64, 36])
        sends = [len(data) for data, _ in client.seal([BULK] * 20, 1472)]
        self.assertGreater(min(sends[:-1]), 64_000)
        self.assertLess(sum(sends), 20 * len(BULK) * 1.08)

    def test_lone(self) -> None:
        """A small packet is one datagram, 36 bytes longer than its frame."""
        client, _ = two_ends()
        ((data, size),) = client.seal([PING], 1472)
        self.assertEqual((len(data), size), (len(PING) + SLICE_OVERHEAD, len(PING) + 36))

    def test_too_coarse(self) -> None:
        """Joined datagrams of which none fits into a datagram are parted: they are lost one by
        one."""
        client, server = two_ends()
        burst = [datagram(bytes((n,)) * 1400, identification=n) for n in range(9)]
        joined = udp_frame(b"".join(frame[38:] for frame in burst), unit=1400)
        datagrams = sealed(client, [joined], 1200)
        self.assertEqual(len(datagrams), 18)
        got = received(server, datagrams[:3] + datagrams[4:])
        self.assertEqual(len(got), 8)
        Ledger([joined]).check(got)

    def test_delivered_in_place(self) -> None:
        """A segment of 64 KB is delivered as one piece of memory, out of two reads."""
        client, server = two_ends()
        for data, size in client.seal([BULK], 1472):
            server.open(data, size)
        (frame,) = server.frames()
        self.assertIsInstance(frame, memoryview)
        self.assertEqual(frame, BULK)


class Loss(unittest.SynchronousTestCase):
    """Some datagrams do not arrive."""

    def test_a_hole(self) -> None:
        """A lost slice of a TCP segment costs its own bytes: two segments are delivered, of which
        only the first has CWR, and only the last FIN and PSH."""
        frame = tcp_frame(bytes(range(250)) * 40, sequence=0xFFFFFF00, flags=ACK | CWR | FIN | PSH)
        client, server = two_ends()
        datagrams = sealed(client, [frame], 1200)
        got = received(server, datagrams[:3] + datagrams[4:])
        self.assertEqual(len(got), 2)
        Ledger([frame]).check(got)
        self.assertEqual([part[43] for part in got], [ACK | CWR, ACK | FIN | PSH])
        self.assertLess(len(frame) - sum(map(len, got)), 1200)

    def test_single_segment(self) -> None:
        """What is left of a segment may be shorter than a packet: then nothing is segmented."""
        client, server = two_ends()
        got = received(server, sealed(client, [BULK], 1200)[2:3])
        self.assertEqual([part[1] for part in got], [virtio.GSO_NONE])
        Ledger([BULK]).check(got)

    def test_next_read(self) -> None:
        """Nothing of a TCP segment is held back at the end of a read."""
        client, server = two_ends()
        datagrams = sealed(client, [BULK], 1472)
        got = received(server, datagrams[:10]) + received(server, datagrams[10:])
        self.assertEqual(len(got), 2)
        Ledger([BULK]).check(got)

    def test_whole(self) -> None:
        """A packet that cannot be cut waits for its last slice, in whatever order and reads they
        come; a newer one takes its place."""
        client, server = two_ends()
        first, second = sealed(client, [PLAIN], 1472), sealed(client, [PLAIN], 1472)
        self.assertEqual(received(server, first[:2] + first[:2:-1]), [])
        self.assertEqual(received(server, [first[2]]), [PLAIN])
        third = sealed(client, [PLAIN], 1472)
        self.assertEqual(received(server, second[1:]), [])
        self.assertEqual(received(server, third[1:]), [])
        self.assertEqual(received(server, second[:1]), [])
        self.assertEqual(received(server, third[:1]), [PLAIN])

    def test_numbers_do_not_repeat(self) -> None:
        """Slices of two frames are never joined, however much lies between them."""
        client, server = two_ends()
        one, other = PLAIN, PLAIN[:-1] + b"!"
        lost = sealed(client, [one], 1472)
        received(server, lost[:-1])
        client._counter += 65_536 - len(lost)
        self.assertEqual(received(server, sealed(client, [other], 1472)[-1:]), [])


Frames = Callable[[int], bytes]


def payloads(most: int) -> st.SearchStrategy[bytes]:
    sizes = st.one_of(st.integers(1, 3000), st.integers(1, most))
    return sizes.map(lambda size: (bytes(range(251)) * (most // 251 + 1))[:size])


tcp = st.builds(
    lambda payload, **fields: lambda port: tcp_frame(payload, port, **fields),
    payloads(65_200),
    version=st.sampled_from((4, 6)),
    extra=st.integers(0, 10),
    options=st.integers(0, 10),
    unit=st.sampled_from((0, 8, 536, 1000, 1448, 9000)),
    sequence=st.sampled_from((0, 7, 0xFFFF0000, 0xFFFFFFFF)),
    flags=st.sampled_from((ACK, ACK | FIN | PSH, ACK | ECE | CWR, ACK | CWR | PSH)),
    identification=st.sampled_from((0, 0xFFFE)),
)
udp = st.integers(1, 64).flatmap(
    lambda count: st.builds(
        lambda unit, lacking, **fields: (
            lambda port: udp_frame(
                (bytes(range(251)) * 261)[: max(1, min(unit, 65_000 // count) * count - lacking)],
                port,
                unit=min(unit, 65_000 // count),
                **fields,
            )
        ),
        st.sampled_from((1, 64, 200, 1172, 1400, 9000)),
        st.integers(0, 100),
        version=st.sampled_from((4, 6)),
        identification=st.sampled_from((0, 0xFFFE)),
    )
)
other = payloads(65_000).map(
    lambda payload: lambda port: bytes(10) + ip_packet("10.77.0.2", "10.77.0.1", payload, 50)
)


class Everything(unittest.SynchronousTestCase):
    """Any frames, in datagrams of any size."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.one_of(tcp, udp, other), min_size=1, max_size=5),
        st.sampled_from((512, 1200, 1201, 1472, 4000, 8972)),
        st.integers(1, 64),
    )
    def test_without_loss(self, made: list[Frames], size: int, at_once: int) -> None:
        """In order and without loss, what arrives is what was sent."""
        frames = [make(5000 + port) for port, make in enumerate(made)]
        client, server = two_ends()
        got = received(server, sealed(client, frames, size), at_once)
        self.assertEqual(got, list(fitting(frames, size - SLICE_OVERHEAD)))
        Ledger(frames).check(got)

    @settings(max_examples=250, deadline=None)
    @given(
        st.lists(st.one_of(tcp, udp, other), min_size=1, max_size=5),
        st.sampled_from((512, 1200, 1201, 1472, 4000, 8972)),
        st.randoms(use_true_random=False),
        st.data(),
    )
    def test_with_loss(
        self, made: list[Frames], size: int, chance: object, data: st.DataObject
    ) -> None:
        """Whatever is lost, doubled or comes in another order: what is delivered is part of what
        was sent, as packets that the sending kernel would have made of these bytes, once."""
        frames = [make(5000 + port) for port, make in enumerate(made)]
        client, server = two_ends()
        sent = sealed(client, frames, size)
        arriving = [each for each in sent if data.draw(st.integers(0, 7)) or len(sent) == 1]
        if data.draw(st.booleans()):
            chance.shuffle(arriving)  # type: ignore[attr-defined]
        for _ in range(data.draw(st.integers(0, 5)) if arriving else 0):
            again = data.draw(st.sampled_from(arriving))
            arriving.insert(data.draw(st.integers(0, len(arriving))), again)
        ledger = Ledger(frames)
        while arriving:
            count = data.draw(st.integers(1, 100))
            ledger.check(received(server, arriving[:count], data.draw(st.integers(1, 64))))
            arriving = arriving[count:]
        self.assertEqual(server.undecryptable, 0)
        self.assertEqual(server.malformed, 0)
