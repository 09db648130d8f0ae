"""This node as a member of its mesh: the one record of itself, which all its parts read."""

from __future__ import annotations

from dataclasses import replace

from tunmesh.wire.records import NodeRecord


class Me:
    """Starts as a new node. What `stands` is told comes from membership.seniority."""

    def __init__(self, record: NodeRecord) -> None:
        self._record = record
        self._is_new = True

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def record(self) -> NodeRecord:
        """As this node would introduce itself now. Only `settled` ever changes."""
        return self._record

    @property
    def is_new(self) -> bool:
        """Whether it has been in the mesh for too short a time to know who was there first."""
        return self._is_new

    def stands(self, is_new: bool, is_settled: bool) -> None:
        """Its standing in the mesh has changed."""
        self._is_new = is_new
        self._record = replace(self._record, settled=is_settled)
