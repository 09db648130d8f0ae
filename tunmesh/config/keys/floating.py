"""The key `networking/floating`: addresses that programs may claim for this node.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator

from tunmesh.addresses import Address, Interface, Network, is_host
from tunmesh.config.networks import ANY_NETWORK
from tunmesh.config.section import KeyRuleError, Kind, wrong
from tunmesh.config.types import ANY_ADDRESS, NULL_IS_EMPTY, text_of


def _place(value: object) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    form = "an address such as 10.77.0.100, or a network of them such as 10.77.0.96/28"
    if not isinstance(value, str) or "%" in value:
        raise ValueError(wrong(form, value))
    try:
        return ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            network = ip_network(value, strict=False)
            raise ValueError(wrong(f"{network}, the network itself", value)) from None
        raise ValueError(wrong(form, value)) from None


def shown(place: Network) -> str:
    """As a person would write it: one address without its prefix."""
    return str(place.network_address) if place.num_addresses == 1 else str(place)


Place = Annotated[
    Network,
    PlainValidator(_place),
    PlainSerializer(shown, return_type=str),
    Kind("address or network", text_of(f"{ANY_ADDRESS}|{ANY_NETWORK}")),
]
Floating = Annotated[
    tuple[Place, ...],
    NULL_IS_EMPTY,
    Field(
        description="Floating addresses that may be claimed for this node with `tunmesh address "
        "claim`: addresses, or networks of them, within network_cidr. One node of the mesh has "
        "such an address at a time. With any of them a helper process runs, as with "
        "device_helper.",
        examples=[["10.77.0.100"]],
    ),
]


def check_floating(
    places: Iterable[Network],
    networks: Sequence[Network],
    static: Sequence[Interface],
    dns: Sequence[Address],
) -> None:
    """Raises KeyRuleError for a place outside the mesh's networks, or without an address that can
    float. `static` are this node's own addresses; `dns` those where names are answered."""
    for index, place in enumerate(places):
        key = ("floating", index)
        around = [each for each in networks if each.version == place.version]
        if not any(_lies_in(place, each) for each in around):
            names = " or ".join(map(str, networks))
            raise KeyRuleError(key, wrong(f"in {names}", shown(place)))
        if place.num_addresses > 1:
            continue
        address = place.network_address
        if address in dns or not is_host(address, around[0]):
            raise KeyRuleError(key, wrong("an address that a node can have", str(address)))
        if any(own.ip == address for own in static):
            text = wrong("another address than those in node_address_cidr", str(address))
            raise KeyRuleError(key, f"{text}: one that belongs to a node does not float")


def _lies_in(place: Network, network: Network) -> bool:
    return place.network_address in network and place.broadcast_address in network
