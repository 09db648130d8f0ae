"""The answer to a question about the mesh: the zone of its domain, and the reverse lookups of its
networks.

    NAME.mesh         A, AAAA    the node of that name, or all nodes of that group
    _nodes.mesh       A, AAAA    all nodes
    _dns.mesh         A, AAAA    the DNS address
    mesh              SOA, NS    the zone itself
    4.3.77.10.in-addr.arpa, …    PTR    the name of the node that has the address

A name that exists without a record of the wanted type is answered by NODATA (code 0, no records),
never by NXDOMAIN: resolvers ask for A and AAAA, and some (musl) give up at the first NXDOMAIN. As
long as this node is not in the mesh, an unknown name is an error that passes (SERVFAIL): it may
well exist.

The networks of the mesh need not end at a dot of a reverse name. Names that are wholly inside one
are answered here, names that reach beyond are not.

Sources: RFC 1034 section 4.3.2, RFC 2308, RFC 8020 (NXDOMAIN: nothing below it), RFC 8482 (ANY),
RFC 1035 section 3.5 and RFC 3596 section 2.5 (reverse names).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

from tunmesh.addresses import Address, Network
from tunmesh.names.answers import Answer, Code, Kind, Record
from tunmesh.names.directory import Directory
from tunmesh.names.labels import SERVER, Name

_REVERSE4: Name = ("in-addr", "arpa")
_REVERSE6: Name = ("ip6", "arpa")
_ADDRESS_KINDS = {4: Kind.A, 6: Kind.AAAA}
_STEP = {4: 8, 6: 4}  # bits for each label of a reverse name


class Zone:
    """`networks` are the mesh's, `server` the addresses that queries are sent to."""

    def __init__(self, domain: str, networks: Iterable[Network], server: Sequence[Address]) -> None:
        self.domain = domain
        self._apex: Name = tuple(domain.split("."))
        self._networks = tuple(networks)
        self._server = tuple(server)

    def relative(self, name: Name) -> Name | None:
        """What is in front of the domain; None for a name that is not below it."""
        count = len(name) - len(self._apex)
        return name[:count] if count >= 0 and name[count:] == self._apex else None

    def answer(self, name: Name, kind: int, directory: Directory) -> Answer | None:
        """None: the name is not this mesh's."""
        below = self.relative(name)
        if below is not None:
            return self._forward(below, kind, directory)
        return self._reverse(name, kind, directory)

    def _forward(self, name: Name, kind: int, directory: Directory) -> Answer:
        """The answer about a name in front of the domain."""
        if not name:
            return self._only(kind, [Record(Kind.SOA, ""), Record(Kind.NS, self._server_name)])
        if name == (SERVER,):
            return self._only(kind, _records(self._server))
        entry = directory.find(name)
        if entry is not None:
            addresses = [address for member in entry.members for address in member.addresses]
            return self._only(kind, _records(addresses))
        if directory.has_below(name):
            return self._only(kind, [])
        if not directory.is_in_mesh:
            return Answer(Code.FAILED)
        return Answer(Code.NO_SUCH_NAME, zone=self.domain)

    @property
    def _server_name(self) -> str:
        return f"{SERVER}.{self.domain}"

    def _only(self, kind: int, records: Iterable[Record], zone: str = "") -> Answer:
        """These records, as far as they are of the wanted kind."""
        wanted = [record for record in records if kind in (record.kind, Kind.ANY)]
        return Answer(Code.OK, wanted, zone or self.domain)

    # --- reverse ---

    def _reverse(self, name: Name, kind: int, directory: Directory) -> Answer | None:
        found = _reverse_network(name)
        if found is None:
            return None
        part, is_exact = found
        network = next((each for each in self._networks if _is_inside(part, each)), None)
        if network is None:
            return None
        zone = _reverse_zone(part, network)
        if not is_exact:
            return Answer(Code.NO_SUCH_NAME, zone=zone)
        if part.num_addresses > 1:
            known = [a for each in directory.members for a in each.addresses] + [*self._server]
            is_there = any(address in part for address in known)
            return self._only(kind, [], zone) if is_there else self._missing(directory, zone)
        address = part.network_address
        if address in self._server:
            return self._only(kind, [Record(Kind.PTR, self._server_name)], zone)
        holder = directory.holder(address)
        if holder is None:
            return self._missing(directory, zone)
        # Of two nodes with one name only one is found by it.
        names = [holder.record.name] if directory.holds_name(holder) else []
        records = [Record(Kind.PTR, f"{each}.{self.domain}") for each in names]
        return self._only(kind, records, zone)

    def _missing(self, directory: Directory, zone: str) -> Answer:
        return Answer(Code.NO_SUCH_NAME, zone=zone) if directory.is_in_mesh else Answer(Code.FAILED)


def _records(addresses: Iterable[Address]) -> list[Record]:
    return [Record(_ADDRESS_KINDS[address.version], address) for address in addresses]


def _is_inside(part: Network, network: Network) -> bool:
    return (
        part.version == network.version
        and part.prefixlen >= network.prefixlen
        and part.network_address in network
    )


def _reverse_network(name: Name) -> tuple[Network, bool] | None:
    """The network that a reverse name stands for, one of a single address if it is complete; False
    if there are further labels that are no part of an address."""
    if name[-2:] == _REVERSE4:
        labels = name[-3::-1]
        octets: list[int] = []
        for label in labels[:4]:
            if not (label.isascii() and label.isdecimal() and str(int(label)) == label):
                break
            if int(label) > 255:
                break
            octets.append(int(label))
        packed = bytes(octets).ljust(4, b"\0")
        part: Network = ip_network((IPv4Address(packed), 8 * len(octets)))
        return part, len(octets) == len(labels)
    if name[-2:] == _REVERSE6:
        labels = name[-3::-1]
        nibbles = ""
        for label in labels[:32]:
            if len(label) != 1 or label not in "0123456789abcdef":
                break
            nibbles += label
        packed = bytes.fromhex(nibbles.ljust(32, "0"))
        part = ip_network((IPv6Address(packed), 4 * len(nibbles)))
        return part, len(nibbles) == len(labels)
    return None


def _reverse_zone(part: Network, network: Network) -> str:
    """The name of the zone that a reverse name inside the network is in: the shortest one that does
    not reach beyond the network."""
    step = _STEP[network.version]
    bits = -(-network.prefixlen // step) * step
    labels = part.network_address.reverse_pointer.split(".")
    return ".".join(labels[(network.max_prefixlen - bits) // step :])
