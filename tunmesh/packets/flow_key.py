"""What all packets of one flow have in common, as a few bytes: to send them all by one of several
ways.

Packets of TCP and UDP are of one flow if their addresses and ports are the same. All other packets
between two addresses are one flow, and so are fragments: only the first one has the ports, and all
fragments of a datagram are to go the same way. An ICMP error goes the way of the flow that it is
about: the packet that it quotes came the other way.

Sources: RFC 791, RFC 792, RFC 4443; RFC 2992 for the choice by a hash.
"""

from __future__ import annotations

from tunmesh.packets.ip_headers import ICMP, ICMPV6
from tunmesh.packets.virtio import UDP, UNFRAGMENTED

_TCP = 6
_WITH_PORTS = {_TCP, UDP}
_ERRORS4 = {3, 4, 11, 12}
_FIRST_INFORMATIONAL6 = 128
_PLAIN4 = 0x45  # version 4, no options
_ENDS4, _ENDS6 = slice(22, 30), slice(18, 50)  # the addresses in a frame
# The same in an ICMP error of a frame, of the packet that it quotes.
_QUOTED4, _QUOTED6 = 38, 58


def flow_key(frame: bytes) -> bytes:
    """The key of the flow that a frame belongs to. The frame must hold an IP header. It begins with
    source and destination."""
    first = frame[10]
    if first < 0x50:
        if first != _PLAIN4 or frame[16:18] not in UNFRAGMENTED:
            return frame[_ENDS4]
        protocol = frame[19]
        if protocol in _WITH_PORTS:
            return frame[22:34]
        is_error = protocol == ICMP and frame[30:31] and frame[30] in _ERRORS4
        return (_quoted4(frame[_QUOTED4:]) if is_error else b"") or frame[_ENDS4]
    protocol = frame[16]
    if protocol in _WITH_PORTS:
        return frame[18:54]
    is_error = protocol == ICMPV6 and frame[50:51] and frame[50] < _FIRST_INFORMATIONAL6
    return (_quoted6(frame[_QUOTED6:]) if is_error else b"") or frame[_ENDS6]


def _quoted4(packet: bytes) -> bytes:
    """The key of the flow that answers this packet; empty if too little of it is there."""
    if len(packet) < 20:
        return b""
    ends = packet[16:20] + packet[12:16]
    has_ports = packet[0] == _PLAIN4 and packet[6:8] in UNFRAGMENTED and packet[9] in _WITH_PORTS
    return ends + packet[22:24] + packet[20:22] if has_ports else ends


def _quoted6(packet: bytes) -> bytes:
    if len(packet) < 40:
        return b""
    ends = packet[24:40] + packet[8:24]
    return ends + packet[42:44] + packet[40:42] if packet[6] in _WITH_PORTS else ends
