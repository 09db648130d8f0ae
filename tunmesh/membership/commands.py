"""What the roster wants done, as values that the node carries out.

`Link` is whatever object the caller uses for a link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tunmesh.addresses import Address
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.records import NodeRecord

Link = TypeVar("Link")


@dataclass(frozen=True, slots=True)
class Dial:
    """Keep trying to link with this node. The one with the smaller id dials first; the other one is
    `patient`, so that most pairs do not dial each other at once."""

    record: NodeRecord
    patient: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Stop dialing this node: it is gone, or another incarnation of it answers at its URL."""

    node_id: str


@dataclass(frozen=True, slots=True)
class Join(Generic[Link]):
    """A node is linked: this is its first link."""

    link: Link


@dataclass(frozen=True, slots=True)
class Revise(Generic[Link]):
    """The record of a linked node is the one that came on this link."""

    link: Link


@dataclass(frozen=True, slots=True)
class Present(Generic[Link]):
    """Send this node's own record, as it is now."""

    link: Link


@dataclass(frozen=True, slots=True)
class Switch(Generic[Link]):
    """Send to this node on this link from now on."""

    link: Link


@dataclass(frozen=True, slots=True)
class Part(Generic[Link]):
    """A node is no longer linked: this was its last link."""

    link: Link
    reason: str


@dataclass(frozen=True, slots=True)
class Retire(Generic[Link]):
    """Send no more data on this link, and close it when the other end does the same."""

    link: Link


@dataclass(frozen=True, slots=True)
class Close(Generic[Link]):
    """Say bye with this reason and close."""

    link: Link
    reason: str


@dataclass(frozen=True, slots=True)
class Probe(Generic[Link]):
    """Find out whether the other end answers, and report it with `probed`."""

    link: Link


@dataclass(frozen=True, slots=True)
class Route(Generic[Link]):
    """This address belongs to the node at the other end of this link."""

    address: Address
    link: Link


@dataclass(frozen=True, slots=True)
class Unroute:
    """This address belongs to nobody."""

    address: Address


@dataclass(frozen=True, slots=True)
class Tell(Generic[Link]):
    """Send this gossip."""

    link: Link
    gossip: Gossip


@dataclass(frozen=True, slots=True)
class Ask(Generic[Link]):
    """Ask who the nodes with these ids are."""

    link: Link
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Introduce(Generic[Link]):
    """Answer such a question with the records that these nodes, all linked, have signed."""

    link: Link
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse(Generic[Link]):
    """Tell a node which of its addresses are not routed to it."""

    link: Link
    refusal: Refusal


Command = (
    Dial
    | Forget
    | Join[Link]
    | Revise[Link]
    | Present[Link]
    | Switch[Link]
    | Part[Link]
    | Retire[Link]
    | Close[Link]
    | Probe[Link]
    | Route[Link]
    | Unroute
    | Tell[Link]
    | Ask[Link]
    | Introduce[Link]
    | Refuse[Link]
)
