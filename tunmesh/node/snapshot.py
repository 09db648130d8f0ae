"""The state of a node at one moment, as frozen values (tunmesh.status) made on demand."""

from __future__ import annotations

from tunmesh.node.links import Links
from tunmesh.node.parts import Parts
from tunmesh.node.readiness import Readiness
from tunmesh.status import DeviceStatus, Sample, Status, Traffic, key_labels


def status(parts: Parts, links: Links, readiness: Readiness) -> Status:
    """Everything there is to know about the node now."""
    tun, watch, dials = parts.host.tun, parts.host.watch, links.dials
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
        peers=parts.peers.statuses(keys),
        dials=tuple(dials.wanted()),
        renewals=tuple(dials.renewals()),
        nodes=parts.peers.by_name(),
        links=links.connector.states(),
        nodes_known=parts.roster.nodes_known,
        device=DeviceStatus(
            tun.name, tuple(map(str, parts.settings.networks)), tuple(watch.complaints)
        ),
        tun=Traffic(tun.rx_packets, tun.rx_bytes, tun.tx_packets, tun.tx_bytes),
        link=parts.peers.traffic(),
        dropped=dict(parts.forwarder.dropped),
        handshake_failures=dict(links.failures),
        rtt=parts.peers.rtt.copy(),
        false_introductions=links.false_introductions,
        key_ids=key_labels(len(keys)),
        buffered_bytes=parts.memory.held,
        memory_budget=parts.memory.limit,
        certificate_expiry=parts.contexts.credentials.expiry,
        port=readiness.port,
        delayed_calls=len(parts.host.reactor.getDelayedCalls()),
        lost=tuple(dials.lost()),
    )


def sample(parts: Parts, links: Links) -> Sample:
    """The counters whose recent past is shown, for much less than the whole status costs."""
    return Sample(
        now=parts.now,
        peers=parts.peers.samples(),
        dropped=dict(parts.forwarder.dropped),
        handshake_failures=dict(links.failures),
    )
