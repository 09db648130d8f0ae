"""Real meshes of two and three nodes: traffic arrives, forbidden traffic does not, and the mesh
recovers from failures."""

from __future__ import annotations

import hashlib
import os
import random
import socket

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory
from twisted.trial import unittest

from tests.dataplane.test_tun import Digest, Upload
from tests.support import netns
from tests.support.realnode import TUN, Ground, reactor
from tunmesh.localmesh.pinger import Pinger
from tunmesh.netlink import changes

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
MEGABYTE = 1 << 20
PATIENCE = 20.0  # for a ping that should be answered, on the slowest machine
MUST_FAIL_PATIENCE = 0.3  # for one that should not


class Mailbox(DatagramProtocol):
    """Holds received datagrams until they are asked for."""

    def __init__(self) -> None:
        self.post: DeferredQueue[bytes] = DeferredQueue()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.post.put(datagram)


class MeshCase(unittest.TestCase):
    """Machines on one bridge, each with a helper program."""

    skip = netns.skip_reason()
    nodes = 2

    def setUp(self) -> None:
        self.ground = Ground(self, self.nodes)

    def address(self, number: int, family: socket.AddressFamily = IPV4) -> str:
        plan = self.ground.plans[number - 1]
        return plan.ipv4 if family == IPV4 else plan.ipv6

    def mailbox(
        self, number: int, family: socket.AddressFamily = IPV4
    ) -> tuple[Mailbox, tuple[str, int]]:
        """Receive UDP at that node's mesh address; returns the address to send to."""
        mailbox, address = Mailbox(), self.address(number, family)
        with self.ground.namespace(number):
            port = reactor.listenUDP(0, mailbox, interface=address, maxPacketSize=65536)
        self.addCleanup(port.stopListening)
        return mailbox, (address, port.getHost().port)

    def post(
        self, number: int, datagram: bytes, destination: tuple[str, int], source: str = ""
    ) -> None:
        """Send a datagram from that node's machine."""
        family = IPV6 if ":" in destination[0] else IPV4
        with self.ground.namespace(number), socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            sender.sendto(datagram, destination)

    async def exchange(
        self, sender: int, receiver: int, family: socket.AddressFamily = IPV4
    ) -> None:
        """A datagram arrives."""
        mailbox, place = self.mailbox(receiver, family)
        self.post(sender, b"hello", place)
        self.assertEqual(await mailbox.post.get(), b"hello")

    async def ping(
        self, sender: int, receiver: int, version: int = 4, patience: float = PATIENCE
    ) -> bool:
        """Whether a ping is answered."""
        pinger = Pinger(reactor, self.ground.namespace(sender), version)
        self.addCleanup(pinger.close)
        address = self.address(receiver, IPV4 if version == 4 else IPV6)
        return await pinger.ping_once(address, patience) is not None

    async def upload(
        self, sender: int, receiver: int, content: bytes, family: socket.AddressFamily
    ) -> None:
        """A TCP transfer arrives, and its SHA-256 shows that it is intact."""
        digest, upload = Digest(), Upload(content)
        server, client = Factory.forProtocol(lambda: digest), ClientFactory()
        client.protocol = lambda: upload
        address = self.address(receiver, family)
        with self.ground.namespace(receiver):
            port = reactor.listenTCP(0, server, interface=address)
        self.addCleanup(port.stopListening)
        with self.ground.namespace(sender):
            reactor.connectTCP(address, port.getHost().port, client)
        self.assertEqual(await digest.done, hashlib.sha256(content).hexdigest())
        await upload.closed


