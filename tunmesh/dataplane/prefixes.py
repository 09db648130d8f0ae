"""A value for each of many networks; the longest prefix that an address is in decides.

For each length of a prefix that occurs there is a dict of the networks of that length, and the
longest are looked in first: a few dict lookups for an address. This is not for every packet:
what was found for an address is remembered by whoever asked (dataplane.table).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from tunmesh.addresses import Network

V = TypeVar("V")

# Length of the prefix, mask, and the values by the first address of their network.
_Level = tuple[int, int, dict[int, tuple[Network, V]]]


class Prefixes(Generic[V]):
    """Networks of both families, each with a value."""

    def __init__(self) -> None:
        # By the length of an address in bytes; the longest prefix first.
        self._levels: dict[int, list[_Level[V]]] = {4: [], 16: []}

    def __iter__(self) -> Iterator[tuple[Network, V]]:
        for levels in self._levels.values():
            for _, _, networks in levels:
                yield from networks.values()

    def put(self, network: Network, value: V) -> None:
        """The network has this value, in place of another one."""
        self._level(network)[int(network.network_address)] = (network, value)

    def get(self, network: Network) -> V | None:
        """The value of exactly this network; None if it has none."""
        for length, _, networks in self._levels[network.max_prefixlen // 8]:
            if length == network.prefixlen:
                found = networks.get(int(network.network_address))
                return None if found is None else found[1]
        return None

    def remove(self, network: Network) -> None:
        """The network has no value."""
        width = network.max_prefixlen // 8
        self._level(network).pop(int(network.network_address), None)
        self._levels[width] = [level for level in self._levels[width] if level[2]]

    def find(self, address: bytes) -> tuple[Network, V] | None:
        """The longest network that an address (4 or 16 bytes) is in, and its value; None if it is
        in none."""
        number = int.from_bytes(address, "big")
        for _, mask, networks in self._levels.get(len(address), ()):
            found = networks.get(number & mask)
            if found is not None:
                return found
        return None

    def around(self, network: Network) -> tuple[Network, V] | None:
        """The longest network that has all of this one in it, and its value; None if there is
        none."""
        number = int(network.network_address)
        for length, mask, networks in self._levels[network.max_prefixlen // 8]:
            found = networks.get(number & mask) if length <= network.prefixlen else None
            if found is not None:
                return found
        return None

    def _level(self, network: Network) -> dict[int, tuple[Network, V]]:
        """Those of the same length."""
        levels = self._levels[network.max_prefixlen // 8]
        for length, _, networks in levels:
            if length == network.prefixlen:
                return networks
        made: dict[int, tuple[Network, V]] = {}
        levels.append((network.prefixlen, int(network.netmask), made))
        levels.sort(key=lambda level: -level[0])
        return made
