"""The traffic of a local mesh: measured between all pairs of nodes, one pair after the other, so
that measurements do not disturb each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing

from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh import screen
from tunmesh.localmesh.pinger import Pinger, PingReactor, Pings
from tunmesh.localmesh.plan import NodePlan
from tunmesh.localmesh.processes import MeshError
from tunmesh.localmesh.screen import PairResult, View
from tunmesh.localmesh.transfers import Place, TrafficReactor, fetch, transfer

_PINGS_PER_PAIR = 5
MEGABYTE = 1_000_000
# Bytes of all transfers together, to bound the run time with many pairs; and of a single one.
_TRANSFERS_TOTAL = 256 * MEGABYTE
TRANSFER_LEAST, TRANSFER_MOST = 1 * MEGABYTE, 32 * MEGABYTE
PATIENCE = 60.0  # seconds, for one transfer or page, on the slowest machine
PING_PATIENCE = 5.0
_PROBE_INTERVAL = 0.05
MUST_FAIL_PATIENCE = 0.3  # how long to wait for an answer that must not come

Pair = tuple[NodePlan, NodePlan]


class CrossingReactor(PingReactor, TrafficReactor):
    """The reactor interfaces that traffic of all kinds needs."""


class MeshTraffic:
    """Traffic between nodes. Raises MeshError or TrafficError where it does not get through."""

    def __init__(
        self,
        reactor: CrossingReactor,
        plans: Sequence[NodePlan],
        namespaces: Sequence[Namespace],
        view: View,
    ) -> None:
        self._reactor = reactor
        self._plans = plans
        self._namespaces = dict(zip(plans, namespaces, strict=True))
        self._view = view

    async def measure(self) -> list[PairResult]:
        """Ping, then TCP, for every ordered pair."""
        pings = await self._ping_all()
        rates = await self._transfer_all()
        return [PairResult(a.name, b.name, *pings[a, b], rates[a, b]) for a, b in pings]

    async def fetch(self, client: NodePlan, server: NodePlan) -> None:
        """A page by HTTP."""
        page = await fetch(self._reactor, self._place(client), self._place(server), PATIENCE)
        if page.status != 200:
            raise MeshError(f"GET {page.url} was answered with {page.status}", server.name)
        took = screen.milliseconds(page.seconds)
        self._view.done(f"HTTP: {client.name} got {page.url} from {server.name} in {took}")
        self._view.note(f"it says: {page.text}")

    async def insist_on_silence(self, source: NodePlan, target: NodePlan) -> None:
        """A ping that must fail."""
        with closing(self._pinger(source)) as pinger:
            if await pinger.ping_once(target.ipv4, MUST_FAIL_PATIENCE) is not None:
                raise MeshError(f"{target.ipv4} still answers, though {target.name} is dead")
        self._view.done(f"a ping from {source.name} to {target.name} fails now, as it must")

    async def first_answer(self, source: NodePlan, target: NodePlan, patience: float) -> None:
        """Ping until there is an answer, for at most `patience` seconds. Each ping may take longer
        than the one before, as round trips on a busy machine do."""
        with closing(self._pinger(source)) as pinger:
            waits = _PROBE_INTERVAL
            while patience > 0:
                if await pinger.ping_once(target.ipv4, waits) is not None:
                    return
                patience -= waits
                waits *= 1.05
        raise MeshError(f"{target.ipv4} does not answer pings again", source.name, target.name)

    async def _ping_all(self) -> dict[Pair, tuple[Pings, Pings]]:
        self._view.step("pinging all others from")
        results = {}
        for source in self._plans:
            with (
                closing(self._pinger(source)) as ping4,
                closing(self._pinger(source, 6)) as ping6,
            ):
                for target in self._others(source):
                    results[source, target] = pings = (
                        await ping4.ping(target.ipv4, _PINGS_PER_PAIR, PING_PATIENCE),
                        await ping6.ping(target.ipv6, _PINGS_PER_PAIR, PING_PATIENCE),
                    )
                    _insist_on_answers(source, target, pings)
            self._view.word(source.name)
        ipv4, ipv6 = (_answered(family) for family in zip(*results.values(), strict=True))
        self._view.done(f"pings answered: {ipv4} over IPv4, {ipv6} over IPv6")
        return results

    async def _transfer_all(self) -> dict[Pair, float]:
        size = transfer_size(len(self._plans))
        self._view.step(f"sending {size // MEGABYTE} MB by TCP to all others from")
        payload = os.urandom(size)
        rates = {}
        for source in self._plans:
            for target in self._others(source):
                rates[source, target] = await transfer(
                    self._reactor, self._place(source), self._place(target), payload, PATIENCE
                )
            self._view.word(source.name)
        total = size * len(rates) // MEGABYTE
        self._view.done(f"{total} MB by TCP arrived, compared byte for byte")
        self._view.note(f"(both ends and all nodes share {os.cpu_count()} processor cores)")
        return rates

    def _others(self, source: NodePlan) -> list[NodePlan]:
        return [plan for plan in self._plans if plan != source]

    def _pinger(self, source: NodePlan, version: int = 4) -> Pinger:
        return Pinger(self._reactor, self._namespaces[source], version)

    def _place(self, plan: NodePlan) -> Place:
        return Place(self._namespaces[plan], plan.ipv4)


def transfer_size(nodes: int) -> int:
    """Bytes for each pair's transfer, a whole number of megabytes."""
    fair = _TRANSFERS_TOTAL // (nodes * (nodes - 1)) // MEGABYTE * MEGABYTE
    return min(max(fair, TRANSFER_LEAST), TRANSFER_MOST)


def _insist_on_answers(source: NodePlan, target: NodePlan, families: tuple[Pings, Pings]) -> None:
    """Some loss is shown in the table; total loss means that the mesh does not work."""
    for address, pings in zip((target.ipv4, target.ipv6), families, strict=True):
        if not pings.round_trips:
            raise MeshError(
                f"{pings.sent} of {pings.sent} pings from {source.name} to {address} were lost",
                source.name,
                target.name,
            )


def _answered(family: Sequence[Pings]) -> str:
    sent = sum(pings.sent for pings in family)
    return f"{sent - sum(pings.lost for pings in family)} of {sent}"
