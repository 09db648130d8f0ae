"""Whole meshes in memory: floating addresses that nodes claim, and that move between them."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.membership.candidates import Candidates
from tunmesh.membership.floating.holding import JOIN_WAIT
from tunmesh.testing.mesh import IPV4, Member, Mesh
from tunmesh.testing.tun import frame
from tunmesh.wire.sizes import MAX_FLOATING

VIP, VIP6 = ip_address("10.9.0.200"), ip_address("fd09::200")
FLOATING = (ip_network("10.9.0.192/26"), ip_network("fd09::200/128"))


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.mesh = Mesh(floating=FLOATING)
        self.a, self.b, self.c = (self.mesh.add(name) for name in "abc")
        self.mesh.until(self.mesh.is_complete)

    def has(self, member: Member) -> bool:
        """Whether it holds the address, and has it on its tun."""
        return any(own.is_usable and own.address == str(VIP) for own in member.status.floating)

    def holders(self) -> list[str]:
        return [member.name for member in self.mesh.running() if self.has(member)]

    def reached(self, sender: Member, text: str = str(VIP)) -> list[str]:
        """Who gets a packet that this one sends to the address."""
        packet = frame(sender.addresses[":" in text], text, self.mesh.random.randbytes(8))
        sender.tun.inject(packet)
        self.mesh.advance(0.1)
        return [member.name for member in self.mesh.running() if packet in member.tun.written]

    def held_by(self, member: Member, within: float = 1.0) -> float:
        """Let time pass until this one has it, and everybody sends there."""
        took = self.mesh.until(lambda: self.holders() == [member.name], within)
        self.mesh.advance(0.1)
        for other in self.mesh.running():
            if other is not member and member.name in other.linked_with:
                self.assertEqual(self.reached(other), [member.name], other.name)
        return took


class ClaimTests(Case):
    """Claims and releases in a mesh that is well."""

    def test_claim(self) -> None:
        """A node has what it claims within a moment: on its tun, and everybody sends there and
        takes what comes from there."""
        self.assertEqual(self.reached(self.b), [])
        found = self.a.node.floating.claim(VIP)
        self.assertEqual((found.state, found.holder), ("waiting", ""))
        self.assertLess(self.held_by(self.a), 0.1)
        self.assertEqual(self.a.assigner.assigned, [ip_interface(f"{VIP}/32")])
        packet = frame(str(VIP), self.b.address)
        self.a.tun.inject(packet)
        self.mesh.advance(0.1)
        self.assertIn(packet, self.b.tun.written)
        self.assertEqual(self.a.status.floating[0].holder, "a")
        self.assertEqual(self.a.status.floating_moves, {"held": 1, "lost": 0})
        self.assertEqual(len(self.a.logged("floating_held")), 1)

    def test_again(self) -> None:
        """To claim what is claimed, or to release what is not, changes nothing."""
        self.a.node.floating.claim(VIP)
        self.held_by(self.a)
        revision = self.a.node.record.revision
        self.assertEqual(self.a.node.floating.claim(VIP).state, "held")
        self.assertFalse(self.b.node.floating.release(VIP))
        self.assertEqual(self.a.assigner.assigned, [ip_interface(f"{VIP}/32")])
        self.mesh.advance(1.0)
        self.assertEqual(self.a.node.record.revision, revision)
        self.assertEqual(self.holders(), ["a"])

    def test_taken_off(self) -> None:
        """If somebody has taken it off the tun, claiming it again puts it back."""
        self.a.node.floating.claim(VIP)
        self.held_by(self.a)
        self.a.assigner.assigned.clear()
        self.a.node.floating.claim(VIP)
        self.assertEqual(self.a.assigner.assigned, [ip_interface(f"{VIP}/32")])

    def test_queue(self) -> None:
        """The others wait, in the order in which they asked, while their own applications are led
        to the holder; a release hands it to the next one at once."""
        self.a.node.floating.claim(VIP)
        self.held_by(self.a)
        self.c.node.floating.claim(VIP)
        self.mesh.advance(0.2)
        self.b.node.floating.claim(VIP)
        self.mesh.advance(30.0)
        self.assertEqual(self.holders(), ["a"])
        self.assertEqual(self.reached(self.c), ["a"])
        [waiting] = self.b.status.floating
        self.assertEqual((waiting.state, waiting.holder, waiting.number), ("waiting", "a", 3))
        self.assertTrue(all(m.status.is_ready and not m.status.warnings for m in self.mesh.members))
        self.a.node.floating.release(VIP)
        self.assertLess(self.held_by(self.c), 0.1)
        self.assertEqual(self.a.assigner.assigned, [])
        self.assertTrue(self.a.node.floating.release(VIP) is False)
        self.c.node.floating.release(VIP)
        self.assertLess(self.held_by(self.b), 0.1)
        self.b.node.floating.release(VIP)
        self.mesh.advance(0.2)
        self.assertEqual(self.reached(self.c), [])
        for member in self.mesh.members:
            self.assertFalse(member.logged("address_conflict") + member.logged("address_refused"))

    def test_two_at_once(self) -> None:
        """Of two that claim it at the same time one has it, and the other one never had."""
        self.b.node.floating.claim(VIP)
        self.c.node.floating.claim(VIP)
        self.held_by(self.b)
        self.mesh.advance(10.0)
        self.assertEqual(self.holders(), ["b"])
        self.assertFalse(self.c.logged("floating_held"))

    def test_ipv6(self) -> None:
        """Addresses of both families float, each on its own."""
        self.a.node.floating.claim(VIP)
        self.b.node.floating.claim(VIP6)
        self.mesh.advance(1.0)
        self.assertEqual(self.reached(self.c), ["a"])
        self.assertEqual(self.reached(self.c, str(VIP6)), ["b"])
        self.assertEqual(self.b.assigner.assigned, [ip_interface("fd09::200/128")])

    def test_newcomer(self) -> None:
        """A node that comes later sends to the holder, whomever it meets first."""
        self.a.node.floating.claim(VIP)
        self.held_by(self.a)
        self.b.node.floating.claim(VIP)
        self.mesh.advance(1.0)
        newcomer = self.mesh.add("d", start=False)
        self.mesh.network.cut(newcomer.host, self.a.host)
        newcomer.start(groups=())
        newcomer.leave()
        self.mesh.network.heal()
        late = self.mesh.add("e")
        self.mesh.until(lambda: late.linked_with == ["a", "b", "c"])
        self.assertEqual(self.reached(late), ["a"])

    def test_refused(self) -> None:
        """What is not in networking/floating cannot be claimed, nor what no node can have."""
        for text, why in (
            ("10.9.0.1", "10.9.0.1 may not be claimed here: networking/floating is 10.9.0.192/26"),
            ("192.0.2.1", "may not be claimed here"),
        ):
            with self.assertRaisesRegex(ValueError, why):
                self.a.node.floating.claim(ip_address(text))
        self.mesh = Mesh(floating=(ip_network("10.9.0.0/16"),), reserved=(ip_address("10.9.9.9"),))
        member = self.mesh.add("x")
        for text, why in (
            ("10.9.0.1", "own address: it does not float"),
            ("10.9.255.255", "not an address for a node"),
            ("10.9.9.9", "not an address for a node"),
        ):
            with self.assertRaisesRegex(ValueError, why):
                member.node.floating.claim(ip_address(text))
        for number in range(MAX_FLOATING):
            member.node.floating.claim(ip_address("10.9.1.0") + number)
        with self.assertRaisesRegex(ValueError, "16 addresses already"):
            member.node.floating.claim(VIP)

    def test_nothing_allowed(self) -> None:
        """Without networking/floating nothing can be claimed."""
        member = Mesh().add("x")
        with self.assertRaisesRegex(ValueError, "networking/floating is empty"):
            member.node.floating.claim(VIP)

    def test_hectic(self) -> None:
        """However often a program claims and releases, peers hear of the last word: the node says
        no more than they read."""
        for _ in range(100):
            self.a.node.floating.claim(VIP)
            self.mesh.advance(0.05)
            self.a.node.floating.release(VIP)
            self.mesh.advance(0.05)
        self.assertLess(self.a.node.record.revision, 30)
        self.a.node.floating.claim(VIP)
        self.held_by(self.a, 60.0)
        self.a.node.floating.release(VIP)
        self.mesh.advance(60.0)
        self.assertEqual(self.reached(self.b), [])

    def test_device_refuses(self) -> None:
        """If the device cannot be given the address the claim is given up, and the next node has
        it; the node goes on."""
        self.a.assigner.fails = "no room"
        self.a.node.floating.claim(VIP)
        self.b.node.floating.claim(VIP)
        self.held_by(self.b)
        self.assertEqual(self.a.status.floating, ())
        self.assertEqual(len(self.a.logged("floating_failed")), 1)
        self.assertEqual(self.a.failures, [])

    def test_slow_device(self) -> None:
        """An address that is released before the device has it is taken off afterwards."""
        self.a.assigner.is_slow = True
        self.a.node.floating.claim(VIP)
        self.mesh.advance(0.5)
        self.assertEqual(self.holders(), [])
        self.a.node.floating.release(VIP)
        self.a.assigner.answer()
        self.a.assigner.answer()
        self.assertEqual(self.a.assigner.assigned, [])
        self.mesh.advance(0.5)
        self.assertEqual(self.reached(self.b), [])


class FailoverTests(Case):
    """The holder is gone."""

    def setUp(self) -> None:
        super().setUp()
        self.a.node.floating.claim(VIP)
        self.held_by(self.a)

    def test_leaves(self) -> None:
        """A node that leaves, or whose process is killed, hands it on at once."""
        self.b.node.floating.claim(VIP)
        self.mesh.advance(1.0)
        self.a.leave()
        self.mesh.advance(0.05)
        self.a.crash()
        self.assertLess(self.held_by(self.b), 0.2)
        self.c.node.floating.claim(VIP)
        self.mesh.advance(1.0)
        self.b.crash()
        self.assertLess(self.held_by(self.c), 0.2)

    def test_power_cut(self) -> None:
        """A machine that is gone without a word loses it about a second after the next claim."""
        self.mesh.advance(1.0)
        self.a.vanish()
        self.mesh.advance(0.5)
        self.b.node.floating.claim(VIP)
        self.assertLess(self.held_by(self.b, 2.0), 1.3)

    def test_cut(self) -> None:
        """The same if it is cut off. When it is back it does not get the address again; it waits,
        and has taken it off its tun."""
        for other in (self.b, self.c):
            self.mesh.network.cut(self.a.host, other.host)
        self.mesh.advance(1.0)
        self.b.node.floating.claim(VIP)
        self.mesh.until(lambda: self.has(self.b), 1.3)
        self.assertTrue(self.has(self.a))
        self.assertEqual(self.reached(self.c), ["b"])
        self.mesh.advance(30.0)
        self.mesh.network.heal()
        self.mesh.until(self.mesh.is_complete, 40.0)
        self.mesh.until(lambda: self.holders() == ["b"], 5.0)
        self.held_by(self.b)
        self.assertEqual(self.a.status.floating[0].state, "waiting")
        (lost,) = self.a.logged("floating_lost")
        self.assertEqual(lost["holder"], "b")

    def test_pair(self) -> None:
        """Of a mesh of two nodes the one that is left takes over."""
        self.c.leave()
        self.mesh.advance(5.0)
        self.a.vanish()
        self.b.node.floating.claim(VIP)
        self.mesh.until(lambda: self.has(self.b), 1.3)

    def test_alive(self) -> None:
        """A holder that answers is not disturbed: no link is lost."""
        for member in (self.b, self.c):
            member.node.floating.claim(VIP)
        self.mesh.advance(20.0)
        self.assertEqual(self.holders(), ["a"])
        self.assertFalse(any(m.logged("unlinked") for m in self.mesh.members))

    def test_restart(self) -> None:
        """A node that is restarted claims nothing; when its program claims again it waits."""
        self.b.node.floating.claim(VIP)
        self.mesh.advance(20.0)
        self.a.crash()
        self.a.start()
        self.mesh.until(self.mesh.is_complete)
        self.held_by(self.b)
        self.assertEqual(self.a.status.floating, ())
        self.a.node.floating.claim(VIP)
        self.mesh.advance(30.0)
        self.assertEqual(self.holders(), ["b"])

    def test_halves(self) -> None:
        """Two halves of a mesh that each had a holder agree on one when they meet."""
        for other in (self.b, self.c):
            self.mesh.network.cut(self.a.host, other.host)
        self.mesh.advance(40.0)
        self.b.node.floating.claim(VIP)
        self.mesh.advance(5.0)
        self.assertEqual(self.holders(), ["a", "b"])
        self.mesh.network.heal()
        self.mesh.until(lambda: self.mesh.is_complete() and len(self.holders()) == 1, 60.0)
        self.held_by(self.b)


class PlaceTests(SynchronousTestCase):
    """What a floating address has to do with the addresses of nodes."""

    def test_static_owner(self) -> None:
        """A node whose own address it is is not displaced, whoever claims it."""
        mesh = Mesh(floating=FLOATING)
        a, b = mesh.add("a"), mesh.add("b", start=False)
        b.addresses = (str(VIP), "fd09::77")
        b.start()
        mesh.until(mesh.is_complete)
        mesh.advance(20.0)
        a.node.floating.claim(VIP)
        mesh.advance(30.0)
        self.assertEqual(a.status.floating[0].state, "waiting")
        self.assertTrue(mesh.send(a, b))
        self.assertTrue(b.status.is_ready and not b.status.warnings, b.status.warnings)

    def test_automatic(self) -> None:
        """A node that chooses its address chooses none that may float, nor one that is claimed."""
        [taken] = [str(own.ip) for _, own in list(Candidates(IPV4, 16, "b"))[:1]]
        for floating in (ip_network(f"{taken}/32"), ip_network("10.9.0.0/17")):
            mesh = Mesh(floating=(floating,))
            mesh.add("a")
            b = mesh.add("b", start=False)
            b.automatic = (4,)
            b.start()
            mesh.advance(10.0)
            self.assertNotIn(ip_address(b.held[0]), floating)

    def test_no_mesh(self) -> None:
        """A node that does not find its mesh waits for a while before it takes what it claims; the
        first node of a mesh need not."""
        mesh = Mesh(floating=FLOATING)
        a, b = mesh.add("a"), mesh.add("b", start=False)
        mesh.network.cut(a.host, b.host)
        b.start()
        for member in (a, b):
            member.node.floating.claim(VIP)
        mesh.advance(1.0)
        self.assertEqual([m.status.floating[0].state for m in (a, b)], ["held", "waiting"])
        mesh.advance(JOIN_WAIT)
        self.assertEqual(b.status.floating[0].state, "held")
