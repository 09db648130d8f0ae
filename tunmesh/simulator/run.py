"""Runs the steps of a scenario, checks the invariants, and reports both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from tunmesh.addresses import Network
from tunmesh.simulator import invariants
from tunmesh.simulator.carrying import Carrying
from tunmesh.simulator.choosing import Choosing, ipv4_network
from tunmesh.simulator.floating.elections import Elections
from tunmesh.simulator.groups import Grouping
from tunmesh.simulator.invariants import Wholeness
from tunmesh.simulator.liar import Liar
from tunmesh.simulator.scenario import Scenario
from tunmesh.simulator.steps import (
    Add,
    CutOneWay,
    Divide,
    Expose,
    FailDials,
    FindNames,
    Heal,
    Hide,
    Intrude,
    Lie,
    LoseNames,
    Misconfigure,
    Readdress,
    Restart,
    Scatter,
    Start,
    Step,
    Stop,
    StopSeeds,
    Wait,
    Whole,
)
from tunmesh.simulator.story import Story
from tunmesh.simulator.world import World
from tunmesh.testing.mesh import IPV4, IPV6, PORT, Member, host_address

MOVED = 10_000  # host numbers of moved hosts start here
LOOK = 0.1  # seconds between two checks of the mesh
SETTLING, QUIET = 30.0, 60.0  # seconds at the end: to settle, then with no activity allowed
# A wrong config: networks, addresses, and their prefixes.
_WRONG: tuple[tuple[tuple[Network, ...], tuple[str, ...], tuple[int, ...]], ...] = (
    ((ip_network("10.10.0.0/16"), IPV6), ("10.10.200.1", "fd09::c801"), (16, 64)),
    ((ip_network("10.9.200.0/24"), IPV6), ("10.9.200.1", "fd09::c801"), (24, 64)),
    ((IPV4,), ("10.9.200.1",), (16,)),
)
ENDS = {"crash": "killed", "vanish": "lose power", "leave": "leave"}


def simulate(scenario: Scenario, nodes: int, seed: int, say: Callable[[str], None]) -> bool:
    """Whether all invariants held."""
    return Simulation(scenario, nodes, seed, say).run()


class Simulation:
    """One run of a scenario."""

    def __init__(
        self, scenario: Scenario, nodes: int, seed: int, say: Callable[[str], None]
    ) -> None:
        self._scenario = scenario
        self._nodes = max(nodes, scenario.least)
        self._seed = seed
        self._broken: list[str] = []
        networks = (ipv4_network(self._nodes, scenario.room), IPV6)
        self._world = World(
            seed,
            scenario.behind_balancer,
            scenario.from_first,
            networks,
            scenario.transport,
            scenario.relay,
            scenario.multicast,
        )
        self._story = Story(say, self._world.clock.seconds)
        self._random = self._world.random
        self._moves = 0
        world, story = self._world, self._story
        self._carrying = Carrying(world, story, self._judge, self._some)
        self._grouping = Grouping(world, story, self._judge, self._some)
        self._choosing = Choosing(world, story, self._judge, self._add, self._start, self._stop)
        self._elections = Elections(
            world, story, self._judge, self._some, self._stop, scenario.steps
        )
        self._parts = (self._carrying, self._grouping, self._elections)

    def run(self) -> bool:
        scenario, story, world = self._scenario, self._story, self._world
        story.begin(scenario.name, scenario.about, self._nodes, self._seed)
        self._add(self._nodes)
        world.chat()
        self._choosing.watch()
        self._elections.watch()
        for step in scenario.steps:
            self._do(step)
            if self._broken:
                break
        else:
            self._finish()
        self._broken += world.post.strays[:3] + world.kernels.strays[:3]
        again = f"tunmesh simulate {scenario.name} --nodes {self._nodes} --seed {self._seed}"
        story.end(self._broken, again)
        return not self._broken

    def _do(self, step: Step) -> None:
        match step:
            case Start(over):
                waiting = [m for m in self._world.members if not hasattr(m, "node")]
                self._story.tell(f"{len(waiting)} nodes start")
                self._start(waiting, over)
            case Add(share, over):
                new = self._add(len(self._some(share)))
                self._story.tell(f"{len(new)} new nodes start")
                self._start(new, over)
            case Stop(share, how):
                self._stop(self._some(share), how)
            case StopSeeds(how):
                self._stop(self._world.seeds(), how)
            case Restart():
                self._restart(step)
            case Readdress():
                self._readdress(step)
            case Hide(share):
                self._hide(share)
            case Divide(share):
                self._divide(share)
            case Scatter(parts):
                self._scatter(parts)
            case CutOneWay(share):
                self._cut_one_way(share)
            case Heal():
                self._story.tell("all cuts are over")
                self._world.network.heal()
            case FailDials(share):
                self._story.tell(f"{share:.0%} of all dials fail from now on")
                self._world.faults.failing = share
            case LoseNames():
                self._story.tell("no name resolves any more")
                self._world.faults.has_names = False
            case FindNames():
                self._story.tell("names resolve again")
                self._world.faults.has_names = True
            case Intrude():
                self._intrude()
            case Misconfigure():
                self._misconfigure()
            case Lie():
                self._lie()
            case Expose():
                self._expose()
            case Wait(seconds):
                self._world.advance(seconds)
            case Whole(within):
                self._whole(within)
            case _ if not any(part.do(step) for part in self._parts):
                self._choosing.do(step)

    # --- nodes ---

    def _add(self, count: int) -> list[Member]:
        first = len(self._world.members) + 1
        new = [self._world.add(f"node{first + n}", start=False) for n in range(count)]
        for member in new:
            self._choosing.prepare(member, self._scenario.automatic)
        return new

    def _some(self, share: float) -> list[Member]:
        running = list(self._world.honest())
        return self._random.sample(running, max(1, round(share * len(running))))

    def _start(self, members: Sequence[Member], over: float, behind: float = 0.0) -> None:
        """Start them at random times, with clocks that are `behind`, and come back when that is
        done."""
        begin = self._world.clock.seconds()
        times = sorted(self._random.uniform(0, over) for _ in members)
        for member, time in zip(members, times, strict=True):
            self._world.advance(begin + time - self._world.clock.seconds())
            self._start_one(member, behind)

    def _start_one(self, member: Member, behind: float = 0.0) -> None:
        member.skew = self._random.uniform(-1, 1) * self._scenario.skew - behind
        self._world.start(member)

    def _stop(self, members: Sequence[Member], how: str) -> None:
        self._story.tell(f"{len(members)} nodes {ENDS[how]}")
        for member in members:
            getattr(member, how)()
        if how == "leave":
            self._world.advance(2.0)
            for member in members:
                member.crash()

    def _restart(self, step: Restart) -> None:
        members = self._some(step.share)
        self._stop(members, step.how)
        self._world.advance(step.pause)
        if step.moved:
            for member in members:
                self._moves += 1
                member.move(MOVED + self._moves)
        self._start(members, step.over, step.behind)
        where = "with other addresses" if step.moved else "with the same addresses"
        clocks = f", their clocks {step.behind:,.0f} s behind" if step.behind > 0 else ""
        clocks = f", their clocks {-step.behind:,.0f} s ahead" if step.behind < 0 else clocks
        self._story.tell(f"they have been started again, {where}{clocks}")

    def _readdress(self, step: Readdress) -> None:
        members = self._world.seeds() if step.first else self._some(step.share)
        who = ", ".join(member.name for member in members)
        self._story.tell(f"the hosts of these have other addresses from now on: {who}")
        for member in members:
            self._moves += 1
            member.readdress(MOVED + self._moves)

    def _hide(self, share: float) -> None:
        others = [member for member in self._world.members if member not in self._world.seeds()]
        hidden = self._random.sample(others, round(share * len(others)))
        for member in hidden:
            self._moves += 1
            member.hidden_at = f"https://{host_address(MOVED + self._moves)}:{PORT}"
        self._story.tell(f"{len(hidden)} nodes are behind NATs")

    def _intrude(self) -> None:
        [victim] = self._some(0.0)
        [intruder] = self._add(1)
        intruder.addresses = (victim.addresses[0], intruder.addresses[1])
        self._world.intruders[intruder] = victim
        self._story.tell(f"{intruder.name} starts with the address of {victim.name}")
        self._start_one(intruder)

    def _misconfigure(self) -> None:
        [member] = self._add(1)
        networks, member.addresses, member.prefixes = self._random.choice(_WRONG)
        member.settings["networks"] = networks
        self._world.misconfigured.append(member)
        self._story.tell(f"{member.name} starts with {' and '.join(map(str, networks))}")
        self._start_one(member)

    def _lie(self) -> None:
        liar = Liar(self._world, len(self._world.liars))
        self._world.liars.append(liar)
        liar.start()
        names = sorted({identity.record.name for identity in liar.identities[1:]})
        self._story.tell(f"{liar.name} begins to lie, and poses as {' and '.join(names)}")

    def _expose(self) -> None:
        for liar in self._world.liars:
            self._story.tell(f"{liar.name} is switched off")
            liar.crash()
            network = self._world.network
            for counts in (network.dials_by, network.writes_by, network.bytes_by):
                del counts[liar.host]  # what it costs is what it costs the others
        self._world.liars.clear()

    # --- the network ---

    def _divide(self, share: float) -> None:
        hosts = [member.host for member in self._world.members]
        here = set(self._random.sample(hosts, round(share * len(hosts))))
        self._story.tell(f"nothing gets from {len(here)} hosts to the others, or back")
        self._cut(
            (one, other) for one in hosts for other in hosts if (one in here) > (other in here)
        )

    def _scatter(self, parts: int) -> None:
        hosts = [member.host for member in self._world.running()]
        self._random.shuffle(hosts)
        part = {host: number % parts for number, host in enumerate(hosts)}
        self._story.tell(f"the hosts are in {len({*part.values()})} parts that are cut off")
        self._cut((one, other) for one in hosts for other in hosts if part[one] < part[other])

    def _cut(self, ways: Iterable[tuple[str, str]], both_ways: bool = True) -> None:
        for one, other in ways:
            self._world.network.cut(one, other, both_ways)

    def _cut_one_way(self, share: float) -> None:
        hosts = [member.host for member in self._world.members]
        pairs = [self._random.sample(hosts, 2) for _ in range(round(share * len(hosts) ** 2 / 2))]
        self._story.tell(f"on {len(pairs)} ways, packets get through in one direction only")
        self._cut(((one, other) for one, other in pairs), both_ways=False)

    # --- what has to hold ---

    def _judge(self, ok: bool, text: str) -> None:
        self._story.tell(text, "✔" if ok else "✘")
        if not ok:
            self._broken.append(text)

    def _whole(self, within: float) -> None:
        wholeness = Wholeness(self._world)
        begin = self._world.clock.seconds()
        while (problem := wholeness.problem()) and self._world.clock.seconds() < begin + within:
            self._world.advance(LOOK)
        took = self._world.clock.seconds() - begin
        if problem:
            self._judge(False, f"not whole within {within:.0f} s: {problem}")
        else:
            limit = f"{took:.1f} s, at most {within:.0f}"
            self._judge(True, f"whole: {wholeness.links:,} links ({limit})")

    def _leftovers(self) -> list[str]:
        """What there is in every moment of the next ten seconds: a bootstrap group that looks again
        has a connection more for a moment."""
        left: list[str] = []
        for _ in range(20):
            left = list(invariants.leftovers(self._world))
            if not left:
                break
            self._world.advance(0.5)
        return left

    def _finish(self) -> None:
        world, scenario = self._world, self._scenario
        world.advance(SETTLING)
        before = invariants.changes(world)
        dials = world.network.dials
        world.advance(QUIET)
        changes, dials = invariants.changes(world) - before, world.network.dials - dials
        self._judge(not changes, f"quiet for {QUIET:.0f} s: {changes} links changed, {dials} dials")
        self._whole(10)
        count, lost = invariants.lost_packets(world)
        text = f"{count - len(lost):,} of {count:,} packets arrived"
        self._judge(not lost, text + (f", not the one {lost[0]}" if lost else ""))
        strays = len(world.post.strays)
        self._judge(not strays, f"{strays} of {world.post.sent:,} ever came to a wrong node")
        self._choosing.finish()
        self._elections.finish()
        self._broken += self._leftovers()
        self._broken += invariants.duplicates(world)
        self._broken += invariants.wrong_networks(world)
        rows = list(invariants.costs(world, scenario))
        self._story.costs(rows)
        self._broken += [
            f"a node had {most:,.0f} {what}, more than {limit:,.0f}"
            for what, _, most, limit in rows
            if most > limit
        ]
