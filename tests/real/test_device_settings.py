"""The tun's MTU, its queue and several addresses, at the start and reloaded; and what others take
from it, put back by the helper process. Real devices and real traffic."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.real.test_mesh import IPV4, IPV6, MEGABYTE, PATIENCE, MeshCase
from tests.support.control import command
from tests.support.realnode import TUN, RealNode, reactor
from tunmesh.localmesh.pinger import Pinger
from tunmesh.node.own import device

NETWORK = {"network_cidr": "10.77.0.0/16"}


class DeviceCase(MeshCase):
    def change(self, number: int, **networking: Any) -> None:
        """Change keys of that node's `networking`; __ is / in a key."""
        self.ground.change(number, **{f"networking__{k}": v for k, v in networking.items()})

    def link(self, number: int) -> Any:
        with self.ground.namespace(number), IPRoute() as ip:
            (link,) = ip.get_links(socket.if_nametoindex(TUN))
            return link

    def ip(self, what: str, *arguments: Any, **options: Any) -> None:
        """As another program on the first node's machine."""
        with self.ground.namespace(1), IPRoute() as ip:
            index = socket.if_nametoindex(TUN)
            options["oif" if what == "route" else "index"] = index
            getattr(ip, what)(*arguments, **options)

    async def reached(self, sender: int, address: str) -> None:
        """Wait until a ping from that node to an address is answered."""
        version = 6 if ":" in address else 4
        pinger = Pinger(reactor, self.ground.namespace(sender), version)
        self.addCleanup(pinger.close)
        while await pinger.ping_once(address, 1.0) is None:
            pass

    async def status(self, number: int = 1) -> Any:
        path = self.ground.directory / self.ground.plans[number - 1].socket
        return json.loads((await command(path, "status", "-o", "json")).output)


class SizeTests(DeviceCase):
    """Nodes whose devices have other MTUs."""

    async def test_other_mtus(self) -> None:
        """Two nodes with the same MTU, as small or as large as can be, exchange TCP both ways
        and datagrams of every size; a packet that fills the MTU comes in one piece."""
        for mtu in (1280, 65521):
            for number in (1, 2):
                self.change(number, mtu=mtu)
            nodes = await self.ground.linked(2)
            for number in (1, 2):
                self.assertEqual(self.link(number).get_attr("IFLA_MTU"), mtu)
            self.assertEqual((await nodes[0].logged("tun_up"))["mtu"], mtu)
            await self.transfer(4 * MEGABYTE)
            await self.datagrams(mtu)
            metrics = await self.ground.metrics(1)
            self.assertEqual(metrics["tunmesh_device_mtu_bytes"], mtu)
            self.assertEqual((await self.status())["device"]["mtu"], mtu)
            for node in nodes:
                node.signal("TERM")
                await node.ended

    async def test_different_mtus(self) -> None:
        """Nodes of different MTU exchange TCP both ways, and datagrams in both directions."""
        for one, other in ((576, 65521), (1500, 9000)):
            for number, mtu in ((1, one), (2, other)):
                self.change(number, mtu=mtu, ipv6=None)
            nodes = await self.ground.linked(2)
            uploads = (self.upload(*ends, os.urandom(MEGABYTE), IPV4) for ends in ((1, 2), (2, 1)))
            await gatherResults([Deferred.fromCoroutine(each) for each in uploads])
            for node in nodes:
                node.signal("TERM")
                await node.ended

    async def transfer(self, size: int) -> None:
        for family in (IPV4, IPV6):
            uploads = (self.upload(*ends, os.urandom(size), family) for ends in ((1, 2), (2, 1)))
            await gatherResults([Deferred.fromCoroutine(each) for each in uploads])

    async def datagrams(self, mtu: int) -> None:
        """Datagrams of sizes around the MTU, and the largest there is."""
        for family, headers in ((IPV4, 28), (IPV6, 48)):
            mailbox, place = self.mailbox(2, family)
            for size in (1, mtu - headers - 1, mtu - headers, mtu - headers + 1, 65000):
                datagram = os.urandom(min(size, 65507))
                self.post(1, datagram, place)
                self.assertEqual(await mailbox.post.get(), datagram, size)

    async def test_broadcast_address(self) -> None:
        """A program that asks for the broadcast address and sends to it reaches the local
        subnet."""
        for number in (1, 2):
            self.change(number, ipv4__enable_broadcast=True)
        await self.ground.linked(2)
        mailbox, place = self.mailbox(2)
        with self.ground.namespace(1), IPRoute() as ip:
            (own,) = ip.get_addr(index=socket.if_nametoindex(TUN), family=socket.AF_INET)
        self.assertEqual(own.get_attr("IFA_BROADCAST"), "10.77.255.255")
        with self.ground.namespace(2):
            every = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(every.close)
        every.setblocking(False)
        every.bind(("", 0))
        with self.ground.namespace(1), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"all", ("10.77.255.255", every.getsockname()[1]))
        self.post(1, b"behind it", place)
        self.assertEqual(await mailbox.post.get(), b"behind it")
        self.assertEqual(every.recv(100), b"all")


