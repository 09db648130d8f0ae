"""The membership machine, tested with literals. Links are strings here; alice is the one tested.

Ids order the nodes: alice < bob < carol < dave. So what alice dials is better than what is dialed
to her.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import count, permutations, product

from twisted.trial import unittest

from tunmesh.membership import hearsay
from tunmesh.membership.commands import (
    Ask,
    Close,
    Command,
    Dial,
    Forget,
    Introduce,
    Join,
    Part,
    Probe,
    Refuse,
    Retire,
    Route,
    Switch,
    Tell,
    Unroute,
)
from tunmesh.membership.me import Me
from tunmesh.membership.news import News
from tunmesh.membership.node_links import MAX_SPARES
from tunmesh.membership.reservations import KEPT, MAX_RESERVATIONS, TENURE, Reservations
from tunmesh.membership.roster import Roster
from tunmesh.node import snapshot
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.messages import LEAVING, REPLACED, SILENT
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_INTRODUCED

NETWORKS = [ip_network("10.0.0.0/24"), ip_network("fd00::/64")]
NOTHING = Refusal((), "")


def node(number: int, name: str, *addresses: str, started: int | None = None) -> NodeRecord:
    return NodeRecord(
        id=f"{number:032x}",
        name=name,
        started=number if started is None else started,
        url=f"https://{name}:4567",
        addresses=tuple(map(ip_interface, addresses or (f"10.0.0.{number}/24",))),
        version="0",
    )


ALICE, BOB, CAROL, DAVE = (
    node(n, name) for n, name in enumerate(("alice", "bob", "carol", "dave"), 1)
)
BOB_AGAIN = node(22, "bob", "10.0.0.2/24")
BOB_IP = ip_address("10.0.0.2")


def everything(*linked: NodeRecord, generation: int = 1) -> Gossip:
    return Gossip(generation, tuple(record.id for record in linked))


def told(end: Roster[str], link: str, gossip: Gossip, *records: NodeRecord) -> list[Command[str]]:
    """What it does about gossip when its questions are answered at once with these records."""
    commands: list[Command[str]] = []
    for command in end.gossip_received(link, gossip):
        if isinstance(command, Ask):
            asked = [record for record in records if record.id in command.ids]
            commands += end.introduction_received(command.link, asked)
        else:
            commands.append(command)
    return commands


def named(commands: list[Command[str]], *kinds: type) -> list[Command[str]]:
    return [command for command in commands if isinstance(command, kinds)]


class RosterCase(unittest.TestCase):
    def setUp(self) -> None:
        self.me = Me(ALICE)
        self.alice: Roster[str] = Roster(self.me, NETWORKS)
        self.generations = count(1)

    def link(self, record: NodeRecord, link: str = "", dialed: bool = True) -> list[Command[str]]:
        return self.alice.authenticated(link or record.name, record, dialed)

    def told(self, link: str, *records: NodeRecord) -> list[Command[str]]:
        gossip = everything(*records, generation=next(self.generations))
        return told(self.alice, link, gossip, *records)


class LinkTests(RosterCase):
    def test_first_link(self) -> None:
        """A first link brings a node and its route, and tells that node who else is linked."""
        self.assertEqual(
            self.link(BOB), [Join("bob"), Tell("bob", everything(BOB)), Route(BOB_IP, "bob")]
        )
        self.assertIn(Tell("carol", everything(BOB, CAROL, generation=2)), self.link(CAROL))
        self.assertEqual(self.alice.linked(), [BOB, CAROL])
        self.assertTrue(self.alice.is_linked(BOB.id))

    def test_last_link(self) -> None:
        """When the last link of a node ends, its route goes and nothing dials it any more."""
        self.link(BOB)
        self.assertEqual(
            self.alice.link_lost("bob", "lost"),
            [Part("bob", "lost"), Unroute(BOB_IP), Forget(BOB.id)],
        )
        self.assertEqual(self.alice.linked(), [])
        self.assertEqual(self.alice.nodes_known, 0)

    def test_unknown_links(self) -> None:
        """Facts about a link that never came up, or has ended, change nothing."""
        self.assertEqual(self.alice.link_lost("?", "lost"), [])
        self.assertEqual(self.alice.bye_received("?", LEAVING), [])
        self.assertEqual(self.alice.probed("?", False), [])
        self.assertEqual(self.told("?", BOB), [])

    def test_leaving(self) -> None:
        """A node that says it leaves is forgotten, though others still vouch for it."""
        self.link(BOB)
        self.link(CAROL)
        self.told("carol", BOB)
        commands = self.alice.bye_received("bob", LEAVING)
        self.assertEqual(commands, [Part("bob", LEAVING), Unroute(BOB_IP), Forget(BOB.id)])
        self.assertEqual(self.alice.nodes_known, 1)


class SecondLinkTests(RosterCase):
    def switched(self, link: str, generation: int = 2) -> list[Command[str]]:
        gossip = everything(BOB, generation=generation)
        return [Switch(link), Tell(link, gossip), Refuse(link, NOTHING)]

    def test_better(self) -> None:
        """What the smaller id dialed takes over from what the larger one dialed."""
        self.link(BOB, "his", dialed=False)
        self.assertEqual(self.link(BOB, "mine"), [*self.switched("mine"), Retire("his")])

    def test_worse(self) -> None:
        """What the larger id dialed waits until the better link has shown whether it lives."""
        self.link(BOB, "mine")
        self.assertEqual(self.link(BOB, "his", dialed=False), [Probe("mine")])
        self.assertEqual(self.alice.probed("mine", True), [Retire("his")])
        self.assertEqual(self.alice.link_lost("his", "lost"), [])

    def test_worse_takes_over(self) -> None:
        """If the better link is dead the worse one takes over, and the node stays linked."""
        self.link(BOB, "mine")
        self.link(BOB, "his", dialed=False)
        commands = self.alice.probed("mine", False)
        self.assertEqual(commands, [Close("mine", SILENT), *self.switched("his")])
        self.assertEqual(named(self.alice.link_lost("his", "lost"), Part), [Part("his", "lost")])

    def test_promoted_when_the_holder_is_lost(self) -> None:
        """The same if the better link is lost before the probe ends."""
        self.link(BOB, "mine")
        self.link(BOB, "his", dialed=False)
        self.assertEqual(self.alice.link_lost("mine", "lost"), self.switched("his"))
        self.assertEqual(self.alice.probed("mine", False), [])

    def test_retired_by_the_other_end(self) -> None:
        """A link that the other end has retired is retired here, whichever of the two it is."""
        for retired, kept in (("his", []), ("mine", self.switched("his"))):
            self.setUp()
            self.link(BOB, "mine")
            self.link(BOB, "his", dialed=False)
            self.assertEqual(self.alice.bye_received(retired, REPLACED), [*kept, Retire(retired)])

    def test_yields(self) -> None:
        """A link that the other end has retired gives way to any newcomer, even a worse one."""
        self.link(BOB, "mine")
        self.assertEqual(self.alice.bye_received("mine", REPLACED), [])
        self.assertTrue(self.alice.is_linked(BOB.id))
        commands = self.link(BOB, "his", dialed=False)
        self.assertEqual(commands, [*self.switched("his"), Retire("mine")])

    def test_renewed_by_the_dialer(self) -> None:
        """The dialer of two links keeps the newer one."""
        self.link(BOB, "old")
        self.assertEqual(self.link(BOB, "new"), [*self.switched("new"), Retire("old")])

    def test_renewed_for_the_listener(self) -> None:
        """The listener uses the newer one and waits for the dialer to retire either."""
        for retired, then in (("old", []), ("new", self.switched("old", 3))):
            self.setUp()
            self.link(BOB, "old", dialed=False)
            self.assertEqual(self.link(BOB, "new", dialed=False), self.switched("new"))
            self.assertEqual(self.alice.bye_received(retired, REPLACED), [*then, Retire(retired)])

    def test_probe_does_not_choose_for_the_dialer(self) -> None:
        """A probe for another reason does not choose between two links of one dialer."""
        self.link(BOB, "old", dialed=False)
        self.link(BOB, "new", dialed=False)
        self.assertEqual(self.alice.probed("new", True), [])
        self.assertEqual(self.alice.link_lost("new", "lost"), self.switched("old", 3))

    def test_worse_ones(self) -> None:
        """Nor does the listener choose between several worse links. If the better one lives, all of
        them are retired."""
        self.link(BOB, "mine")
        for link in ("his", "his too"):
            self.assertEqual(self.link(BOB, link, dialed=False), [Probe("mine")])
        needless = [Retire("his"), Retire("his too")]
        self.assertEqual(self.alice.probed("mine", True), needless)
        for link in ("his", "his too"):
            self.link(BOB, link, dialed=False)
        commands = self.link(BOB, "mine too")
        self.assertEqual(commands, [*self.switched("mine too"), Retire("mine"), *needless])

    def test_our_own_worse_ones(self) -> None:
        """If the better link is lost, we keep the newest of those that we dialed."""
        bob: Roster[str] = Roster(Me(BOB), NETWORKS)
        bob.authenticated("his", ALICE, dialed=False)
        bob.authenticated("mine", ALICE, dialed=True)
        bob.authenticated("mine too", ALICE, dialed=True)
        commands = named(bob.link_lost("his", "lost"), Switch, Retire, Probe)
        self.assertEqual(commands, [Switch("mine too"), Retire("mine")])

    def test_three_at_once(self) -> None:
        """The node with the larger id uses the one of two links that its dialer is about to retire,
        and then dials a third one itself: the remaining better link is not retired in favour of its
        own."""
        bob: Roster[str] = Roster(Me(BOB), NETWORKS)
        for link in ("kept", "given up"):
            bob.authenticated(link, ALICE, dialed=False)
        self.assertEqual(bob.authenticated("own", ALICE, dialed=True), [Probe("given up")])
        commands = bob.bye_received("given up", REPLACED)
        self.assertEqual(
            named(commands, Switch, Retire, Probe),
            [Switch("kept"), Probe("kept"), Retire("given up")],
        )
        self.assertEqual(bob.probed("kept", True), [Retire("own")])
        self.assertTrue(bob.is_linked(ALICE.id))

    def test_so_many_at_most(self) -> None:
        """A node that makes more and more links loses the oldest, the worse ones first."""
        bob: Roster[str] = Roster(Me(BOB), NETWORKS)
        names = [f"link {number}" for number in range(MAX_SPARES + 3)]
        retired = [named(bob.authenticated(name, ALICE, dialed=False), Retire) for name in names]
        self.assertEqual(retired[-2:], [[Retire(names[0])], [Retire(names[1])]])
        self.assertFalse(any(retired[:-2]))
        commands = bob.authenticated("own", ALICE, dialed=True)
        self.assertEqual(named(commands, Retire), [Retire("own")])

    def test_simultaneous_dialing(self) -> None:
        """When two nodes dial each other, both end up with what the smaller id dialed, in whatever
        order the links come up at either end."""
        for at_alice in (("ab", "ba"), ("ba", "ab")):
            for at_bob in (("ab", "ba"), ("ba", "ab")):
                alice: Roster[str] = Roster(Me(ALICE), NETWORKS)
                bob: Roster[str] = Roster(Me(BOB), NETWORKS)
                said, heard = [], []
                for link in at_alice:
                    said += alice.authenticated(link, BOB, link == "ab")
                for link in at_bob:
                    heard += bob.authenticated(link, ALICE, link == "ba")
                for commands, end in ((said, bob), (heard, alice)):
                    for _ in named(commands, Retire):
                        end.bye_received("ba", REPLACED)
                    self.assertNotIn(Retire("ab"), commands)
                for end, other in ((alice, BOB), (bob, ALICE)):
                    end.probed("ab", True)
                    self.assertEqual(end.link_lost("ba", "lost"), [])
                    self.assertTrue(end.is_linked(other.id))
                    self.assertIn(Part("ab", "lost"), end.link_lost("ab", "lost"))


class HearsayTests(RosterCase):
    def test_vouched_for(self) -> None:
        """A node that somebody vouches for is dialed, and not routed."""
        self.link(BOB)
        self.assertEqual(self.told("bob", CAROL), [Dial(CAROL, patient=False)])
        self.assertEqual(self.alice.nodes_known, 2)
        self.assertFalse(self.alice.is_linked(CAROL.id))

    def test_known_nodes(self) -> None:
        """All links are listed, or, if there are too many nodes or links, only those of this
        node."""
        self.link(BOB)
        self.link(CAROL)
        self.told("bob", CAROL, DAVE)
        all_of_them = [(ALICE.id,), (ALICE.id, BOB.id), (BOB.id,)]
        own = [(ALICE.id,), (ALICE.id,), ()]
        for crowd, most, linked_with in ((3, 2, all_of_them), (2, 2, own), (3, 1, own)):
            self.patch(snapshot, "MAX_LISTED", most)
            known = snapshot.known_nodes(self.alice, ALICE.id, crowd)
            known_nodes = sorted(known, key=lambda node: node.id)
            self.assertEqual([node.linked_with for node in known_nodes], linked_with)
            self.assertEqual({node.is_whole for node in known_nodes}, {linked_with is all_of_them})

    def test_patience(self) -> None:
        """Of two nodes the one with the larger id lets the other one dial first."""
        carol: Roster[str] = Roster(Me(CAROL), NETWORKS)
        carol.authenticated("bob", BOB, True)
        commands = told(carol, "bob", everything(ALICE, DAVE), ALICE, DAVE)
        self.assertEqual(commands, [Dial(ALICE, patient=True), Dial(DAVE, patient=False)])

    def test_said_twice(self) -> None:
        """A second voucher causes no second dial."""
        self.link(BOB)
        self.link(CAROL)
        self.told("bob", DAVE)
        self.assertEqual(self.told("carol", DAVE), [])

    def test_forgotten(self) -> None:
        """A node is forgotten when the last voucher withdraws, or is lost itself."""
        self.link(BOB)
        self.link(CAROL)
        self.told("bob", DAVE)
        self.told("carol", DAVE)
        self.assertEqual(self.alice.gossip_received("bob", Gossip(0, (), (DAVE.id,))), [])
        self.assertIn(Forget(DAVE.id), self.alice.link_lost("carol", "lost"))
        self.assertEqual(self.alice.nodes_known, 1)

    def test_full_gossip_replaces(self) -> None:
        """A full sync withdraws what it does not repeat; updates do not."""
        self.link(BOB)
        self.told("bob", CAROL)
        self.assertEqual(
            told(self.alice, "bob", Gossip(0, (DAVE.id,)), DAVE), [Dial(DAVE, patient=False)]
        )
        self.assertEqual(self.told("bob", DAVE), [Forget(CAROL.id)])

    def test_lost_but_vouched_for(self) -> None:
        """A node whose link is lost is dialed again while somebody vouches for it."""
        self.link(BOB)
        self.link(CAROL)
        self.told("carol", BOB)
        commands = self.alice.link_lost("bob", "lost")
        self.assertEqual(named(commands, Dial, Forget), [Dial(BOB, patient=False)])

    def test_about_oneself(self) -> None:
        """What a node says about us, or about itself, is ignored."""
        self.link(BOB)
        self.assertEqual(self.told("bob", ALICE, BOB), [])
        self.assertEqual(self.alice.nodes_known, 1)

    def test_at_most(self) -> None:
        """Hearsay makes only so many nodes known."""
        self.link(BOB)
        self.patch(hearsay, "MAX_NODES", 1)
        self.assertEqual(self.told("bob", CAROL, DAVE), [Dial(CAROL, patient=False)])
        self.assertEqual(self.told("bob", DAVE), [Forget(CAROL.id)])
        self.assertEqual(self.told("bob", DAVE), [Dial(DAVE, patient=False)])

    def test_one_id_for_all(self) -> None:
        """However many vouch for a node, and however often its id was decoded, it is stored
        once."""
        for record in (BOB, CAROL, DAVE):
            self.link(record)
        others = (BOB.id, CAROL.id, DAVE.id, f"{5:032x}")
        for link in ("bob", "carol", "dave"):
            gossip = Gossip(next(self.generations), others).encode()
            self.alice.gossip_received(link, Gossip.decode(gossip))
        kept = [
            each for voucher in self.alice.hearsay._vouchers.values() for each in voucher.vouches
        ]
        self.assertEqual(len(kept), 9)
        self.assertEqual(len(set(map(id, kept))), 4)

    def test_who_it_is(self) -> None:
        """The record of a node is found by its id."""
        self.link(BOB)
        self.told("bob", CAROL)
        self.alice.gossip_received(
            "bob", everything(CAROL, DAVE, generation=next(self.generations))
        )
        self.assertEqual(self.alice.record_of(BOB.id), BOB)
        self.assertEqual(self.alice.record_of(CAROL.id), CAROL)
        self.assertIsNone(self.alice.record_of(DAVE.id))
        self.assertIsNone(self.alice.record_of(ALICE.id))

    def test_asks_who_it_is(self) -> None:
        """Gossip is ids: the first node that vouches for another one is asked who that is."""
        self.link(BOB)
        self.link(CAROL)
        self.assertEqual(
            self.alice.gossip_received("bob", everything(DAVE)), [Ask("bob", (DAVE.id,))]
        )
        self.assertEqual(self.alice.gossip_received("carol", everything(DAVE)), [])
        self.assertEqual(
            self.alice.introduction_received("bob", [DAVE]), [Dial(DAVE, patient=False)]
        )
        self.assertEqual(self.alice.introduction_received("carol", [DAVE]), [])

    def test_answers(self) -> None:
        """A node answers about those that it is linked with, and about nobody else."""
        self.link(BOB)
        self.link(CAROL)
        ids = (BOB.id, DAVE.id, ALICE.id)
        self.assertEqual(self.alice.inquiry_received("carol", ids), [Introduce("carol", (BOB.id,))])
        self.assertEqual(self.alice.inquiry_received("carol", (DAVE.id,)), [])
        self.assertEqual(self.alice.inquiry_received("?", ids), [])

    def test_asks_the_next(self) -> None:
        """If the node that was asked withdraws its vouch, or goes, another voucher is asked."""
        for end in (
            lambda: self.alice.gossip_received("bob", everything(generation=2)),
            lambda: named(self.alice.link_lost("bob", "lost"), Ask),
        ):
            self.setUp()
            self.link(BOB)
            self.link(CAROL)
            self.alice.gossip_received("bob", everything(DAVE))
            self.alice.gossip_received("carol", everything(DAVE))
            self.assertEqual(end(), [Ask("carol", (DAVE.id,))])

    def test_asks_again(self) -> None:
        """A new link may have cost an answer: with the full sync the question is repeated."""
        self.link(BOB, "old", dialed=False)
        self.alice.gossip_received("old", everything(DAVE))
        self.link(BOB, "new", dialed=False)
        again = everything(DAVE, generation=2)
        self.assertEqual(self.alice.gossip_received("new", again), [Ask("new", (DAVE.id,))])

    def test_asks_by_the_other_link(self) -> None:
        """No answer comes on a link that the other end has retired: what is open is asked again on
        the remaining one."""
        self.link(BOB, "stays", dialed=False)
        self.link(BOB, "goes", dialed=False)
        gossip = everything(CAROL, DAVE)
        asked = self.alice.gossip_received("stays", gossip)
        self.assertEqual(asked, [Ask("goes", (CAROL.id, DAVE.id))])
        self.alice.introduction_received("goes", [CAROL])
        commands = self.alice.bye_received("goes", REPLACED)
        self.assertEqual(named(commands, Ask), [Ask("stays", (DAVE.id,))])

    def test_asks_everybody(self) -> None:
        """If there is no answer in time, all others that vouch for the node are asked, also those
        that do so later; any answer will do."""
        self.link(BOB)
        self.link(CAROL)
        self.alice.gossip_received("bob", everything(DAVE, generation=1))
        self.alice.gossip_received("carol", everything(DAVE, generation=1))
        self.assertEqual(self.alice.hearsay.answers_overdue(), [])
        self.assertEqual(self.alice.hearsay.answers_overdue(), [Ask("carol", (DAVE.id,))])
        self.assertEqual(self.alice.hearsay.answers_overdue(), [])
        eve = node(5, "eve")
        self.link(eve)
        self.assertEqual(
            self.alice.gossip_received("eve", everything(DAVE)), [Ask("eve", (DAVE.id,))]
        )
        self.assertEqual(named(self.alice.link_lost("bob", "lost"), Ask), [])
        self.assertEqual(
            self.alice.introduction_received("carol", [DAVE]), [Dial(DAVE, patient=False)]
        )
        self.assertEqual(self.alice.introduction_received("eve", [DAVE]), [])

    def test_in_time(self) -> None:
        """Nobody else is asked if there was an answer, if the question is recent, or if there is no
        other voucher."""
        self.link(BOB)
        self.link(CAROL)
        self.alice.gossip_received("bob", everything(DAVE, generation=1))
        self.alice.hearsay.answers_overdue()
        self.alice.gossip_received("carol", everything(DAVE, generation=1))
        asked = self.alice.gossip_received("bob", everything(generation=2))
        self.assertEqual(asked, [Ask("carol", (DAVE.id,))])
        self.assertEqual(self.alice.hearsay.answers_overdue(), [])
        self.assertEqual(self.alice.hearsay.answers_overdue(), [])  # nobody else vouches for it
        self.alice.introduction_received("carol", [DAVE])
        self.assertEqual(self.alice.hearsay.answers_overdue(), [])

    def test_unreadable(self) -> None:
        """What a node has signed of itself is the same from everybody: if it cannot be parsed,
        nobody is asked again."""
        self.link(BOB)
        self.link(CAROL)
        self.alice.gossip_received("bob", everything(DAVE, generation=1))
        self.alice.hearsay.malformed(DAVE.id)
        self.assertEqual(self.alice.gossip_received("carol", everything(DAVE, generation=1)), [])
        self.assertEqual(self.alice.gossip_received("bob", everything(generation=2)), [])
        self.assertEqual(
            self.alice.hearsay.answers_overdue() + self.alice.hearsay.answers_overdue(), []
        )
        self.alice.hearsay.malformed(BOB.id)
        self.alice.hearsay.malformed("?")

    def test_asks_in_parts(self) -> None:
        """A question is no longer than its answer may be."""
        self.link(BOB)
        ids = tuple(f"{number:032x}" for number in range(100, 100 + MAX_INTRODUCED + 1))
        asked = self.alice.gossip_received("bob", Gossip(1, ids))
        self.assertEqual(asked, [Ask("bob", ids[:-1]), Ask("bob", ids[-1:])])

    def test_uncalled_for(self) -> None:
        """A node cannot introduce one that it does not vouch for, or that is known."""
        self.link(BOB)
        self.link(CAROL)
        self.alice.gossip_received("bob", everything(DAVE))
        self.assertEqual(self.alice.introduction_received("carol", [DAVE]), [])
        self.assertEqual(self.alice.introduction_received("?", [DAVE]), [])
        self.alice.introduction_received("bob", [DAVE])
        self.assertEqual(self.alice.introduction_received("bob", [DAVE]), [])

    def test_linked_meanwhile(self) -> None:
        """A node that was linked before it was introduced is dialed when that link is lost."""
        self.link(BOB)
        self.alice.gossip_received("bob", everything(DAVE))
        self.link(DAVE)
        self.assertEqual(self.alice.introduction_received("bob", [DAVE]), [])
        lost = self.alice.link_lost("dave", "lost")
        self.assertEqual(named(lost, Dial, Ask), [Dial(DAVE, patient=False)])

    def test_late_gossip(self) -> None:
        """Updates on a link that another one has replaced are ignored."""
        self.link(BOB, "old", dialed=False)
        self.told("old", CAROL)
        self.link(BOB, "new", dialed=False)
        self.assertTrue(self.alice.is_current("old"))
        self.told("new", CAROL)
        self.assertFalse(self.alice.is_current("old"))
        self.assertEqual(self.alice.gossip_received("old", Gossip(0, (), (CAROL.id,))), [])
        self.assertEqual(self.alice.nodes_known, 2)

    def test_overtaken(self) -> None:
        """The latest full sync counts, even if an earlier one, and updates to it, arrive later on
        another link."""
        self.link(BOB, "old", dialed=False)
        self.link(BOB, "new", dialed=False)
        told(self.alice, "new", everything(CAROL, generation=2), CAROL)
        self.assertEqual(self.alice.gossip_received("old", everything(DAVE, generation=1)), [])
        self.assertEqual(self.alice.gossip_received("old", Gossip(0, (DAVE.id,))), [])
        self.assertEqual(self.alice.bye_received("old", REPLACED), [Retire("old")])
        self.assertTrue(self.alice.is_current("new"))
        self.assertEqual(
            self.alice.gossip_received("new", Gossip(0, (), (CAROL.id,))), [Forget(CAROL.id)]
        )

    def test_generations_go_on(self) -> None:
        """The generation number goes on when a node comes back, which may not have noticed that it
        was gone."""
        for generation in (1, 2, 3):
            self.assertIn(Tell("bob", everything(BOB, generation=generation)), self.link(BOB))
            self.alice.link_lost("bob", "lost")

    def test_too_high_a_number(self) -> None:
        """A node that sends too high a generation number is not heard until its last link ends; the
        others are."""
        self.link(BOB)
        self.link(CAROL)
        self.alice.gossip_received("bob", everything(generation=2**64 - 1))
        self.assertEqual(self.told("bob", DAVE), [])
        self.assertEqual(self.told("carol", DAVE), [Dial(DAVE, patient=False)])
        self.alice.link_lost("bob", "lost")
        self.link(BOB)
        self.told("bob", DAVE)
        self.assertTrue(self.alice.is_current("bob"))

    def test_news(self) -> None:
        """Links made and lost are told once, to everybody."""
        self.link(BOB)
        self.link(CAROL)
        news = Gossip(0, (BOB.id, CAROL.id))
        self.assertEqual(self.alice.gossip(), [Tell("bob", news), Tell("carol", news)])
        self.assertIs(self.alice.news, News.NONE)
        self.alice.link_lost("carol", "lost")
        self.assertIs(self.alice.news, News.URGENT)
        self.assertEqual(self.alice.gossip(), [Tell("bob", Gossip(0, (), (CAROL.id,)))])
        self.assertEqual(self.alice.gossip(), [])

    def test_urgent_news(self) -> None:
        """A node that nobody vouched for is urgent news, and so is a lost one; a link to a node
        that others vouch for is not."""
        self.link(BOB)
        self.assertIs(self.alice.news, News.URGENT)
        self.alice.gossip()
        self.told("bob", CAROL)
        self.link(CAROL)
        self.assertIs(self.alice.news, News.ROUTINE)
        self.alice.link_lost("carol", "lost")
        self.assertIs(self.alice.news, News.URGENT)
        self.alice.gossip()
        self.assertIs(self.alice.news, News.NONE)


class RestartTests(RosterCase):
    def test_restarted(self) -> None:
        """A later incarnation of a linked node has its route at once; the earlier one goes when it
        does not answer."""
        self.link(BOB)
        self.assertEqual(
            self.link(BOB_AGAIN, "bob again"),
            [
                Join("bob again"),
                Tell("bob again", everything(BOB, BOB_AGAIN, generation=2)),
                Route(BOB_IP, "bob again"),
                Probe("bob"),
            ],
        )
        self.assertEqual(
            self.alice.probed("bob", False),
            [Close("bob", SILENT), Part("bob", SILENT), Forget(BOB.id)],
        )
        self.assertEqual(self.alice.linked(), [BOB_AGAIN])

    def test_clock_is_behind(self) -> None:
        """An incarnation whose clock says that it started earlier has the route as soon as the
        other one does not answer."""
        self.link(BOB_AGAIN, "bob")
        self.assertEqual(
            self.link(BOB, "bob again"),
            [
                Join("bob again"),
                Tell("bob again", everything(BOB_AGAIN, BOB, generation=2)),
                Probe("bob"),
            ],
        )
        self.assertEqual(
            self.alice.probed("bob", False),
            [
                Close("bob", SILENT),
                Part("bob", SILENT),
                Route(BOB_IP, "bob again"),
                Forget(BOB_AGAIN.id),
            ],
        )

    def test_both_live(self) -> None:
        """If both live, in whichever order they come, the later one has the address, the earlier
        one is told so, and both stay linked."""
        refused = Refusal(("10.0.0.2",), "bob")
        self.link(BOB, "earlier")
        self.link(BOB_AGAIN, "later")
        self.assertEqual(self.alice.probed("earlier", True), [Refuse("earlier", refused)])
        self.assertEqual(self.alice.linked(), [BOB, BOB_AGAIN])
        self.setUp()
        self.link(BOB_AGAIN, "later")
        self.link(BOB, "earlier")
        self.assertEqual(self.alice.probed("later", True), [Refuse("earlier", refused)])
        commands = self.alice.link_lost("later", "lost")
        self.assertIn(Route(BOB_IP, "earlier"), commands)
        self.assertIn(Refuse("earlier", NOTHING), commands)

    def test_order_of_lives(self) -> None:
        """In whatever order incarnations of a node come, settled or not, the later ones go before
        the earlier ones."""
        lives = [node(20 + n, "bob", "10.0.0.2/24") for n in range(4)]
        eve = replace(node(7, "eve", "10.0.0.2/24"), settled=True)
        for order in permutations([*lives, eve]):
            for settled in product((False, True), repeat=2):
                alice: Roster[str] = Roster(Me(ALICE), NETWORKS)
                for record in order:
                    known = record.id in (lives[0].id, lives[2].id)
                    said = replace(record, settled=settled[known] or record is eve)
                    alice.authenticated(record.id, said, dialed=True)
                line = [each for each in alice.claims._queues[BOB_IP] if each != eve.id]
                self.assertEqual(line, [record.id for record in reversed(lives)])

    def test_heard_of_at_the_same_url(self) -> None:
        """Another incarnation of a node that was dialed at this URL is not dialed, since only one
        of them can listen there. The linked one is probed; if it does not answer the other one is
        dialed."""
        self.alice.authenticated("bob", BOB_AGAIN, True, is_reached=True)
        self.link(CAROL)
        self.assertEqual(self.told("carol", BOB), [Probe("bob")])
        self.assertEqual(named(self.alice.probed("bob", True), Dial, Close), [])
        self.assertEqual(self.told("carol", BOB), [])
        self.assertEqual(self.alice.probed("bob", False), [Dial(BOB, patient=False)])

    def test_heard_of_in_a_pause(self) -> None:
        """Hearsay ends no link. If it was only a pause, the node answers at its URL, and the other
        incarnation is not dialed any more."""
        self.alice.authenticated("bob", BOB_AGAIN, True, is_reached=True)
        self.link(CAROL)
        self.assertEqual(self.told("carol", BOB), [Probe("bob")])
        self.assertEqual(self.alice.probed("bob", False), [Dial(BOB, patient=False)])
        reached = self.alice.authenticated("bob too", BOB_AGAIN, True, is_reached=True)
        self.assertEqual(named(reached, Forget), [Forget(BOB.id)])

    def test_said_to_be_at_the_same_url(self) -> None:
        """A node that merely claims to be at a URL may be any other: the other incarnation is
        dialed until it is known which of them answers there."""
        for dialed in (False, True):  # by another URL
            self.setUp()
            self.link(BOB_AGAIN, "bob", dialed)
            self.link(CAROL)
            self.assertEqual(self.told("carol", BOB), [Probe("bob"), Dial(BOB, patient=True)])
            self.assertEqual(self.alice.probed("bob", True), [])
            reached = self.alice.authenticated("again", BOB_AGAIN, True, is_reached=True)
            self.assertEqual(named(reached, Forget), [Forget(BOB.id)])
            self.assertEqual(named(self.alice.bye_received("bob", REPLACED), Dial), [])
            self.assertIn(Dial(BOB, patient=False), self.alice.link_lost("again", "lost"))

    def test_reached_first(self) -> None:
        """An earlier incarnation is not dialed any longer when a later one was reached at its
        URL."""
        self.link(CAROL)
        self.assertEqual(self.told("carol", BOB), [Dial(BOB, patient=False)])
        self.assertEqual(named(self.link(BOB_AGAIN, "says", False), Forget), [])
        self.alice.link_lost("says", "lost")
        reached = self.alice.authenticated("bob", BOB_AGAIN, True, is_reached=True)
        self.assertEqual(named(reached, Forget), [Forget(BOB.id)])

    def test_heard_of_elsewhere(self) -> None:
        """An incarnation at another URL is dialed, whatever its clock says: no record makes a node
        dead."""
        elsewhere = replace(BOB, url="https://elsewhere:4567", started=0)
        self.link(BOB_AGAIN, "bob")
        self.link(CAROL)
        self.assertEqual(self.told("carol", elsewhere), [Dial(elsewhere, patient=False)])

    def test_own_lives(self) -> None:
        """An earlier incarnation of this node is not dialed at this node's own URL; elsewhere it
        may be alive. The later one of the two refuses the address to the other one."""
        self.link(BOB)
        past = node(12, "alice", "10.0.0.1/24", started=0)
        self.assertEqual(self.told("bob", past), [])
        later = node(11, "alice", "10.0.0.1/24")
        self.assertEqual(named(self.link(later, "later"), Route, Refuse, Close), [])
        refusal = Refusal(("10.0.0.1",), "alice")
        commands = self.link(replace(past, url="https://elsewhere:1"), "earlier")
        self.assertEqual(named(commands, Route, Refuse, Close), [Refuse("earlier", refusal)])

    def test_same_moment(self) -> None:
        """Of two incarnations with one start time all nodes prefer the same one."""
        twin = node(23, "bob", "10.0.0.2/24", started=BOB.started)
        self.link(BOB)
        self.assertIn(Route(BOB_IP, "twin"), self.link(twin, "twin"))
        self.alice.link_lost("bob", "lost")
        self.assertNotIn(Route(BOB_IP, "back"), self.link(BOB, "back"))

    def test_another_node(self) -> None:
        """The same name without a common address, or the reverse, is another node."""
        self.link(BOB)
        self.assertIn(Join("x"), self.link(node(6, "bob", "10.0.0.6/24"), "x"))
        self.assertIn(Join("y"), self.link(node(7, "eve", "10.0.0.2/24"), "y"))
        self.assertTrue(self.alice.is_linked(BOB.id))

    def test_place_in_line(self) -> None:
        """A node that waits for the address of another one does not get it because that one
        restarts."""
        eve = node(7, "eve", "10.0.0.2/24")
        self.link(BOB)
        self.link(eve)
        commands = self.link(BOB_AGAIN, "bob again")
        self.assertEqual(named(commands, Route, Unroute), [Route(BOB_IP, "bob again")])
        self.assertEqual(named(commands, Refuse), [])

    def test_place_in_line_with_a_clock_behind(self) -> None:
        """The same with a clock that is behind: the restarted node waits right behind its earlier
        incarnation, before all others."""
        self.link(BOB_AGAIN, "past")
        self.link(node(7, "eve", "10.0.0.2/24"))
        self.link(BOB, "bob")
        commands = self.alice.probed("past", False)
        self.assertEqual(named(commands, Route, Refuse), [Route(BOB_IP, "bob")])


class AddressTests(RosterCase):
    def setUp(self) -> None:
        super().setUp()
        self.eve = node(7, "eve", "10.0.0.2/24")
        self.mallory = node(8, "mallory", "10.0.0.2/24")
        self.refused = Refusal(("10.0.0.2",), "bob")

    def test_held(self) -> None:
        """A node that claims an address that is held is told by which node. The holder is not
        probed: otherwise a claim would turn a pause into a loss."""
        self.link(BOB)
        self.assertEqual(
            self.link(self.eve),
            [
                Join("eve"),
                Tell("eve", everything(BOB, self.eve, generation=2)),
                Refuse("eve", self.refused),
            ],
        )

    def test_settled_holder_comes_late(self) -> None:
        """A node on probation takes a settled claimant for the holder, though it was linked with
        another one first, and tells that one so without asking."""
        self.link(self.eve)
        commands = self.link(replace(BOB, settled=True))
        self.assertEqual(
            named(commands, Route, Unroute, Refuse, Probe),
            [Route(BOB_IP, "bob"), Refuse("eve", self.refused)],
        )
        commands = self.alice.link_lost("bob", "lost")
        self.assertIn(Route(BOB_IP, "eve"), commands)

    def test_settled_among_many(self) -> None:
        """Among settled claimants, and among those that are not, the first stays the first."""
        dave = node(4, "dave", "10.0.0.2/24")
        self.link(self.eve)
        self.link(replace(BOB, settled=True))
        self.link(self.mallory)
        commands = self.link(replace(dave, settled=True))
        refuse = Refuse("dave", self.refused)
        self.assertEqual(named(commands, Route, Unroute, Refuse, Probe), [refuse])
        heirs = []
        for leaves in ("bob", "dave", "eve"):
            heirs += named(self.alice.link_lost(leaves, "lost"), Route)
        self.assertEqual(heirs, [Route(BOB_IP, name) for name in ("dave", "eve", "mallory")])

    def test_settled_too_late(self) -> None:
        """An incumbent knows which node it was linked with first, and does not believe a node that
        says it is settled."""
        self.link(BOB)
        self.me.seniority_changed(is_new=False, is_settled=True)
        commands = self.link(replace(self.eve, settled=True))
        refuse = Refuse("eve", self.refused)
        self.assertEqual(named(commands, Route, Unroute, Refuse, Probe), [refuse])

    def test_settled_restarts(self) -> None:
        """A restarted node inherits the place of its earlier incarnation, which was settled, though
        it is not settled itself."""
        self.link(replace(BOB, settled=True))
        self.link(BOB_AGAIN, "bob again")
        commands = self.link(self.eve)
        self.assertEqual(named(commands, Route, Unroute), [])

    def test_own_address_settled(self) -> None:
        """Of two nodes that claim one address the settled one refuses it to the other, whatever the
        clocks say; the other one refuses nothing."""
        settled = replace(node(7, "eve", "10.0.0.1/24"), settled=True)
        self.assertEqual(named(self.link(settled), Route, Refuse), [])
        self.me.seniority_changed(is_new=False, is_settled=True)
        early = node(8, "mallory", "10.0.0.1/24", started=0)
        refused = Refusal(("10.0.0.1",), "alice")
        self.assertEqual(named(self.link(early), Route, Refuse), [Refuse("mallory", refused)])

    def test_own_address_settled_meanwhile(self) -> None:
        """What counts is what either end has shown on the link: the other end knows no more."""
        self.me.seniority_changed(is_new=False, is_settled=True)
        early = node(8, "mallory", "10.0.0.1/24", started=0)
        commands = self.alice.authenticated("mallory", early, True, shown=ALICE)
        self.assertEqual(named(commands, Route, Refuse), [])

    def test_holder_is_dead(self) -> None:
        """When a holder is given up, the node that waits gets the address, and is told so."""
        self.link(BOB)
        self.link(self.eve)
        self.assertEqual(
            self.alice.link_lost("bob", "silent"),
            [
                Part("bob", "silent"),
                Route(BOB_IP, "eve"),
                Refuse("eve", NOTHING),
                Forget(BOB.id),
            ],
        )

    def test_next_in_line(self) -> None:
        """When the holder goes the next in the queue inherits and is told; those behind it are told
        who holds the address now."""
        self.link(BOB)
        self.link(self.eve)
        self.link(self.mallory)
        commands = self.alice.link_lost("bob", "lost")
        refused = Refusal(("10.0.0.2",), "eve")
        self.assertEqual(
            named(commands, Route, Unroute, Refuse, Probe),
            [Route(BOB_IP, "eve"), Refuse("eve", NOTHING), Refuse("mallory", refused)],
        )

    def test_restart_without_an_address(self) -> None:
        """When a node restarts without one of its addresses, a node that waits for that one gets it
        as soon as the earlier incarnation does not answer, and is told so."""
        bob = node(2, "bob", "10.0.0.2/24", "10.0.0.6/24")
        self.link(bob)
        both = Refusal(("10.0.0.2", "10.0.0.6"), "bob")
        commands = self.link(node(7, "eve", "10.0.0.2/24", "10.0.0.6/24"))
        self.assertEqual(named(commands, Refuse), [Refuse("eve", both)])
        self.assertEqual(named(self.link(BOB_AGAIN, "bob again"), Refuse), [])
        commands = self.alice.probed("bob", False)
        self.assertEqual(named(commands, Route), [Route(ip_address("10.0.0.6"), "eve")])
        self.assertEqual(named(commands, Refuse), [Refuse("eve", self.refused)])

    def test_leaves_the_line(self) -> None:
        """When a node goes while it waits, nothing changes for others."""
        self.link(BOB)
        self.link(self.eve)
        self.assertEqual(
            self.alice.link_lost("eve", "lost"), [Part("eve", "lost"), Forget(self.eve.id)]
        )

    def test_own_address(self) -> None:
        """Our own address is never routed; the later of the two claimants is refused."""
        thief = node(7, "eve", "10.0.0.1/24")
        commands = self.link(thief)
        self.assertEqual(
            named(commands, Route, Refuse), [Refuse("eve", Refusal(("10.0.0.1",), "alice"))]
        )
        incumbent = node(8, "mallory", "10.0.0.1/24", started=0)
        self.assertEqual(named(self.link(incumbent), Route, Refuse), [])

    def test_outside(self) -> None:
        """An address outside the mesh's networks is not routed, and its node is told."""
        commands = self.link(node(7, "eve", "10.0.0.7/24", "192.168.0.7/24", "fd00::7/64"))
        self.assertEqual(
            named(commands, Route, Refuse),
            [
                Route(ip_address("10.0.0.7"), "eve"),
                Route(ip_address("fd00::7"), "eve"),
                Refuse("eve", Refusal(("192.168.0.7",), "")),
            ],
        )

    def test_said_again(self) -> None:
        """On a new link a refusal is repeated: the old link may not have delivered it."""
        self.link(BOB)
        self.link(self.eve, "eve")
        self.assertIn(Refuse("eve too", self.refused), self.link(self.eve, "eve too"))


