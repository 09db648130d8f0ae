"""Rosters and routing tables in a hostile world.

Hypothesis starts, kills and restarts nodes, dials, cuts connections, cuts the network in two and
heals it, sends packets with right and wrong sources, and delivers messages one by one: in any order
but that of each connection. After every step each roster must be consistent, and no packet may have
come to or from the wrong node; once the world calms down, the mesh must be whole, and carry packets
between all nodes.

Some of the nodes are behind NAT: they can only dial, so that a link with them depends on one of its
ends alone. Some may lie about others, or pose as others, and newcomers may bootstrap from them.
They do so to the end, and all honest nodes that can be linked have to find each other all the same;
everything else is checked when the liars are gone.

The world is as small as it can be: see tests/support/roster_world.py. TUNMESH_EXAMPLES=5000 tries
that many histories instead of the few that every run of the tests has time for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import count, permutations
from typing import Any

from hypothesis import given, settings
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

from tests import examples
from tests.support.roster_world import INVENTED, End, Liar, Life, State, are_lives, born
from tunmesh.addresses import Target
from tunmesh.membership.hearsay import MAX_NODES, Hearsay
from tunmesh.membership.node_links import MAX_SPARES
from tunmesh.membership.reservations import KEPT, TENURE
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.messages import LEAVING
from tunmesh.wire.records import NodeRecord

NAMES = 5
AT = st.sampled_from(["its own", "elsewhere", "own name"])  # where a liar says that it is
MANNERS = ["truth", "silence", "forgery", "forgery"]
MAX_LIVES = 6
FLOATING = ip_address("10.0.0.30")
CALM = 300  # rounds of everything, after which the mesh must be at rest
EXAMPLES = examples(100)


class World(RuleBasedStateMachine):
    """The lives that there are, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.ids: Iterator[int] = count(1)
        self.faulty = False  # whether anything happened for which a node may lose another one
        self.has_bootstrap = True
        self.acquainted: list[set[Life]] = []  # in the end: those that must find each other
        self.dead: list[str] = []

    @initialize(has_bootstrap=st.booleans())
    def begin(self, has_bootstrap: bool) -> None:
        """In the end there is a node that all bootstrap from, or it is gone for good."""
        self.has_bootstrap = has_bootstrap

    # --- what may happen ---

    @precondition(lambda self: len(self.lives) < MAX_LIVES)
    @rule(
        name=st.integers(1, NAMES),
        claim=st.none() | st.integers(1, NAMES),
        host=st.integers(0, 1),
        late=st.integers(-2, 2),
        id_first=st.booleans(),
        listens=st.sampled_from([True, True, False]),
    )
    def start(
        self,
        name: int,
        claim: int | None = None,
        host: int = 0,
        late: int = 0,
        id_first: bool = False,
        listens: bool = True,
    ) -> None:
        """A node starts, perhaps while an earlier incarnation goes on at another host, perhaps with
        somebody else's address too, perhaps with a clock that is wrong, perhaps behind NAT."""
        url = f"https://n{name}-{host}:1"
        number = next(self.ids)
        for life in self.lives:
            self.faulty |= life.record.name == f"n{name}"
            if life.record.url == url and (life.listens or not isinstance(life, Liar)):
                self.remove(life, None)
        self.lives.append(
            Life(
                NodeRecord(
                    id=f"{999 - number if id_first else number:032x}",
                    name=f"n{name}",
                    started=number + late,
                    url=url,
                    addresses=tuple(
                        ip_interface(f"10.0.0.{last}/24") for last in (name, claim) if last
                    ),
                    version="0",
                ),
                listens,
            )
        )

    @precondition(lambda self: len(self.lives) < MAX_LIVES)
    @rule(host=st.integers(0, 1), listens=st.sampled_from([True, True, False]))
    def start_automatic(self, host: int, listens: bool) -> None:
        """A node starts that chooses its address itself."""
        number = next(self.ids)
        record = NodeRecord(
            id=f"{number:032x}",
            name=f"auto{number}",
            started=number,
            url=f"https://auto{number}-{host}:1",
            addresses=(),
            version="0",
            automatic=(4,),
        )
        self.lives.append(Life(record, listens))

    @precondition(lambda self: any(life.record.automatic for life in self.lives))
    @rule(which=st.integers(0, 99), place=st.none() | st.integers(0, 3))
    def choose(self, which: int, place: int | None) -> None:
        """It claims another address, or none."""
        automatic = [life for life in self.lives if life.record.automatic]
        life = automatic[which % len(automatic)]
        last = 50 + 4 * int(life.record.id, 16) % 200 + (place or 0)
        address = ip_interface(f"10.0.0.{last}/24")
        life.me.use_addresses((address,) if place is not None else ())

    @precondition(lambda self: self.lives)
    @rule(
        which=st.integers(0, 99),
        number=st.none() | st.integers(1, 3),
        is_held=st.booleans(),
    )
    def claim_floating(self, which: int, number: int | None, is_held: bool) -> None:
        """A node claims a floating address, or what belongs to another node as one, says that it
        holds it, or gives it up. It may say so of any, whoever has it."""
        life = self.lives[which % len(self.lives)]
        claims = () if number is None else (FloatingClaim(FLOATING, number, is_held),)
        life.me.use_floating(claims)

    @precondition(lambda self: len(self.lives) < MAX_LIVES and self.honest())
    @rule(
        model=st.integers(0, 99),
        late=st.integers(-9, 9),
        id_first=st.booleans(),
        at=AT,
        manner=st.sampled_from(MANNERS),
    )
    def start_liar(self, model: int, late: int, id_first: bool, at: str, manner: str) -> None:
        """A liar starts: with a place of its own, or as another incarnation of a node, at the same
        URL or elsewhere."""
        number = next(self.ids)
        honest = self.honest()
        record = honest[model % len(honest)].record
        if at != "its own":
            record = replace(record, url=f"https://n{number}-liar:1")
        if at == "own name":
            address = (ip_interface("10.0.0.99/24"),)
            record = replace(record, name=f"liar{number}", addresses=address)
        record = replace(
            record,
            revision=0,
            floating=(),
            id=f"{999 - number if id_first else number:032x}",
            started=max(0, record.started + late),
        )
        self.lives.append(Liar(record, at == "its own", manner))
        self.faulty = True

    @precondition(lambda self: self.liars())
    @rule(which=st.integers(0, 99), manner=st.sampled_from(MANNERS), mask=st.integers(0, 2**9 - 1))
    def lie(self, which: int, manner: str, mask: int) -> None:
        """A liar vouches for nodes that exist, that are dead, or that never existed."""
        liars = self.liars()
        liar = liars[which % len(liars)]
        liar.manner = manner
        ids = [*self.dead[-2:], INVENTED, *(life.record.id for life in self.lives)]
        liar.tell(each for bit, each in enumerate(ids) if mask >> bit & 1)

    @precondition(lambda self: len(self.lives) > 1)
    @rule(one=st.integers(0, 99), other=st.integers(1, 99))
    def bootstrap(self, one: int, other: int) -> None:
        """A node dials any other: by a bootstrap URL, or to renew the link."""
        one %= len(self.lives)
        other = (one + 1 + other % (len(self.lives) - 1)) % len(self.lives)
        self.connect(self.lives[one], self.lives[other], "")

    @precondition(lambda self: self.dials())
    @rule(which=st.integers(0, 99))
    def dial(self, which: int) -> None:
        """A dialer makes an attempt."""
        dials = self.dials()
        self.attempt(*dials[which % len(dials)])

    @precondition(lambda self: self.redials())
    @rule(which=st.integers(0, 99))
    def redial(self, which: int) -> None:
        """A node dials one that it lost."""
        redials = self.redials()
        self.seek(*redials[which % len(redials)])

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 99), many=st.integers(1, 4))
    def deliver(self, which: int, many: int) -> None:
        """Some messages arrive."""
        ends = self.waiting()
        end = ends[which % len(ends)]
        for _ in range(many):
            if end.inbox:
                end.receive()

    @precondition(lambda self: self.ends())
    @rule(which=st.integers(0, 99), in_flight=st.booleans())
    def cut(self, which: int, in_flight: bool) -> None:
        """A connection breaks, or a timeout ends it."""
        ends = self.ends()
        ends[which % len(ends)].lose(in_flight)
        self.faulty = True

    @precondition(lambda self: len(self.lives) > 1)
    @rule(rounds=st.integers(1, 6), which=st.integers(0, 99))
    def calm(self, rounds: int, which: int) -> None:
        """For a while nothing goes wrong, or hardly any node would ever have a link to lose.
        Everybody bootstraps from one node, which may be a liar."""
        listening = [life for life in self.lives if life.listens]
        for _ in range(rounds):
            if not self._talk() and listening:
                self._bootstrap(listening[which % len(listening)])

    @precondition(lambda self: len(self.lives) > 1)
    @rule(sides=st.integers(1, 2**MAX_LIVES - 1))
    def part(self, sides: int) -> None:
        """The network is partitioned: connections across are lost, and nobody can be dialed
        across."""
        for bit, life in enumerate(self.lives):
            life.side = sides >> bit & 1
        for end in self.ends():
            if end.owner.side != end.other.owner.side and not end.cut:
                end.lose(in_flight=False)
        self.faulty = True

    @precondition(lambda self: any(life.side for life in self.lives))
    @rule()
    def heal(self) -> None:
        """The partition ends."""
        for life in self.lives:
            life.side = 0

    @precondition(lambda self: len(self.lives) > 1)
    @rule(which=st.integers(0, 99), third=st.none() | st.integers(1, NAMES), astray=st.booleans())
    def send(self, which: int, third: int | None, astray: bool) -> None:
        """A node sends a packet to everybody, perhaps with the source address of another one,
        perhaps on links that do not lead there."""
        sender = self.lives[which % len(self.lives)]
        own = [*sender.record.addresses, ip_interface("10.0.0.200/24")]
        source = ip_interface(f"10.0.0.{third}/24") if third else own[0]
        for last in range(1, NAMES + 1):
            sender.send(source.ip, ip_address(f"10.0.0.{last}"), astray)

    @precondition(lambda self: self.deaf_probes())
    @rule(which=st.integers(0, 99))
    def time_out(self, which: int) -> None:
        """A probe is not answered."""
        ends = self.deaf_probes()
        ends[which % len(ends)].answered(False)

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99), is_new=st.booleans(), is_settled=st.booleans())
    def stand(self, which: int, is_new: bool, is_settled: bool) -> None:
        """A node settles, or is on probation again; what it says of that may be a lie."""
        self.lives[which % len(self.lives)].seniority_changed(is_new, is_settled)

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99), seconds=st.sampled_from([1.0, TENURE, KEPT]))
    def wait(self, which: int, seconds: float) -> None:
        """Time passes for a node."""
        roster = self.lives[which % len(self.lives)].roster
        roster.time_passed(roster.claims._now + seconds)

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def flush(self, which: int) -> None:
        """A node sends its gossip."""
        life = self.lives[which % len(self.lives)]
        life.run(life.roster.gossip())

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def ask_again(self, which: int) -> None:
        """A node looks whether its questions were answered."""
        life = self.lives[which % len(self.lives)]
        life.run(life.roster.hearsay.answers_overdue())

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99), reason=st.sampled_from([None, LEAVING]))
    def stop(self, which: int, reason: str | None) -> None:
        """A node dies, or leaves."""
        self.remove(self.lives[which % len(self.lives)], reason)

    # --- the world ---

    def honest(self) -> list[Life]:
        return [life for life in self.lives if not isinstance(life, Liar)]

    def liars(self) -> list[Liar]:
        return [life for life in self.lives if isinstance(life, Liar)]

    def connect(self, life: Life, other: Life, target: str) -> None:
        if life.side == other.side and other.listens:
            life.dial(other, target)

    def ends(self) -> list[End]:
        return [end for life in self.lives for end in life.ends]

    def waiting(self) -> list[End]:
        return [end for end in self.ends() if end.inbox]

    def deaf_probes(self) -> list[End]:
        return [end for end in self.ends() if end.probing and end.deaf]

    def dials(self) -> list[tuple[Life, NodeRecord]]:
        return [
            (life, record)
            for life in self.lives
            for record in life.dials.values()
            if record.id not in life.dialing
            and any(o.record.url == record.url and can_dial(life, o) for o in self.lives)
        ]

    def attempt(self, life: Life, record: NodeRecord) -> None:
        """Dial the node that listens at that URL now."""
        life.dialing.add(record.id)
        for other in self.lives:
            if other.record.url == record.url:
                self.connect(life, other, record.id)

    def redials(self) -> list[tuple[Life, Target]]:
        return [
            (life, target)
            for life in self.lives
            for target, _ in life.memory
            if target not in life.seeking
            and target not in [record.host_port for record in life.dials.values()]
            and any(o.record.host_port == target and can_dial(life, o) for o in self.lives)
        ]

    def seek(self, life: Life, target: Target) -> None:
        """Dial the node that listens at the URL of a lost one."""
        for other in self.lives:
            if other.record.host_port == target and can_dial(life, other):
                life.seeking.add(target)
                life.dial(other, "").sought = target

    def remove(self, life: Life, reason: str | None) -> None:
        life.end(reason)
        self.faulty = True
        self.lives = [other for other in self.lives if other is not life]
        self.dead.append(life.record.id)

    def settle(self) -> None:
        """No more faults: everything on its way arrives, every dialer makes its attempts."""
        self.heal()
        self.acquainted = connected(self.honest(), remembered_by)
        if self.liars():
            self._come_to_rest()
            self.check_honest()
        for liar in self.liars():
            self.remove(liar, None)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        for liar in self.liars():
            liar.manner = "silence" if liar.manner == "forgery" else liar.manner
        listening = [life for life in self.honest() if life.listens]
        first = listening[0] if listening and self.has_bootstrap else None
        for _ in range(CALM):
            if not (self._talk() or self._bootstrap(first) or self._time_passes()):
                return
        raise AssertionError("the mesh does not come to rest")

    def _talk(self) -> bool:
        for life in self.lives:
            life.run(life.roster.gossip())
        dials, waiting, probes = self.dials(), self.waiting(), self.deaf_probes()
        for end in waiting:
            while end.inbox:
                end.receive()
        for end in probes:
            end.answered(False)
        for life, record in dials:
            if record.id in life.dials:
                self.attempt(life, record)
        redials = self.redials()
        for life, target in redials:
            self.seek(life, target)
        return bool(dials or waiting or probes or redials)

    def _bootstrap(self, first: Life | None) -> bool:
        """Everybody dials this node."""
        if first is None:
            return False
        others = [life for life in self.lives if life is not first]
        lonely = [life for life in others if first.record.id not in life.peers]
        for life in lonely:
            self.connect(life, first, "")
        return bool(lonely)

    def _time_passes(self) -> bool:
        """Retired links are ended, overdue answers are given up."""
        for life in self.lives:
            life.run(
                [*life.roster.hearsay.answers_overdue(), *life.roster.hearsay.answers_overdue()]
            )
        stuck = [end for end in self.ends() if end.state is State.RETIRING]
        for end in stuck:
            end.lose(in_flight=True)
        return bool(stuck or self.waiting())

    # --- what must be so ---

    @invariant()
    def nobody_is_routed_without_a_link(self) -> None:
        for life in self.lives:
            assert set(life.routes.values()) <= life.peers.keys()
            assert all(end.state is State.UP for end in life.peers.values())
            assert {r.id for r in life.roster.linked()} == life.peers.keys()
            assert all(life.records[r.id].revision == r.revision for r in life.roster.linked())
            assert life.record.held.isdisjoint(life.routes)
            assert life.table.routes.keys() == {address.packed for address in life.routes}

    @invariant()
    def nothing_is_kept_without_a_reason(self) -> None:
        for life in self.lives:
            roster, hearsay = life.roster, life.roster.hearsay
            assert all(end.state is State.UP for end in roster._links)
            assert life.peers.keys() == set(roster._links.values())
            assert len(roster._links) <= (1 + MAX_SPARES) * len(life.peers)
            for line in roster.claims._queues.values():
                assert line
                assert len(line) == len(set(line))
                assert set(line) <= {life.record.id} | life.peers.keys()
            vouches = Counter(
                node_id for each in hearsay._vouchers.values() for node_id in each.vouches
            )
            assert vouches == {i: known.vouchers for i, known in hearsay._known.items()}
            assert len(hearsay._known) <= MAX_NODES
            for node_id, known in hearsay._known.items():
                # Who was asked who that is can still answer.
                asked = hearsay._vouchers.get(known.asked)
                assert known.record or asked is None or node_id in asked.vouches
            check_places(hearsay)
            assert life.dials.keys() <= hearsay._known.keys()
            assert life.dials.keys().isdisjoint(life.peers)

    def teardown(self) -> None:
        self.settle()
        self.nobody_is_routed_without_a_link()
        self.nothing_is_kept_without_a_reason()
        meshes = connected(self.lives, lambda life, lives: set())
        assert len(meshes) <= 1 or not self._is_bootstrapped()
        for group in self.acquainted:
            assert any(group <= mesh for mesh in meshes)
        for mesh in meshes:
            for life in mesh:
                self.check_whole(life, [other for other in mesh if other is not life])
            self.check_carried([life for life in self.lives if life in mesh])
            self.check_floating([life for life in self.lives if life in mesh])
        assert self.faulty or not any(life.parted for life in self.lives)

    @invariant()
    def whoever_was_linked_is_linked_or_remembered(self) -> None:
        for life in self.lives:
            known = [end.peer for end in life.peers.values()]
            known += [each.record for _, each in life.memory]
            for target, met in life.met.items():
                assert target == life.record.host_port or any(
                    each.host_port == target or are_lives(each, met) for each in known
                )
            assert life.peers.keys().isdisjoint(each.record.id for _, each in life.memory)

    def check_honest(self) -> None:
        """Whatever liars say, honest nodes that can find each other are linked."""
        for group in self.acquainted:
            for life, other in permutations(group, 2):
                assert other.record.id in life.peers or not can_link(life, other)
        if self._is_bootstrapped():
            for life, other in permutations(self.honest(), 2):
                assert other.record.id in life.peers or not can_link(life, other)

    def _is_bootstrapped(self) -> bool:
        return self.has_bootstrap and any(life.listens for life in self.honest())

    def check_whole(self, life: Life, others: list[Life]) -> None:
        """This life is linked with all the others that it can be linked with, it knows of the
        rest, and they agree on everything."""
        assert life.roster.nodes_known == len(others)
        apart = {other.record.id for other in others if not can_link(life, other)}
        others = [other for other in others if can_link(life, other)]
        assert life.peers.keys() == {other.record.id for other in others}
        assert all(known.record is not None for known in life.roster.hearsay._known.values())
        assert life.dials.keys() == apart
        assert set(life.ends) == set(life.peers.values())
        for other in others:
            assert life.peers[other.record.id].other is other.peers[life.record.id]
            assert other.refusals.get(life.record.id, ()) == refused_addresses(life, other)
            assert life.roster.record_of(other.record.id) in (
                other.record,
                replace(other.record, settled=True),
            )
        for address in {a.ip for other in others for a in other.record.addresses}:
            claimants = {
                other.record.id
                for other in (life, *others)
                if address in [a.ip for a in other.record.addresses]
            }
            if life.record.id not in claimants:
                holder = life.routes[address]
                assert holder in claimants
                records = {other.record.id: other.record for other in others}
                for each in claimants - {holder}:
                    if are_lives(records[each], records[holder]):
                        assert born(records[holder]) > born(records[each])

    def check_floating(self, standing: list[Life]) -> None:
        """Of the floating address all have the same queue of those that wait for it, and lead to
        the next one if nobody holds it."""
        for life in standing:
            seen = [life.record, *(life.records[i] for i in life.peers)]
            claimants = [each for each in seen if each.floating]
            holders = [each.id for each in claimants if each.floating[0].is_held]
            waiting = sorted((each for each in claimants if each.id not in holders), key=waits)
            queue = list(life.roster.claims.queue(FLOATING))
            assert set(queue[: len(holders)]) == set(holders)
            assert queue[len(holders) :] == [each.id for each in waiting]
            others = [each for each in queue[:1] if each != life.record.id]
            assert [life.routes[each] for each in [FLOATING] if each in life.routes] == others

    def check_carried(self, standing: list[Life]) -> None:
        """Packets pass between all addresses that only one node has."""
        claims = Counter(a.ip for life in standing for a in life.record.addresses)
        places = [
            (life, a) for life in standing for a in life.record.addresses if claims[a.ip] == 1
        ]
        for (life, source), (other, destination) in permutations(places, 2):
            if life is not other and can_link(life, other):
                other.accepted.clear()
                life.send(source.ip, destination.ip)
                other.peers[life.record.id].receive()
                (frame,) = other.accepted
                assert frame[22:30] == source.packed + destination.packed


