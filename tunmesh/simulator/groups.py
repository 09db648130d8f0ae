"""Multicast groups in a simulation: the programs that are in them, and the kernels that say so.

A program wants packets of a group, from all sources or from some. Its kernel reports that to its
node, once and when it is asked; a report may get lost. Whatever happens, no packet may come out of
a tun whose programs do not want it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tunmesh.multicast.own import WITHIN
from tunmesh.packets import virtio
from tunmesh.packets.group_records import Kind, Record
from tunmesh.simulator.steps import Grouped, Regroup, Step
from tunmesh.simulator.story import Part
from tunmesh.testing.clock import FakeClock
from tunmesh.testing.group_reports import igmp3, raw
from tunmesh.testing.mesh import Member
from tunmesh.testing.tun import frame
from tunmesh.wire.interests import Interest

if TYPE_CHECKING:
    pass

# Two for the whole mesh, one for the local subnet, one whose programs name sources.
GROUPS = ("239.1.0.1", "239.1.0.2", "224.0.0.99", "232.1.1.1")
SOURCES = 3  # that a program names at most
LOOK = 0.1  # seconds between two looks at who is told to be in which group
EXAM = 500  # packets that are sent to each group at most
NUMBER = slice(30, 38)  # of a packet: behind the virtio header and the IPv4 header


class Kernels:
    """The kernels of all hosts, as far as groups are concerned."""

    def __init__(self, clock: FakeClock, random: Random) -> None:
        self.lost = 0.0  # the share of reports that get lost
        self.strays: list[str] = []
        self.missing: dict[int, set[str]] = {}  # who has to get a packet yet, by its number
        self._clock = clock
        self._random = random
        self._wanted: dict[Member, dict[bytes, Interest]] = {}

    def wants(self, member: Member, group: str, source: str) -> bool:
        """Whether programs there want packets of this group and source."""
        interest = self._wanted.get(member, {}).get(raw(group))
        return interest is not None and interest.takes(raw(source))

    def is_in(self, member: Member, group: str) -> bool:
        return raw(group) in self._wanted.get(member, {})

    def shown(self, member: Member, group: str) -> str:
        """From which sources programs there want packets of a group that they are in."""
        return self._wanted[member][raw(group)].shown

    def change(self, member: Member, interest: Interest) -> None:
        """What programs there want of a group from now on."""
        wanted = self._wanted.setdefault(member, {})
        wanted.pop(interest.group, None)
        if not interest.is_over:
            wanted[interest.group] = interest
        if self._random.random() >= self.lost:
            self._report(member, Kind.TO_EXCLUDE, Kind.TO_INCLUDE, interest)

    def asked(self, member: Member) -> None:
        """The node asks which groups there are."""
        self._clock.callLater(self._random.uniform(0, WITHIN), self._answer, member, member.tun)

    def _answer(self, member: Member, tun: object) -> None:
        if tun is member.tun and self._wanted.get(member):
            wanted = self._wanted[member].values()
            self._report(member, Kind.IS_EXCLUDE, Kind.IS_INCLUDE, *wanted)

    def _report(self, member: Member, all_but: Kind, only: Kind, *wanted: Interest) -> None:
        if member.tun.is_open and not member.reactor.is_dead:
            records = (
                Record(all_but if each.excludes else only, each.group, tuple(sorted(each.sources)))
                for each in wanted
            )
            member.tun.inject(igmp3(*records, source=member.address))

    def got(self, member: Member, packet: bytes) -> None:
        """A packet to a group came out of the tun of a member."""
        number = int.from_bytes(packet[NUMBER], "big")
        interest = self._wanted.get(member, {}).get(packet[26:30])
        if interest is None:
            self.strays.append(f"{member.name} got a packet to a group that it is not in")
        elif member.name in self.missing.get(number, ()):
            self.missing[number].remove(member.name)
        elif interest.takes(virtio.ends(packet)[0]):
            self.strays.append(f"{member.name} got a packet to a group twice")


class Grouping(Part):
    """The part that is about multicast groups."""

    _sent = 0  # packets to groups

    def do(self, step: Step) -> bool:
        """Whether it is one of these steps."""
        match step:
            case Regroup():
                self._regroup(step)
            case Grouped(within):
                self._grouped(within)
            case _:
                return False
        return True

    def _regroup(self, step: Regroup) -> None:
        world, kernels = self.world, self.world.kernels
        kernels.lost = step.lost
        changes: list[tuple[float, Member, Interest]] = []
        for group in GROUPS:
            chosen = self.some(step.share)
            for member in world.honest():
                if member in chosen or kernels.is_in(member, group):
                    interest = self._interest(group, member in chosen)
                    changes.append((world.random.uniform(0, step.over), member, interest))
        lost = f", of whose reports {step.lost:.0%} get lost" if step.lost else ""
        self.story.tell(f"programs join and leave groups, {len(changes)} times{lost}")
        begin = world.clock.seconds()
        for at, member, interest in sorted(changes, key=lambda change: change[0]):
            world.advance(max(0.0, begin + at - world.clock.seconds()))
            if not member.reactor.is_dead:
                kernels.change(member, interest)
        kernels.lost = 0.0

    def _interest(self, group: str, is_member: bool) -> Interest:
        if not is_member or not group.startswith("232."):
            return Interest(raw(group), excludes=is_member)
        random, honest = self.world.random, list(self.world.honest())
        drawn = random.sample(honest, random.randint(1, min(SOURCES, len(honest))))
        sources = frozenset(raw(each.address) for each in drawn)
        return Interest(raw(group), random.random() < 0.5, sources)

    # --- what has to hold ---

    def _grouped(self, within: float) -> None:
        world = self.world
        begin = world.clock.seconds()
        while (wrong := self._wrong()) and world.clock.seconds() < begin + within:
            world.advance(LOOK)
        took = world.clock.seconds() - begin
        if wrong:
            self.judge(False, f"not within {within:.0f} s: {wrong}")
            return
        limit = f"{took:.1f} s, at most {within:.0f}"
        self.judge(True, f"each node knows who is in which group ({limit})")
        self._send_to_all()

    def _wrong(self) -> str:
        """What a node has not heard yet, or has not forgotten."""
        kernels = self.world.kernels
        members = {member.name: member for member in self.world.running()}
        for member in members.values():
            status = member.node.status().multicast
            told = {} if status is None else {each.group: each.nodes for each in status.groups}
            for group in GROUPS:
                expected = [
                    (name, kernels.shown(members[name], group))
                    for name in member.linked_with
                    if kernels.is_in(members[name], group)
                ]
                if list(told.get(group, ())) != expected:
                    return f"{member.name} does not know who is in {group}"
        return ""

    def _send_to_all(self) -> None:
        """A packet from everybody to each group arrives where it is wanted, once; and no copy goes
        to any other node."""
        world, kernels = self.world, self.world.kernels
        members = {member.name: member for member in world.running()}
        senders = list(members.values())
        if len(senders) > EXAM:
            senders = world.random.sample(senders, EXAM)
        kernels.missing.clear()
        copies, expected = self._copies(), 0
        for sender in senders:
            for group in GROUPS:
                self._sent += 1
                kernels.missing[self._sent] = {
                    name
                    for name in sender.linked_with
                    if kernels.wants(members[name], group, sender.address)
                }
                expected += len(kernels.missing[self._sent])
                packet = frame(sender.address, group, self._sent.to_bytes(8))
                sender.tun.inject(packet)
        world.advance(1.0)
        missing = sum(map(len, kernels.missing.values()))
        self.judge(not missing, f"{expected - missing} of {expected} copies arrived")
        sent = self._copies() - copies
        self.judge(sent == expected, f"{sent} copies were sent, for {expected} receivers")

    def _copies(self) -> int:
        statuses = (member.node.status().multicast for member in self.world.running())
        return sum(status.copies for status in statuses if status is not None)
