"""Networks outside the mesh, as one node sees them. Networks and addresses are text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReachedNetwork:
    """A network that linked nodes advertise, and that packets are sent to."""

    network: str
    nodes: tuple[str, ...]  # the names of its gateways, in order


@dataclass(frozen=True, slots=True)
class AcceptedNetwork:
    """A network that this node's config accepts: networking.accept_routes."""

    network: str
    via: tuple[str, ...]  # only the nodes with these addresses may lead there; empty: any
    reached: tuple[ReachedNetwork, ...]  # it, or parts of it; empty: nobody leads there

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes that lead to it or to a part of it."""
        return tuple(sorted({name for each in self.reached for name in each.nodes}))


@dataclass(frozen=True, slots=True)
class UnusedNetwork:
    """A network that a linked node advertises, and that packets are not sent to by it."""

    network: str
    node: str
    why: str


@dataclass(frozen=True, slots=True)
class RoutesStatus:
    """All of them."""

    advertised: tuple[str, ...] = ()  # this node leads there
    accepted: tuple[AcceptedNetwork, ...] = ()
    unused: tuple[UnusedNetwork, ...] = ()  # the first MAX_LISTED
    unused_count: int = 0  # how many there are
