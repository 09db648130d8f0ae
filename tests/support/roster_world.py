"""A model of nodes without bytes and without time, to test rosters and tables in.

A connection is two `End`s with a queue of messages each, which behave like link.link (handshake,
probe, retire, close). A `Life` is one process of a node: it carries out commands like node.node and
routes packets by a real table. Anything that a timer would do may happen at any moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from ipaddress import ip_network

from tests.packets.test_virtio import PLAIN, ip_packet
from tunmesh.addresses import Address, Target
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.table import Table
from tunmesh.membership.commands import (
    Ask,
    Close,
    Command,
    Dial,
    Forget,
    Introduce,
    Join,
    Part,
    Present,
    Probe,
    Refuse,
    Retire,
    Revise,
    Route,
    Switch,
    Tell,
    Unroute,
)
from tunmesh.membership.lost_nodes import LostNodes
from tunmesh.membership.me import Me
from tunmesh.membership.roster import Roster
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.messages import LEAVING, REPLACED, SELF
from tunmesh.wire.records import NodeRecord

NETWORK = ip_network("10.0.0.0/24")
INVENTED = f"{777:032x}"  # the id of a node that never existed


@dataclass(frozen=True)
class Hello:
    """The last message of the handshake in either direction: the sender's identity."""

    record: NodeRecord


@dataclass(frozen=True)
class Update:
    """The sender has another record."""

    record: NodeRecord


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
class Signed:
    """A record, and the id of the node that signed it: it is valid only for that node itself."""

    record: NodeRecord
    signer: str


@dataclass(frozen=True)
class Introduction:
    introduced: tuple[Signed, ...]


@dataclass(frozen=True)
class Data:
    """A packet behind its virtio header."""

    frame: bytes


@dataclass(frozen=True)
class Lost:
    """The connection is gone. Delivered last, after all pending messages."""


Message = (
    Hello | Update | Ping | Pong | Bye | Gossip | Inquiry | Introduction | Refusal | Data | Lost
)


class State(Enum):
    HANDSHAKE = auto()
    UP = auto()
    RETIRING = auto()
    CLOSED = auto()
    GONE = auto()


class End:
    """One end of a connection: link.link without bytes and time."""

    other: End

    def __init__(self, owner: Life, target: str) -> None:
        self.owner = owner
        self.target = target  # the id that it was dialed for
        self.sought: Target | None = None  # the remembered address of a node
        self.dialed = False
        self.is_reached = False  # it was dialed at the URL that the other end says it is at
        self.state = State.HANDSHAKE
        self.settled = owner.is_settled  # as sent in the handshake
        self.shown: NodeRecord | None = None  # of the owner, in the handshake
        self.seen: NodeRecord | None = None  # of the other end: the latest that came here
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
        return self.seen or self.other.owner.record

    def greet(self) -> None:
        self.shown = self.owner.record
        self.send(Hello(self.shown))

    def send(self, message: Message) -> None:
        message = self.owner.says(message)
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
        """The connection breaks; each end notices in its own time."""
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
        """Process the next message."""
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
            case Hello(record):
                self.seen = record
                if not self.dialed:
                    self.greet()
                self.state = State.UP
                self.owner.link_up(self)
            case Update(record):
                self.owner.update_received(self, record)
            case Ping():
                self.send(Pong())
            case Pong():
                self.answered(True)
            case Gossip():
                self.owner.run(roster.gossip_received(self, message))
                if message.full and roster.is_current(self):
                    self.owner.refusals.pop(self.peer.id, None)  # sent again, directly after
            case Inquiry(ids):
                self.owner.run(roster.inquiry_received(self, ids))
            case Introduction(introduced):
                wanted = [
                    each
                    for each in introduced
                    if roster.hearsay.awaits(self.peer.id, each.record.id)
                ]
                if all(each.signer == each.record.id for each in wanted):
                    self.owner.run(
                        roster.introduction_received(self, [each.record for each in wanted])
                    )
                else:
                    self.lose(in_flight=False)
            case Refusal():
                self.owner.refused(self, message)
            case Data(frame):
                self.owner.packet_arrived(self, frame)
            case Bye(reason):
                self._bye_heard = True
                self.owner.run(roster.bye_received(self, reason))
                if reason != REPLACED or self._bye_said:
                    self.close("")

    def answered(self, alive: bool) -> None:
        if self.probing:
            self.probing = False
            self.owner.run(self.owner.roster.probed(self, alive))


