"""Which packet goes to which peer, and which peer may send which packet: one table for both.

The keys are the raw bytes of single addresses (4 for IPv4, 16 for IPv6), so that a route is one
dict lookup on a slice of the packet. There are no prefixes to match: a node owns addresses, not
networks. Peers are whatever objects the caller routes to; they are compared by identity.

Every packet that is not carried has one of the reasons in DROP_REASONS.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Generic, TypeVar

from tunmesh import packet
from tunmesh.messages import Interface

Network = IPv4Network | IPv6Network
Peer = TypeVar("Peer")

# Leaving this node
NO_ROUTE = "no_route"  # inside the mesh's network, but no linked node has this address
OUTSIDE_NETWORK = "outside_network"  # not an address of the mesh
MULTICAST = "multicast"
BROADCAST = "broadcast"
# Arriving from a peer
SPOOFED_SOURCE = "spoofed_source"  # the source address is not one that is routed to that peer
MISROUTED = "misrouted"  # the destination is not an address of this node
# Either way
MALFORMED = "malformed"

_IPV4_ALL = b"\xff\xff\xff\xff"


class Table(Generic[Peer]):
    """The routes of one node."""

    def __init__(self, own: Iterable[Interface], networks: Iterable[Network]) -> None:
        self.routes: dict[bytes, Peer] = {}
        self._own = frozenset(address.packed for address in own)
        # By length of an address: the first and the last of the mesh's network.
        self._ranges = {
            network.max_prefixlen // 8: (
                network.network_address.packed,
                network.broadcast_address.packed,
            )
            for network in networks
        }

    def outbound(self, frames: Iterable[bytes]) -> tuple[dict[Peer, list[bytes]], list[str]]:
        """Sort what the tun gave by peer; the reasons why the rest goes nowhere.

        The frames come from our own kernel: only their length is in doubt (a device may be fed by
        hand).
        """
        routes = self.routes
        batches: dict[Peer, list[bytes]] = {}
        drops: list[str] = []
        for frame in frames:
            # packet.destination, written out: a call here would be a tenth of the whole cost.
            if frame[10:11] < b"\x50":
                key = frame[26:30]
            elif len(frame) >= 50:
                key = frame[34:50]
            else:
                key = b""  # not what is left of frame[34:50]: it may be as long as an IPv4 address
            peer = routes.get(key)
            if peer is None:
                drops.append(self._unroutable(key))
            elif peer in batches:
                batches[peer].append(frame)
            else:
                batches[peer] = [frame]
        return batches, drops

    def inbound(self, peer: Peer, frame: memoryview) -> str | None:
        """Why a frame from this peer must not reach the tun; None when it may."""
        if not packet.well_formed(frame):
            return MALFORMED
        owner = self.routes.get(packet.source(frame))
        if owner is None or owner is not peer:
            return SPOOFED_SOURCE
        if packet.destination(frame) not in self._own:
            return MISROUTED
        return None

    def _unroutable(self, key: bytes) -> str:
        """Why there is no route to this destination."""
        if len(key) not in (4, 16):
            return MALFORMED
        if key[0] == 0xFF if len(key) == 16 else 224 <= key[0] < 240:
            return MULTICAST
        first, last = self._ranges.get(len(key), (b"\xff", b""))
        if key == _IPV4_ALL or (len(key) == 4 and key == last):
            return BROADCAST
        return NO_ROUTE if first <= key <= last else OUTSIDE_NETWORK
