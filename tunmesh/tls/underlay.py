"""Peers are reached outside the mesh, never through it.

A link between two nodes that ran through the mesh would be carried by another link between the same
two nodes: the one that it is to replace. At the renewal of a session the old link would end, and
the new one with it, until the silence is noticed. So no address inside the mesh's networks is
dialed, whatever name resolved to it, and no connection becomes a link that has such an address at
either end: the kernel gives it to a connection that leaves by the tun.

HTTPS is not a link: who asks for the pages at a mesh address is answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Protocol

from tunmesh.addresses import Network, plain_host


class Rule(Protocol):
    """Tells which addresses are dialed: Outside, and dialing.dialable.Dialable."""

    def why_not(self, host: str) -> str:
        """Why this address is not dialed; empty if it is."""


class Outside:
    """Tells what is outside these networks, which are those of the mesh."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def why_not(self, host: str) -> str:
        """Why no link may lead to this address, or come from it; empty if it may."""
        try:
            address = ip_address(plain_host(host))
        except ValueError:
            return ""  # what is no address here is none that can be connected to
        network = next((each for each in self._networks if address in each), None)
        if network is None:
            return ""
        return (
            f"{address} is inside the mesh ({network}), and a link cannot run through the mesh: "
            "URLs must lead to addresses outside it"
        )
