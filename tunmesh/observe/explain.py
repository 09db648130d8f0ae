"""The way of a packet, step by step: here, on the link and at the other end.

The real routing table decides about such a packet, and its decision is explained in sentences, with
the reason that a drop would be counted under. What the other end does is known from what it has
said to this node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tunmesh.addresses import Address, Network, link_local_of
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.table import Table
from tunmesh.netlink import kernel
from tunmesh.netlink.device_state import Unwatched, Watch, Way
from tunmesh.observe import explain_groups
from tunmesh.observe.explain_gateways import GatewaySteps, Peer
from tunmesh.observe.steps import Step
from tunmesh.packets import virtio
from tunmesh.status.node import Status
from tunmesh.status.peers import DialStatus, KnownNode, PeerStatus
from tunmesh.units import small_segments, some
from tunmesh.wire.records import NodeRecord

P = TypeVar("P", bound=Peer)

_UNREACHABLE = "It is answered with ICMP host unreachable, so that connect() fails at once"


class Explainer:
    """Explains the way of packets through one node, as things are now."""

    def __init__(
        self,
        status: Status,
        known_nodes: Sequence[KnownNode],
        table: Table[P],
        networks: Sequence[Network],
        watch: Watch | None = None,
    ) -> None:
        """`watch` knows where the kernel would send a packet."""
        self._watch: Watch = watch or Unwatched()
        self._outside = GatewaySteps(table, known_nodes, self._forwarded)
        self._status = status
        self._known_nodes = known_nodes
        self._table: Table[Any] = table
        self._networks = networks
        self._mine = _own_addresses(status.record, 6 in table.groups.versions)
        self._peers = {peer.record.id: peer for peer in status.peers}

    @property
    def now(self) -> float:
        """The moment that is explained, by the node's clock."""
        return self._status.now

    def explain(self, source: Address, destination: Address) -> list[Step]:
        """The steps, up to the one where the packet ends, or to the other end's tun."""
        if source.version != destination.version:
            return [Step(False, "the two addresses are of different families")]
        frame = virtio.between(source.packed, destination.packed)
        if source in self._mine:
            return [
                Step(True, f"{source} is an address of this node"),
                *(self._detour(source, destination) or self._out(frame, source, destination)),
            ]
        behind = self._outside.own(source)
        if behind is not None:
            text = f"{source} is in {behind}, which this node leads to: the kernel forwards it here"
            return [Step(True, text), *self._out(frame, source, destination)]
        return self._in(frame, source, destination)

    def _forwarded(self, destination: Address, source: Address) -> Way | None:
        return self._watch.way(destination, source, is_forwarded=True)

    def _detour(self, source: Address, destination: Address) -> list[Step]:
        """Where the kernel sends a packet to the mesh instead of into the tun, if it does."""
        device = self._status.device.name
        is_accepted = self._outside.accepted(destination) is not None
        is_ours = is_accepted or any(destination in network for network in self._networks)
        way = self._watch.way(destination, source)
        if way is None or destination in self._mine or not is_ours or way.interface == device:
            return []
        if not way.interface:
            text = f"the kernel does not send it anywhere: {way.why}"
        else:
            table = kernel.table_name(way.table)
            text = f"the kernel sends it to {way.interface} (routing table {table})"
        return [Step(False, f"{text}; it does not come to {device}")]

    def _out(self, frame: bytes, source: Address, destination: Address) -> list[Step]:
        """A packet that this host sends."""
        if destination in self._mine:
            return [Step(False, f"{destination} is this node's too: the kernel never sends it out")]
        names = self._status.names
        if names is not None and str(destination) in names.addresses:
            text = f"{destination} is the DNS address: this node answers queries to port 53"
            return [Step(True, text)]
        batches, drops = self._table.outbound([frame])
        if drops:
            return [self._not_carried(drops[0][0], destination)]
        peers = [self._peers[peer.record.id] for peer in batches]
        if self._outside.accepted(destination) is not None:
            return self._beyond(next(iter(batches)), source, destination)
        if destination.packed not in self._table.routes:
            return self._to_all(peers, source, destination)
        (peer,) = peers
        return [
            Step(
                True,
                f"the kernel routes {destination} into the tun (MTU {self._status.device.mtu}): it "
                "is in the mesh's network",
            ),
            Step(True, f"{destination} belongs to {peer.record.name}, {self._link(peer)}"),
            *self._floats(peer, destination),
            Step(True, f"packets to {peer.record.name} go {self._way_to(peer)}"),
            *self._sizes(peer),
            *self._there(peer, source, destination),
        ]

    def _beyond(self, gateway: Peer, source: Address, destination: Address) -> list[Step]:
        """A packet that leaves the mesh through a gateway."""
        peer = self._peers[gateway.record.id]
        name = peer.record.name
        return [
            *self._outside.chosen(destination, gateway),
            Step(True, f"packets to {name} go {self._way_to(peer)}"),
            *self._sizes(peer),
            *self._believed(peer, source),
            *([] if self._is_refused(peer, source) else [self._outside.there(name, destination)]),
        ]

    def _sizes(self, peer: PeerStatus) -> list[Step]:
        """Whether the peer takes all that this node may send it."""
        name, mtu = peer.record.name, peer.record.mtu
        if mtu >= self._status.record.mtu:
            return []
        text = f"{name}'s tun has an MTU of {mtu}: larger packets are answered with ICMP too big"
        return [Step(True, f"{text} ({DropReason.TOO_BIG}), fragments are carried")]

    def _floats(self, peer: PeerStatus, address: Address) -> Iterator[Step]:
        """That an address floats, and who waits for it."""
        claims = [each for each in peer.record.floating if each.address == address]
        if not claims:
            return
        records = (self._status.record, *(other.record for other in self._status.peers))
        waiting = [
            (claim.number, record.name)
            for record in records
            for claim in record.floating
            if claim.address == address and record.id != peer.record.id
        ]
        names = ", ".join(name for _, name in sorted(waiting)) or "nobody"
        state = "holds it" if claims[0].is_held else "is about to hold it"
        yield Step(True, f"{address} floats: {peer.record.name} {state}; waiting: {names}")

    def _to_all(
        self, peers: Sequence[PeerStatus], source: Address, destination: Address
    ) -> list[Step]:
        """A broadcast, or a packet to a group, that this host sends."""
        takers = [peer for peer in peers if str(source) not in peer.refuses]
        refusers = [peer for peer in peers if str(source) in peer.refuses]
        is_group = destination.is_multicast
        kind = "a group that they have joined" if is_group else "a broadcast"
        steps = [Step(True, f"{destination} is {kind}: a copy goes to {_names(peers)}")]
        if refusers:
            names = _names(refusers)
            steps.append(
                Step(
                    bool(takers),
                    f"{source} is not routed to this node by {names}, and so it is dropped there "
                    f"({DropReason.SPOOFED_SOURCE}): see the log for who holds it",
                )
            )
        if takers:
            where = "where that is still so" if is_group else "where enable_broadcast is on"
            text = f"those take it {where}: {_names(takers)}"
            steps.append(Step(True, text))
        return steps

    def _link(self, peer: PeerStatus) -> str:
        rtt = "" if peer.rtt is None else f", round trip {peer.rtt * 1000:.2f} ms"
        waits = f", {peer.queued_bytes} bytes wait in its queue" if peer.queued_bytes else ""
        return f"linked since {self._status.now - peer.since:.0f} s{rtt}{waits}"

    def _way_to(self, peer: PeerStatus) -> str:
        """What carries packets to this node, and why."""
        if peer.relay:
            relay = self._peers.get(peer.relay)
            name = relay.record.name if relay is not None else "another node"
            why = f": {peer.why_relayed}" if peer.why_relayed else ""
            return f"through {name}, which cannot read them: there is no direct link{why}"
        udp = peer.udp
        if udp is None or peer.transport == "tcp":
            return f"over TCP{small_segments(peer.segment)}: {peer.why}"
        return f"over UDP to {udp.address}, up to {udp.size} bytes in a datagram: {peer.why}"

    def _there(self, peer: PeerStatus, source: Address, destination: Address) -> list[Step]:
        name = peer.record.name
        own = Step(True, f"{destination} is {name}'s own: it goes to its tun and its kernel")
        return [*self._believed(peer, source), *([] if self._is_refused(peer, source) else [own])]

    def _is_refused(self, peer: PeerStatus, source: Address) -> bool:
        return str(source) in peer.refuses

    def _believed(self, peer: PeerStatus, source: Address) -> list[Step]:
        """Whether a peer takes what comes from an address by way of this node."""
        name = peer.record.name
        if source not in self._mine:
            return [self._outside.from_behind(source, name)]
        if self._is_refused(peer, source):
            why = f"{name} does not route {source} to this node, and would drop what comes from it"
            why = f"{why} ({DropReason.REFUSED}): see the log for who holds it"
            return [Step(False, f"{why}. {_UNREACHABLE}")]
        return [Step(True, f"{name} routes {source} to this node, so it believes the source")]

    def _in(self, frame: bytes, source: Address, destination: Address) -> list[Step]:
        """A packet of another node, as this node would treat it if it arrived here."""
        owner: Peer | None = self._table.routes.get(source.packed)
        behind: Sequence[Peer] = ()
        if owner is None:
            behind = gateways = self._outside.gateways(source)
            owner = gateways[0] if gateways else None
        if owner is None:
            why = f"no linked node has {source}: from whomever it came it would be dropped here"
            return [Step(False, f"{why} ({DropReason.SPOOFED_SOURCE}). {self._who(source)}")]
        _, drops = self._table.inbound(owner, [memoryview(frame)])
        sender = self._peers[owner.record.id]
        name = sender.record.name
        if drops:
            return [self._not_for_us(drops[0][0], name, destination)]
        if str(destination) in sender.refuses:
            why = f"{name} does not route {destination} to this node: it sends it elsewhere"
            return [Step(False, f"{why}, or drops it ({DropReason.NO_ROUTE})")]
        if self._outside.own(destination) is not None:
            return [*self._from(sender, source, behind), *self._outside.taken(source, destination)]
        sends, whose = "sends it", "this node's"
        if destination.is_multicast:
            sends, whose = "sends a copy, if it carries multicast", "a group that is joined here"
        elif destination not in self._mine:
            sends = "sends a copy, if enable_broadcast is on there"
            whose = "a broadcast that this node hears"
        return [
            *self._from(sender, source, behind, sends),
            Step(True, f"{destination} is {whose}: it goes to the tun, and to the kernel here"),
        ]

    def _from(
        self, sender: PeerStatus, source: Address, behind: Sequence[Peer], sends: str = "sends it"
    ) -> list[Step]:
        """Why a packet of a peer is believed. `behind`: the gateways to its source, if there are
        any."""
        name = sender.record.name
        if behind:
            return [self._outside.believed(source, behind)]
        return [
            Step(True, f"{name} {sends}: {source} is its own"),
            Step(True, f"{name} is {self._link(sender)}"),
            Step(True, f"this node routes {source} to {name}, so it believes the source"),
        ]

    def _not_for_us(self, reason: str, sender: str, destination: Address) -> Step:
        """Why a packet with an allowed source is not for this node."""
        if destination.packed in self._table.routes:
            text = f"this packet does not come past this node: ask {sender}, which sends it"
            return Step(False, f"{text}. If it came here it would be dropped ({reason})")
        if self._table.is_broadcast(destination.packed):
            off = "broadcast is off here (networking/ipv4/enable_broadcast)"
            return Step(False, f"{off}: if {sender} sends a copy, it is dropped ({reason})")
        if destination.is_multicast:
            why = explain_groups.refused(self._table.groups, destination)
            return Step(False, f"{why}: if {sender} sends a copy, it is dropped ({reason})")
        text = f"{destination} is not an address of this node: ask {sender} where it sends that"
        return Step(False, f"{text}. If it came here it would be dropped ({reason})")

    def _not_carried(self, reason: str, destination: Address) -> Step:
        """Why a packet that this host sends is not carried."""
        match reason:
            case DropReason.MULTICAST:
                return Step(
                    False, f"{explain_groups.unsent(self._table.groups, destination)} ({reason})"
                )
            case DropReason.BROADCAST if self._table.allows_broadcast:
                return Step(False, f"{destination} is a broadcast, and nobody hears it ({reason})")
            case DropReason.BROADCAST:
                off = "broadcast is off here: networking/ipv4/enable_broadcast"
                return Step(False, f"{off} ({reason})")
            case DropReason.OUTSIDE_NETWORK:
                all_of_them = ", ".join(map(str, self._networks))
                return Step(
                    False,
                    f"{destination} is not in the mesh ({all_of_them}): the kernel sends it "
                    f"another way, and if it came to the tun it would be dropped ({reason}). "
                    f"{self._answer()}",
                )
            case DropReason.NO_ADDRESS:
                none = "this node has no address yet that it could send it from"
                return Step(False, f"{none} ({reason}): tunmesh address")
        if self._outside.accepted(destination) is not None:
            return Step(False, f"{self._outside.nobody(destination)} ({reason}). {self._answer()}")
        no_route = f"no linked node has {destination} ({reason})"
        return Step(False, f"{no_route}. {self._who(destination)}. {self._answer()}")

    def _answer(self) -> str:
        """What the application is told of a packet without a route."""
        if self._status.answers.is_answering:
            return _UNREACHABLE
        return "It gets no answer, since this node has not been in its mesh for a second yet"

    def _who(self, address: Address) -> str:
        """Which node has an address that is not routed, as far as is known."""
        for known in self._known_nodes:
            record = known.record
            if record is not None and address in record.claimed:
                dial = next((d for d in self._status.dials if d.name == record.name), None)
                linked = any(peer.record.id == known.id for peer in self._status.peers)
                if linked:
                    return f"{record.name} claims it, but another node holds it"
                return f"{record.name} has it, and there is no link with {record.name}{_why(dial)}"
        return "No node that this one knows of has it"


def _own_addresses(record: NodeRecord, has_link_local: bool) -> set[Address]:
    """A node's addresses, and the link-local ones that are derived from them, if it has any."""
    own = set(record.held)
    if has_link_local:
        own |= {link_local_of(each).ip for each in record.addresses if each.version == 6}
    return own


def _why(dial: DialStatus | None) -> str:
    return f": {dial.target}: {dial.why}" if dial is not None and dial.why else ""


def _names(peers: Iterable[PeerStatus]) -> str:
    return some(sorted(peer.record.name for peer in peers))
