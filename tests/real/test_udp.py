"""Real nodes whose UDP path fails in every way: a stream and pings inside the mesh go on, over UDP
or over TCP, and every byte of the stream is right."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.real.test_mesh import MeshCase
from tests.real.test_nat import RouterCase
from tests.support.realnode import RealNode, reactor
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.underlay import CABLE

BLOCK = 1 << 16
PACE = 0.02  # seconds from one block to the next
NODAD = 2  # IFA_F_NODAD: the address can be used at once
NEWS = 1.5  # seconds, since a peer's new sources are looked at once a second at most


class Source(Protocol):
    """Sends the same block again and again, at a steady pace."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._loop = task.LoopingCall(self._send)

    def connectionMade(self) -> None:
        self._loop.start(PACE)

    def _send(self) -> None:
        assert self.transport is not None
        self.transport.write(self._block)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._loop.running:
            self._loop.stop()

    def end(self) -> None:
        """Send no more."""
        self._loop.stop()
        assert self.transport is not None
        self.transport.loseConnection()


class Sink(Protocol):
    """Checks every byte."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self.received = self.wrong = 0
        self.ended: Deferred[None] = Deferred()
        self._awaited: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        at = self.received % BLOCK
        expected = (self._block * (2 + len(data) // BLOCK))[at : at + len(data)]
        self.wrong += data != expected
        self.received += len(data)
        awaited, self._awaited = self._awaited, []
        for each in awaited:
            each.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    def more(self) -> Deferred[None]:
        """Something comes."""
        self._awaited.append(Deferred())
        return self._awaited[-1]


class Stream:
    """A TCP connection from one node to another, and all that it carries."""

    def __init__(self, case: MeshCase, sender: int, receiver: int) -> None:
        block = os.urandom(BLOCK)
        self.source, self.sink = Source(block), Sink(block)
        server, client = Factory.forProtocol(lambda: self.sink), ClientFactory()
        client.protocol = lambda: self.source
        with case.ground.namespace(receiver):
            port = reactor.listenTCP(0, server, interface=case.address(receiver))
        case.addCleanup(port.stopListening)
        with case.ground.namespace(sender):
            reactor.connectTCP(case.address(receiver), port.getHost().port, client)


def nft(namespace: Namespace, rules: str) -> None:
    """Drop what these chains drop, and nothing else."""
    with namespace:
        text = f"table inet faults\ndelete table inet faults\ntable inet faults {{\n{rules}\n}}\n"
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


CHAIN = "chain {0} {{\n type filter hook {0} priority 0\n udp {1} drop\n}}"
DEAF = CHAIN.format("input", "dport 4567")  # nothing comes
MUTE = CHAIN.format("output", "sport 4567")  # nothing may be sent: the node is told
NARROW = CHAIN.format("input", "length > 1300")


def segment(namespace: Namespace) -> None:
    """Have datagrams leave one by one, as on a real cable: on a veth pair many stay one packet."""
    with namespace, IPRoute() as ip:
        ip.link("set", index=socket.if_nametoindex(CABLE), gso_max_segs=1)


UDP: dict[str, Any] = {"networking__transport": "udp", "logging__levels": {"link": "debug"}}
OFTEN_RENEWED: dict[str, Any] = {
    "process__timing": {
        "auth": {"session_max_age": 1.0},
        "registrations": {"groom_interval": 0.25},
    }
}


class UdpCase(RouterCase):
    """Two nodes, a stream between them, and faults of UDP."""

    nodes = 2

    def setUp(self) -> None:
        super().setUp()
        for plan in self.ground.plans:
            self.ground.change(plan.number, **UDP)

    async def over(self, transport: str, *nodes: RealNode) -> None:
        """These nodes send by this transport from now on."""
        for node in nodes:
            await node.logged("transport", transport=transport)

    async def come_up(self, count: int = 2) -> list[RealNode]:
        """So many nodes are linked, and the first two use UDP."""
        nodes = await self.ground.linked(count)
        await self.over("udp", *nodes[:2])
        return nodes

    async def peer(self, number: int, other: int) -> dict[str, Any]:
        """What a node's status says about another one."""
        peers = (await self.ground.status(number))["peers"]
        found: dict[str, Any] = next(each for each in peers if each["name"] == f"node{other}")
        return found

    async def goes_on(self, stream: Stream, what: str) -> None:
        """The stream goes on, and pings are answered, in both directions."""
        await stream.sink.more()
        for one, other in ((1, 2), (2, 1)):
            self.assertTrue(await self.ping(one, other), what)

    async def end(self, stream: Stream) -> None:
        stream.source.end()
        await stream.sink.ended
        self.assertEqual(stream.sink.wrong, 0)
        self.assertGreater(stream.sink.received, 0)