class AddressTests(DeviceCase):
    """Nodes with several addresses."""

    async def test_several(self) -> None:
        """All addresses of a node are reached, by all families, and it may send from each."""
        for number in (1, 2):
            self.change(
                number,
                ipv4={
                    **NETWORK,
                    "node_address_cidr": [f"10.77.1.{number}/24", f"10.77.2.{number}/24"],
                },
                ipv6={
                    "network_cidr": "fd77::/48",
                    "node_address_cidr": [f"fd77:0:0:1::{number}/64", f"fd77:0:0:2::{number}/128"],
                },
            )
        await self.ground.linked(2)
        for address in ("10.77.1.2", "10.77.2.2", "fd77:0:0:1::2", "fd77:0:0:2::2"):
            await self.reached(1, address)
        for source in ("10.77.1.1", "10.77.2.1"):
            with self.ground.namespace(2):
                listener = socket.create_server(("10.77.2.2", 0))
            self.addCleanup(listener.close)
            with self.ground.namespace(1):
                place = listener.getsockname()
                dialed = socket.create_connection(place, PATIENCE, source_address=(source, 0))
            self.addCleanup(dialed.close)
            _, (came_from, _) = listener.accept()
            self.assertEqual(came_from, source)


class ReloadTests(DeviceCase):
    """What a running node with a helper process reloads."""

    async def test_mtu(self) -> None:
        """The MTU changes under traffic, without a ping lost; then TCP and datagrams are as after a
        start, and the other node knows."""
        for number in (1, 2):
            self.change(number, device_helper=True)
        nodes = await self.ground.linked(2)
        for mtu in (9000, 1280, 65521, 1500):
            for number, node in enumerate(nodes, start=1):
                self.change(number, device_helper=True, mtu=mtu)
                node.signal("HUP")
                self.assertIn(f"mtu ({mtu})", (await node.logged("reloaded"))["changed"])
                for sender, receiver, version in ((1, 2, 4), (2, 1, 6)):
                    answered = await self.ping(sender, receiver, version)
                    self.assertTrue(answered, (mtu, number, sender, version))
            for number in (1, 2):
                while self.link(number).get_attr("IFLA_MTU") != mtu:
                    await deferLater(reactor, 0.02)
            await self.upload(1, 2, os.urandom(MEGABYTE), IPV4)
            await self.upload(2, 1, os.urandom(MEGABYTE), IPV6)
            while (await self.status())["peers"][0]["mtu"] != mtu:
                await deferLater(reactor, 0.05)
        for node in nodes:
            self.assertEqual(node.all_logged("unlinked"), [], node.text)
            self.assertEqual(node.all_logged("device_failed"), [], node.text)

    async def test_queue(self) -> None:
        """The txqueuelen changes, at the cost of what the kernel is about to hand over."""
        self.change(1, device_helper=True)
        nodes = await self.ground.linked(2)
        for queue in (2000, 10):
            self.change(1, device_helper=True, txqueuelen=queue)
            nodes[0].signal("HUP")
            self.assertIn(f"txqueuelen ({queue})", (await nodes[0].logged("reloaded"))["changed"])
            await self.reached(1, "10.77.0.2")
            while self.link(1).get_attr("IFLA_TXQLEN") != queue:
                await deferLater(reactor, 0.02)
            await self.upload(1, 2, os.urandom(MEGABYTE), IPV4)

    async def test_addresses(self) -> None:
        """An address is added, then another one is taken away, while a connection from the one that
        stays goes on."""
        own: list[list[str]] = [
            ["10.77.0.1/16"],
            ["10.77.0.1/16", "10.77.9.1/24"],
            ["10.77.9.1/24"],
        ]
        self.change(1, device_helper=True)
        nodes = await self.ground.linked(2)
        for addresses in own[1:]:
            ipv4 = {**NETWORK, "node_address_cidr": addresses}
            self.change(1, device_helper=True, ipv4=ipv4)
            nodes[0].signal("HUP")
            self.assertIn("node_address_cidr", (await nodes[0].logged("reloaded"))["changed"])
            await self.reached(2, "10.77.9.1")
        while await self.ping(2, 1, patience=0.3):
            pass
        await self.reached(2, "fd77::1")
        await self.reached(1, "10.77.0.2")
        self.assertEqual((await self.status())["node"]["addresses"], ["10.77.9.1/24", "fd77::1/64"])
        self.assertEqual((await self.status())["device"]["complaints"], [])
        self.assertEqual(nodes[1].all_logged("contradiction"), [])

    async def test_without_helper(self) -> None:
        """A node without one says that it needs a restart, and stays as it is."""
        node, _ = await self.ground.linked(2)
        self.change(1, mtu=9000)
        node.signal("HUP")
        event = await node.logged("restart_needed")
        self.assertEqual(event["keys"], "tun_mesh/networking/mtu")
        self.assertEqual(self.link(1).get_attr("IFLA_MTU"), 1500)


