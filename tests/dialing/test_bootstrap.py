"""Groups of URLs, each dialed until it has a live link."""

from __future__ import annotations

from ipaddress import ip_interface

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial import unittest

from tunmesh.addresses import Target
from tunmesh.dialing.address_order import AddressOrder
from tunmesh.dialing.attempt import DialPolicy
from tunmesh.dialing.bootstrap import LEADS_BACK, Bootstrap, GroupSettings
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.testing.network import Network
from tunmesh.testing.reactor import MemoryReactor
from tunmesh.wire.records import NodeRecord

OWN, ALICE, BALANCER = ("me", 1), ("alice", 1), ("balancer", 443)


def record(number: int, host: str) -> NodeRecord:
    address = ip_interface(f"10.0.0.{number}/24")
    return NodeRecord(f"{number:032x}", host, number, f"https://{host}:1", (address,), "0")


class BootstrapTests(unittest.TestCase):
    """Nothing answers in this network: the tests look at when it is dialed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.dialers: list[PeerFactory] = []
        self.linked: set[str] = set()  # addresses that linked nodes connect from
        self.tried: list[str] = []  # addresses

    def bootstrap(self, *groups: tuple[Target, ...], retries: int = -1) -> Bootstrap:
        named = [GroupSettings(str(n), targets, retries) for n, targets in enumerate(groups)]
        self.the_bootstrap = Bootstrap(
            named, lambda: OWN, self.make_dialer, lambda: self.linked, draw=lambda: 0.5
        )
        return self.the_bootstrap

    def make_dialer(self, group: GroupSettings, order: AddressOrder | None = None) -> PeerFactory:
        dialer = PeerFactory(
            MemoryReactor(self.network, "10.9.0.9"),
            self,
            group.targets,
            lambda: 1.0,
            DialPolicy(rounds=group.retries, order=order),
        )
        self.dialers.append(dialer)
        return dialer

    # --- dialing.reconnect.Owner ---

    def build_link(self, dialer: PeerFactory, host: str) -> Protocol:
        return Protocol()

    def secure(self, host: str, factory: IProtocolFactory) -> IProtocolFactory:
        return factory

    def dialing(self, dialer: PeerFactory, address: str) -> None:
        self.tried.append(address)

    def unreachable(self, dialer: PeerFactory, why: str) -> None: ...

    def wanted(self) -> list[bool]:
        """Which groups are being dialed."""
        return [bool(dialer.continueTrying) for dialer in self.dialers]

    def test_alone(self) -> None:
        """A group without a link is dialed, and so is every other one."""
        bootstrap = self.bootstrap((ALICE,), (BALANCER,))
        bootstrap.update([])
        self.assertEqual(self.wanted(), [True, True])

    def lead(self, dialer: PeerFactory, target: Target, record: NodeRecord) -> None:
        """Dialing this target with this dialer leads to that node."""
        while dialer.target != target:
            dialer.attempts += 1
        self.the_bootstrap.found(dialer, record.id)

    def test_dialed_at_its_url(self) -> None:
        """A link to a node that was reached at one of its URLs makes a group content, whichever
        dialer it was."""
        self.bootstrap((ALICE, BALANCER), (OWN,))
        alice, known = record(1, "alice"), self.make_dialer(GroupSettings("", (ALICE,)))
        self.the_bootstrap.update([alice])
        self.lead(known, ALICE, alice)
        self.the_bootstrap.update([alice])
        self.assertEqual(self.wanted(), [False, True, False])

    def test_says_that_it_is_there(self) -> None:
        """A node that merely claims one of the group's URLs does not: it may lie. The group goes on
        dialing, more and more rarely, until its URL has led to a linked node."""
        self.bootstrap((ALICE,))
        liar = record(1, "alice")
        for _ in range(600):
            self.the_bootstrap.update([liar])
            self.clock.advance(1.0)
        self.assertEqual(self.wanted(), [True])
        self.assertLess(self.dialers[0].attempts, 50)
        self.the_bootstrap.found(self.dialers[0], record(2, "alice").id)
        self.the_bootstrap.update([liar])
        self.assertEqual(self.wanted(), [True])
        self.lead(self.dialers[0], ALICE, liar)
        self.the_bootstrap.update([liar])
        self.assertEqual(self.wanted(), [False])

    def test_linked_elsewhere(self) -> None:
        """A link to a node that has nothing to do with a group does not."""
        bootstrap = self.bootstrap((ALICE,), (BALANCER,))
        bootstrap.update([record(1, "alice")])
        self.lead(self.dialers[0], ALICE, record(1, "alice"))
        bootstrap.update([record(1, "alice")])
        self.assertEqual(self.wanted(), [False, True])

    def test_found_through_a_balancer(self) -> None:
        """A node that answered at one of its URLs belongs to the group for as long as it is
        linked."""
        bootstrap = self.bootstrap((BALANCER,))
        bob = record(2, "bob")
        bootstrap.found(self.dialers[0], bob.id)
        bootstrap.update([bob])
        self.assertEqual(self.wanted(), [False])
        bootstrap.update([])
        self.assertEqual(self.wanted(), [True])
        bootstrap.update([bob])
        self.assertEqual(self.wanted(), [True])

    def test_found_by_another(self) -> None:
        """What a dialer for other URLs found is not the group's."""
        bootstrap = self.bootstrap((BALANCER,))
        bob = record(2, "bob")
        bootstrap.found(None, bob.id)
        bootstrap.update([bob])
        self.assertEqual(self.wanted(), [True])

    def test_content_group_looks_again(self) -> None:
        """A group whose URL may lead to other nodes dials once after a while, then more and more
        rarely, whatever comes of it; one whose only URL is that of a linked node does not."""
        bootstrap = self.bootstrap((BALANCER,), (ALICE,))
        linked = [record(1, "alice"), record(2, "bob")]
        self.lead(self.dialers[0], BALANCER, linked[1])
        self.lead(self.dialers[1], ALICE, linked[0])
        looks = []
        while self.clock.seconds() < 1000:
            bootstrap.update(linked)
            if self.dialers[0].continueTrying:
                looks.append(self.clock.seconds())
            self.clock.advance(5)
        self.assertEqual(looks, [60, 185, 430, 915])
        self.assertEqual(self.dialers[1].attempts, 0)

    def test_looks_for_others_first(self) -> None:
        """A group that looks again tries the addresses first from which no linked node connects;
        one without a link tries them as they come, its own last."""
        self.network.names["balancer"] = ["10.9.0.1", "me", "10.9.0.2", "10.9.0.3"]
        self.linked = {"10.9.0.1", "10.9.0.2"}
        bootstrap = self.bootstrap((("balancer", 1),))
        bootstrap.update([])
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.tried[:4], ["10.9.0.1", "10.9.0.2", "10.9.0.3", "me"])
        bob = record(2, "bob")
        self.lead(self.dialers[0], ("balancer", 1), bob)
        bootstrap.update([bob])
        self.clock.advance(600)
        self.tried.clear()
        bootstrap.update([bob])
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.tried[:4], ["10.9.0.3", "10.9.0.1", "me", "10.9.0.2"])

    def test_own_url(self) -> None:
        """A node dials its own URL, too: it may be a copy of another node's. If there is no other,
        it is not the first node of a mesh; only a node without any URL is."""
        bootstrap = self.bootstrap((OWN,), ())
        bootstrap.update([])
        self.assertEqual(self.wanted(), [True, False])
        self.assertFalse(bootstrap.is_empty)
        self.assertTrue(self.bootstrap((), ()).is_empty)
        self.assertTrue(self.bootstrap().is_empty)
        self.assertEqual(self.bootstrap().leads_back, ())

    def test_own_url_among_others(self) -> None:
        """A group that has a link does not look again because of the node's own URL."""
        bootstrap = self.bootstrap((OWN, ALICE))
        linked = [record(1, "alice")]
        self.lead(self.dialers[0], ALICE, linked[0])
        attempts = self.dialers[0].attempts
        while self.clock.seconds() < 1000:
            bootstrap.update(linked)
            self.clock.advance(5)
        self.assertEqual(self.dialers[0].attempts, attempts)

    def test_led_back(self) -> None:
        """If every URL leads back to the node several times in a row, they are reported, until one
        leads elsewhere: once may be chance."""
        bootstrap = self.bootstrap((BALANCER,), ())
        for _ in range(LEADS_BACK):
            self.assertEqual(bootstrap.leads_back, ())
            bootstrap.led_back(self.dialers[0])
        self.assertEqual(bootstrap.leads_back, (BALANCER,))
        self.assertFalse(bootstrap.is_empty)
        bootstrap.update([])
        self.assertEqual(self.wanted(), [True, False])
        bootstrap.found(self.dialers[0], record(2, "bob").id)
        self.assertEqual(bootstrap.leads_back, ())

    def test_gives_up(self) -> None:
        """A group with a number of retries is given up after them, and starts again when it was
        linked."""
        bootstrap = self.bootstrap((ALICE,), retries=1)
        for _ in range(100):
            bootstrap.update([])
            self.clock.advance(1.0)
        self.assertEqual(self.wanted(), [False])
        self.assertEqual(self.dialers[0].attempts, 2)
        self.lead(self.dialers[0], ALICE, record(1, "alice"))
        bootstrap.update([record(1, "alice")])
        bootstrap.update([])
        self.assertEqual(self.wanted(), [True])

    def test_changed(self) -> None:
        """When the list changes, a group that is the same goes on; one with other URLs is dialed
        again, even if it was given up or had found a node; one that is gone is not."""
        bootstrap = self.bootstrap((ALICE,), (BALANCER,), (BALANCER, ALICE))
        bootstrap.update([])
        bob = record(2, "bob")
        bootstrap.found(self.dialers[1], bob.id)
        other = (("carol", 1), OWN)
        bootstrap.change([GroupSettings("0", (ALICE,)), GroupSettings("1", other)])
        bootstrap.update([bob])
        self.assertEqual(self.wanted(), [True, False, False, True])
        self.assertEqual(self.dialers[3].targets, other)
        bootstrap.change([])
        self.assertEqual(self.wanted(), [False] * 4)
        self.assertTrue(bootstrap.is_empty)

    def test_abandoned(self) -> None:
        """A node that leaves stops dialing."""
        bootstrap = self.bootstrap((ALICE,), (BALANCER,))
        bootstrap.update([])
        bootstrap.abandon()
        self.assertEqual(self.wanted(), [False, False])
        self.assertEqual(self.clock.getDelayedCalls(), [])