class BlockedTests(UdpCase):
    """Something on the way drops datagrams."""

    nodes = 3

    def setUp(self) -> None:
        super().setUp()
        self.ground.change(3, networking__transport="tcp")

    async def test_blocked(self) -> None:
        """Datagrams are dropped in both directions, in one, or not sent at all: each time the
        stream goes on over TCP, and over UDP again when the fault is over. When only large ones are
        dropped, UDP goes on with smaller ones. A node without UDP is spoken to over TCP."""
        first, second, _ = await self.come_up(3)
        stream = Stream(self, 1, 2)
        await self.goes_on(stream, "over UDP")
        for faults in ({1: DEAF, 2: DEAF}, {2: DEAF}, {1: MUTE}):
            for number, rules in faults.items():
                nft(self.ground.namespace(number), rules)
            await self.over("tcp", first, second)
            await self.goes_on(stream, f"{faults}")
            for number in faults:
                nft(self.ground.namespace(number), "")
            await self.over("udp", first, second)
            await self.goes_on(stream, "over UDP again")
        segment(self.ground.namespace(1))
        nft(self.ground.namespace(2), NARROW)
        await self.size_falls(stream, 1292)
        await self.goes_on(stream, "small datagrams")
        await self.end(stream)
        await self.exchange(1, 3)
        await self.exchange(3, 1)
        self.assertEqual((await self.peer(1, 2))["transport"], "udp")
        self.assertEqual((await self.peer(1, 3))["transport"], "tcp")
        self.assertIsNone((await self.peer(3, 1))["udp"])

    async def test_from_the_start(self) -> None:
        """UDP is blocked from the start: that is said, and packets go over TCP. Then it is not, but
        the path has an MTU of 576, for which TCP is better. Then one of 1,280, which UDP uses."""
        segment(self.ground.namespace(1))
        nft(self.ground.namespace(2), DEAF)
        self.narrow(2, 576)
        first, second = await self.ground.linked(2)
        stream = Stream(self, 1, 2)
        self.assertIn("is not answered", (await first.logged("no_udp"))["reason"])
        await self.goes_on(stream, "blocked from the start")
        nft(self.ground.namespace(2), "")
        while "only short ones" not in (await self.peer(1, 2))["udp"]["why"]:
            await stream.sink.more()
        await self.goes_on(stream, "MTU 576")
        self.narrow(2, 1280)
        await self.over("udp", first, second)
        await self.goes_on(stream, "MTU 1,280")
        self.assertLessEqual((await self.peer(1, 2))["udp"]["size"], 1252)
        await self.end(stream)

    def narrow(self, number: int, mtu: int) -> None:
        """The cable of this node has this MTU."""
        with self.ground.namespace(number), IPRoute() as ip:
            ip.link("set", index=socket.if_nametoindex(CABLE), mtu=mtu)

    async def size_falls(self, stream: Stream, most: int) -> None:
        """Datagrams of the first node to the second have become so small."""
        while (await self.peer(1, 2))["udp"]["size"] > most:
            await stream.sink.more()


