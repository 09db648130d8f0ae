"""What the forwarder relies on, of each kind of carrier: the one in memory and links."""

from __future__ import annotations

from collections import Counter
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from tests.support.links import LinkCase
from tunmesh.dataplane.carrier import Carrier
from tunmesh.dataplane.drops import DropReason
from tunmesh.testing.carrier import MemoryCarrier
from tunmesh.testing.tun import frame
from tunmesh.wire import messages, sizes


def packets(count: int, size: int) -> list[bytes]:
    """Frames of one flow."""
    return [
        frame("10.9.0.1", "10.9.0.2", number.to_bytes(2, "big") + bytes(size))
        for number in range(count)
    ]


class Contract(TestCase):
    """`begin()` makes the carrier and whatever is at the other end; `arrived()` are the frames that
    have come there, in the end; after `congest()` the path takes nothing, until
    `relieve()`."""

    drops: Counter[str]

    def begin(self) -> Carrier:
        raise NotImplementedError

    def arrived(self) -> list[bytes]:
        raise NotImplementedError

    def congest(self) -> None:
        raise NotImplementedError

    def relieve(self) -> None:
        raise NotImplementedError

    def measure(self) -> None:
        """Whatever makes the round trip known happens."""
        raise NotImplementedError

    def test_frames(self) -> None:
        """Frames of every size arrive as they are, those of one flow in order."""
        carrier = self.begin()
        sent = [*packets(10, 1400), *packets(2, 65_000), bytes(sizes.MAX_DATA_FRAME - 1)]
        carrier.send(sent[:10])
        carrier.send(sent[10:])
        self.assertEqual(self.arrived(), sent)
        self.assertEqual((carrier.dropped, carrier.queued_bytes), (0, 0))

    def test_congested(self) -> None:
        """What the path does not take waits, and is sent as soon as it does."""
        carrier = self.begin()
        self.congest()
        before, sent = len(self.arrived()), packets(5, 1400)
        carrier.send(sent)
        self.assertEqual(carrier.queued_bytes, sum(map(len, sent)))
        self.relieve()
        self.assertEqual(self.arrived()[before:][-5:], sent)
        self.assertEqual((carrier.dropped, carrier.queued_bytes), (0, 0))

    def test_bounded(self) -> None:
        """A path that takes nothing costs a bounded amount of memory; what is too much is dropped
        and counted."""
        carrier = self.begin()
        self.congest()
        for _ in range(100):
            carrier.send(packets(2, 60_000))
        self.assertLess(carrier.queued_bytes, 4 << 20)
        self.assertGreater(carrier.dropped, 0)
        self.assertEqual(self.drops, {DropReason.QUEUE_FULL: carrier.dropped})

    def test_closed(self) -> None:
        """What waits when a carrier is closed, and what is sent afterwards, is dropped and counted.
        To close it again changes nothing."""
        carrier = self.begin()
        self.congest()
        carrier.send(packets(3, 1400))
        carrier.close(messages.LEAVING)
        carrier.send(packets(4, 1400))
        carrier.close(messages.LEAVING)
        self.assertEqual((carrier.dropped, carrier.queued_bytes), (7, 0))
        self.assertEqual(self.drops, {DropReason.LINK_LOST: 7})

    def test_cost(self) -> None:
        """The round trip is not known at first."""
        carrier = self.begin()
        self.assertIsNone(carrier.round_trip)
        self.measure()
        assert carrier.round_trip is not None
        self.assertGreater(carrier.round_trip, 0)


class MemoryCarrierTests(Contract, SynchronousTestCase):
    """The carrier in memory."""

    def begin(self) -> Carrier:
        self.drops = Counter()
        self.carrier = MemoryCarrier(self._dropped)
        self.frames: list[bytes] = []
        return self.carrier

    def _dropped(self, reason: DropReason, count: int) -> None:
        self.drops[reason] += count

    def arrived(self) -> list[bytes]:
        self.carrier.deliver(self._receive)
        return self.frames

    def _receive(self, frames: list[memoryview]) -> int:
        self.frames += map(bytes, frames)
        return 0

    def congest(self) -> None:
        self.carrier.block()

    def relieve(self) -> None:
        self.carrier.unblock()

    def measure(self) -> None:
        self.carrier.round_trip = 0.001


class LinkTests(Contract, LinkCase):
    """A link."""

    def begin(self) -> Carrier:
        self.come_up()
        self.drops = self.owner.dropped
        return self.link

    def arrived(self) -> list[bytes]:
        self.advance(1)
        return self.other.packets()

    def congest(self) -> None:
        self.block()

    def relieve(self) -> None:
        self.network.heal()
        self.advance(0.01)

    def measure(self) -> None:
        self.link.probe(lambda alive: None)
        self.advance(0.01)
        self.other.say(b"o" + self.other.heard[-1][1:])
        self.advance(0.01)


del Contract  # it is no test by itself
