"""Links that a third node carries, in a mesh in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.connections import RelayedDial
from tunmesh.link.interfaces import State
from tunmesh.link.link import Link
from tunmesh.node.relays import LASTING, SLOTS
from tunmesh.relay.carriers import Carriers
from tunmesh.relay.streams import OPEN_TIMEOUT, RelayEndpoint, Streams
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.wire.records import split_url
from tunmesh.wire.streams import WINDOW

SOON = 1.0  # seconds from the need to the relayed link


def via(member: Member) -> dict[str, str]:
    """By the name of the other end, the name of the node that carries the link."""
    names = {each.node.record.id: each.name for each in member.mesh.members}
    return {
        link.node.name: names[link.via]
        for link in member.node.links
        if link.via and link.state is State.UP
    }


def carried(member: Member) -> int:
    """How many streams a node carries."""
    return member.status.carried.streams


def link_with(member: Member, name: str) -> Link:
    [link] = [each for each in member.node.links if each.record and each.node.name == name]
    return link


def raising(*_: Any) -> None:
    raise ZeroDivisionError


class RelayCase(SynchronousTestCase):
    """Nodes of which some cannot connect to each other."""

    def start(
        self, names: str, *blocked: str, mesh: Mesh | None = None, **settings: Any
    ) -> tuple[Mesh, tuple[Member, ...]]:
        """A mesh of these nodes; pairs that are blocked are given as "bc"."""
        mesh = mesh or Mesh(**{"relay": True} | settings)
        members = {name: mesh.add(name, start=False) for name in names}
        for one, other in map(tuple, blocked):
            mesh.network.cut(members[one].host, members[other].host)
        for member in members.values():
            member.start()
        return mesh, tuple(members.values())


class RelayTests(RelayCase):
    """Pairs that share a neighbour."""

    def test_blocked_pair(self) -> None:
        """Two nodes that nothing gets through between are linked through the third one within a
        second, and exchange packets of all sizes in both directions."""
        mesh, (a, b, c) = self.start("abc", "bc")
        self.assertLess(mesh.until(mesh.is_complete), SOON)
        self.assertEqual((via(b), via(c), via(a)), ({"c": "a"}, {"b": "a"}, {}))
        for size in (0, 1400, 60_000):
            self.assertTrue(mesh.send(b, c, bytes(size)) and mesh.send(c, b, bytes(size)))
        self.assertEqual(carried(a), 1)
        mesh.advance(120)
        self.assertTrue(mesh.is_complete())
        self.assertEqual([len(each.logged("linked")) for each in (a, b, c)], [2, 2, 2])

    def test_behind_nat(self) -> None:
        """Two nodes behind NATs, which nobody can dial."""
        mesh = Mesh(relay=True)
        a, b, c = (mesh.add(name, start=False) for name in "abc")
        b.hidden_at, c.hidden_at = "https://198.51.100.7:4567", "https://198.51.100.8:4567"
        mesh.network.gone |= {"198.51.100.7", "198.51.100.8"}
        for member in (a, b, c):
            member.start()
        mesh.until(mesh.is_complete, 4)
        self.assertEqual(via(b), {"c": "a"})
        self.assertTrue(mesh.send(b, c) and mesh.send(c, b))

    def test_much(self) -> None:
        """More than fits into the window goes through, in order, and nothing is left over."""
        mesh, (a, b, c) = self.start("abc", "bc")
        mesh.until(mesh.is_complete)
        for number in range(4 * WINDOW // 50_000):
            self.assertTrue(mesh.send(b, c, bytes((number,)) * 50_000))
        self.assertEqual(sum(peer.dropped for peer in b.status.peers), 0)
        self.assertEqual([each.status.buffered_bytes for each in (a, b, c)], [0, 0, 0])

    def test_direct_again(self) -> None:
        """When the direct way is open again the link becomes direct, without a gap."""
        mesh, (a, b, c) = self.start("abc", "bc")
        mesh.until(mesh.is_complete)
        peers = b.node._parts.peers
        peer, other = peers.linked(c.node.record.id), c.host
        self.assertEqual((peer.source, peer.room), ("relayed", f"relayed {a.host}"))
        peer.account.another().hold(7)
        mesh.network.heal()

        def is_direct() -> bool:
            self.assertTrue(mesh.send(b, c) and mesh.send(c, b))
            return not via(b) and not via(c)

        mesh.until(is_direct, 61)
        mesh.until(mesh.is_complete, 5)
        mesh.advance(60)
        self.assertEqual((carried(a), len(b.logged("unlinked"))), (0, 0))
        # It has a vote of its own, and takes no place of those that come by its relay.
        self.assertEqual((peer.source, peer.room), (other, other))
        memory = b.node._parts.memory
        self.assertEqual((memory.held_by("relayed"), memory.held_by(other)), (0, 7))
        lost = b.node._links.dials._redialer._nodes._linked[c.node.record.id]
        tried = b.node._links.dials.checker._checks._linked[c.node.record.id]
        self.assertEqual((lost.source, tried.source), (other, other))

    def test_direct_link_lost(self) -> None:
        """A direct link that breaks is replaced by a relayed one within a second."""
        mesh, (_a, b, c) = self.start("abc")
        mesh.until(mesh.is_complete)
        mesh.network.cut(b.host, c.host)
        for link in (link_with(b, "c"), link_with(c, "b")):
            link.transport.abortConnection()
        mesh.advance(0.01)
        self.assertEqual(b.linked_with, ["a"])
        self.assertLess(mesh.until(mesh.is_complete), SOON)
        self.assertEqual(via(b), {"c": "a"})

    def test_relay_dies(self) -> None:
        """When the relay is killed another one takes over within a second."""
        mesh, (a, b, c, d) = self.start("abcd", "bc")
        mesh.until(mesh.is_complete)
        [relay] = via(b).values()
        {"a": a, "d": d}[relay].crash()
        mesh.advance(0.01)
        self.assertLess(mesh.until(lambda: "c" in b.linked_with and "b" in c.linked_with), SOON)
        self.assertNotEqual(list(via(b).values()), [relay])
        self.assertTrue(mesh.send(b, c))

    def test_fastest(self) -> None:
        """Of several relays the one with the shortest round trip carries."""
        mesh = Mesh(relay=True)
        slow = {"192.0.2.1", "192.0.2.4", "192.0.2.5"}
        mesh.network.latency_between = lambda one, other: 0.05 if {one, other} & slow else 0.001  # type: ignore[method-assign]
        mesh, (_a, b, c, _d, _e) = self.start("abcde", "bc", mesh=mesh)
        mesh.until(mesh.is_complete)
        mesh.add("f")
        mesh.until(mesh.is_complete)
        mesh.advance(LASTING)
        for member in (b, c):
            for link in member.node.links:
                if link.via:
                    link.transport.abortConnection()
        mesh.advance(0.2)
        mesh.until(mesh.is_complete)
        self.assertEqual(via(b), {"c": "f"})

    def test_declined(self) -> None:
        """A node with `relay: false` does not carry; another one does."""
        mesh, (a, b, c) = self.start("abc", "bc", relay=False)
        mesh.advance(30)
        self.assertEqual((b.linked_with, c.linked_with, carried(a)), (["a"], ["a"], 0))
        mesh.add("d", relay=True)
        mesh.until(mesh.is_complete, 30)
        self.assertEqual((via(b), carried(a)), ({"c": "d"}, 0))

    def test_reloaded(self) -> None:
        """A node that is told not to carry any more ends what it carries; told to carry again, it
        does."""
        mesh, (a, b, c) = self.start("abc", "bc")
        mesh.until(mesh.is_complete)
        a.reload(relay=False)
        mesh.until(lambda: b.linked_with == ["a"] == c.linked_with, 0.1)
        mesh.advance(30)
        self.assertEqual((b.linked_with, carried(a)), (["a"], 0))
        self.assertGreater(a.status.carried.refused, 0)
        a.reload(relay=True)
        c.crash()
        mesh.advance(1)
        c.start()
        mesh.until(mesh.is_complete, 10)
        self.assertEqual(via(b), {"c": "a"})

    def test_carrier_leaves(self) -> None:
        """A carrier that leaves is replaced by another one within a second."""
        mesh, (a, b, c, d) = self.start("abcd", "bc")
        mesh.until(mesh.is_complete)
        [relay] = via(b).values()
        {"a": a, "d": d}[relay].leave()
        mesh.until(lambda: "c" not in b.linked_with, 1)
        self.assertLess(mesh.until(lambda: "c" in b.linked_with and "b" in c.linked_with), SOON)
        self.assertNotEqual(list(via(b).values()), [relay])

    def test_one_hop(self) -> None:
        """In a chain, nodes that share no neighbour stay apart: no relayed link carries another
        one."""
        mesh = Mesh(relay=True)
        a, b, c, d = (mesh.add(name, start=False) for name in "abcd")
        for one, other in ((a, c), (a, d), (b, d)):
            mesh.network.cut(one.host, other.host)
        c.settings["groups"] = (GroupSettings("b", (split_url(b.url),)),)
        d.settings["groups"] = (GroupSettings("c", (split_url(c.url),)),)
        for member in (a, b, c, d):
            member.start()
        mesh.advance(60)
        self.assertEqual(a.linked_with, ["b", "c"])
        self.assertEqual(d.linked_with, ["b", "c"])
        self.assertEqual((via(a), via(d)), ({"c": "b"}, {"b": "c"}))

    def test_relays_link_is_renewed(self) -> None:
        """When a link of the relay is replaced by another one, the relayed link goes on by that:
        nothing is lost that was under way."""
        mesh, (_a, b, c) = self.start("abc", "bc", session_max_age=40.0)
        mesh.until(mesh.is_complete)
        before = set(b.node.links)
        for _ in range(900):
            self.assertTrue(mesh.send(b, c, bytes(30_000)))
        self.assertTrue(before.isdisjoint(b.node.links))
        self.assertEqual((len(b.logged("unlinked")), len(c.logged("unlinked"))), (0, 0))
        self.assertEqual(via(b), {"c": "a"})

    def test_lost_while_it_is_renewed(self) -> None:
        """A relayed link is lost while another one is being made in its place: that one is waited
        for, and nothing is left over of either."""
        mesh, (_a, b, c) = self.start("abc", "bc")
        mesh.until(mesh.is_complete)
        dialing, other = (b, "c") if link_with(b, "c").dialed else (c, "b")
        relays = dialing.node._links.relays
        answer = Streams.received
        # The carrier is silent, so the attempts take as long as they may.
        self.patch(Streams, "received", lambda *_: True)
        relays.renew(link_with(dialing, other))
        link_with(dialing, other).close("lost")
        mesh.advance(OPEN_TIMEOUT / 2)
        self.patch(Streams, "received", answer)
        mesh.until(mesh.is_complete, OPEN_TIMEOUT + 5)
        mesh.advance(OPEN_TIMEOUT)
        self.assertEqual((relays._limit._free, relays._attempts, relays._waiting), (SLOTS, {}, {}))

    def test_bug(self) -> None:
        """What an error prevents while a node is dialed is tried again, wherever it occurs."""
        for where, what in (
            (Carriers, "choose"),
            (RelayedDial, "secured"),
            (RelayedDial, "buildProtocol"),
            (RelayEndpoint, "connect"),
        ):
            patch = self.patch(where, what, raising)
            mesh, (_a, b, c) = self.start("abc", "bc")
            mesh.advance(SOON)
            self.assertTrue(self.flushLoggedErrors(ZeroDivisionError), what)
            patch.restore()
            mesh.until(mesh.is_complete, 5)
            for member in (b, c):
                relays = member.node._links.relays
                self.assertEqual((relays._limit._free, relays._attempts), (SLOTS, {}), what)

    def test_end_leaves(self) -> None:
        """An end that leaves says so, and nothing is left at the relay."""
        mesh, (a, b, c) = self.start("abc", "bc")
        mesh.until(mesh.is_complete)
        c.leave()
        mesh.until(lambda: b.linked_with == ["a"] == a.linked_with or b.linked_with == ["a"], 1)
        mesh.advance(10)
        self.assertEqual((carried(a), b.linked_with), (0, ["a"]))

    def test_no_udp(self) -> None:
        """Packets do not go over UDP where a connection does not get through."""
        mesh = Mesh(relay=True, transport="udp")
        mesh.has_udp = True
        mesh, (a, b, c) = self.start("abc", "bc", mesh=mesh)
        mesh.until(mesh.is_complete)
        mesh.until(lambda: all(peer.transport == "udp" for peer in a.status.peers), 30)
        self.assertEqual(
            {peer.record.name: peer.transport for peer in b.status.peers}, {"a": "udp", "c": "tcp"}
        )
        self.assertTrue(mesh.send(b, c))
