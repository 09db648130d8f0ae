"""Two kernels with one test between them: every packet that the tun in one namespace sends is
written to the tun in the other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import stat
import struct
import tempfile
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import (
    ClientFactory,
    DatagramProtocol,
    Factory,
    Protocol,
    connectionDone,
)
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support import netns
from tunmesh.dataplane.tun import TunDevice, open_tun
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink.overlaps import Overlay
from tunmesh.netlink.setup import configure
from tunmesh.packets import icmp, udp_segments, virtio
from tunmesh.packets.virtio import HEADER

reactor: Any = trial_reactor
MTU = 1500
TUNSETPERSIST = 0x400454CB
UDP_SEGMENT = 103  # linux/udp.h; the socket module does not name it


class Host:
    """A namespace with one tun in it. What its kernel sends is kept, and goes to one other host."""

    def __init__(self, number: int) -> None:
        self.addresses = {socket.AF_INET: f"10.77.0.{number}", socket.AF_INET6: f"fd77::{number}"}
        self.namespace = Namespace.create()
        self.batches: list[list[bytes]] = []
        self.dropped: list[str] = []
        self.losses: list[str] = []
        with self.namespace:
            self.tun = TunDevice(reactor, open_tun("tun1"), "tun1")
            configure("tun1", self._overlays(), MTU)

    def _overlays(self) -> list[Overlay]:
        return [
            Overlay(
                ip_network("10.77.0.0/16"), (ip_interface(f"{self.addresses[socket.AF_INET]}/16"),)
            ),
            Overlay(
                ip_network("fd77::/48"), (ip_interface(f"{self.addresses[socket.AF_INET6]}/48"),)
            ),
        ]

    def send_to(self, other: Host, join: bool = False) -> None:
        def receive(batch: list[bytes]) -> None:
            if join:
                batch = udp_segments.join(batch)
            self.batches.append(batch)
            self.dropped += [reason for reason, _ in other.tun.write(batch)]

        self.tun.start(receive, self.losses.append)

    def kernel_counters(self) -> dict[str, int]:
        with self.namespace, IPRoute() as ip:
            (link,) = ip.get_links(socket.if_nametoindex("tun1"))
            counters: dict[str, int] = link.get_attr("IFLA_STATS64")
            return counters

    def close(self) -> None:
        self.tun.stop()
        self.namespace.close()


class Inbox(DatagramProtocol):
    """Calls back with the datagrams as soon as it has `expected` of them."""

    def __init__(self, expected: int) -> None:
        self.full: Deferred[list[bytes]] = Deferred()
        self._expected = expected
        self._got: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self._got.append(datagram)
        if len(self._got) == self._expected:
            self.full.callback(self._got)


class Digest(Protocol):
    """Hashes a TCP stream; calls back with the digest at its end."""

    def __init__(self) -> None:
        self.done: Deferred[str] = Deferred()
        self._hash = hashlib.sha256()

    def dataReceived(self, data: bytes) -> None:
        self._hash.update(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self._hash.hexdigest())


class Upload(Protocol):
    """Sends all of `content` and closes."""

    def __init__(self, content: bytes) -> None:
        self.closed: Deferred[None] = Deferred()
        self._content = content

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._content)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class TrafficTests(unittest.TestCase):
    """Real packets through two tuns."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.alice, self.bob = Host(1), Host(2)
        self.addCleanup(self.alice.close)
        self.addCleanup(self.bob.close)
        self.alice.send_to(self.bob)
        self.bob.send_to(self.alice)

    def _send(
        self, payloads: list[bytes], family: socket.AddressFamily = socket.AF_INET
    ) -> Deferred[list[bytes]]:
        """Datagrams from alice to bob, all sent before the next iteration of the reactor."""
        inbox = Inbox(len(payloads))
        address = self.bob.addresses[family]
        with self.bob.namespace:
            port = reactor.listenUDP(0, inbox, interface=address, maxPacketSize=65536)
        self.addCleanup(port.stopListening)
        with self.alice.namespace, socket.socket(family, socket.SOCK_DGRAM) as sender:
            for payload in payloads:
                sender.sendto(payload, (address, port.getHost().port))
        return inbox.full

    async def _upload(self, family: socket.AddressFamily) -> None:
        """8 MB of random bytes over TCP from alice to bob arrive unchanged."""
        content = os.urandom(8 * 1024 * 1024)
        receiver, sender = Digest(), Upload(content)
        address = self.bob.addresses[family]
        server, client = Factory.forProtocol(lambda: receiver), ClientFactory()
        client.protocol = lambda: sender
        with self.bob.namespace:
            port = reactor.listenTCP(0, server, interface=address)
        self.addCleanup(port.stopListening)
        with self.alice.namespace:
            reactor.connectTCP(address, port.getHost().port, client)
        self.assertEqual(await receiver.done, hashlib.sha256(content).hexdigest())
        await sender.closed

    async def test_datagrams_of_every_size(self) -> None:
        """Datagrams from 1 to 65,000 bytes arrive whole, fragmented or not."""
        payloads = [os.urandom(size) for size in (1, 100, 1472, 1473, 9000, 65000)]
        self.assertEqual(await self._send(payloads), payloads)

    async def test_ipv6(self) -> None:
        """IPv6 works like IPv4."""
        payloads = [os.urandom(size) for size in (1, 1452, 65000)]
        self.assertEqual(await self._send(payloads, socket.AF_INET6), payloads)

    async def test_burst_is_one_batch(self) -> None:
        """What the kernel sends between two iterations of the reactor is received in one call, but
        for the first packet after a time in which each came alone."""
        payloads = [b"%03d" % number for number in range(100)]
        self.assertEqual(await self._send(payloads), payloads)
        sizes = [
            sum(payload in frame for frame in batch for payload in payloads)
            for batch in self.alice.batches
        ]
        self.assertEqual([size for size in sizes if size], [1, 99])

    async def test_joined_datagrams(self) -> None:
        """A burst that was joined to one segment arrives as the same datagrams: split by the
        kernel, or by us if the kernel cannot."""
        payloads = [os.urandom(700) for _ in range(50)] + [b"last"]
        for cut_by_kernel in (True, False):
            self.alice.tun.stop()
            self.bob.tun.stop()
            self.setUp()
            self.assertTrue(self.bob.tun._has_udp_segments)
            self.bob.tun._has_udp_segments = cut_by_kernel
            self.alice.send_to(self.bob, join=True)
            for family in (socket.AF_INET, socket.AF_INET6):
                self.assertEqual(await self._send(payloads, family), payloads)
            self.assertGreater(self._largest_frame(), 10_000)
            self.assertEqual(self.alice.dropped, [])

    async def test_segments_of_an_application(self) -> None:
        """The largest segment that a kernel lets an application make of datagrams is well formed,
        and arrives."""
        for count in (64, 128):
            with self.bob.namespace:
                inbox = Inbox(count)
                port = reactor.listenUDP(0, inbox, interface=self.bob.addresses[socket.AF_INET])
            self.addCleanup(port.stopListening)
            with self.alice.namespace, socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 400)
                try:
                    sender.sendto(bytes(400 * count), (port.getHost().host, port.getHost().port))
                except OSError:
                    self.assertEqual(count, 128)  # an older kernel
                    return
            self.assertEqual(await inbox.full, [bytes(400)] * count)
            self.assertTrue(
                all(virtio.well_formed(f) for batch in self.alice.batches for f in batch)
            )

    async def test_bulk_over_ipv4(self) -> None:
        """A TCP transfer is not damaged, and the kernel passes segments larger than the MTU."""
        await self._upload(socket.AF_INET)
        self.assertGreater(self._largest_frame(), 8 * MTU)
        self.assertEqual(self.alice.dropped + self.bob.dropped, [])

    async def test_bulk_over_ipv6(self) -> None:
        """Large segments work for IPv6 too."""
        await self._upload(socket.AF_INET6)
        self.assertGreater(self._largest_frame(), 8 * MTU)
        self.assertEqual(self.alice.dropped + self.bob.dropped, [])

    def _largest_frame(self) -> int:
        return max(len(frame) for batch in self.alice.batches for frame in batch)

    async def test_counters_agree_with_the_kernel(self) -> None:
        """Our rx and tx equal those of `ip -s link`, in packets and in bytes."""
        await self._upload(socket.AF_INET)
        for host in (self.alice, self.bob):
            kernel = host.kernel_counters()
            ours = vars(host.tun)
            for counter in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
                self.assertEqual(ours[counter], kernel[counter], counter)
        self.assertGreater(self.bob.tun.rx_bytes, 8 * 1024 * 1024)


