"""Real nodes whose path is cut, or loses large TCP segments without a word, and hosts whose
addresses change: noticed soon, and lived with."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.task import deferLater

from tests.real.test_mesh import IPV4, MEGABYTE
from tests.real.test_udp import Stream, UdpCase, nft, segment
from tests.support.realnode import RealNode, reactor
from tunmesh.dialing.segments import LIMITS
from tunmesh.localmesh.plan import LISTEN_PORT
from tunmesh.localmesh.underlay import CABLE, PREFIX_LENGTH

CUT = f"""
chain input {{ type filter hook input priority 0; iifname {CABLE} drop; }}
chain output {{ type filter hook output priority 0; oifname {CABLE} drop; }}
"""
NARROW = """
chain input {{
 type filter hook input priority 0
 tcp dport {port} meta length > {most} drop
 tcp sport {port} meta length > {most} drop
}}
"""
OVER_TCP: dict[str, Any] = {"networking__transport": "tcp"}
OVER_BOTH: dict[str, Any] = {"networking__transport": "auto"}


class PathCase(UdpCase):
    """Two nodes, and a stream between them."""

    transport = OVER_TCP

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2):
            self.ground.change(number, **self.transport)

    def narrow(self, most: int, *to: int) -> None:
        """TCP segments in packets of more bytes are lost on their way to these nodes."""
        for number in (1, 2):
            segment(self.ground.namespace(number))
        for number in to:
            nft(self.ground.namespace(number), NARROW.format(port=LISTEN_PORT, most=most))

    async def small(self, *nodes: RealNode) -> int:
        """One of these nodes has said that segments are limited: to how much."""
        sizes: list[int] = []
        while not sizes:
            await deferLater(reactor, 0.1)
            sizes = [each["size"] for node in nodes for each in node.all_logged("small_segments")]
        return min(sizes)


class CutTests(PathCase):
    """A path that carries nothing, and a process that does nothing."""

    async def test_cut(self) -> None:
        """A cut while packets go out is noticed by the node that sends them: two pings were not
        answered, and nobody has waited for silence."""
        first, _ = await self.ground.linked(2)
        stream = Stream(self, 1, 2)
        await stream.sink.more()
        nft(self.ground.namespace(2), CUT)
        event = await first.logged("unlinked", peer="node2")
        self.assertIn("two pings", event["reason"])
        nft(self.ground.namespace(2), "")
        await first.logged("linked", peer="node2")
        await stream.sink.more()
        await self.end(stream)

    async def test_stopped(self) -> None:
        """A process that is stopped for three seconds, under traffic, is not given up, nor does it
        give up its peer when it goes on."""
        first, second = await self.ground.linked(2)
        streams = Stream(self, 1, 2), Stream(self, 2, 1)
        for stream in streams:
            await stream.sink.more()
        os.kill(second.pid, signal.SIGSTOP)
        await deferLater(reactor, 3.0)  # that is the fault
        os.kill(second.pid, signal.SIGCONT)
        for stream in streams:
            await stream.sink.more()
        await deferLater(reactor, 2.0)  # what would be concluded from the pause is concluded by now
        for stream in streams:
            await self.end(stream)
        for node in (first, second):
            self.assertEqual(node.all_logged("unlinked"), [])


class CutOverUdpTests(CutTests):
    """The same where packets go over UDP."""

    transport = OVER_BOTH


class NarrowTests(PathCase):
    """A path that loses TCP segments above a size without a word, for which no ICMP comes."""

    async def narrow_from_the_start(self, most: int, limit: int, *to: int) -> None:
        self.narrow(most, *to)
        nodes = await self.ground.linked(2)
        self.assertEqual(await self.small(*nodes), limit)
        await self.upload(1, 2, os.urandom(MEGABYTE), IPV4)
        await self.upload(2, 1, os.urandom(MEGABYTE), IPV4)
        for number, other in ((1, 2), (2, 1)):
            peer = await self.peer(number, other)
            self.assertLessEqual(peer["tcp_segment"], limit)

    async def test_1280(self) -> None:
        """Segments in packets of more than 1,280 bytes are lost: links have smaller ones."""
        await self.narrow_from_the_start(1280, LIMITS[0], 1, 2)

    async def test_1000(self) -> None:
        """Those of more than 1,000 bytes are lost: links have the smallest."""
        await self.narrow_from_the_start(1000, LIMITS[1], 1, 2)

    async def test_one_way(self) -> None:
        """Only what the listener sends is lost, all but the smallest: the node that dials sees
        nothing of it."""
        await self.narrow_from_the_start(600, LIMITS[1], 2)

    async def test_later(self) -> None:
        """The path loses large segments from now on, and then smaller ones, too: each time a stream
        goes on, over another link, and the peer does not part."""
        nodes = await self.ground.linked(2)
        stream = Stream(self, 1, 2)
        await stream.sink.more()
        for most, limit in ((1280, LIMITS[0]), (600, LIMITS[1])):
            self.narrow(most, 1, 2)
            while await self.small(*nodes) > limit:
                await stream.sink.more()
            received = stream.sink.received
            while stream.sink.received < received + MEGABYTE // 4:
                await stream.sink.more()
        await self.end(stream)
        self.assertTrue(await self.ping(2, 1))


class OwnAddressTests(PathCase):
    """The host of a node gets another address."""

    async def test_moves(self) -> None:
        """The node dials its peers at once, though nothing is sent: nobody waits for silence."""
        first, second = await self.ground.linked(2)
        await self.exchange(1, 2)
        with self.ground.namespace(2), IPRoute() as ip:
            index = socket.if_nametoindex(CABLE)
            ip.flush_addr(index=index, family=socket.AF_INET)
            ip.addr("add", index=index, address="10.99.0.77", prefixlen=PREFIX_LENGTH)
        event = await second.logged("host_addresses")
        self.assertEqual(event["links"], 1)
        self.assertIn("10.99.0.77 came", event["change"])
        while not await self.ping(2, 1, patience=1.0):
            pass
        self.assertTrue(await self.ping(1, 2))
        self.assertEqual((await self.peer(1, 2))["name"], "node2")
        for node in (first, second):
            gone = [each["reason"] for each in node.all_logged("unlinked")]
            self.assertLessEqual(len(gone), 1)
            self.assertNotIn("silent for", "".join(gone))
