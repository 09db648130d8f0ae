"""Peers are reached outside the mesh, never through it.

A link that ran through the mesh would be carried by another link between the same two nodes: the
one that it is to replace. When a session is renewed the old link ends, and the new one would end
with it, once its silence is noticed. So no address inside the mesh's networks is dialed, whatever
name resolved to it, and no connection with such an address at either end becomes a link: a
connection that leaves through the tun has one.

The same is true of the networks that are reached through gateways (networking/accept_routes): what
is sent there leaves through the tun. Except for the parts of them that networking/allow_overlap
names: this machine has routes of its own to these, and uses them.

HTTPS is not a link, so the pages can be read at a mesh address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tunmesh.addresses import Address, Network, literal_address, plain_host


class Rule(Protocol):
    """Tells which addresses are dialed: Outside, and dialing.dialable.Dialable."""

    def why_not(self, host: str) -> str:
        """Why this address is not dialed; empty if it is."""


class Outside:
    """Tells whether addresses are outside the mesh's `networks`, and the networks that are
    `routed` to gateways. `direct`: parts of those that are not."""

    def __init__(
        self,
        networks: Sequence[Network] = (),
        routed: Sequence[Network] = (),
        direct: Sequence[Network] = (),
    ) -> None:
        self._networks = tuple(networks)
        self._routed = tuple(routed)
        self._direct = tuple(direct)

    def why_not(self, host: str) -> str:
        """Why there may be no link to or from this address; empty if there may."""
        address = literal_address(plain_host(host))
        if address is None:
            return ""  # nothing that can be connected to
        network = next((each for each in self._networks if address in each), None)
        if network is None:
            return self._why_not_routed(address)
        return (
            f"{address} is inside the mesh ({network}), and a link cannot run through the mesh: "
            "URLs must lead to addresses outside it"
        )

    def _why_not_routed(self, address: Address) -> str:
        network = next((each for each in self._routed if address in each), None)
        if network is None or any(address in each for each in self._direct):
            return ""
        return (
            f"{address} is in {network}, which is reached through the mesh (accept_routes), and a "
            "link cannot run through the mesh: accept less, or reach that node at another address"
        )
