"""The keys of `networking` about networks outside the mesh: `advertise` and `accept_routes`.

Part of `keys`, where the rules for declarations are. What a value must not be is said at its own
place in the file, so the networks of the mesh are declared before these keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo

from tunmesh.addresses import LARGEST_BLOCK, Address, Network, overlap
from tunmesh.config.networks import ANY_NETWORK, cidr_of
from tunmesh.config.section import Kind, wrong
from tunmesh.config.types import ANY_ADDRESS, AS_TEXT, text_of
from tunmesh.dataplane.gateways import Accepted

_VIA = " via "
_FORM = "a network such as 192.168.5.0/24, or 192.168.5.0/24 via 10.77.0.9"
# What belongs to each machine or link, and to no other network.
_NOWHERE = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
            *("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
        ),
    )
)

_parse_advertised = cidr_of(ip_network, "a network such as 192.168.5.0/24 or fd5e::/64")
_parse_accepted = cidr_of(ip_network, _FORM)


def _meshes(info: ValidationInfo) -> Iterator[Network]:
    """The mesh's networks, as far as they are valid."""
    for family in (info.data.get("ipv4"), info.data.get("ipv6")):
        if family is not None:
            yield family.network_cidr


def _outside(network: Network, info: ValidationInfo) -> Network:
    """Check that gateways may lead to this network."""
    largest = LARGEST_BLOCK[network.version]
    if network.prefixlen < largest:
        form = f"a part of the address space, of /{largest} or smaller"
        why = "the way to the other nodes must not lead through the mesh"
        raise ValueError(f"{wrong(form, str(network))}: {why}")
    special = next((each for each in _NOWHERE if overlap(each, network)), None)
    if special is not None:
        raise ValueError(
            wrong("a network beyond this machine", str(network))
            + f": {special} is local to every machine or link"
        )
    family = f"ipv{network.version}"
    if family in info.data and info.data[family] is None:
        raise ValueError(
            f"must be of a family that the mesh has: {network} needs networking/{family}, for the "
            "addresses of its two ends"
        )
    for mesh in _meshes(info):
        if overlap(mesh, network):
            raise ValueError(
                wrong("outside the mesh", str(network)) + f", which overlaps network_cidr {mesh}"
            )
    return network


def _advertised(value: object, info: ValidationInfo) -> Network:
    network: Network = _parse_advertised(value)
    return _outside(network, info)


def _accepted(value: object, info: ValidationInfo) -> Accepted:
    if isinstance(value, Accepted):
        return value
    if not isinstance(value, str):
        raise ValueError(wrong(_FORM, value))
    text, via, named = value.partition(_VIA)
    network = _outside(_parse_accepted(text.strip()), info)
    if network in info.data.get("advertise", ()):
        raise ValueError(
            f"must be another network than those in networking/advertise: this node itself leads "
            f"to {network}"
        )
    gateways = tuple(_gateway(each.strip(), info) for each in named.split(",")) if via else ()
    return Accepted(network, gateways)


def _gateway(text: str, info: ValidationInfo) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(wrong(f"{_FORM}, with addresses after via", text)) from None
    networks = tuple(_meshes(info))
    if networks and not any(address in network for network in networks):
        names = " or ".join(map(str, networks))
        raise ValueError(wrong(f"via an address of a node, in {names}", text))
    return address


def _once(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    _refuse_twins(list(networks))
    return networks


def _once_each(routes: tuple[Accepted, ...]) -> tuple[Accepted, ...]:
    _refuse_twins([route.network for route in routes])
    return routes


def _refuse_twins(networks: list[Network]) -> None:
    twice = next((each for each in networks if networks.count(each) > 1), None)
    if twice is not None:
        raise ValueError(f"must have different networks; {twice} is there twice")


Advertised = Annotated[
    Network,
    BeforeValidator(_advertised),
    Kind("network", text_of(ANY_NETWORK)),
]
AcceptedRoute = Annotated[
    Accepted,
    PlainValidator(_accepted),
    AS_TEXT,
    Kind(
        "network, or network via addresses",
        text_of(rf"(?:{ANY_NETWORK})(?: via (?:{ANY_ADDRESS})(?:, *(?:{ANY_ADDRESS}))*)?"),
    ),
]
NO_TWINS = AfterValidator(_once)
NO_TWINS_ACCEPTED = AfterValidator(_once_each)
