"""A peer as the data plane knows it: what routes point at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tunmesh.dataplane.carrier import Carrier
from tunmesh.status.traffic import Traffic
from tunmesh.wire.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer does not take. Few peers have any."""

    mtu: int  # of its tun, bytes
    refused: Collection[bytes] = ()  # sources, raw, that it does not route to this node


class Peer:
    """A node that packets are exchanged with. Its carrier may change under it, and its limits."""

    __slots__ = ("carrier", "limits", "record", "traffic")

    def __init__(self, record: NodeRecord, carrier: Carrier) -> None:
        self.record = record
        self.carrier = carrier
        self.limits: Limits | None = None  # None: it takes whatever is routed to it
        self.traffic = Traffic()
