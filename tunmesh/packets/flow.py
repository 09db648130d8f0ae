"""The flow that a packet belongs to: addresses, protocol and ports, parsed from its first
bytes.

For diagnostics (`explain`, `capture`), not for forwarding: nothing here runs unless a user asked
for it. A packet may hold anything, so fields that cannot be parsed are None.

Source: IANA's protocol numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from tunmesh.addresses import Address, shown_target
from tunmesh.packets import ip_headers

ENOUGH = 128  # bytes of a packet that are parsed

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}
_WITH_PORTS = {"tcp", "udp", "sctp"}


@dataclass(frozen=True, slots=True)
class Flow:
    """The two ends of a packet. Ports are None if the protocol has none, or in a later fragment."""

    source: Address
    destination: Address
    protocol: str  # a name from PROTOCOLS, or the number
    source_port: int | None = None
    destination_port: int | None = None

    def __str__(self) -> str:
        source = _end(self.source, self.source_port)
        return f"{self.protocol} {source} > {_end(self.destination, self.destination_port)}"


def _end(address: Address, port: int | None) -> str:
    return str(address) if port is None else shown_target((str(address), port))


def flow_of(packet: bytes) -> Flow | None:
    """The flow of the packet that begins with these bytes; None if they cannot be parsed."""
    read = ip_headers.read(packet)
    if read is None:
        return None
    at, is_first = read.at, read.fragment is None or read.fragment.start == 0
    ends = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    half = len(ends) // 2
    protocol = PROTOCOLS.get(read.protocol, str(read.protocol))
    ports: tuple[int | None, int | None] = (None, None)
    if protocol in _WITH_PORTS and is_first and len(packet) >= at + 4:
        ports = (packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3])
    return Flow(ip_address(ends[:half]), ip_address(ends[half:]), protocol, *ports)


@dataclass(frozen=True, slots=True)
class Filter:
    """The flows that a user wants to see; None matches anything."""

    host: Address | None = None  # at either end
    protocol: str | None = None
    port: int | None = None  # at either end

    def matches(self, flow: Flow) -> bool:
        return (
            (self.host is None or self.host in (flow.source, flow.destination))
            and (self.protocol is None or flow.protocol.startswith(self.protocol))
            and (self.port is None or self.port in (flow.source_port, flow.destination_port))
        )
