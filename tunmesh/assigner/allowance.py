"""What the helper may do for the node: the rules by which each request is judged.

The process that asks reads bytes from the network, and so it may be in the hands of an attacker.
With these rules the most that it gains is what any member of the mesh has: an address of the mesh's
own network, on the tun of this node.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from tunmesh.addresses import Address, Interface, Network, standing_for
from tunmesh.assigner.wire import PUT

AT_A_TIME = 2  # addresses of one family: the new one is put before the old one is taken off


class Family(NamedTuple):
    """One family whose address is automatic."""

    network: Network
    prefix: int  # of the local subnet
    broadcast: bool  # whether the network's broadcast address is to be one for the kernel
    reserved: tuple[Address, ...] = ()  # addresses that no node may have

    @classmethod
    def parse(cls, text: str) -> Family:
        """The reverse of str()."""
        network, prefix, broadcast, *reserved = text.split(",")
        return cls(
            ip_network(network), int(prefix), broadcast == "1", tuple(map(ip_address, reserved))
        )

    def __str__(self) -> str:
        return ",".join(map(str, (self.network, self.prefix, int(self.broadcast), *self.reserved)))


class Allowance:
    """Judges requests; `held` are the addresses that were put and not taken off."""

    def __init__(self, families: list[Family]) -> None:
        self._families = {family.network.version: family for family in families}
        self.held: list[Interface] = []

    def family_of(self, address: Address | Interface) -> Family:
        """The family of an address that was allowed."""
        return self._families[address.version]

    def of_version(self, version: int) -> list[Interface]:
        """The addresses of one family that are held."""
        return [one for one in self.held if one.version == version]

    def judge(self, what: int, address: Address) -> Interface:
        """The address with its prefix, if the request is allowed. Raises ValueError."""
        family = self._families.get(address.version)
        if family is None:
            raise ValueError(f"{address}: this node has no automatic IPv{address.version} address")
        own = ip_interface(f"{address}/{family.prefix}")
        if what != PUT:
            if own not in self.held:
                raise ValueError(f"{address} was not put by this helper")
            return own
        for around in (family.network, own.network):
            if address not in around or address in standing_for(around):
                raise ValueError(f"{address} is not an address for a node in {around}")
        if address in family.reserved:
            raise ValueError(f"{address} is reserved")
        if own not in self.held and len(self.of_version(address.version)) >= AT_A_TIME:
            raise ValueError(f"there are {AT_A_TIME} addresses of IPv{address.version} already")
        return own

    def done(self, what: int, own: Interface) -> None:
        """An allowed request was carried out."""
        if own in self.held:
            self.held.remove(own)
        if what == PUT:
            self.held.append(own)
