"""Floating addresses as the roster sees them: who has one, and who is next."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from tests.membership.test_roster import ALICE, BOB, BOB_IP, CAROL, DAVE, RosterCase, named
from tunmesh.membership.commands import Command, Present, Probe, Refuse, Revise, Route, Unroute
from tunmesh.membership.floating.doubts import BURST, RATE
from tunmesh.membership.reservations import TENURE
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.messages import SILENT
from tunmesh.wire.records import NodeRecord

VIP = ip_address("10.0.0.100")
NOTHING = Refusal((), "")


def claims(record: NodeRecord, number: int = 1, is_held: bool = False) -> NodeRecord:
    """A later revision that claims the address."""
    claim = FloatingClaim(VIP, number, is_held)
    return replace(record, revision=record.revision + 1, floating=(claim,))


def releases(record: NodeRecord) -> NodeRecord:
    return replace(record, revision=record.revision + 1, floating=())


def taken(holder: str) -> Refusal:
    return Refusal((str(VIP),), holder)


class Case(RosterCase):
    def setUp(self) -> None:
        super().setUp()
        for node in (BOB, CAROL, DAVE):
            self.link(node)
        self.now: dict[str, NodeRecord] = {node.name: node for node in (BOB, CAROL, DAVE)}

    def say(self, name: str, number: int = 1, is_held: bool = False) -> list[Command[str]]:
        """A node claims the address, or holds it."""
        self.now[name] = claims(self.now[name], number, is_held)
        return self.alice.update_received(name, self.now[name])

    def release(self, name: str) -> list[Command[str]]:
        self.now[name] = releases(self.now[name])
        return self.alice.update_received(name, self.now[name])

    @property
    def queue(self) -> list[str]:
        names = {node.id: node.name for node in (ALICE, BOB, CAROL, DAVE)}
        return [names.get(each, each) for each in self.alice.claims.queue(VIP)]


class OtherTests(Case):
    """Other nodes claim an address."""

    def test_first_one(self) -> None:
        """It is routed to the first one that claims it, whether that says already that it holds
        it; when it releases it, to nobody."""
        self.assertEqual(self.say("bob"), [Revise("bob"), Route(VIP, "bob")])
        self.assertEqual(self.say("bob", is_held=True), [Revise("bob")])
        self.assertEqual(self.release("bob"), [Revise("bob"), Unroute(VIP)])

    def test_queue(self) -> None:
        """The others wait, by the numbers of their claims, and are told who holds it; whoever is
        next has it at once when the holder releases it, or parts."""
        self.say("bob", 1, True)
        commands = self.say("dave", 3)
        self.assertEqual(named(commands, Route, Refuse), [Refuse("dave", taken("bob"))])
        self.assertEqual(named(self.say("carol", 2), Refuse), [Refuse("carol", taken("bob"))])
        self.assertEqual(self.queue, ["bob", "carol", "dave"])
        commands = self.release("bob")
        self.assertEqual(
            named(commands, Route, Refuse),
            [Route(VIP, "carol"), Refuse("carol", NOTHING), Refuse("dave", taken("carol"))],
        )
        self.say("carol", 2, True)
        commands = self.alice.link_lost("carol", "lost")
        self.assertEqual(
            named(commands, Route, Refuse), [Route(VIP, "dave"), Refuse("dave", NOTHING)]
        )

    def test_numbers_count(self) -> None:
        """Of those that wait the lowest number is next, however late it came; of two with the same
        number the one that started earlier."""
        self.say("bob", 2)
        commands = self.say("carol", 1)
        self.assertEqual(
            named(commands, Route, Refuse), [Route(VIP, "carol"), Refuse("bob", taken("carol"))]
        )
        self.say("dave", 1)
        self.assertEqual(self.queue, ["carol", "dave", "bob"])

    def test_held(self) -> None:
        """A holder goes before all that wait, and behind those that hold it already."""
        self.say("carol", 1)
        commands = self.say("dave", 7, True)
        self.assertEqual(
            named(commands, Route, Refuse), [Route(VIP, "dave"), Refuse("carol", taken("dave"))]
        )
        self.assertEqual(named(self.say("bob", 1, True), Route), [])
        self.assertEqual(self.queue, ["dave", "bob", "carol"])

    def test_gives_way(self) -> None:
        """A holder that waits from now on stands where its number puts it."""
        self.say("bob", 5, True)
        self.say("carol", 1, True)
        self.assertEqual(self.queue, ["bob", "carol"])
        commands = self.say("bob", 5, False)
        self.assertEqual(
            named(commands, Route, Refuse),
            [Route(VIP, "carol"), Refuse("carol", NOTHING), Refuse("bob", taken("carol"))],
        )

    def test_static_owner(self) -> None:
        """A node whose own address it is, by its config, is not displaced, and is not doubted; it
        does not displace who holds it either."""
        static = replace(BOB, addresses=(*BOB.addresses, ip_interface(f"{VIP}/24")))
        self.alice.link_lost("bob", "lost")
        self.link(static, "bob")
        commands = self.say("carol", 1, True)
        self.assertEqual(named(commands, Route, Probe), [])
        self.assertEqual(named(commands, Refuse), [Refuse("carol", taken("bob"))])
        self.setUp()
        self.alice.link_lost("bob", "lost")
        self.say("carol", 1, True)
        self.assertEqual(named(self.link(static, "bob"), Route), [Route(BOB_IP, "bob")])

    def test_nothing_reserved(self) -> None:
        """Nothing is reserved for a holder that went: when it is back it waits like the others."""
        self.say("bob", 1, True)
        self.alice.time_passed(10 * TENURE)
        self.say("carol", 2)
        self.alice.link_lost("bob", "lost")
        self.assertEqual(self.alice.claims.kept("x"), {BOB_IP: 10 * TENURE})
        self.say("carol", 2, True)
        commands = self.link(replace(claims(BOB), id=f"{77:032x}"), "again")
        self.assertEqual(named(commands, Refuse), [Refuse("again", taken("carol"))])

    def test_own_past(self) -> None:
        """A node that was restarted waits for what its past life holds, and is told so at once:
        that life may well live."""
        again = replace(BOB, id=f"{77:032x}", started=77)
        self.link(again, "again")
        self.say("bob", 1, True)
        commands = self.alice.update_received("again", claims(again, 2))
        self.assertEqual(named(commands, Route), [])
        self.assertEqual(named(commands, Probe), [Probe("bob")])
        refused = [each.refusal.addresses for each in commands if isinstance(each, Refuse)]
        self.assertEqual(refused, [(str(VIP),)])

    def test_outside(self) -> None:
        """Nobody gets an address outside the network, or one that stands for it."""
        for text in ("10.1.0.1", "10.0.0.255", "10.0.0.0"):
            claim = FloatingClaim(ip_address(text), 1, True)
            self.now["bob"] = replace(
                self.now["bob"], revision=self.now["bob"].revision + 1, floating=(claim,)
            )
            commands = self.alice.update_received("bob", self.now["bob"])
            self.assertEqual(named(commands, Route), [])
            self.assertEqual(named(commands, Refuse), [Refuse("bob", Refusal((text,), ""))])

    def test_two_addresses(self) -> None:
        """Of several addresses each has its own queue."""
        six = ip_address("fd00::100")
        self.say("bob", 1, True)
        both = (FloatingClaim(VIP, 2), FloatingClaim(six, 1, True))
        commands = self.alice.update_received("carol", replace(CAROL, revision=1, floating=both))
        self.assertEqual(
            named(commands, Route, Refuse), [Route(six, "carol"), Refuse("carol", taken("bob"))]
        )


class DoubtTests(Case):
    """A contested holder has to prove that it lives."""

    def test_dead(self) -> None:
        """It is probed at once, and loses the address, and its links, if it does not answer."""
        self.say("bob", 1, True)
        self.assertIn(Probe("bob"), self.say("carol", 2))
        commands = self.alice.probed("bob", False)
        self.assertIn(Route(VIP, "carol"), commands)
        self.assertIn(Refuse("carol", NOTHING), commands)
        self.assertFalse(self.alice.is_linked(BOB.id))
        self.assertIn(SILENT, str(commands))

    def test_alive(self) -> None:
        """If it answers nothing changes, and a probe for another reason ends no link."""
        self.say("bob", 1, True)
        self.say("carol", 2)
        self.assertEqual(self.alice.probed("bob", True), [])
        self.alice.probed("bob", False)
        self.assertTrue(self.alice.is_linked(BOB.id))
        self.assertEqual(self.queue, ["bob", "carol"])

    def test_only_new_claims(self) -> None:
        """A node that says something else about its claim is no reason for doubt."""
        self.say("bob", 1, True)
        self.say("carol", 2)
        self.assertNotIn(Probe("bob"), self.say("carol", 3))
        self.assertNotIn(Probe("bob"), self.say("carol", 3, True))

    def test_own_claim(self) -> None:
        """This node's own claim is a reason, too."""
        self.say("bob", 1, True)
        self.me.use_floating((FloatingClaim(VIP, 2),))
        self.assertIn(Probe("bob"), self.alice.me_revised())

    def test_bounded(self) -> None:
        """However often members claim it, a holder is doubted a few times in a row, and then from
        time to time."""

        def doubts(times: int) -> int:
            found = 0
            for _ in range(times):
                found += Probe("bob") in self.say("carol", 2)
                self.release("carol")
            return found

        self.say("bob", 1, True)
        self.assertEqual(doubts(10), BURST)
        self.alice.time_passed(1.01 / RATE)
        self.assertEqual(doubts(10), 1)


