"""A roster among lying members, who hold the secret and may send anything.

The bytes decide which link comes up with which record, who vouches for, introduces and asks for
whom, and which links break. The liars are not constrained. The roster must issue only commands that
can be carried out, route an address only to a node that claims it, never route our own addresses to
a peer, and hold no state without a bound and a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_interface, ip_network

from fuzz.choices import Choices
from tunmesh.addresses import Address, is_host
from tunmesh.membership import commands, roster
from tunmesh.membership.commands import Command
from tunmesh.membership.me import Me
from tunmesh.membership.node_links import MAX_SPARES
from tunmesh.membership.roster import Roster
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.messages import BYE_REASONS
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_INTRODUCED

NETWORK = ip_network("10.0.0.0/24")
IDS = tuple(f"{number:032x}" for number in range(8))
HONEST, ME = IDS[2], IDS[3]
LIARS = tuple(node_id for node_id in IDS if node_id not in (HONEST, ME))
STALE = 13  # the kind of gossip that is handled as if it were the first
CROWD = 1500  # unknown nodes that one gossip may vouch for
# Ours, the honest node's, another node's, the network's own, its broadcast, one of another network.
ADDRESSES = tuple(
    ip_interface(f"{host}/24")
    for host in ("10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.0", "10.0.0.255", "192.0.2.1")
)
_REASONS = sorted(BYE_REASONS)


class Line:
    """A link as the roster sees it."""

    def __init__(self, record: NodeRecord) -> None:
        self.record = record
        self.is_open = True


def record_of(node_id: str, choices: Choices) -> NodeRecord:
    return NodeRecord(
        id=node_id,
        name=choices.pick(("me", "a", "b")),
        started=choices.number(4),
        url="https://a:1",
        addresses=tuple(choices.some(ADDRESSES)) or ADDRESSES[1:2],
        version="0",
    )


def check(data: bytes) -> None:
    choices = Choices(data)
    story = Story(choices)
    while choices:
        story.step()
        story.check_honest()
        if not story.crowds:  # counting crowds after every step would take most of the time
            story.check_bounds()
    story.check_bounds()
    for line in (*story.lines, story.honest):
        story.run(story.roster.link_lost(line, "lost"))
    assert not story.roster.nodes_known, "hearsay of nobody"
    assert not story.joined and not story.routes and not story.dials


class Story:
    """One roster, and the node around it as far as the roster is concerned."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.me = NodeRecord(ME, "me", 2, "https://me:1", ADDRESSES[:1], "0")
        self.roster: Roster[Line] = Roster(Me(self.me), [NETWORK])
        self.lines: list[Line] = []
        self.joined: dict[str, Line] = {}
        self.records: dict[str, NodeRecord] = {}  # by which each of them joined
        self.routes: dict[Address, str] = {}
        self.dials: set[str] = set()
        self.crowds = 0
        self.generations = 0
        self.honest = Line(NodeRecord(HONEST, "honest", 1, "https://h:1", ADDRESSES[1:2], "0"))
        self.run(self.roster.authenticated(self.honest, self.honest.record, True))

    def step(self) -> None:
        """One random event."""
        choices = self.choices
        kind = choices.number(10)
        if kind < 2 or not self.lines:
            node_id = choices.pick(LIARS)
            line = Line(record_of(node_id, choices))
            self.lines.append(line)
            self.run(self.roster.authenticated(line, line.record, bool(choices.number(2))))
            if self.roster.is_linked(node_id):
                self.dials.discard(node_id)
            return
        line = choices.pick(self.lines)
        match kind:
            case 2 | 3:
                self.run(self.roster.gossip_received(line, self.gossip()))
            case 4:
                ids = choices.some(IDS) * choices.number(4)
                self.run(self.roster.inquiry_received(line, ids))
            case 5 | 6:
                records = [record_of(node_id, choices) for node_id in choices.some(IDS)]
                self.run(self.roster.introduction_received(line, records))
            case 7:
                self.run(self.roster.bye_received(line, choices.pick(_REASONS)))
            case 8:
                self.run(self.roster.probed(line, bool(choices.number(2))))
            case 9:
                self.lines.remove(line)
                self.run(self.roster.link_lost(line, "lost"))
        if choices.number(4) == 0:
            self.run(self.roster.gossip())
        if choices.number(8) == 0:
            self.run(self.roster.hearsay.answers_overdue())

    def gossip(self) -> Gossip:
        linked = tuple(self.choices.some(IDS))
        lost = tuple(self.choices.some(IDS))
        kind = self.choices.number(16)
        if kind == 15 and self.crowds < 4:
            self.crowds += 1
            first = self.crowds * CROWD
            linked += tuple(f"{number:032x}" for number in range(first, first + CROWD))
        if kind % 2 == 0:
            return Gossip(0, linked, lost)
        self.generations += 1
        return Gossip(1 if kind == STALE else self.generations, linked, lost)

    def run(self, wanted: Iterable[Command[Line]]) -> None:
        for command in wanted:
            self._do(command)

    def _do(self, command: Command[Line]) -> None:
        """Carry out a command as a node does, and check it."""
        match command:
            case commands.Dial(record):
                assert record.id != ME
                assert record.id not in self.joined
                self.dials.add(record.id)
            case commands.Forget(node_id):
                self.dials.discard(node_id)
            case commands.Join(line):
                assert line.record.id not in self.joined
                self.joined[line.record.id] = line
                self.records[line.record.id] = line.record
            case commands.Switch(line):
                assert line.record.id in self.joined
                self.joined[line.record.id] = line
            case commands.Part(line, _):
                assert self.joined.pop(line.record.id) is line
            case commands.Route(address, line):
                assert line.record.id in self.joined
                owner = self.records[line.record.id]
                assert is_host(address, NETWORK)
                assert address in [claimed.ip for claimed in owner.addresses]
                assert address not in [own.ip for own in self.me.addresses]
                self.routes[address] = owner.id
            case commands.Unroute(address):
                del self.routes[address]
            case commands.Ask(line, ids):
                assert self.joined[line.record.id] is line
                assert 1 <= len(ids) <= MAX_INTRODUCED
                assert ME not in ids
            case commands.Introduce(_, ids):
                assert set(ids) <= self.joined.keys()
            case commands.Tell(line, gossip):
                assert self.joined[line.record.id] is line
                assert ME not in gossip.linked
            case commands.Refuse(line, refusal):
                own = {str(own.ip) for own in self.records[line.record.id].addresses}
                assert set(refusal.addresses) <= own
                assert line is not self.honest
            case commands.Close(line, _) | commands.Retire(line):
                assert line.is_open, "closed twice"
                line.is_open = False
            case commands.Probe(line):
                assert self.joined[line.record.id] is line

    def check_honest(self) -> None:
        """Whatever was claimed, the honest node is linked, and its address is routed to it."""
        assert self.joined[HONEST] is self.honest
        assert self.honest.is_open
        assert self.routes[ADDRESSES[1].ip] == HONEST

    def check_bounds(self) -> None:
        inside, hearsay, claims = self.roster, self.roster.hearsay, self.roster.claims
        assert {record.id for record in inside.linked()} == self.joined.keys()
        assert set(self.routes.values()) <= self.joined.keys()
        assert len(inside._links) <= (1 + MAX_SPARES) * len(self.joined)
        assert len(hearsay._known) <= roster.MAX_NODES
        assert len(claims._queues) <= len(ADDRESSES)
        assert self.dials <= hearsay._known.keys()
        assert self.dials.isdisjoint(self.joined)
        vouches = Counter(
            node_id for each in hearsay._vouchers.values() for node_id in each.vouches
        )
        assert vouches == {node_id: known.vouchers for node_id, known in hearsay._known.items()}
        for node_id, known in hearsay._known.items():
            # A node that can be asked can answer: it still vouches for that node.
            asked = hearsay._vouchers.get(known.asked)
            assert known.record or asked is None or node_id in asked.vouches
        for line in claims._queues.values():
            assert line and len(line) == len(set(line))
            assert set(line) <= {ME} | self.joined.keys()
