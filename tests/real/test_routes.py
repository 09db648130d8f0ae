"""Networks outside the mesh, behind real gateways: kernels that forward, hosts that know nothing of
the mesh.

    10.99.0.0/24 ── node1          node2 ── 192.168.5.2 ──┬── 192.168.5.9, a host
                                   node3 ── 192.168.5.3 ──┘   fd5e::9
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

from tests.dataplane.test_tun import Digest, Upload
from tests.real.test_mesh import IPV4, IPV6, MEGABYTE, PATIENCE, MeshCase
from tests.support import netns
from tests.support.realnode import RealNode, reactor
from tunmesh.cli.client import Client
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.pinger import Pinger

HOST, HOST6 = "192.168.5.9", "fd5e::9"
LAN, LAN6 = "192.168.5.0/24", "fd5e::/64"
MASQUERADE = """
table inet nat {
    chain out { type nat hook postrouting priority 100; oifname "lan" masquerade; }
}
"""


class SiteCase(MeshCase):
    """Node 1 wants to reach a host; the other nodes have an interface in its LAN."""

    skip = netns.skip_reason() or (
        None if shutil.which("nft") else "nft is not installed (Debian: nftables)"
    )

    def setUp(self) -> None:
        super().setUp()
        self.site = Namespace.create()
        self.addCleanup(self.site.close)
        with self.site, IPRoute() as ip:
            netns.loopback_up()
            ip.link("add", kind="bridge", ifname="lan")
            lan = ip.link_lookup(ifname="lan")[0]
            ip.link("set", index=lan, state="up")
            ip.addr("add", index=lan, address=HOST, prefixlen=24)
            ip.addr("add", index=lan, address=HOST6, prefixlen=64, flags=2)  # IFA_F_NODAD
        for plan in self.ground.plans[1:]:
            self.attach(plan.number)
            self.forward(plan.number)
            self.ground.change(plan.number, networking__advertise=[LAN, LAN6])
        self.ground.change(1, networking__accept_routes=[LAN, LAN6])

    def attach(self, number: int) -> None:
        """Give a node's machine an interface in the LAN."""
        machine = self.ground.namespace(number)
        with self.site, IPRoute() as ip:
            name = f"port{number}"
            ip.link(
                "add", kind="veth", ifname=name, peer={"ifname": "lan", "net_ns_fd": machine.fd}
            )
            port, bridge = ip.link_lookup(ifname=name)[0], ip.link_lookup(ifname="lan")[0]
            ip.link("set", index=port, master=bridge, state="up")
        with machine, IPRoute() as ip:
            lan = ip.link_lookup(ifname="lan")[0]
            ip.link("set", index=lan, state="up")
            ip.addr("add", index=lan, address=f"192.168.5.{number}", prefixlen=24)
            ip.addr("add", index=lan, address=f"fd5e::{number}", prefixlen=64, flags=2)

    def forward(self, number: int, value: str = "1") -> None:
        """Let the machine of a node forward packets, or not."""
        with self.ground.namespace(number):
            for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path(f"/proc/sys/net/{path}").write_text(value)

    def know_the_mesh(self, gateway: int = 2) -> None:
        """The host has routes to the mesh: no translation is needed."""
        with self.site, IPRoute() as ip:
            ip.route("replace", dst="10.77.0.0/16", gateway=f"192.168.5.{gateway}")
            ip.route("replace", dst="fd77::/64", gateway=f"fd5e::{gateway}")

    def translate(self, number: int) -> None:
        """The machine of a gateway translates source addresses."""
        with self.ground.namespace(number):
            subprocess.run(["nft", "-f", "-"], input=MASQUERADE, text=True, check=True)

    async def sends(
        self,
        sender: Namespace,
        receiver: Namespace,
        address: str,
        size: int = 4 * MEGABYTE,
    ) -> str:
        """A TCP transfer arrives intact; returns the address that the receiver saw."""
        content = os.urandom(size)
        digest, upload = Digest(), Upload(content)
        seen: list[str] = []

        def build() -> Digest:
            return digest

        server, client = Factory.forProtocol(build), ClientFactory()
        client.protocol = lambda: upload
        made = digest.connectionMade

        def connection_made() -> None:
            assert digest.transport is not None
            seen.append(digest.transport.getPeer().host)  # type: ignore[attr-defined]
            made()

        digest.connectionMade = connection_made  # type: ignore[method-assign]
        with receiver:
            port = reactor.listenTCP(0, server, interface=address)
        self.addCleanup(port.stopListening)
        with sender:
            reactor.connectTCP(address, port.getHost().port, client)
        self.assertEqual(await digest.done, hashlib.sha256(content).hexdigest())
        await upload.closed
        return seen[0]

    async def reaches(self, host: str = HOST) -> bool:
        """Whether the host answers pings of the first machine."""
        pinger = Pinger(reactor, self.ground.namespace(1), 6 if ":" in host else 4)
        self.addCleanup(pinger.close)
        return await pinger.ping_once(host, PATIENCE) is not None