def born(record: NodeRecord) -> tuple[int, str]:
    return record.started, record.id


def are_lives(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether both are lives of one node."""
    addresses = {a.ip for a in one.addresses} & {a.ip for a in other.addresses}
    return one.name == other.name and bool(addresses)


class Life:
    """One life of a node: node.node without packets."""

    def says(self, message: Message) -> Message:
        """What it sends when it should send this."""
        return message

    def __init__(self, record: NodeRecord, listens: bool = True) -> None:
        self.listens = listens  # at its URL; else it is behind NAT, and can only dial
        self.source = record.url  # where it connects from: another host is another source
        self.me = Me(record)
        self.me.when_revised(self.revised)
        self.records: dict[str, NodeRecord] = {}  # of peers, the latest
        self.roster: Roster[End] = Roster(self.me, [NETWORK])
        self.alive = True
        self.ends: list[End] = []
        self.peers: dict[str, End] = {}
        self.routes: dict[Address, str] = {}
        self.table: Table[str] = Table(record.addresses, [NETWORK])
        self.accepted: list[bytes] = []  # packets that reached the tun
        self.is_new = True
        self.is_settled = False
        self.after: dict[str, bool] = {}  # by peer, whether we joined after it
        self.side = 0  # of a partitioned network
        self.refusals: dict[str, tuple[str, ...]] = {}  # by peer, of our addresses
        self.dials: dict[str, NodeRecord] = {}
        self.dialing: set[str] = set()  # targets with an attempt under way
        self.memory = LostNodes(lambda: record.host_port, lambda: 0.5)
        self.seeking: set[Target] = set()  # where a remembered node is being dialed
        self.met: dict[Target, NodeRecord] = {}  # all nodes that it was ever linked with
        self.parted = 0

    @property
    def record(self) -> NodeRecord:
        """What it says of itself, apart from whether it is settled."""
        return replace(self.me.record, settled=False)

    def revised(self) -> None:
        """It has another record."""
        self.table.readdress(self.record.addresses)
        held = self.record.held.difference(each.ip for each in self.record.addresses)
        self.table.hold(each.packed for each in held)
        own = set(map(str, self.record.claimed))
        for node_id, refused in self.refusals.items():
            self.refusals[node_id] = tuple(each for each in refused if each in own)
        self.run(self.roster.me_revised())

    def update_received(self, end: End, record: NodeRecord) -> None:
        """As node.links."""
        if not self.roster.is_linked(record.id):
            return
        before = self.records[record.id]
        if record.revision > before.revision:
            assert before.may_become(record)
            end.seen = record
            self.run(self.roster.update_received(end, record))

    def dial(self, other: Life, target: str) -> End:
        ours, theirs = End(self, target), End(other, "")
        ours.other, theirs.other = theirs, ours
        ours.dialed = True
        ours.greet()
        return ours

    def seniority_changed(self, is_new: bool, is_settled: bool) -> None:
        self.is_new, self.is_settled = is_new, is_settled
        self.me.seniority_changed(is_new, is_settled)

    def link_up(self, end: End) -> None:
        if end.peer.id == self.record.id:
            end.close(SELF)
            return
        said = replace(end.peer, settled=end.other.settled)
        if end.peer.id not in self.peers:
            ours, theirs = self.record, end.peer
            later = born(ours) > born(theirs)
            if are_lives(ours, theirs):
                self.after[theirs.id] = not later
            else:
                self.after[theirs.id] = said.settled if said.settled != self.is_settled else later
        end.is_reached = end.dialed and (bool(end.target) or end.sought is not None)
        assert end.shown is not None
        shown = replace(end.shown, settled=self.is_settled)
        self.run(self.roster.authenticated(end, said, end.dialed, shown, end.is_reached))
        self.dials.pop(end.peer.id, None)
        if end.peer.id == end.target:
            self.dialing.discard(end.target)
        if end.sought is not None:
            self.seeking.discard(end.sought)
            self.memory.answered(end.sought)

    def link_lost(self, end: End, was: State) -> None:
        self.ends.remove(end)
        if was is State.HANDSHAKE:
            self.dialing.discard(end.target)
            if end.sought is not None:
                self.seeking.discard(end.sought)
        self.run(self.roster.link_lost(end, "lost"))

    def refused(self, end: End, refusal: Refusal) -> None:
        if self.roster.is_current(end):
            self.refusals[end.peer.id] = refusal.addresses

    def send(self, source: Address, destination: Address, astray: bool = False) -> None:
        """Send a packet from this machine, with its own or another source address; `astray`: on
        every link, wherever it leads."""
        frame = PLAIN + ip_packet(str(source), str(destination), b"payload")
        batches, _ = self.table.outbound([frame])
        for node_id in batches:
            assert destination in self.records[node_id].claimed
        for node_id in self.peers if astray else list(batches):
            self.peers[node_id].send(Data(frame))

    def packet_arrived(self, end: End, frame: bytes) -> None:
        """Holds in every state of the mesh: a packet is accepted only from the peer that has its
        source address, and only by the node that has its destination."""
        theirs = [address.packed for address in self.records[end.peer.id].claimed]
        accepted, drops = self.table.inbound(end.peer.id, [memoryview(frame)])
        reasons = [reason for reason, _ in drops]
        source, destination = frame[22:26], frame[26:30]
        if accepted:
            self.accepted.append(frame)
            assert source in theirs
            assert destination in [address.packed for address in self.record.held]
        elif source not in theirs:
            assert reasons == [DropReason.SPOOFED_SOURCE]
        else:
            assert reasons in ([DropReason.SPOOFED_SOURCE], [DropReason.MISROUTED])

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
                self.records[end.peer.id] = end.peer
                self.memory.linked(end.peer, 0.0, end.other.owner.source, end.is_reached)
                self.met[end.peer.host_port] = end.peer
            case Revise(end):
                self.records[end.peer.id] = end.peer
                self.memory.revised(end.peer, end.other.owner.source)
                self.met[end.peer.host_port] = end.peer
            case Present(end):
                end.send(Update(self.me.record))
            case Switch(end):
                assert end.peer.id in self.peers
                self.peers[end.peer.id] = end
                self.memory.revised(end.peer, end.other.owner.source)
            case Part(end, reason):
                self.memory.parted(end.peer.id, reason == LEAVING, 0.0)
                assert self.peers.pop(end.peer.id) is end
                self.refusals.pop(end.peer.id, None)
                self.parted += 1
            case Route(address, end):
                assert end.peer.id in self.peers
                assert address in self.records[end.peer.id].claimed
                self.routes[address] = end.peer.id
                self.table.route(address.packed, end.peer.id)
            case Unroute(address):
                del self.routes[address]
                self.table.unroute(address.packed)
            case Tell(end, gossip):
                end.send(gossip)
            case Ask(end, ids):
                end.send(Inquiry(ids))
            case Introduce(end, ids):
                end.send(Introduction(tuple(Signed(self.records[i], i) for i in ids)))
            case Refuse(end, refusal):
                end.send(refusal)
            case Retire(end):
                end.retire()
            case Close(end, reason):
                end.close(reason)
            case Probe(end):
                end.probe()


class Liar(Life):
    """A member that keeps its links, and lies on them about other nodes. A posing one claims to be
    at the URL of another node."""

    def __init__(self, record: NodeRecord, poses: bool, manner: str) -> None:
        super().__init__(record, listens=not poses)
        self.source = f"liar {record.id}"
        self.manner = manner  # in which it introduces nodes

    def says(self, message: Message) -> Message:
        if not isinstance(message, Introduction) or self.manner == "truth":
            return message
        if self.manner == "silence":
            return Introduction(())
        wrong = [
            Signed(replace(self.record, id=each.record.id), self.record.id)
            for each in message.introduced
        ]
        return Introduction(tuple(wrong))

    def tell(self, ids: Iterable[str]) -> None:
        """Vouch for exactly these nodes to all peers."""
        gossip = self.roster._newsroom.full_sync(ids)
        for end in self.peers.values():
            end.send(gossip)
