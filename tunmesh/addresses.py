"""IP addresses and networks, in the forms that the whole program uses."""

from __future__ import annotations

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

Interface = IPv4Interface | IPv6Interface  # an address with the prefix of its subnet
Network = IPv4Network | IPv6Network
Target = tuple[str, int]  # what is dialed: a host (an address or a name) and a port

THIS_HOST = "loopback"  # the source of what comes from the machine itself
_MAX_SOURCES = 1024  # hosts whose source is remembered


def shown_target(target: Target) -> str:
    """host:port, with an IPv6 address in brackets."""
    host, port = target
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """The usual form of an address: an IPv4 peer of a dual-stack socket is seen as
    ::ffff:192.0.2.1."""
    return host.removeprefix("::ffff:") if "." in host else host


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The host of a URL as an address; None when it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@lru_cache(_MAX_SOURCES)  # parsing an address costs as much as refusing a connection
def source_of(host: str) -> str:
    """Whom a connection is accounted to: an IPv4 address or an IPv6 /64, which is what one customer
    of a provider has. Loopback is one source."""
    host = plain_host(host)
    if host == "::1" or host.startswith("127."):
        return THIS_HOST
    try:
        return IPv6Address(host).packed[:8].hex()
    except ValueError:
        return host


def is_host(address: IPv4Address | IPv6Address, network: Network) -> bool:
    """Whether a single node may have this address of the network."""
    if address not in network:
        return False
    reserved = (network.network_address, network.broadcast_address)
    return not (has_broadcast(network) and address in reserved)


def has_broadcast(network: Network) -> bool:
    """Whether the last address of a network is for everybody in it (RFC 3021 for /31)."""
    return network.version == 4 and network.prefixlen < 31
