"""What a packet is about: its addresses, protocol and ports, read from its first bytes.

For people who look (`explain`, `capture`), not for the way of a packet: nothing here runs unless
somebody asked. A packet may be anything, so whatever cannot be read is left open.

Sources: RFC 791, RFC 8200 section 4 (extension headers), IANA's protocol numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

ENOUGH = 128  # bytes of a packet that are looked at

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}
_WITH_PORTS = {"tcp", "udp", "sctp"}
_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options: length in the second byte
_FRAGMENT = 44

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Flow:
    """Who speaks to whom. Ports are None where there are none, or out of sight in a fragment."""

    source: Address
    destination: Address
    protocol: str  # a name of PROTOCOLS, or the number
    source_port: int | None = None
    destination_port: int | None = None

    def __str__(self) -> str:
        source = _end(self.source, self.source_port)
        return f"{self.protocol} {source} > {_end(self.destination, self.destination_port)}"


def _end(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def flow_of(packet: bytes) -> Flow | None:
    """What the packet that begins with these bytes is about; None when it is no IP packet."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        at = (packet[0] & 15) * 4
        first = not (packet[6] & 0x1F or packet[7])  # of its fragments
        return _flow(packet, packet[12:16], packet[16:20], packet[9], at, first)
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        number, at, first = packet[6], 40, True
        while number in _EXTENSIONS | {_FRAGMENT} and len(packet) >= at + 8:
            if number == _FRAGMENT:
                first = not (packet[at + 2] or packet[at + 3] & 0xF8)
                length = 8
            else:
                length = 8 * (packet[at + 1] + 1)
            number, at = packet[at], at + length
        return _flow(packet, packet[8:24], packet[24:40], number, at, first)
    return None


def _flow(
    packet: bytes, source: bytes, destination: bytes, number: int, at: int, first: bool
) -> Flow:
    protocol = PROTOCOLS.get(number, str(number))
    ports: tuple[int | None, int | None] = (None, None)
    if protocol in _WITH_PORTS and first and len(packet) >= at + 4:
        ports = (packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3])
    return Flow(ip_address(source), ip_address(destination), protocol, *ports)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which flows somebody wants to see: None stands for any."""

    host: Address | None = None  # at either end
    protocol: str | None = None
    port: int | None = None  # at either end

    def matches(self, flow: Flow) -> bool:
        return (
            (self.host is None or self.host in (flow.source, flow.destination))
            and (self.protocol is None or flow.protocol.startswith(self.protocol))
            and (self.port is None or self.port in (flow.source_port, flow.destination_port))
        )
