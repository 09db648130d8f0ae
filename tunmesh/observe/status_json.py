"""The status of a node as a JSON tree.

`tunmesh status -o json`, the control socket and the page all show this tree. docs/control.md
describes it. VERSION changes when a field is removed or its meaning changes, not when one is added.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tunmesh.observe.problems import problems, vanished
from tunmesh.observe.samples import History, last
from tunmesh.status.multicast import MulticastStatus
from tunmesh.status.node import AutomaticAddress, FloatingAddress, NamesStatus, Status
from tunmesh.status.peers import DialStatus, KnownNode, LostNode, PeerStatus, UdpStatus
from tunmesh.status.routes import RoutesStatus
from tunmesh.status.traffic import Traffic
from tunmesh.units import natural

VERSION = 1

Json = dict[str, Any]  # an object of JSON


def report(status: Status, history: History, epoch: float) -> Json:
    """`epoch`: the time of day. Times are seconds since the epoch, durations seconds."""
    record = status.record
    return {
        "version": VERSION,
        "time": round(epoch, 3),
        "node": {
            "name": record.name,
            "id": record.id,
            "version": record.version,
            "url": record.url,
            "url_tried": status.url.tried,
            "url_reached": status.url.reached,
            "addresses": _own_addresses(status),
            "automatic": [_automatic(each, status) for each in status.automatic],
            "floating": [_floating(each, status) for each in status.floating],
            "floating_allowed": list(status.floating_allowed),
            "networks": [str(network) for network in record.networks],
            "groups": list(record.groups),
            "mtu": record.mtu,
            "port": status.port,
            "transport": status.transport,
            "uptime": round(status.now - status.started, 3),
        },
        "live": status.is_live,
        "ready": status.is_ready,
        "checks": [
            {"name": check.name, "ok": check.ok, "reason": check.reason} for check in status.ready
        ],
        "problems": list(problems(status, history, epoch)),
        "peers": [
            _peer(peer, status, history)
            for peer in sorted(status.peers, key=lambda p: (natural(p.record.name), p.record.id))
        ],
        "dials": [_dial(dial) for dial in status.dials],
        "renewals": [_dial(dial) for dial in status.renewals],
        "lost": [_lost(node) for node in status.lost],
        "nodes_known": status.nodes_known,
        "expected_nodes": status.expected_nodes,
        "others": _others(status),
        "links": dict(status.links),
        "device": {
            "name": status.device.name,
            "networks": list(status.device.networks),
            "complaints": list(status.device.complaints),
            "mtu": status.device.mtu,
            "txqueuelen": status.device.queue or None,
            "helper": status.device.has_helper,
            "restored": status.device.restored,
        },
        "tun": _traffic(status.tun),
        "udp": {**asdict(status.udp), "strangers": status.udp_strangers},
        "relaying": _relaying(status),
        "dropped_packets": {reason: n for reason, n in status.dropped.items() if n},
        "icmp_answers": asdict(status.answers),
        "handshake_failures": {reason: n for reason, n in status.handshake_failures.items() if n},
        "key_ids": list(status.key_ids),
        "links_by_key": dict(status.links_by_key),
        "buffered_bytes": status.buffered_bytes,
        "memory_budget": status.memory_budget,
        "certificate_expires": status.certificate_expiry,
        "names": _names(status.names),
        "multicast": _multicast(status.multicast),
        "routes": _routes(status.routes),
    }


def _names(names: NamesStatus | None) -> Json | None:
    if names is None:
        return None
    return {
        "domain": names.domain,
        "addresses": list(names.addresses),
        "servers": list(names.servers),
        "queries": dict(names.queries),
        "in_flight": names.in_flight,
    }


def _multicast(multicast: MulticastStatus | None) -> Json | None:
    if multicast is None:
        return None
    return {
        "versions": list(multicast.versions),
        "groups": [
            {
                "group": group.group,
                "here": group.here,
                "nodes": [{"name": name, "sources": sources} for name, sources in group.nodes],
            }
            for group in multicast.groups
        ],
        "packets": multicast.packets,
        "copies": multicast.copies,
        "ignored": multicast.ignored,
    }


def _relaying(status: Status) -> Json:
    """What the node carries for others: between whom, by name where that is known."""
    carried = status.carried
    names = {peer.record.id: peer.record.name for peer in status.peers}
    return {
        **asdict(carried),
        "links": [sorted(names.get(each, each[:8]) for each in pair) for pair in carried.links],
    }


def _routes(routes: RoutesStatus) -> Json:
    return {
        "advertised": list(routes.advertised),
        "accepted": [
            {
                "network": each.network,
                "via": list(each.via),
                "gateways": [
                    {"network": one.network, "nodes": list(one.nodes)} for one in each.reached
                ],
            }
            for each in routes.accepted
        ],
        "unused": [asdict(each) for each in routes.unused],
        "unused_count": routes.unused_count,
    }


def _own_addresses(status: Status) -> list[str]:
    """Those that it has: not what it only claims."""
    claimed = {own.address for own in status.automatic if not own.is_usable}
    return [str(each) for each in status.record.addresses if str(each) not in claimed]


def _automatic(own: AutomaticAddress, status: Status) -> Json:
    return {
        "version": own.version,
        "state": own.state,
        "usable": own.is_usable,
        "address": own.address,
        "number": own.number,
        "for": round(status.now - own.since, 3),
        "passed_over": [{"address": address, "node": node} for address, node in own.passed_over],
        "network": own.network,
        "hosts": own.hosts,
        "taken": own.taken,
    }


def _floating(own: FloatingAddress, status: Status) -> Json:
    return {
        "address": own.address,
        "state": own.state,
        "usable": own.is_usable,
        "number": own.number,
        "for": round(status.now - own.since, 3),
        "holder": own.holder,
    }


_DERIVED = "fe80:"  # begins an address that follows from another one (addresses.link_local)


def _peer(peer: PeerStatus, status: Status, history: History) -> Json:
    series = history.of(peer.record.id)
    return {
        "name": peer.record.name,
        "id": peer.record.id,
        "version": peer.record.version,
        "url": peer.record.url,
        "url_tried": peer.url_tried,
        "addresses": list(map(str, peer.record.own)),
        "floating": [str(each.address) for each in peer.record.floating if each.is_held],
        "networks": [str(network) for network in peer.record.networks],
        "groups": list(peer.record.groups),
        "mtu": peer.record.mtu,
        "routed": [each for each in peer.routed if not each.startswith(_DERIVED)],
        "link_local": [each for each in peer.routed if each.startswith(_DERIVED)],
        "refuses": list(peer.refuses),
        "direction": "dialed" if peer.dialed else "accepted",
        "linked_for": round(status.now - peer.since, 3),
        "rtt": peer.rtt,
        "loss": _loss(peer),
        "pings": peer.pings,
        "pongs": peer.pongs,
        "key_id": peer.key_id,
        "queued_bytes": peer.queued_bytes,
        "dropped_packets": peer.dropped,
        "transport": peer.transport,
        "tcp_segment": peer.segment,
        "relay": _relay(peer, status),
        "udp": None if peer.udp is None else _udp(peer.udp),
        "rx": {
            "packets": peer.traffic.rx_packets,
            "bytes": peer.traffic.rx_bytes,
            "bytes_per_second": round(last(series.rx)),
        },
        "tx": {
            "packets": peer.traffic.tx_packets,
            "bytes": peer.traffic.tx_bytes,
            "bytes_per_second": round(last(series.tx)),
        },
    }


def _relay(peer: PeerStatus, status: Status) -> Json | None:
    """Which node carries the link, and why there is no direct one."""
    if not peer.relay:
        return None
    names = (each.record.name for each in status.peers if each.record.id == peer.relay)
    return {"id": peer.relay, "name": next(names, ""), "why": peer.why_relayed}


def _loss(peer: PeerStatus) -> float | None:
    """Of datagrams that are sent, over UDP; over TCP, which sends again what was lost, of pings."""
    if peer.transport == "udp" and peer.udp is not None:
        return peer.udp.loss
    unanswered = max(0, peer.pings - peer.pongs - 1)  # the last one may still be answered
    return unanswered / peer.pings if peer.pings else None


def _udp(udp: UdpStatus) -> Json:
    return {
        "why": udp.why,
        "offered": udp.is_offered,
        "address": udp.address,
        "size": udp.size,
        "rtt": udp.rtt,
        "loss": udp.loss,
        **asdict(udp.counts),
    }


def _dial(dial: DialStatus) -> Json:
    return {
        "name": dial.name,
        "kind": "group" if dial.is_group else "node",
        "target": dial.target,
        "failures": dial.failures,
        "why": dial.why,
        "retry_in": None if dial.retry_in is None else round(dial.retry_in, 1),
    }


def _lost(node: LostNode) -> Json:
    return {
        "name": node.name,
        "target": node.target,
        "ago": round(node.ago, 1),
        "left": node.left,
        "attempts": node.attempts,
        "why": node.why,
        "retry_in": round(node.retry_in, 1),
    }


def _traffic(traffic: Traffic) -> Json:
    return {
        "rx": {"packets": traffic.rx_packets, "bytes": traffic.rx_bytes},
        "tx": {"packets": traffic.tx_packets, "bytes": traffic.tx_bytes},
    }


def _others(status: Status) -> int:
    """How many other nodes there are or should be: known, lost lately, or expected."""
    dialed = {dial.target for dial in status.dials}
    lost = {node.target for node in vanished(status)} - dialed
    return max(status.nodes_known + len(lost), (status.expected_nodes or 1) - 1)


def mesh(status: Status, known_nodes: tuple[KnownNode, ...]) -> Json:
    """Every node that this one knows of, itself first, and the links between them."""
    me = status.record
    linked = {peer.record.id for peer in status.peers}
    nodes = [{"id": me.id, "name": me.name, "addresses": list(map(str, me.own)), "linked": True}]
    relayed = [(me.id, peer.record.id) for peer in status.peers if peer.relay]
    relayed += status.carried.links
    pairs: set[tuple[str, str]] = set()
    for known in sorted(known_nodes, key=_by_name):
        pairs |= {(min(known.id, other), max(known.id, other)) for other in known.linked_with}
        record = known.record
        nodes.append(
            {
                "id": known.id,
                "name": record.name if record is not None else "",
                "addresses": list(map(str, record.own)) if record is not None else [],
                "linked": known.id in linked,
            }
        )
    return {
        "version": VERSION,
        "nodes": nodes,
        "links": [list(pair) for pair in sorted(pairs)],
        "relayed": sorted(sorted(pair) for pair in relayed),
        "links_left_out": not all(known.is_whole for known in known_nodes),
    }


def _by_name(known: KnownNode) -> tuple[bool, tuple[str | int, ...], str]:
    """Those whose name is not known come last."""
    record = known.record
    return record is None, natural("" if record is None else record.name), known.id
