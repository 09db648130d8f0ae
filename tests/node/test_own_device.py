"""Whole meshes in memory: what a node does about its tun while it runs."""

from __future__ import annotations

from ipaddress import ip_interface

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.node.own.device import AGAIN, BURST, RATE
from tunmesh.node.settings import DeviceSettings
from tunmesh.testing.mesh import Mesh
from tunmesh.testing.tun import frame

GONE = "the address 10.9.0.1/16 is gone from tun1 (to mend it: ip address add 10.9.0.1/16 dev tun1)"
SMALL = "the MTU of tun1 is 1000, not 1500 (to mend it: ip link set tun1 mtu 1500)"


class Case(SynchronousTestCase):
    """Two nodes with static addresses, each with a helper process."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a, self.b = self.mesh.add("a", start=False), self.mesh.add("b", start=False)
        for member in (self.a, self.b):
            member.settings["device"] = DeviceSettings(tuple(map(ip_interface, member.assigned)))
            member.start()
        self.mesh.until(self.mesh.is_complete)

    def texts(self, event: str) -> list[str]:
        return [formatEvent(each) for each in self.a.logged(event)]

    def reload(self, *addresses: str, mtu: int = 1500, queue: int = 0) -> None:
        own = tuple(map(ip_interface, addresses or self.a.assigned))
        self.a.reload(device=DeviceSettings(own, mtu, queue))


class PutBack(Case):
    """What others take from the tun."""

    def test_at_once(self) -> None:
        """What is missing is put back at once, said, and counted."""
        self.a.watch.complain(GONE)
        self.assertEqual(self.a.assigner.restored, 1)
        self.assertEqual(
            self.texts("restored"),
            [
                f"put back on {self.a.tun.name} by the helper process, after this was found: "
                "the address 10.9.0.1/16 is gone from tun1"
            ],
        )
        self.a.watch.complain()
        self.mesh.advance(100)
        self.assertEqual((self.a.assigner.restored, self.a.status.device.restored), (1, 1))

    def test_mtu(self) -> None:
        """Another MTU is put back too. As long as it is there that is a problem, and no reason for
        others not to rely on the node."""
        self.a.assigner.is_slow = True
        self.a.watch.complain(differing=[SMALL])
        self.assertTrue(self.a.status.is_ready)
        self.assertIn(SMALL, self.a.status.warnings)
        self.assertEqual(self.a.status.device.complaints, (SMALL,))
        self.a.assigner.answer()
        self.assertEqual(self.a.assigner.restored, 1)

    def test_foreign(self) -> None:
        """What is not this node's to remove stays: nothing is put back for it."""
        found = self.a.watch.found
        self.a.watch.complain(GONE)
        self.a.watch.found = type(found)(taken=("10.9.9.0/24 is sent to docker0, not to tun1",))
        self.a.watch._changed()
        self.mesh.advance(100)
        self.assertEqual(self.a.assigner.restored, 1)
        self.assertFalse(self.a.status.is_ready)

    def test_again_and_again(self) -> None:
        """Another program that takes it again and again is answered a few times at once, and then
        at a fixed rate."""
        for _ in range(100):
            self.a.watch.complain(GONE)
        self.assertEqual(self.a.assigner.restored, BURST)
        self.mesh.advance(10 / RATE)
        self.assertIn(self.a.assigner.restored - BURST, (9, 10, 11))

    def test_refused(self) -> None:
        """When the kernel refuses, that is said, and tried again."""
        self.a.assigner.fails = "cannot put back what was taken from the device: No such device"
        self.a.watch.complain(GONE)
        self.assertEqual(self.texts("device_failed"), [self.a.assigner.fails])
        self.assertEqual(self.texts("restored"), [])
        self.a.assigner.fails = ""
        self.mesh.advance(AGAIN + 1)
        self.assertEqual(len(self.texts("restored")), 1)
        self.assertEqual(self.a.failures, [])


