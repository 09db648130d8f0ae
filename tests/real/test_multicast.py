"""Multicast with real kernels: who gets what, and what programs on other machines see."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.trial import unittest

from tests.support import netns
from tests.support.realnode import TUN, Ground, reactor
from tunmesh.addresses import link_local
from tunmesh.host.namespaces import Namespace

CARRIED: Any = {
    "networking__ipv4__enable_multicast": True,
    "networking__ipv6__enable_multicast": True,
}
GROUPS = ("239.1.2.3", "ff05::5", "224.0.0.99", "ff02::99")
AGAIN = 0.05  # seconds from one attempt to the next
# linux/in.h, linux/in6.h
_IP_ADD_SOURCE_MEMBERSHIP, _MCAST_JOIN_SOURCE_GROUP = 39, 46


class Member(DatagramProtocol):
    """A socket that may be in a group. Tells the first datagram with a certain content."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._awaited: tuple[bytes, Deferred[tuple[str, int]]] | None = None

    def hears(self, content: bytes) -> Deferred[tuple[str, int]]:
        """Fires with the sender of the next datagram with this content."""
        answer: Deferred[tuple[str, int]] = Deferred()
        self._awaited = (content, answer)
        return answer

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.heard.append(datagram)
        if self._awaited is not None and self._awaited[0] == datagram:
            answer, self._awaited = self._awaited[1], None
            answer.callback(addr[:2])


def tun_of(namespace: Namespace) -> int:
    with namespace:
        return socket.if_nametoindex(TUN)


def open_socket(namespace: Namespace, address: str, port: int = 0) -> socket.socket:
    """A UDP socket at an address in the namespace; a link-local one is that of the tun."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with namespace:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            opened.bind((address, port, 0, tun_of(namespace)))
        else:
            opened.bind((address, port))
    opened.setblocking(False)
    return opened


def join(opened: socket.socket, index: int, group: str, own: str, source: str = "") -> None:
    """Have the socket join a group on the interface with this index and IPv4 address."""
    packed = ip_address(group).packed
    if ":" in group and source:
        filler = bytes(100)
        ends = [
            struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, ip_address(each).packed, 0) + filler
            for each in (group, source)
        ]
        request = struct.pack("=I4x", index) + b"".join(ends)
        opened.setsockopt(socket.IPPROTO_IPV6, _MCAST_JOIN_SOURCE_GROUP, request)
    elif ":" in group:
        request = packed + struct.pack("@I", index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    elif source:
        request = packed + socket.inet_aton(own) + socket.inet_aton(source)
        opened.setsockopt(socket.IPPROTO_IP, _IP_ADD_SOURCE_MEMBERSHIP, request)
    else:
        request = packed + socket.inet_aton(own)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


class MulticastCase(unittest.TestCase):
    skip = netns.skip_reason()

    async def begin(self, count: int, automatic: bool = False) -> None:
        self.ground = Ground(self, count, automatic)
        for plan in self.ground.plans:
            self.ground.change(plan.number, **CARRIED)
        await self.ground.linked(count)

    def adopt(self, opened: socket.socket) -> tuple[Member, int]:
        """Read it until the end of the test; its port."""
        member, port = Member(), int(opened.getsockname()[1])
        adopted = reactor.adoptDatagramPort(opened.fileno(), opened.family, member)
        opened.close()
        self.addCleanup(adopted.stopListening)
        return member, port

    def member(self, number: int, group: str, source: str = "") -> tuple[Member, int]:
        """A program on that node's machine that joins a group, from one source or from all."""
        namespace = self.ground.namespace(number)
        opened = open_socket(namespace, group)
        own = self.ground.plans[number - 1].ipv4
        with namespace:
            join(opened, tun_of(namespace), group, own, source)
        return self.adopt(opened)

    async def send(
        self, number: int, to: str, port: int, content: bytes, until: Awaitable[Any] | None
    ) -> Any:
        """Send a datagram from that node's machine out of its tun, once, or until this happens."""
        namespace = self.ground.namespace(number)
        index = tun_of(namespace)
        sender = open_socket(namespace, "::" if ":" in to else "0.0.0.0")
        self.addCleanup(sender.close)
        if ":" in to:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        else:
            request = struct.pack("=4x4xi", index)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        place = (to, port, 0, index) if ":" in to else (to, port)
        if until is None:
            sender.sendto(content, place)
            return None
        again = LoopingCall(sender.sendto, content, place)
        again.start(AGAIN)
        try:
            return await until
        finally:
            again.stop()

    async def carried(self, number: int) -> dict[str, Any]:
        """What the node says of multicast."""
        status = await self.ground.status(number)
        found: dict[str, Any] = status["multicast"]
        return found


