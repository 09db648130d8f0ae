"""The address at which other nodes may reach this machine, as far as the machine itself can tell.

It is the source address that the kernel would use: on the way to a bootstrap node, if its URL has
an address; else on the default route, IPv4 before IPv6. A UDP socket that is connected shows it,
and nothing is sent. Where no route leads, it is an address of some interface that is up. An address
inside the mesh never is, since the mesh is to be built over it; one that is loopback or link-local
only if there is nothing else. What is found is a guess: another network may be the one that peers
are in, or a NAT may be between.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from tunmesh.addresses import Address, Network, Target, literal_address, plain_host
from tunmesh.errors import OperatorError
from tunmesh.netlink import query

LAST_RESORT = "127.0.0.1"
# Documentation prefixes (RFC 5737, RFC 3849): nobody has a route to them but the default one.
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
_PORT = 443  # any but 0
_KIND = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


def guess(
    networks: Sequence[Network],
    targets: Iterable[Target] = (),
    source_to: Callable[[str], str | None] | None = None,
    interfaces: Callable[[], Iterable[str]] | None = None,
) -> str:
    """The address, as text. `networks` are the mesh's, `targets` the bootstrap nodes;
    `source_to(address)` and `interfaces()`, the addresses of this machine, ask the kernel. It does
    not wait for anything, and raises nothing."""
    found = _candidates(targets, source_to or source_address, interfaces or _addresses)
    usable = [(_rank(address), str(address)) for address in found if _may_be(address, networks)]
    return min(usable, key=lambda each: each[0], default=(0, LAST_RESORT))[1]


def source_address(destination: str) -> str | None:
    """The source of packets to this address; None if no route leads there."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with suppress(OSError), socket.socket(family, _KIND) as asked:
        asked.connect((destination, _PORT))
        return str(asked.getsockname()[0])
    return None


def _candidates(
    targets: Iterable[Target],
    source_to: Callable[[str], str | None],
    interfaces: Callable[[], Iterable[str]],
) -> Iterator[Address]:
    hosts = [host for host, _ in targets if literal_address(host) is not None]
    sources = (source_to(host) for host in (*hosts, *_ELSEWHERE))
    for text in (*filter(None, sources), *interfaces()):
        address = literal_address(plain_host(text))
        if address is not None:
            yield address


def _may_be(address: Address, networks: Sequence[Network]) -> bool:
    """An IPv6 link-local address means nothing without an interface, which no URL can name."""
    if address.is_unspecified or address.is_multicast:
        return False
    if address.version == 6 and address.is_link_local:
        return False
    return not any(address in network for network in networks)


def _rank(address: Address) -> int:
    return 2 if address.is_loopback else 1 if address.is_link_local else 0


def _addresses() -> Iterator[str]:
    """The addresses of all interfaces that are up."""
    with suppress(OperatorError):
        state = query.look(())
        for each in state.addresses:
            link = state.links.get(each.index)
            if link is not None and link.is_up:
                yield str(each.address)
