"""Records that change while their nodes live, as the roster sees them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from tests.membership.test_roster import ALICE, BOB, CAROL, RosterCase, named
from tunmesh.membership.commands import (
    Join,
    Present,
    Probe,
    Refuse,
    Revise,
    Route,
    Switch,
    Unroute,
)
from tunmesh.membership.me import Me
from tunmesh.membership.roster import Roster
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.records import NodeRecord

X, Y = ip_interface("10.0.0.50/24"), ip_interface("10.0.0.51/24")
EVE = replace(BOB, id=f"{40:032x}", name="eve", started=40, addresses=(), automatic=(4,))


def later(record: NodeRecord, *addresses: object) -> NodeRecord:
    changed = replace(record, revision=record.revision + 1)
    return replace(changed, addresses=addresses)  # type: ignore[arg-type]


class PeerTests(RosterCase):
    """Another node has another record."""

    def test_claims(self) -> None:
        """Its address is routed to it when it claims one, and to nobody when it gives it up."""
        commands = self.link(EVE)
        self.assertEqual(named(commands, Route, Refuse), [])
        claimed = later(EVE, X)
        commands = self.alice.update_received("eve", claimed)
        self.assertEqual(commands, [Revise("eve"), Route(X.ip, "eve")])
        self.assertEqual(self.alice.linked(), [claimed])
        moved = later(claimed, Y)
        commands = self.alice.update_received("eve", moved)
        self.assertEqual(commands, [Revise("eve"), Unroute(X.ip), Route(Y.ip, "eve")])
        commands = self.alice.update_received("eve", later(moved))
        self.assertEqual(commands, [Revise("eve"), Unroute(Y.ip)])

    def test_old(self) -> None:
        """One that is not newer changes nothing, nor does one of a link that is not there."""
        self.link(later(EVE, X), "eve")
        self.assertEqual(self.alice.update_received("eve", later(EVE, Y)), [])
        self.assertEqual(self.alice.update_received("?", later(later(EVE, X), Y)), [])
        self.assertEqual(self.alice.linked(), [later(EVE, X)])

    def test_by_another_link(self) -> None:
        """The newest that came by any link counts."""
        self.link(EVE, "old")
        commands = self.link(later(EVE, X), "new")
        self.assertIn(Revise("new"), commands)
        self.assertEqual(named(commands, Route), [Route(X.ip, "new")])
        self.assertEqual(self.alice.record_of(EVE.id), later(EVE, X))

    def test_taken(self) -> None:
        """Whoever claims what another node has is refused it, until it gives way; whoever
        waited for what it had gets that."""
        self.link(replace(BOB, addresses=(X,)))
        self.link(EVE)
        commands = self.alice.update_received("eve", later(EVE, X))
        self.assertEqual(commands[1:], [Refuse("eve", Refusal((str(X.ip),), "bob"))])
        commands = self.alice.update_received("eve", later(later(EVE, X), Y))
        self.assertEqual(set(commands[1:]), {Refuse("eve", Refusal((), "")), Route(Y.ip, "eve")})
        self.link(replace(CAROL, addresses=(Y,)))
        commands = self.alice.update_received("eve", later(later(later(EVE, X), Y)))
        self.assertIn(Route(Y.ip, "carol"), commands)
        self.assertIn(Refuse("carol", Refusal((), "")), commands)

    def test_restart(self) -> None:
        """A node that was restarted claims the address of its predecessor: that is probed, and
        keeps the address if it answers; if not, the new one has it."""
        before = replace(EVE, id=f"{30:032x}", started=30, addresses=(X,))
        for is_alive in (True, False):
            self.setUp()
            self.link(before, "before")
            self.alice.time_passed(60.0)
            self.assertEqual(named(self.link(replace(EVE, url="https://else:1")), Probe), [])
            commands = self.alice.update_received(
                "eve", later(replace(EVE, url="https://else:1"), X)
            )
            self.assertEqual(commands, [Revise("eve"), Probe("before")])
            commands = self.alice.probed("before", is_alive)
            if is_alive:
                self.assertEqual(commands, [Refuse("eve", Refusal((str(X.ip),), "eve"))])
            else:
                self.assertEqual(named(commands, Route, Refuse), [Route(X.ip, "eve")])

    def test_reserved(self) -> None:
        """A reserved address is routed to nobody."""
        alice: Roster[str] = Roster(Me(ALICE), [X.network], [X.ip])
        commands = alice.authenticated("eve", later(EVE, X), True)
        self.assertEqual(named(commands, Route), [])
        self.assertEqual(named(commands, Refuse), [Refuse("eve", Refusal((str(X.ip),), ""))])

    def test_tenure(self) -> None:
        """An address that was claimed a moment ago is not reserved for who goes, however long that
        was linked: it would be enough to pass by."""
        self.link(EVE)
        self.alice.time_passed(1000.0)
        self.alice.update_received("eve", later(EVE, X))
        self.alice.link_lost("eve", "lost")
        self.assertEqual(self.alice.claims.kept("somebody"), {})
        self.link(later(EVE, X))
        self.alice.time_passed(1100.0)
        self.alice.link_lost("eve", "lost")
        self.assertEqual(self.alice.claims.kept("somebody"), {X.ip: 1100.0})
        self.assertEqual(self.alice.claims.kept("eve"), {})


class OwnTests(RosterCase):
    """This node has another record."""

    def setUp(self) -> None:
        super().setUp()
        self.me = Me(replace(ALICE, addresses=(), automatic=(4,)))
        self.alice = Roster(self.me, [X.network])

    def claim(self, *addresses: object) -> list[object]:
        self.me.use_addresses(addresses)  # type: ignore[arg-type]
        return list(self.alice.me_revised())

    def test_presented(self) -> None:
        """All peers are told."""
        self.link(BOB)
        self.link(CAROL)
        self.assertEqual(self.claim(X), [Present("bob"), Present("carol")])
        self.assertEqual(self.me.record.revision, 1)

    def test_shown_before(self) -> None:
        """A node that was shown an older record on a new link is told; one that takes over a link
        is told again."""
        shown = self.me.record
        self.claim(X)
        commands = self.alice.authenticated("bob", BOB, True, shown=shown)
        self.assertEqual(commands[:2], [Join("bob"), Present("bob")])
        commands = self.alice.authenticated("carol", CAROL, True, shown=self.me.record)
        self.assertEqual(named(commands, Present), [])
        commands = self.link(BOB, "newer")
        self.assertEqual(named(commands, Switch, Present), [Switch("newer"), Present("newer")])

    def test_own_address(self) -> None:
        """Its own address is routed to nobody, and refused to others that do not take precedence;
        when it gives the address up, the next one has it."""
        rival = replace(EVE, addresses=(X,), started=99)
        self.assertEqual(named(self.link(rival), Route), [Route(X.ip, "eve")])
        commands = self.claim(X)
        self.assertEqual(
            commands[1:], [Unroute(X.ip), Refuse("eve", Refusal((str(X.ip),), "alice"))]
        )
        commands = self.claim(Y)
        self.assertIn(Route(X.ip, "eve"), commands)
        self.assertIn(Refuse("eve", Refusal((), "")), commands)

    def test_precedence(self) -> None:
        """Who takes precedence follows from the two records as they are: a static node goes before
        one that can choose, a settled one before both."""
        elder = replace(BOB, addresses=(X,), started=99)
        self.link(elder)
        self.claim(X)
        self.assertTrue(self.alice.claims.was_first(BOB.id))
        self.me.seniority_changed(is_new=False, is_settled=True)
        self.me.use_groups(("any",))
        self.alice.me_revised()
        self.assertFalse(self.alice.claims.was_first(BOB.id))

    def test_reservations_of_others(self) -> None:
        """A node that comes back to an address that this node has by now waits behind it."""
        self.link(replace(BOB, addresses=(X,)))
        self.alice.time_passed(60.0)
        self.alice.link_lost("bob", "lost")
        self.assertEqual(self.alice.claims.kept("alice"), {ip_address("10.0.0.50"): 60.0})
        self.claim(X)
        commands = self.link(replace(BOB, id=f"{77:032x}", addresses=(X,)))
        self.assertEqual(named(commands, Route), [])
