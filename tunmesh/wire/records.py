"""Node records: a node's description of itself, parsed and signed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tunmesh.addresses import Address, Interface, Network
from tunmesh.wire.fields import (
    dump_json,
    load_json,
    malformed,
    parse_boolean,
    parse_group,
    parse_id,
    parse_interface,
    parse_list,
    parse_network,
    parse_number,
    parse_word,
)
from tunmesh.wire.floating import FloatingClaim, dump_claims, parse_claims
from tunmesh.wire.sizes import (
    DEFAULT_MTU,
    MAX_ADDRESSES,
    MAX_GROUPS,
    MAX_MTU,
    MAX_NAME,
    MAX_NETWORKS,
    MAX_REVISION,
    MAX_ROUTES,
    MAX_URL,
    MIN_MTU,
    PUBLIC_KEY_SIZE,
    SIGNED_SIZE,
)


@lru_cache(4096)
def split_url(url: str) -> tuple[str, int]:
    """(host, port) of an advertised URL. Raises ValueError unless it is https://host:port."""
    parts = urlsplit(url)
    bare = url == f"https://{parts.netloc}" and "@" not in parts.netloc
    if not bare or not parts.hostname or not parts.port:
        raise ValueError(f"is {url!r}, not https://host:port")
    return parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node's description of itself, signed as a whole (auth.signing) except for `settled`.

    A node may sign another *revision* of it while it lives. Only its addresses, its floating
    addresses, URL, groups, MTU and routes may change (`may_become`). Of two revisions the higher
    one holds.
    """

    id: str  # 16 bytes in hexadecimal, from its public key, new at every start: auth.node_key
    name: str  # assigned by the operator, printable ASCII
    started: int  # milliseconds since the epoch by the node's own clock
    url: str  # where it can be dialed: https://host:port
    # Its overlay addresses, with the prefix of its local subnet. Of a family that it chooses itself
    # there is one, or none yet.
    addresses: tuple[Interface, ...]
    version: str  # the software's version
    # Whether the node was already the only holder of its addresses when it sent this:
    # membership.seniority.
    settled: bool = False
    # The mesh's networks according to the node's config; empty if it does not say.
    networks: tuple[Network, ...] = ()
    revision: int = 0
    # The IP versions of which it chooses its address itself (membership.acquisition), in order.
    automatic: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()  # further names that it answers to, shared by many nodes
    udp: bool = False  # it understands offers of UDP
    floating: tuple[FloatingClaim, ...] = ()  # addresses that move from node to node
    mtu: int = DEFAULT_MTU  # of its tun, in bytes
    routes: tuple[Network, ...] = ()  # networks outside the mesh that it leads to

    @property
    def host_port(self) -> tuple[str, int]:
        return split_url(self.url)

    def may_become(self, other: NodeRecord) -> bool:
        """Whether that is a later revision of this record."""
        changed = replace(
            other,
            revision=self.revision,
            settled=self.settled,
            url=self.url,
            groups=self.groups,
            routes=self.routes,
            addresses=self.addresses,
            floating=self.floating,
            mtu=self.mtu,
        )
        return other.revision > self.revision and changed == self

    @property
    def own(self) -> tuple[Address, ...]:
        """Its own addresses, which do not float."""
        return tuple(each.ip for each in self.addresses)

    @property
    def held(self) -> frozenset[Address]:
        """The addresses that it says it has: not the floating ones that it waits for."""
        return frozenset([*self.own, *(each.address for each in self.floating if each.is_held)])

    @property
    def claimed(self) -> tuple[Address, ...]:
        """All that it claims, each once: its own addresses, and then the floating ones."""
        floating = (each.address for each in self.floating)
        return tuple(dict.fromkeys((*self.own, *floating)))

    def owns(self, address: Address) -> bool:
        """Whether that is one of its own addresses, which does not float."""
        return address in self.own

    @property
    def static_addresses(self) -> tuple[Interface, ...]:
        """Those that its operator assigned."""
        return tuple(each for each in self.addresses if each.version not in self.automatic)

    def encode(self) -> bytes:
        fields: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "started": self.started,
            "url": self.url,
            "addresses": [str(address) for address in self.addresses],
            "version": self.version,
        }
        if self.networks:
            fields["networks"] = [str(network) for network in self.networks]
        if self.revision:
            fields["revision"] = self.revision
        if self.automatic:
            fields["automatic"] = self.automatic
        if self.groups:
            fields["groups"] = self.groups
        if self.udp:
            fields["udp"] = True
        if self.floating:
            fields["floating"] = dump_claims(self.floating)
        if self.mtu != DEFAULT_MTU:
            fields["mtu"] = self.mtu
        if self.routes:
            fields["routes"] = [str(network) for network in self.routes]
        return dump_json(fields)

    @classmethod
    def decode(cls, data: bytes) -> NodeRecord:
        """Unknown fields are ignored; later versions may add some."""
        fields = load_json(data)
        if not isinstance(fields, dict):
            raise malformed("a node record that is not an object")
        what = "a node record whose"
        networks = parse_list(fields.get("networks", []), MAX_NETWORKS, f"{what} networks")
        groups = parse_list(fields.get("groups", []), MAX_GROUPS, f"{what} groups")
        routes = parse_list(fields.get("routes", []), MAX_ROUTES, f"{what} routes")
        url = parse_word(fields.get("url"), MAX_URL, f"{what} URL")
        try:
            split_url(url)
        except ValueError as error:
            raise malformed(f"a node record whose URL {error}") from None
        automatic = _automatic(fields.get("automatic", []))
        return cls(
            id=parse_id(fields.get("id")),
            name=parse_word(fields.get("name"), MAX_NAME, f"{what} name"),
            started=parse_number(fields.get("started"), (1 << 63) - 1, f"{what} start time"),
            url=url,
            addresses=_addresses(fields.get("addresses"), automatic),
            version=parse_word(fields.get("version"), MAX_NAME, f"{what} version"),
            networks=tuple(parse_network(network) for network in networks),
            revision=parse_number(fields.get("revision", 0), MAX_REVISION, f"{what} revision"),
            automatic=automatic,
            groups=tuple(map(parse_group, groups)),
            udp=parse_boolean(fields.get("udp", False), f"{what} udp"),
            floating=parse_claims(fields.get("floating", [])),
            mtu=parse_number(fields.get("mtu", DEFAULT_MTU), MAX_MTU, f"{what} MTU", MIN_MTU),
            routes=tuple(parse_network(network) for network in routes),
        )


def _automatic(value: Any) -> tuple[int, ...]:
    if value not in ([], [4], [6], [4, 6]) or any(type(each) is not int for each in value):
        raise malformed("a node record that chooses addresses of no IP version")
    return tuple(value)


def _addresses(value: Any, automatic: tuple[int, ...]) -> tuple[Interface, ...]:
    texts = parse_list(value, MAX_ADDRESSES, "a node record whose addresses")
    addresses = tuple(parse_interface(text) for text in texts)
    if not addresses and not automatic:
        raise malformed("a node record without addresses")
    versions: list[int] = [address.version for address in addresses]
    if any(versions.count(version) > 1 for version in automatic):
        raise malformed("a node record that chooses two addresses of one IP version")
    return addresses


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record exactly as its node signed it, to be passed on unchanged."""

    public_key: bytes
    signature: bytes
    record: bytes  # not parsed until the signature has been verified

    def encode(self) -> bytes:
        return self.public_key + self.signature + self.record

    @classmethod
    def decode(cls, data: bytes) -> SignedRecord:
        if len(data) <= SIGNED_SIZE:
            raise malformed("a signed record of a wrong size")
        key, record = PUBLIC_KEY_SIZE, SIGNED_SIZE
        return cls(data[:key], data[key:record], data[record:])