class RestoreTests(DeviceCase):
    """What others take is put back where there is a helper process."""

    async def begin(self, helper: bool = True) -> RealNode:
        self.change(1, device_helper=helper)
        node, _ = await self.ground.linked(2)
        await node.logged("ready")
        return node

    async def test_put_back(self) -> None:
        """Whatever is taken, the node is reached again, and says what it was."""
        node = await self.begin()
        takes: list[tuple[str, str, dict[str, Any]]] = [
            ("tun1 is down", "link", {"state": "down"}),
            ("the MTU of tun1 is 1000, not 1500", "link", {"mtu": 1000}),
            ("the address 10.77.0.1/16 is gone", "addr", {"address": "10.77.0.1", "prefixlen": 16}),
            ("the address fd77::1/64 is gone", "addr", {"address": "fd77::1", "prefixlen": 64}),
            ("the route to 10.77.0.0/16 is gone", "route", {"dst": "10.77.0.0/16", "scope": 253}),
        ]
        for number, (text, what, options) in enumerate(takes):
            self.ip(what, "set" if what == "link" else "del", **options)
            event = await node.logged("restored")
            self.assertIn(text, event["what"])
            await node.logged("device_whole")
            await self.reached(2, "10.77.0.1")
            await self.reached(2, "fd77::1")
            metrics = await self.ground.metrics(1)
            self.assertEqual(metrics["tunmesh_device_restored_total"], number + 1)
            self.assertEqual(metrics["tunmesh_device_complaints"], 0)
        self.assertEqual(node.all_logged("unlinked"), [])

    async def test_again_and_again(self) -> None:
        """Another program that takes the address again and again does not keep the node busy: it is
        put back five times at once, and then every ten seconds."""
        node = await self.begin()
        began = reactor.seconds()
        for _ in range(device.BURST):
            self.ip("addr", "del", address="10.77.0.1", prefixlen=16)
            await node.logged("restored")
            await node.logged("device_whole")
        self.ip("addr", "del", address="10.77.0.1", prefixlen=16)
        await deferLater(reactor, 1.0)
        most = device.BURST + device.RATE * (reactor.seconds() - began)
        self.assertLessEqual(len(node.all_logged("restored")), most)

    async def test_only_said(self) -> None:
        """Without a helper process an MTU that others changed is a problem and no reason not to be
        ready; one that took IPv6 away is, until the commands that are named were run."""
        node = await self.begin(helper=False)
        self.ip("link", "set", mtu=1400)
        event = await node.logged("device_changed")
        self.assertEqual(
            event["why"],
            "the MTU of tun1 is 1400, not 1500 (to mend it: ip link set tun1 mtu 1500)",
        )
        self.assertIn(event["why"], (await self.status())["problems"])
        self.assertEqual((await self.ground.get("/readyz"))[0], 200)
        self.ip("link", "set", mtu=1000)
        why = (await node.logged("not_ready"))["why"]
        self.assertIn("the address fd77::1/64 is gone from tun1", why)
        self.ip("link", "set", mtu=1500)
        self.ip("addr", "add", address="fd77::1", prefixlen=64, flags=2)
        await node.logged("device_whole")
        await self.reached(2, "fd77::1")
        self.assertEqual(node.all_logged("restored"), [])