class RenewedTests(UdpCase):
    """Links that are replaced all the time."""

    async def test_renewed_over_ipv6(self) -> None:
        """Outside the nodes have IPv6, and their link is renewed every second: the stream goes on
        over UDP, and nothing of it goes over TCP."""
        for number in (1, 2):
            with self.ground.namespace(number), IPRoute() as ip:
                index = socket.if_nametoindex(CABLE)
                ip.addr("add", index=index, address=f"fd99::{number}", prefixlen=64, flags=NODAD)
            first = {"bootstrap_node_urls": ["https://[fd99::1]:4567"]}
            self.ground.change(
                number,
                clustering__control_api_advertise_url=f"https://[fd99::{number}]:4567",
                clustering__bootstrap_groups={"first": first},
                **UDP,
                **OFTEN_RENEWED,
            )
        nodes = await self.come_up()
        stream = Stream(self, 1, 2)
        for _ in range(3):
            await nodes[0].logged("retired")
            await self.goes_on(stream, "renewed")
        peer = await self.peer(1, 2)
        self.assertEqual((peer["transport"], peer["dropped_packets"]), ("udp", 0))
        self.assertEqual(
            (peer["udp"]["address"], peer["udp"]["undecryptable"]), ("[fd99::2]:4567", 0)
        )
        for node in nodes:
            self.assertEqual(len(node.all_logged("transport")), 1)
        await self.end(stream)


class MovingTests(UdpCase):
    """A node whose address or port changes, as others see it."""

    async def test_rebound(self) -> None:
        """A NAT gives another port to a node that cannot be reached otherwise: UDP goes on."""
        router = self.behind_router(2, MARK)
        first, _ = await self.come_up()
        stream = Stream(self, 1, 2)
        await self.goes_on(stream, "behind a NAT")
        while (peer := await self.peer(1, 2))["linked_for"] < NEWS:
            await stream.sink.more()
        before = peer["udp"]["address"]
        with router:
            subprocess.run(["nft", "-f", "-"], input=OTHER_PORT, text=True, check=True)
            with NFCTSocket() as connections:
                connections.flush(mark=UDP_MARK, mark_mask=0xFFFFFFFF)
        while (await self.peer(1, 2))["udp"]["address"] == before:
            await stream.sink.more()
        await self.goes_on(stream, "another port")
        self.assertEqual((await self.peer(1, 2))["transport"], "udp")
        self.assertEqual(len(first.all_logged("transport")), 1)
        await self.end(stream)

    async def test_roams(self) -> None:
        """A node has another address: UDP goes on, and the nodes have another link before the old
        one is given up."""
        await self.come_up()
        stream = Stream(self, 1, 2)
        await self.goes_on(stream, "at its first address")
        with self.ground.namespace(2), IPRoute() as ip:
            index = socket.if_nametoindex(CABLE)
            ip.flush_addr(index=index, family=socket.AF_INET)
            ip.addr("add", index=index, address="10.99.0.77", prefixlen=24)
        moved = reactor.seconds()
        while "10.99.0.77" not in (await self.peer(1, 2))["udp"]["address"]:
            await stream.sink.more()
        await self.goes_on(stream, "at another address")
        for one, other in ((1, 2), (2, 1)):
            while (await self.peer(one, other))["linked_for"] > reactor.seconds() - moved:
                await stream.sink.more()
            while (await self.peer(one, other))["transport"] != "udp":
                await stream.sink.more()
        await self.goes_on(stream, "linked again")
        await self.end(stream)


UDP_MARK = 7  # of connections, in the router
MARK = f"""
table inet marks {{
    chain forward {{
        type filter hook forward priority 0
        meta l4proto udp ct mark set {UDP_MARK}
    }}
}}
"""
OTHER_PORT = """
flush table ip nat
table ip nat {
    chain out {
        type nat hook postrouting priority 100
        oifname "eth0" meta l4proto udp masquerade to :30000-30009
        oifname "eth0" masquerade
    }
}
"""