def waits(record: NodeRecord) -> tuple[int, int, str]:
    """Less is next, among those that claim the floating address."""
    [claim] = record.floating
    return claim.number, *born(record)


def can_dial(life: Life, other: Life) -> bool:
    return other.listens and other.side == life.side


def can_link(life: Life, other: Life) -> bool:
    """Two nodes that are both behind NAT cannot dial each other."""
    return life.listens or other.listens


def check_places(hearsay: Hearsay[Any]) -> None:
    """Each node that is not linked takes a place of one of its vouchers. Those that others vouch
    for as well come first there."""
    places = hearsay._places
    unlinked = [each for each in hearsay._known.values() if each.id not in hearsay._vouchers]
    assert {i: set(used) for i, used in places._used.items()} == {
        charged: {each.id for each in unlinked if each.charged == charged}
        for charged in {each.charged for each in unlinked}
    }
    assert places._total == len(unlinked)
    assert {i: n for n, users in places._using.items() for i in users} == {
        i: len(used) for i, used in places._used.items()
    }
    assert all(places._using.values())
    for used in places._used.values():
        is_alone = [hearsay._known[each].vouchers == 1 for each in used]
        assert is_alone == sorted(is_alone)
    for node_id, known in hearsay._known.items():
        assert node_id in hearsay._vouchers[known.charged].vouches


