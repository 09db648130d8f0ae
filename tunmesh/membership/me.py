"""This node as a member of its mesh: the one record of itself, which all its parts read."""

from __future__ import annotations

from dataclasses import replace

from tunmesh.wire.records import NodeRecord


class Me:
    """Starts on probation (membership.seniority)."""

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
        """Whether it is on probation: not in the mesh for long enough to know who was first."""
        return self._is_new

    def seniority_changed(self, is_new: bool, is_settled: bool) -> None:
        """Its seniority has changed."""
        self._is_new = is_new
        self._record = replace(self._record, settled=is_settled)
