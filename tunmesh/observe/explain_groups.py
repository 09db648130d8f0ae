"""Why a packet to a multicast group goes no further: what observe.explain says of groups."""

from __future__ import annotations

from typing import Any

from tunmesh.addresses import Address
from tunmesh.dataplane.groups import Groups
from tunmesh.multicast import scope


def refused(groups: Groups[Any], destination: Address) -> str:
    """Why a packet to a group is not for this node."""
    if destination.version not in groups.versions:
        return f"multicast is off here (networking/ipv{destination.version}/enable_multicast)"
    if scope.is_link_local(destination.packed):
        return (
            f"{destination} is heard in one local subnet only, and only if a program here has "
            "joined it on the tun"
        )
    return f"no program here has joined {destination} on the tun"


def unsent(groups: Groups[Any], destination: Address) -> str:
    """Why a packet to a group goes to no other node."""
    if destination.version not in groups.versions:
        return f"multicast is off here: networking/ipv{destination.version}/enable_multicast"
    if scope.is_link_local(destination.packed):
        return f"no linked node of the local subnet is in {destination}"
    return f"no linked node is in {destination}"