class OwnTests(Case):
    """This node claims an address."""

    def claim(self, number: int = 1, is_held: bool = False) -> list[Command[str]]:
        self.me.use_floating((FloatingClaim(VIP, number, is_held),))
        return list(self.alice.me_revised())

    def test_told(self) -> None:
        """All peers are told of the claim, and of what becomes of it."""
        presented = [Present("bob"), Present("carol"), Present("dave")]
        self.assertEqual(self.claim(), presented)
        self.assertEqual(self.claim(is_held=True), presented)
        self.assertEqual(self.me.record.revision, 2)
        self.me.use_floating(())
        self.assertEqual(self.alice.me_revised(), presented)

    def test_waits(self) -> None:
        """While another node holds it, it is routed there: applications here use it, too. When that
        node releases it this one is next."""
        self.say("bob", 1, True)
        self.assertEqual(named(self.claim(2), Unroute, Refuse), [])
        self.assertFalse(self.alice.claims.is_next(VIP))
        commands = self.release("bob")
        self.assertEqual(named(commands, Route, Unroute), [Unroute(VIP)])
        self.assertTrue(self.alice.claims.is_next(VIP))

    def test_next(self) -> None:
        """While it is next those behind it are refused; one with a lower number goes before it."""
        self.claim(2)
        commands = self.say("bob", 3)
        self.assertEqual(named(commands, Route, Refuse), [Refuse("bob", taken("alice"))])
        commands = self.say("carol", 1)
        self.assertEqual(named(commands, Route), [Route(VIP, "carol")])
        self.assertFalse(self.alice.claims.is_next(VIP))

    def test_holds(self) -> None:
        """What it holds is routed to nobody, and refused to those that wait. Of two that hold it
        the one that takes precedence refuses it to the other one."""
        self.claim(1, True)
        commands = self.say("bob", 2)
        self.assertEqual(named(commands, Route, Refuse), [Refuse("bob", taken("alice"))])
        self.assertEqual(self.say("bob", 2, True), [Revise("bob")])
        self.me.seniority_changed(is_new=False, is_settled=False)
        senior = replace(CAROL, settled=True, revision=2, floating=(FloatingClaim(VIP, 2, True),))
        commands = self.alice.update_received("carol", senior)
        self.assertEqual(named(commands, Route, Refuse), [])
        self.assertEqual(named(self.release("bob"), Route, Unroute), [])

    def test_releases(self) -> None:
        """What it releases the next one has at once."""
        self.claim(1, True)
        self.say("bob", 3)
        self.say("carol", 2)
        self.me.use_floating(())
        commands = self.alice.me_revised()
        self.assertEqual(
            named(commands, Route, Refuse),
            [Route(VIP, "carol"), Refuse("carol", NOTHING), Refuse("bob", taken("carol"))],
        )

    def test_inherits(self) -> None:
        """When the holder's last link ends, this node is next, and refuses it to the others."""
        self.say("bob", 1, True)
        self.claim(2)
        self.say("carol", 3)
        commands = self.alice.link_lost("bob", "lost")
        self.assertIn(Unroute(VIP), commands)
        self.assertIn(Refuse("carol", taken("alice")), commands)
        self.assertTrue(self.alice.claims.is_next(VIP))