class DeviceTests(unittest.TestCase):
    """One tun and what may happen to it."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.host = Host(1)
        self.addCleanup(self.host.close)

    def _ping(self) -> None:
        """Make the kernel send a packet into the tun."""
        with self.host.namespace, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"ping", ("10.77.0.9", 9))

    def fate(self, *frames: bytes | memoryview) -> list[str]:
        """Why the tun refuses frames, one reason for each; it returns the refused ones."""
        drops = self.host.tun.write(frames)
        self.assertTrue(all(any(frame is one for one in frames) for _, frame in drops))
        return [reason for reason, _ in drops]

    def _set_link(self, command: str, **options: str) -> None:
        with self.host.namespace, IPRoute() as ip:
            ip.link(command, index=socket.if_nametoindex("tun1"), **options)

    async def test_deleted_under_us(self) -> None:
        """When the interface is deleted, that is reported once, in one line, and writes are
        refused."""
        lost: Deferred[str] = Deferred()
        self.host.tun.start(self.host.batches.append, lost.callback)
        self._set_link("del")
        self.assertEqual(await lost, "tun1 is gone: somebody deleted the interface")
        self.assertEqual(self.fate(b"\0" * 40), ["tun_down"])

    def test_read_finds_it_deleted(self) -> None:
        """A read that finds the interface deleted reports the same, if epoll has not yet."""
        self.host.tun.start(self.host.batches.append, self.host.losses.append)
        self._set_link("del")
        self.host.tun.doRead()
        self.host.tun.connectionLost(connectionDone)
        self.assertEqual(self.host.losses, ["tun1 is gone: somebody deleted the interface"])

    async def test_bug_in_the_receiver(self) -> None:
        """A batch that makes the receiver fail is logged, and the next one is still delivered."""
        second: Deferred[list[bytes]] = Deferred()

        def choke_once(batch: list[bytes]) -> None:
            self.host.batches.append(batch)
            if len(self.host.batches) == 1:
                self._ping()
                raise ValueError("a bug")
            second.callback(batch)

        self.host.tun.start(choke_once, self.host.losses.append)
        self._ping()
        self.assertIn(b"ping", (await second)[0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_answer_at_once(self) -> None:
        """What the kernel answers to a packet can be read as soon as the packet was written."""
        echo = icmp.echo_request(icmp.IPV4, 7, 1, b"are you there?")
        addresses = socket.inet_aton("10.77.0.2") + socket.inet_aton("10.77.0.1")
        start = struct.pack("!BBHIBB", 0x45, 0, 20 + len(echo), 0, 64, socket.IPPROTO_ICMP)
        sum_ = icmp.checksum(start + addresses).to_bytes(2, "big")
        self.host.tun.start(self.host.batches.append, self.host.losses.append)
        self.host.tun.poll()
        self.assertEqual(self.host.tun.write([bytes(HEADER) + start + sum_ + addresses + echo]), [])
        self.host.tun.poll()
        sent = [frame[HEADER:] for batch in self.host.batches for frame in batch]
        replies = [icmp.parse_echo_reply(icmp.IPV4, each) for each in sent if each[0] == 0x45]
        self.assertEqual(replies, [(7, 1)])
        self.host.tun.stop()
        self.host.tun.poll()

    def test_refused_frames(self) -> None:
        """The kernel refuses what is not a packet, and the counters do not change."""
        for frame in (b"", b"short", b"\0" * HEADER + b"\xff not IP", b"\xff" * 60):
            self.assertEqual(self.fate(frame), ["tun_refused"], frame)
        self.assertEqual((self.host.tun.rx_packets, self.host.tun.rx_bytes), (0, 0))
        good = bytes(HEADER) + b"\x45" + b"\0" * 39
        self.assertEqual(self.fate(good, b"short", good), ["tun_refused"])
        self.assertEqual((self.host.tun.rx_packets, self.host.tun.rx_bytes), (2, 80))

    def test_interface_down(self) -> None:
        """While the interface is down, packets for it are dropped as "tun_down"."""
        self._set_link("set", state="down")
        frame = b"\0" * HEADER + b"\x45" + b"\0" * 39
        self.assertEqual(self.fate(memoryview(frame)), ["tun_down"])

    def test_stop_removes_everything(self) -> None:
        """Stopping removes the interface with its addresses and routes; stopping twice is
        harmless."""
        self.host.tun.start(self.host.batches.append, self.host.losses.append)
        self.host.tun.stop()
        self.host.tun.stop()
        with self.host.namespace, IPRoute() as ip:
            self.assertEqual([name for _, name in socket.if_nameindex()], ["lo"])
            self.assertEqual(list(ip.get_routes()), [])
        self.assertEqual(self.host.losses, [])
        self.assertEqual(self.fate(b"\0" * 40), ["tun_down"])


class RefusalTests(unittest.TestCase):
    """Every failure to create a tun gives one line that says what would be right."""

    def _refusal(self, name: str, device: str = "/dev/net/tun") -> str:
        error = self.assertRaises(OperatorError, open_tun, name, device)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_no_device(self) -> None:
        """Without the device, the line says how to give it to a container."""
        text = self._refusal("tun1", "/dev/net/no-such-tun")
        self.assertIn("/dev/net/no-such-tun does not exist", text)
        self.assertIn("--device", text)

    def test_other_device(self) -> None:
        """Something else at the path of the device is recognized."""
        self.assertIn("/dev/null is not the tun device", self._refusal("tun1", "/dev/null"))

    def test_bad_names(self) -> None:
        """Names that the kernel would refuse, or treat as a template, are refused in advance."""
        for name in ("", "a" * 16, "tun 1", "a/b", "a:b", "tun%d", ".", "..", "ä" * 8):
            self.assertIn("cannot be the name of an interface", self._refusal(name), name)


class PrivilegedRefusalTests(unittest.TestCase):
    """Failures that need a real device, or missing privileges."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.namespace = Namespace.create()
        self.addCleanup(self.namespace.close)

    def test_name_taken(self) -> None:
        """An existing interface of that name is left alone, whatever its kind, even a persistent
        tun."""
        with self.namespace:
            waiting = open_tun("tun1")
            fcntl.ioctl(waiting, TUNSETPERSIST, 1)
            os.close(waiting)
            for name in ("lo", "tun1"):
                error = self.assertRaises(OperatorError, open_tun, name)
                self.assertIn(f"{name} exists already", str(error))

    def _own_device_node(self, mode: int) -> Path:
        """A second /dev/net/tun; below /dev, because /tmp is often mounted without devices."""
        try:
            folder = Path(tempfile.mkdtemp(dir="/dev"))
            self.addCleanup(shutil.rmtree, folder)
            folder.chmod(0o755)
            os.mknod(folder / "tun", stat.S_IFCHR, os.makedev(10, 200))
        except OSError as error:
            raise unittest.SkipTest(f"cannot make device nodes here: {error.strerror}") from None
        (folder / "tun").chmod(mode)
        return folder / "tun"

    async def _as_nobody(self, mode: int) -> str:
        """The message for an unprivileged user, if the device has this mode."""
        device = self._own_device_node(mode)
        out, err, code = await netns.run_python(reactor, AS_NOBODY, str(device))
        self.assertEqual((err, code), (b"", 0))
        return out.decode()

    async def test_closed_device(self) -> None:
        """If the mode of the device denies access, the message names it and the ways to open it."""
        self.assertIn("may not be opened by uid 65534", await self._as_nobody(0o600))

    async def test_no_net_admin(self) -> None:
        """Without NET_ADMIN, the line names the capability and how to add it."""
        text = await self._as_nobody(0o666)
        self.assertIn("CAP_NET_ADMIN is missing", text)
        self.assertIn("--cap-add NET_ADMIN", text)


AS_NOBODY = """
import os, sys
from tunmesh.errors import OperatorError
from tunmesh.dataplane.tun import open_tun
os.setgid(65534)
os.setuid(65534)
try:
    open_tun("tun1", sys.argv[1])
except OperatorError as error:
    print(error)
"""
