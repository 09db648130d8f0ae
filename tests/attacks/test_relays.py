"""Members that abuse streams: as relays, as ends, and as neighbours that say anything."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.attacks.test_dials import liar
from tests.support.members import Mallory, mallory
from tunmesh.link.interfaces import State
from tunmesh.node.relays import LASTING
from tunmesh.relay.lane import Lane
from tunmesh.relay.streams import Streams
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.wire.gossip import Gossip
from tunmesh.wire.streams import OPEN, OPENED, Message, decode


class RelayAttacks(SynchronousTestCase):
    """B and C are linked through A."""

    def setUp(self) -> None:
        self.mesh = Mesh(relay=True)
        self.a, self.b, self.c = (self.mesh.add(name, start=False) for name in "abc")
        self.mesh.network.cut(self.b.host, self.c.host)
        for member in (self.a, self.b, self.c):
            member.start()
        self.mesh.until(self.mesh.is_complete)

    def link(self, member: Member, name: str) -> Any:
        [link] = [each for each in member.node.links if each.record and each.node.name == name]
        return link

    def test_relay_reads(self) -> None:
        """What a relay carries does not contain the packets that are sent."""
        carried: list[bytes] = []
        push = Lane.push

        def listen(lane: Lane, offset: int, data: bytes) -> None:
            carried.append(data)
            push(lane, offset, data)

        self.patch(Lane, "push", listen)
        secret = b"what nobody else may read"
        self.assertTrue(self.mesh.send(self.b, self.c, secret))
        self.assertTrue(carried)
        self.assertNotIn(secret, b"".join(carried))

    def test_relay_changes(self) -> None:
        """A relay that changes a single bit gets nothing through: the link ends, and is made
        again."""
        push = Lane.push

        def flip(lane: Lane, offset: int, data: bytes) -> None:
            push(lane, offset, data[:-1] + bytes((data[-1] ^ 1,)))

        before = self.link(self.b, "c")
        self.patch(Lane, "push", flip)
        self.b.tun.inject()
        self.assertFalse(self.mesh.send(self.b, self.c, b"hello"))
        self.mesh.advance(1)
        self.assertIs(before.state, State.CLOSED)
        self.assertEqual(self.c.tun.written, [])

    def test_flood_of_openings(self) -> None:
        """A member that asks for streams without end, to anybody, is refused, read more slowly and
        harms nobody: what is carried goes on."""
        link = self.link(self.b, "a")
        for round_ in range(24):
            for number in range(1000):
                stream = 2 * (round_ * 1000 + number) + 1_000_000 + link_parity(self.b, self.a)
                link.conversation.answer_stream(
                    Message(OPEN, stream, body=bytes.fromhex(self.c.node.record.id))
                )
            self.mesh.advance(0.01)
        self.assertLessEqual(self.a.status.carried.streams, 512 + 1)
        self.assertTrue(self.a.logged("wasteful"))
        self.mesh.advance(10)
        self.mesh.until(self.mesh.is_complete)
        self.assertTrue(self.mesh.send(self.b, self.c, b"still here"))

    def test_wrong_number(self) -> None:
        """A member that opens a stream under a number that is not its own to choose loses its link
        with this node, and nobody else loses anything."""
        link = self.link(self.b, "a")
        wrong = 1_000_000 + 1 - link_parity(self.b, self.a)
        link.conversation.answer_stream(
            Message(OPEN, wrong, body=bytes.fromhex(self.c.node.record.id))
        )
        self.mesh.advance(0.1)
        self.assertIs(link.state, State.CLOSED)
        self.mesh.until(self.mesh.is_complete, 5)

    def test_carrier_answers_itself(self) -> None:
        """A carrier that answers in the place of the node that is wanted keeps nobody from asking
        again: what it has made is no link with that node."""
        received = Streams.received

        def answer(streams: Streams, link: Any, message: Message) -> bool:
            if message.kind == OPEN:
                return streams._arrived(link, message)
            return received(streams, link, message)

        self.patch(Streams, "received", answer)
        self.link(self.b, "c").close("no more")
        self.mesh.advance(3)
        self.assertFalse(self.mesh.is_complete())
        self.patch(Streams, "received", received)
        self.mesh.until(self.mesh.is_complete, 40)


class Liars(SynchronousTestCase):
    """Members that say that they could carry, to B and to C, which are linked through A."""

    def setUp(self) -> None:
        self.mesh = Mesh(relay=True)
        self.a, self.b, self.c = (self.mesh.add(name, start=False) for name in "abc")
        network: Any = self.mesh.network
        network.cut(self.b.host, self.c.host)
        network.latency_between = lambda *ends: 0.02 if self.a.host in ends else 0.001
        for member in (self.a, self.b, self.c):
            member.start()
        self.mesh.until(self.mesh.is_complete)
        self.acts: list[Callable[[], None]] = []

    def carry(self, member: Mallory) -> None:
        """Say that streams are open, and nothing after that."""
        member.answers_pings = True
        done = 0

        def act() -> None:
            nonlocal done
            said = [decode(payload) for payload in member.heard[done:] if payload[:1] == b"S"]
            done = len(member.heard)
            for message in said:
                if message.kind == OPEN:
                    member.say(Message(OPENED, message.stream).encode())

        self.acts.append(act)

    def pass_time(self, seconds: float) -> None:
        end = self.mesh.clock.seconds() + seconds
        while self.mesh.clock.seconds() < end:
            for act in self.acts:
                act()
            self.mesh.advance(0.05)

    def broken_for(self, most: float) -> float:
        """How long B and C are not linked when their link breaks."""
        [old] = self.links()
        old.transport.abortConnection()
        for step in range(int(most / 0.5)):
            self.pass_time(0.5)
            if any(each is not old for each in self.links()):
                return 0.5 * step
        return most

    def links(self) -> list[Any]:
        """Of B with C."""
        links: Any = self.b.node.links
        up = [link for link in links if link.state is State.UP]
        return [link for link in up if link.node.name == "c"]

    def test_identities(self) -> None:
        """A member with many identities, all nearer than A, whose streams are open first and lead
        nowhere: one is tried."""
        self.pass_time(LASTING)
        for number in range(12):
            address = ip_interface(f"10.9.7.{number + 1}/16")
            for one, other in ((self.b, self.c), (self.c, self.b)):
                member = mallory(100 + number, name=f"m{number}", addresses=(address,))
                member.dial(self.mesh, one, "198.51.100.66")
                member.say(Gossip(1, (other.node.record.id,)).encode())
                self.carry(member)
        self.assertLess(self.broken_for(40), 10)

    def test_invented_nodes(self) -> None:
        """A member that vouches for many nodes that are not there, and has streams to them open and
        lead nowhere, does not keep others waiting."""
        for one in (self.b, self.c):
            each = liar(lambda number: f"https://203.0.113.9:{number}").dial(self.mesh, one)
            self.carry(each.member)
            self.acts.append(each.answer)
            each.vouch(99)
        self.pass_time(LASTING)
        self.assertLess(self.broken_for(8), 2)


def link_parity(opener: Member, carrier: Member) -> int:
    """The last bit of the numbers that the first one may choose."""
    return int(opener.node.record.id < carrier.node.record.id)
