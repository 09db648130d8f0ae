"""What the helper may do for the node: the rules by which each request is judged.

The process that asks reads bytes from the network, and so it may be in the hands of an attacker.
With these rules the most that it gains is what any member of the mesh has: addresses of the mesh's
own networks, on the tun of this node, whose MTU and queue it may choose within the bounds of the
config. All else was told before the node had a connection to anybody, and does not change.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from tunmesh.addresses import Address, Interface, Network, standing_for
from tunmesh.assigner.wire import LINK, PUT, RESTORE, Request
from tunmesh.netlink.changes import MAX_MTU, MAX_QUEUE, MIN_MTU, MIN_MTU_IPV6
from tunmesh.wire.sizes import MAX_FLOATING

AUTOMATIC_AT_A_TIME = 2  # of one family: the new one is put before the old one is taken off
FLOATING_AT_A_TIME = MAX_FLOATING
STATIC_AT_A_TIME = 16  # twice what a node may have, for the same reason


class Family(NamedTuple):
    """One family of the mesh on the device."""

    network: Network
    prefix: int  # of the automatic address; 0: its addresses are static
    broadcast: bool  # whether the network's broadcast address is to be one for the kernel
    reserved: tuple[Address, ...] = ()  # addresses that no node may have
    addresses: tuple[Interface, ...] = ()  # static ones: the device has them from the start
    multicast: bool = False  # is carried; with IPv6 the device then has link-local addresses
    floating: tuple[Network, ...] = ()  # what may be put there beside these, one by one

    @classmethod
    def parse(cls, text: str) -> Family:
        """The reverse of str()."""
        network, prefix, broadcast, multicast, reserved, addresses, floating = text.split(",")
        return cls(
            ip_network(network),
            int(prefix),
            broadcast == "1",
            tuple(map(ip_address, reserved.split())),
            tuple(map(ip_interface, addresses.split())),
            multicast == "1",
            tuple(map(ip_network, floating.split())),
        )

    def __str__(self) -> str:
        flags = (str(int(self.broadcast)), str(int(self.multicast)))
        named = (self.reserved, self.addresses, self.floating)
        lists = (" ".join(map(str, each)) for each in named)
        return ",".join((str(self.network), str(self.prefix), *flags, *lists))

    @property
    def is_automatic(self) -> bool:
        return bool(self.prefix)

    @property
    def has_link_local(self) -> bool:
        """Whether the device has a link-local address for each of its addresses."""
        return self.multicast and self.network.version == 6

    def floats(self, own: Interface) -> bool:
        """Whether that may be one of the floating addresses, which have no subnet."""
        is_single = own.network.prefixlen == own.max_prefixlen
        return is_single and any(own.ip in place for place in self.floating)


class Device(NamedTuple):
    """How the device is to be: what the helper is told at the start."""

    families: tuple[Family, ...]
    mtu: int = 1500
    queue: int = 0  # its txqueuelen; 0: the kernel's
    behind: tuple[Network, ...] = ()  # networks outside the mesh that are routed to it as well
    forwards: bool = False  # this machine forwards packets to it: netlink.changes.PIECE

    @classmethod
    def parse(cls, mtu: str, queue: str, behind: str, forwards: str, *families: str) -> Device:
        """The reverse of `arguments`."""
        networks, kept = tuple(map(ip_network, behind.split())), tuple(map(Family.parse, families))
        return cls(kept, int(mtu), int(queue), networks, forwards == "forwards")

    @property
    def arguments(self) -> list[str]:
        behind = " ".join(map(str, self.behind))
        forwards = "forwards" if self.forwards else ""
        return [str(self.mtu), str(self.queue), behind, forwards, *map(str, self.families)]


class Allowance:
    """Judges requests, and keeps how the device is to be. `held` are the addresses that it should
    have: those that it was set up with, and what was put and not taken off. So are `floating`,
    which have no routes."""

    def __init__(self, device: Device) -> None:
        self._families = {family.network.version: family for family in device.families}
        self.mtu, self.queue, self.behind = device.mtu, device.queue, device.behind
        self.forwards = device.forwards
        self.held = [address for family in device.families for address in family.addresses]
        self.floating: list[Interface] = []

    @property
    def families(self) -> list[Family]:
        return list(self._families.values())

    def family_of(self, address: Address | Interface) -> Family:
        """The family of an address that was allowed."""
        return self._families[address.version]

    def of_version(self, version: int) -> list[Interface]:
        """The addresses of one family that are held."""
        return [one for one in self.held if one.version == version]

    def floats(self, own: Interface) -> bool:
        """Whether an address is a floating one, and not one that the node has anyway."""
        return own not in self.held and self._families[own.version].floats(own)

    def judge(self, asked: Request) -> None:
        """Raises ValueError if the request is not allowed."""
        if asked.interface is not None:
            self._judge_address(asked.what, asked.interface)
        elif asked.what == LINK:
            self._judge_link(asked.mtu, asked.queue)
        elif asked.what != RESTORE:
            raise ValueError("a request for something that the helper does not do")

    def done(self, asked: Request) -> None:
        """An allowed request was carried out."""
        own = asked.interface
        if own is not None:
            group = self.floating if self.floats(own) else self.held
            if asked.what != PUT:
                group.remove(own)
            elif own not in group:
                group.append(own)
        elif asked.what == LINK:
            self.mtu = asked.mtu or self.mtu
            self.queue = asked.queue or self.queue

    def _judge_address(self, what: int, own: Interface) -> None:
        address, family = own.ip, self._families.get(own.version)
        if family is None:
            raise ValueError(f"{address}: this node has no IPv{own.version} in the mesh")
        if what != PUT:
            if own not in self.held and own not in self.floating:
                raise ValueError(f"{own} is not an address that this helper has put")
            return
        if self.floats(own):
            self._judge_floating(own, family)
            return
        prefix, least = own.network.prefixlen, family.network.prefixlen
        if family.is_automatic and prefix != family.prefix:
            raise ValueError(f"{own} has a prefix of {prefix} and not of {family.prefix}")
        if prefix < least:
            raise ValueError(f"{own} has a prefix of {prefix}, shorter than {least}")
        for around in (family.network, own.network):
            if address not in around or address in standing_for(around):
                raise ValueError(f"{address} is not an address for a node in {around}")
        if address in family.reserved:
            raise ValueError(f"{address} is reserved")
        most = AUTOMATIC_AT_A_TIME if family.is_automatic else STATIC_AT_A_TIME
        if own not in self.held and len(self.of_version(own.version)) >= most:
            raise ValueError(f"there are {most} addresses of IPv{own.version} already")

    def _judge_floating(self, own: Interface, family: Family) -> None:
        address, network = own.ip, family.network
        if address not in network or address in standing_for(network):
            raise ValueError(f"{address} is not an address for a node in {network}")
        if address in family.reserved:
            raise ValueError(f"{address} is reserved")
        if own not in self.floating and len(self.floating) >= FLOATING_AT_A_TIME:
            raise ValueError(f"there are {FLOATING_AT_A_TIME} floating addresses already")

    def _judge_link(self, mtu: int, queue: int) -> None:
        least = MIN_MTU_IPV6 if 6 in self._families else MIN_MTU
        if mtu and not least <= mtu <= MAX_MTU:
            raise ValueError(f"an MTU of {mtu} is not within {least} and {MAX_MTU}")
        if queue > MAX_QUEUE:
            raise ValueError(f"a txqueuelen of {queue} is more than {MAX_QUEUE}")
