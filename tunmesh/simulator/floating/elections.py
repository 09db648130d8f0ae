"""What has to hold of a floating address, in every moment and at the end.

Programs on some of the nodes claim it and release it, as keepalived does, but without asking each
other: there may be any number of masters. A contest is as for the addresses that nodes choose
themselves (simulator.choosing).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

from tunmesh.simulator.choosing import Contests
from tunmesh.simulator.floating.steps import Claim, Held, Release, StopHolder
from tunmesh.simulator.steps import Step
from tunmesh.simulator.story import Part, Story
from tunmesh.simulator.world import World
from tunmesh.testing.mesh import Member

ADDRESS = ip_address("10.9.255.250")
LOOK = 0.05  # seconds between two checks
ENDS = {"crash": "is killed", "vanish": "loses power", "leave": "leaves"}


class Elections(Part):
    """The part of a simulation that is about it, if any of its steps is. `stop` is that of the
    simulation."""

    def __init__(
        self,
        world: World,
        story: Story,
        judge: Callable[[bool, str], None],
        some: Callable[[float], list[Member]],
        stop: Callable[[list[Member], str], None],
        steps: tuple[Step, ...],
    ) -> None:
        super().__init__(world, story, judge, some)
        self._stop = stop
        self._takes_place = any(isinstance(step, Claim) for step in steps)
        self._contests = Contests(world, lambda member: [str(ADDRESS)] * _holds(member))
        if self._takes_place:
            world.settings["floating"] = (ip_network(ADDRESS),)

    def watch(self) -> None:
        """From now on."""
        if self._takes_place:
            self._contests.watch()

    def do(self, step: Step) -> bool:
        """Whether it is one of these steps."""
        match step:
            case Claim():
                members = self.some(step.share)
                self.story.tell(f"programs on {len(members)} nodes claim {ADDRESS}")
                for member in members:
                    member.node.floating.claim(ADDRESS)
            case Release():
                for member in self._holders():
                    self.story.tell(f"the program on {member.name} releases it")
                    member.node.floating.release(ADDRESS)
            case StopHolder():
                for member in self._holders():
                    self.story.tell(f"{member.name}, which has it, {ENDS[step.how]}")
                    self._stop([member], step.how)
            case Held():
                self._held(step.within)
            case _:
                return False
        return True

    def finish(self) -> None:
        """What has to hold of the whole run."""
        if self._takes_place:
            contests = self._contests
            text = f"{contests.count} contests for {ADDRESS}, {contests.longest:.1f} s at most"
            self.judge(not contests.broken, text)
            for broken in contests.broken[:3]:
                self.judge(False, broken)

    def _holders(self) -> list[Member]:
        return [member for member in self.world.honest() if _holds(member)]

    def _held(self, within: float) -> None:
        clock = self.world.clock
        begin = clock.seconds()
        problem = self._problem()
        while problem and clock.seconds() < begin + within:
            self.world.advance(LOOK)
            problem = self._problem()
        if problem:
            self.judge(False, f"not within {within:.0f} s: {problem}")
            return
        names = ", ".join(member.name for member in self._holders()) or "nobody"
        took = f"{clock.seconds() - begin:.1f} s, at most {within:.0f}"
        self.judge(True, f"{names} has {ADDRESS}, and all others lead there ({took})")

    def _problem(self) -> str:
        """One of those that claim it has it, and every other node leads there, if any claims it."""
        members = list(self.world.honest())
        claimants = [member for member in members if member.node.floating.statuses]
        holders = [member for member in members if _holds(member)]
        if len(holders) != bool(claimants):
            names = ", ".join(member.name for member in holders) or "nobody"
            return f"{len(claimants)} nodes claim {ADDRESS}, and {names} has it"
        for member in members:
            owners = [p.record.id for p in member.status.peers if str(ADDRESS) in p.routed]
            expected = [each.node.record.id for each in holders if each is not member]
            if owners != expected:
                return f"{member.name} does not lead to the node that has {ADDRESS}"
        return ""


def _holds(member: Member) -> bool:
    return any(own.is_usable for own in member.node.floating.statuses)
