"""Rosters against a world that does its worst.

Hypothesis starts, kills and restarts nodes, dials, cuts connections and delivers messages one by
one in any order it likes. After every step each roster must be sane; once the world calms down,
the mesh must be whole.

The world is as small as it can be: a connection is two `End`s with a queue of messages each, which
do what tunmesh.link does (handshake, probe, retire, close); a `Life` is one process of a node,
which carries out commands as tunmesh.node does. Time does not exist: whatever a timer would do may
happen at any moment.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_interface, ip_network
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial import unittest

from tunmesh.commands import (
    Address,
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
from tunmesh.messages import LEAVING, REPLACED, Gossip, NodeRecord, Refusal
from tunmesh.roster import Roster

NETWORK = ip_network("10.0.0.0/24")
NAMES = 5
MAX_LIVES = 6
CALM = 300  # rounds of everything, after which the mesh must be at rest


@dataclass(frozen=True)
class Hello:
    """The last message of the handshake in either direction: who the sender is."""


@dataclass(frozen=True)
class Ping:
    pass


@dataclass(frozen=True)
class Pong:
    pass


@dataclass(frozen=True)
class Bye:
    reason: str


@dataclass(frozen=True)
class Inquiry:
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Introduction:
    records: tuple[NodeRecord, ...]


@dataclass(frozen=True)
class Lost:
    """The connection is gone. It comes last, after whatever still arrives."""


Message = Hello | Ping | Pong | Bye | Gossip | Inquiry | Introduction | Refusal | Lost


class State(Enum):
    HANDSHAKE = auto()
    UP = auto()
    RETIRING = auto()
    CLOSED = auto()
    GONE = auto()


class End:
    """One end of a connection: tunmesh.link without bytes and time."""

    other: End

    def __init__(self, owner: Life, target: str) -> None:
        self.owner = owner
        self.target = target  # the id that it was dialed for
        self.dialed = False
        self.state = State.HANDSHAKE
        self.inbox: deque[Message] = deque()
        self.cut = False
        self.probing = False
        self._bye_said = False
        self._bye_heard = False
        owner.ends.append(self)

    @property
    def deaf(self) -> bool:
        """Whether a probe will never be answered."""
        return self.cut or self.other.state in (State.CLOSED, State.GONE)

    @property
    def peer(self) -> NodeRecord:
        return self.other.owner.record

    def send(self, message: Message) -> None:
        if not self.cut and self.state not in (State.CLOSED, State.GONE):
            self.other.inbox.append(message)

    def probe(self) -> None:
        if not self.probing:
            self.probing = True
            self.send(Ping())

    def retire(self) -> None:
        if self.state is State.UP:
            self.state = State.RETIRING
            self._bye_said = True
            self.send(Bye(REPLACED))
            if self._bye_heard:
                self._hang_up()

    def close(self, reason: str) -> None:
        if self.state in (State.UP, State.RETIRING):
            self.send(Bye(reason))
        if self.state not in (State.CLOSED, State.GONE):
            self._hang_up()

    def lose(self, in_flight: bool) -> None:
        """The connection breaks; each end learns of it in its own time."""
        for end in (self, self.other):
            end.cut = True
            if not in_flight:
                end.inbox.clear()
            end.inbox.append(Lost())

    def _hang_up(self) -> None:
        self.send(Lost())
        self.state = State.CLOSED
        self.inbox.clear()
        self.inbox.append(Lost())

    def receive(self) -> None:
        """Take the next message."""
        message = self.inbox.popleft()
        if self.state is State.GONE:
            return
        if isinstance(message, Lost):
            was, self.state = self.state, State.GONE
            self.owner.link_lost(self, was)
            self.answered(False)
        elif self.state is not State.CLOSED:
            self._take(message)

    def _take(self, message: Message) -> None:
        roster = self.owner.roster
        match message:
            case Hello():
                if not self.dialed:
                    self.send(Hello())
                self.state = State.UP
                self.owner.link_up(self)
            case Ping():
                self.send(Pong())
            case Pong():
                self.answered(True)
            case Gossip():
                self.owner.run(roster.told(self, message))
            case Inquiry(ids):
                self.owner.run(roster.asked(self, ids))
            case Introduction(records):
                self.owner.run(roster.introduced(self, records))
            case Refusal():
                self.owner.refused(self, message)
            case Bye(reason):
                self._bye_heard = True
                self.owner.run(roster.bye(self, reason))
                if reason != REPLACED or self._bye_said:
                    self.close("")

    def answered(self, alive: bool) -> None:
        if self.probing:
            self.probing = False
            self.owner.run(self.owner.roster.probed(self, alive))


class Life:
    """One life of a node: tunmesh.node without packets."""

    def __init__(self, record: NodeRecord) -> None:
        self.record = record
        self.roster: Roster[End] = Roster(record, [NETWORK])
        self.alive = True
        self.ends: list[End] = []
        self.peers: dict[str, End] = {}
        self.routes: dict[Address, str] = {}
        self.refusals: dict[str, tuple[str, ...]] = {}  # by peer, of our addresses
        self.dials: dict[str, NodeRecord] = {}
        self.dialing: set[str] = set()  # those with an attempt under way
        self.parted = 0

    def dial(self, other: Life, target: str) -> None:
        ours, theirs = End(self, target), End(other, "")
        ours.other, theirs.other = theirs, ours
        ours.dialed = True
        ours.send(Hello())

    def link_up(self, end: End) -> None:
        self.run(self.roster.authenticated(end, end.peer, end.dialed))
        self.dials.pop(end.peer.id, None)
        if end.peer.id == end.target:
            self.dialing.discard(end.target)

    def link_lost(self, end: End, was: State) -> None:
        self.ends.remove(end)
        if was is State.HANDSHAKE:
            self.dialing.discard(end.target)
        self.run(self.roster.link_lost(end, "lost"))

    def refused(self, end: End, refusal: Refusal) -> None:
        if self.roster.hears(end):
            self.refusals[end.peer.id] = refusal.addresses

    def end(self, reason: str | None) -> None:
        """Leave with a bye, or just die."""
        for end in self.ends:
            if reason is not None:
                end.close(reason)
            else:
                end.lose(in_flight=True)
        self.alive = False

    def run(self, commands: Iterable[Command[End]]) -> None:
        for command in commands:
            self._do(command)

    def _do(self, command: Command[End]) -> None:
        match command:
            case Dial(record):
                self.dials[record.id] = record
            case Forget(node_id):
                self.dials.pop(node_id, None)
                self.dialing.discard(node_id)
            case Join(end):
                assert end.peer.id not in self.peers
                self.peers[end.peer.id] = end
            case Switch(end):
                assert end.peer.id in self.peers
                self.peers[end.peer.id] = end
            case Part(end):
                assert self.peers.pop(end.peer.id) is end
                self.refusals.pop(end.peer.id, None)
                self.parted += 1
            case Route(address, end):
                assert end.peer.id in self.peers
                self.routes[address] = end.peer.id
            case Unroute(address):
                del self.routes[address]
            case Tell(end, gossip):
                end.send(gossip)
            case Ask(end, ids):
                end.send(Inquiry(ids))
            case Introduce(end, records):
                end.send(Introduction(records))
            case Refuse(end, refusal):
                end.send(refusal)
            case Retire(end):
                end.retire()
            case Close(end, reason):
                end.close(reason)
            case Probe(end):
                end.probe()


class World(RuleBasedStateMachine):
    """The lives that there are, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.ids: Iterator[int] = count(1)
        self.faulty = False  # whether anything happened for which a node may lose another one

    # --- what may happen ---

    @precondition(lambda self: len(self.lives) < MAX_LIVES)
    @rule(
        name=st.integers(1, NAMES),
        claim=st.none() | st.integers(1, NAMES),
        host=st.integers(0, 1),
        late=st.integers(-2, 2),
        id_first=st.booleans(),
    )
    def start(self, name: int, claim: int | None, host: int, late: int, id_first: bool) -> None:
        """A node starts, perhaps while an earlier life of it goes on at another host, perhaps with
        somebody else's address too, perhaps with a clock that is wrong."""
        url = f"https://n{name}-{host}:1"
        number = next(self.ids)
        for life in self.lives:
            self.faulty |= life.record.name == f"n{name}"
            if life.record.url == url:
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
                )
            )
        )

    @precondition(lambda self: len(self.lives) > 1)
    @rule(one=st.integers(0, 99), other=st.integers(1, 99))
    def bootstrap(self, one: int, other: int) -> None:
        """A node dials any other: by a bootstrap URL, or to renew the link."""
        one %= len(self.lives)
        other = (one + 1 + other % (len(self.lives) - 1)) % len(self.lives)
        self.lives[one].dial(self.lives[other], "")

    @precondition(lambda self: self.dials())
    @rule(which=st.integers(0, 99))
    def dial(self, which: int) -> None:
        """A dialer tries again."""
        dials = self.dials()
        self.attempt(*dials[which % len(dials)])

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
        """A connection breaks, or a timeout gives it up."""
        ends = self.ends()
        ends[which % len(ends)].lose(in_flight)
        self.faulty = True

    @precondition(lambda self: self.deaf_probes())
    @rule(which=st.integers(0, 99))
    def time_out(self, which: int) -> None:
        """A probe remains without an answer."""
        ends = self.deaf_probes()
        ends[which % len(ends)].answered(False)

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99))
    def flush(self, which: int) -> None:
        """A node tells its news."""
        life = self.lives[which % len(self.lives)]
        life.run(life.roster.gossip())

    @precondition(lambda self: self.lives)
    @rule(which=st.integers(0, 99), reason=st.sampled_from([None, LEAVING]))
    def stop(self, which: int, reason: str | None) -> None:
        """A node dies, or leaves."""
        self.remove(self.lives[which % len(self.lives)], reason)

    # --- the world ---

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
            and any(other.record.url == record.url for other in self.lives)
        ]

    def attempt(self, life: Life, record: NodeRecord) -> None:
        """Whoever listens at that URL now is dialed."""
        life.dialing.add(record.id)
        for other in self.lives:
            if other.record.url == record.url:
                life.dial(other, record.id)

    def remove(self, life: Life, reason: str | None) -> None:
        life.end(reason)
        self.faulty = True
        self.lives = [other for other in self.lives if other is not life]

    def superseded(self, life: Life) -> bool:
        return any(
            other.record.name == life.record.name and born(other) > born(life)
            for other in self.lives
        )

    def settle(self) -> None:
        """No more faults: everything on its way arrives, every dialer gets its turn."""
        for _ in range(CALM):
            if not (self._talk() or self._bootstrap() or self._give_up_retiring()):
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
        return bool(dials or waiting or probes)

    def _bootstrap(self) -> bool:
        """Everybody's bootstrap URL is that of the first node."""
        standing = [life for life in self.lives if not self.superseded(life)]
        lonely = [life for life in standing[1:] if standing[0].record.id not in life.peers]
        for life in lonely:
            life.dial(standing[0], "")
        return bool(lonely)

    def _give_up_retiring(self) -> bool:
        stuck = [end for end in self.ends() if end.state is State.RETIRING]
        for end in stuck:
            end.lose(in_flight=True)
        return bool(stuck)

    # --- what must be so ---

    @invariant()
    def nobody_is_routed_without_a_link(self) -> None:
        for life in self.lives:
            assert set(life.routes.values()) <= life.peers.keys()
            assert all(end.state is State.UP for end in life.peers.values())
            assert {r.id for r in life.roster.linked()} == life.peers.keys()
            own = {address.ip for address in life.record.addresses}
            assert own.isdisjoint(life.routes)

    @invariant()
    def nothing_is_kept_without_a_reason(self) -> None:
        for life in self.lives:
            roster = life.roster
            assert all(end.state is State.UP for end in roster._links)
            assert life.peers.keys() == set(roster._links.values())
            assert len(roster._links) <= 2 * len(life.peers)
            for line in roster._claims.values():
                assert line
                assert len(line) == len(set(line))
                assert set(line) <= {life.record.id} | life.peers.keys()
            vouches = Counter(
                node_id for peer in roster._peers.values() for node_id in peer.vouches
            )
            assert vouches == {i: known.vouchers for i, known in roster._known.items()}
            assert life.dials.keys() <= roster._known.keys()
            assert life.dials.keys().isdisjoint(life.peers)

    def teardown(self) -> None:
        self.settle()
        self.nobody_is_routed_without_a_link()
        self.nothing_is_kept_without_a_reason()
        standing = [life for life in self.lives if not self.superseded(life)]
        for life in self.lives:
            others = [other for other in standing if other is not life]
            if life in standing:
                self.check_whole(life, others)
            else:
                assert life.peers.keys().isdisjoint(other.record.id for other in standing)
                assert not life.dials
        assert self.faulty or not any(life.parted for life in self.lives)

    def check_whole(self, life: Life, others: list[Life]) -> None:
        """This life is linked with all the others, and they agree on everything."""
        assert life.peers.keys() == {other.record.id for other in others}
        assert life.roster.nodes_known == len(others)
        assert all(known.record is not None for known in life.roster._known.values())
        assert not life.dials
        assert set(life.ends) == set(life.peers.values())
        for other in others:
            assert life.peers[other.record.id].other is other.peers[life.record.id]
            assert other.refusals.get(life.record.id, ()) == refused_addresses(life, other)
        for address in {a.ip for other in others for a in other.record.addresses}:
            claimants = {
                other.record.id
                for other in (life, *others)
                if address in [a.ip for a in other.record.addresses]
            }
            if life.record.id not in claimants:
                assert life.routes[address] in claimants


