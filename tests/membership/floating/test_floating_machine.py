"""Floating addresses in every order of events.

The model has no bytes: links carry records, refusals, pings and pongs, in order on each way, and
nothing is delivered before a rule says so. Nodes claim and release an address, die, part from each
other and meet again. Real are what decides: Holding, Claims, Me and Doubts.

At all times each node routes the address to one node at most, which claims it. Once the world has
calmed down, exactly one of those that claim it holds it, and everybody routes it there.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_interface

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial import unittest

from tunmesh.addresses import Address
from tunmesh.membership.agreement import View, judge
from tunmesh.membership.claims import Claims
from tunmesh.membership.commands import Command, Refuse, Route, Unroute
from tunmesh.membership.floating.holding import Facts, Holding, next_number, standing_of
from tunmesh.membership.me import Me
from tunmesh.membership.precedence import takes_precedence
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.records import NodeRecord

EXAMPLES = int(os.environ.get("TUNMESH_EXAMPLES", "60"))
NETWORK = IPv4Network("10.9.0.0/24")
VIP = ip_address("10.9.0.100")
STEP = 0.25  # seconds
NODES = 5


@dataclass
class Linked:
    """A node at the other end of a link: membership.agreement.Peer."""

    record: NodeRecord
    view: View
    source: str
    since: float
    was_first: bool = False
    refuses: tuple[str, ...] = ()
    holder: str = ""


@dataclass(frozen=True)
class Ping:
    number: int


@dataclass(frozen=True)
class Pong:
    number: int


Message = NodeRecord | Refusal | Ping | Pong


class Life:
    """One life of a node."""

    def __init__(self, world: World, number: int, owns: bool) -> None:
        self.world = world
        own = str(VIP) if owns else f"10.9.0.{number}"
        self.me = Me(
            NodeRecord(
                id=f"{number:032x}",
                name=f"n{number}",
                started=number,
                url=f"https://n{number}:1",
                addresses=(ip_interface(f"{own}/24"),),
                version="1",
            )
        )
        self.claims: Claims[str] = Claims(self.me, [NETWORK])
        self.peers: dict[str, Linked] = {}
        self.routes: dict[Address, str] = {}
        self.holding: Holding | None = None
        self.awaited: dict[str, int] = {}  # pings that are not answered, by peer
        self.pings = 0
        self.me.when_revised(self.revised)

    @property
    def id(self) -> str:
        return self.me.id

    @property
    def holds(self) -> bool:
        return VIP in self.me.record.held

    def link_up(self, other: Life, shown: NodeRecord, told: NodeRecord) -> None:
        was_first = takes_precedence(shown, told)
        view = View.of(self.me.record, shown)
        source = f"source {shown.started % 3}"  # which some share
        self.peers[other.id] = Linked(shown, view, source, self.world.now, was_first)
        self.run(self.claims.linked(shown, other.id, was_first))
        if self.holding is not None:
            self.ping(other.id)

    def link_lost(self, node_id: str) -> None:
        del self.peers[node_id]
        self.awaited.pop(node_id, None)
        self.run(self.claims.parted(node_id))

    def revised(self) -> None:
        me = self.me.record
        for node_id, peer in self.peers.items():
            peer.view = View.of(me, peer.record)
            peer.was_first = takes_precedence(peer.record, me)
            claimed = set(map(str, me.claimed))
            peer.refuses = tuple(each for each in peer.refuses if each in claimed)
            self.world.send(self.id, node_id, me)
        self.run(self.claims.me_revised({i for i, peer in self.peers.items() if peer.was_first}))

    def ping(self, node_id: str) -> None:
        self.pings += 1
        self.awaited[node_id] = self.pings
        self.world.send(self.id, node_id, Ping(self.pings))

    def receive(self, sender: str, message: Message) -> None:
        peer = self.peers[sender]
        match message:
            case Refusal():
                claimed = set(map(str, self.me.record.claimed))
                peer.refuses = tuple(each for each in message.addresses if each in claimed)
                peer.holder = message.holder
            case Ping(number):
                self.world.send(self.id, sender, Pong(number))
            case Pong(number):
                if self.awaited.get(sender) == number:
                    del self.awaited[sender]
            case NodeRecord():
                assert peer.record.may_become(message)
                peer.record, peer.view = message, View.of(self.me.record, message)
                peer.was_first = takes_precedence(message, self.me.record)
                self.run(self.claims.revised(message, peer.was_first))

    def run(self, commands: list[Command[str]]) -> None:
        for command in commands:
            match command:
                case Route(address, link):
                    assert link in self.peers
                    assert self.routes.get(address) != link
                    self.routes[address] = link
                case Unroute(address):
                    del self.routes[address]
                case Refuse(link, refusal):
                    self.world.send(self.id, link, refusal)
                case _:
                    pass
        self.world.probe(self.id, self.claims.doubts.taken())

    def claim(self) -> None:
        if self.holding is None and not self.me.record.owns(VIP):
            known = [peer.record for peer in self.peers.values()]
            self.holding = Holding(VIP, next_number(VIP, known), self.world.now)
            self.say()
            for node_id in self.peers:
                self.ping(node_id)

    def release(self) -> None:
        self.holding = None
        self.awaited.clear()
        self.say()

    def say(self) -> None:
        self.me.use_floating((self.holding.claim,) if self.holding is not None else ())

    def look(self) -> None:
        if self.holding is None:
            return
        holding = self.holding
        found = standing_of(self.me.record, VIP, tuple(self.peers.values()), ())
        facts = Facts(self.world.now, True, self.claims.is_next(VIP), not self.awaited, found)
        if holding.update(facts) is not None:
            self.say()


class World(RuleBasedStateMachine):
    """The lives, and the ways between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lives: dict[str, Life] = {}
        self.ways: dict[tuple[str, str], deque[Message]] = {}
        self.doubted: set[tuple[str, str]] = set()  # who has to find out whether who lives
        self.paused: set[str] = set()  # they receive nothing
        self.numbers = 0

    @initialize(owner=st.sampled_from([False, False, False, True]))
    def begin(self, owner: bool) -> None:
        """Perhaps the address belongs to a node by its config."""
        for number in range(4):
            self.start(owner and number == 0)

    def start(self, owns: bool = False) -> None:
        self.numbers += 1
        life = Life(self, self.numbers, owns)
        self.lives[life.id] = life
        for other in list(self.lives.values()):
            if other is not life:
                self.link(life, other)

    @precondition(lambda self: len(self.lives) < NODES)
    @rule()
    def newcomer(self) -> None:
        """A node starts, and is linked with all."""
        self.start()

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def claim(self, which: int) -> None:
        """A node claims the address."""
        self.pick(which).claim()

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def release(self, which: int) -> None:
        """A node releases it, if it claims it."""
        self.pick(which).release()

    @precondition(lambda self: len(self.lives) > 1)
    @rule(which=st.integers(0, 99))
    def die(self, which: int) -> None:
        """A node dies; the others notice at once."""
        life = self.pick(which)
        for other in list(life.peers):
            self.cut(life.id, other)
        del self.lives[life.id]
        self.paused.discard(life.id)

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def pause(self, which: int) -> None:
        """A node receives nothing for a while."""
        self.paused.add(self.pick(which).id)

    @rule()
    def resume(self) -> None:
        """All receive again."""
        self.paused.clear()

    @rule()
    def time_out(self) -> None:
        """Who was doubted and is paused has not answered; the others have."""
        for doubter, holder in sorted(self.doubted):
            if holder in self.paused:
                self.cut(doubter, holder)
        self.doubted.clear()

    @precondition(lambda self: len(self.lives) > 1)
    @rule(sides=st.integers(1, 30))
    def part(self, sides: int) -> None:
        """The network is partitioned."""
        for one, other in list(self.ways):
            if (sides >> int(one, 16) % 5 & 1) != (sides >> int(other, 16) % 5 & 1):
                self.cut(one, other)

    @rule()
    def heal(self) -> None:
        """All that are not linked are linked."""
        lives = list(self.lives.values())
        for place, life in enumerate(lives):
            for other in lives[:place]:
                self.link(life, other)

    @rule(many=st.integers(1, 8), which=st.integers(0, 99))
    def deliver(self, many: int, which: int) -> None:
        """Some messages arrive, from one way."""
        ways = [way for way, waiting in self.ways.items() if waiting and way[1] not in self.paused]
        if ways:
            way = ways[which % len(ways)]
            for _ in range(min(many, len(self.ways[way]))):
                self._receive(way)

    @rule(seconds=st.sampled_from([STEP, 1.0, 4.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and everybody looks."""
        self.now += seconds
        for life in self.lives.values():
            life.claims.time_passed(self.now)
            life.look()

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99), is_new=st.booleans(), is_settled=st.booleans())
    def stand(self, which: int, is_new: bool, is_settled: bool) -> None:
        """A node settles, or is on probation again."""
        self.pick(which).me.seniority_changed(is_new, is_settled)

    # --- the world ---

    def pick(self, which: int) -> Life:
        return list(self.lives.values())[which % len(self.lives)]

    def send(self, sender: str, receiver: str, message: Message) -> None:
        if (sender, receiver) in self.ways:
            self.ways[sender, receiver].append(message)

    def probe(self, doubter: str, holders: list[str]) -> None:
        self.doubted |= {(doubter, holder) for holder in holders}

    def link(self, one: Life, other: Life) -> None:
        if other.id in one.peers:
            return
        self.ways[one.id, other.id], self.ways[other.id, one.id] = deque(), deque()
        ours, theirs = one.me.record, other.me.record
        one.link_up(other, theirs, ours)
        other.link_up(one, ours, theirs)

    def cut(self, one: str, other: str) -> None:
        if (one, other) in self.ways:
            del self.ways[one, other], self.ways[other, one]
            self.doubted -= {(one, other), (other, one)}
            self.lives[one].link_lost(other)
            self.lives[other].link_lost(one)

    def _receive(self, way: tuple[str, str]) -> None:
        sender, receiver = way
        self.lives[receiver].receive(sender, self.ways[way].popleft())

    # --- what must be so ---

    @invariant()
    def one_route(self) -> None:
        for life in self.lives.values():
            claimants = {i for i, p in life.peers.items() if VIP in p.record.claimed}
            routed = life.routes.get(VIP)
            queue = life.claims.queue(VIP)
            assert set(queue) == claimants | ({life.id} if VIP in life.me.record.claimed else set())
            assert len(queue) == len(set(queue))
            assert routed == (queue[0] if queue and queue[0] != life.id else None)
            if life.holds:
                assert routed is None

    @invariant()
    def nobody_is_unready(self) -> None:
        """What happens to a floating address is nobody's problem, unless it is a node's own."""
        for life in self.lives.values():
            found = judge(life.me.record, tuple(life.peers.values()))
            assert life.me.record.owns(VIP) or not found.cut_off
            assert life.me.record.owns(VIP) or not found.is_claimed

    def teardown(self) -> None:
        self.paused.clear()
        self.doubted.clear()
        self.heal()
        for _ in range(60):
            for way in list(self.ways):
                while self.ways[way]:
                    self._receive(way)
            self.wait(STEP)
        claimants = [life for life in self.lives.values() if VIP in life.me.record.claimed]
        holders = [life for life in claimants if life.holds]
        assert len(holders) == bool(claimants), [life.me.record for life in claimants]
        for life in self.lives.values():
            expected = holders[0].id if holders and holders[0] is not life else None
            assert life.routes.get(VIP) == expected
            refused = [p for p in life.peers.values() if str(VIP) in p.refuses]
            assert len(refused) == (len(life.peers) if life in claimants and not life.holds else 0)


class Machine(unittest.TestCase):
    def test_any_history(self) -> None:
        """Whatever happened before, one node holds the address in the end, if any claims it."""
        run_state_machine_as_test(
            World, settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
        )
