"""The URL that a node advertises: found out by itself, and tried by its peers."""

from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from tunmesh.dialing import url_checks
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.reachability import PATIENCE
from tunmesh.testing.mesh import PORT, Member, Mesh, host_address

NOWHERE = "https://198.51.100.7:4567"
SOON = 2 * url_checks.FIRST + PATIENCE + 20.0  # by then the first checks are made and told


def auto(mesh: Mesh, name: str, guess: str = "", **settings: Any) -> Member:
    """A node that finds out its URL, and guesses its own address at first unless told."""
    member = mesh.add(name, start=False, **settings)
    first = guess or member.host
    member.find_address = lambda: first
    member.start(url=f"https://{first}:{PORT}", auto_port=PORT)
    return member


def url_of(member: Member) -> str:
    return member.node.record.url


class Found(unittest.SynchronousTestCase):
    """`control_api_advertise_url: auto`."""

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.a = self.mesh.add("a")

    def test_from_the_connection(self) -> None:
        """A node whose guess is wrong tells its peers where it dials them from, already in the
        first handshake; it logs both, once each."""
        b = auto(self.mesh, "b", "10.0.0.9")
        c = auto(self.mesh, "c", "10.0.0.9")
        self.mesh.until(self.mesh.is_complete)
        for member in (b, c):
            self.assertEqual(url_of(member), member.url)
            found = [event["url"] for event in member.logged("url_found")]
            self.assertEqual(found, ["https://10.0.0.9:4567", member.url])
            known = [peer.record.url for peer in self.a.status.peers]
            self.assertIn(member.url, known)
            self.assertEqual(member.logged("url_conflict"), [])
        self.mesh.advance(SOON)
        self.assertEqual(len(b.logged("url_found")), 2)
        self.assertEqual(self.a.logged("contradiction"), [])

    def test_first_node(self) -> None:
        """A node with nothing to bootstrap from keeps to the guess, and follows it as long as it is
        alone: the network may come up after the node."""
        mesh = Mesh()
        first = mesh.add("first", start=False)
        guesses = ["127.0.0.1", "127.0.0.1", first.host]
        first.find_address = lambda: guesses.pop(0) if len(guesses) > 1 else guesses[0]
        first.start(url=f"https://127.0.0.1:{PORT}", auto_port=PORT)
        mesh.advance(20.0)
        self.assertEqual(url_of(first), first.url)
        mesh.add("second")
        mesh.until(mesh.is_complete)
        guesses[:] = ["10.0.0.9"]
        mesh.advance(20.0)
        self.assertEqual(url_of(first), first.url)

    def test_leads_back(self) -> None:
        """A bootstrap connection that leads to the node itself over loopback says nothing about
        where others reach it."""
        b = self.mesh.add("b", start=False)
        b.find_address = lambda: b.host
        self.mesh.network.names["mesh.test"] = ["127.0.0.1"]
        network, connect = self.mesh.network, self.mesh.network.connect

        def over_loopback(here: str, there: str, *arguments: Any) -> Any:
            if there == "127.0.0.1":
                here = there
                network.listeners[there, PORT] = network.listeners[b.host, PORT]
            return connect(here, there, *arguments)

        self.patch(network, "connect", over_loopback)
        groups = (GroupSettings("own", (("mesh.test", PORT),)),)
        b.start(url=b.url, auto_port=PORT, groups=groups)
        self.mesh.until(lambda: bool(b.logged("leads_back")))
        self.assertEqual(url_of(b), b.url)

    def test_moves(self) -> None:
        """When the host of a node has another address, the node loses its links, and tells its new
        URL when it dials its peers again."""
        b = auto(self.mesh, "b")
        c = auto(self.mesh, "c")
        self.mesh.until(self.mesh.is_complete)
        before = b.url
        b.readdress(77)
        self.mesh.until(lambda: url_of(b) == f"https://{host_address(77)}:{PORT}", within=120.0)
        self.mesh.until(self.mesh.is_complete, within=120.0)
        self.mesh.until(lambda: before not in [peer.record.url for peer in c.status.peers])

    def test_dialed_at_the_new_url(self) -> None:
        """Whoever renews a session with a node dials the URL that it has by now, also if it has
        dialed the former one before."""
        mesh = Mesh(session_max_age=40.0)
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        first = b.status.peers[0].since
        mesh.until(lambda: b.status.peers[0].since > first, within=120.0)
        second = b.status.peers[0].since
        network = mesh.network
        dialed: list[tuple[str, str]] = []
        connect = network.connect

        def connecting(here: str, there: str, *arguments: Any) -> Any:
            dialed.append((here, there))
            return connect(here, there, *arguments)

        self.patch(network, "connect", connecting)
        network.listeners["192.0.2.200", PORT] = network.listeners[a.host, PORT]
        a.node._parts.me.use_url(f"https://192.0.2.200:{PORT}")
        mesh.until(lambda: (b.host, "192.0.2.200") in dialed, within=120.0)
        mesh.until(lambda: b.status.peers[0].since > second)

    def test_static(self) -> None:
        """A URL from the config stays, wherever the node dials from."""
        b = self.mesh.add("b", url=NOWHERE)
        self.mesh.until(self.mesh.is_complete)
        self.assertEqual(url_of(b), NOWHERE)
        self.assertEqual(b.logged("url_found"), [])


