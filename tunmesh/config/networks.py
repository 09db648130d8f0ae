"""The kinds of value that name networks, and the node's own address in one.

Like those in config.types: text in, a plain checked value out, or a ValueError for the person who
wrote the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo

from tunmesh.addresses import Interface, Network, standing_for
from tunmesh.config.section import Kind, wrong
from tunmesh.config.types import text_of
from tunmesh.config.values import Automatic

_AUTOMATIC = re.compile(r"auto(?:/([0-9]{1,3}))?")
_V4, _V6 = r"[0-9.]+/[0-9]{1,2}", r"[0-9A-Fa-f:.]+/[0-9]{1,3}"
ANY_NETWORK = f"{_V4}|{_V6}"


def cidr_of(kind: Callable[[str], Any], expected: str) -> Callable[[object], Any]:
    """A validator of text that `kind` makes a network or an address with a prefix of; `expected`
    says which, in an error."""

    def parse(value: object) -> Any:
        # A bare address would silently become a network of one host.
        if not isinstance(value, str) or "/" not in value:
            raise ValueError(wrong(f"{expected}, with its prefix", value))
        if "%" in value:
            raise ValueError(wrong(f"{expected}, without a scope", value))
        try:
            return kind(value)
        except ValueError as error:
            if "host bits" in str(error):
                expected_here = f"{ip_interface(value).network}, the network itself"
                raise ValueError(wrong(expected_here, value)) from None
            raise ValueError(wrong(expected, value)) from None

    return parse


def _cidr(kind: Callable[[str], Any], expected: str) -> BeforeValidator:
    return BeforeValidator(cidr_of(kind, expected))


def _node_addresses(kind: Callable[[str], Any], expected: str) -> PlainValidator:
    """Addresses of the network that is the key `network_cidr` beside it, or an automatic one."""
    parse = cidr_of(kind, f"auto, or {expected}")
    parse_one = cidr_of(kind, expected)

    def addresses(value: object, info: ValidationInfo) -> Any:
        network = info.data.get("network_cidr")  # None: it has a problem of its own
        found = _AUTOMATIC.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            return _automatic(found[1], network)
        if not isinstance(value, list | tuple):
            return (_checked(parse(value), network),)
        own = tuple(_checked(_listed(each, parse_one), network) for each in value)
        if not own:
            raise ValueError("must be one address or more, not an empty list")
        twice = next((each for each in own if [o.ip for o in own].count(each.ip) > 1), None)
        if twice is not None:
            raise ValueError(f"must be different addresses, and {twice.ip} is there twice")
        return own

    return PlainValidator(addresses)


def _listed(value: object, parse: Callable[[object], Any]) -> Any:
    if isinstance(value, str) and _AUTOMATIC.fullmatch(value):
        raise ValueError(
            f"must be a list of assigned addresses, or {value} alone: an automatic address cannot "
            "be one of several"
        )
    return parse(value)


def _shown(value: Automatic | tuple[Interface, ...]) -> str | list[str]:
    if isinstance(value, Automatic):
        return str(value)
    return str(value[0]) if len(value) == 1 else [str(each) for each in value]


def _automatic(prefix: str | None, network: Network | None) -> Automatic:
    if network is None:
        return Automatic(int(prefix or 0))
    longest = network.max_prefixlen - 2  # so that hosts are left beside those that are reserved
    if network.prefixlen > longest:
        raise ValueError(f"must be an address: network_cidr {network} is too small for auto")
    length = network.prefixlen if prefix is None else int(prefix)
    if not network.prefixlen <= length <= longest:
        within = f"auto/{network.prefixlen} (all of network_cidr {network}) to auto/{longest}"
        raise ValueError(wrong(within, f"auto/{prefix}"))
    return Automatic(length)


def _checked(address: Any, network: Network | None) -> Any:
    if network is None:
        return address
    if address.ip not in network:
        raise ValueError(wrong(f"an address inside network_cidr {network}", str(address)))
    if address.network.prefixlen < network.prefixlen:
        raise ValueError(wrong(f"in a subnet no larger than network_cidr {network}", str(address)))
    for around in (network, address.network):
        if address.ip in standing_for(around):
            raise ValueError(
                wrong(
                    f"an address for a node, which {address.ip} in {around} cannot be", str(address)
                )
            )
    return address


def _one_or_more(pattern: str) -> dict[str, Any]:
    """The JSON schema of addresses of this form, or an automatic one."""
    one = text_of(f"{pattern}|{_AUTOMATIC.pattern}")
    several = {"type": "array", "minItems": 1, "items": text_of(pattern)}
    return {"anyOf": [one, several]}


Ipv4Network = Annotated[
    IPv4Network,
    _cidr(IPv4Network, "an IPv4 network such as 10.77.0.0/16"),
    Kind("IPv4 network", text_of(_V4)),
]
Ipv4Addresses = Annotated[
    Automatic | tuple[IPv4Interface, ...],
    _node_addresses(IPv4Interface, "an IPv4 address such as 10.77.0.1/24"),
    PlainSerializer(_shown),
    Kind("IPv4 address with prefix, a list of them, or auto", _one_or_more(_V4)),
]
Ipv6Network = Annotated[
    IPv6Network,
    _cidr(IPv6Network, "an IPv6 network such as fd77::/48"),
    Kind("IPv6 network", text_of(_V6)),
]
Ipv6Addresses = Annotated[
    Automatic | tuple[IPv6Interface, ...],
    _node_addresses(IPv6Interface, "an IPv6 address such as fd77::1/64"),
    PlainSerializer(_shown),
    Kind("IPv6 address with prefix, a list of them, or auto", _one_or_more(_V6)),
]
AnyNetwork = Annotated[
    Network,
    _cidr(ip_network, "a network such as 10.0.0.0/8 or fd00::/8"),
    Kind("network", text_of(ANY_NETWORK)),
]
