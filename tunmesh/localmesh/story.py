"""The steps of a local mesh: nodes start, link, carry traffic; one is killed, and the mesh heals.

Each step waits for log events of the nodes (see `processes`) or for packets, and shows them as they
arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

from twisted.internet.defer import CancelledError, Deferred

from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh import screen
from tunmesh.localmesh.measuring import MeshTraffic
from tunmesh.localmesh.plan import NodePlan
from tunmesh.localmesh.processes import MeshError, NodeProcess, Nodes
from tunmesh.localmesh.screen import View

# Seconds, on the slowest machine: what fails is said by a node, long before.
PATIENCE = 60.0  # for every step
PATIENCE_PER_NODE = 5.0  # more for steps in which processes start
LEAVING_PATIENCE = 30.0
FORCED_LEAVING_PATIENCE = 10.0


@dataclass(frozen=True)
class Awaited:
    """A condition to wait for, the word to show when it holds, and the nodes concerned."""

    word: str
    names: tuple[str, ...]
    holds: Callable[[], bool]


class MeshStory:
    """Call `tell`, then `leave`, once each; `end_all` at any time."""

    def __init__(
        self,
        plans: Sequence[NodePlan],
        namespaces: Sequence[Namespace],
        nodes: Nodes,
        traffic: MeshTraffic,
        view: View,
    ) -> None:
        self._plans = plans
        self._namespaces = dict(zip(plans, namespaces, strict=True))
        self._nodes = nodes
        self._traffic = traffic
        self._view = view
        self._starting_patience = PATIENCE + PATIENCE_PER_NODE * len(plans)

    async def tell(self) -> None:
        """Everything up to the table, after which the mesh is up and whole. Raises MeshError,
        TrafficError."""
        first, second, last = self._plans[0], self._plans[1], self._plans[-1]
        await self._start()
        await self._link()
        if first.automatic:
            await self._choose()
        results = await self._traffic.measure()
        await self._traffic.fetch(first, second)
        await self._kill(last)
        await self._traffic.insist_on_silence(first, last)
        await self._heal(last)
        said = await self._nodes.status(first)
        self._view.block([*screen.results_table(results), "", "  tunmesh status", "", *said])

    async def leave(self) -> None:
        """Ask all nodes at once to leave; every exit code counts."""
        self._view.step("asking all nodes to leave; left")
        leaving = [process for process in self._nodes.processes.values() if process.running]
        for process in leaving:
            process.signal("TERM")
        awaited = [Awaited(p.name, (p.name,), _has_ended(p)) for p in leaving]
        await self._see("ended after TERM", awaited, LEAVING_PATIENCE)
        for process in leaving:
            if process.status != 0:
                raise MeshError(f"{process.name} left with status {process.status}", process.name)
        self._view.done(f"all {len(leaving)} left with exit code 0")

    async def end_all(self) -> None:
        """End all nodes, whatever happened. The janitor kills those that ignore it, and all if this
        is cancelled."""
        processes = list(self._nodes.processes.values())
        for process in processes:
            process.signal("TERM")
        with suppress(MeshError, CancelledError):
            await self._nodes.until(
                lambda: not any(process.running for process in processes),
                lambda: MeshError("nodes ignore TERM"),
                FORCED_LEAVING_PATIENCE,
            )

    async def _start(self) -> None:
        """Start the first node, the bootstrap node; when it listens, start the others."""
        self._view.step("starting")
        for plans in self._plans[:1], self._plans[1:]:
            for plan in plans:
                self._nodes.start(plan, self._namespaces[plan])
            awaited = [Awaited(plan.name, (plan.name,), self._serves(plan)) for plan in plans]
            await self._see("listening without privileges", awaited, self._starting_patience)
        self._view.done(f"{len(self._plans)} nodes listen and have given up all privileges")

    async def _link(self) -> None:
        self._view.step("linking")
        began = time.monotonic()
        awaited = [
            Awaited(f"{a.number}–{b.number}", (a.name, b.name), self._linked(a, b))
            for a, b in combinations(self._plans, 2)
        ]
        await self._see("linked", awaited, self._starting_patience)
        took = time.monotonic() - began
        self._view.done(f"every node is linked to every other ({took:.2f} s since all listen)")

    async def _choose(self) -> None:
        self._view.step("choosing addresses; have theirs")
        began = time.monotonic()
        awaited = [Awaited(plan.name, (plan.name,), self._has_chosen(plan)) for plan in self._plans]
        await self._see("with the addresses of their names", awaited, self._starting_patience)
        took = time.monotonic() - began
        self._view.done(f"every node has the addresses of its name ({took:.2f} s since the links)")

    async def _kill(self, victim: NodePlan) -> None:
        self._view.step(f"kill -9 {victim.name}; noticed by")
        began = time.monotonic()
        self._nodes.processes[victim.name].signal("KILL")
        awaited = [
            Awaited(other.name, (other.name,), self._forgot(other, victim))
            for other in self._plans
            if other != victim
        ]
        await self._see(f"noticed that {victim.name} is dead", awaited, PATIENCE)
        took = screen.milliseconds(time.monotonic() - began)
        self._view.done(f"all others noticed within {took}")

    async def _heal(self, victim: NodePlan) -> None:
        """Start it again with the same name and addresses; traffic is watched meanwhile."""
        self._view.step(f"starting {victim.name} again; linked to")
        began = time.monotonic()
        self._nodes.start(victim, self._namespaces[victim])
        flowing = Deferred.fromCoroutine(self._flowing_since(victim))
        awaited = [
            Awaited(other.name, (other.name, victim.name), self._linked(other, victim))
            for other in self._plans
            if other != victim
        ]
        try:
            await self._see(f"linked to {victim.name}", awaited, self._starting_patience)
            linked = time.monotonic()
            answered = await flowing
        finally:
            flowing.addErrback(lambda _: None)  # it is over, or given up
            flowing.cancel()
        self._view.done(
            f"healed: linked to all {linked - began:.2f} s after its start, "
            f"traffic after {answered - began:.2f} s"
        )

    async def _flowing_since(self, target: NodePlan) -> float:
        """The (monotonic) time of the first answer to a ping."""
        await self._traffic.first_answer(self._plans[0], target, self._starting_patience)
        return time.monotonic()

    async def _see(self, what: str, awaited: Sequence[Awaited], patience: float) -> None:
        """Show each word when its condition holds, until all do. Raises MeshError otherwise."""
        pending = list(awaited)

        def all_hold() -> bool:
            for item in [item for item in pending if item.holds()]:
                pending.remove(item)
                self._view.word(item.word)
            return not pending

        def missing() -> MeshError:
            words = ", ".join(item.word for item in pending)
            names = dict.fromkeys(name for item in pending for name in item.names)
            return MeshError(f"not {what} after {patience:.0f} s: {words}", *names)

        await self._nodes.until(all_hold, missing, patience)

    def _serves(self, plan: NodePlan) -> Callable[[], bool]:
        process = self._nodes.processes[plan.name]
        return lambda: process.listening and process.unprivileged

    def _has_chosen(self, plan: NodePlan) -> Callable[[], bool]:
        wanted = {plan.ipv4, plan.ipv6}
        process = self._nodes.processes[plan.name]
        return lambda: {address.partition("/")[0] for address in process.chosen} == wanted

    def _linked(self, a: NodePlan, b: NodePlan) -> Callable[[], bool]:
        return lambda: {(a.name, b.name), (b.name, a.name)} <= self._nodes.links()

    def _forgot(self, plan: NodePlan, gone: NodePlan) -> Callable[[], bool]:
        return lambda: (plan.name, gone.name) not in self._nodes.links()


def _has_ended(process: NodeProcess) -> Callable[[], bool]:
    return lambda: not process.running
