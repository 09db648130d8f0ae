"""The kernel's interfaces, addresses, routes and rules as values, and its refusal as an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
TABLE_MAIN = 254
TABLE_LOCAL = 255
_TABLE_NAMES = {253: "default", TABLE_MAIN: "main", TABLE_LOCAL: "local"}
PROTOCOL_GUARD = 84  # RTPROT_*: a number that nobody else is known to use
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
    """A routing table as `ip rule` shows it where nobody has named others."""
    return _TABLE_NAMES.get(table, str(table))


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    is_up: bool


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """`address` is ours; `subnet` is what is on the link, of a point-to-point one the far end."""

    index: int
    address: Address
    subnet: Network


@dataclass(frozen=True, slots=True)
class Route:
    """`interface` is the index of the one it leads to, of several the first, 0 if to none."""

    network: Network
    table: int
    kind: int
    protocol: int
    metric: int
    interface: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule. `is_partial`: it looks at more than what is here (ports, users, …)."""

    version: int
    priority: int
    action: int
    table: int
    source: Network | None = None
    destination: Network | None = None
    mark: int = 0
    mask: int = 0
    incoming: str = ""
    suppressed: int = -1  # routes of the table no longer than this are not taken; -1: all are
    target: int = 0  # of GOTO
    is_inverted: bool = False
    is_partial: bool = False

    def __str__(self) -> str:
        """As `ip rule` has it, as far as it is known here."""
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
    """What a network namespace has, and of its routes those that overlap the mesh."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: tuple[InterfaceAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    def name(self, index: int) -> str:
        if index == 0:
            return "no interface"
        link = self.links.get(index)  # it may have come, or gone, between two dumps
        return link.name if link is not None else f"interface {index}"
