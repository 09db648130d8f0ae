"""The keys under `networking`: the private network, and this node's place in it.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tunmesh.addresses import Address, Interface, Network
from tunmesh.config.keys.device import DeviceHelper, Mtu, QueueLength
from tunmesh.config.keys.floating import Floating, check_floating
from tunmesh.config.keys.names import Dns, dns_addresses
from tunmesh.config.keys.relay import Relay
from tunmesh.config.keys.routes import NO_TWINS, NO_TWINS_ACCEPTED, AcceptedRoute, Advertised
from tunmesh.config.networks import (
    AnyNetwork,
    Ipv4Addresses,
    Ipv4Network,
    Ipv6Addresses,
    Ipv6Network,
)
from tunmesh.config.section import KeyRuleError, Section, wrong
from tunmesh.config.types import NULL_IS_EMPTY, RELOADED, RELOADED_BY_HELPER, DeviceName
from tunmesh.config.values import Automatic
from tunmesh.netlink.changes import MIN_MTU_IPV6
from tunmesh.wire.sizes import MAX_ADDRESSES, MAX_ROUTES


class Ipv4(Section):
    """The IPv4 side of the mesh."""

    network_cidr: Ipv4Network = Field(
        description="All addresses that the mesh may use. They are routed into the tunnel.",
        examples=["10.77.0.0/16"],
    )
    node_address_cidr: Ipv4Addresses = Field(
        description="This node's own address, with the prefix of its local subnet. The subnet "
        "determines which nodes receive local broadcasts and which timing applies. `auto`: the "
        "node chooses an address that is free (`auto/24`: with this prefix; otherwise with that "
        "of network_cidr). A list: it has all of them, and sends from the first.",
        examples=["10.77.1.2/24"],
        json_schema_extra=RELOADED_BY_HELPER,
    )
    enable_broadcast: bool = Field(
        default=False,
        description="Carry broadcasts. 255.255.255.255 and the last address of the local subnet "
        "reach the nodes of that subnet, the last address of network_cidr all nodes.",
    )
    enable_multicast: bool = Field(
        default=False,
        description="Carry multicast. A packet to a group goes to the nodes where a program has "
        "joined that group on the tun, and to no others; 224.0.0.0/24 only within the local "
        "subnet.",
    )


class Ipv6(Section):
    """The IPv6 side of the mesh."""

    network_cidr: Ipv6Network = Field(
        description="All addresses that the mesh may use. They are routed into the tunnel.",
        examples=["fd77::/48"],
    )
    node_address_cidr: Ipv6Addresses = Field(
        description="This node's own address, with the prefix of its local subnet. The subnet "
        "determines which timing applies. `auto`: the node chooses an address that is free "
        "(`auto/64`: with this prefix; otherwise with that of network_cidr). A list: it has all of "
        "them, and sends from the first.",
        examples=["fd77:0:0:1::2/64"],
        json_schema_extra=RELOADED_BY_HELPER,
    )
    enable_multicast: bool = Field(
        default=False,
        description="Carry multicast. A packet to a group goes to the nodes where a program has "
        "joined that group on the tun, and to no others; link-local groups (ff02::/16) only within "
        "the local subnet. The tun gets a link-local address.",
    )


class Networking(Section):
    """The private network, and the device that leads to it."""

    one_of: ClassVar[tuple[str, ...]] = ("ipv4", "ipv6")

    tun_device_id: DeviceName = Field(
        default="tun1", description="Name of the tun device to create."
    )
    mtu: Mtu = 1500
    txqueuelen: QueueLength = None
    device_helper: DeviceHelper = False
    floating: Floating = ()
    ipv4: Ipv4 | None = Field(
        default=None,
        description="The IPv4 side of the mesh.",
    )
    ipv6: Ipv6 | None = Field(
        default=None,
        description="The IPv6 side of the mesh.",
    )
    transport: Literal["auto", "tcp", "udp"] = Field(
        default="auto",
        description="What packets travel over. `auto`: for each peer what is better, UDP on long "
        "or lossy paths where it gets through, TCP everywhere else. `udp`: UDP wherever it gets "
        "through. `tcp`: no UDP port is opened. UDP uses the number of control_api/listen_port.",
        examples=["tcp"],
    )
    relay: Relay = True
    guard: bool = Field(
        default=False,
        description="Add unreachable routes to the mesh's networks that outlive the node: while "
        "it restarts, packets to the mesh are refused instead of leaving by the default route, in "
        "clear text. `tunmesh guard --remove` and `tunmesh drain` remove them.",
    )
    allow_overlap: Annotated[tuple[AnyNetwork, ...], NULL_IS_EMPTY] = Field(
        default=(),
        description="Networks of this machine that may overlap the mesh's. A route in them that "
        "is at least as specific as the mesh's keeps its traffic and does not prevent the start.",
        examples=[["10.77.200.0/24"]],
    )

    advertise: Annotated[tuple[Advertised, ...], NULL_IS_EMPTY, NO_TWINS] = Field(
        default=(),
        max_length=MAX_ROUTES,
        description="Networks outside the mesh that this node leads to. It takes packets to them "
        "from other nodes, and this machine forwards them; its forwarding must be on. Nodes "
        "that have them in accept_routes use it.",
        examples=[["192.168.5.0/24"]],
        json_schema_extra=RELOADED,
    )
    accept_routes: Annotated[tuple[AcceptedRoute, ...], NULL_IS_EMPTY, NO_TWINS_ACCEPTED] = Field(
        default=(),
        max_length=MAX_ROUTES,
        description="Networks outside the mesh that are routed into the tunnel. A packet goes to a "
        "node that advertises the network or a part that it is in, and packets from there are "
        "believed. With `via` and addresses of nodes, only these may lead there.",
        examples=[["192.168.5.0/24", "10.40.0.0/16 via 10.77.0.9"]],
    )
    dns: Dns | None = Field(
        default=None,
        description="Names of nodes, answered by this node at an address of the mesh. Without this "
        "section there are none.",
    )

    @model_validator(mode="after")
    def _one_family(self) -> Networking:
        if self.ipv4 is None and self.ipv6 is None:
            raise ValueError("must have ipv4, ipv6 or both, not none of them")
        return self

    @model_validator(mode="after")
    def _dns_has_its_own_address(self) -> Networking:
        for own in self.static_addresses:
            if own.ip in self.dns_addresses:
                raise ValueError(
                    f"must have another node_address_cidr than {own}, or another dns/address: "
                    f"names are answered at {own.ip}, on every node"
                )
        return self

    @model_validator(mode="after")
    def _room_for_ipv6(self) -> Networking:
        if self.ipv6 is not None and self.mtu < MIN_MTU_IPV6:
            text = (
                f"must be {MIN_MTU_IPV6} or more with networking/ipv6, not {self.mtu}: the kernel"
            )
            raise KeyRuleError(("mtu",), f"{text} takes IPv6 away from a device with a smaller MTU")
        return self

    @model_validator(mode="after")
    def _floats_in_the_mesh(self) -> Networking:
        check_floating(self.floating, self.networks, self.static_addresses, self.dns_addresses)
        return self

    @model_validator(mode="after")
    def _not_too_many_addresses(self) -> Networking:
        count = len(self.static_addresses)
        if count > MAX_ADDRESSES:
            raise ValueError(
                f"must have at most {MAX_ADDRESSES} addresses in node_address_cidr, of both "
                f"families together, not {count}"
            )
        return self

    @model_validator(mode="after")
    def _forwards_to_others(self) -> Networking:
        for server in self.dns.servers if self.dns is not None else ():
            if server in self.dns_addresses:
                text = wrong("name servers of others", str(server))
                raise KeyRuleError(
                    ("dns", "forward"), f"{text}, where this node answers names itself"
                )
        return self

    @property
    def families(self) -> tuple[Ipv4 | Ipv6, ...]:
        """Those that the mesh has, IPv4 first."""
        return tuple(family for family in (self.ipv4, self.ipv6) if family is not None)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The mesh's, one for each family."""
        return tuple(family.network_cidr for family in self.families)

    @property
    def static_addresses(self) -> tuple[Interface, ...]:
        """The addresses that the operator has assigned."""
        given = (family.node_address_cidr for family in self.families)
        return tuple(own for each in given if not isinstance(each, Automatic) for own in each)

    @property
    def has_broadcast(self) -> bool:
        """Whether broadcasts are carried. IPv6 has none."""
        return self.ipv4 is not None and self.ipv4.enable_broadcast

    @property
    def dns_addresses(self) -> tuple[Address, ...]:
        """Where names are answered; none without `dns`."""
        if self.dns is None:
            return ()
        return dns_addresses(self.dns, self.networks)

    @property
    def has_helper(self) -> bool:
        """Whether a helper process keeps NET_ADMIN while the node runs (tunmesh.assigner)."""
        return self.device_helper or bool(self.floating) or self.is_automatic

    @property
    def is_automatic(self) -> bool:
        """Whether the node chooses an address itself."""
        return any(isinstance(family.node_address_cidr, Automatic) for family in self.families)
