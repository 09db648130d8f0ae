"""The kernel's interfaces, addresses, routes and rules as values, and its refusal as an error."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunmesh.addresses import Address, Network

TABLE_MAIN = 254
TABLE_LOCAL = 255
_TABLE_NAMES = {253: "default", TABLE_MAIN: "main", TABLE_LOCAL: "local"}
PROTOCOL_KERNEL = 2  # RTPROT_*
PROTOCOL_GUARD = 84  # a number that nobody else is known to use
REFUSING_ACTIONS = (6, 7, 8)  # FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT
UP = 1  # IFF_UP

UNICAST, LOCAL = 1, 2  # RTN_*
BROADCAST, ANYCAST, MULTICAST = 3, 4, 5
BLACKHOLE, UNREACHABLE, PROHIBIT, THROW = 6, 7, 8, 9
TO_TABLE, GOTO = 1, 3  # FR_ACT_*


class NetlinkError(Exception):
    """The kernel refused a request: `errno` says why."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


def table_name(table: int) -> str:
    """A routing table's name as `ip rule` shows it, without those of /etc/iproute2."""
    return _TABLE_NAMES.get(table, str(table))


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    is_up: bool
    mtu: int = 0  # 0: not said


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """`address` is this machine's; `subnet` is on the link (point-to-point: the peer's address)."""

    index: int
    address: Address
    subnet: Network


@dataclass(frozen=True, slots=True)
class Route:
    """`interface` is the index of the outgoing interface (multipath: the first), or 0."""

    network: Network
    table: int
    kind: int
    protocol: int
    metric: int
    interface: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule. `is_partial`: it has selectors that are not modelled (ports, users, …)."""

    version: int
    priority: int
    action: int
    table: int
    source: Network | None = None
    destination: Network | None = None
    mark: int = 0
    mask: int = 0
    incoming: str = ""
    suppressed: int = -1  # suppress_prefixlength: routes this short or shorter are ignored; -1: off
    target: int = 0  # of GOTO
    is_inverted: bool = False
    is_partial: bool = False

    def __str__(self) -> str:
        """As `ip rule` prints it, as far as it is modelled."""
        parts = [f"{self.priority}:", *(["not"] if self.is_inverted else [])]
        parts += ["from", str(self.source or "all")]
        if self.destination is not None:
            parts += ["to", str(self.destination)]
        if self.mask:
            parts += ["fwmark", f"{self.mark:#x}/{self.mask:#x}"]
        if self.action == TO_TABLE:
            parts += ["lookup", table_name(self.table)]
        else:
            parts.append({6: "blackhole", 7: "unreachable", 8: "prohibit"}.get(self.action, "…"))
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class State:
    """The state of a network namespace; of its routes, those that overlap the mesh."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: tuple[InterfaceAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    def name(self, index: int) -> str:
        if index == 0:
            return "no interface"
        link = self.links.get(index)  # it may have appeared or gone between two dumps
        return link.name if link is not None else f"interface {index}"
