"""The real UDP port, over loopback and over cables between namespaces."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from tests.support import netns
from tunmesh.errors import OperatorError
from tunmesh.host import tcp_ports, udp_ports
from tunmesh.host.namespaces import Namespace
from tunmesh.udp.port import Place, Port, Sent
from tunmesh.udp.sockets.socket_port import TURN_BYTES, UdpPort
from tunmesh.wire.sizes import INDEX_SIZE

reactor: Any = trial_reactor
SO_NO_CHECK = 11  # asm-generic/socket.h


def loopback() -> tuple[str, ...]:
    """What this machine has: in many containers there is no ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return ("127.0.0.1",)
    return ("127.0.0.1", "::1")


LOOPBACK = loopback()


class Inbox:
    """Reads what comes for one index."""

    def __init__(self, port: Port, believes: bool = True) -> None:
        self.index = port.open(self)
        self.believes = believes
        self.came: list[tuple[bytes, int, Place]] = []  # each call: the data, the size, the source
        self.turns = 0
        self.fails: Exception | None = None
        self._awaited: list[tuple[int, Deferred[None]]] = []

    def datagrams(self, data: memoryview, size: int, source: Place) -> bool:
        self.came.append((bytes(data), size, source))
        if self.fails is not None:
            raise self.fails
        return self.believes

    def read_ended(self) -> None:
        self.turns += 1
        for wanted, done in self._awaited[:]:
            if self.total >= wanted:
                self._awaited.remove((wanted, done))
                done.callback(None)

    @property
    def total(self) -> int:
        return sum(len(data) for data, _, _ in self.came)

    async def holds(self, total: int) -> None:
        """Wait until so many bytes have come."""
        if self.total < total:
            done: Deferred[None] = Deferred()
            self._awaited.append((total, done))
            await done

    def datagram(self, size: int = 1400) -> bytes:
        """A datagram for it."""
        return self.index.to_bytes(INDEX_SIZE, "big") + os.urandom(size - INDEX_SIZE)


class PortCase(unittest.TestCase):
    """Two ports on this machine, or in namespaces of their own."""

    skip = netns.skip_reason()

    def port(
        self,
        where: Namespace | None = None,
        change: Callable[[socket.socket], socket.socket] = lambda bound: bound,
    ) -> UdpPort:
        if where is None:
            bound = udp_ports.bind(None, 0).socket
        else:
            with where:
                bound = udp_ports.bind(None, 4567).socket
        port = UdpPort(reactor, change(bound), random.randbytes)
        port.start()
        self.addCleanup(port.stop)
        return port

    def namespace(self) -> Namespace:
        made = Namespace.create()
        self.addCleanup(made.close)
        with made:
            netns.loopback_up()
        return made

    def cable(self, *addresses: tuple[str, str]) -> tuple[Namespace, Namespace]:
        """Two namespaces with a cable between them, and the addresses at both ends."""
        left, right = self.namespace(), self.namespace()
        netns.wire(left, addresses[0][0], right, addresses[0][1])
        for one, other in addresses[1:]:
            for namespace, address in ((left, one), (right, other)):
                add_address(namespace, address)
        return left, right


def add_address(namespace: Namespace, address: str) -> None:
    with namespace, IPRoute() as ip:
        # Without IFA_F_NODAD, an IPv6 address can be used only after a second.
        flags = {"flags": 0x02} if ":" in address else {}
        ip.addr("add", index=socket.if_nametoindex("eth0"), address=address, **flags)


def at(port: UdpPort, host: str) -> Place:
    with socket.socket(fileno=os.dup(port.fileno())) as same:
        return host, same.getsockname()[1]