class Reachable(unittest.SynchronousTestCase):
    """Whether others reach the URL of a node."""

    def mesh_of(self, count: int, **last: Any) -> list[Member]:
        """So many nodes, linked; `last` are settings of the last one."""
        self.mesh = Mesh()
        members = [self.mesh.add(name) for name in "abcdefgh"[: count - 1]]
        members.append(self.mesh.add("z", **last))
        self.mesh.until(self.mesh.is_complete)
        return members

    def notes(self, member: Member) -> list[str]:
        return [text for text in member.status.warnings if "reaches this node's URL" in text]

    def test_all_well(self) -> None:
        """Where every URL leads to its node nothing is logged or noted, and no handshake fails;
        every node knows that it is reached."""
        members = self.mesh_of(5)
        self.mesh.advance(SOON + 60.0)
        self.mesh.until(self.mesh.is_complete)
        for member in members:
            self.assertEqual(self.notes(member), [])
            self.assertEqual(member.logged("url_unreached") + member.logged("url_reached"), [])
            self.assertEqual(sum(member.status.handshake_failures.values()), 0)
            self.assertEqual(member.status.url.reached, member.status.url.tried)
            self.assertGreater(member.status.url.reached, 0)

    def test_nobody_reaches_it(self) -> None:
        """A node whose URL leads nowhere is told so, by a few of its peers; it stays ready. It logs
        one line, and shows who tried and what they found."""
        *others, z = self.mesh_of(7, url=NOWHERE)
        lines = [len(member.logged("unreachable")) for member in others]
        self.mesh.advance(SOON + 60.0)
        (event,) = z.logged("url_unreached")
        self.assertEqual(event["url"], NOWHERE)
        (note,) = self.notes(z)
        self.assertIn(
            f"no node reaches this node's URL {NOWHERE}: the connection was refused (tried by ",
            note,
        )
        self.assertIn("Others cannot dial this node; it works as long as it can dial them", note)
        self.assertTrue(z.status.is_ready)
        found = [peer.url_tried for peer in z.status.peers if peer.url_tried]
        self.assertEqual(found, ["refused"] * len(found))
        self.assertIn(len(found), range(1, url_checks.CHECKERS + 2))
        self.assertEqual((z.status.url.tried, z.status.url.reached), (len(found), 0))
        self.assertEqual([len(member.logged("unreachable")) for member in others], lines)
        for member in others:
            self.assertEqual(member.logged("handshake_failed"), [])
            self.assertEqual(self.notes(member), [])

    def test_comes_back(self) -> None:
        """When the URL leads to the node after all, the next check finds that, and the log says
        so."""
        self.mesh = Mesh()
        a, z = self.mesh.add("a"), self.mesh.add("z", start=False)
        z.hidden_at = NOWHERE
        z.start()
        self.mesh.until(self.mesh.is_complete)
        self.mesh.until(lambda: bool(self.notes(z)), within=SOON)
        network = self.mesh.network
        network.listeners["198.51.100.7", PORT] = network.listeners[z.host, PORT]
        self.mesh.until(lambda: not self.notes(z), within=2 * url_checks.RETRY)
        self.assertEqual(z.status.url.reached, 1)
        self.assertEqual(len(z.logged("url_reached")), 1)
        self.mesh.until(self.mesh.is_complete)
        self.assertEqual(a.logged("handshake_failed") + z.logged("handshake_failed"), [])

    def test_another_node(self) -> None:
        """A node whose URL leads to another node is told that."""
        self.mesh = Mesh()
        self.mesh.add("a")
        b = self.mesh.add("b")
        z = self.mesh.add("z", url=f"https://{b.host}:{PORT + 1}")
        network = self.mesh.network
        network.listeners[b.host, PORT + 1] = network.listeners[b.host, PORT]
        self.mesh.until(self.mesh.is_complete)
        self.mesh.until(lambda: bool(self.notes(z)), within=SOON)
        self.assertIn("another node answers there", self.notes(z)[0])

    def test_not_dialed(self) -> None:
        """A node that advertises loopback learns that others do not dial that."""
        *_, z = self.mesh_of(3, url=f"https://127.0.0.1:{PORT}")
        dialed: list[str] = []
        connect = self.mesh.network.connect

        def connecting(here: str, there: str, *arguments: Any) -> Any:
            dialed.append(there)
            return connect(here, there, *arguments)

        self.patch(self.mesh.network, "connect", connecting)
        self.mesh.until(lambda: bool(self.notes(z)), within=SOON)
        self.assertIn("no node dials such an address at the word of others", self.notes(z)[0])
        self.assertNotIn("127.0.0.1", dialed)
