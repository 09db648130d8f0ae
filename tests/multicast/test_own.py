"""The groups of this machine, beside a kernel that is played by the test."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.trial import unittest

from tunmesh.multicast.own import MOST, MOST_SOURCES, ROBUSTNESS, OwnInterests
from tunmesh.packets.group_records import Kind, Record
from tunmesh.testing.group_reports import raw, record
from tunmesh.wire.interests import Interest
from tunmesh.wire.sizes import MAX_INTEREST_SOURCES

GROUP, OTHER = "239.1.2.3", "239.4.5.6"
A, B, C = "10.9.0.5", "10.9.0.6", "10.9.0.7"


def interest(group: str, excludes: bool, *sources: str) -> Interest:
    return Interest(raw(group), excludes, frozenset(map(raw, sources)))


class Reported(unittest.SynchronousTestCase):
    """One report after the other."""

    def setUp(self) -> None:
        self.own = OwnInterests()

    def report(self, *records: Record) -> None:
        self.own.reported(records)

    def test_join_and_leave(self) -> None:
        """A group is joined, from all sources, and left; each is a change once."""
        self.report(record(Kind.TO_EXCLUDE, GROUP))
        self.assertIn(raw(GROUP), self.own)
        self.assertEqual(self.own.changes(), [interest(GROUP, True)])
        self.assertEqual(self.own.changes(), [])
        self.report(record(Kind.TO_INCLUDE, GROUP))
        self.assertNotIn(raw(GROUP), self.own)
        self.assertEqual(self.own.changes(), [interest(GROUP, False)])
        self.assertEqual(self.own.changes(), [])

    def test_back_and_forth(self) -> None:
        """What was joined and left again is no change."""
        self.report(record(Kind.TO_EXCLUDE, GROUP), record(Kind.TO_INCLUDE, GROUP))
        self.assertEqual(self.own.changes(), [])

    def test_sources(self) -> None:
        """Sources are allowed and blocked, in a group that is wanted from some, or from all but
        some."""
        for records, expected in (
            ([record(Kind.ALLOW, GROUP, A)], interest(GROUP, False, A)),
            ([record(Kind.ALLOW, GROUP, B)], interest(GROUP, False, A, B)),
            ([record(Kind.BLOCK, GROUP, A, C)], interest(GROUP, False, B)),
            ([record(Kind.TO_EXCLUDE, GROUP, A)], interest(GROUP, True, A)),
            ([record(Kind.BLOCK, GROUP, B)], interest(GROUP, True, A, B)),
            ([record(Kind.ALLOW, GROUP, A)], interest(GROUP, True, B)),
            ([record(Kind.IS_INCLUDE, GROUP, C)], interest(GROUP, False, C)),
        ):
            self.report(*records)
            self.assertEqual(list(self.own), [expected])
        self.report(record(Kind.BLOCK, GROUP, C))
        self.assertEqual(list(self.own), [])

    def test_untold(self) -> None:
        """Groups that all hosts are in, that stay on the machine, or that are for neighbour
        discovery, are of no interest; nor is what is no group."""
        for group in (
            *("224.0.0.1", "10.9.0.1", "ff02::1", "ff01::5", "ff11::5", "ff00::1"),
            *("ff02::1:ff12:3456", "fd09::1"),
        ):
            self.report(record(Kind.IS_EXCLUDE, group))
        self.assertEqual(list(self.own), [])

    def test_expiry(self) -> None:
        """A group that the kernel does not name any more is forgotten after two answers without
        it; one that it names stays."""
        self.report(record(Kind.TO_EXCLUDE, GROUP), record(Kind.TO_EXCLUDE, OTHER))
        for number in range(10):
            self.report(record(Kind.IS_EXCLUDE, OTHER))
            self.own.answered()
            self.assertEqual(raw(GROUP) in self.own, number < ROBUSTNESS)
        self.assertIn(raw(OTHER), self.own)

    def test_too_many_groups(self) -> None:
        """More than are told are left out, until there is room and they are reported again."""
        groups = [f"239.7.{n // 256}.{n % 256}" for n in range(MOST + 1)]
        self.report(*(record(Kind.TO_EXCLUDE, group) for group in groups[:-1]))
        self.assertFalse(self.own.is_full)
        self.report(record(Kind.TO_EXCLUDE, groups[-1]))
        self.assertTrue(self.own.is_full)
        self.assertEqual(len(self.own), MOST)
        self.report(record(Kind.TO_INCLUDE, groups[0]), record(Kind.IS_EXCLUDE, groups[-1]))
        self.assertIn(raw(groups[-1]), self.own)
        self.assertFalse(self.own.is_full)

    def test_too_many_sources(self) -> None:
        """A group with more sources than are told is wanted from all: nothing is missed."""
        sources = [f"10.9.1.{n}" for n in range(MAX_INTEREST_SOURCES + 1)]
        self.report(record(Kind.ALLOW, GROUP, *sources[:-1]))
        self.assertEqual(list(self.own), [interest(GROUP, False, *sources[:-1])])
        self.report(record(Kind.ALLOW, GROUP, sources[-1]))
        self.assertEqual(list(self.own), [interest(GROUP, True)])

    def test_too_many_sources_in_all(self) -> None:
        """The same when all groups together have too many."""
        sources = [f"10.9.1.{n}" for n in range(MAX_INTEREST_SOURCES)]
        fits = MOST_SOURCES // MAX_INTEREST_SOURCES
        self.report(*(record(Kind.ALLOW, f"239.7.0.{n}", *sources) for n in range(fits + 1)))
        self.assertEqual([each.excludes for each in self.own], [False] * fits + [True])


GROUPS = [raw(f"239.1.1.{n}") for n in range(4)]
SOURCES = [raw(f"10.9.0.{n}") for n in range(5)]


class Kernel(RuleBasedStateMachine):
    """A kernel with groups, some of whose reports get lost. What is believed is never what it never
    said, and after a query that is answered it is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.own = OwnInterests()
        self.truth: dict[bytes, Interest] = {}
        self.told: dict[bytes, Interest] = {}

    @rule(
        group=st.sampled_from(GROUPS),
        excludes=st.booleans(),
        sources=st.frozensets(st.sampled_from(SOURCES)),
        is_lost=st.booleans(),
        in_steps=st.booleans(),
    )
    def change(
        self, group: bytes, excludes: bool, sources: frozenset[bytes], is_lost: bool, in_steps: bool
    ) -> None:
        """A program changes what it wants. The kernel says all of it, or how the sources differ."""
        before = self.truth.get(group, Interest(group, False))
        wanted = Interest(group, excludes, sources)
        self.truth[group] = wanted
        if wanted.is_over:
            del self.truth[group]
        records = [Record(Kind.TO_EXCLUDE if excludes else Kind.TO_INCLUDE, group, tuple(sources))]
        if in_steps and before.excludes == excludes:
            more, fewer = sources - before.sources, before.sources - sources
            allowed, blocked = (fewer, more) if excludes else (more, fewer)
            records = [
                Record(Kind.ALLOW, group, tuple(allowed)),
                Record(Kind.BLOCK, group, tuple(blocked)),
            ]
        if not is_lost:
            self.own.reported(records)

    @rule()
    def query(self) -> None:
        """The kernel is asked, and answers; what it leaves out expires."""
        for _ in range(ROBUSTNESS + 1):
            self.own.reported(
                [
                    Record(
                        Kind.IS_EXCLUDE if each.excludes else Kind.IS_INCLUDE,
                        each.group,
                        tuple(each.sources),
                    )
                    for each in self.truth.values()
                ]
            )
            self.own.answered()
        assert {each.group: each for each in self.own} == self.truth

    @rule()
    def tell(self) -> None:
        for each in self.own.changes():
            if each.is_over:
                del self.told[each.group]
            else:
                self.told[each.group] = each
        assert self.told == {each.group: each for each in self.own}

    @invariant()
    def nothing_is_over(self) -> None:
        assert not any(each.is_over for each in self.own)


Machine = Kernel.TestCase
Machine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
