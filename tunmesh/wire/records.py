"""Node records: a node's description of itself, parsed and signed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tunmesh.addresses import Interface, Network
from tunmesh.wire.fields import (
    dump_json,
    load_json,
    malformed,
    parse_id,
    parse_interface,
    parse_network,
    parse_word,
)
from tunmesh.wire.sizes import (
    MAX_ADDRESSES,
    MAX_NAME,
    MAX_NETWORKS,
    MAX_URL,
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
    """A node's description of itself. It does not change while the process lives, and is signed as
    a whole (auth.signing), except for `settled`, which is sent only in a handshake."""

    id: str  # 16 bytes in hexadecimal, from its public key, new at every start: auth.node_key
    name: str  # assigned by the operator, printable ASCII
    started: int  # milliseconds since the epoch by the node's own clock
    url: str  # where it can be dialed: https://host:port
    addresses: tuple[Interface, ...]  # its overlay addresses, with the prefix of its local subnet
    version: str  # the software's version
    # Whether the node was already the only holder of its addresses when it sent this:
    # membership.seniority.
    settled: bool = False
    # The mesh's networks according to the node's config; empty if it does not say.
    networks: tuple[Network, ...] = ()

    @property
    def host_port(self) -> tuple[str, int]:
        return split_url(self.url)

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
        return dump_json(fields)

    @classmethod
    def decode(cls, data: bytes) -> NodeRecord:
        """Unknown fields are ignored; later versions may add some."""
        fields = load_json(data)
        if not isinstance(fields, dict):
            raise malformed("a node record that is not an object")
        started, addresses = fields.get("started"), fields.get("addresses")
        if type(started) is not int or not 0 <= started < 1 << 63:
            raise malformed("a node record without a start time")
        if not isinstance(addresses, list) or not 1 <= len(addresses) <= MAX_ADDRESSES:
            raise malformed("a node record without addresses")
        networks = fields.get("networks", [])
        if not isinstance(networks, list) or len(networks) > MAX_NETWORKS:
            raise malformed("a node record whose networks are not a list of a decent length")
        url = parse_word(fields.get("url"), MAX_URL, "a node record whose URL")
        try:
            split_url(url)
        except ValueError as error:
            raise malformed(f"a node record whose URL {error}") from None
        return cls(
            id=parse_id(fields.get("id")),
            name=parse_word(fields.get("name"), MAX_NAME, "a node record whose name"),
            started=started,
            url=url,
            addresses=tuple(parse_interface(address) for address in addresses),
            version=parse_word(fields.get("version"), MAX_NAME, "a node record whose version"),
            networks=tuple(parse_network(network) for network in networks),
        )


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
