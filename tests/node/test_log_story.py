"""What a node logs at debug level."""

from __future__ import annotations

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.node import snapshot
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.testing.tun import frame


class DebuggingTests(SynchronousTestCase):
    """What a node logs at debug level, and only then."""

    def texts(self, member: Member, event: str) -> list[str]:
        return [str(formatEvent(each)) for each in member.logged(event)]

    def mesh(self) -> tuple[Mesh, list[Member]]:
        mesh = Mesh()
        members = [mesh.add(name, start=False) for name in "abc"]
        for member in members[:2]:
            member.debugs = True
        return mesh, members

    def test_dialing(self) -> None:
        """Each attempt is logged, with the address that the name resolves to, and how it ended.
        Without debug level only the first failure is."""
        mesh, (a, b, c) = self.mesh()
        for member in (b, c):
            member.settings["groups"] = (GroupSettings("first", (("mesh.test", PORT),)),)
        mesh.network.names["mesh.test"] = [a.host]
        b.start()
        c.start()
        mesh.advance(5)
        dialed = self.texts(b, "dialing")
        self.assertEqual(dialed[0], f"dialing mesh.test:{PORT} at {a.host}")
        self.assertEqual(dialed[1], f"dialing mesh.test:{PORT} at {a.host}, attempt 2")
        levels = [event["log_level"].name for event in b.logged("unreachable")]
        self.assertEqual(levels, ["warn"] + ["debug"] * (len(dialed) - 1))
        self.assertEqual((len(c.logged("unreachable")), c.logged("dialing")), (1, []))
        a.start()
        mesh.until(mesh.is_complete)
        self.assertEqual(c.logged("dialing"), [])

    def test_status_of_dials(self) -> None:
        """The status names the nodes that are being dialed without listing who is linked with whom,
        which grows with the square of the nodes."""
        mesh, (a, b, c) = self.mesh()
        b.start()
        a.start()
        c.start()
        mesh.until(mesh.is_complete)
        mesh.network.cut(b.host, c.host)
        mesh.until(lambda: "c" not in b.linked_with)
        self.patch(snapshot, "known_nodes", None)
        [dial] = b.status.dials
        self.assertEqual((dial.name, dial.target), ("c", f"{c.host}:{PORT}"))

    def test_gossip(self) -> None:
        """Gossip is summarized in a line now and then, and in none when there was none."""
        mesh, members = self.mesh()
        for member in members:
            member.start()
        mesh.advance(60)
        a, _, c = members
        (line,) = self.texts(a, "gossip")
        self.assertIn("knows 2 nodes, linked with 2", line)
        self.assertEqual(c.logged("gossip"), [])

    def test_drops(self) -> None:
        """Dropped packets are summarized in a line now and then, by reason."""
        mesh, members = self.mesh()
        for member in members:
            member.start()
        mesh.until(mesh.is_complete)
        mesh.advance(10)
        a, b, _ = members
        a.tun.inject(*[frame(a.address, "10.9.0.99")] * 3)
        mesh.network.cut(a.host, b.host)
        for _ in range(100):
            a.tun.inject(frame(a.address, b.address, bytes(60_000)))
        mesh.advance(10)
        first, *_ = self.texts(a, "dropped")
        self.assertRegex(first, "no_route 3")
        self.assertRegex(first, r"(expired|queue_full) \d+.*; on the way to b \d+$")
        before = len(a.logged("dropped"))
        mesh.advance(60)
        self.assertLessEqual(len(a.logged("dropped")), before + 1)

    def test_links(self) -> None:
        """A renewed link is logged as retired, a closed one with the reason, a probe with its
        outcome."""
        mesh, (a, b, _) = self.mesh()
        a.start(session_max_age=30.0)
        b.start(session_max_age=30.0)
        mesh.advance(60)
        (retired, *_) = a.logged("retired") + b.logged("retired")
        self.assertGreater(retired["age"], 29)
        b.vanish()
        b.start()
        mesh.advance(30)
        self.assertEqual(self.texts(a, "closed"), ["a link with b is closed: silent"])
        twin = mesh.add("b", start=False)
        twin.addresses = b.addresses
        twin.start()
        mesh.advance(5)
        self.assertEqual(
            set(self.texts(a, "probed")),
            {"b answered a probe", "b did not answer a probe within 1 s"},
        )