def remembered_by(life: Life, lives: list[Life]) -> set[Life]:
    """Those that this one can dial because it remembers them."""
    return {other for other in lives if other.listens and other.record.host_port in life.memory}


def connects(end: End) -> bool:
    """Whether a link that this end believes in keeps the two nodes together: it lasts, or this node
    will dial the other one. (It does not if it cannot, or has found it in another incarnation.)"""
    life, other = end.owner, end.other.owner
    if not end.cut and other.peers.get(life.record.id) is end.other:
        return True
    others = (each.peer for each in life.peers.values())
    return other.listens and not any(are_lives(other.record, each) for each in others)


def connected(lives: list[Life], near: Callable[[Life, list[Life]], set[Life]]) -> list[set[Life]]:
    """The lives in groups that are connected by links or in this way."""
    groups: list[set[Life]] = []
    for life in lives:
        by_link = {end.other.owner for end in life.peers.values() if connects(end)} & set(lives)
        group = {life} | by_link | near(life, lives)
        touched = [other for other in groups if not group.isdisjoint(other)]
        groups = [other for other in groups if other not in touched]
        groups.append(group.union(*touched))
    return groups


def refused_addresses(life: Life, other: Life) -> tuple[str, ...]:
    """What `life` should tell `other`. The junior of two claimants refuses nothing to the
    senior."""
    refused = {a for a in other.record.claimed if life.routes.get(a) != other.record.id}
    if life.roster.claims.was_first(other.record.id):
        refused -= life.record.held & other.record.held
    return tuple(sorted(map(str, refused)))