class LoopbackTests(PortCase):
    """On one machine."""

    async def test_many_at_once(self) -> None:
        """44 datagrams leave in one call, and come in one call, over IPv4 and IPv6."""
        a, b = self.port(), self.port()
        for host in LOOPBACK:
            inbox = Inbox(b)
            data = b"".join(inbox.datagram(1424) for _ in range(43)) + inbox.datagram(500)
            self.assertIs(a.send(data, 1424, at(b, host)), Sent.DONE)
            await inbox.holds(len(data))
            self.assertEqual(inbox.came, [(data, 1424, at(a, host))])
            self.assertEqual(inbox.turns, 1)

    async def test_one(self) -> None:
        """A single datagram comes as it was sent."""
        a, b = self.port(), self.port()
        inbox = Inbox(b)
        data = inbox.datagram(28)
        self.assertIs(a.send(data, 1400, at(b, "127.0.0.1")), Sent.DONE)
        await inbox.holds(28)
        self.assertEqual(inbox.came, [(data, 28, at(a, "127.0.0.1"))])

    async def test_mixed(self) -> None:
        """Datagrams of two indexes, joined by the kernel, go to whose they are; those of nobody
        are counted."""
        a, b = self.port(), self.port()
        one, other = Inbox(b), Inbox(b)
        nobody = b"\0\0\0\0" + bytes(96)
        sent = [one.datagram(100), one.datagram(100), nobody, other.datagram(100), nobody]
        sent += [nobody, one.datagram(100), other.datagram(100), other.datagram(60)]
        a.send(b"".join(sent), 100, at(b, "127.0.0.1"))
        await other.holds(260)
        self.assertEqual(b"".join(data for data, _, _ in one.came), sent[0] + sent[1] + sent[6])
        self.assertEqual(b"".join(data for data, _, _ in other.came), sent[3] + sent[7] + sent[8])
        self.assertEqual({size for _, size, _ in one.came + other.came}, {100})
        self.assertEqual((one.turns, other.turns), (1, 1))
        self.assertEqual(b.strangers, 3)

    async def test_strangers(self) -> None:
        """What is nobody's is counted, datagram by datagram, and not answered."""
        b = self.port()
        inbox = Inbox(b)
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(stranger.close)
        stranger.bind(("127.0.0.1", 0))
        to = at(b, "127.0.0.1")
        closed = Inbox(b)
        b.close(closed.index)
        for junk in (b"", b"\0", inbox.datagram(27), os.urandom(1400), closed.datagram(100)):
            stranger.sendto(junk, to)
        segment = (socket.IPPROTO_UDP, udp_ports.UDP_SEGMENT, (20).to_bytes(2, "little"))
        stranger.sendmsg([inbox.datagram(50)], [segment], 0, to)  # 20, 20 and 10 bytes
        segment = (socket.IPPROTO_UDP, udp_ports.UDP_SEGMENT, (100).to_bytes(2, "little"))
        stranger.sendmsg([inbox.datagram(100) + inbox.datagram(27)], [segment], 0, to)
        stranger.sendto(inbox.datagram(28), to)
        await inbox.holds(128)
        self.assertEqual([size for _, size, _ in inbox.came], [100, 28])
        self.assertEqual(b.strangers, 5 + 3 + 1)
        self.assertEqual(closed.came, [])
        stranger.setblocking(False)
        self.assertRaises(BlockingIOError, stranger.recv, 100)

    async def test_nobody_listens(self) -> None:
        """ICMP errors disturb neither what is sent afterwards nor what comes."""
        a, b = self.port(), self.port()
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        silent.bind(("127.0.0.1", 0))
        nobody = silent.getsockname()
        silent.close()
        inbox = Inbox(b)
        for _ in range(3):
            self.assertIs(a.send(bytes(100), 100, nobody), Sent.DONE)
            self.assertIs(a.send(inbox.datagram(100), 100, at(b, "127.0.0.1")), Sent.DONE)
        await inbox.holds(300)

    async def test_turns_end(self) -> None:
        """A flood does not keep the reactor from others: one turn reads so much and no more."""
        a, b = self.port(), self.port()
        inbox = Inbox(b)
        data = b"".join(inbox.datagram(1400) for _ in range(40))
        for _ in range(20):
            self.assertIs(a.send(data, 1400, at(b, LOOPBACK[-1])), Sent.DONE)
        b.doRead()
        self.assertLessEqual(inbox.total, TURN_BYTES + len(data))
        self.assertGreater(inbox.total, TURN_BYTES / 2)
        await inbox.holds(20 * len(data))
        self.assertEqual(inbox.total, 20 * len(data))

    async def test_bug_in_a_reader(self) -> None:
        """A bug in one reader costs others nothing, and is logged once: it is given no more."""
        a, b = self.port(), self.port()
        broken, inbox = Inbox(b), Inbox(b)
        broken.fails = RuntimeError("a bug")
        for _ in range(10):
            a.send(broken.datagram(100), 100, at(b, LOOPBACK[-1]))
        a.send(inbox.datagram(100), 100, at(b, LOOPBACK[-1]))
        await inbox.holds(100)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(broken.came), 1)

    def test_indexes(self) -> None:
        """No index is 0, and none is given twice."""
        draws = iter((0, 5, 5, 0, 7))
        bound = udp_ports.bind(None, 0).socket
        port = UdpPort(reactor, bound, lambda size: next(draws).to_bytes(size, "big"))
        self.addCleanup(port.stop)
        self.assertEqual([Inbox(port).index, Inbox(port).index], [5, 7])

    def test_stopped(self) -> None:
        """A port that was stopped sends nothing, calls nobody, and stops only once."""
        port = self.port()
        called: list[int] = []
        port.call_when_writable(lambda: called.append(1))
        port.stop()
        port.stop()
        self.assertIs(port.send(bytes(100), 100, ("127.0.0.1", 9)), Sent.UNREACHABLE)
        port.call_when_writable(lambda: called.append(2))
        self.assertEqual(called, [])


