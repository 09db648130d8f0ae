"""Who gets packets to groups, beside a naive rule; and the bounds of what peers say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.link.memory_budget import Account, MemoryBudget
from tunmesh.multicast.audience import GROUP_SIZE, Audience
from tunmesh.multicast.own import MOST, MOST_SOURCES, OwnInterests
from tunmesh.packets.group_records import Kind, Record
from tunmesh.packets.virtio import between
from tunmesh.testing.group_reports import igmp, igmp3, raw
from tunmesh.wire.interests import Interest, Interests

GROUP, GROUP6, LOCAL, LOCAL6 = map(raw, ("239.1.2.3", "ff05::5", "224.0.0.251", "ff02::fb"))
ALL, ALL6 = raw("224.0.0.1"), raw("ff02::1")
ME, ME6, OTHER = raw("10.9.0.1"), raw("fd09::1"), raw("10.9.0.9")


class AudienceCase(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.own = OwnInterests()
        self.audience: Audience[str] = Audience((4, 6), self.own)
        self.memory = MemoryBudget(1 << 24)
        self.number = 0

    def says(
        self,
        peer: str,
        *groups: Interest,
        is_full: bool = False,
        versions: tuple[int, ...] = (4, 6),
    ) -> int:
        self.number += 1
        said = Interests(self.number, is_full, frozenset(versions), groups)
        return self.audience.heard(peer, said, lambda: self.account(peer))

    def account(self, peer: str) -> Account:
        return self.memory.account(peer)

    def gets(self, group: bytes, source: bytes = b"", near: str = "ab") -> str:
        """The peers that get a packet."""
        sender = source or (ME if len(group) == 4 else ME6)
        found = self.audience.recipients(group, between(sender, group), near)
        return "".join(sorted(found))


class Recipients(AudienceCase):
    """Packets that leave."""

    def test_members(self) -> None:
        """Those who said so get a group's packets, until they say otherwise or part."""
        self.says("a", Interest(GROUP), Interest(GROUP6))
        self.says("b", Interest(GROUP))
        self.assertEqual((self.gets(GROUP), self.gets(GROUP6), self.gets(LOCAL)), ("ab", "a", ""))
        self.says("a", Interest(GROUP, excludes=False))
        self.assertEqual((self.gets(GROUP), self.gets(GROUP6)), ("b", "a"))
        self.audience.part("a")
        self.assertEqual(self.gets(GROUP6), "")
        self.assertEqual(self.memory.held, GROUP_SIZE)

    def test_sources(self) -> None:
        """Only from some sources, or from all but some."""
        self.says("a", Interest(GROUP, False, frozenset({ME})))
        self.says("b", Interest(GROUP, True, frozenset({ME})))
        self.assertEqual((self.gets(GROUP), self.gets(GROUP, OTHER)), ("a", "b"))

    def test_link_local(self) -> None:
        """Link-local groups go to members in the local subnet; those of all hosts to
        everybody there who carries multicast of that family; interface-local ones to nobody."""
        self.says("a", Interest(LOCAL), Interest(LOCAL6), versions=(4, 6))
        self.says("b", versions=(4,))
        self.says("c", Interest(LOCAL), Interest(LOCAL6), versions=(6,))
        self.assertEqual((self.gets(LOCAL), self.gets(LOCAL6, near="c")), ("a", "c"))
        self.assertEqual(
            (self.gets(ALL), self.gets(ALL6), self.gets(ALL6, near="abc")), ("ab", "a", "ac")
        )
        self.assertEqual(self.gets(raw("ff01::1"), near="abc"), "")

    def test_link_control(self) -> None:
        """Reports go to nobody, even when they are sent to the group."""
        self.says("a", Interest(GROUP), Interest(raw("224.0.0.22")))
        for frame, group in ((igmp(0x16, GROUP, "239.1.2.3"), GROUP), (igmp3(), raw("224.0.0.22"))):
            self.assertEqual(self.audience.recipients(group, frame, "ab"), ())

    def test_family_off(self) -> None:
        """What is not carried goes to nobody, and is not heard."""
        only4: Audience[str] = Audience((4,), self.own)
        said = Interests(1, True, frozenset({4, 6}), (Interest(GROUP6),))
        only4.heard("a", said, lambda: self.account("a"))
        self.assertEqual(only4.recipients(GROUP6, between(ME6, GROUP6), "a"), ())
        self.assertFalse(only4.hears(ALL6, True))
        self.assertTrue(only4.hears(ALL, True))

    def test_counts(self) -> None:
        """Packets, and the copies of them, are counted."""
        self.says("a", Interest(GROUP))
        self.says("b", Interest(GROUP))
        self.gets(GROUP)
        self.gets(GROUP6)
        self.assertEqual((self.audience.packets, self.audience.copies), (1, 2))

    def test_hears(self) -> None:
        """What this node has joined is heard; link-local groups only from the local subnet."""
        self.own.reported([Record(Kind.TO_EXCLUDE, GROUP), Record(Kind.TO_EXCLUDE, LOCAL)])
        for group, near, far in (
            (GROUP, True, True),
            (LOCAL, True, False),
            (ALL, True, False),
            (GROUP6, False, False),
            (ALL6, True, False),
        ):
            self.assertEqual(
                (self.audience.hears(group, True), self.audience.hears(group, False)), (near, far)
            )


