"""The frame decoder, fed whole, byte by byte and in random chunks, compared with Twisted's."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import NetstringReceiver
from twisted.trial import unittest

from tunmesh.errors import PeerError
from tunmesh.wire.netstring import Decoder, encode

LIMIT = 100
MAX_DIGITS = 9

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)
PAYLOADS = st.lists(st.binary(max_size=LIMIT), max_size=8)
# The pieces of random streams, in an order that may or may not be valid.
PIECES = st.one_of(
    st.binary(max_size=LIMIT + 10).map(encode),
    st.sampled_from([b"0", b"1", b"7", b"12", b":", b",", b"-", b"+", b" ", b"\n", b"a"]),
    st.sampled_from([b"0:", b"3:", b"00:", b"007:sixteen,", b"100:", b"101:", b"99999999999"]),
    st.binary(max_size=3),
)

Outcome = tuple[list[bytes], str | None]


def cut(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The stream in chunks of these sizes, repeated until its end."""
    offset = 0
    while offset < len(stream):
        for size in sizes:
            yield stream[offset : offset + size]
            offset += size


def decoded(chunks: Iterable[bytes], limit: int = LIMIT) -> Outcome:
    """What a decoder makes of the chunks: payloads, and the reason if it refuses the rest."""
    decoder = Decoder(limit)
    payloads = []
    try:
        for chunk in chunks:
            for payload in decoder.feed(chunk):
                payloads.append(bytes(payload))
    except PeerError as error:
        return payloads, error.reason
    return payloads, None


class Stock(NetstringReceiver):
    """Twisted's receiver, which collects what it receives."""

    MAX_LENGTH = LIMIT

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def stringReceived(self, string: bytes) -> None:
        self.payloads.append(string)


