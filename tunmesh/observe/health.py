"""Whether a node is live and whether it is ready, each condition with its reason in words.

**Live**: a restart would not help. The reactor runs (it answered), the tun is open, the port is
bound. A node without links, or with bad ones, is alive.

**Ready**: others can rely on it. It is live, and linked with at least one node; or `startup_grace`
has not passed yet; or it has nothing to bootstrap from, which makes it the first node of its mesh.
So does a bootstrap list that leads to itself, if it chooses its address: then all nodes share one
config. A node with a config of its own has a wrong list.
If it chooses its addresses itself it has one of each IP version that is configured.
And it agrees with the mesh on addresses and networks (membership.agreement), and its tun has the
addresses and routes that it was given. Without these it is alive: a restart would restore them, but
whatever removed them would do so again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunmesh.status.health import Check, Health
from tunmesh.status.node import AutomaticAddress
from tunmesh.units import counted


@dataclass(frozen=True, slots=True)
class Condition:
    """What the health of a node depends on."""

    links: int  # how many nodes it is linked with
    is_listening: bool = True
    tun_lost: str = ""  # why it has no tun
    is_leaving: bool = False
    is_first: bool = False  # it has nothing to bootstrap from
    leads_back: Sequence[str] = ()  # its bootstrap URLs, if each of them leads to itself
    grace_left: float = 0.0  # seconds of its startup_grace
    agreement: Sequence[Check] = ()  # with the mesh
    device_complaints: Sequence[str] = ()  # what keeps packets from the tun, or from this machine
    expected_nodes: int | None = None  # how many the mesh should have, this one included
    automatic: Sequence[AutomaticAddress] = ()  # the addresses that it chooses itself


def judge(node: Condition) -> Health:
    live = tuple(_liveness(node))
    return Health(live, tuple(_readiness(node, live)))


def _liveness(node: Condition) -> Iterator[Check]:
    yield Check("tun", not node.tun_lost, node.tun_lost or "the tun is open")
    if node.is_leaving:
        yield Check("listener", True, "leaving the mesh")
    else:
        bound = "the port is bound" if node.is_listening else "the port is not bound"
        yield Check("listener", node.is_listening, bound)


def _readiness(node: Condition, live: Sequence[Check]) -> Iterator[Check]:
    is_live = all(check.ok for check in live)
    yield Check("live", is_live, "the node works" if is_live else "see the other checks")
    yield from (check for check in live if not check.ok)
    yield _membership(node)
    if node.automatic:
        yield _address(node.automatic)
    yield from node.agreement
    complaints = "; ".join(node.device_complaints)
    yield Check("device", not complaints, complaints or "it has its addresses and routes")


def _membership(node: Condition) -> Check:
    is_ok, reason = False, "not linked to any node"
    if node.is_leaving:
        reason = "leaving the mesh"
    elif node.links:
        is_ok, reason = True, f"linked to {_nodes(node.links, node.expected_nodes)}"
    elif node.is_first:
        is_ok, reason = True, "there is nobody to bootstrap from: first node"
    elif node.grace_left > 0:
        is_ok, reason = True, f"startup_grace: {node.grace_left:.0f} s left"
    elif node.leads_back:
        reason = f"the bootstrap URLs lead only to this node: {', '.join(node.leads_back)}"
        if node.automatic:
            is_ok, reason = True, f"{reason}; first node, as it seems"
    return Check("membership", is_ok, reason)


def _address(automatic: Sequence[AutomaticAddress]) -> Check:
    missing = "; ".join(address_words(each) for each in automatic if not each.is_usable)
    held = " and ".join(each.address for each in automatic)
    return Check("address", not missing, missing or f"this node has chosen {held}")


def address_words(automatic: AutomaticAddress) -> str:
    """How far the node has come with an address that it chooses itself."""
    family = f"IPv{automatic.version} address"
    match automatic.state:
        case "full":
            return (
                f"no {family}: the network {automatic.network} is full, all of its "
                f"{automatic.hosts} addresses for nodes are taken"
            )
        case "held" if automatic.is_on_device:
            return f"the {family} is {automatic.address}"
        case "held":
            return f"no {family} yet: {automatic.address} is being put on the tun"
        case "claiming":
            return f"no {family} yet: claiming {automatic.address}"
        case _:
            return f"no {family} yet: this node does not know the mesh yet"


def _nodes(links: int, expected: int | None) -> str:
    if expected is None:
        return counted(links, "node")
    return f"{links} of {expected - 1} other nodes that are expected"


def missing(links: int, expected: int | None) -> str:
    """How many nodes are missing, in words; empty if none are."""
    if expected is None or links + 1 >= expected:
        return ""
    return (
        f"linked with {links} of {expected - 1} other nodes (monitoring/expected_nodes: {expected})"
    )
