"""Nodes that have the name or the URL of another one, and nodes that find nobody but themselves."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from twisted.trial import unittest

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.membership.name_conflicts import conflicts, conflicts_of
from tunmesh.testing.mesh import PORT, Member, Mesh
from tunmesh.wire.records import NodeRecord, split_url


def record(number: int, name: str, url: str = "") -> NodeRecord:
    return NodeRecord(
        id=f"{number:032x}",
        name=name,
        started=number,
        url=url or f"https://host{number}:1",
        addresses=(ip_interface(f"10.9.0.{number}/16"),),
        version="0",
    )


def texts(me: NodeRecord, *others: NodeRecord) -> list[str]:
    return [str(conflict) for conflict in conflicts(me, (me, *others))]


class Conflicts(unittest.SynchronousTestCase):
    """What is found in records."""

    def test_none(self) -> None:
        """Nodes with names and URLs of their own have no conflict."""
        self.assertEqual(texts(record(1, "a"), record(2, "b"), record(3, "c")), [])

    def test_names(self) -> None:
        """Nodes with one name are told apart by their addresses."""
        self.assertEqual(
            texts(record(1, "a"), record(2, "b"), record(3, "b")),
            [
                "two nodes have the name b: 10.9.0.2 and 10.9.0.3; each needs its own node_name "
                "(b leads to 10.9.0.2, which had it first)"
            ],
        )
        self.assertEqual(
            texts(record(1, "a"), record(2, "A"), record(3, "a")),
            [
                "3 nodes have the name a: this node, 10.9.0.2 and 10.9.0.3; "
                "each needs its own node_name (a leads to this node, which had it first)"
            ],
        )

    def test_groups(self) -> None:
        """A name of a node that is a group of another one is shown with both; it is no conflict
        that a node is in a group that is called as itself."""
        web, db = record(2, "web"), replace(record(3, "db"), groups=("web", "db"))
        text = "web is the node_name of one and in the node_groups of another: web and db"
        self.assertEqual(
            texts(record(1, "a"), web, db),
            [f"{text}; it leads to the node, which was first. Rename one of them"],
        )
        self.assertIn("it leads to the group", texts(db, web)[0])

    def test_no_address_yet(self) -> None:
        """A node that has no address yet may be another one that was restarted."""
        new = replace(record(3, "b"), addresses=(), automatic=(4,))
        self.assertEqual(texts(record(1, "a"), record(2, "b"), new), [])
        me = record(1, "a")
        self.assertEqual(list(conflicts_of(new, me, [me, record(2, "b"), new])), [])

    def test_urls(self) -> None:
        """Nodes with one URL are told apart by their names."""
        a, b = record(1, "a"), record(2, "b", "https://host1:1")
        said, advice = "two nodes advertise the URL https://host1:1", "control_api_advertise_url"
        advice = f"each needs its own {advice}"
        self.assertEqual(texts(a, b), [f"{said}: this node and b; {advice}"])
        c = record(3, "c")
        self.assertEqual(texts(c, a, b), [f"{said}: a and b; {advice}"])

    def test_restarted(self) -> None:
        """A restarted node does not conflict with itself."""
        before, after = record(1, "a"), record(2, "a", "https://host1:1")
        again = NodeRecord(after.id, "a", 2, "https://host1:1", before.addresses, version="0")
        me = record(9, "me")
        self.assertEqual(list(conflicts_of(again, me, [me, before, again])), [])
        self.assertEqual(len(list(conflicts_of(after, me, [me, before, after]))), 2)


class Meshes(unittest.TestCase):
    """Whole nodes."""

    def setUp(self) -> None:
        self.mesh = Mesh()

    def warned(self, member: Member) -> str:
        return "; ".join(member.status.warnings)

    def test_one_name(self) -> None:
        """Two nodes with one name: both, and every node that is linked with both, report it
        once."""
        mesh = self.mesh
        members = [mesh.add(name) for name in ("a", "b", "b")]
        mesh.until(lambda: all(len(member.linked_with) == 2 for member in members))
        mesh.advance(60)
        for member in members:
            (event,) = member.logged("name_conflict")
            self.assertEqual(event["name"], "b")
            self.assertIn("two nodes have the name b", self.warned(member))
            self.assertTrue(member.status.is_ready)
        members[2].leave()
        mesh.advance(1)
        self.assertEqual(members[0].status.warnings, ())

    def test_restart_is_no_conflict(self) -> None:
        """A node that ends in any way and starts again causes no log line."""
        mesh = self.mesh
        members = [mesh.add(name) for name in "abc"]
        mesh.until(mesh.is_complete)
        for end in (members[2].crash, members[2].vanish):
            end()
            members[2].start()
            mesh.until(mesh.is_complete)
        for member in members:
            self.assertEqual(member.logged("name_conflict") + member.logged("url_conflict"), [])

    def test_copied_url(self) -> None:
        """A node that advertises the URL of its only bootstrap node joins the mesh all the same,
        since it dials that URL; it and all others report whose URL is whose."""
        mesh = self.mesh
        a, c = mesh.add("a"), mesh.add("c")
        mesh.until(mesh.is_complete)
        b = mesh.add("b", url=a.url)
        mesh.until(mesh.is_complete)
        for member in (a, b, c):
            self.assertTrue(member.logged("url_conflict"), member.name)
            self.assertIn(f"two nodes advertise the URL {a.url}", self.warned(member))
            self.assertTrue(member.status.is_ready)

    def test_url_that_leads_home(self) -> None:
        """A node that dials another one's URL and reaches itself says so: it is one such as
        https://localhost."""
        mesh = self.mesh
        a = mesh.add("a")
        b = mesh.add("b", start=False, url=f"https://loop.test:{PORT}")
        c = mesh.add("c", start=False)
        # Each host finds itself at that name; c has to dial b, and cannot be dialed by it.
        mesh.network.names["loop.test"] = [c.host]
        mesh.network.cut(b.host, c.host)
        b.start()
        c.start()
        mesh.until(lambda: bool(c.logged("url_conflict")))
        (event,) = c.logged("url_conflict")
        self.assertEqual(event["nodes"], ["b", "this node"])
        (dial,) = c.status.dials
        self.assertEqual((dial.name, dial.why), ("b", "it leads to this node"))
        self.assertTrue(a.status.is_ready)

    def alone(self, **settings: Any) -> Member:
        """A node all of whose bootstrap URLs are its own."""
        groups = (GroupSettings("own", (("192.0.2.1", PORT),)),)
        return self.mesh.add("a", groups=groups, **settings)

    def test_nobody_but_oneself(self) -> None:
        """A node that was told to look for others and found only itself is not the first node: it
        is never ready, and reports once which URLs lead back to it."""
        member = self.alone()
        self.mesh.advance(50)
        self.assertFalse(member.status.is_ready)
        self.assertIn(
            f"the bootstrap URLs lead only to this node: {member.url}", str(member.status.ready)
        )
        self.assertEqual(member.logged("ready"), [])
        (event,) = member.logged("leads_back")
        self.assertEqual(event["urls"], member.url)
        self.assertFalse(member.node.record.settled)

    def test_grace(self) -> None:
        """Its grace period is that of any other node, and a peer that comes makes it ready."""
        member = self.alone(startup_grace=30.0)
        self.mesh.advance(20)
        self.assertTrue(member.status.is_ready)
        self.mesh.advance(20)
        self.assertFalse(member.status.is_ready)
        self.mesh.add("b", groups=(GroupSettings("a", (split_url(member.url),)),))
        self.mesh.until(self.mesh.is_complete)
        self.assertTrue(member.status.is_ready)

    def test_headless_service_as_url(self) -> None:
        """Nodes that all advertise the name of their service are linked, and report what is
        wrong."""
        mesh = self.mesh
        service = (GroupSettings("service", (("mesh.test", PORT),)),)
        members = [
            mesh.add(name, start=False, groups=service, url=f"https://mesh.test:{PORT}")
            for name in "ab"
        ]
        mesh.network.names["mesh.test"] = [member.host for member in members]
        for member in members:
            member.start()
        mesh.until(mesh.is_complete)
        for member in members:
            self.assertIn("two nodes advertise the URL https://mesh.test", self.warned(member))

    def test_expected(self) -> None:
        """A node that misses others says so, in its status and in the check, and stays ready."""
        a = self.mesh.add("a", expected_nodes=3)
        b = self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)
        self.assertIn("linked with 1 of 2 other nodes", self.warned(a))
        self.assertEqual(b.status.warnings, ())
        a.reload(expected_nodes=2)
        self.assertEqual(a.status.warnings, ())
        b.crash()
        self.mesh.advance(20)
        self.assertIn("linked with 0 of 1 other nodes", self.warned(a))
        self.assertTrue(a.status.is_ready)