def refused_addresses(life: Life, other: Life) -> tuple[str, ...]:
    """What `life` should tell `other`. The later of two claimants does not complain."""
    refused = {a.ip for a in other.record.addresses if life.routes.get(a.ip) != other.record.id}
    if born(life) > born(other):
        refused -= {a.ip for a in life.record.addresses}
    return tuple(sorted(map(str, refused)))


def born(life: Life) -> tuple[int, str]:
    return life.record.started, life.record.id


class Meshes(unittest.TestCase):
    def test_any_history(self) -> None:
        """Whatever happened before, a mesh that is left in peace becomes whole."""
        run_state_machine_as_test(
            World, settings=settings(max_examples=100, stateful_step_count=60, deadline=None)
        )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(["dial", "be dialed", 0, 1, 2, 3, 4, 5]), max_size=40))
    def test_peace(self, steps: list[str | int]) -> None:
        """Two nodes that dial each other again and again (two at once), and lose no
        connection, are never without a link once they have one."""
        world = World()
        for name in (1, 2):
            world.start(name=name, claim=None, host=0, late=0, id_first=False)
        for step in steps:
            if isinstance(step, str) and len(world.ends()) < 4:
                world.bootstrap(one=step == "be dialed", other=1)
            elif isinstance(step, int) and world.waiting():
                world.deliver(which=step, many=1)
        world.settle()
        for life in world.lives:
            self.assertEqual(life.parted, 0)
            self.assertEqual(len(life.ends), 1)
