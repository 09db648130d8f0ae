"""Which packet goes to which peer, and which peer may send which packet: one table for both.

The keys are the raw bytes of single addresses (4 for IPv4, 16 for IPv6), so that a route is one
dict lookup on a slice of the packet. A node of the mesh has addresses, not networks. Peers are
whatever objects the caller routes to; they are compared by identity.

Networks outside the mesh, which some nodes lead to, have prefixes (dataplane.gateways). They are
matched when there is no route to an address; if one gateway leads there, it is entered into the
dict like the holder of an address, so that further packets are routed as fast. The entries are
removed when anything changes that they follow from.

If broadcast is allowed (IPv4 only), three destinations lead to many peers: 255.255.255.255 to those
in the local subnets, a local subnet's broadcast address to those in it, the mesh's to all. If
multicast is carried, a group leads to those who want its packets (dataplane.groups). Both are
looked up only when there is no route.

With IPv6 multicast a node also has a link-local address, derived from each of its addresses
(addresses.link_local): the route to the one is a route to the other.

Addresses may change while the node runs (`readdress`). As long as this node has no address in a
family, it sends nothing in that family: the kernel would take the address of another device as the
source, and every peer would drop that.

Every packet that is not carried has a reason (dataplane.drops).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from tunmesh.addresses import (
    LINK_LOCAL,
    Address,
    Interface,
    Network,
    has_broadcast,
    is_multicast,
    link_local,
)
from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.gateways import MAX_CACHED, Accepted, Gateways
from tunmesh.dataplane.groups import Groups, NoGroups
from tunmesh.dataplane.inspection import Inspection
from tunmesh.packets import virtio

P = TypeVar("P")

_IPV4_ALL = b"\xff\xff\xff\xff"


class Table(Generic[P]):
    """The routes of one node. `own` are its addresses, `networks` those of the mesh. `seconds`
    reads the clock, by which fragments expire. `accepted`: networks outside the mesh that packets
    are sent to through gateways."""

    def __init__(
        self,
        own: Sequence[Interface],
        networks: Sequence[Network],
        broadcast: bool = False,
        seconds: Callable[[], float] = lambda: 0.0,
        accepted: Sequence[Accepted] = (),
        groups: Groups[P] | None = None,
    ) -> None:
        self.allows_broadcast = broadcast
        self.groups: Groups[P] = groups if groups is not None else NoGroups()
        self._networks = tuple(networks)
        self._has_link_local = 6 in self.groups.versions
        spoken_in = (*networks, LINK_LOCAL) if self._has_link_local else networks
        self._near: set[P] = set()  # peers in the local subnet
        self._routes: dict[bytes, P] = {}
        self.gateways: Gateways[P] = Gateways(accepted, holder=self._routes.get)
        self._inspection = Inspection((), spoken_in, seconds, self.gateways, self._routes.get)
        self._joined: dict[P, tuple[Interface, ...]] = {}
        self._floating: frozenset[bytes] = frozenset()
        self.readdress(own)

    def readdress(self, own: Sequence[Interface]) -> None:
        """From now on these are this node's addresses."""
        # Lengths of the addresses of families that this node has no address in.
        self._mute = {network.max_prefixlen // 8 for network in self._networks}
        self._mute -= {len(address.packed) for address in own}
        self._subnets = [address.network for address in own]
        local, mesh = _broadcasts(self._subnets, self._networks)
        self._local_broadcasts, self._mesh_broadcasts = local, mesh
        self._broadcasts = local.keys() | mesh
        # The recipients of each broadcast address; none if broadcast is not allowed.
        self._recipients: dict[bytes, dict[P, None]] = (
            {address: {} for address in self._broadcasts}
            if self.allows_broadcast and 4 not in self._mute
            else {}
        )
        self._near.clear()
        for peer, addresses in self._joined.items():
            self._receives(peer, addresses)
        self._assigned = frozenset(key for address in own for key in self._keys(address.packed))
        self.hold(self._floating)
        self._renew()

    def _renew(self) -> None:
        """Where packets go: the same dict as the routes, unless some of these must not be used yet,
        or gateways are entered as well."""
        self._usable = self._routes
        if self._mute or self.gateways.accepted:
            self._usable = {k: peer for k, peer in self._routes.items() if len(k) not in self._mute}

    def hold(self, floating: Iterable[bytes]) -> None:
        """From now on this node has these addresses, too, which make no node its neighbour."""
        self._floating = frozenset(floating)
        self._own = self._assigned | self._floating
        self._accepted = self._own | self._recipients.keys()
        self._inspection.readdress(self._own)

    def is_local(self, addresses: Iterable[Interface]) -> bool:
        """Whether a node with these addresses is in a local subnet of this node, in every address
        family that both have."""
        theirs: dict[int, list[Address]] = {subnet.version: [] for subnet in self._subnets}
        for address in addresses:
            theirs.get(address.version, []).append(address.ip)
        near = [
            any(ip in subnet for ip in ips for subnet in self._subnets)
            for ips in theirs.values()
            if ips
        ]
        return bool(near) and all(near)

    def join(self, peer: P, addresses: Iterable[Interface]) -> None:
        """A node with these addresses is linked: it gets broadcasts from now on. One that has
        joined may join again with other addresses."""
        self._stop_receiving(peer)
        self._joined[peer] = tuple(addresses)
        self._receives(peer, self._joined[peer])

    def lead(self, peer: P, networks: Iterable[Network], seed: bytes) -> None:
        """A node advertises these networks outside the mesh, and no others. `seed` tells it from
        other gateways, also after it was started again."""
        if self.gateways.offer(peer, networks, seed):
            self._renew()

    def _receives(self, peer: P, addresses: Iterable[Interface]) -> None:
        addresses, addressed = tuple(addresses), set(self._mesh_broadcasts)
        if self.is_local(addresses):
            self._near.add(peer)
            for key, subnet in self._local_broadcasts.items():
                if subnet is None or any(address.ip in subnet for address in addresses):
                    addressed.add(key)
        for address in addressed & self._recipients.keys():
            self._recipients[address][peer] = None

    def part(self, peer: P) -> None:
        """A node is no longer linked. Its routes are withdrawn one by one, but it is no gateway any
        more."""
        self._stop_receiving(peer)
        if self.gateways.part(peer):
            self._renew()

    def _stop_receiving(self, peer: P) -> None:
        self._joined.pop(peer, None)
        self._near.discard(peer)
        for recipients in self._recipients.values():
            recipients.pop(peer, None)

    @property
    def routes(self) -> Mapping[bytes, P]:
        """The peer that has each address."""
        return self._routes

    def route(self, address: bytes, peer: P) -> None:
        """Packets to this address go to this peer, which alone may send from it."""
        for key in self._keys(address):
            self._routes[key] = peer
            if len(key) not in self._mute:
                self._usable[key] = peer
        if self.gateways.moved(address):
            self._renew()

    def unroute(self, address: bytes) -> None:
        """Nobody has this address."""
        for key in self._keys(address):
            self._routes.pop(key, None)
            self._usable.pop(key, None)
        if self.gateways.moved(address):
            self._renew()

    def _keys(self, address: bytes) -> tuple[bytes, ...]:
        """An address, and what is derived from it."""
        if self._has_link_local and len(address) == 16:
            return address, link_local(address)
        return (address,)

    def outbound(self, frames: Iterable[bytes]) -> tuple[dict[P, list[bytes]], list[Drop]]:
        """The frames from the tun by peer; and those that are not carried, each with the reason.

        The frames come from our own kernel: only their length is checked (anybody may write to a
        device by hand).
        """
        routes = self._usable
        batches: dict[P, list[bytes]] = {}
        drops: list[Drop] = []
        for frame in frames:
            # virtio.read inlined: a call would be a tenth of the cost of this function.
            if frame[10:11] < b"\x50":
                key = frame[26:30]
            elif len(frame) >= 50:
                key = frame[34:50]
            else:
                key = b""  # not the rest of frame[34:50]: it may be as long as an IPv4 address
            peer = routes.get(key)
            if peer is not None:
                batches.setdefault(peer, []).append(frame)
                continue
            recipients = self._recipients.get(key) or self._interested(key, frame)
            for peer in recipients or ():
                batches.setdefault(peer, []).append(frame)
            if recipients:
                continue
            peer = self._gateway(key, frame)
            if peer is not None:
                batches.setdefault(peer, []).append(frame)
            else:
                drops.append((self._unroutable(key), frame))
        return batches, drops

    def _gateway(self, key: bytes, frame: bytes) -> P | None:
        """The one by which a packet leaves the mesh; None: no gateway leads to its destination."""
        ways = None if len(key) in self._mute else self.gateways.ways(key)
        if ways is None:
            return None
        if not ways.is_shared:
            self._remember(key, ways.peers[0])
        return self.gateways.choose(ways, frame)

    def _remember(self, key: bytes, peer: P) -> None:
        """This peer alone leads to this address."""
        if len(self._usable) >= len(self._routes) + MAX_CACHED:
            self._renew()
        self._usable[key] = peer

    def inbound(self, peer: P, frames: Iterable[memoryview]) -> tuple[list[memoryview], list[Drop]]:
        """The frames from this peer that may reach the tun; and those that must not, each with the
        reason."""
        routes, ours = self._usable, self._accepted
        accepted: list[memoryview] = []
        drops: list[Drop] = []
        for frame in frames:
            if not virtio.well_formed(frame):
                drops.append((DropReason.MALFORMED, frame))
                continue
            source, destination, is_special = virtio.read(frame)
            if routes.get(source) is not peer and not self._may_send(peer, source):
                drops.append((DropReason.SPOOFED_SOURCE, frame))
            elif destination not in ours and not self._is_for_others(peer, destination):
                is_group = self.groups.versions and is_multicast(destination)
                reason = DropReason.NOT_JOINED if is_group else DropReason.MISROUTED
                drops.append((reason, frame))
            elif is_special and (why := self._inspection.refuses(peer, frame)):
                drops.append((why, frame))
            else:
                accepted.append(frame)
        return accepted, drops

    def _may_send(self, peer: P, source: bytes) -> bool:
        """Whether a packet from this address, which is not among the usable routes of the peer, may
        come from it."""
        if self._routes.get(source) is peer:
            return True
        ways = None if len(source) in self._mute else self.gateways.ways(source)
        if ways is None or peer not in ways.peers:
            return False
        if not ways.is_shared:
            self._remember(source, peer)
        return True

    def _is_for_others(self, peer: P, destination: bytes) -> bool:
        """Whether a packet of this peer is to a group that this node has joined, or to an address
        outside the mesh that it leads to."""
        if is_multicast(destination):
            return self.groups.hears(destination, peer in self._near)
        return len(destination) not in self._mute and self.gateways.is_own(destination)

    def _interested(self, key: bytes, frame: bytes) -> Collection[P]:
        """The peers that a packet to a group goes to. One that is not from an address of this node
        would be dropped by each of them."""
        if not key or not is_multicast(key) or virtio.ends(frame)[0] not in self._own:
            return ()
        return self.groups.recipients(key, frame, self._near)

    def is_broadcast(self, key: bytes) -> bool:
        """Whether a destination is a broadcast address, whether or not broadcast is allowed."""
        return key in self._broadcasts

    def is_to_many(self, key: bytes) -> bool:
        """Whether a destination is a broadcast or multicast address."""
        return key in self._broadcasts or is_multicast(key)

    def owns(self, address: bytes) -> bool:
        """Whether it is an address of this node."""
        return address in self._own

    def _unroutable(self, key: bytes) -> DropReason:
        """Why there is no route to this destination."""
        if len(key) not in (4, 16):
            return DropReason.MALFORMED
        if is_multicast(key):
            return DropReason.MULTICAST
        if key in self._broadcasts:
            return DropReason.BROADCAST
        if not self._inspection.is_in_mesh(key) and not self.gateways.is_accepted(key):
            return DropReason.OUTSIDE_NETWORK
        return DropReason.NO_ADDRESS if len(key) in self._mute else DropReason.NO_ROUTE


def _broadcasts(
    subnets: Iterable[Network], networks: Iterable[Network]
) -> tuple[dict[bytes, Network | None], frozenset[bytes]]:
    """The broadcast addresses of the local subnets, each with its subnet (None: all of them), and
    those of the mesh. Of two subnets with the same one it is the larger subnet's."""
    mesh = {network.broadcast_address.packed for network in networks if has_broadcast(network)}
    local: dict[bytes, Network | None] = {_IPV4_ALL: None}
    for subnet in sorted(subnets, key=lambda subnet: -subnet.prefixlen):
        if has_broadcast(subnet):
            local[subnet.broadcast_address.packed] = subnet
    return {key: subnet for key, subnet in local.items() if key not in mesh}, frozenset(mesh)
