"""IP addresses and networks, in the forms that the whole program uses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface  # an address with the prefix of its subnet
Network = IPv4Network | IPv6Network
Target = tuple[str, int]  # a host (an address or a name) and a port to dial

# No allocated block is larger: wider networks are parts of a default route.
LARGEST_BLOCK = {4: 8, 6: 7}
THIS_HOST = "loopback"  # the source of connections from the machine itself
RELAYED = "relayed"  # the source of all nodes that third nodes carry
_MAX_SOURCES = 1024  # hosts whose source is cached
LINK_LOCAL = IPv6Network("fe80::/64")


def shown_target(target: Target) -> str:
    """host:port, with an IPv6 address in brackets."""
    host, port = target
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """An address in its usual form: a dual-stack socket shows an IPv4 peer as ::ffff:192.0.2.1."""
    return host.removeprefix("::ffff:") if "." in host else host


def scoped_host(host: str, scope: int) -> str:
    """An address with the interface on which it is valid, as in fe80::1%2. `scope`: its index; 0:
    it is valid everywhere."""
    return f"{host}%{scope}" if scope and "%" not in host else host


def unscoped_host(host: str) -> str:
    """The same without the interface."""
    return host.partition("%")[0]


def literal_address(host: str) -> Address | None:
    """The host of a URL as an address; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@lru_cache(_MAX_SOURCES)  # parsing an address costs as much as refusing a connection
def source_of(host: str) -> str:
    """The source that a connection is counted under: an IPv4 address or an IPv6 /64, which is what
    a provider assigns to one customer. All of loopback is one source."""
    host = plain_host(host)
    if host == "::1" or host.startswith("127."):
        return THIS_HOST
    try:
        return IPv6Address(host).packed[:8].hex()
    except ValueError:
        return host


def is_host(address: Address, network: Network) -> bool:
    """Whether a single node may have this address of the network."""
    if address not in network:
        return False
    reserved = (network.network_address, network.broadcast_address)
    return not (has_broadcast(network) and address in reserved)


def last_host(network: Network) -> Address | None:
    """The last address that a node may have; None if the network has fewer than four addresses."""
    if network.num_addresses < 4:
        return None
    return network.broadcast_address - has_broadcast(network)


def firsts(addresses: Iterable[Interface]) -> list[Interface]:
    """The first address in each subnet: packets to that subnet leave from it."""
    found: dict[Network, Interface] = {}
    for address in addresses:
        found.setdefault(address.network, address)
    return list(found.values())


def has_broadcast(network: Network) -> bool:
    """Whether the last address of a network is its broadcast address (not in a /31, RFC 3021)."""
    return network.version == 4 and network.prefixlen < 31


def overlap(one: Network, other: Network) -> bool:
    """Whether two networks, of whatever families, have an address in common."""
    return one.version == other.version and one.overlaps(other)


def standing_for(network: Network) -> tuple[Address, ...]:
    """The addresses that stand for a network, and that no node is given: its first (RFC 4291
    section 2.6.1 for IPv6) and, in IPv4, its last, unless it has no more than two (RFC 3021, RFC
    6164)."""
    if network.num_addresses <= 2:
        return ()
    if network.version == 6:
        return (network.network_address,)
    return (network.network_address, network.broadcast_address)


def is_multicast(address: bytes) -> bool:
    """Whether a raw address, of 4 or 16 bytes, is a group."""
    return address[0] == 0xFF if len(address) == 16 else 224 <= address[0] < 240


def link_local(address: bytes) -> bytes:
    """The link-local address of the node that has this IPv6 address of the mesh, both raw. It is
    derived, so that nobody has to be told, and a claim to the one is a claim to the other: to find
    another address that yields the same takes 2⁶⁴ attempts."""
    # It loads libcrypto, 4 MB, for which a helper process without multicast has no use.
    import hashlib

    digest = hashlib.sha256(b"tunmesh link-local " + address).digest()
    return LINK_LOCAL.network_address.packed[:8] + digest[:8]


def link_local_of(own: Interface) -> Interface:
    """The same as an interface address, of an IPv6 address."""
    return IPv6Interface((link_local(own.packed), LINK_LOCAL.prefixlen))
