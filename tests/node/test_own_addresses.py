"""Whole meshes in memory: nodes that choose their addresses themselves."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from itertools import islice

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.membership.acquisition import CLAIM_WAIT
from tunmesh.membership.candidates import Candidates
from tunmesh.testing.mesh import IPV4, IPV6, PORT, Member, Mesh
from tunmesh.testing.tun import frame

SMALL = IPv4Network("10.9.0.0/28")  # 14 nodes


def first_of(name: str, place: int = 0) -> str:
    """A candidate of a node with this name in the IPv4 network of the mesh."""
    candidates = islice(Candidates(IPV4, 16, name), place, None)
    return str(next(candidates)[1].ip)


class Case(SynchronousTestCase):
    def add(self, name: str, *versions: int, start: bool = True) -> Member:
        member = self.mesh.add(name, start=False)
        member.automatic = versions or (4, 6)
        if start:
            member.start()
        return member

    def setUp(self) -> None:
        self.mesh = Mesh()

    def have_addresses(self) -> bool:
        return all(len(member.held) == len(member.automatic) for member in self.mesh.running())

    def settle(self, within: float = 20.0) -> float:
        return self.mesh.until(lambda: self.mesh.is_complete() and self.have_addresses(), within)


class AutomaticTests(Case):
    """A node that chooses its addresses itself."""

    def test_get_addresses(self) -> None:
        """Every node comes by an address of each IP version, has it on its tun, and is reached."""
        members = [self.add(name) for name in "abc"]
        self.assertLess(self.settle(), CLAIM_WAIT + 3.0)
        for member in members:
            four, six = member.held
            self.assertIn(ip_address(four), IPV4)
            self.assertIn(ip_address(six), IPV6)
            self.assertEqual(four, first_of(member.name))
            self.assertEqual(
                [str(each) for each in member.assigner.assigned], [f"{four}/16", f"{six}/64"]
            )
            self.assertTrue(member.status.is_ready, member.status.ready)
            self.assertEqual(member.failures, [])
        for one in members:
            for other in members:
                for family in (0, 1):
                    self.assertTrue(one is other or self.mesh.send(one, other, b"x", family))

    def test_not_ready_before(self) -> None:
        """Until then a node is not ready, says why, and neither sends nor takes packets."""
        a, b = self.add("a"), self.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.assertEqual(b.held, ())
        [check] = [check for check in b.node.health().ready if check.name == "address"]
        self.assertFalse(check.ok)
        self.assertIn("no IPv4 address yet", check.reason)
        self.assertIn("no IPv6 address yet", check.reason)
        b.tun.inject(frame("10.9.3.3", "10.9.0.1"))
        self.assertEqual(b.status.dropped["no_address"], 1)
        self.settle()
        [check] = [check for check in b.node.health().ready if check.name == "address"]
        self.assertTrue(check.ok)
        self.assertIn(b.held[0], check.reason)
        self.assertEqual(len(a.logged("address_held")), 2)

    def test_alone(self) -> None:
        """The first node of a mesh needs nobody for it; one that has others to bootstrap from
        waits for them."""
        a = self.add("a")
        b = self.mesh.add("b", start=False)
        b.automatic = (4,)
        self.mesh.network.cut(a.host, b.host)
        b.start()
        self.mesh.advance(30.0)
        self.assertEqual(len(a.held), 2)
        self.assertEqual(b.held, ())
        self.assertEqual([each.state for each in b.status.automatic], ["joining"])
        self.mesh.network.heal()
        self.settle(40.0)

    def test_beside_static(self) -> None:
        """It does not claim what a static node has, and one family may be static."""
        a = self.mesh.add("a", start=False)
        a.addresses = (first_of("b"), "fd09::1")
        a.start()
        b = self.add("b", 4)
        self.settle()
        self.assertEqual(b.held, (first_of("b", 1),))
        self.assertEqual(b.addresses, (first_of("b", 1), "fd09::2"))
        self.assertTrue(self.mesh.send(a, b) and self.mesh.send(b, a, family=1))
        self.assertFalse(a.logged("address_conflict"))

    def test_same_again(self) -> None:
        """A node that is restarted gets the same address again, at another host and with another
        id, whether its machine said goodbye or lost power."""
        a, b, c = (self.add(name) for name in "abc")
        self.settle()
        before = b.held
        for end in (b.crash, b.vanish, b.leave):
            self.mesh.advance(20.0)
            end()
            self.mesh.advance(0.3)
            if end == b.leave:
                b.crash()
            b.move(20 + len(b.events))
            b.start()
            self.mesh.until(lambda: b.linked_with == ["a", "c"] and len(b.held) == 2, 25.0)
            self.assertEqual(b.held, before)
            self.mesh.until(lambda: self.mesh.send(a, b) and self.mesh.send(c, b), 20.0)
            self.assertFalse(b.logged("address_moved"))

    def test_two_at_once(self) -> None:
        """Of two nodes that claim one address at the same time one has it, the other one moves on
        at once."""
        self.add("a")
        self.mesh.advance(5.0)
        twins = [self.add("twin", 4) for _ in range(2)]
        self.settle()
        self.mesh.advance(30.0)
        held = {member.held[0] for member in twins}
        self.assertEqual(held, {first_of("twin"), first_of("twin", 1)})
        self.assertTrue(self.mesh.send(twins[0], twins[1]))

    def test_namesake(self) -> None:
        """A newcomer with the name of a node does not get its address."""
        a, b = self.add("a"), self.add("twin", 4)
        self.settle()
        self.mesh.advance(20.0)
        newcomer = self.add("twin", 4)
        self.mesh.until(lambda: bool(newcomer.held), 20.0)
        self.mesh.advance(20.0)
        self.assertEqual((b.held, newcomer.held), ((first_of("twin"),), (first_of("twin", 1),)))
        self.assertTrue(self.mesh.send(a, b) and self.mesh.send(a, newcomer))

    def test_static_newcomer(self) -> None:
        """A static newcomer does not take an address that a node has chosen: it is refused, and
        says so."""
        a, b = self.add("a"), self.add("b", 4)
        self.settle()
        self.mesh.advance(20.0)
        c = self.mesh.add("c", start=False)
        c.addresses = (b.held[0], "fd09::3")
        c.start()
        self.mesh.advance(30.0)
        self.assertEqual(b.held, (first_of("b"),))
        self.assertFalse(c.status.is_ready)
        self.assertTrue(c.logged("address_refused"))
        self.assertTrue(self.mesh.send(a, b))

    def test_partition(self) -> None:
        """When two halves meet in which one address was taken, one node keeps it, and the other
        one, which chose it itself, has another one soon."""
        for is_static, seed in ((False, 0), (True, 0), (True, 1)):  # who is linked first differs
            self.mesh = Mesh(seed=seed)
            a, b, c, d, e = (self.add(name) for name in "abcde")
            self.settle()
            halves = [a, b], [c, d, e]
            twins = []
            for half, one_is_static in zip(halves, (is_static, False), strict=True):
                twin = self.add("twin", 4, start=False)
                twin.settings["groups"] = (GroupSettings("half", ((half[0].host, PORT),)),)
                if one_is_static:
                    twin.automatic = ()
                    twin.addresses = (first_of("twin"), "fd09::44")
                half.append(twin)
                twins.append(twin)
            for one in halves[0]:
                for other in halves[1]:
                    self.mesh.network.cut(one.host, other.host)
            self.mesh.advance(20.0)
            for twin in twins:
                twin.start()
            self.mesh.advance(40.0)
            self.assertEqual([twin.address for twin in twins], [first_of("twin")] * 2)
            self.mesh.network.heal()
            self.mesh.until(self.mesh.is_complete, 30.0)
            self.mesh.advance(10.0)
            kept, moved = (twin.address for twin in twins)
            # The smaller half cannot outvote the larger one, unless it cannot give way.
            keeps, moves = (kept, moved) if is_static else (moved, kept)
            self.assertEqual((keeps, moves), (first_of("twin"), first_of("twin", 1)))
            loser = twins[1] if is_static else twins[0]
            self.assertEqual(len(loser.logged("address_moved")), 1)
            for member in (a, c):
                self.assertTrue(all(self.mesh.send(member, twin) for twin in twins))
            self.assertTrue(all(twin.status.is_ready for twin in twins))


class FullTests(Case):
    """A network without a free address."""

    def test_full(self) -> None:
        """14 nodes fit into a /28. The next one says that it is full, is not ready, and gets the
        address of one that leaves."""
        self.mesh = Mesh(networks=(SMALL,))
        members = []
        for number in range(15):
            member = self.mesh.add(f"n{number}", start=False)
            member.automatic, member.prefixes = (4,), (28,)
            member.addresses = ("10.9.0.1",)
            members.append(member)
            if number < 14:
                member.start()
        self.settle(60.0)
        held = {member.held[0] for member in members[:14]}
        self.assertEqual(len(held), 14)
        last = members[14]
        last.start()
        self.mesh.until(lambda: bool(last.logged("network_full")), 20.0)
        self.mesh.advance(30.0)
        self.assertEqual(len(last.logged("network_full")), 1)
        self.assertIn(
            "all 14 of 10.9.0.0/28 are taken", str(formatEvent(last.logged("network_full")[0]))
        )
        [automatic] = last.status.automatic
        self.assertEqual((automatic.state, automatic.hosts, automatic.taken), ("full", 14, 14))
        self.assertFalse(last.status.is_ready)
        self.assertIn("full", "; ".join(check.reason for check in last.node.health().ready))
        for member in members[:14]:
            self.assertTrue(member.status.is_ready)
        gone = members[7]
        address = gone.held[0]
        gone.leave()
        self.mesh.advance(2.0)
        gone.crash()
        self.mesh.until(lambda: bool(last.held), 120.0)
        self.assertEqual(last.held, (address,))
        self.assertTrue(last.status.is_ready)


class DeviceTests(Case):
    """What puts the addresses on the tun."""

    def test_slow(self) -> None:
        """Until the tun has the address the node does not use it."""
        a, b = self.add("a", 4), self.add("b", 4, start=False)
        self.mesh.until(self.have_addresses)
        b.start()
        b.assigner.is_slow = True
        self.mesh.until(lambda: bool(b.logged("address_held")))
        self.mesh.advance(1.0)
        self.assertEqual(b.held, ())
        self.assertFalse(b.status.is_ready)
        self.assertFalse(self.mesh.send(a, b))
        b.assigner.answer()
        self.assertEqual(b.held, (first_of("b"),))
        self.assertTrue(self.mesh.send(a, b) and self.mesh.send(b, a))

    def test_fails(self) -> None:
        """A node whose tun cannot be given its address is of no more use, and says why."""
        a = self.add("a", 4, start=False)
        a.start()
        a.assigner.fails = "cannot put 10.9.1.1/16 on tun1: Operation not permitted"
        self.mesh.advance(5.0)
        self.assertEqual(a.failures, [a.assigner.fails])
        self.assertEqual(len(a.logged("address_failed")), 1)
        self.assertFalse(a.status.is_ready)
