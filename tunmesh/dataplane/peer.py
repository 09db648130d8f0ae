"""A peer as the data plane knows it: what routes point at."""

from __future__ import annotations

from tunmesh.dataplane.carrier import Carrier
from tunmesh.status.traffic import Traffic
from tunmesh.wire.records import NodeRecord


class Peer:
    """A node that packets are exchanged with. Its carrier may change under it."""

    __slots__ = ("carrier", "record", "traffic")

    def __init__(self, record: NodeRecord, carrier: Carrier) -> None:
        self.record = record
        self.carrier = carrier
        self.traffic = Traffic()
