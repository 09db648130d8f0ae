"""What would happen to a packet, step by step: here, on the link and at the other end.

The rules are those of `routing`; here they are told in sentences, with the reason that a drop would
be counted under. What the other end does is what it has told this node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tunmesh import routing
from tunmesh.routing import Network, has_broadcast
from tunmesh.status import DialStatus, PeerStatus, Sight, Status

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Step:
    ok: bool  # not: the packet ends here
    text: str


class Explainer:
    """Tells the way of packets through one node, as it is now."""

    def __init__(
        self,
        status: Status,
        sights: Sequence[Sight],
        networks: Sequence[Network],
        broadcasts: bool,
    ) -> None:
        self._status = status
        self._sights = sights
        self._networks = networks
        self._broadcasts = broadcasts
        self._mine = {address.ip for address in status.record.addresses}
        self._routes = {
            address: peer for peer in status.peers for address in peer.routed
        }  # by their text

    @property
    def now(self) -> float:
        """When things are as it tells them, by the node's clock."""
        return self._status.now

    def explain(self, source: Address, destination: Address) -> list[Step]:
        """The steps, up to the one where the packet ends, or to the other end's tun."""
        if source.version != destination.version:
            return [Step(False, "the two addresses are of different families")]
        sender = self._routes.get(str(source))
        if source in self._mine:
            return [
                Step(True, f"{source} is an address of this node"),
                *self._out(source, destination),
            ]
        if destination in self._mine:
            return self._in(source, destination, sender)
        if sender is not None and str(destination) in self._routes:
            name = sender.record.name
            return [
                Step(False, f"this packet does not come past this node: ask {name}, who sends it")
            ]
        why = f"{source} is not an address of this node: whoever gets a packet from it drops it"
        return [Step(False, f"{why} ({routing.SPOOFED_SOURCE})")]

    def _out(self, source: Address, destination: Address) -> list[Step]:
        """A packet of this machine's."""
        peer = self._routes.get(str(destination))
        if destination in self._mine:
            return [Step(False, f"{destination} is this node's too: the kernel never sends it out")]
        if peer is None:
            return [self._unroutable(destination)]
        return [
            Step(
                True, f"the kernel routes {destination} into the tun: it is in the mesh's network"
            ),
            Step(True, f"{destination} belongs to {peer.record.name}, {self._link(peer)}"),
            *self._there(peer, source, destination),
        ]

    def _link(self, peer: PeerStatus) -> str:
        rtt = "" if peer.rtt is None else f", round trip {peer.rtt * 1000:.2f} ms"
        waits = f", {peer.queued_bytes} bytes wait in its queue" if peer.queued_bytes else ""
        return f"linked since {self._status.now - peer.since:.0f} s{rtt}{waits}"

    def _there(self, peer: PeerStatus, source: Address, destination: Address) -> list[Step]:
        name = peer.record.name
        if str(source) in peer.refuses:
            why = f"{name} does not route {source} to this node, so it drops what comes from it"
            return [Step(False, f"{why} ({routing.SPOOFED_SOURCE}): see the log for who holds it")]
        return [
            Step(True, f"{name} routes {source} to this node, so it believes the source"),
            Step(True, f"{destination} is {name}'s own: it goes to its tun and its kernel"),
        ]

    def _in(self, source: Address, destination: Address, sender: PeerStatus | None) -> list[Step]:
        """A packet from the mesh to this machine."""
        if sender is None:
            why = f"no linked node has {source}: from whomever it came it would be dropped here"
            return [Step(False, f"{why} ({routing.SPOOFED_SOURCE}). {self._who(source)}")]
        name = sender.record.name
        if str(destination) in sender.refuses:
            why = f"{name} does not route {destination} to this node: it sends it elsewhere"
            return [Step(False, f"{why}, or drops it ({routing.NO_ROUTE})")]
        return [
            Step(True, f"{name} sends it: {source} is its own"),
            Step(True, f"{name} is {self._link(sender)}"),
            Step(True, f"this node routes {source} to {name}, so it believes the source"),
            Step(True, f"{destination} is this node's: it goes to the tun, and to the kernel here"),
        ]

    def _unroutable(self, destination: Address) -> Step:
        if destination.is_multicast:
            return Step(False, f"multicast is not carried ({routing.MULTICAST})")
        network = next((n for n in self._networks if destination in n), None)
        if network is None:
            all_of_them = ", ".join(map(str, self._networks))
            return Step(
                False,
                f"{destination} is not in the mesh ({all_of_them}): the kernel sends it another "
                f"way, and if it came to the tun it would be dropped ({routing.OUTSIDE_NETWORK})",
            )
        if has_broadcast(network) and destination == network.broadcast_address:
            if self._broadcasts:
                return Step(True, f"{destination} is for all: a copy goes to each linked node")
            off = "broadcast is off here: networking/ipv4/enable_broadcast"
            return Step(False, f"{off} ({routing.BROADCAST})")
        no_route = f"no linked node has {destination} ({routing.NO_ROUTE})"
        return Step(False, f"{no_route}. {self._who(destination)}")

    def _who(self, address: Address) -> str:
        """What is known of who has an address that is not routed."""
        for sight in self._sights:
            record = sight.record
            if record is not None and address in [one.ip for one in record.addresses]:
                dial = next((d for d in self._status.dials if d.name == record.name), None)
                linked = any(peer.record.id == sight.id for peer in self._status.peers)
                if linked:
                    return f"{record.name} claims it, but another node holds it"
                return f"{record.name} has it, and there is no link with {record.name}{_why(dial)}"
        return "No node that this one knows of has it"


def _why(dial: DialStatus | None) -> str:
    return f": {dial.target}: {dial.why}" if dial is not None and dial.why else ""
