"""When the watch checks the device: soon after a notification, rarely if there are many, and again
after a failure. Real sockets in a namespace, and a fake clock."""

from __future__ import annotations

import errno
import os
import select
import socket
from ipaddress import ip_address, ip_interface, ip_network

from pyroute2 import IPRoute
from twisted.trial import unittest

from tests.support import netns
from tests.support.readers import Readers
from tunmesh.dataplane.tun import open_tun
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink import device_watch
from tunmesh.netlink.device_watch import PAUSE, PAUSE_AFTER_FAILURE, REST, DeviceWatch
from tunmesh.netlink.overlaps import Overlay
from tunmesh.netlink.setup import configure

MESH = Overlay(ip_network("10.77.0.0/16"), (ip_interface("10.77.0.1/16"),))
CHANGES = 500


class Loop(Readers):
    """A reactor that reads on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def read(self) -> None:
        """Read until there is nothing to read."""
        while ready := select.select(list(self.readers), [], [], 0)[0]:
            self.turns += 1
            for reader in ready:
                reader.doRead()


class WatchTests(unittest.TestCase):
    """A namespace with a tun, in which another program changes routes."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.pod = Namespace.create()
        self.addCleanup(self.pod.close)
        self.loop = Loop()
        self.told: list[tuple[str, ...]] = []
        self.worked = 0.0
        self.cost = 0.0
        with self.pod:
            netns.loopback_up()
            self.addCleanup(os.close, open_tun("tun1"))
            configure("tun1", [MESH], 1400)
            self.watch = DeviceWatch(self.loop, "tun1", [MESH], self.work)
            self.addCleanup(self.watch.stop)
            self.watch.start(lambda: self.told.append(self.watch.found.all))
            self.loop.read()

    def work(self) -> float:
        self.worked += self.cost
        return self.worked

    def take_address(self) -> None:
        with self.pod, IPRoute() as ip:
            index = socket.if_nametoindex("tun1")
            ip.addr("del", index=index, address="10.77.0.1", prefixlen=16)

    def change_elsewhere(self) -> None:
        with self.pod, IPRoute() as ip:
            lo = socket.if_nametoindex("lo")
            for _ in range(CHANGES):
                ip.route("add", dst="198.18.0.0/24", oif=lo)
                ip.route("del", dst="198.18.0.0/24", oif=lo)

    def advance(self, seconds: float) -> None:
        with self.pod:
            self.loop.advance(seconds)
            self.loop.read()

    def test_notification(self) -> None:
        """A problem is reported once, when the pause after the notification is over."""
        self.assertEqual(self.told, [])
        self.take_address()
        self.loop.read()
        self.advance(PAUSE * 0.9)
        self.assertEqual(self.told, [])
        self.advance(PAUSE * 0.2)
        # the route was removed with the address, and is restored with it
        ((complaint,),) = self.told
        self.assertIn("the address 10.77.0.1/16 is gone", complaint)
        self.advance(60.0)
        self.assertEqual(len(self.told), 1)

    def test_many_notifications(self) -> None:
        """A thousand unrelated changes are read as one notification, and a change whose
        notification was lost among them is found all the same."""
        with self.pod:
            self.watch._news.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.loop.turns = 0
        self.change_elsewhere()
        self.take_address()
        self.loop.read()
        self.assertEqual(self.loop.turns, 1)
        self.advance(PAUSE)
        self.assertEqual(len(self.told), 1)
        self.assertLess(self.loop.turns, 20)

    def test_expensive(self) -> None:
        """If a check takes long, because there are many routes, the next one is delayed
        accordingly."""
        self.cost = 0.1
        self.change_elsewhere()
        self.loop.read()
        before = self.worked
        self.advance(PAUSE)
        took = (self.worked - before) / 2  # each step reads the CPU time twice
        self.take_address()
        self.loop.read()
        self.advance(REST * took * 0.9)
        self.assertEqual(self.told, [])
        self.advance(REST * took * 0.2)
        self.assertEqual(len(self.told), 1)

    def test_change_during_a_check(self) -> None:
        """A check that sees one half of a change reports nothing; the next one sees all of it."""
        self.change_elsewhere()
        self.loop.read()
        with self.pod, IPRoute() as ip:
            self.loop.advance(PAUSE)  # the interfaces are listed
            ip.link("set", index=socket.if_nametoindex("tun1"), state="down")
            self.loop.read()
        self.assertEqual(self.told, [])
        self.advance(PAUSE)
        self.assertIn("tun1 is down", self.told[0][0])

    def test_mtu(self) -> None:
        """Another MTU is noticed, and is nothing that keeps packets away."""
        self.watch.expect_mtu(1400)
        self.advance(PAUSE)
        self.assertEqual(self.told, [])
        with self.pod, IPRoute() as ip:
            ip.link("set", index=socket.if_nametoindex("tun1"), mtu=1000)
        self.loop.read()
        self.advance(PAUSE)
        text = "the MTU of tun1 is 1000, not 1400 (to mend it: ip link set tun1 mtu 1400)"
        self.assertEqual(self.watch.found.differing, (text,))
        self.assertEqual((self.watch.found.broken, self.watch.found.restorable), ((), (text,)))
        self.watch.expect_mtu(1000)
        self.advance(PAUSE)
        self.assertEqual(self.told, [(text,), ()])

    def test_no_socket(self) -> None:
        """A failed check is repeated later."""
        self.take_address()
        self.loop.read()

        def refusing(_groups: int = 0) -> socket.socket:
            raise OSError(errno.EMFILE, "too many")

        patch = self.patch(device_watch, "open_socket", refusing)
        self.advance(PAUSE)
        patch.restore()
        self.assertEqual(self.told, [])
        self.advance(PAUSE_AFTER_FAILURE)
        self.assertEqual(len(self.told), 1)

    def test_bug(self) -> None:
        """An exception in the callback is logged, and further checks keep their distance, however
        many notifications arrive."""
        self.patch(self.watch, "_changed", lambda: 1 // 0)
        self.take_address()
        self.loop.read()
        self.advance(PAUSE)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.change_elsewhere()
        self.loop.read()
        (call,) = self.loop.getDelayedCalls()
        self.assertAlmostEqual(call.getTime() - self.loop.seconds(), PAUSE_AFTER_FAILURE)

    def test_expectations_change(self) -> None:
        """An address that the node has taken off is not missed; one that it should have is; and
        without any, the network must be routed to the device all the same."""
        self.watch.expect([])
        self.take_address()
        self.advance(PAUSE)
        ((complaint,),) = self.told
        self.assertIn("the route to 10.77.0.0/16 is gone from tun1", complaint)
        self.assertIn("ip route add 10.77.0.0/16 dev tun1)", complaint)
        self.watch.expect([ip_interface("10.77.0.9/16")])
        self.advance(PAUSE)
        self.assertIn("the address 10.77.0.9/16 is gone", self.told[1][0])
        with self.pod, IPRoute() as ip:
            index = socket.if_nametoindex("tun1")
            ip.addr("add", index=index, address="10.77.0.9", prefixlen=16)
        self.loop.read()
        self.advance(PAUSE)
        self.assertEqual(self.told[2:], [()])
        self.watch.stop()
        self.watch.expect([])
        self.assertEqual(self.loop.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """When it is stopped, nothing is left running, in any state."""
        self.take_address()
        self.loop.read()
        self.watch.stop()
        self.assertEqual((self.loop.readers, self.loop.getDelayedCalls()), (set(), []))

    def test_way(self) -> None:
        """The kernel reports the route that it would take, or that there is none."""
        source = ip_address("10.77.0.1")
        with self.pod:
            way = self.watch.way(ip_address("10.77.0.9"), source)
            assert way is not None
            self.assertEqual((way.interface, way.table, way.why), ("tun1", 254, ""))
            way = self.watch.way(ip_address("192.0.2.1"), source)
            assert way is not None
            self.assertEqual((way.interface, way.why), ("", "Network is unreachable"))
