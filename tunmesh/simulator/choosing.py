"""What has to hold of the addresses that nodes choose themselves, in every moment and at the end.

A *contest* is an address that two honest nodes use at the same time, while they are linked with
each other and with the same other nodes: all that there is to know about it has crossed the mesh.
Of two halves that meet, both may have a node with the same address; until the links are there,
nobody can tell which of the two has to give way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from itertools import combinations

from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.simulator.steps import Chosen, Contend, Fill, Part, Roll, Step
from tunmesh.simulator.story import Story
from tunmesh.simulator.world import World
from tunmesh.testing.mesh import IPV4, PORT, Member

HEADS = 2  # nodes that those of one half bootstrap from
LOOK = 0.25  # seconds between two looks at who uses what
# Seconds for which a contest may last: the time that an address is kept after it was lost, and the
# way there and back, twice.
LONGEST_CONTEST = 3.0


class Contests:
    """Those of a world, looked for from now on. `used(member)`: the addresses that it uses."""

    def __init__(self, world: World, used: Callable[[Member], Iterable[str]] | None = None) -> None:
        self.count = 0
        self.longest = 0.0
        self.broken: list[str] = []
        self._world = world
        self._used = used if used is not None else world.used
        self._since: dict[tuple[str, Member, Member], float] = {}

    def watch(self) -> None:
        """Look now, and again and again."""
        clock = self._world.clock
        now = clock.seconds()
        before, self._since = self._since, {}
        for contest in self._found():
            self.count += contest not in before
            since = self._since[contest] = before.get(contest, now)
            self.longest = max(self.longest, now - since)
            address, one, other = contest
            if now - since > LONGEST_CONTEST >= now - LOOK - since:
                self.broken.append(
                    f"{one.name} and {other.name} both use {address} for more than "
                    f"{LONGEST_CONTEST:.0f} s"
                )
        clock.callLater(LOOK, self.watch)

    def _found(self) -> Iterator[tuple[str, Member, Member]]:
        users: dict[str, list[Member]] = {}
        for member in self._world.honest():
            for address in self._used(member):
                users.setdefault(address, []).append(member)
        for address, members in users.items():
            for one, other in combinations(members, 2):
                if _know_the_same(one, other):
                    yield address, one, other


def _know_the_same(one: Member, other: Member) -> bool:
    ids = [{m.node.record.id, *(peer.record.id for peer in m.status.peers)} for m in (one, other)]
    return ids[0] == ids[1]


class Choices:
    """Which node has which address, and which it had when they were looked at last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._had: dict[str, tuple[str, ...]] = {}

    def problem(self, left_over: int, is_same: bool) -> str:
        """The first one: a node that has no address, another one than before, or that of another
        node; or that is not reached by it. So many nodes may have none. Empty if all is well."""
        members = list(self._world.honest())
        used = {member: self._world.used(member) for member in members}
        without = [m for m in members if m.automatic and len(used[m]) < len(m.automatic)]
        if len(without) != left_over:
            names = ", ".join(member.name for member in without[:3])
            return f"{len(without)} nodes have no address, not {left_over}: {names}"
        for member in members:
            has = member not in without
            if member.node.health().is_ready != has:
                return f"{member.name} is {'not ' if has else ''}ready"
            if has and is_same and self._had.get(member.name, used[member]) != used[member]:
                return f"{member.name} has {used[member]}, not {self._had[member.name]} as before"
        return self._collision(used) or self._unreached(used)

    def remember(self) -> None:
        """Which node has which."""
        self._had = {member.name: self._world.used(member) for member in self._world.honest()}

    def _collision(self, used: dict[Member, tuple[str, ...]]) -> str:
        owners: dict[str, list[Member]] = {}
        for member, addresses in used.items():
            for address in addresses:
                for other in owners.setdefault(address, []):
                    if self._world.reach(member, other):
                        return f"{member.name} and {other.name} both have {address}"
                owners[address].append(member)
        return ""

    def _unreached(self, used: dict[Member, tuple[str, ...]]) -> str:
        by_id = {member.node.record.id: member for member in used}
        for member in used:
            for peer in member.status.peers:
                other = by_id.get(peer.record.id)
                if other is not None and set(peer.routed) != set(used[other]):
                    return f"{member.name} routes {peer.routed} to {other.name}, not {used[other]}"
        return ""


def ipv4_network(nodes: int, room: float) -> IPv4Network:
    """One with addresses for little more than `room` times that many nodes; with 0, plenty."""
    if not room:
        return IPV4
    bits = next(bits for bits in range(4, 16) if (1 << bits) - 2 >= nodes * room)
    return IPv4Network((IPV4.network_address, 32 - bits))