class Meshes(unittest.TestCase):
    def test_any_history(self) -> None:
        """Whatever happened before, a mesh that is left in peace becomes whole."""
        run_state_machine_as_test(
            World, settings=settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None)
        )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(["dial", "be dialed", *range(8)]), max_size=40))
    def test_peace(self, steps: list[str | int]) -> None:
        """Two nodes that dial each other again and again (four at once), and lose no
        connection, are never without a link once they have one."""
        world = World()
        for name in (1, 2):
            world.start(name)
        for step in steps:
            if isinstance(step, str) and len(world.ends()) < 8:
                world.bootstrap(one=step == "be dialed", other=1)
            elif isinstance(step, int) and world.waiting():
                world.deliver(which=step, many=1)
        world.settle()
        for life in world.lives:
            self.assertEqual(life.parted, 0)
            self.assertEqual(len(life.ends), 1)

    def test_told_last_by_the_first_link(self) -> None:
        """Two links come up in a different order at each end, and the full sync on the first one
        arrives last. The node is heard on the other link all the same: here, a refusal."""
        world = World()
        for name, claim in ((1, None), (3, None), (2, 3)):
            world.start(name, claim)
            if name == 3:
                world.settle()  # it has the address that the next one claims as well
        dialer, _, listener = world.lives
        dialer.dial(listener, "")
        dialer.dial(listener, "")
        first, second = listener.ends
        second.receive()
        first.receive()
        first.other.receive()
        second.other.receive()
        for end in (second, first):
            while end.inbox:
                end.receive()
        world.teardown()
        self.assertEqual(listener.refusals[dialer.record.id], ("10.0.0.3",))

    def test_introduced_by_a_liar(self) -> None:
        """Two newcomers, one of them behind NAT, meet a liar first, which introduces them falsely
        or not at all. Once honest nodes vouch for them, too, they are linked."""
        for manner in ("silence", "forgery"):
            world = World()
            world.start(1)
            world.start_liar(model=0, late=0, id_first=False, at="own name", manner=manner)
            world.start(2)
            world.start(3, listens=False)
            _, liar, reachable, behind_nat = world.lives
            for newcomer in (reachable, behind_nat):
                world.connect(newcomer, liar, "")
            for _ in range(5):
                world._talk()
            self.assertNotIn(reachable.record.id, behind_nat.peers)
            world.teardown()