def received(chunks: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """What Twisted's receiver makes of the chunks: payloads, and whether it refuses the rest."""
    stock = Stock()
    stock.makeConnection(StringTransport())
    for chunk in chunks:
        stock.dataReceived(chunk)
        if stock.brokenPeer:
            return stock.payloads, True
    return stock.payloads, False


class Literals(unittest.SynchronousTestCase):
    """Hand-written streams."""

    def test_encode(self) -> None:
        """A frame is its length in decimal, a colon, the payload and a comma."""
        self.assertEqual(encode(b"hello"), b"5:hello,")
        self.assertEqual(encode(b""), b"0:,")
        self.assertEqual(encode(b"x" * 1000), b"1000:" + b"x" * 1000 + b",")

    def test_decode(self) -> None:
        """Frames may be adjacent or empty, and contain colons and commas."""
        stream = b"5:hello,0:,4::,:,,1:\x00,"
        expected: Outcome = ([b"hello", b"", b":,:,", b"\x00"], None)
        self.assertEqual(decoded([stream]), expected)
        self.assertEqual(decoded(cut(stream, [1])), expected)

    def test_incomplete(self) -> None:
        """An incomplete frame is neither a payload nor an error."""
        for stream in (b"", b"5", b"5:", b"5:hell", b"5:hello", b"0:", b"999999999"):
            self.assertEqual(decoded([stream]), ([], None), stream)
            self.assertEqual(decoded(cut(stream, [1])), ([], None), stream)

    def test_announced(self) -> None:
        """Only the received part of a frame is held, whatever length was announced; nothing is held
        once it is complete, or after `clear`."""
        decoder = Decoder(1 << 30)
        self.assertEqual(list(decoder.feed(b"100000000:begin")), [])
        self.assertEqual(decoder.held, 5)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(1000):
            self.assertEqual(list(decoder.feed(b"x")), [])
        self.assertEqual(decoder.held, 1005)
        self.assertLess(tracemalloc.get_traced_memory()[1], 10_000)
        decoder.clear()
        self.assertEqual(decoder.held, 0)
        self.assertEqual([bytes(each) for each in decoder.feed(b"2:ab,3:c")], [b"ab"])
        self.assertEqual([bytes(each) for each in decoder.feed(b"de,")], [b"cde"])
        self.assertEqual(decoder.held, 0)

    def test_not_a_frame(self) -> None:
        """Bytes that cannot become a frame any more are refused, however they are split into
        chunks."""
        for stream in (
            b":",
            b",",
            b"hello",
            b"-1:x,",
            b"+1:x,",
            b" 1:x,",
            b"1 :x,",
            b"1_0:x,",
            b"0x1:x,",
            b"00:,",
            b"01:x,",
            b"0000000001:x,",
            b"1000000000:x,",
            b"5:hellox",
            b"5:hello:",
            b"0:x",
            "١:x,".encode(),
        ):
            self.assertEqual(decoded([stream]), ([], "framing"), stream)
            self.assertEqual(decoded(cut(stream, [1])), ([], "framing"), stream)

    def test_endless_digits(self) -> None:
        """An endless length is refused at its tenth digit."""
        self.assertEqual(decoded([b"9" * MAX_DIGITS]), ([], None))
        self.assertEqual(decoded([b"9" * (MAX_DIGITS + 1)]), ([], "framing"))
        self.assertEqual(decoded(cut(b"9" * (MAX_DIGITS + 1), [1])), ([], "framing"))

    def test_frames_before_the_error(self) -> None:
        """The frames before an invalid one are still delivered."""
        self.assertEqual(decoded([b"1:a,2:bc,x"]), ([b"a", b"bc"], "framing"))


class Limit(unittest.SynchronousTestCase):
    """The limit on the length of a payload."""

    def test_at_the_limit(self) -> None:
        """A payload of exactly the limit is accepted; one byte more is refused before it
        arrives."""
        self.assertEqual(decoded([encode(b"x" * LIMIT)]), ([b"x" * LIMIT], None))
        self.assertEqual(decoded([b"101:"]), ([], "oversized"))
        self.assertEqual(decoded(cut(b"101:", [1])), ([], "oversized"))
        self.assertEqual(decoded([b"999999999:"]), ([], "oversized"))

    def test_raised_between_two_frames(self) -> None:
        """A limit that is raised after a frame applies to the next frame in the same chunk."""
        decoder = Decoder(5)
        frames = decoder.feed(b"5:hello,6:worlds,")
        self.assertEqual(next(frames), b"hello")
        decoder.limit = 6
        self.assertEqual(list(frames), [b"worlds"])

    def test_lowered_between_two_frames(self) -> None:
        """A limit that is lowered after a frame applies to the next frame in the same chunk."""
        decoder = Decoder(5)
        frames = decoder.feed(b"5:hello,5:world,")
        self.assertEqual(next(frames), b"hello")
        decoder.limit = 4
        self.assertEqual(self.assertRaises(PeerError, next, frames).reason, "oversized")

    def test_raised_after_a_spanning_frame(self) -> None:
        """The same holds if the first frame began in an earlier chunk."""
        decoder = Decoder(5)
        self.assertEqual(list(decoder.feed(b"5:he")), [])
        frames = decoder.feed(b"llo,6:worlds,")
        self.assertEqual(next(frames), b"hello")
        decoder.limit = 6
        self.assertEqual(list(frames), [b"worlds"])

    def test_changed_inside_a_frame(self) -> None:
        """A frame whose length has been accepted is not refused later."""
        decoder = Decoder(5)
        self.assertEqual(list(decoder.feed(b"5:he")), [])
        decoder.limit = 1
        self.assertEqual(list(decoder.feed(b"llo,")), [b"hello"])


class Memory(unittest.SynchronousTestCase):
    """What the decoder copies, and what it holds."""

    def test_no_copy(self) -> None:
        """A frame inside one chunk is a view of it, not a copy."""
        chunk = b"5:hello,5:world,"
        for frame in Decoder(LIMIT).feed(chunk):
            self.assertIs(frame.obj, chunk)

    def test_payloads_stay(self) -> None:
        """A payload that the caller holds does not change when more data arrives."""
        decoder = Decoder(LIMIT)
        kept = [frame for chunk in cut(b"5:hello,5:world,", [6]) for frame in decoder.feed(chunk)]
        list(decoder.feed(b"9:different,"))
        self.assertEqual(kept, [b"hello", b"world"])

    @settings(max_examples=150, deadline=None)
    @given(st.lists(PIECES, max_size=12).map(b"".join), SIZES)
    def test_bound(self, stream: bytes, sizes: list[int]) -> None:
        """Whatever arrives, at most one frame and the digits of a length are held."""
        decoder = Decoder(LIMIT)
        for chunk in cut(stream, sizes):
            try:
                list(decoder.feed(chunk))
            except PeerError:
                return
            self.assertLessEqual(len(decoder._header), MAX_DIGITS)
            self.assertLessEqual(len(decoder._frame), LIMIT + 1)


class AnyInput(unittest.SynchronousTestCase):
    """Random streams in random chunks."""

    @settings(max_examples=150, deadline=None)
    @given(PAYLOADS, SIZES)
    def test_round_trip(self, payloads: list[bytes], sizes: list[int]) -> None:
        """Encoded payloads are decoded again, however the stream is split into chunks."""
        stream = b"".join(map(encode, payloads))
        self.assertEqual(decoded([stream]), (payloads, None))
        self.assertEqual(decoded(cut(stream, [1])), (payloads, None))
        self.assertEqual(decoded(cut(stream, sizes)), (payloads, None))

    @settings(max_examples=400, deadline=None)
    @given(st.lists(PIECES, max_size=12).map(b"".join), SIZES)
    def test_beside_twisted(self, stream: bytes, sizes: list[int]) -> None:
        """For any stream, Twisted's receiver yields the same payloads and refuses the same
        rest.

        The final "x" removes the only difference: when a length is invalid before its colon has
        arrived (a leading zero, a newline, too many digits), one of the two may refuse it a few
        bytes earlier.
        """
        stream += b"x"
        payloads, refused = received([stream])
        for chunks in ([stream], cut(stream, [1]), cut(stream, sizes)):
            ours, reason = decoded(chunks)
            self.assertEqual((ours, reason is not None), (payloads, refused))