class Choosing:
    """The part of a simulation that is about such nodes: its steps, and what has to hold. `judge`,
    `add`, `start` and `stop` are those of the simulation."""

    def __init__(
        self,
        world: World,
        story: Story,
        judge: Callable[[bool, str], None],
        add: Callable[[int], list[Member]],
        start: Callable[[Sequence[Member], float], None],
        stop: Callable[[Sequence[Member], str], None],
    ) -> None:
        self._world = world
        self._story = story
        self._judge = judge
        self._add = add
        self._start = start
        self._stop = stop
        self._contests = Contests(world)
        self._choices = Choices(world)
        self._halves: tuple[list[Member], ...] = ()
        self._has_namesakes = False
        self._moved = 0

    def watch(self) -> None:
        """From now on."""
        self._contests.watch()

    def prepare(self, member: Member, share: float) -> None:
        """A new member: whether it chooses its addresses, and to which half it belongs."""
        network = self._world.settings["networks"][0]
        member.prefixes = (network.prefixlen, 64)
        if share and self._world.random.random() < share:
            member.automatic = (4, 6)
        if self._halves:
            self._to_half(member)

    def do(self, step: Step) -> None:
        match step:
            case Part():
                self._part(step.namesakes)
            case Contend():
                self._contend(step.static)
            case Roll():
                self._roll(step)
            case Fill():
                self._fill(step.more)
            case Chosen():
                self._chosen(step)

    def finish(self) -> None:
        """What has to hold of the whole run."""
        contests = self._contests
        if not any(member.automatic for member in self._world.members):
            return
        moved = sum(len(member.logged("address_moved")) for member in self._world.members)
        text = f"{contests.count} contests for an address, {contests.longest:.1f} s at most"
        self._judge(not contests.broken, f"{text}; {moved} had to move")
        for broken in contests.broken[:3]:
            self._judge(False, broken)

    # --- steps ---

    def _part(self, namesakes: bool) -> None:
        self._halves = ([], [])
        self._has_namesakes = namesakes
        for member in list(self._world.members):
            self._to_half(member)
        names = ", with the same names" if namesakes else ""
        self._story.tell(f"the hosts are in two halves that are cut off from each other{names}")

    def _to_half(self, member: Member) -> None:
        """By turns."""
        here, there = sorted(self._halves, key=len)
        here.append(member)
        if self._has_namesakes:
            member.name = f"node{len(here)}"
        for number, half in enumerate(self._halves):
            self._world.heads[f"half{number}.test"] = half[:HEADS]
        member.settings["groups"] = tuple(
            GroupSettings(f"half{number}", ((f"half{number}.test", PORT),)) for number in (0, 1)
        )
        for other in there:
            self._world.network.cut(member.host, other.host)

    def _contend(self, is_static: bool) -> None:
        new = self._add(2)
        for member in new:
            member.name = "contender"
            member.automatic = (4, 6)
        self._start(new[:1], 0.0)
        self._world.advance(20.0)
        one, other = new
        if is_static:
            other.automatic = ()
            other.addresses = one.addresses
        self._start([other], 0.0)
        how = "assigned to one of them" if is_static else "chosen by both"
        self._story.tell(f"{one.address} is {how}: a node in one half, and one in the other half")

    def _roll(self, step: Roll) -> None:
        for member in list(self._world.honest()):
            self._stop([member], step.how)
            self._moved += 1
            member.move(5_000 + self._moved)
            self._start([member], 0.0)
            self._world.advance(step.pause)
        self._story.tell("everybody has been started again, at other hosts")

    def _fill(self, more: int) -> None:
        network = self._world.settings["networks"][0]
        free = network.num_addresses - 2 - len(list(self._world.honest()))
        new = self._add(free + more)
        self._story.tell(f"{len(new)} nodes start, and {network} has {free} addresses left")
        self._start(new, 0.5)

    def _chosen(self, step: Chosen) -> None:
        clock = self._world.clock
        begin = clock.seconds()
        problem = self._choices.problem(step.left_over, step.same)
        while problem and clock.seconds() < begin + step.within:
            self._world.advance(LOOK)
            problem = self._choices.problem(step.left_over, step.same)
        if problem:
            self._judge(False, f"not within {step.within:.0f} s: {problem}")
            return
        self._choices.remember()
        same = ", as before" if step.same else ""
        took = f"{clock.seconds() - begin:.1f} s, at most {step.within:.0f}"
        self._judge(True, f"every node has an address of its own{same} ({took})")
