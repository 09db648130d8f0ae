"""The keys under `networking/dns`: names of nodes, answered out of the tun.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator

from tunmesh.addresses import Address, Network, is_host, last_host
from tunmesh.config.section import Kind, Section, shown, wrong
from tunmesh.config.types import ANY_ADDRESS, or_text, text_of
from tunmesh.config.values import AUTO
from tunmesh.names.labels import LABEL, MAX_DOMAIN
from tunmesh.names.resolv_conf import MAX_SERVERS

_Entry = TypeVar("_Entry")

_NAME = rf"{LABEL}(?:\.{LABEL})*"
# Top-level names with a meaning of their own: RFC 6761, RFC 6762, and reverse lookups.
_TAKEN = ("arpa", "invalid", "local", "localhost", "onion")


def _domain(value: object) -> str:
    name = value.removesuffix(".").lower() if isinstance(value, str) else ""
    if len(name) > MAX_DOMAIN or not re.fullmatch(_NAME, name):
        form = f"a DNS name such as mesh or mesh.example, of at most {MAX_DOMAIN} characters"
        raise ValueError(wrong(form, value))
    top = name.rpartition(".")[2]
    if top in _TAKEN or top.isdecimal():
        raise ValueError(wrong(f"a name that does not end with {top}, which is reserved", value))
    return name


def _address(value: object) -> Address:
    try:
        return ip_address(value if isinstance(value, str) else "")
    except ValueError:
        form = "auto, an IP address such as 10.77.255.254, or a list of one IPv4 and one IPv6"
        raise ValueError(wrong(f"{form} address", value)) from None


def _addresses(value: object) -> str | tuple[Address, ...]:
    if value == AUTO:
        return AUTO
    given = value if isinstance(value, list | tuple) else [value]
    addresses = tuple(map(_address, given))
    versions = {address.version for address in addresses}
    if not addresses or len(versions) != len(addresses):
        found = ", ".join(map(str, addresses)) or "none"
        raise ValueError(f"must have one address, or one of each family, not: {found}")
    return addresses


def _servers(value: object) -> bool | tuple[Address, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    given = value if isinstance(value, list | tuple) else ()
    if not 1 <= len(given) <= MAX_SERVERS:
        form = f"true, false, or a list of 1 to {MAX_SERVERS} addresses of name servers"
        raise ValueError(wrong(form, value))
    return _different(tuple(map(_server, given)))


def _server(value: object) -> Address:
    try:
        return ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(wrong("the IP address of a name server", value)) from None


def _listed(value: bool | tuple[Address, ...]) -> bool | list[str]:
    return value if isinstance(value, bool) else [str(address) for address in value]


def _written(value: str | tuple[Address, ...]) -> str | list[str]:
    return value if isinstance(value, str) else [str(address) for address in value]


def _different(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    twice = next((entry for entry in entries if entries.count(entry) > 1), None)
    if twice is not None:
        raise ValueError(f"must have different entries; {shown(str(twice))} is there twice")
    return entries


def _group(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(LABEL, value):
        form = "a DNS label: 1 to 63 small letters, digits and dashes, such as web"
        raise ValueError(wrong(form, value))
    return value


Domain = Annotated[str, PlainValidator(_domain), Kind("DNS name", text_of(rf"(?i:{_NAME})\.?"))]
DnsAddress = Annotated[
    Literal["auto"] | tuple[Address, ...],
    PlainValidator(_addresses),
    PlainSerializer(_written),
    Kind(
        "auto, IP address, or list of these",
        {
            "anyOf": [
                text_of(f"auto|{ANY_ADDRESS}"),
                {"type": "array", "items": text_of(ANY_ADDRESS), "minItems": 1, "maxItems": 2},
            ]
        },
    ),
]
Forward = Annotated[
    bool | tuple[Address, ...],
    PlainValidator(_servers),
    PlainSerializer(_listed),
    Kind(
        "true, false, or list of IP addresses",
        {
            "anyOf": [
                or_text("boolean", "true|false"),
                {
                    "type": "array",
                    "items": text_of(ANY_ADDRESS),
                    "minItems": 1,
                    "maxItems": MAX_SERVERS,
                },
            ]
        },
    ),
]
NodeGroup = Annotated[str, PlainValidator(_group), Kind("DNS label", text_of(LABEL))]
DIFFERENT = AfterValidator(_different)


class Dns(Section):
    """The names of the mesh, which this node answers at an address in the mesh's network."""

    domain: Domain = Field(
        default="mesh",
        description="The domain of the mesh. NODE.DOMAIN, GROUP.DOMAIN and everything else below "
        "it is answered by the node itself. The same on all nodes.",
    )
    address: DnsAddress = Field(
        default="auto",
        description="Where applications send their queries: an address in the mesh's network, or "
        "one of each family. auto: the last host address of each network. No node can have it. "
        "The same on all nodes.",
    )
    forward: Forward = Field(
        default=True,
        description="Forward queries for other names to the name servers in /etc/resolv.conf, "
        "which is read at the start. false: refuse them. A list: forward them to these "
        "servers, for where resolv.conf has nothing but the DNS address of the mesh; "
        "`node_name: auto` asks the first of them.",
        examples=[["127.0.0.11"]],
    )

    @property
    def servers(self) -> tuple[Address, ...]:
        """The name servers that the config lists."""
        return self.forward if isinstance(self.forward, tuple) else ()


def dns_addresses(dns: Dns, networks: Sequence[Network]) -> tuple[Address, ...]:
    """The addresses that queries are sent to. Raises ValueError for those that cannot be."""
    names = " and ".join(map(str, networks))
    if isinstance(dns.address, str):
        found = tuple(last for network in networks if (last := last_host(network)) is not None)
        if not found:
            raise ValueError(f"has no address left for dns/address in {names}: it is too small")
        return found
    for address in dns.address:
        if not any(is_host(address, network) for network in networks):
            raise ValueError(
                f"must have a dns/address that is a host address of {names}, not {address}"
            )
    return dns.address
