"""Networks outside the mesh: what this node advertises, and which linked nodes lead where.

Which gateway a packet takes is decided in dataplane.gateways; here that is told, to the log and to
the status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network
from itertools import islice

from tunmesh.addresses import Network, overlap
from tunmesh.logs.journal import Journal
from tunmesh.node.parts import Parts
from tunmesh.node.peers import LinkedNode
from tunmesh.status.routes import AcceptedNetwork, ReachedNetwork, RoutesStatus, UnusedNetwork
from tunmesh.units import some
from tunmesh.wire.records import NodeRecord

MAX_LISTED = 100  # networks that are advertised in vain: members may advertise many


class RouteStory:
    """What is logged about networks outside the mesh."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def reached(self, network: str, nodes: Sequence[str]) -> None:
        self._journal.info(
            "{network} is reached through {peers}",
            event="network_reached",
            network=network,
            peers=", ".join(nodes),
        )

    def lost(self, network: str) -> None:
        self._journal.warn(
            ("network lost", network),
            "no linked node leads to {network} any more",
            event="network_lost",
            network=network,
        )

    def not_used(self, peer: LinkedNode, unused: Iterable[tuple[Network, str]]) -> None:
        why = some(sorted(f"{network} ({why})" for network, why in unused))
        self._journal.warn(
            ("routes not used", peer.record.id),
            "{peer} advertises networks that are not used: {why}",
            by=peer.source,
            event="routes_not_used",
            peer=peer.record.name,
            why=why,
        )


class OwnRoutes:
    """Of one node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._gateways = parts.table.gateways
        self._story = RouteStory(parts.journal)
        self._reached: frozenset[Network] = frozenset()
        # What was said of each peer's networks that are not used, and the record that has them.
        # This is called whenever any node changes, and members may advertise many networks.
        self._told: dict[str, tuple[NodeRecord, tuple[tuple[Network, str], ...]]] = {}
        self._leaders: tuple[LinkedNode | None, ...] = ()

    def advertise(self, networks: tuple[Network, ...]) -> None:
        """This node leads to these networks from now on, and to no others."""
        self._gateways.advertise(networks)
        self._parts.me.use_routes(networks)

    def update(self) -> None:
        """Tell what has changed. To be called whenever a node came, went or said something new."""
        if not self._gateways.accepted:
            return
        self._tell_reached()
        leaders, told = self._gateways.leaders(), self._told
        are_same, self._leaders, self._told = leaders == self._leaders, leaders, {}
        for peer in self._parts.peers:
            record, unused = told.get(peer.record.id, (None, ()))
            if peer.record is not record or not are_same:
                said, unused = unused, tuple(self._disputed(peer))
                if unused and unused != said:
                    self._story.not_used(peer, unused)
            self._told[peer.record.id] = peer.record, unused

    def _tell_reached(self) -> None:
        """Which accepted networks nodes lead to is counted: who leads to each, of perhaps thousands
        of parts, is looked up when there is something to tell."""
        gateways, before = self._gateways, self._reached
        networks = [each.network for each in gateways.accepted]
        self._reached = frozenset(each for each in networks if gateways.is_reached(each))
        if self._reached == before:
            return
        for each in self._accepted():
            network = ip_network(each.network)
            if network in self._reached - before:
                self._story.reached(each.network, each.nodes)
            elif network in before - self._reached:
                self._story.lost(each.network)

    def _accepted(self) -> tuple[AcceptedNetwork, ...]:
        used = self._gateways.used

        def reached(accepted: Network) -> Iterator[ReachedNetwork]:
            for network, peers in used.get(accepted, ()):
                names = tuple(sorted(peer.record.name for peer in peers))
                yield ReachedNetwork(str(network), names)

        return tuple(
            AcceptedNetwork(
                str(each.network), tuple(map(str, each.via)), tuple(reached(each.network))
            )
            for each in self._gateways.accepted
        )

    def _unused(self, peer: LinkedNode) -> Iterator[tuple[Network, str]]:
        for network in peer.record.routes:
            why = self._gateways.why_not(peer, network)
            if any(overlap(network, mesh) for mesh in self._parts.settings.networks):
                why = "it overlaps the mesh"
            if why:
                yield network, why

    def _disputed(self, peer: LinkedNode) -> Iterator[tuple[Network, str]]:
        """Those that this node might have been expected to use, and those that nobody should
        advertise."""
        settings = self._parts.settings
        for network, why in self._unused(peer):
            if any(overlap(network, each) for each in settings.routed):
                yield network, why

    def status(self) -> RoutesStatus:
        unused = (
            UnusedNetwork(str(network), peer.record.name, why)
            for peer in self._parts.peers
            for network, why in self._unused(peer)
        )
        listed = tuple(islice(unused, MAX_LISTED))
        return RoutesStatus(
            tuple(map(str, self._parts.me.record.routes)),
            self._accepted(),
            listed,
            len(listed) + sum(1 for _ in unused),
        )