class ReservationTests(RosterCase):
    """Bob held an address for a while, and mallory wants it."""

    def setUp(self) -> None:
        super().setUp()
        self.mallory = node(8, "mallory", "10.0.0.2/24")
        self.told_bob = Refuse("mallory", Refusal(("10.0.0.2",), "bob"))
        self.link(BOB)
        self.alice.time_passed(100.0)

    def test_comes_back(self) -> None:
        """A holder that was given up gets its address back as soon as it is linked again; the node
        that got it meanwhile is told."""
        self.link(self.mallory)
        self.assertIn(Route(BOB_IP, "mallory"), self.alice.link_lost("bob", "silent"))
        commands = self.link(BOB)
        self.assertEqual(named(commands, Route, Refuse), [Route(BOB_IP, "bob"), self.told_bob])

    def test_restarts(self) -> None:
        """So does a restarted node, even if its clock is behind, from one that came while it was
        not running."""
        for again in (BOB_AGAIN, replace(BOB_AGAIN, started=0)):
            self.setUp()
            self.alice.bye_received("bob", LEAVING)
            self.assertIn(Route(BOB_IP, "mallory"), self.link(self.mallory))
            commands = self.link(again)
            self.assertEqual(named(commands, Route, Refuse), [Route(BOB_IP, "bob"), self.told_bob])

    def test_another_life_waits(self) -> None:
        """An incarnation of the holder inherits before all others, wherever it stood."""
        self.alice.link_lost("bob", "lost")
        self.link(self.mallory)
        self.link(node(9, "eve", "10.0.0.2/24"))
        self.link(BOB)
        self.link(BOB_AGAIN, "bob again")
        heirs = []
        for leaves in ("bob again", "bob", "mallory"):
            heirs += named(self.alice.link_lost(leaves, "lost"), Route)
        self.assertEqual(heirs, [Route(BOB_IP, name) for name in ("bob", "mallory", "eve")])

    def test_thief_comes_back(self) -> None:
        """A thief that held the address while it was reserved for another node has no reservation
        of its own, however it goes."""
        for again in (BOB, BOB_AGAIN):
            for reason in ("silent", LEAVING):
                self.setUp()
                self.alice.link_lost("bob", "silent")
                self.link(self.mallory)
                self.alice.time_passed(400.0)
                self.alice.bye_received("mallory", reason)
                self.link(again)
                commands = self.link(self.mallory)
                self.assertEqual(named(commands, Route, Refuse), [self.told_bob])

    def test_not_for_long(self) -> None:
        """A reservation ends: the node that has the address then keeps it."""
        self.link(self.mallory)
        self.alice.link_lost("bob", "silent")
        self.alice.time_passed(100.0 + KEPT)
        self.assertEqual(named(self.link(BOB), Route), [])

    def test_not_in_passing(self) -> None:
        """A brief visit reserves nothing."""
        self.setUp()
        passing = node(9, "eve", "10.0.0.9/24")
        self.link(passing)
        self.alice.link_lost("eve", "lost")
        self.link(replace(self.mallory, addresses=passing.addresses))
        self.assertEqual(named(self.link(passing), Route), [])

    def test_crowd(self) -> None:
        """512 identities with eight addresses each, which come for as long as it takes and go,
        again and again, displace each other and not a node that was there for longer."""
        kept: Reservations[int] = Reservations()
        kept.holder_went(-1, "bob", 600.0, 0.0)
        addresses = count()
        for now in range(0, int(KEPT), int(2 * TENURE)):
            for number in range(512):
                for _ in range(8):
                    kept.holder_went(next(addresses), f"m{number}", 2 * TENURE, now)
            kept.expire(now)
        self.assertEqual(len(kept), MAX_RESERVATIONS)
        self.assertTrue(kept.is_for(-1, "bob", KEPT - 1))

    def test_tenure(self) -> None:
        """The shortest tenure goes first. It is the sum of those of one holder that came and went,
        so a short return takes nothing from it."""
        kept: Reservations[int] = Reservations(most=2)
        kept.holder_went(1, "bob", 100.0, 0.0)
        kept.holder_went(2, "carol", 101.0, 1.0)
        kept.holder_went(1, "bob", 2.0, 2.0)
        kept.holder_went(3, "dave", 101.5, 3.0)
        self.assertFalse(kept.is_for(2, "carol", 4.0))
        self.assertTrue(kept.is_for(1, "bob", 4.0))
        kept.holder_went(4, "eve", 50.0, 5.0)
        self.assertFalse(kept.is_for(4, "eve", 6.0))

    def test_returned_often(self) -> None:
        """A node that comes and goes for a day leaves nothing behind but its reservation."""
        kept: Reservations[int] = Reservations()
        for now in range(10_000):
            kept.holder_went(1, "bob", 1.0 + TENURE, now)
            if now % 100 == 0:
                kept.expire(now)
        self.assertLessEqual(len(kept._shortest), 101)

    def test_at_most(self) -> None:
        """Hearsay makes only so many nodes known."""
        kept: Reservations[int] = Reservations()
        for address in range(MAX_RESERVATIONS + 1):
            kept.holder_went(address, "bob", TENURE, 1.0)
        self.assertEqual(len(kept), MAX_RESERVATIONS)
        self.assertFalse(kept.is_for(0, "bob", 1.0))
        self.assertTrue(kept.is_for(1, "bob", 1.0))
        kept.expire(1.0 + KEPT)
        self.assertEqual(len(kept), 0)