class Reloaded(Case):
    """What a config says anew."""

    def test_link(self) -> None:
        """MTU and txqueuelen are set, and the watch expects them."""
        self.reload(mtu=9000, queue=2000)
        self.assertEqual((self.a.assigner.mtu, self.a.assigner.queue), (9000, 2000))
        self.assertEqual(self.a.watch.expected_mtu, 9000)
        self.assertEqual(self.a.node.record.mtu, 9000)
        self.mesh.until(lambda: self.b.status.peers[0].record.mtu == 9000, 5)
        device = self.a.status.device
        self.assertEqual((device.mtu, device.queue, device.has_helper), (9000, 2000, True))

    def test_link_refused(self) -> None:
        """An MTU that the helper refuses is said, and the old one is expected as before."""
        self.a.assigner.fails = "cannot give the device an MTU of 9000: no"
        self.reload(mtu=9000)
        self.assertEqual(self.texts("device_failed"), [self.a.assigner.fails])
        self.assertEqual(self.a.watch.expected_mtu, 1500)
        self.assertEqual(self.a.node.record.mtu, 1500)

    def test_slow_link(self) -> None:
        """While the MTU is being changed, none is expected."""
        self.a.assigner.is_slow = True
        self.reload(mtu=9000)
        self.assertEqual(self.a.watch.expected_mtu, 0)
        self.a.assigner.answer()
        self.assertEqual(self.a.watch.expected_mtu, 9000)

    def test_nothing_new(self) -> None:
        """The same config changes nothing."""
        self.reload()
        self.assertEqual((self.a.assigner.mtu, self.a.assigner.assigned), (0, []))

    def test_addresses(self) -> None:
        """A further address is put on the tun, and all nodes route it; then another one is taken
        off, and nobody routes that any more."""
        four, six = self.a.assigned
        self.a.assigner.assigned = [ip_interface(each) for each in (four, six)]
        self.reload(four, "10.9.7.7/24", six)
        self.assertEqual(
            [str(each) for each in self.a.assigner.assigned], [four, six, "10.9.7.7/24"]
        )
        self.assertTrue(self.until_reached("10.9.7.7"))
        self.reload("10.9.7.7/24", six)
        self.assertEqual([str(each) for each in self.a.assigner.assigned], [six, "10.9.7.7/24"])
        self.assertTrue(self.until_reached("10.9.7.7"))
        gone = four.partition("/")[0]
        self.assertFalse(self.reaches(gone))
        self.assertEqual([str(each) for each in self.a.watch.expected or ()], ["10.9.7.7/24", six])
        self.assertTrue(self.a.status.is_ready, self.a.status.ready)
        self.assertEqual(self.b.logged("contradiction"), [])

    def test_one_after_the_other(self) -> None:
        """Reloads that come while the device is being changed are done when it is."""
        four, six = self.a.assigned
        self.a.assigner.assigned = [ip_interface(each) for each in (four, six)]
        self.a.assigner.is_slow = True
        for number in range(1, 5):
            self.reload(four, f"10.9.7.{number}/24", six, mtu=1500 + number)
        for _ in range(20):
            self.a.assigner.answer()
        self.assertEqual(
            [str(each) for each in self.a.assigner.assigned], [four, six, "10.9.7.4/24"]
        )
        self.assertEqual(self.a.assigner.mtu, 1504)

    def test_refused(self) -> None:
        """When the helper refuses, the node goes on as it is, and tries again."""
        self.a.assigner.fails = "cannot put 10.9.7.7/24 on the device: no"
        self.reload(*self.a.assigned, "10.9.7.7/24")
        self.assertEqual(self.texts("device_failed"), [self.a.assigner.fails])
        self.assertEqual(len(self.a.node.record.addresses), 2)
        self.a.assigner.fails = ""
        self.mesh.advance(AGAIN + 1)
        self.assertEqual(len(self.a.node.record.addresses), 3)

    def until_reached(self, address: str) -> bool:
        self.mesh.until(lambda: self.reaches(address), 5)
        return True

    def reaches(self, address: str) -> bool:
        """Whether a packet of the other node to this address arrives at the tun of this one."""
        packet = frame(self.b.address, address, b"hello")
        before = len(self.a.tun.written)
        self.b.tun.inject(packet)
        self.mesh.advance(0.1)
        return packet in map(bytes, self.a.tun.written[before:])
