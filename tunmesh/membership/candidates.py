"""In which order a node tries the addresses of a network, when it chooses its address itself.

The order follows from the network and the name of the node: the same name gets the same address
again while it is free, with nothing on disk, and two names rarely begin with the same one.

    up to 2^32 hosts   start + n × step, modulo their number: both from SHA-256 of network and name,
                       the step without a divisor in common with the number, so that every host
                       comes exactly once in a round
    more (IPv6)        the network's prefix and 64 bits of SHA-256 of network, name and n, in the
                       spirit of RFC 7217

Left out are the first address of the network and of the local subnets (RFC 4291 section 2.6.1), in
IPv4 their broadcast addresses, too, what is reserved, and what floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import ip_interface

from tunmesh.addresses import Address, Interface, Network

_LARGEST = 32  # bits of a host, up to which every host comes once
_HASHED = 64  # bits of a host beyond that
_MOST_SKIPPED = 1 << 16  # numbers that are tried in a row for one that is not left out


class Candidates:
    """Those of a node with this name in this network, in local subnets with this prefix. They are
    numbered from 0; some numbers have none."""

    def __init__(
        self,
        network: Network,
        prefix: int,
        name: str,
        reserved: Iterable[Address] = (),
        floating: Iterable[Network] = (),
    ) -> None:
        self.network = network
        self._prefix = prefix
        self._base = int(network.network_address)
        self._bits = network.max_prefixlen - network.prefixlen
        self._seed = f"tunmesh/1 address {network} {name}".encode("ascii")
        digest = hashlib.sha256(self._seed).digest()
        self._start = int.from_bytes(digest[:8], "big")
        self._step = int.from_bytes(digest[8:16], "big") | 1  # the number is a power of two
        self._reserved = frozenset(each for each in reserved if self._is_host(each))
        self._floating = [each for each in floating if each.version == network.version]

    @property
    def hosts(self) -> int:
        """How many nodes the network has addresses for."""
        subnets: int = 1 << (self._prefix - self.network.prefixlen)
        each = 2 if self.network.version == 4 else 1
        total: int = 1 << self._bits
        floating = sum(place.num_addresses for place in self._floating)
        return max(0, total - subnets * each - len(self._reserved) - floating)

    @property
    def version(self) -> int:
        return self.network.version

    def __iter__(self) -> Iterator[tuple[int, Interface]]:
        """Number and address of each, in order; each host once if there are up to 2^32 of them."""
        is_small = self._bits <= _LARGEST
        for number in range(1 << self._bits if is_small else _MOST_SKIPPED):
            address = self._address(number)
            is_left_out = address in self._reserved or any(address in e for e in self._floating)
            if self._is_host(address) and not is_left_out:
                yield number, ip_interface(f"{address}/{self._prefix}")

    def _address(self, number: int) -> Address:
        if self._bits <= _LARGEST:
            host = (self._start + number * self._step) % (1 << self._bits)
        else:
            digest = hashlib.sha256(self._seed + b" " + str(number).encode("ascii")).digest()
            host = int.from_bytes(digest[: _HASHED // 8], "big") % (1 << self._bits)
        address: Address = type(self.network.network_address)(self._base + host)
        return address

    def _is_host(self, address: Address) -> bool:
        """Whether a node may have it: it stands for no network."""
        if address not in self.network:
            return False
        size = 1 << (self.network.max_prefixlen - self._prefix)
        place = int(address) % size
        return place != 0 and not (self.network.version == 4 and place == size - 1)