class OneGatewayTests(SiteCase):
    """A LAN behind one gateway."""

    async def test_without_translation(self) -> None:
        """Hosts of both sides open connections to each other, in both families, and see each
        other's own address; megabytes arrive intact."""
        self.know_the_mesh()
        await self.ground.linked(2)
        client = self.ground.namespace(1)
        for host, family in ((HOST, IPV4), (HOST6, IPV6)):
            self.assertTrue(await self.reaches(host))
            own = self.address(1, family)
            self.assertEqual(await self.sends(client, self.site, host), own)
            self.assertEqual(await self.sends(self.site, client, own), host)

    async def test_explained(self) -> None:
        """The gateway knows where its kernel forwards a packet to; when forwarding is switched off,
        it says so."""
        self.know_the_mesh()
        await self.ground.linked(2)
        given = urlencode({"source": self.address(1), "destination": HOST})
        client = Client(self.ground.directory / self.ground.plans[1].socket)
        for value, said in (("1", "forwards it to lan"), ("0", "does not forward it")):
            self.forward(2, value)
            tree = await deferToThread(client.get, f"/v1/explain?{given}")
            self.assertIn(said, str(tree))

    async def test_with_translation(self) -> None:
        """Hosts that do not know the mesh see the gateway's address."""
        self.translate(2)
        await self.ground.linked(2)
        client = self.ground.namespace(1)
        for host, gateway in ((HOST, "192.168.5.2"), (HOST6, "fd5e::2")):
            self.assertTrue(await self.reaches(host))
            self.assertEqual(await self.sends(client, self.site, host), gateway)

    async def test_in_large_pieces(self) -> None:
        """What a host sends crosses the gateway's tun in pieces of many segments, not in segments:
        also after the helper process has put the device back."""
        self.know_the_mesh()
        self.ground.change(2, networking__advertise=[LAN, LAN6], networking__device_helper=True)
        _, gateway = await self.ground.linked(2)
        for number in range(2):
            packets, size = await self.sent_into_the_mesh()
            await self.sends(self.site, self.ground.namespace(1), self.address(1), 16 * MEGABYTE)
            more, larger = await self.sent_into_the_mesh()
            self.assertGreater((larger - size) / (more - packets), 6000)
            if number == 0:
                with self.ground.namespace(2), IPRoute() as ip:
                    ip.link("set", index=ip.link_lookup(ifname="tun1")[0], state="down")
                await gateway.logged("restored")
                self.assertTrue(await self.reaches())

    async def sent_into_the_mesh(self) -> tuple[int, int]:
        """How many packets, and bytes, the gateway's kernel has sent into its tun."""
        tree = await self.ground.status(2)
        return tree["tun"]["tx"]["packets"], tree["tun"]["tx"]["bytes"]

    async def test_errors_come_back(self) -> None:
        """A host that has no such port says so, and connect() fails at once; one that does not
        exist is unreachable, says the gateway."""
        self.know_the_mesh()
        await self.ground.linked(2)
        for host, family in ((HOST, IPV4), (HOST6, IPV6)):
            self.assertTrue(await self.reaches(host))
            with self.ground.namespace(1), socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.settimeout(PATIENCE)
                asked.connect((host, 9))
                asked.send(b"anybody there?")
                self.assertRaises(ConnectionRefusedError, asked.recv, 1)
        with self.ground.namespace(1), socket.socket(IPV4, socket.SOCK_STREAM) as asked:
            asked.setblocking(False)
            asked.connect_ex(("192.168.5.77", 80))
            told: list[int] = []

            def has_failed() -> int:
                told.append(asked.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                return told[-1]

            await deferLaterUntil(has_failed)
            self.assertEqual(told[-1], errno.EHOSTUNREACH)  # and not that nobody has answered

    async def test_too_big(self) -> None:
        """A router in the LAN that says "too big" is heard: the path's MTU is known then."""
        with self.site, IPRoute() as ip:
            lan = ip.link_lookup(ifname="lan")[0]
            ip.route("add", dst="10.77.0.0/16", gateway="192.168.5.2")
            ip.link("set", index=lan, mtu=1500)
        with self.ground.namespace(2), IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname="lan")[0], mtu=1200)
        await self.ground.linked(2)
        self.assertTrue(await self.reaches())
        with self.ground.namespace(1), socket.socket(IPV4, socket.SOCK_DGRAM) as asked:
            asked.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            asked.connect((HOST, 9))
            asked.send(bytes(1400))

            def mtu() -> bool:
                return asked.getsockopt(socket.IPPROTO_IP, 14) == 1200  # IP_MTU

            await deferLaterUntil(mtu)

    async def test_reload(self) -> None:
        """What is advertised can change while the nodes run."""
        self.know_the_mesh()
        self.ground.change(2)
        _, gateway = await self.ground.linked(2)
        self.ground.change(2, networking__advertise=[LAN])
        gateway.signal("HUP")
        reloaded = await gateway.logged("reloaded")
        self.assertEqual(reloaded["changed"], f"advertise ({LAN})")
        self.assertTrue(await self.reaches())

    async def test_not_routed_without_consent(self) -> None:
        """A node that accepts nothing sends nothing there, and its machine has no route there."""
        self.know_the_mesh()
        self.ground.change(1)
        await self.ground.linked(2)
        with self.ground.namespace(1), socket.socket(IPV4, socket.SOCK_DGRAM) as asked:
            error = self.assertRaises(OSError, asked.connect, (HOST, 9))
        self.assertEqual(error.errno, errno.ENETUNREACH)


