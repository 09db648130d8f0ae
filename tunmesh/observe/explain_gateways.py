"""The way of a packet to or from a network outside the mesh, step by step: what observe.explain
says where gateways are concerned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tunmesh.addresses import Address, Network
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.table import Table
from tunmesh.netlink.device_state import Way
from tunmesh.observe.steps import Step
from tunmesh.status.peers import KnownNode
from tunmesh.units import some
from tunmesh.wire.records import NodeRecord

ACCEPT = "networking/accept_routes"


class Peer(Protocol):
    """What the table routes to."""

    @property
    def record(self) -> NodeRecord: ...


# Where the kernel would send a packet to `destination` from `source` that comes out of the tun.
Forwarded = Callable[[Address, Address], Way | None]


class GatewaySteps:
    """What there is to say about gateways, as things are now."""

    def __init__(
        self, table: Table[Any], known_nodes: Sequence[KnownNode], forwarded: Forwarded
    ) -> None:
        self._gateways = table.gateways
        self._known_nodes = known_nodes
        self._forwarded = forwarded

    def accepted(self, address: Address) -> Network | None:
        """The accepted network that an address is in, if it is in any."""
        return self._gateways.network_of(address.packed)

    def own(self, address: Address) -> Network | None:
        """The advertised network of this node that an address is in, if packets to it are taken."""
        if not self._gateways.is_own(address.packed):
            return None
        around = [network for network in self._gateways.own if address in network]
        return max(around, key=lambda network: network.prefixlen, default=None)

    def gateways(self, address: Address) -> tuple[Peer, ...]:
        """The linked nodes that lead to an address."""
        ways = self._gateways.ways(address.packed)
        return () if ways is None else ways.peers

    def chosen(self, destination: Address, peer: Peer) -> list[Step]:
        """Why a packet that this host sends goes to this gateway."""
        ways = self._gateways.ways(destination.packed)
        network = self.accepted(destination)
        text = f"the kernel routes {destination} into the tun: {network} is accepted ({ACCEPT})"
        name = peer.record.name
        steps = [Step(True, text)]
        if ways is None or len(ways.peers) < 2:
            return [*steps, Step(True, f"{name} leads there: it advertises {_of(ways)}")]
        names = some(sorted(each.record.name for each in ways.peers))
        shared = f"{names} lead there: they advertise {_of(ways)}, and each flow goes by one of"
        return [*steps, Step(True, f"{shared} them; packets without ports go by {name}")]

    def there(self, name: str, destination: Address) -> Step:
        """What becomes of a packet at the gateway of that name."""
        text = f"{name} gives it to its kernel, which forwards it to {destination} if forwarding is"
        return Step(True, f"{text} on there and no firewall refuses it")

    def nobody(self, destination: Address) -> str:
        """Why no linked node leads to an address in an accepted network."""
        network = self.accepted(destination)
        text = f"{destination} is in {network}, which is accepted, but no linked node leads there"
        for known in self._known_nodes:
            record = known.record
            for offered in record.routes if record is not None else ():
                if record is not None and destination in offered:
                    return (
                        f"{text}. {record.name} advertises {offered}; tunmesh routes says why not"
                    )
        return f"{text}, and none that this one knows of advertises it"

    def believed(self, source: Address, peers: Sequence[Peer]) -> Step:
        """Why a packet from a network outside the mesh is believed."""
        names = some(sorted(peer.record.name for peer in peers))
        lead = "leads" if len(peers) == 1 else "lead"
        return Step(
            True, f"{source} is behind {names}, which {lead} there: it is believed from them"
        )

    def taken(self, source: Address, destination: Address) -> list[Step]:
        """What becomes of a packet of a peer to a network that this node leads to."""
        network = self.own(destination)
        text = f"{destination} is in {network}, which this node leads to (networking/advertise)"
        way = self._forwarded(destination, source)
        if way is None:
            return [Step(True, f"{text}: the kernel here is to forward it")]
        if not way.interface:
            why = f"the kernel here does not forward it ({way.why}): tunmesh doctor"
            return [Step(True, text), Step(False, why)]
        return [Step(True, f"{text}: the kernel here forwards it to {way.interface}")]

    def from_behind(self, source: Address, name: str) -> Step:
        """What a peer does with a packet of a host that this node leads to."""
        network = self.own(source)
        text = f"{name} believes {source} if it accepts {network} from this node ({ACCEPT} there)"
        return Step(True, f"{text}; otherwise it drops the packet ({DropReason.SPOOFED_SOURCE})")


def _of(ways: object) -> str:
    return str(getattr(ways, "network", "it"))