class TrafficTests(MeshCase):
    """Traffic between two linked nodes."""

    async def test_fails_before_and_works_after(self) -> None:
        """Pings to a node that is not up yet fail, as the tunnel is the only path; once it is up,
        they are answered in both directions and families."""
        first = self.ground.start(1)
        await first.logged("ready")
        self.assertFalse(await self.ping(1, 2, 4, MUST_FAIL_PATIENCE))
        self.assertFalse(await self.ping(1, 2, 6, MUST_FAIL_PATIENCE))
        self.ground.start(2)
        await first.logged("linked", peer="node2")
        for sender, receiver, version in ((1, 2, 4), (1, 2, 6), (2, 1, 4), (2, 1, 6)):
            self.assertTrue(await self.ping(sender, receiver, version))

    async def test_bulk_both_ways(self) -> None:
        """Megabytes of random data in both directions at once arrive intact, over IPv4 and IPv6,
        and are counted."""
        await self.ground.linked(2)
        for family, size in ((IPV4, 32 * MEGABYTE), (IPV6, 16 * MEGABYTE)):
            uploads = (
                self.upload(sender, receiver, os.urandom(size), family)
                for sender, receiver in ((1, 2), (2, 1))
            )
            await gatherResults([Deferred.fromCoroutine(upload) for upload in uploads])
        for number in (1, 2):
            metrics = await self.ground.metrics(number)
            self.assertGreater(metrics["tunmesh_tun_tx_bytes_total"], 48 * MEGABYTE)
            self.assertGreater(metrics["tunmesh_tun_rx_bytes_total"], 48 * MEGABYTE)

    async def test_segments_fit_datagrams(self) -> None:
        """The segments of a TCP connection leave room for what a datagram has around each, on a
        path of 1,500 bytes."""
        await self.ground.linked(2)
        for family, most in ((IPV4, changes.SEGMENT[4]), (IPV6, changes.SEGMENT[6])):
            with self.ground.namespace(2):
                listener = socket.create_server((self.address(2, family), 0), family=family)
            with self.ground.namespace(1):
                dialed = socket.create_connection(listener.getsockname()[:2], timeout=PATIENCE)
            accepted, _ = listener.accept()
            for end in (dialed, accepted):
                segment = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                self.assertIn(segment, range(most - 40, most + 1))
                end.close()
            listener.close()

    async def test_packets_of_every_size(self) -> None:
        """Datagrams of 1 to 65,000 bytes arrive intact: small ones, sizes around the MTU, and
        random ones."""
        await self.ground.linked(2)
        draw = random.Random(65000)
        around_mtu = (1451, 1452, 1453, 1471, 1472, 1473)
        sizes = [1, 2, 3, *around_mtu, 9000, 64999, 65000]
        sizes += [draw.randint(1, 65000) for _ in range(50)]
        for family in (IPV4, IPV6):
            mailbox, place = self.mailbox(2, family)
            for size in sizes:
                datagram = draw.randbytes(size)
                self.post(1, datagram, place)
                self.assertEqual(await mailbox.post.get(), datagram, size)


class RefusedTrafficTests(MeshCase):
    """Traffic that a node refuses, and how it reports that."""

    nodes = 3

    async def test_spoofed_source(self) -> None:
        """A packet with a source address that is not the sending node's does not come out of the
        tunnel, and the receiver counts it."""
        await self.ground.linked(2)
        mailbox, place = self.mailbox(2)
        with self.ground.namespace(1), IPRoute() as ip:
            ip.addr("add", index=socket.if_nametoindex(TUN), address="10.77.0.99/32")
        self.post(1, b"spoofed", place, source="10.77.0.99")
        self.post(1, b"genuine", place)
        self.assertEqual(await mailbox.post.get(), b"genuine")
        metrics = await self.ground.metrics(2)
        self.assertEqual(metrics[dropped("spoofed_source")], 1)

    async def test_broadcast(self) -> None:
        """If the config allows it, a datagram to 255.255.255.255, to the local subnet's broadcast
        address and to the mesh's arrives; otherwise a node drops and counts its own."""
        for number in (1, 2):
            self.ground.change(
                number,
                networking__ipv4__node_address_cidr=f"10.77.1.{number}/24",
                networking__ipv4__enable_broadcast=True,
            )
        self.ground.change(3, networking__ipv4__node_address_cidr="10.77.1.3/24")
        await self.ground.linked(3)
        mailbox = Mailbox()
        with self.ground.namespace(1):
            port = reactor.listenUDP(0, mailbox)
        self.addCleanup(port.stopListening)
        for destination in ("255.255.255.255", "10.77.1.255", "10.77.255.255"):
            self.shout(3, b"without consent", (destination, port.getHost().port))
            self.shout(2, destination.encode(), (destination, port.getHost().port))
            self.assertEqual(await mailbox.post.get(), destination.encode())
        self.assertEqual((await self.ground.metrics(3))[dropped("broadcast")], 3)

    def shout(self, number: int, datagram: bytes, destination: tuple[str, int]) -> None:
        """Send a broadcast from that node's tun."""
        with self.ground.namespace(number), socket.socket(IPV4, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, TUN.encode())
            sender.sendto(datagram, destination)

    async def test_unknown_address(self) -> None:
        """A packet to a mesh address that no node has is dropped and counted."""
        node = self.ground.start(1)
        await node.logged("ready")
        before = (await self.ground.metrics())[dropped("no_route")]
        self.post(1, b"anybody there?", ("10.77.0.200", 9))
        self.assertEqual((await self.ground.metrics())[dropped("no_route")], before + 1)

    async def test_wrong_secret(self) -> None:
        """Nodes with different secrets do not link; each reports it in one line and counts it."""
        self.ground.change(2, clustering__auth={"secret": "another secret that is long enough"})
        nodes = [self.ground.start(1), self.ground.start(2)]
        failures = [await node.logged("handshake_failed") for node in nodes]
        reasons = [failure["reason"] for failure in failures]
        self.assertEqual(reasons, ["unknown_key", "closed"])
        self.assertIn("it holds none of our secrets", failures[0]["text"])
        self.assertIn("10.99.0.1:4567", failures[1]["text"])
        self.assertFalse(await self.ping(2, 1, patience=MUST_FAIL_PATIENCE))
        for number, reason in enumerate(reasons, start=1):
            metrics = await self.ground.metrics(number)
            name = f'tunmesh_handshake_failures_total{{reason="{reason}"}}'
            self.assertGreaterEqual(metrics[name], 1)
            self.assertEqual(metrics['tunmesh_links{state="up"}'], 0)
        for node in nodes:
            self.assertEqual(len(node.all_logged("handshake_failed")), 1, node.text)
            self.assertEqual(node.all_logged("linked"), [])

    async def test_other_network(self) -> None:
        """A node whose IPv4 network differs from that of its peer, which was there first, is told
        so and is not ready; its peer is ready; IPv6, on which they agree, works."""
        other = {"network_cidr": "10.78.0.0/16", "node_address_cidr": "10.78.0.2/16"}
        self.ground.change(2, networking__ipv4=other)
        first = self.ground.start(1)
        await first.logged("ready")
        second = self.ground.start(2)
        conflict = await first.logged("address_conflict", addresses="10.78.0.2")
        self.assertIn("it is outside the network here: 10.77.0.0/16", conflict["text"])
        await second.logged("address_refused", peer="node1", addresses="10.78.0.2")
        self.assertEqual((await self.ground.get("/readyz", 2))[0], 503)
        self.assertIn(
            "10.78.0.2 is not routed to this node by 1 of 1 peers", await self.ground.reasons(2)
        )
        self.assertEqual((await self.ground.get("/readyz", 1))[0], 200)
        await self.exchange(1, 2, IPV6)
        await self.exchange(2, 1, IPV6)