class Groups(MulticastCase):
    """Programs that join groups on the tun."""

    async def test_members_only(self) -> None:
        """Whoever has joined a group gets its packets, over IPv4 and IPv6, in link-local groups as
        well; no other node is sent any. After a leave they are sent to nobody."""
        await self.begin(3)
        copies = 0
        for group in GROUPS:
            member, port = self.member(2, group)
            await self.send(1, group, port, b"to two", member.hears(b"to two"))
            told = await self.carried(1)
            self.assertGreater(told["copies"], copies)
            (entry,) = (each for each in told["groups"] if each["group"] == group)
            self.assertEqual(entry["nodes"], [{"name": "node2", "sources": "all"}])
            copies = told["copies"]
        self.assertEqual(told["packets"], told["copies"])
        tun = (await self.ground.status(3))["tun"]["rx"]["packets"]
        queries = 2 * 3  # of both families, so far
        self.assertLessEqual(tun, queries)

    async def test_sources(self) -> None:
        """A program that wants one source gets its packets, and others do not even leave."""
        await self.begin(3)
        for group, version in (("232.1.1.1", 4), ("ff3e::1234", 6)):
            plan = self.ground.plans[0]
            member, port = self.member(2, group, plan.ipv4 if version == 4 else plan.ipv6)
            await self.send(1, group, port, b"wanted", member.hears(b"wanted"))
            before = (await self.ground.status(3))["dropped_packets"].get("multicast", 0)
            await self.send(3, group, port, b"unwanted", None)
            while (await self.ground.status(3))["dropped_packets"].get("multicast", 0) == before:
                pass
            self.assertNotIn(b"unwanted", member.heard)

    async def test_bursts(self) -> None:
        """Datagrams that are sent at once, which a node joins, arrive each by itself."""
        await self.begin(2)
        member, port = self.member(2, "239.1.2.3")
        await self.send(1, "239.1.2.3", port, b"begin", member.hears(b"begin"))
        namespace = self.ground.namespace(1)
        sender = open_socket(namespace, "0.0.0.0")
        self.addCleanup(sender.close)
        sender.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4x4xi", tun_of(namespace))
        )
        contents = [bytes([number]) * 1200 for number in range(60)]
        for content in contents:
            sender.sendto(content, ("239.1.2.3", port))
        await member.hears(contents[-1])
        self.assertEqual([each for each in member.heard if len(each) == 1200], contents)


class LinkLocal(MulticastCase):
    """IPv6 link-local addresses on the tun."""

    async def exchange(self, one: str, other: str) -> None:
        """A datagram to all nodes is heard, and answered to the link-local address it came from."""
        asked, port = self.adopt(open_socket(self.ground.namespace(2), "::"))
        sender, _ = await self.send(1, "ff02::1", port, b"who?", asked.hears(b"who?"))
        self.assertEqual(sender.partition("%")[0], one)
        answered, back = self.adopt(open_socket(self.ground.namespace(1), one))
        source, _ = await self.send(2, one, back, b"me", answered.hears(b"me"))
        self.assertEqual(source.partition("%")[0], other)

    def local(self, address: str) -> str:
        return str(ip_address(link_local(ip_address(address).packed)))

    def on_tun(self, number: int) -> set[str]:
        with self.ground.namespace(number), IPRoute() as ip:
            found = ip.get_addr(index=socket.if_nametoindex(TUN), family=socket.AF_INET6)
        return {each.get_attr("IFA_ADDRESS") for each in found}

    async def test_static(self) -> None:
        """Between nodes whose addresses are assigned; what the kernel asks of routers and
        neighbours is not sent to others."""
        await self.begin(2)
        one, other = (self.local(plan.ipv6) for plan in self.ground.plans)
        self.assertEqual(self.on_tun(1), {self.ground.plans[0].ipv6, one})
        await self.exchange(one, other)
        for number in (1, 2):
            dropped = (await self.ground.status(number))["dropped_packets"]
            self.assertEqual(dropped.get("link_control", 0), 0)

    async def test_chosen(self) -> None:
        """Between nodes that choose their addresses: the helper process puts both on the tun."""
        await self.begin(2, automatic=True)
        ends = []
        for number in (1, 2):
            while not (status := await self.ground.status(number))["ready"]:
                pass
            (own,) = (each for each in status["node"]["addresses"] if ":" in each)
            address = own.partition("/")[0]
            self.assertEqual(self.on_tun(number), {address, self.local(address)})
            ends.append(self.local(address))
        await self.exchange(*ends)


class Off(MulticastCase):
    """Without the keys."""

    async def test_nothing(self) -> None:
        """Nothing is asked, sent or heard, and the tun has no link-local address."""
        self.ground = Ground(self, 2)
        await self.ground.linked(2)
        self.member(2, "239.1.2.3")
        await self.send(1, "239.1.2.3", 5000, b"in vain", None)
        while not (await self.ground.status(1))["dropped_packets"].get("multicast"):
            pass
        for number in (1, 2):
            status = await self.ground.status(number)
            self.assertIsNone(status["multicast"])
            self.assertEqual(status["tun"]["rx"]["packets"], 0)
