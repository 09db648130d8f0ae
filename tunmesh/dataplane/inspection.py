"""Packets that a peer may not send although their source and destination are right.

**ICMP errors** ("too big", "unreachable", redirects …) change what the kernel knows of the route to
the destination of the packet that they quote, no matter who sends them and on which interface. One
that quotes a packet of the underlay could set the MTU of the route to a name server to 552 for ten
minutes. So an error is carried only if this machine may have sent the quoted packet to this very
peer: from one of its mesh addresses to one that leads to the peer. In a mesh every node is one hop
away, so no other one can know of an error on the way, and there is no reason for a redirect. With
gateways (dataplane.gateways) the quoted packet may also have gone to an address outside the mesh,
if the peer leads there; and it may have come from a host that this node leads to, if that is who
gets the error.

**Link control** (IGMP, MLD, neighbour discovery) is between a host and its own link. No node sends
it to another one, so none accepts it: packets.link_control.

**Fragments** use the kernel's memory: dataplane.fragments.

**Partial checksums.** Where this machine forwards a packet, its kernel or its network card writes
the checksum, of which the sender chooses the value and the place. At the type of an ICMP message,
it makes an error of an echo reply; in an extension header of IPv6, ICMP of what was TCP. No kernel
leaves the checksum of ICMP or of a fragment to others, so neither may have a partial one, and that
of what follows extension headers lies behind them.

Only packets that `virtio.read` calls special are inspected; no others are errors or fragments.

Sources: RFC 792, RFC 4443, icmp_unreach and ip_rt_update_pmtu in net/ipv4, icmpv6_notify in
net/ipv6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from tunmesh.addresses import Network
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.fragments import TIMEOUT4, TIMEOUT6, Reassembly
from tunmesh.dataplane.gateways import Gateways
from tunmesh.packets import ip_headers, link_control
from tunmesh.packets.virtio import HEADER, NEEDS_CSUM, UNFRAGMENTED, VIRTIO

_ERRORS4 = {3, 4, 5, 11, 12}  # unreachable, source quench, redirect, time exceeded, bad parameter
_REDIRECT4, _REDIRECT6 = 5, 137
_ECHO = {b"\0", b"\x08"}  # ICMP's types of reply and request
_FIRST_INFORMATIONAL6 = 128  # RFC 4443, section 2.1: below it are errors
_ICMP_HEADER = 8

P = TypeVar("P")


class Inspection(Generic[P]):
    """`own`: this node's mesh addresses; `networks`: the mesh's; `seconds` reads the clock;
    `gateways`: who leads out of the mesh; `holder(address)`: the peer that has one of the mesh."""

    def __init__(
        self,
        own: Iterable[bytes],
        networks: Sequence[Network],
        seconds: Callable[[], float],
        gateways: Gateways[P] | None = None,
        holder: Callable[[bytes], P | None] = lambda _: None,
    ) -> None:
        self.readdress(own)
        self._gateways: Gateways[P] = gateways or Gateways()
        # The first and the last address of each network of the mesh, by the length of an address.
        self._ranges: dict[int, list[tuple[bytes, bytes]]] = {4: [], 16: []}
        for network in networks:
            ends = (network.network_address.packed, network.broadcast_address.packed)
            self._ranges[len(ends[0])].append(ends)
        self._holder = holder
        self._seconds = seconds
        self._reassembly = {4: Reassembly(TIMEOUT4), 6: Reassembly(TIMEOUT6)}

    def readdress(self, own: Iterable[bytes]) -> None:
        """From now on these are this node's mesh addresses."""
        self._own = frozenset(own)

    def refuses(self, peer: P, frame: bytes | memoryview) -> DropReason | None:
        """Why this well-formed frame of a peer must not reach the kernel, or None if it may."""
        if is_echo(frame):
            return None
        packet = frame[HEADER:]
        version = packet[0] >> 4
        read = ip_headers.read(packet)
        if read is None or not read.is_whole:
            return DropReason.MALFORMED
        if frame[0] & NEEDS_CSUM and not _may_be_partial(frame, read):
            return DropReason.MALFORMED
        is_first = read.fragment is None or read.fragment.start == 0
        if is_first and self._is_foreign_error(peer, version, packet, read):
            return DropReason.ICMP_ERROR
        if link_control.is_control(packet, read):
            return DropReason.LINK_CONTROL
        if read.fragment is not None and not self._reassembly[version].admit(
            self._seconds(), peer, read.fragment
        ):
            return DropReason.FRAGMENTS
        return None

    def _is_foreign_error(
        self, peer: P, version: int, packet: bytes | memoryview, read: ip_headers.Headers
    ) -> bool:
        """Whether it is an ICMP error that is not about a packet that this machine sent to this
        peer."""
        if read.protocol != (ip_headers.ICMP if version == 4 else ip_headers.ICMPV6):
            return False
        if len(packet) <= read.at:
            return True  # a fragment so short that the ICMP type is in another one
        kind = packet[read.at]
        if version == 4:
            is_error, redirect, ends = kind in _ERRORS4, _REDIRECT4, slice(12, 20)
        else:
            is_error = kind < _FIRST_INFORMATIONAL6 or kind == _REDIRECT6
            redirect, ends = _REDIRECT6, slice(8, 40)
        if not is_error:
            return False
        quoted = packet[read.at + _ICMP_HEADER :]
        addresses = bytes(quoted[ends])
        half = (ends.stop - ends.start) // 2
        return (
            kind == redirect
            or read.fragment is not None
            or len(addresses) < 2 * half
            or quoted[0] >> 4 != version
            or not self._may_be_told(addresses[:half], bytes(packet[ends])[half:])
            or not self._may_tell(peer, addresses[half:])
        )

    def _may_be_told(self, sender: bytes, told: bytes) -> bool:
        """Whether `told` may learn of an error about a packet from `sender`, by way of this
        machine."""
        return sender in self._own or (sender == told and self._gateways.is_own(sender))

    def _may_tell(self, peer: P, destination: bytes) -> bool:
        """Whether this peer may tell of an error about a packet to `destination`."""
        return self._holder(destination) is peer or self._gateways.leads(peer, destination)

    def is_in_mesh(self, address: bytes) -> bool:
        """Whether this address is in the mesh's networks."""
        ranges = self._ranges.get(len(address), ())
        return any(first <= address <= last for first, last in ranges)


def _may_be_partial(frame: bytes | memoryview, read: ip_headers.Headers) -> bool:
    """Whether its checksum may be written where its virtio header says."""
    csum_start: int
    *_, csum_start, _ = VIRTIO.unpack_from(frame)
    is_icmp = read.protocol in (ip_headers.ICMP, ip_headers.ICMPV6)
    return not is_icmp and read.fragment is None and csum_start >= read.at


def is_echo(frame: bytes | memoryview) -> bool:
    """Whether this is a plain ping over IPv4 or its reply, whose checksum is there: most of what is
    inspected."""
    head = bytes(frame[HEADER : HEADER + 21])
    return (
        head[:1] == b"\x45"
        and not frame[0] & NEEDS_CSUM
        and head[9] == ip_headers.ICMP
        and head[6:8] in UNFRAGMENTED
        and head[20:] in _ECHO
    )