class TwoGatewaysTests(SiteCase):
    """A LAN behind two gateways, one of which fails."""

    nodes = 3

    async def failover(self, fail: Callable[[list[RealNode]], Awaitable[None]]) -> None:
        """40 flows go by both gateways; all of them are answered when one of these has failed."""
        self.know_the_mesh(3)
        for number in (2, 3):
            self.translate(number)
        nodes = await self.ground.linked(3)
        self.assertTrue(await self.reaches())
        with self.site:
            echo = reactor.listenUDP(7777, Echo(), interface=HOST)
        self.addCleanup(echo.stopListening)
        flows = [Flow() for _ in range(40)]
        with self.ground.namespace(1):
            ports = [reactor.listenUDP(0, flow, interface=self.address(1)) for flow in flows]
        for flow, port in zip(flows, ports, strict=True):
            self.addCleanup(port.stopListening)
            flow.begin()
            self.addCleanup(flow.stop)
        while min([await self.received(number) for number in (2, 3)]) <= 20:
            await deferLater(reactor, 0.1)
        await fail(nodes)
        await gatherResults([flow.answered_after(reactor.seconds() + 0.5) for flow in flows])

    async def received(self, number: int) -> int:
        """How many packets a gateway has received from the first node."""
        tree = await self.ground.status(number)
        (peer,) = (peer for peer in tree["peers"] if peer["name"] == "node1")
        return int(peer["rx"]["packets"])

    async def test_killed(self) -> None:
        """The flows of a gateway that ends without a word go by the other one."""

        async def kill(nodes: list[RealNode]) -> None:
            nodes[1].signal("KILL")
            await nodes[1].ended

        await self.failover(kill)

    async def test_cut(self) -> None:
        """Those of one whose cable is cut move when the silence is noticed."""

        async def cut(_: list[RealNode]) -> None:
            with self.ground.namespace(2), IPRoute() as ip:
                ip.link("set", index=ip.link_lookup(ifname="eth0")[0], state="down")

        await self.failover(cut)

    async def test_leaves(self) -> None:
        """Those of one that says goodbye, too."""

        async def leave(nodes: list[RealNode]) -> None:
            nodes[1].signal("TERM")
            await nodes[1].ended

        await self.failover(leave)


class Echo(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


class Flow(DatagramProtocol):
    """Sends a datagram every 50 ms, and takes the answers."""

    def __init__(self) -> None:
        self._awaited: list[tuple[float, Deferred[None]]] = []
        self._loop = LoopingCall(self._send)

    def begin(self) -> None:
        self._loop.start(0.05)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _send(self) -> None:
        assert self.transport is not None
        self.transport.write(b"still there?", (HOST, 7777))

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        now = reactor.seconds()
        for one in list(self._awaited):
            if one[0] <= now:
                self._awaited.remove(one)
                one[1].callback(None)

    def answered_after(self, when: float) -> Deferred[None]:
        """Fires at the first answer that comes after that time."""
        answered: Deferred[None] = Deferred()
        self._awaited.append((when, answered))
        return answered


class RefusedTests(SiteCase):
    """What a node refuses to start with, or warns of."""

    async def test_the_underlay(self) -> None:
        """A network that this machine is in cannot be reached through the mesh."""
        self.ground.change(1, networking__accept_routes=["10.99.0.0/16"])
        node = self.ground.start(1)
        self.assertEqual(await node.ended, 1)
        self.assertIn("networking/accept_routes: 10.99.0.0/16 overlaps 10.99.0", node.text)
        self.assertIn("which eth0 uses", node.text)

    async def test_forwarding_is_off(self) -> None:
        """A gateway whose kernel does not forward says so, with the command that helps."""
        self.forward(2, "0")
        node = self.ground.start(2)
        doubt = await node.logged("doubtful_config")
        self.assertIn("net.ipv4.ip_forward=1", doubt["text"])


async def deferLaterUntil(holds: Callable[[], object]) -> None:
    """Wait until that is true: the kernel tells nobody."""
    while not holds():
        await deferLater(reactor, 0.02)
