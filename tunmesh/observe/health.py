"""What makes a node live and what makes it ready, each condition with its reason in words.

**Live**: restarting would not help. The reactor turns (it answered), the tun is open, the port is
bound. A lone or badly connected node is alive.

**Ready**: others can count on it. Live, and linked to somebody; or still within `startup_grace`; or
there is nobody to bootstrap from, which makes it the first node of its mesh. And it agrees with the
mesh on addresses and networks (membership.agreement), and its tun has the addresses and routes that
it was given: a restart would give it them again, but whoever took them would take them again, so it
is alive without them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunmesh.status import Check


def liveness(tun_lost: str, listening: bool, leaving: bool) -> tuple[Check, ...]:
    """`tun_lost` is why there is no tun, or empty."""
    port = "the port is bound" if listening else "the port is not bound"
    return (
        Check("tun", not tun_lost, tun_lost or "the tun is open"),
        Check("listener", listening or leaving, "leaving the mesh" if leaving else port),
    )


def readiness(
    live: Sequence[Check],
    links: int,
    grace_left: float,
    is_first: bool,
    leaving: bool,
    agreement: Sequence[Check],
    device: Sequence[str] = (),
    leads_back: Sequence[str] = (),
    expected: int | None = None,
) -> tuple[Check, ...]:
    """`is_first`: there is nobody to bootstrap from; `agreement`: the checks of that name;
    `device`: sentences about what keeps packets from the tun, or its addresses from this machine;
    `leads_back`: the bootstrap URLs, if each of them leads to this node; `expected`: how many nodes
    the mesh should have, this one included."""
    alive = all(check.ok for check in live)
    checks = [Check("live", alive, "the node works" if alive else "see the other checks")]
    checks += [check for check in live if not check.ok]
    if leaving:
        checks.append(Check("membership", False, "leaving the mesh"))
    elif links:
        checks.append(Check("membership", True, f"linked to {_nodes(links, expected)}"))
    elif is_first:
        checks.append(Check("membership", True, "there is nobody to bootstrap from: first node"))
    elif grace_left > 0:
        checks.append(Check("membership", True, f"startup_grace: {grace_left:.0f} s left"))
    elif leads_back:
        text = f"the bootstrap URLs lead only to this node: {', '.join(leads_back)}"
        checks.append(Check("membership", False, text))
    else:
        checks.append(Check("membership", False, "not linked to any node"))
    text = "; ".join(device) or "it has its addresses and routes"
    return (*checks, *agreement, Check("device", not device, text))


def _nodes(links: int, expected: int | None) -> str:
    if expected is None:
        return f"{links} node{'s' * (links != 1)}"
    return f"{links} of {expected - 1} other nodes that are expected"


def missing(links: int, expected: int | None) -> str:
    """In words how many nodes are not there; empty if all are."""
    if expected is None or links + 1 >= expected:
        return ""
    return (
        f"linked with {links} of {expected - 1} other nodes (monitoring/expected_nodes: {expected})"
    )
