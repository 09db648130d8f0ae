"""The state of a node at one moment, as frozen values (tunmesh.status) made on demand."""

from __future__ import annotations

from math import inf
from typing import Any

from tunmesh.dataplane.answers import Answers
from tunmesh.membership.roster import Roster
from tunmesh.node.links import Links
from tunmesh.node.own.addresses import OwnAddresses
from tunmesh.node.own.device import OwnDevice
from tunmesh.node.own.floating import OwnFloating
from tunmesh.node.own.names import Names
from tunmesh.node.own.routes import OwnRoutes
from tunmesh.node.parts import Parts
from tunmesh.node.readiness import Readiness
from tunmesh.status.node import Status
from tunmesh.status.peers import KnownNode, key_labels
from tunmesh.status.traffic import PeerSample, Sample, Traffic

# The most links between others that are listed for who asks for all: listing so many takes as long
# as a node may do nothing else. A mesh of 362 nodes has so many.
MAX_LISTED = 1 << 17


def status(
    parts: Parts,
    links: Links,
    readiness: Readiness,
    names: Names,
    addresses: OwnAddresses,
    answers: Answers,
    device: OwnDevice,
    floating: OwnFloating,
    routes: OwnRoutes,
) -> Status:
    """Everything there is to know about the node now."""
    tun, dials = parts.host.tun, links.dials
    keys = links.connector.keys
    health = readiness.health()
    return Status(
        record=parts.me.record,
        now=parts.now,
        started=readiness.started,
        live=health.live,
        ready=health.ready,
        warnings=tuple(readiness.warnings()),
        expected_nodes=readiness.expected_nodes,
        peers=parts.peers.statuses(
            keys, parts.url.tried_by, parts.transports.status_of, dials.discovered.why
        ),
        dials=tuple(dials.wanted()),
        renewals=tuple(dials.renewals()),
        nodes=parts.peers.by_name(),
        links=links.connector.states(),
        nodes_known=parts.roster.nodes_known,
        device=device.status(),
        tun=Traffic(tun.rx_packets, tun.rx_bytes, tun.tx_packets, tun.tx_bytes),
        link=parts.peers.traffic(),
        dropped=dict(parts.forwarder.dropped),
        answers=answers.status(),
        handshake_failures=dict(links.failures),
        rtt=parts.peers.rtt.copy(),
        false_introductions=links.introductions.false,
        key_ids=key_labels(len(keys)),
        buffered_bytes=parts.memory.held,
        memory_budget=parts.memory.limit,
        certificate_expiry=parts.contexts.credentials.expiry,
        port=readiness.port,
        delayed_calls=len(parts.host.reactor.getDelayedCalls()),
        lost=tuple(dials.lost()),
        names=names.status(),
        multicast=parts.multicast.status(),
        url=parts.url.reports(),
        automatic=addresses.statuses,
        floating=floating.statuses,
        floating_moves=floating.moves,
        floating_allowed=tuple(map(str, parts.settings.floating)),
        transport=parts.settings.transport,
        udp=parts.transports.counts,
        udp_strangers=parts.transports.strangers,
        address_moves=addresses.moves,
        carried=links.relays.carried,
        routes=routes.status(),
    )


def sample(parts: Parts, links: Links) -> Sample:
    """The counters whose recent past is shown, for much less than the whole status costs."""
    return Sample(
        now=parts.now,
        peers=tuple(
            PeerSample(
                id=peer.record.id,
                since=peer.link.since,
                rtt=peer.carrier.round_trip,
                rx_bytes=peer.traffic.rx_bytes,
                tx_bytes=peer.traffic.tx_bytes,
            )
            for peer in parts.peers
        ),
        dropped=dict(parts.forwarder.dropped),
        handshake_failures=dict(links.failures),
    )


def known_nodes(roster: Roster[Any], me: str, crowd: float = inf) -> tuple[KnownNode, ...]:
    """Every node but `me`, and which nodes are linked with it. If there are more than `crowd`
    others, or than MAX_LISTED vouches, only links of this node are listed: their number grows with
    the square, and members can claim any number."""
    hearsay, linked = roster.hearsay, [record.id for record in roster.linked()]
    is_whole = roster.nodes_known <= crowd and hearsay.vouches <= MAX_LISTED
    neighbors: dict[str, list[str]] = {node_id: [] for node_id in (*hearsay, *linked)}
    for node_id in linked:
        neighbors[node_id].append(me)
        for other in hearsay.vouches_of(node_id) if is_whole else ():
            neighbors[other].append(node_id)
    return tuple(
        KnownNode(node_id, roster.record_of(node_id), tuple(sorted(ids)), is_whole)
        for node_id, ids in neighbors.items()
    )
