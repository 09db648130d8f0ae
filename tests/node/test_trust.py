"""Whole meshes in memory: which connections become links."""

from __future__ import annotations

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.auth.handshake import Key
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.observe.problems import problems
from tunmesh.observe.samples import History
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.tls.underlay import Outside


class ThroughMeshTests(SynchronousTestCase):
    """A link is never made through the mesh itself."""

    def setUp(self) -> None:
        self.mesh = Mesh(session_max_age=20.0)
        self.a = self.mesh.add("a", start=False)
        self.mesh.network.names["inside"] = [self.a.address]
        self.groups = (GroupSettings("first", ((self.a.host, PORT),)),)

    def test_renewal(self) -> None:
        """If the advertised name of a peer resolves to its mesh address, the session with it goes
        on beyond its age, without a gap, and the log and the problems say why."""
        self.a.start(url=f"https://inside:{PORT}")
        b = self.mesh.add("b", groups=self.groups)
        self.mesh.until(self.mesh.is_complete)
        dialed = b.status.peers[0].since
        for _ in range(40):  # then the group looks again, and renews it by its own URL
            self.mesh.advance(1.0)
            self.assertTrue(self.mesh.send(b, self.a, b"here"))
        self.assertEqual(b.status.peers[0].since, dialed)
        self.assertEqual(self.mesh.network.dials_by[b.host], 1)
        (problem,) = problems(b.status, History(), 0.0)
        start = f"the session with a is not renewed at inside:{PORT}: {self.a.address} is inside"
        self.assertTrue(problem.startswith(start), problem)
        (event,) = b.logged("unreachable")
        self.assertIn(f"cannot reach inside:{PORT}: {self.a.address} is", str(formatEvent(event)))

    def test_bootstrap(self) -> None:
        """A bootstrap name that resolves to a mesh address is not dialed."""
        self.a.start()
        b = self.mesh.add("b", groups=(GroupSettings("first", (("inside", PORT),)),))
        self.mesh.advance(30)
        self.assertEqual(self.mesh.network.dials_by[b.host], 0)
        self.assertIn(f"{self.a.address} is inside the mesh (", b.status.dials[0].why)
        self.assertFalse(b.status.is_ready)

    def test_leaves_by_the_tun(self) -> None:
        """A connection that has the node's own mesh address at this end does not become a link,
        whatever address it leads to."""
        self.a.start()
        b = self.mesh.add("b", start=False, groups=self.groups)
        b.host = b.address
        b.start()
        self.mesh.advance(30)
        self.assertEqual(self.a.linked_with, [])
        self.assertGreater(b.status.handshake_failures["through_mesh"], 1)
        (event,) = b.logged("handshake_failed")
        self.assertIn(f"its end {b.address} is inside the mesh", str(formatEvent(event)))

    def test_arrives_by_the_tun(self) -> None:
        """Nor does one that comes from a mesh address, even if its other end would allow it."""
        self.a.start()
        b = self.mesh.add("b", start=False, groups=self.groups)
        b.host = b.address
        b.start()
        b.node._links.connector._outside = Outside()
        self.mesh.network.names["inside"] = []
        self.mesh.advance(30)
        self.assertEqual(self.a.linked_with, [])
        self.assertGreater(self.a.status.handshake_failures["through_mesh"], 1)
        (event,) = self.a.logged("handshake_failed")
        text = f"no link with a stranger at {b.address}: {b.address} is inside the mesh"
        self.assertTrue(str(formatEvent(event)).startswith(text), formatEvent(event))


class TrustTests(SynchronousTestCase):
    """Which nodes are admitted."""

    def test_wrong_secret(self) -> None:
        """A node with another secret gets no link; both sides log that a few times, and count each
        failure."""
        mesh = Mesh()
        a = mesh.add("a")
        b = mesh.add("b", keys=(Key.derive(b"a secret of somebody else's mesh"),))
        mesh.advance(120)
        self.assertEqual((a.linked_with, b.linked_with), ([], []))
        self.assertGreater(a.status.handshake_failures["unknown_key"], 3)
        self.assertGreater(b.status.handshake_failures["closed"], 3)
        for member in (a, b):
            self.assertLessEqual(len(member.logged("handshake_failed")), 4)
        self.assertIn("secret", a.logged("handshake_failed")[0]["why"])
        self.assertEqual(a.logged("handshake_failed")[0]["who"], f"a stranger at {b.host}")
        self.assertIn("secret", b.logged("handshake_failed")[0]["why"])

    def test_several_secrets(self) -> None:
        """While a secret is being replaced, nodes with the old, both and the new one are linked if
        they have one in common."""
        old, new = Key.derive(b"o" * 32), Key.derive(b"n" * 32)
        mesh = Mesh()
        a = mesh.add("a", keys=(new, old))
        b = mesh.add("b", keys=(old,))
        c = mesh.add("c", keys=(new,))
        mesh.advance(10)
        self.assertEqual((a.linked_with, b.linked_with, c.linked_with), (["b", "c"], ["a"], ["a"]))
