"""Whether a node is live and ready (observe.health), and the facts about the node itself that this
depends on. What others see of it, its seniority, is kept up to date here, too."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.membership import name_conflicts
from tunmesh.membership.seniority import Seniority
from tunmesh.node.dials import Dials
from tunmesh.node.own.addresses import OwnAddresses
from tunmesh.node.parts import Parts
from tunmesh.node.stories.node import NodeStory
from tunmesh.observe.health import Condition, judge, missing
from tunmesh.status.health import Health


class Readiness:
    """`update` is to be called whenever something that it depends on may have changed, and every
    few seconds."""

    def __init__(
        self, parts: Parts, dials: Dials, addresses: OwnAddresses, story: NodeStory
    ) -> None:
        self._parts = parts
        self._dials = dials
        self._addresses = addresses
        self._story = story
        self._seniority = Seniority()
        self._expected_nodes = parts.settings.reloadable.expected_nodes
        self._started = parts.now
        self._port = 0
        self._tun_lost = ""
        self._is_leaving = False
        self._was_ready = False

    # --- facts ---

    def listening(self, port: int) -> None:
        self._port = port

    def tun_lost(self, why: str) -> None:
        self._tun_lost = why
        self.update()

    def expect(self, nodes: int | None) -> None:
        """The mesh should have this many nodes, this one included."""
        self._expected_nodes = nodes
        self.update()

    def leaving(self) -> None:
        self._is_leaving = True

    def update(self) -> None:
        """Find out how the node stands by now, and log when it becomes ready, or is not ready any
        more."""
        self._update_seniority()
        health = self.health()
        is_ready, was_ready = health.is_ready, self._was_ready
        self._was_ready = is_ready
        if is_ready and not was_ready:
            self._story.ready()
        elif was_ready and not is_ready and not self._is_leaving:
            self._story.not_ready(health)

    def _update_seniority(self) -> None:
        parts, seniority = self._parts, self._seniority
        now = parts.now
        parts.roster.time_passed(now)
        addresses = parts.me.record.addresses
        if seniority.update(now, self.is_in_mesh(), parts.peers.agreement(), addresses):
            parts.me.seniority_changed(seniority.is_new, seniority.is_settled)
            if seniority.is_settled:
                self._story.settled()
        wait = seniority.wait(now)
        if wait is not None:
            parts.timers.call_within("seniority", wait, self.update)

    # --- questions ---

    def is_in_mesh(self) -> bool:
        """Whether it is linked, or the first node of its mesh."""
        return len(self._parts.peers) > 0 or self._dials.is_first

    def has_joined(self) -> bool:
        """Whether it is in the mesh, or seems to be the only replica so far."""
        is_shared = bool(self._parts.me.record.automatic)
        return self.is_in_mesh() or (is_shared and bool(self._dials.leads_back))

    @property
    def started(self) -> float:
        return self._started

    @property
    def port(self) -> int:
        """The port that the node listens on; 0: none yet."""
        return self._port

    @property
    def expected_nodes(self) -> int | None:
        return self._expected_nodes

    def health(self) -> Health:
        """Strangers ask for it, so it must cost little, however many peers there are."""
        parts = self._parts
        return judge(
            Condition(
                links=len(parts.peers),
                is_listening=bool(self._port),
                tun_lost=self._tun_lost,
                is_leaving=self._is_leaving,
                is_first=self._dials.is_first,
                leads_back=self._dials.leads_back,
                grace_left=self._started + parts.settings.startup_grace - parts.now,
                agreement=parts.peers.agreement().checks(self._seniority.is_settled),
                device_complaints=parts.host.watch.found.broken,
                expected_nodes=self._expected_nodes,
                automatic=self._addresses.statuses,
            )
        )

    def warnings(self) -> Iterator[str]:
        """What is wrong and does not keep the node from being ready."""
        peers = self._parts.peers
        yield from peers.agreement().warnings(self._seniority.is_settled)
        yield from map(str, name_conflicts.conflicts(self._parts.me.record, peers.by_right()))
        yield from self._parts.host.watch.found.differing
        note = self._parts.url.reports().note
        if note:
            yield note
        too_few = missing(len(peers), self._expected_nodes)
        if too_few:
            yield too_few
