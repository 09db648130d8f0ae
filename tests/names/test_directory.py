"""Who has which name."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.membership.namesakes import by_right, incumbent
from tunmesh.names.directory import Directory, Member
from tunmesh.names.labels import labels_of
from tunmesh.wire.records import NodeRecord


def record(
    number: int,
    name: str,
    groups: tuple[str, ...] = (),
    started: int | None = None,
    settled: bool = False,
    addresses: tuple[str, ...] = (),
) -> NodeRecord:
    return NodeRecord(
        id=f"{number:032x}",
        name=name,
        started=number if started is None else started,
        url=f"https://192.0.2.{number}:1",
        addresses=tuple(map(ip_interface, addresses or (f"10.9.0.{number}/16",))),
        version="0",
        settled=settled,
        groups=groups,
    )


def member(*arguments: object, **named: object) -> Member:
    made = record(*arguments, **named)  # type: ignore[arg-type]
    return Member(made, tuple(each.ip for each in made.addresses))


@dataclass(frozen=True)
class Linked:
    """A linked node."""

    record: NodeRecord
    was_first: bool = False
    is_early: bool = False


class Rights(unittest.SynchronousTestCase):
    """Who has the better right to a name."""

    def order(self, *peers: Linked) -> list[int]:
        records = by_right(record(5, "me", started=500), peers)
        return [int(each.id, 16) for each in records]

    def test_settled_node(self) -> None:
        """A node that has settled goes by what it saw: itself, then the others as they came,
        whatever they say of themselves."""
        liar = Linked(record(1, "a", started=0, settled=True), was_first=True)
        self.assertEqual(self.order(Linked(record(7, "a")), liar), [5, 7, 1])

    def test_newcomer(self) -> None:
        """A newcomer takes those that are settled for the first ones, then those that started
        earlier, whichever it was linked with first."""
        peers = [
            Linked(record(7, "a", started=700), is_early=True),
            Linked(record(3, "a", started=300), True, True),
            Linked(record(6, "a", started=600, settled=True), True, True),
            Linked(record(1, "a", started=1)),
        ]
        self.assertEqual(self.order(*peers), [6, 3, 5, 7, 1])

    def test_incarnation(self) -> None:
        """A restarted node has its name at once, if it has an address that shows that it is the
        same one."""
        old = record(1, "a", addresses=("10.9.0.1/16",))
        new = record(2, "a", addresses=("10.9.0.1/16",))
        other = record(3, "a", addresses=("10.9.0.3/16",))
        self.assertIs(incumbent([old, new]), new)
        self.assertIs(incumbent([old, other, new]), new)
        self.assertIs(incumbent([new, old]), new)
        self.assertIs(incumbent([other, old, new]), other)

    @given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), max_size=8))
    def test_everybody_once(self, facts: list[tuple[bool, bool, int]]) -> None:
        """Every node is in the order once; no late node is before this one."""
        peers = [
            Linked(record(10 + n, "a", started=started), was_first, is_early)
            for n, (was_first, is_early, started) in enumerate(facts)
        ]
        order = self.order(*peers)
        self.assertEqual(sorted(order), sorted([5, *(10 + n for n in range(len(facts)))]))
        late = [10 + n for n, (_, is_early, _) in enumerate(facts) if not is_early]
        self.assertEqual([n for n in order[order.index(5) :] if n in late], late)


class Names(unittest.SynchronousTestCase):
    """What a name leads to."""

    def found(self, directory: Directory, name: str) -> tuple[str, list[int], list[int]] | None:
        entry = directory.find(tuple(name.split(".")))
        if entry is None:
            return None
        members, others = (
            [int(each.record.id, 16) for each in part] for part in (entry.members, entry.others)
        )
        return entry.kind, members, others

    def test_nodes_and_groups(self) -> None:
        """A node by its name, capitals aside; a group: all that have it; _nodes: all."""
        nodes = [member(1, "Web-1", ("web",)), member(2, "web-2", ("web", "db")), member(3, "x")]
        directory = Directory(nodes, True)
        self.assertEqual(self.found(directory, "web-1"), ("node", [1], []))
        self.assertEqual(self.found(directory, "web"), ("group", [1, 2], []))
        self.assertEqual(self.found(directory, "db"), ("group", [2], []))
        self.assertEqual(self.found(directory, "_nodes"), ("all", [1, 2, 3], []))
        self.assertIsNone(self.found(directory, "web-3"))
        self.assertTrue(directory.holds_name(nodes[0]))

    def test_second_claimant(self) -> None:
        """A name leads to the node that had it first, not to the second one."""
        nodes = [member(1, "a"), member(2, "A")]
        directory = Directory(nodes, True)
        self.assertEqual(self.found(directory, "a"), ("node", [1], [2]))
        self.assertEqual([directory.holds_name(each) for each in nodes], [True, False])

    def test_group_with_the_name_of_a_node(self) -> None:
        """Whoever was first decides what a name is. So no newcomer can get a part of what is sent
        to a node, by calling itself a group of that name, nor all that is sent to a group."""
        first = Directory([member(1, "db"), member(2, "x", ("db",))], True)
        self.assertEqual(self.found(first, "db"), ("node", [1], [2]))
        second = Directory(
            [member(1, "x", ("web",)), member(2, "web"), member(3, "y", ("web",))], True
        )
        self.assertEqual(self.found(second, "web"), ("group", [1, 3], [2]))
        both = Directory([member(1, "web", ("web",)), member(2, "y", ("web",))], True)
        self.assertEqual(self.found(both, "web"), ("group", [1, 2], []))

    def test_dots(self) -> None:
        """A name with dots is several labels; what it ends with exists, without being a node."""
        directory = Directory([member(1, "db.eu.example")], True)
        self.assertEqual(self.found(directory, "db.eu.example"), ("node", [1], []))
        self.assertTrue(directory.has_below(("eu", "example")))
        self.assertTrue(directory.has_below(("example",)))
        self.assertFalse(directory.has_below(("db", "eu", "example")))
        self.assertFalse(directory.has_below(("eu",)))

    def test_unnameable(self) -> None:
        """Names that cannot be in DNS, or mean something else there."""
        for name in ("a..b", ".a", "a.", "_nodes", "_NODES", "x._dns", "a" * 64):
            self.assertIsNone(labels_of(name), name)
        self.assertEqual(labels_of("A_b.c-D"), ("a_b", "c-d"))
        nodes = [member(1, "_nodes"), member(2, "a..b")]
        directory = Directory(nodes, True)
        self.assertEqual(self.found(directory, "_nodes"), ("all", [1, 2], []))
        self.assertEqual([directory.holds_name(each) for each in nodes], [False, False])

    def test_address(self) -> None:
        """Who has an address."""
        one = member(1, "a")
        directory = Directory([one], True)
        self.assertIs(directory.holder(one.addresses[0]), one)
        self.assertIsNone(directory.holder(member(2, "b").addresses[0]))