class BindingTests(PortCase):
    """Where a port can be bound, and where not."""

    def test_in_use(self) -> None:
        """A port belongs to one socket: a second one of the same number is refused, and the first
        one is named."""
        first = udp_ports.bind(None, 0).socket
        self.addCleanup(first.close)
        number = first.getsockname()[1]
        for address in (None, *map(ip_address, LOOPBACK)):
            error = self.assertRaises(OperatorError, udp_ports.bind, address, number)
            self.assertIn(f"pid {os.getpid()} (", str(error))
            self.assertIn("networking/transport: tcp", str(error))

    def test_without_ipv6(self) -> None:
        """A machine without IPv6 has an IPv4 port; any other error remains one."""

        def bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(fails, os.strerror(fails))
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.bind((host, port))
            return made

        fails = errno.EAFNOSUPPORT
        made = tcp_ports.on_one_or_all(None, 0, bound)
        self.addCleanup(made.close)
        self.assertEqual(made.getsockname()[0], "0.0.0.0")
        self.assertIn("over IPv4 alone", udp_ports.Bound(made, None, 4567).where)
        fails = errno.EADDRINUSE
        self.assertRaises(OSError, tcp_ports.on_one_or_all, None, 0, bound)

    def test_options(self) -> None:
        """Nothing is fragmented, over IPv4 and IPv6; and there is room for what comes."""
        made = udp_ports.bind(None, 0).socket
        self.addCleanup(made.close)
        for level, option in ((socket.IPPROTO_IP, 10), (socket.IPPROTO_IPV6, 23)):
            self.assertEqual(made.getsockopt(level, option), 3)  # IP_PMTUDISC_PROBE
        room = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        allowed = int(Path("/proc/sys/net/core/rmem_max").read_text())
        self.assertIn(room, (udp_ports.RECEIVE_BUFFER, 2 * allowed))


class RefusedTests(PortCase):
    """Where the kernel does not take several datagrams at once."""

    async def carries(self, change: Callable[[socket.socket], socket.socket]) -> None:
        """Three sends arrive in order, and what was refused is tried once."""
        a, b = self.port(change=change), self.port()
        inbox = Inbox(b)
        sent = b""
        for _ in range(3):
            data = b"".join(inbox.datagram(1400) for _ in range(10)) + inbox.datagram(30)
            self.assertIs(a.send(data, 1400, at(b, "127.0.0.1")), Sent.DONE)
            sent += data
        await inbox.holds(len(sent))
        self.assertEqual(b"".join(data for data, _, _ in inbox.came), sent)

    async def test_kernel(self) -> None:
        """The kernel refuses to cut datagrams without checksums, with EINVAL."""

        def without_checksums(bound: socket.socket) -> socket.socket:
            bound.close()
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
            made.bind(("127.0.0.1", 0))
            return made

        await self.carries(without_checksums)

    async def test_device(self) -> None:
        """A device that computes no checksums refuses with EIO on older kernels: it is asked once
        for each place."""
        made: list[Picky] = []

        def picky(bound: socket.socket) -> socket.socket:
            made.append(Picky(fileno=bound.detach()))
            return made[0]

        await self.carries(picky)
        self.assertEqual(made[0].refused, 1)


class Picky(socket.socket):
    """Refuses several datagrams at once, like a device without checksums before Linux 6.11."""

    refused = 0

    def sendmsg(self, buffers: Any, control: Any = (), flags: int = 0, to: Any = None, /) -> int:
        if any(kind == udp_ports.UDP_SEGMENT for _, kind, _ in control):
            self.refused += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().sendmsg(buffers, control, flags, to)