class ChangeTests(MeshCase):
    """Nodes that join and leave."""

    async def test_killed_and_restarted(self) -> None:
        """A node that is killed and restarted with its address is linked again at once and carries
        traffic."""
        first, second = await self.ground.linked(2)
        second.signal("KILL")
        await first.logged("unlinked", peer="node2")
        self.assertEqual(await second.ended, -9)
        second = self.ground.start(2)
        await second.logged("linked", peer="node1")
        await first.logged("linked", peer="node2")
        await self.exchange(1, 2)
        await self.exchange(2, 1)

    async def test_term_withdraws(self) -> None:
        """A node that shuts down says so: its peer withdraws its routes at once."""
        first, second = await self.ground.linked(2)
        second.signal("TERM")
        unlinked = await first.logged("unlinked", peer="node2")
        self.assertIn("left the mesh", unlinked["text"])
        before = (await self.ground.metrics(1))[dropped("no_route")]
        self.post(1, b"too late", (self.address(2), 9))
        self.assertEqual((await self.ground.metrics(1))[dropped("no_route")], before + 1)
        self.assertEqual(await second.ended, 0)


class NameTests(MeshCase):
    """Nodes that are reached by name."""

    nodes = 3

    async def test_underscore(self) -> None:
        """The name of a Compose service may contain an underscore: nodes find the first one by such
        a name, and each other by names that they learn."""
        hosts = self.ground.directory / "hosts"
        lines = [f"{plan.underlay} my_app_{plan.number}\n" for plan in self.ground.plans]
        hosts.write_text("".join(lines))
        hosts.chmod(0o644)
        for number in (1, 2, 3):
            self.ground.change(
                number,
                clustering__control_api_advertise_url=f"https://my_app_{number}:4567",
                clustering__bootstrap_groups={
                    "app": {"bootstrap_node_urls": ["https://my_app_1:4567"]}
                },
            )
        before = OTHER_HOSTS.format(hosts=str(hosts))
        nodes = [self.ground.start(number, before=before) for number in (1, 2, 3)]
        for node in nodes:
            for plan, other in zip(self.ground.plans, nodes, strict=True):
                if other is not node:
                    url = f"https://my_app_{plan.number}:4567"
                    await node.logged("linked", peer=plan.name, url=url)
        await self.exchange(2, 3)


class ThreeNodesTests(MeshCase):
    """What two nodes know of each other only through a third."""

    nodes = 3

    async def test_bootstrap_node_is_dispensable(self) -> None:
        """Nodes that know only the first one reach each other directly, even while that one is
        dead. When it is back, without knowing any node, the others find it."""
        first, second, third = await self.ground.linked(3)
        first.signal("KILL")
        await first.ended
        await self.exchange(2, 3)
        await self.exchange(3, 2, IPV6)
        first = self.ground.start(1)
        for number, other in ((2, second), (3, third)):
            await other.logged("linked", peer="node1")
            await first.logged("linked", peer=f"node{number}")
            await self.exchange(1, number)
            await self.exchange(number, 1)


def dropped(reason: str) -> str:
    """The name of a drop counter."""
    return f'tunmesh_dropped_packets_total{{reason="{reason}"}}'


OTHER_HOSTS = """
import ctypes
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
MS_BIND, MS_PRIVATE_RECURSIVELY = 1 << 12, 1 << 18 | 1 << 14
unshare(CLONE_NEWNS)
mount = ctypes.CDLL(None).mount
assert mount(None, b"/", None, MS_PRIVATE_RECURSIVELY, None) == 0
assert mount({hosts!r}.encode(), b"/etc/hosts", None, MS_BIND, None) == 0
"""
