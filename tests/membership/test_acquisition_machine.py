"""Nodes that choose their addresses themselves, in every order of events.

The model has no bytes: links carry updates and refusals, in order on each way, and nothing is
delivered before a rule says so. Probes are answered when it is quiet. Real are what decides:
Acquisition, Claims, Me and Seniority.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_interface

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial import unittest

from tests import examples
from tunmesh.addresses import Address, Interface
from tunmesh.membership.acquisition import Acquisition, Change, Facts, State, Step, standing
from tunmesh.membership.agreement import View, judge
from tunmesh.membership.candidates import Candidates
from tunmesh.membership.claims import Claims
from tunmesh.membership.commands import Command, Refuse, Route, Unroute
from tunmesh.membership.me import Me
from tunmesh.membership.precedence import takes_precedence
from tunmesh.membership.seniority import Seniority
from tunmesh.wire.gossip import Refusal
from tunmesh.wire.records import NodeRecord

EXAMPLES = examples(15)
NETWORK = IPv4Network("10.9.0.0/29")  # six hosts
STEP = 0.25  # seconds between two looks


@dataclass
class Linked:
    """A node at the other end of a link: membership.agreement.Peer."""

    record: NodeRecord
    told: NodeRecord  # what this node said of itself last
    view: View
    source: str
    since: float
    was_first: bool = False
    refuses: tuple[str, ...] = ()
    holder: str = ""


Message = NodeRecord | Refusal


class Life:
    """One life of a node."""

    def __init__(self, world: World, name: str, number: int, address: str = "") -> None:
        self.world = world
        record = NodeRecord(
            id=f"{number:032x}",
            name=name,
            started=number,
            url=f"https://{name}:1",
            addresses=(ip_interface(f"{address}/29"),) if address else (),
            version="1",
            automatic=() if address else (4,),
        )
        self.me = Me(record)
        self.claims: Claims[str] = Claims(self.me, [NETWORK])
        self.seniority = Seniority()
        self.machine = Acquisition(Candidates(NETWORK, 29, name), world.now)
        self.peers: dict[str, Linked] = {}
        self.routes: dict[Address, str] = {}
        self.steps: list[Step] = []
        self.is_first = not world.lives  # it has nobody to bootstrap from
        self.me.when_revised(self.revised)

    @property
    def id(self) -> str:
        return self.me.id

    @property
    def held(self) -> Interface | None:
        if not self.me.record.automatic:
            return self.me.record.addresses[0]
        return self.machine.interface if self.machine.state is State.HELD else None

    def link_up(self, other: Life, shown: NodeRecord, told: NodeRecord) -> None:
        view = View.of(self.me.record, shown)
        was_first = takes_precedence(shown, told)
        peer = Linked(shown, told, view, other.me.record.name, self.world.now, was_first)
        self.peers[other.id] = peer
        self.run(self.claims.linked(shown, other.id, was_first))

    def link_lost(self, node_id: str) -> None:
        del self.peers[node_id]
        self.run(self.claims.parted(node_id))

    def revised(self) -> None:
        """This node has another record."""
        me = self.me.record
        for node_id, peer in self.peers.items():
            peer.told, peer.view = me, View.of(me, peer.record)
            peer.was_first = takes_precedence(peer.record, me)
            own = {str(each.ip) for each in me.addresses}
            peer.refuses = tuple(each for each in peer.refuses if each in own)
            self.world.send(self.id, node_id, me)
        self.run(self.claims.me_revised({i for i, peer in self.peers.items() if peer.was_first}))

    def receive(self, sender: str, message: Message) -> None:
        peer = self.peers[sender]
        if isinstance(message, Refusal):
            own = {str(each.ip) for each in self.me.record.addresses}
            peer.refuses = tuple(each for each in message.addresses if each in own)
            peer.holder = message.holder
            return
        assert peer.record.may_become(message)
        peer.record, peer.view = message, View.of(self.me.record, message)
        peer.was_first = takes_precedence(message, peer.told)
        self.run(self.claims.revised(message, peer.was_first))

    def probe(self) -> None:
        """All linked nodes answer; the roster asks those whose namesake claims what they have."""
        for node_id in self.peers:
            self.run(self.claims.answered(node_id))

    def run(self, commands: list[Command[str]]) -> None:
        for command in commands:
            match command:
                case Route(address, link):
                    assert link in self.peers
                    assert address not in {each.ip for each in self.me.record.addresses}
                    self.routes[address] = link
                case Unroute(address):
                    self.routes.pop(address)
                case Refuse(link, refusal):
                    self.world.send(self.id, link, refusal)
                case _:
                    raise AssertionError(command)

    def look(self) -> None:
        now, peers = self.world.now, list(self.peers.values())
        self.claims.time_passed(now)
        is_in_mesh = bool(peers) or self.is_first or len(self.world.lives) == 1
        found = judge(self.me.record, peers)
        if self.seniority.update(now, is_in_mesh, found, self.me.record.addresses):
            self.me.seniority_changed(self.seniority.is_new, self.seniority.is_settled)
        if not self.me.record.automatic:
            return
        interface = self.machine.interface
        stands = (
            standing(self.me.record, interface.ip, peers, (), self.machine.since)
            if (interface is not None)
            else standing(self.me.record, NETWORK[1], [])
        )
        taken = {a.ip: peer.record.name for peer in peers for a in peer.record.addresses}
        kept = self.claims.kept(self.me.record.name)
        facts = Facts(now, is_in_mesh, True, self.world.is_whole(self), taken, kept)
        self.steps += self.machine.update(facts, stands)
        chosen = self.machine.interface
        self.me.use_addresses((chosen,) if chosen is not None else ())


class World:
    """All lives, the links between them, and what is under way on these."""

    def __init__(self) -> None:
        self.now = 100.0
        self.number = 0
        self.lives: dict[str, Life] = {}
        self.ways: dict[tuple[str, str], deque[Message]] = {}

    def start(self, name: str, address: str = "") -> Life:
        self.number += 1
        life = Life(self, name, self.number, address)
        self.lives[life.id] = life
        return life

    def end(self, life: Life) -> None:
        del self.lives[life.id]
        for node_id in list(life.peers):
            self.unlink(life.id, node_id)

    def link(self, one: Life, other: Life) -> None:
        if one.id in other.peers:
            return
        shown, told = one.me.record, other.me.record
        self.ways[one.id, other.id], self.ways[other.id, one.id] = deque(), deque()
        other.link_up(one, shown, told)
        one.link_up(other, told, shown)

    def unlink(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            del self.ways[here, there]
            if here in self.lives:
                self.lives[here].link_lost(there)

    def send(self, sender: str, receiver: str, message: Message) -> None:
        if (sender, receiver) in self.ways:
            self.ways[sender, receiver].append(message)

    def deliver(self, way: tuple[str, str]) -> None:
        sender, receiver = way
        self.lives[receiver].receive(sender, self.ways[way].popleft())

    def deliver_all(self) -> None:
        while pending := [way for way, messages in self.ways.items() if messages]:
            self.deliver(pending[0])

    def is_whole(self, life: Life) -> bool:
        return len(life.peers) == len(self.lives) - 1

    def pass_time(self, seconds: float, is_quiet: bool = False) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for life in list(self.lives.values()):
                life.look()
                if is_quiet:
                    life.probe()
            if is_quiet:
                self.deliver_all()


class Machine(RuleBasedStateMachine):
    """Honest nodes, some of which have addresses that were assigned to them: up to five for six
    addresses, so that there is one for each."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(name=st.sampled_from("abc"), is_static=st.integers(0, 3).map(lambda n: not n))
    def start(self, name: str, is_static: bool) -> None:
        """A node starts, perhaps with the name of another one."""
        if len(self.world.lives) < 5:
            statics = [each for each in self.world.lives.values() if not each.me.record.automatic]
            address = f"10.9.0.{len(statics) + 1}" if is_static and len(statics) < 2 else ""
            if address and any(str(each.held.ip) == address for each in statics if each.held):
                address = ""
            self.world.start(name, address)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A node ends."""
        if len(self.world.lives) > 1:
            self.world.end(data.draw(st.sampled_from(list(self.world.lives.values()))))

    @rule(data=st.data())
    def link(self, data: st.DataObject) -> None:
        """A link comes up."""
        if len(self.world.lives) > 1:
            both = st.lists(
                st.sampled_from(list(self.world.lives.values())),
                min_size=2,
                max_size=2,
                unique_by=lambda life: life.id,
            )
            one, other = data.draw(both)
            self.world.link(one, other)

    @rule()
    def link_all(self) -> None:
        """All links come up."""
        lives = list(self.world.lives.values())
        for one in lives:
            for other in lives:
                if one is not other:
                    self.world.link(one, other)

    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        """A link ends."""
        if self.world.ways:
            self.world.unlink(*data.draw(st.sampled_from(sorted(self.world.ways))))

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """A message arrives."""
        pending = sorted(way for way, messages in self.world.ways.items() if messages)
        if pending:
            self.world.deliver(data.draw(st.sampled_from(pending)))

    @rule(seconds=st.sampled_from((STEP, 1.0, 3.0, 20.0)), is_quiet=st.booleans())
    def wait(self, seconds: float, is_quiet: bool) -> None:
        """Time passes, and messages with it or not."""
        self.world.pass_time(seconds, is_quiet)

    @invariant()
    def static_stay(self) -> None:
        """An address that was assigned is never given up."""
        for life in self.world.lives.values():
            assert life.me.record.automatic or life.me.record.addresses

    def teardown(self) -> None:
        """When all are linked and it has been quiet for a while, each node has an address, and all
        others route it there. Only an address that was assigned to a node and chosen by another one
        may stay with both, each for a part of the mesh: the first one is told so."""
        self.link_all()
        self.world.deliver_all()
        self.world.pass_time(90.0, is_quiet=True)
        lives = list(self.world.lives.values())
        for life in lives:
            assert life.held is not None, life.id
        losers = [life for life in lives if self.is_refused(life)]
        for life in losers:
            assert not life.me.record.automatic, life.id
        disputed = {life.held.ip for life in losers if life.held}
        winners = {life.held.ip: life.id for life in lives if life.held and life not in losers}
        assert len(winners) == len(lives) - len(losers), winners
        for one in lives:
            expected = {address: i for address, i in winners.items() if i != one.id}
            for address in disputed:
                expected.pop(address, None)
                one.routes.pop(address, None)
            assert one.routes == expected, (one.id, one.routes, expected)

    def is_refused(self, life: Life) -> bool:
        """Whether somebody refuses its address who does not have the same one: of two that keep one
        address, each refuses it to the other."""
        return any(
            peer.refuses and self.world.lives[node_id].held != life.held
            for node_id, peer in life.peers.items()
        )


class AcquisitionMachineTests(unittest.TestCase):
    def test_machine(self) -> None:
        """Exactly one of those that claim an address keeps it, and every node has one."""
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


Lie = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 6)),
    st.tuples(st.just("settled"), st.integers(1, 6)),
    st.tuples(st.just("refuse"), st.integers(0, 4)),
    st.tuples(st.just("namesake"), st.integers(0, 4)),
    st.tuples(st.just("wait"), st.integers(1, 12)),
    st.tuples(st.just("leave"), st.just(0)),
)


class LiarTests(unittest.TestCase):
    """A member that says whatever it likes, with one source."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.integers(3, 4), st.booleans(), st.lists(Lie, max_size=20))
    def test_liar(self, count: int, is_static: bool, lies: list[tuple[str, int]]) -> None:
        """It does not take from any honest node what that holds, or keep a newcomer from having an
        address."""
        world = World()
        honest = [world.start(f"n{number}") for number in range(count)]
        self.link(world, honest)
        world.pass_time(30.0, is_quiet=True)
        before = [life.held for life in honest]
        self.assertNotIn(None, before)
        liar: Life | None = None
        for kind, value in lies:
            if liar is None:
                liar = self.liar(world, honest, is_static)
            match kind:
                case "claim" | "settled":
                    self.claim(world, liar, f"10.9.0.{value}", kind == "settled")
                case "refuse":
                    victim = honest[value % count]
                    addresses = tuple(str(each.ip) for each in victim.me.record.addresses)
                    world.send(liar.id, victim.id, Refusal(addresses, "somebody"))
                case "namesake":
                    world.end(liar)
                    victim = honest[value % count]
                    liar = self.liar(world, honest, True, victim)
                case "leave":
                    world.end(liar)
                    liar = None
            world.deliver_all()
            world.pass_time(float(value) if kind == "wait" else STEP, is_quiet=True)
        self.assertEqual([life.held for life in honest], before)
        for life in honest:
            self.assertFalse([step for step in life.steps if step.change is Change.LOST])
        newcomer = world.start("newcomer")
        self.link(world, [*honest, *([liar] if liar is not None else []), newcomer])
        world.pass_time(30.0, is_quiet=True)
        self.assertIsNotNone(newcomer.held)

    def link(self, world: World, lives: list[Life]) -> None:
        for one in lives:
            for other in lives:
                if one is not other:
                    world.link(one, other)

    def liar(
        self, world: World, honest: list[Life], is_static: bool, victim: Life | None = None
    ) -> Life:
        name, address = "liar", "10.9.0.1" if is_static else ""
        if victim is not None:
            name, address = victim.me.record.name, str(victim.me.record.addresses[0].ip)
        liar = world.start(name, address)
        liar.me.seniority_changed(is_new=False, is_settled=True)
        for each in honest:
            world.link(liar, each)
            each.peers[liar.id].source = "liar"
        liar.look = lambda: None  # type: ignore[method-assign]
        return liar

    def claim(self, world: World, liar: Life, address: str, settled: bool) -> None:
        record = liar.me.record
        if not record.automatic:
            return
        later = replace(
            record,
            revision=record.revision + 1,
            addresses=(ip_interface(f"{address}/29"),),
            settled=settled,
        )
        liar.me._record = later
        for node_id in liar.peers:
            world.send(liar.id, node_id, later)
