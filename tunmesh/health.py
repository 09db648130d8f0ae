"""What makes a node live and what makes it ready, each condition with its reason in words.

**Live**: restarting would not help. The reactor turns (it answered), the tun is open, the port is
bound. A lone or badly connected node is alive.

**Ready**: others can count on it. Live, and linked to somebody; or still within `startup_grace`; or
there is nobody to bootstrap from, which makes it the first node of its mesh. And every peer routes
its addresses to it, and its tun has the addresses and routes that it was given: a restart would
give it them again, but whoever took them would take them again, so it is alive without them.
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
    has_bootstrap: bool,
    leaving: bool,
    refusals: Sequence[str],
    device: Sequence[str] = (),
) -> tuple[Check, ...]:
    """`refusals` are sentences about addresses of this node that are routed elsewhere, `device`
    those about what keeps packets from the tun, or its addresses from this machine."""
    alive = all(check.ok for check in live)
    checks = [Check("live", alive, "the node works" if alive else "see the other checks")]
    checks += [check for check in live if not check.ok]
    if leaving:
        checks.append(Check("membership", False, "leaving the mesh"))
    elif links:
        checks.append(Check("membership", True, f"linked to {links} node{'s' * (links != 1)}"))
    elif not has_bootstrap:
        checks.append(Check("membership", True, "there is nobody to bootstrap from: first node"))
    elif grace_left > 0:
        checks.append(Check("membership", True, f"startup_grace: {grace_left:.0f} s left"))
    else:
        checks.append(Check("membership", False, "not linked to any node"))
    checks.append(
        Check("addresses", not refusals, "; ".join(refusals) or "every peer routes them here")
    )
    checks.append(
        Check("device", not device, "; ".join(device) or "it has its addresses and routes")
    )
    return tuple(checks)