class Order(AudienceCase):
    """Messages that come by two links."""

    def test_late(self) -> None:
        """What was said before something that has arrived is ignored."""
        self.says("a", Interest(GROUP), is_full=True)
        self.number -= 1
        self.says("a", Interest(GROUP6))
        self.assertEqual((self.gets(GROUP), self.gets(GROUP6)), ("a", ""))

    def test_full(self) -> None:
        """Everything makes void what was said before."""
        self.says("a", Interest(GROUP), is_full=True)
        self.says("a", Interest(GROUP6), is_full=True)
        self.assertEqual((self.gets(GROUP), self.gets(GROUP6)), ("", "a"))


class Bounds(AudienceCase):
    """A member that says too much."""

    def test_groups(self) -> None:
        """No more groups than that are kept for one peer; the others are ignored, and counted."""
        many = [Interest(b"\xef\7" + n.to_bytes(2)) for n in range(MOST + 3)]
        self.assertEqual(self.says("a", *many), 3)
        self.assertEqual((self.gets(many[0].group), self.gets(many[-1].group)), ("a", ""))
        self.assertEqual(self.says("a", *many[:MOST]), 0)

    def test_sources(self) -> None:
        """Nor more sources in all of its groups."""
        sources = frozenset(bytes((10, 9, 1, n)) for n in range(64))
        fits = MOST_SOURCES // 64
        many = [Interest(bytes((239, 7, 0, n)), False, sources) for n in range(fits + 2)]
        self.assertEqual(self.says("a", *many), 2)
        self.assertEqual(self.says("a", Interest(GROUP)), 0)

    def test_memory(self) -> None:
        """All peers of one source address together hold no more than what is left for others."""
        self.memory = MemoryBudget(100 * GROUP_SIZE)
        many = [Interest(bytes((239, 7, 0, n))) for n in range(100)]
        account = self.memory.account
        for peer in ("a", "b", "c"):
            said = Interests(1, True, frozenset({4}), tuple(many))
            self.audience.heard(peer, said, lambda: account("192.0.2.1"))
        self.assertLessEqual(self.memory.held, 50 * GROUP_SIZE)
        said = Interests(1, True, frozenset({4}), tuple(many[:10]))
        self.assertEqual(self.audience.heard("d", said, lambda: account("192.0.2.2")), 0)
        for peer in "abcd":
            self.audience.part(peer)
        self.assertEqual(self.memory.held, 0)


PEERS = "abc"
SOURCES = [bytes((10, 9, 0, n)) for n in range(3)]
GROUPS = [GROUP, LOCAL, raw("239.9.9.9")]
INTERESTS = st.builds(
    Interest, st.sampled_from(GROUPS), st.booleans(), st.frozensets(st.sampled_from(SOURCES))
)
MESSAGES = st.tuples(
    st.sampled_from(PEERS), st.booleans(), st.lists(INTERESTS, max_size=3), st.booleans()
)


class BesideTheRule(AudienceCase):
    """Any history."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(MESSAGES, max_size=12))
    def test_history(self, history: list[tuple[str, bool, list[Interest], bool]]) -> None:
        """A packet goes to exactly those whose last word on its group takes its source."""
        self.setUp()
        last: dict[str, dict[bytes, Interest]] = {}
        for peer, is_full, groups, parts in history:
            self.says(peer, *groups, is_full=is_full)
            known = last.setdefault(peer, {})
            if is_full:
                known.clear()
            known.update((each.group, each) for each in groups)
            if parts:
                self.audience.part(peer)
                last.pop(peer)
        for group in GROUPS:
            for source in SOURCES:
                expected = [
                    peer
                    for peer, known in last.items()
                    if group in known
                    and (source in known[group].sources) != known[group].excludes
                    and (group != LOCAL or peer != "c")
                ]
                self.assertEqual(self.gets(group, source), "".join(sorted(expected)))
        for peer in PEERS:
            self.audience.part(peer)
        self.assertEqual(self.memory.held, 0)
