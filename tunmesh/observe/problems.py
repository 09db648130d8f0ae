"""What is wrong with a node and its mesh, in sentences, for people."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.errors import FailureReason
from tunmesh.observe.samples import History
from tunmesh.status.node import Status
from tunmesh.status.peers import LEADS_BACK, DialStatus, LostNode
from tunmesh.units import DAY, counted, expires, some

SOON = 14 * DAY  # seconds before its expiry at which a certificate becomes a problem
_LATELY = 3600.0  # seconds for which a node that vanished without a goodbye is a problem
# Drops that need no action: applications on this host cause them.
_HARMLESS = {"multicast", "broadcast", "outside_network"}


def problems(status: Status, history: History, epoch: float) -> Iterator[str]:
    """What may need action, in sentences, the worst first."""
    yield from (check.reason for check in (*status.live, *status.ready) if not check.ok)
    yield from status.warnings
    yield from (_unreached(dial) for dial in status.dials if _is_problem(dial, status))
    yield from (_not_renewed(dial) for dial in status.renewals)
    yield from _gone(status)
    yield from _without_udp(status)
    yield from _without_gateway(status)
    left = status.certificate_expiry - epoch
    if left < SOON:
        yield f"the certificate {expires(left)}"
    yield from _duplicates(status)
    stale = [peer.record.name for peer in status.peers if peer.key_id not in status.key_ids]
    if stale:
        yield f"linked by a secret that is no longer valid here: {', '.join(sorted(stale))}"
    if 4 * status.buffered_bytes > 3 * status.memory_budget:
        yield (
            f"{status.buffered_bytes >> 20} MiB wait for peers, of {status.memory_budget >> 20} "
            "that process/memory_budget allows: the largest sources lose packets, then links"
        )
    seconds, dropped, failures = history.lately(status)
    span = f"in the last {seconds:.0f} s"
    for reason, count in failures.most_common():
        connections = counted(count, "connection")
        yield f"{connections} did not become a link {span}: {_failure(reason)}"
    for reason, count in dropped.most_common():
        if reason not in _HARMLESS:
            yield f"{counted(count, 'packet')} dropped {span}: {reason}"


def _is_problem(dial: DialStatus, status: Status) -> bool:
    """Where all nodes share one config, the URLs of a bootstrap group may well lead to this node
    only: it is the first, or others dial it."""
    leads_back = dial.is_group and dial.why == LEADS_BACK
    return dial.failures > 0 and not (leads_back and (status.peers or status.automatic))


def _unreached(dial: DialStatus) -> str:
    who = f"bootstrap group {dial.name}" if dial.is_group else dial.name
    return f"no link with {who} at {_failed(dial)}"


def _not_renewed(dial: DialStatus) -> str:
    return f"the session with {dial.name} is not renewed at {_failed(dial)}"


def _failed(dial: DialStatus) -> str:
    again = "trying" if dial.retry_in is None else f"again in {dial.retry_in:.0f} s"
    times = counted(dial.failures, "time")
    return f"{dial.target}: {dial.why or 'it failed'} ({times}, {again})"


def vanished(status: Status) -> list[LostNode]:
    """Nodes that were lost lately, without a goodbye."""
    return [node for node in status.lost if not node.left and node.ago < _LATELY]


def _gone(status: Status) -> Iterator[str]:
    names = [node.name for node in vanished(status)]
    if names:
        yield f"lost without a goodbye, being dialed: {some(names)}"


def _without_udp(status: Status) -> Iterator[str]:
    """Nodes that are reached over TCP although the operator demands UDP, and why."""
    if status.transport == "udp":
        named = [
            f"{peer.record.name} ({peer.why})" for peer in status.peers if peer.transport != "udp"
        ]
        if named:
            nodes = counted(len(named), "node")
            yield (
                f"networking/transport is udp, but packets to {nodes} go over TCP: "
                f"{some(sorted(named))}"
            )


def _without_gateway(status: Status) -> Iterator[str]:
    """Networks outside the mesh that this node is to reach, and that nobody leads to."""
    networks = [each.network for each in status.routes.accepted if not each.reached]
    if networks:
        yield f"no linked node leads to {some(networks)} (networking/accept_routes)"


def _duplicates(status: Status) -> Iterator[str]:
    """Addresses of a peer that are routed to another peer, which claims them as well."""
    holders: dict[str, str] = {}  # conflicts about this node's own are in membership.agreement
    for peer in status.peers:
        holders |= dict.fromkeys(peer.routed, peer.record.name)
    for peer in status.peers:
        for address in map(str, peer.record.own):
            if address in holders and address not in peer.routed:
                both = f"{holders[address]} and {peer.record.name}"
                yield f"two nodes have the address {address}: {both}"


def _failure(reason: str) -> str:
    return f"{FailureReason(reason).summary} ({reason})"
