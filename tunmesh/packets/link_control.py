"""Packets that are between a host and its own link: IGMP, MLD, and neighbour discovery.

No node passes them on, and none takes them from another: with them a peer could change this
machine's routes (router advertisements), or make it speak an older version of IGMP.

Sources: RFC 4861 section 4, RFC 2710, RFC 3810, RFC 3376.
"""

from __future__ import annotations

from tunmesh.packets import igmp, ip_headers, mld
from tunmesh.packets.virtio import HEADER, UDP

# Router solicitation and advertisement, neighbour solicitation and advertisement, redirect.
_DISCOVERY = frozenset({133, 134, 135, 136, 137})
_TYPES = _DISCOVERY | mld.TYPES


def is_link_control(frame: bytes | memoryview) -> bool:
    """Whether it is one of these. The frame has at least a whole IP header."""
    if frame[HEADER] < 0x50:
        return frame[19] == igmp.PROTOCOL
    if frame[16] == UDP:
        return False
    packet = frame[HEADER:]
    found = ip_headers.read(packet)
    return found is not None and found.is_whole and is_control(packet, found)


def is_control(packet: bytes | memoryview, found: ip_headers.Headers) -> bool:
    """The same, of a packet whose headers have been read."""
    if packet[0] >> 4 == 4:
        return found.protocol == igmp.PROTOCOL
    return (
        found.protocol == ip_headers.ICMPV6
        and (found.fragment is None or found.fragment.start == 0)
        and len(packet) > found.at
        and packet[found.at] in _TYPES
    )