class CableTests(PortCase):
    """Between two machines."""

    async def test_many_at_once(self) -> None:
        """Over a cable, too, 44 datagrams leave in one call and come in one call."""
        left, right = self.cable(("10.1.0.1/24", "10.1.0.2/24"), ("fd01::1/64", "fd01::2/64"))
        a, b = self.port(left), self.port(right)
        for host, own in (("10.1.0.2", "10.1.0.1"), ("fd01::2", "fd01::1")):
            inbox = Inbox(b)
            data = b"".join(inbox.datagram(1424) for _ in range(44))
            self.assertIs(a.send(data, 1424, (host, 4567)), Sent.DONE)
            await inbox.holds(len(data))
            self.assertEqual(inbox.came, [(data, 1424, (own, 4567))])

    async def test_too_big(self) -> None:
        """A datagram larger than the device's MTU is not fragmented, but refused, alone and among
        others; and what the device takes is known once its place was heard of."""
        left, right = self.cable(("10.1.0.1/24", "10.1.0.2/24"))
        for namespace in (left, right):
            with namespace, IPRoute() as ip:
                ip.link("set", index=socket.if_nametoindex("eth0"), mtu=1280)
        add_address(left, "fd01::1/64")
        add_address(right, "fd01::2/64")
        a, b = self.port(left), self.port(right)
        here, there = Inbox(a), Inbox(b)
        for host, own, most in (("10.1.0.2", "10.1.0.1", 1252), ("fd01::2", "fd01::1", 1232)):
            before = there.total
            self.assertIsNone(a.largest((host, 4567)))
            data = there.datagram(most)
            self.assertIs(a.send(data + bytes(1), most + 1, (host, 4567)), Sent.TOO_BIG)
            self.assertIs(a.send(data * 3, most + 1, (host, 4567)), Sent.TOO_BIG)
            self.assertIs(a.send(data * 3, most, (host, 4567)), Sent.DONE)
            await there.holds(before + 3 * most)
            self.assertEqual(b.send(here.datagram(100), 100, (own, 4567)), Sent.DONE)
            await here.holds(here.total + 1)
            self.assertEqual(a.largest((host, 4567)), most)

    async def test_no_way(self) -> None:
        """Where no route leads, nothing is sent; and over IPv4 alone nothing goes to IPv6."""
        lone = self.namespace()
        port = self.port(lone)
        for host in ("10.9.9.9", "fd09::9"):
            self.assertIs(port.send(bytes(100), 100, (host, 4567)), Sent.UNREACHABLE)

        def ipv4_alone(bound: socket.socket) -> socket.socket:
            bound.close()
            return udp_ports.bind(ip_address("127.0.0.1"), 0).socket

        alone = self.port(change=ipv4_alone)
        self.assertIs(alone.send(bytes(100), 100, ("::1", 4567)), Sent.UNREACHABLE)

    async def test_odd_source(self) -> None:
        """An IPv6 address that looks like an embedded IPv4 address and is none (RFC 2765)."""
        odd = "::ffff:0:102:304"
        left, right = self.cable(
            ("10.1.0.1/24", "10.1.0.2/24"), (f"{odd}/96", "::ffff:0:102:305/96")
        )
        a, b = self.port(left), self.port(right)
        there, here = Inbox(b), Inbox(a)
        a.send(there.datagram(100), 100, ("::ffff:0:102:305", 4567))
        await there.holds(100)
        self.assertEqual(there.came[0][2], (odd, 4567))
        self.assertIs(b.send(here.datagram(100), 100, (odd, 4567)), Sent.DONE)
        await here.holds(100)

    async def test_second_address(self) -> None:
        """An answer leaves from the address that was asked, once the reader believes in the
        sender. When the machine loses that address, it leaves from another one."""
        left, right = self.cable(("10.1.0.1/24", "10.1.0.2/24"))
        add_address(left, "fd01::1/64")
        for address in ("10.1.0.3/24", "fd01::2/64", "fd01::3/64"):
            add_address(right, address)
        a, b = self.port(left), self.port(right)
        there, here = Inbox(b, believes=False), Inbox(a)

        async def answered_from(host: str, own: str) -> str:
            """Send to this address of the right machine; where its answer comes from."""
            before = there.total
            self.assertIs(a.send(there.datagram(100), 100, (host, 4567)), Sent.DONE)
            await there.holds(before + 100)
            self.assertEqual(there.came[-1][2], (own, 4567))
            before = here.total
            self.assertIs(b.send(here.datagram(90) * 3, 90, (own, 4567)), Sent.DONE)
            await here.holds(before + 270)
            return here.came[-1][2][0]

        for first, second, own in (
            ("10.1.0.2", "10.1.0.3", "10.1.0.1"),
            ("fd01::2", "fd01::3", "fd01::1"),
        ):
            there.believes = False
            usual = await answered_from(first, own)
            asked = second if usual == first else first
            self.assertEqual(await answered_from(asked, own), usual)
            there.believes = True
            self.assertEqual(await answered_from(asked, own), asked)
            self.assertEqual(await answered_from(usual, own), usual)
            self.assertEqual(await answered_from(asked, own), asked)
            prefix = 24 if "." in asked else 64
            with right, IPRoute() as ip:
                ip.addr("del", index=socket.if_nametoindex("eth0"), address=asked, prefixlen=prefix)
            there.believes = False
            self.assertEqual(await answered_from(usual, own), usual)

    async def test_link_local(self) -> None:
        """A link-local address keeps its scope: what comes from it is answered."""
        left, right = self.cable(("10.1.0.1/24", "10.1.0.2/24"))
        for namespace, number in ((left, 1), (right, 2)):
            add_address(namespace, f"fe80::{number}/64")
        a, b = self.port(left), self.port(right)
        there, here = Inbox(b), Inbox(a)
        with left:
            self.assertIs(a.send(there.datagram(100), 100, ("fe80::2%eth0", 4567)), Sent.DONE)
        await there.holds(100)
        [(_, _, source)] = there.came
        with right:
            self.assertEqual(source, (f"fe80::1%{socket.if_nametoindex('eth0')}", 4567))
        self.assertIs(b.send(here.datagram(100), 100, source), Sent.DONE)
        await here.holds(100)

    async def test_slow_device(self) -> None:
        """When the device takes no more, whoever sends is told so, and called in turn; control
        datagrams go ahead; all arrives in the end."""
        left, right = self.cable(("10.1.0.1/24", "10.1.0.2/24"))
        with left, IPRoute() as ip:
            index = socket.if_nametoindex("eth0")
            try:
                ip.tc("add", "tbf", index=index, rate="20mbit", burst=70_000, latency="10s")
            except NetlinkError as error:
                raise unittest.SkipTest(f"no slow device: sch_tbf: {error}") from None
        a, b = self.port(left), self.port(right)
        inboxes = [Inbox(b) for _ in range(3)]
        place = ("10.1.0.2", 4567)
        turns: list[int] = []
        sent = [0, 0, 0]

        def send(number: int) -> None:
            """What a carrier does: send so much, and ask for another turn."""
            data = b"".join(inboxes[number].datagram(1400) for _ in range(10))
            turns.append(number)
            if a.send(data, 1400, place) is Sent.DONE:
                sent[number] += len(data)
            if sent[number] < 140_000:
                a.call_when_writable(partial(send, number))

        data = b"".join(inboxes[0].datagram(1400) for _ in range(45))
        filled = 0
        while a.send(data, 1400, place) is Sent.DONE:
            filled += len(data)
            self.assertLess(filled, 1_000_000)
        # The buffer holds 10 ms at 100 Mbit/s, and the last send may exceed it; the bucket is full.
        self.assertLess(filled, udp_ports.SEND_BUFFER + 3 * len(data))
        for number in range(3):
            a.call_when_writable(partial(send, number))
        self.assertEqual(a.send(inboxes[0].datagram(100), 100, place), Sent.BLOCKED)
        ping = Inbox(b)
        self.assertEqual(a.send(ping.datagram(100), 100, place, ahead=True), Sent.DONE)
        self.assertEqual(ping.total, 0)
        await ping.holds(100)
        self.assertLess(sum(inbox.total for inbox in inboxes), filled + 140_000)
        await inboxes[0].holds(filled + 140_000)
        await inboxes[1].holds(140_000)
        await inboxes[2].holds(140_000)
        self.assertEqual(sent, [140_000] * 3)
        for number in range(3):
            # In any stretch of turns each has about as many as the others.
            self.assertApproximates(turns[:15].count(number), 5, 1)
        # The buffer has become as small as such a device needs it.
        with socket.socket(fileno=os.dup(a.fileno())) as same:
            self.assertLess(same.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 100_000)
